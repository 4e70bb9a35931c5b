// Per-layer inputs: a small vector for every token and block, gated into the residual stream at the block's end (Gemma 3n, E2B, E4B).
//
//   context = rms(W · x₀ · width^(−1/2); γ),  token = T[id] · √P,  input = combine(context, token), once per forward pass
//   x += rms(W_p (gelu(W_g x) ⊙ input[block]); γ_block)                                 (transformers, Gemma4TextModel, -DecoderLayer)
#pragma once

#include <loupe/layer/context.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/policy/activation.hpp>

namespace loupe {

/// The inputs of all blocks: [tokens, blocks · P].
template <class PerLayerInput, class Probe>
struct per_layer_inputs_layer {
    const decoder_weights* weights;
    index_t width = 0;                      ///< P
    std::span<const token_id> placeholders; ///< ids of image and audio tokens: they read row 0 of the table

    /// x: [tokens, model width], the scaled embeddings.
    [[gnu::noinline]] matrix_view<float> operator()(context_of<Probe>& c, matrix_view<const float> x) const {
        const index_t all = weights->per_layer_projection.rows;
        const auto out = c.memory.per_layer_inputs.take(c.tokens, all);
        kernel::matmul(weights->per_layer_projection, x, out, c.threads);
        const float root = 1.0F / std::sqrt(static_cast<float>(x.width)), token_scale = std::sqrt(static_cast<float>(width));
        c.threads.for_ranges(c.tokens, 8, [&](index_t first, index_t last) {
            thread_local scratch<float> memory;
            const auto row = memory.take(all);
            for (index_t t = first; t < last; ++t) {
                kernel::scale(out[t], root);
                norm_heads<norm::rms>(out[t], weights->per_layer_norm, c.epsilon, all / width);
                const token_id id = c.ids[static_cast<std::size_t>(t)];
                const bool placeholder = std::find(placeholders.begin(), placeholders.end(), id) != placeholders.end();
                weights->per_layer_table.decode_row(placeholder ? 0 : id, row.data());
                for (index_t i = 0; i < all; ++i) out[t][i] = static_cast<float>(PerLayerInput::combine(out[t][i], row[i] * token_scale));
            }
        });
        if constexpr (Probe::template watches<at::per_layer_inputs>) c.probe(at::per_layer_inputs{}, 0, c.position, out);
        return out;
    }
};

/// What a block does with its input. Its gate keeps gelu whatever slot::activation says.
template <class Probe>
struct per_layer_gate_layer {
    const per_layer_weights* weights;
    index_t block = 0;

    /// x: [tokens, width], changed in place; input: [tokens, P] of this block.
    [[gnu::noinline]] void operator()(context_of<Probe>& c, matrix_view<float> x, matrix_view<const float> input) const {
        const auto hidden = c.memory.per_layer_hidden.take(x.rows, weights->gate.rows);
        kernel::matmul(weights->gate, x, hidden, c.threads);
        for (index_t t = 0; t < x.rows; ++t) kernel::gate<activation::gelu_tanh>(hidden[t], input[t]);
        if constexpr (Probe::template watches<at::per_layer_gate>) c.probe(at::per_layer_gate{}, block, c.position_of(0), hidden);
        const auto out = c.memory.branch.take(x.rows, x.width);
        kernel::matmul(weights->projection, hidden, out, c.threads);
        add_normed<norm::rms>(c.threads, x, out, weights->norm, c.epsilon);
    }
};

} // namespace loupe
