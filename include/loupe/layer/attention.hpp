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

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
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

/// Which keys a query may see, apart from pruning. `end` is one past the last position there is for it, `image_end` one past the image that
/// it lies in, 0 for text.
template <class Mask, class Kv>
struct seen_by {
    index_t query, end, image_end;
    mask_sizes sizes;

    seen_by(const context& c, index_t t, const attention_sizes& s) : query(c.position_of(t)), end(query + 1), image_end(0), sizes(s.mask) {
        if constexpr (Mask::looks_ahead) end = c.position + static_cast<index_t>(c.ids.size());
        if (s.images_see_themselves && !c.image_end.empty()) image_end = c.image_end[static_cast<std::size_t>(c.in_chunk(t))];
        end = std::max(end, image_end);
    }
    seen_by(index_t q, index_t e, index_t image, mask_sizes s) : query(q), end(e), image_end(image), sizes(s) {}

    /// No key before this one is seen.
    index_t first() const {
        const index_t reach = Mask::reach(sizes);
        return reach == 0 ? 0 : std::max<index_t>(0, query - reach + 1);
    }
    bool operator()(index_t key) const {
        if constexpr (Kv::length != 0) { // only the first and the last positions are kept
            if (key >= Kv::sinks && key <= query - Kv::length) return false;
        }
        // What lies ahead inside the query's image is visible whatever a causal mask says.
        return key < end && (Mask::sees(query, key, sizes) || (key > query && key < image_end));
    }
};

/// The keys that one query sees: their rows in the cache, and their positions.
struct visible_keys {
    std::vector<index_t> rows, positions;
};

/// What attend_rows keeps from query to query.
struct attend_rows_memory {
    visible_keys visible;
    scratch<float> scores, weights, before;
};

/// Lists what a query sees, in order of position. `pruning` may be null.
template <class Mask, class Kv>
[[gnu::noinline]] inline void list_visible(const seen_by<Mask, Kv>& sees, const kv_cache& cache, const pruning_state* pruning,
                                           visible_keys& out) {
    out.rows.clear();
    out.positions.clear();
    for (index_t key = sees.first(); key < sees.end; ++key) {
        if constexpr (Kv::length != 0) {
            if (key >= Kv::sinks) key = std::max(key, sees.query - Kv::length + 1);
        }
        if (!sees(key) || (pruning != nullptr && !pruning->sees(sees.query, key))) continue;
        out.rows.push_back(cache.row(key));
        out.positions.push_back(key);
    }
}

/// Attention where its scores or weights are wanted, by a probe or for pruning: all of a query's keys at once. q, mix: [tokens, heads · D].
/// Whoever only looks gets the bits of attend_tiles.
template <class Mask, class Kv, class SoftCap, class Probe>
struct attend_rows {
    const context_of<Probe>& c;
    const attention_sizes& sizes;
    matrix_view<const float> q;
    const kv_cache& cache;
    matrix_view<float> mix;

    void operator()(index_t first_row, index_t last_row) const {
        const index_t group = sizes.heads / sizes.kv_heads, D = sizes.head_width;
        thread_local attend_rows_memory kept;
        thread_local kernel::row_reader reader;
        attend_rows_memory memory = std::move(kept); // a probe may read another sequence, on this thread
        auto& visible = memory.visible;
        for (index_t t = first_row; t < last_row; ++t) {
            const seen_by<Mask, Kv> sees(c, t, sizes);
            list_visible(sees, cache, c.pruning, visible);
            const auto n = static_cast<index_t>(visible.rows.size());
            const auto scores = memory.scores.take(sizes.heads, n);
            for (index_t g = 0; g < sizes.kv_heads; ++g) {
                const matrix_view<const float> heads(q[t].data() + g * group * D, group, D);
                reader.for_pieces(
                    cache.keys(g), D, visible.rows,
                    [&](const kernel::float_rows& keys, index_t j) {
                        kernel::attention_scores(heads, keys.first, keys.stride, keys.rows,
                                                 scores.slice(g * group, group).columns(j, static_cast<index_t>(keys.rows.size())));
                    },
                    visible.rows.size(), kernel::row_reader::few(D));
            }
            for (index_t h = 0; h < sizes.heads; ++h) {
                kernel::scale(scores[h], sizes.score_scale);
                kernel::softcap<SoftCap>(scores[h], sizes.cap);
            }
            if constexpr (Probe::template watches<at::attn_scores>) c.probe(at::attn_scores{}, sizes.block, sees.query, scores);
            for (index_t g = 0; g < sizes.kv_heads; ++g) mix_scored(scores.slice(g * group, group), visible, t, g);

            if (Probe::template watches<at::attn_probs> || c.received.rows > 0) {
                const auto weights = memory.weights.take(sizes.heads, n);
                std::copy_n(scores.data, sizes.heads * n, weights.data);
                for (index_t h = 0; h < sizes.heads; ++h) kernel::attention_weights(weights[h]);
                if constexpr (Probe::template watches<at::attn_probs>) {
                    const auto before = memory.before.take(sizes.heads * n);
                    std::copy_n(weights.data, sizes.heads * n, before.data());
                    c.probe(at::attn_probs{}, sizes.block, sees.query, weights);
                    if (std::memcmp(before.data(), weights.data, before.size_bytes()) != 0) mix_weighed(weights, visible, t);
                }
                for (index_t h = 0; h < sizes.heads && c.received.rows > 0; ++h) {
                    for (index_t j = 0; j < n; ++j) c.received[t][visible.positions[static_cast<std::size_t>(j)]] += weights[h][j];
                }
            }
        }
        kept = std::move(memory);
    }

