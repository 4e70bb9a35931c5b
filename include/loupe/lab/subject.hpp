// Makes a composition and a checkpoint into a subject to be measured.
#pragma once

#include <loupe/io/checkpoint.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/lab/session.hpp>
#include <loupe/model/decoder.hpp>

#include <algorithm>

namespace loupe::lab {

namespace detail {

// Compositions whose probes are of one type are measured by the same code.
template <class Probe>
class stack_session final : public session {
    std::shared_ptr<const block_stack<Probe>> model_;
    sequence<Probe> sequence_;
    scratch<float> kept_; ///< rows that are wanted, if there is a probe

  public:
    explicit stack_session(std::shared_ptr<const block_stack<Probe>> model) : model_(std::move(model)), sequence_(model_->start()) {}
    /// A probe is told where the first row stands, and takes the others to follow it: so it sees every token, of which the wanted ones are
    /// kept afterwards.
    matrix_view<const float> hidden(std::span<const token_id> ids, std::span<const index_t> wanted, runtime& on) override {
        sequence_.rewind(0);
        sequence_.probe = Probe{}; // a rewind leaves it alone: what it keeps of one text must not reach the next that this thread reads
        if constexpr (std::same_as<Probe, probe::none>) {
            return model_->forward(sequence_, ids, on, {}, wanted);
        } else {
            const auto all = model_->forward(sequence_, ids, on);
            const auto kept = kept_.take(std::ssize(wanted), all.width);
            for (index_t r = 0; r < kept.rows; ++r) std::copy_n(all[wanted[static_cast<std::size_t>(r)]].data(), all.width, kept[r].data());
            return kept;
        }
    }
    /// For the same reason a probe of logits is called once for every run of positions.
    void logits(matrix_view<const float> hidden, std::span<const index_t> positions, runtime& on, matrix_view<float> out) override {
        for (index_t first = 0; first < hidden.rows;) {
            const auto position = [&](index_t r) { return positions[static_cast<std::size_t>(r)]; };
            index_t last = hidden.rows;
            if constexpr (Probe::template watches<at::logits>) {
                last = first + 1;
                while (last < hidden.rows && position(last) == position(last - 1) + 1) ++last;
            }
            model_->logits(sequence_, hidden.slice(first, last - first), on, out.slice(first, last - first), position(first));
            first = last;
        }
    }
};

template <class Probe>
subject subject_of(std::string id, std::string explanation, std::string difference, std::shared_ptr<const block_stack<Probe>> model,
                   executor (*threads)(index_t)) {
    subject s;
    s.id = std::move(id);
    s.explanation = std::move(explanation);
    s.difference = std::move(difference);
    s.bytes = io::bytes_of(model->weights());
    s.width = model->sizes().width;
    s.vocabulary = model->sizes().vocabulary;
    s.open = [model = std::move(model)] { return std::make_unique<stack_session<Probe>>(model); };
    s.threads = threads;
    return s;
}

} // namespace detail

/// Composition M on a checkpoint; `Base` is what its difference is told against. Requantised weights are made here.
template <is::model Base, is::model M>
subject make_subject(std::string id, std::string explanation, const io::checkpoint& file, executor& threads) {
    using probe_type = part_of<M, part::probe>;
    auto weights = io::prepare_weights<part_of<M, part::weights>>(file.weights, threads);
    auto model = std::make_shared<const stack_of<M>>(make_plan(numbers_of<M>, file.sizes, std::move(weights)));
    return detail::subject_of<probe_type>(std::move(id), std::move(explanation), diff<Base, M>(), std::move(model),
                                          executor::of<part_of<M, part::executor>>);
}

} // namespace loupe::lab
