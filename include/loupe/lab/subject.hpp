// A composition ready to be measured, behind an interface that the measuring code is compiled for once.
#pragma once

#include <loupe/io/checkpoint.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/model/decoder.hpp>

#include <functional>
#include <memory>
#include <string>

namespace loupe::lab {

/// One sequence of one model.
class session {
  public:
    virtual ~session() = default;
    /// Hidden states of a sequence that starts anew: [tokens, width], valid until the runtime's next use.
    virtual matrix_view<const float> hidden(std::span<const token_id> ids, runtime& on) = 0;
    /// Logits of rows of hidden states: [rows, vocabulary].
    virtual void logits(matrix_view<const float> hidden, runtime& on, matrix_view<float> out) = 0;
};

/// A variant of a model: what it is called, how it differs, and how to run it.
struct subject {
    std::string id, explanation, difference;
    index_t bytes = 0; ///< of its weights
    index_t width = 0;
    index_t vocabulary = 0;
    std::function<std::unique_ptr<session>()> open;
};

/// Composition M on a checkpoint; `Base` is what its difference is told against. Requantised weights are made here.
template <is::model Base, is::model M>
subject make_subject(std::string id, std::string explanation, const io::checkpoint& file, executor& threads) {
    class running final : public session {
        std::shared_ptr<const decoder<M>> model_;
        typename decoder<M>::sequence_type sequence_;

      public:
        explicit running(std::shared_ptr<const decoder<M>> model) : model_(std::move(model)), sequence_(model_->start()) {}
        matrix_view<const float> hidden(std::span<const token_id> ids, runtime& on) override {
            sequence_.rewind(0);
            return model_->forward(sequence_, ids, on);
        }
        void logits(matrix_view<const float> hidden, runtime& on, matrix_view<float> out) override { model_->logits(sequence_, hidden, on, out); }
    };
    const auto weights = io::prepare_weights<part_of<M, part::weights>>(file.weights, threads);
    const auto model = std::make_shared<const decoder<M>>(file.sizes, weights);
    subject s;
    s.id = std::move(id);
    s.explanation = std::move(explanation);
    s.difference = diff<Base, M>();
    s.bytes = io::bytes_of(*weights);
    s.width = file.sizes.width;
    s.vocabulary = file.sizes.vocabulary;
    s.open = [model] { return std::make_unique<running>(model); };
    return s;
}

} // namespace loupe::lab
