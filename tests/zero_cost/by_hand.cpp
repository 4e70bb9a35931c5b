// The blocks of E2B written down by hand, over the same kernels: no probe, no pruning, no cache policy, and no word of any of them. Cut
// into the same functions as include/loupe/layer, whose counterparts are named; what the parts would need is left out, not switched off.
#include <loupe/layer/attention.hpp>
#include <loupe/layer/feed_forward.hpp>
#include <loupe/layer/per_layer_input.hpp>
#include <loupe/policy/softcap.hpp>

namespace by_hand {

using namespace loupe;

// layer/attention.hpp, list_visible
template <class Mask>
[[gnu::noinline]] inline void list_visible(index_t query, index_t end, index_t image_end, mask_sizes sizes, const kv_cache& cache,
                                           visible_keys& out) {
    out.rows.clear();
    out.positions.clear();
    const index_t reach = Mask::reach(sizes);
    const index_t first = reach == 0 ? 0 : std::max<index_t>(0, query - reach + 1);
    for (index_t key = first; key < end; ++key) {
        if (!Mask::sees(query, key, sizes) && !(key > query && key < image_end)) continue;
        out.rows.push_back(cache.row(key));
        out.positions.push_back(key);
    }
}

// layer/attention.hpp, attend_rows
template <class Mask>
struct attend_rows {
    const context& c;
    const attention_sizes& sizes;
    matrix_view<const float> q;
    const kv_cache& cache;
    matrix_view<float> mix;

    void operator()(index_t first_row, index_t last_row) const {
        const index_t group = sizes.heads / sizes.kv_heads, D = sizes.head_width;
        thread_local visible_keys visible;
        thread_local scratch<float> memory;
        for (index_t t = first_row; t < last_row; ++t) {
            const index_t query = c.position_of(t);
            index_t end = query + 1;
            index_t image_end = 0;
            if (sizes.images_see_themselves && !c.image_end.empty()) image_end = c.image_end[static_cast<std::size_t>(c.in_chunk(t))];
            end = std::max(end, image_end);
            list_visible<Mask>(query, end, image_end, sizes.mask, cache, visible);
            const auto n = static_cast<index_t>(visible.rows.size());
            const auto scores = memory.take(sizes.heads, n);
            for (index_t g = 0; g < sizes.kv_heads; ++g) {
                const matrix_view<const float> heads(q[t].data() + g * group * D, group, D);
                kernel::attention_scores(heads, cache.keys() + g * D, cache.width(), visible.rows, scores.slice(g * group, group));
            }
            for (index_t h = 0; h < sizes.heads; ++h) {
                for (float& s : scores[h]) s = softcap::none::apply(s * sizes.score_scale, sizes.cap);
            }
            for (index_t h = 0; h < sizes.heads && n > 0; ++h) kernel::softmax(scores[h]);
            for (index_t g = 0; g < sizes.kv_heads; ++g) {
                kernel::attention_mix(scores.slice(g * group, group), cache.values() + g * D, cache.width(), visible.rows,
                                      {mix[t].data() + g * group * D, group, D});
            }
        }
    }
};

// layer/attention.hpp, attend
template <class Mask>
[[gnu::noinline]] inline void attend(context& c, const attention_sizes& sizes, matrix_view<const float> q, const kv_cache& cache,
                                     matrix_view<float> mix) {
    const attend_rows<Mask> rows{c, sizes, q, cache, mix};
    c.threads.for_ranges(c.tokens, 8, rows);
}

// layer/attention.hpp, attention_layer
template <class Mask, bool OwnsKv>
struct attention_layer {
    const attention_weights* weights;
    attention_sizes sizes;

