// Grouped-query attention of one block.
//
//   q = rope(norm(Wq·x)),  k = rope(norm(Wk·x)),  v = norm(Wv·x)  or, with K = V, norm(Wk·x)
//   s[h, j] = softcap(scale · q[h] · k[h / (H/K), j]) over the keys j that mask, cache and pruning leave visible
//   y = Wo · concat_h Σ_j softmax(s[h])_j v[h / (H/K), j]                      (transformers, Gemma4TextAttention)
#pragma once

#include <loupe/kernel/attention.hpp>
#include <loupe/layer/context.hpp>
#include <loupe/layer/kv_cache.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/policy/kv.hpp>
#include <loupe/policy/mask.hpp>

#include <vector>

namespace loupe {

/// Sizes and numbers of an attention layer.
struct attention_sizes {
    index_t block = 0;
    index_t heads = 0;
    index_t kv_heads = 0;
    index_t head_width = 0;
    mask_sizes mask{};
    float score_scale = 1;
    float cap = 0;
    bool images_see_themselves = false;
};

/// The keys that one query sees: their rows in the cache, and their positions.
struct visible_keys {
    std::vector<index_t> rows, positions;
};

/// Lists what `query` sees below position `end`, in order of position. `image_end` is one past the image that the query lies in, 0 for
/// text; `pruning` is one pointer, which may be null, or is left out.
template <class Mask, class Kv, std::same_as<pruning_state>... Pruning>
[[gnu::noinline]] inline void list_visible(index_t query, index_t end, index_t image_end, mask_sizes sizes, const kv_cache& cache,
                                           visible_keys& out, const Pruning*... pruning) {
    out.rows.clear();
    out.positions.clear();
    const index_t reach = Mask::reach(sizes);
    const index_t first = reach == 0 ? 0 : std::max<index_t>(0, query - reach + 1);
    for (index_t key = first; key < end; ++key) {
        if constexpr (Kv::length != 0) { // only the first and the last positions are kept
            if (key >= Kv::sinks) key = std::max(key, query - Kv::length + 1);
        }
        // What lies ahead inside the query's image is visible whatever a causal mask says.
        if (!Mask::sees(query, key, sizes) && !(key > query && key < image_end)) continue;
        if constexpr (sizeof...(pruning) > 0) {
            if (((pruning != nullptr && !pruning->sees(query, key)) || ...)) continue;
        }
        out.rows.push_back(cache.row(key));
        out.positions.push_back(key);
    }
}

/// Weighted values of the visible keys, for some of the queries: q, mix: [tokens, heads · D].
template <class Mask, class Kv, class SoftCap, bool Prunes, class Probe>
struct attend_rows {
    const context_of<Probe>& c;
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
            if constexpr (Mask::looks_ahead) end = c.position + static_cast<index_t>(c.ids.size());
            index_t image_end = 0;
            if (sizes.images_see_themselves && !c.image_end.empty()) image_end = c.image_end[static_cast<std::size_t>(c.in_chunk(t))];
            end = std::max(end, image_end);
            if constexpr (Prunes) {
                list_visible<Mask, Kv>(query, end, image_end, sizes.mask, cache, visible, c.pruning);
            } else {
                list_visible<Mask, Kv>(query, end, image_end, sizes.mask, cache, visible);
            }
            const auto n = static_cast<index_t>(visible.rows.size());
            const auto scores = memory.take(sizes.heads, n);
            for (index_t g = 0; g < sizes.kv_heads; ++g) {
                const matrix_view<const float> heads(q[t].data() + g * group * D, group, D);
                kernel::attention_scores(heads, cache.keys() + g * D, cache.width(), visible.rows, scores.slice(g * group, group));
            }
            for (index_t h = 0; h < sizes.heads; ++h) {
                for (float& s : scores[h]) s = SoftCap::apply(s * sizes.score_scale, sizes.cap);
            }
            if constexpr (Probe::template watches<at::attn_scores>) c.probe(at::attn_scores{}, sizes.block, query, scores);
            for (index_t h = 0; h < sizes.heads && n > 0; ++h) kernel::softmax(scores[h]);
            if constexpr (Probe::template watches<at::attn_probs>) c.probe(at::attn_probs{}, sizes.block, query, scores);
            if constexpr (Prunes) {
                for (index_t h = 0; h < sizes.heads && c.received.rows > 0; ++h) {
                    for (index_t j = 0; j < n; ++j) c.received[t][visible.positions[static_cast<std::size_t>(j)]] += scores[h][j];
                }
            }
            for (index_t g = 0; g < sizes.kv_heads; ++g) {
                kernel::attention_mix(scores.slice(g * group, group), cache.values() + g * D, cache.width(), visible.rows,
                                      {mix[t].data() + g * group * D, group, D});
            }
        }
    }
};