  private:
    /// By the scores of a group's heads, [group, keys]: in the blocks and spans of attend_tiles.
    void mix_scored(matrix_view<const float> scores, const visible_keys& visible, index_t t, index_t g) const {
        const index_t group = scores.rows, D = sizes.head_width, n = scores.width;
        thread_local kernel::attention_sums all, part;
        thread_local scratch<float> memory;
        const auto block_scores = memory.take(group, kernel::key_block);
        all.start(group, D);
        for (index_t j = 0, span = -1; j < n;) {
            const index_t block = visible.positions[static_cast<std::size_t>(j)] / kernel::key_block * kernel::key_block;
            if (block / kernel::key_span != span) {
                if (span >= 0) all.merge(part);
                span = block / kernel::key_span;
                part.start(group, D);
            }
            std::array<index_t, kernel::key_block> rows;
            rows.fill(visible.rows[static_cast<std::size_t>(j)]);
            std::fill_n(block_scores.data, group * kernel::key_block, kernel::attention_sums::unseen);
            for (; j < n && visible.positions[static_cast<std::size_t>(j)] < block + kernel::key_block; ++j) {
                const index_t place = visible.positions[static_cast<std::size_t>(j)] - block;
                rows[static_cast<std::size_t>(place)] = visible.rows[static_cast<std::size_t>(j)];
                for (index_t h = 0; h < group; ++h) block_scores[h][place] = scores[h][j];
            }
            part.add_scored(block_scores, cache.values(g), rows);
        }
        if (n > 0) all.merge(part);
        for (index_t h = 0; h < group; ++h)
            all.finish(h, mix[t].subspan(static_cast<std::size_t>((g * group + h) * D), static_cast<std::size_t>(D)));
    }

    /// By weights that a probe has changed, [heads, keys].
    void mix_weighed(matrix_view<const float> weights, const visible_keys& visible, index_t t) const {
        const index_t group = sizes.heads / sizes.kv_heads, D = sizes.head_width;
        thread_local kernel::row_reader reader;
        for (index_t g = 0; g < sizes.kv_heads; ++g) {
            const auto mix_all = [&](const kernel::float_rows& values, index_t) {
                kernel::attention_mix(weights.slice(g * group, group), values.first, values.stride, values.rows,
                                      {mix[t].data() + g * group * D, group, D});
            };
            reader.for_pieces(cache.values(g), D, visible.rows, mix_all, visible.rows.size(), visible.rows.size());
        }
    }
};

/// Attention where nobody asks for its weights: some queries and the heads of one key head at a time, block by block of keys. Threads share
/// the tiles of a prompt, and the spans of a long context behind a few tokens.
template <class Mask, class Kv, class SoftCap>
struct attend_tiles {
    static constexpr index_t tile = 8; ///< queries

    const context& c;
    const attention_sizes& sizes;
    matrix_view<const float> q;
    const kv_cache& cache;
    matrix_view<float> mix;

    index_t tiles() const { return (c.tokens + tile - 1) / tile; }

    /// First and end of the key positions that a tile's queries see.
    std::pair<index_t, index_t> keys_of(index_t number) const {
        index_t first = std::numeric_limits<index_t>::max(), end = 0;
        for (index_t t = number * tile; t < std::min(c.tokens, (number + 1) * tile); ++t) {
            const seen_by<Mask, Kv> sees(c, t, sizes);
            first = std::min(first, sees.first()), end = std::max(end, sees.end);
        }
        return {first, end};
    }

    /// Rows whose sums are built together: of a tile, query by query, some heads of those that share key head g.
    struct rows {
        index_t number, g;
        index_t head, heads; ///< the first one of all, and how many

        bool operator==(const rows&) const = default;
    };
    rows all_rows(index_t number, index_t g) const {
        const index_t group = sizes.heads / sizes.kv_heads;
        return {number, g, g * group, group};
    }

