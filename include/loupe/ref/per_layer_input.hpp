// Per-layer inputs (Gemma 3n, Gemma 4 E2B and E4B; transformers, Gemma4TextModel and Gemma4TextDecoderLayer).
//
//   context = rms(x₀·Wᵀ · width^(−1/2); γ)    over each block's P values; x₀: the scaled embeddings
//   token   = T[id] · √P                      row 0 for image and audio tokens
//   input   = combine(context, token)         Gemma 4: (context + token) · 2^(−1/2)
//   x += rms((gelu(x·W_gᵀ) ⊙ input[block]) · W_pᵀ; γ_block)            at the end of every block
#pragma once

#include <loupe/policy/branch.hpp>
#include <loupe/ref/feed_forward.hpp>
#include <loupe/ref/rms_norm.hpp>

#include <algorithm>
#include <cmath>

namespace loupe::ref {

/// The inputs of all blocks, [tokens, blocks · P]. x: [tokens, width]; ids: [tokens].
template <class PerLayerInput, class T>
matrix<T> per_layer_inputs(const matrix<T>& x, std::span<const token_id> ids, const decoder_weights& w, index_t P,
                           std::span<const token_id> placeholders, T epsilon) {
    matrix<T> context = linear(x, w.per_layer_projection);
    context /= std::sqrt(static_cast<T>(width(x)));
    context = normed<norm::rms, T>(context, w.per_layer_norm, epsilon, width(context) / P);
    matrix<T> inputs = zeros<T>(rows(context), width(context));
    for (index_t t = 0; t < rows(context); ++t) {
        const token_id id = ids[static_cast<std::size_t>(t)];
        const bool placeholder = std::find(placeholders.begin(), placeholders.end(), id) != placeholders.end();
        const std::vector<T> stored = weight_row<T>(w.per_layer_table, placeholder ? 0 : id);
        for (index_t i = 0; i < width(context); ++i) {
            const T token = stored[static_cast<std::size_t>(i)] * std::sqrt(static_cast<T>(P));
            inputs(t, i) = PerLayerInput::combine(context(t, i), token);
        }
    }
    return inputs;
}

/// What a block adds to x, [tokens, width]; input: [tokens, P]. The gate is gelu whatever slot::activation says.
template <class T>
matrix<T> per_layer_branch(const matrix<T>& x, const matrix<T>& input, const per_layer_weights& w, T epsilon) {
    return normed<norm::rms, T>(linear(gated<activation::gelu_tanh, T>(linear(x, w.gate), input), w.projection), w.norm, epsilon);
}

} // namespace loupe::ref
