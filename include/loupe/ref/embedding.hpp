// The ends of a decoder (transformers, Gemma4TextScaledWordEmbedding and Gemma4ForCausalLM).
//
//   x₀ = E[id] · factor                       Gemma: √width, rounded to the precision of the table
//   logits = softcap(rms(x; γ) · Eᵀ)           or the rows of a head of its own
#pragma once

#include <loupe/ref/rms_norm.hpp>

namespace loupe::ref {

/// [tokens, width]
template <class T>
matrix<T> embedding(std::span<const token_id> ids, const kernel::weight_view& table, T factor) {
    matrix<T> x = zeros<T>(static_cast<index_t>(ids.size()), table.width);
    for (index_t t = 0; t < rows(x); ++t) {
        const std::vector<T> stored = weight_row<T>(table, ids[static_cast<std::size_t>(t)]);
        std::copy(stored.begin(), stored.end(), row(x, t).begin());
    }
    x *= factor;
    return x;
}

/// [tokens, vocabulary]; x: [tokens, width], the residual stream after the last block.
template <class SoftCap, class T>
matrix<T> logits(const matrix<T>& x, const decoder_weights& w, T cap, T epsilon) {
    matrix<T> y = linear(normed<norm::rms, T>(x, w.final_norm, epsilon), w.head);
    for (T& value : y) value = SoftCap::apply(value, cap);
    return y;
}

} // namespace loupe::ref