    /// Adds the keys [first, end), of one span, to the sums of rows.
    [[gnu::noinline]] void add(kernel::attention_sums& sums, const rows& of, index_t first, index_t end) const {
        const index_t D = sizes.head_width;
        const index_t begin = of.number * tile, count = std::min(c.tokens, begin + tile) - begin;
        thread_local std::vector<const float*> queries;
        thread_local std::vector<std::uint64_t> visible;
        queries.clear();
        for (index_t t = begin; t < begin + count; ++t) {
            for (index_t h = of.head; h < of.head + of.heads; ++h) queries.push_back(q[t].data() + h * D);
        }
        visible.resize(queries.size());
        sums.start(queries, D);
        const auto head_keys = cache.keys(of.g), head_values = cache.values(of.g);
        for (index_t block = first / kernel::key_block * kernel::key_block; block < end; block += kernel::key_block) {
            const index_t keys = std::min(kernel::key_block, end - block);
            std::uint64_t any = 0;
            for (index_t t = 0; t < count; ++t) {
                const seen_by<Mask, Kv> sees(c, begin + t, sizes);
                std::uint64_t bits = 0;
                for (index_t j = 0; j < keys; ++j) bits |= static_cast<std::uint64_t>(sees(block + j)) << j;
                std::fill_n(visible.begin() + t * of.heads, of.heads, bits);
                any |= bits;
            }
            if (any == 0) continue;
            std::array<index_t, kernel::key_block> cached;
            for (index_t j = 0; j < keys; ++j) cached[static_cast<std::size_t>(j)] = cache.row(block + j);
            sums.template add<SoftCap>(head_keys, head_values, std::span(cached).first(static_cast<std::size_t>(keys)), visible,
                                       sizes.score_scale, sizes.cap);
        }
    }

    void finish(const kernel::attention_sums& sums, const rows& of) const {
        const index_t D = sizes.head_width, begin = of.number * tile;
        for (index_t t = begin; t < std::min(c.tokens, begin + tile); ++t) {
            for (index_t h = 0; h < of.heads; ++h) {
                sums.finish((t - begin) * of.heads + h,
                            mix[t].subspan(static_cast<std::size_t>((of.head + h) * D), static_cast<std::size_t>(D)));
            }
        }
    }

    /// Tiles and key heads [first, last), tile by tile.
    void operator()(index_t first, index_t last) const {
        thread_local kernel::attention_sums all, part;
        for (; first < last; ++first) {
            const rows of = all_rows(first / sizes.kv_heads, first % sizes.kv_heads);
            const auto [begin, end] = keys_of(of.number);
            for (index_t span = begin / kernel::key_span; span * kernel::key_span < end; ++span) {
                const index_t from = std::max(begin, span * kernel::key_span), to = std::min(end, (span + 1) * kernel::key_span);
                if (from == begin) {
                    add(all, of, from, to);
                } else {
                    add(part, of, from, to);
                    all.merge(part);
                }
            }
            finish(all, of);
        }
    }

    /// The same bits, with the spans of every tile shared among threads, and its heads where there are too few spans.
    void in_spans() const {
        thread_local std::vector<kernel::attention_sums> storage;
        struct piece {
            rows of;
            index_t first, end;
        };
        thread_local std::vector<piece> pieces;
        pieces.clear();
        const index_t group = sizes.heads / sizes.kv_heads;
        index_t spans = 0;
        for (index_t number = 0; number < tiles(); ++number) {
            const auto [begin, end] = keys_of(number);
            spans += sizes.kv_heads * ((end + kernel::key_span - 1) / kernel::key_span - begin / kernel::key_span);
        }
        const index_t shares = std::clamp<index_t>(c.threads.size() / std::max<index_t>(1, spans), 1, group);
        const index_t heads = (group + shares - 1) / shares;
        for (index_t number = 0; number < tiles(); ++number) {
            const auto [begin, end] = keys_of(number);
            for (index_t g = 0; g < sizes.kv_heads; ++g) {
                for (index_t h = 0; h < group; h += heads) {
                    const rows of{number, g, g * group + h, std::min(heads, group - h)};
                    for (index_t span = begin / kernel::key_span; span * kernel::key_span < end; ++span) {
                        pieces.push_back({of, std::max(begin, span * kernel::key_span), std::min(end, (span + 1) * kernel::key_span)});
                    }
                }
            }
        }
        if (storage.size() < pieces.size()) storage.resize(pieces.size());
        kernel::attention_sums* const sums = storage.data(); // of this thread, whichever thread works on it
        c.threads.for_ranges(std::ssize(pieces), 1, [&, all = pieces.data()](index_t first, index_t last) {
            for (; first < last; ++first) add(sums[first], all[first].of, all[first].first, all[first].end);
        });
        for (std::size_t i = 0, next = 0; i < pieces.size(); i = next) {
            for (next = i + 1; next < pieces.size() && pieces[next].of == pieces[i].of; ++next) sums[i].merge(sums[next]);
            finish(sums[i], pieces[i].of);
        }
    }
};

