// Makes a composition and a checkpoint into a subject to be measured.
#pragma once

#include <loupe/io/checkpoint.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/lab/session.hpp>
#include <loupe/model/decoder.hpp>

namespace loupe::lab {

namespace detail {

template <class Stack>
class stack_session final : public session {
    std::shared_ptr<const Stack> model_;
    typename Stack::sequence_type sequence_;

  public:
    explicit stack_session(std::shared_ptr<const Stack> model) : model_(std::move(model)), sequence_(model_->start()) {}
    matrix_view<const float> hidden(std::span<const token_id> ids, std::span<const index_t> wanted, runtime& on) override {
        sequence_.rewind(0);
        return model_->forward(sequence_, ids, on, {}, wanted);
    }
    void logits(matrix_view<const float> hidden, runtime& on, matrix_view<float> out) override {
        model_->logits(sequence_, hidden, on, out);
    }
};

} // namespace detail

/// Composition M on a checkpoint; `Base` is what its difference is told against. Requantised weights are made here.
template <is::model Base, is::model M>
subject make_subject(std::string id, std::string explanation, const io::checkpoint& file, executor& threads) {
    const auto weights = io::prepare_weights<part_of<M, part::weights>>(file.weights, threads);
    const std::shared_ptr<const stack_of<M>> model = std::make_shared<const decoder<M>>(file.sizes, weights);
    subject s;
    s.id = std::move(id);
    s.explanation = std::move(explanation);
    s.difference = diff<Base, M>();
    s.bytes = io::bytes_of(*weights);
    s.width = file.sizes.width;
    s.vocabulary = file.sizes.vocabulary;
    s.open = [model] { return std::make_unique<detail::stack_session<stack_of<M>>>(model); };
    return s;
}

} // namespace loupe::lab