    [[gnu::noinline]] void operator()(context& c, rope_table& rope, matrix_view<const float> x, kv_cache& cache,
                                      matrix_view<float> out) const {
        const index_t q_width = sizes.heads * sizes.head_width, kv_width = sizes.kv_heads * sizes.head_width;
        const auto q = c.memory.q.take(c.tokens, q_width);
        kernel::matmul(weights->q, x, q, c.threads);
        norm_rows<norm::rms>(c.threads, q, weights->q_norm, c.epsilon, q, sizes.heads);
        for (index_t t = 0; t < c.tokens; ++t) rope.rotate(q[t], c.in_chunk(t));
        if constexpr (OwnsKv) {
            const auto k = c.memory.k.take(c.tokens, kv_width), v = c.memory.v.take(c.tokens, kv_width);
            kernel::matmul(weights->k, x, k, c.threads);
            kernel::matmul(weights->v, x, v, c.threads);
            norm_rows<norm::rms>(c.threads, k, weights->k_norm, c.epsilon, k, sizes.kv_heads);
            norm_rows<norm::rms_without_gain>(c.threads, v, {}, c.epsilon, v, sizes.kv_heads);
            for (index_t t = 0; t < c.tokens; ++t) rope.rotate(k[t], t);
            cache.make_room(c.position, c.tokens);
            for (index_t t = 0; t < c.tokens; ++t) {
                std::copy_n(k[t].data(), kv_width, cache.key(c.position + t));
                std::copy_n(v[t].data(), kv_width, cache.value(c.position + t));
            }
        }
        const auto mix = c.memory.mix.take(c.tokens, q_width);
        attend<Mask>(c, sizes, q, cache, mix);
        kernel::matmul(weights->o, mix, out, c.threads);
    }
};

// layer/feed_forward.hpp, feed_forward_layer
struct feed_forward_layer {
    const feed_forward_weights* weights;
    index_t block;

    [[gnu::noinline]] void operator()(context& c, matrix_view<const float> x, matrix_view<float> out) const {
        const auto gate = c.memory.gate.take(x.rows, weights->gate.rows), up = c.memory.up.take(x.rows, weights->up.rows);
        kernel::matmul(weights->gate, x, gate, c.threads);
        kernel::matmul(weights->up, x, up, c.threads);
        c.threads.for_ranges(x.rows, 8, [&](index_t first, index_t last) {
            for (index_t t = first; t < last; ++t) kernel::gate<activation::gelu_tanh>(gate[t], up[t]);
        });
        kernel::matmul(weights->down, gate, out, c.threads);
    }
};

// layer/feed_forward.hpp, dense_sublayer
struct dense_sublayer {
    const block_weights* weights;
    feed_forward_layer dense;

    [[gnu::noinline]] void operator()(context& c, matrix_view<float> x) const {
        const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
        norm_rows<norm::rms>(c.threads, x, weights->mlp_input_norm, c.epsilon, a);
        dense(c, a, b);
        norm_rows<norm::rms>(c.threads, b, weights->mlp_norm, c.epsilon, b);
        add_rows(x, b);
    }
};

// layer/per_layer_input.hpp, per_layer_gate_layer
struct per_layer_gate_layer {
    const per_layer_weights* weights;
    index_t block;

    [[gnu::noinline]] void operator()(context& c, matrix_view<float> x, matrix_view<const float> input) const {
        const auto hidden = c.memory.per_layer_hidden.take(x.rows, weights->gate.rows);
        kernel::matmul(weights->gate, x, hidden, c.threads);
        for (index_t t = 0; t < x.rows; ++t) kernel::gate<activation::gelu_tanh>(hidden[t], input[t]);
        const auto out = c.memory.branch.take(x.rows, x.width);
        kernel::matmul(weights->projection, hidden, out, c.threads);
        norm_rows<norm::rms>(c.threads, out, weights->norm, c.epsilon, out);
        add_rows(x, out);
    }
};

// layer/block.hpp, block
template <class Mask, bool OwnsKv>
struct block_layer {
    const block_weights* weights;
    index_t index;
    attention_layer<Mask, OwnsKv> attention;
    dense_sublayer feed_forward;
    per_layer_gate_layer per_layer;
    float scalar;

    [[gnu::noinline]] void operator()(context& c, rope_table& rope, matrix_view<float> x, matrix_view<const float> input,
                                      kv_cache& cache) const {
        const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
        norm_rows<norm::rms>(c.threads, x, weights->input_norm, c.epsilon, a);
        attention(c, rope, a, cache, b);
        norm_rows<norm::rms>(c.threads, b, weights->attention_norm, c.epsilon, b);
        add_rows(x, b);
        feed_forward(c, x);
        per_layer(c, x, input);
        if (scalar != 1.0F) {
            for (index_t t = 0; t < x.rows; ++t) kernel::scale(x[t], scalar);
        }
    }
};

template <bool Full, bool OwnsKv>
using kind = block_layer<std::conditional_t<Full, mask::causal, mask::sliding<>>, OwnsKv>;

template <class Block>
inline void call(const Block& b, context& c, rope_table& rope, matrix_view<float> x, matrix_view<const float> per_layer, kv_cache& cache) {
    b(c, rope, x, per_layer, cache);
}

} // namespace by_hand

using namespace by_hand;
#include "entries.hpp"
