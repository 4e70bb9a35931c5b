// One block of a decoder.
//
//   x += post(attention(rms(x)));   feed-forward sublayer;   per-layer input, where the model has one;   x *= scalar
#pragma once

#include <loupe/layer/attention.hpp>
#include <loupe/layer/feed_forward.hpp>
#include <loupe/layer/per_layer_input.hpp>

namespace loupe {

/// A kind of block. A model holds at most four kinds, whatever its depth: sliding or full, with keys and values of its own or an earlier
/// block's. Only what a block computes with is a parameter, so models that differ elsewhere share its code; a layer's probe_type is
/// probe::none if the block's probe watches nothing in it.
template <class Attention, class FeedForward, class PostNorm, bool PerLayerInput, class Probe = typename Attention::probe_type>
class block {
  public:
    using probe_type = Probe;

  private:
    using per_layer_probe = probe_at<Probe, at::per_layer_gate>;

    const block_weights* weights_;
    index_t index_;
    Attention attention_;
    FeedForward feed_forward_;
    per_layer_gate_layer<per_layer_probe> per_layer_;
    float scalar_;

  public:
    static constexpr bool owns_kv = Attention::owns_kv;

    block(const block_weights& w, const attention_sizes& sizes, index_t experts, index_t experts_used, float scalar)
        : weights_(&w), index_(sizes.block), attention_{&w.attention, sizes},
          feed_forward_(w, sizes.block, experts, experts_used), per_layer_{&w.per_layer, sizes.block}, scalar_(scalar) {}

    /// x: [tokens, width], the residual stream, changed in place; per_layer: [tokens, P] of this block, or empty. `cache` is the block's
    /// own or its donor's.
    [[gnu::noinline]] void operator()(context_of<Probe>& c, rope_table& rope, matrix_view<float> x, matrix_view<const float> per_layer,
                                      kv_cache& cache) const {
        const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
        norm_rows<norm::rms>(c.threads, x, weights_->input_norm, c.epsilon, a);
        if constexpr (Probe::template watches<at::attn_input>) c.probe(at::attn_input{}, index_, c.position_of(0), a);
        attention_(c, rope, a, cache, b);
        add_normed<PostNorm>(c.threads, x, b, weights_->attention_norm, c.epsilon);
        feed_forward_(c, x);
        if constexpr (PerLayerInput) per_layer_(c, x, per_layer);
        if (scalar_ != 1.0F) {
            for (index_t t = 0; t < x.rows; ++t) kernel::scale(x[t], scalar_);
        }
        if constexpr (Probe::template watches<at::residual>) c.probe(at::residual{}, index_, c.position_of(0), x);
    }
};

} // namespace loupe