/// The same for all queries. The middle of an attention layer, apart because layers that differ in their projections and norms share it.
template <class Mask, class Kv, class SoftCap, bool Prunes, class Probe>
[[gnu::noinline]] inline void attend(context_of<Probe>& c, const attention_sizes& sizes, matrix_view<const float> q, const kv_cache& cache,
                                     matrix_view<float> mix) {
    if constexpr (Probe::template watches<at::attn_scores> || Probe::template watches<at::attn_probs>) {
        attend_rows<Mask, Kv, SoftCap, Probe>{c, sizes, q, cache, mix}(0, c.tokens); // a probe is called by one thread
    } else if constexpr (Prunes) {
        c.threads.for_ranges(c.tokens, 8, attend_rows<Mask, Kv, SoftCap, Probe>{c, sizes, q, cache, mix});
    } else {
        const attend_tiles<Mask, Kv, SoftCap> tiles{c, sizes, q, cache, mix};
        const index_t pieces = tiles.tiles() * sizes.kv_heads;
        if (pieces < 2 * c.threads.size() && c.threads.size() > 1) {
            tiles.in_spans();
        } else {
            c.threads.for_ranges(pieces, 1, tiles);
        }
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
    [[gnu::noinline]] void operator()(context_of<Probe>& c, const rope_table& rope, matrix_view<const float> x, kv_cache& cache,
                                      matrix_view<float> out) const {
        const index_t q_width = sizes.heads * sizes.head_width, kv_width = sizes.kv_heads * sizes.head_width;
        const auto q = c.memory.q.take(c.tokens, q_width);
        const auto finish_query = [&](index_t t) {
            norm_heads<QNorm>(q[t], weights->q_norm, c.epsilon, sizes.heads);
            rope.rotate(q[t], c.in_chunk(t));
        };
        if constexpr (!OwnsKv) {
            kernel::matmul(weights->q, x, q, c.threads);
            c.threads.for_ranges(c.tokens, 8, [&](index_t first, index_t last) {
                for (index_t t = first; t < last; ++t) finish_query(t);
            });
            if constexpr (Probe::template watches<at::q>) c.probe(at::q{}, sizes.block, c.position_of(0), q);
        } else {
            const auto k = c.memory.k.take(c.tokens, kv_width), v = c.memory.v.take(c.tokens, kv_width);
            if constexpr (ValueFromKey) {
                kernel::matmul({{weights->q, x, q}, {weights->k, x, k}}, c.threads);
                for (index_t t = 0; t < c.tokens; ++t) std::copy_n(k[t].data(), kv_width, v[t].data());
            } else {
                kernel::matmul({{weights->q, x, q}, {weights->k, x, k}, {weights->v, x, v}}, c.threads);
            }
            c.threads.for_ranges(c.tokens, 8, [&](index_t first, index_t last) {
                for (index_t t = first; t < last; ++t) {
                    finish_query(t);
                    norm_heads<KNorm>(k[t], weights->k_norm, c.epsilon, sizes.kv_heads);
                    norm_heads<VNorm>(v[t], {}, c.epsilon, sizes.kv_heads);
                    rope.rotate(k[t], t);
                }
            });
            if constexpr (Probe::template watches<at::q>) c.probe(at::q{}, sizes.block, c.position_of(0), q);
            if constexpr (Probe::template watches<at::k>) c.probe(at::k{}, sizes.block, c.position, k);
            if constexpr (Probe::template watches<at::v>) c.probe(at::v{}, sizes.block, c.position, v);
            cache.make_room(c.position, c.tokens);
            for (index_t t = 0; t < c.tokens; ++t) cache.write(c.position + t, k[t], v[t]);
        }
        const auto mix = c.memory.mix.take(c.tokens, q_width);
        attend<Mask, Kv, SoftCap, Prunes, probe_at<Probe, at::attn_scores, at::attn_probs>>(c, sizes, q, cache, mix);
        if constexpr (Probe::template watches<at::attn_mix>) c.probe(at::attn_mix{}, sizes.block, c.position_of(0), mix);
        kernel::matmul(weights->o, mix, out, c.threads);
        if constexpr (Probe::template watches<at::attn_output>) c.probe(at::attn_output{}, sizes.block, c.position_of(0), out);
    }
};

} // namespace loupe
