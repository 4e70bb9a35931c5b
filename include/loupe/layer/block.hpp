// One block of a decoder.
//
//   x += post(attention(rms(x)));   feed-forward sublayer;   per-layer input, where the model has one;   x *= scalar
#pragma once

#include <loupe/layer/attention.hpp>
#include <loupe/layer/feed_forward.hpp>
#include <loupe/layer/per_layer_input.hpp>

namespace loupe {

/// A kind of block. A model holds at most four kinds, whatever its depth: sliding or full, with keys and values of its own or an earlier
/// block's. Only what a block computes with is a parameter, so models that differ elsewhere share its code.
template <class Attention, class FeedForward, class PostNorm, bool PerLayerInput>
class block {
    using probe_type = typename Attention::probe_type;

    const block_weights* weights_;
    index_t index_;
    Attention attention_;
    FeedForward feed_forward_;
    per_layer_gate_layer<probe_type> per_layer_;
    float scalar_;

  public:
    static constexpr bool owns_kv = Attention::owns_kv;

    block(const block_weights& w, const attention_sizes& sizes, index_t experts, index_t experts_used, float scalar)
        : weights_(&w), index_(sizes.block), attention_{&w.attention, sizes},
          feed_forward_(w, sizes.block, experts, experts_used), per_layer_{&w.per_layer, sizes.block}, scalar_(scalar) {}

    /// x: [tokens, width], the residual stream, changed in place; per_layer: [tokens, P] of this block, or empty. `cache` is the block's
    /// own or its donor's; `pruning` is null before the first block that prunes; `observe`: this block's attention counts for what is
    /// pruned behind it.
    void operator()(context& c, rope_table& rope, matrix_view<float> x, matrix_view<const float> per_layer, kv_cache& cache,
                    pruning_state* pruning, bool observe, probe_type& probe) const {
        const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
        norm_rows<norm::rms>(c.threads, x, weights_->input_norm, c.epsilon, a);
        visit<at::attn_input>(probe, index_, c.position_of(0), a);
        attention_(c, rope, a, cache, pruning, observe, probe, b);
        norm_rows<PostNorm>(c.threads, b, weights_->attention_norm, c.epsilon, b);
        add_rows(x, b);
        feed_forward_(c, x, probe);
        if constexpr (PerLayerInput) per_layer_(c, x, per_layer, probe);
        if (scalar_ != 1.0F) {
            for (index_t t = 0; t < x.rows; ++t) kernel::scale(x[t], scalar_);
        }
        visit<at::residual>(probe, index_, c.position_of(0), x);
    }
};

} // namespace loupe
