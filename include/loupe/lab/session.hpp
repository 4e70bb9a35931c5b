// What the measuring code sees of a model: an interface, so that it is compiled once and not for every composition.
#pragma once

#include <loupe/core/types.hpp>
#include <loupe/core/view.hpp>
#include <loupe/layer/context.hpp>

#include <functional>
#include <memory>
#include <span>
#include <string>

namespace loupe::lab {

/// One sequence of one model.
class session {
  public:
    virtual ~session() = default;
    /// Hidden states of the wanted tokens (rising numbers) of a sequence that starts anew: [wanted, width], valid until the runtime's next
    /// use.
    virtual matrix_view<const float> hidden(std::span<const token_id> ids, std::span<const index_t> wanted, runtime& on) = 0;
    /// Logits of rows of hidden states, which are those of the tokens at these positions (rising): [rows, vocabulary].
    virtual void logits(matrix_view<const float> hidden, std::span<const index_t> positions, runtime& on, matrix_view<float> out) = 0;
};

/// A variant of a model: what it is called, how it differs, and how to run it.
struct subject {
    std::string id, explanation, difference;
    index_t bytes = 0; ///< of its weights
    index_t width = 0;
    index_t vocabulary = 0;
    std::function<std::unique_ptr<session>()> open;
    executor (*threads)(index_t count) = executor::of<threading::pool>; ///< what runs it
};

} // namespace loupe::lab