/// The same for all queries. The middle of an attention layer, apart because layers that differ in their projections and norms share it.
template <class Mask, class Kv, class SoftCap, bool Prunes, class Probe>
[[gnu::noinline]] inline void attend(context_of<Probe>& c, const attention_sizes& sizes, matrix_view<const float> q, const kv_cache& cache,
                                     matrix_view<float> mix) {
    const attend_rows<Mask, Kv, SoftCap, Prunes, Probe> rows{c, sizes, q, cache, mix};
    if constexpr (Probe::template watches<at::attn_scores> || Probe::template watches<at::attn_probs>) {
        rows(0, c.tokens); // a probe is called by one thread
    } else {
        c.threads.for_ranges(c.tokens, 8, rows);
    }
}

/// The parts are values of slots; OwnsKv is false for a block that reads another block's keys and values.
template <class Mask, class Kv, class QNorm, class KNorm, class VNorm, class SoftCap, bool ValueFromKey, bool OwnsKv, bool Prunes,
          class Probe>
struct attention_layer {
    using probe_type = Probe;
    static constexpr bool owns_kv = OwnsKv, prunes = Prunes;

    const attention_weights* weights;
    attention_sizes sizes;

    /// x: [tokens, width] after the block's first norm; out: [tokens, width]. `cache` is the block's own, or its donor's.
    [[gnu::noinline]] void operator()(context_of<Probe>& c, rope_table& rope, matrix_view<const float> x, kv_cache& cache,
                                      matrix_view<float> out) const {
        const index_t q_width = sizes.heads * sizes.head_width, kv_width = sizes.kv_heads * sizes.head_width;
        const auto q = c.memory.q.take(c.tokens, q_width);
        kernel::matmul(weights->q, x, q, c.threads);
        norm_rows<QNorm>(c.threads, q, weights->q_norm, c.epsilon, q, sizes.heads);
        for (index_t t = 0; t < c.tokens; ++t) rope.rotate(q[t], c.in_chunk(t));
        if constexpr (Probe::template watches<at::q>) c.probe(at::q{}, sizes.block, c.position_of(0), q);
        if constexpr (OwnsKv) {
            const auto k = c.memory.k.take(c.tokens, kv_width), v = c.memory.v.take(c.tokens, kv_width);
            kernel::matmul(weights->k, x, k, c.threads);
            if constexpr (ValueFromKey) {
                for (index_t t = 0; t < c.tokens; ++t) std::copy_n(k[t].data(), kv_width, v[t].data());
            } else {
                kernel::matmul(weights->v, x, v, c.threads);
            }
            norm_rows<KNorm>(c.threads, k, weights->k_norm, c.epsilon, k, sizes.kv_heads);
            norm_rows<VNorm>(c.threads, v, {}, c.epsilon, v, sizes.kv_heads);
            for (index_t t = 0; t < c.tokens; ++t) rope.rotate(k[t], t);
            if constexpr (Probe::template watches<at::k>) c.probe(at::k{}, sizes.block, c.position, k);
            if constexpr (Probe::template watches<at::v>) c.probe(at::v{}, sizes.block, c.position, v);
            cache.make_room(c.position, c.tokens);
            for (index_t t = 0; t < c.tokens; ++t) {
                std::copy_n(k[t].data(), kv_width, cache.key(c.position + t));
                std::copy_n(v[t].data(), kv_width, cache.value(c.position + t));
            }
        }
        const auto mix = c.memory.mix.take(c.tokens, q_width);
        attend<Mask, Kv, SoftCap, Prunes, probe_at<Probe, at::attn_scores, at::attn_probs>>(c, sizes, q, cache, mix);
        if constexpr (Probe::template watches<at::attn_mix>) c.probe(at::attn_mix{}, sizes.block, c.position_of(0), mix);
        kernel::matmul(weights->o, mix, out, c.threads);
        if constexpr (Probe::template watches<at::attn_output>) c.probe(at::attn_output{}, sizes.block, c.position_of(0), out);
    }
};

} // namespace loupe
