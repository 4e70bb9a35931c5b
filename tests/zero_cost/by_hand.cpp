// The blocks of E2B written down by hand, over the same kernels: no probe, no pruning, no cache policy, and no word of any of them. Cut
// into the same functions as include/loupe/layer, whose counterparts are named; what the parts would need is left out, not switched off.
#include <loupe/layer/attention.hpp>
#include <loupe/layer/feed_forward.hpp>
#include <loupe/layer/per_layer_input.hpp>
#include <loupe/policy/softcap.hpp>

namespace by_hand {

using namespace loupe;

// layer/attention.hpp, seen_by
template <class Mask>
struct seen_by {
    index_t query, end, image_end;
    mask_sizes sizes;

    seen_by(const context& c, index_t t, const attention_sizes& s) : query(c.position_of(t)), end(query + 1), image_end(0), sizes(s.mask) {
        if (s.images_see_themselves && !c.image_end.empty()) image_end = c.image_end[static_cast<std::size_t>(c.in_chunk(t))];
        end = std::max(end, image_end);
    }
    index_t first() const {
        const index_t reach = Mask::reach(sizes);
        return reach == 0 ? 0 : std::max<index_t>(0, query - reach + 1);
    }
    bool operator()(index_t key) const { return key < end && (Mask::sees(query, key, sizes) || (key > query && key < image_end)); }
};

// layer/attention.hpp, attend_tiles
template <class Mask>
struct attend_tiles {
    static constexpr index_t tile = 8;

    const context& c;
    const attention_sizes& sizes;
    matrix_view<const float> q;
    const kv_cache& cache;
    matrix_view<float> mix;

    index_t tiles() const { return (c.tokens + tile - 1) / tile; }

    std::pair<index_t, index_t> keys_of(index_t number) const {
        index_t first = std::numeric_limits<index_t>::max(), end = 0;
        for (index_t t = number * tile; t < std::min(c.tokens, (number + 1) * tile); ++t) {
            const seen_by<Mask> sees(c, t, sizes);
            first = std::min(first, sees.first()), end = std::max(end, sees.end);
        }
        return {first, end};
    }

    struct rows {
        index_t number, g;
        index_t head, heads;

        bool operator==(const rows&) const = default;
    };
    rows all_rows(index_t number, index_t g) const {
        const index_t group = sizes.heads / sizes.kv_heads;
        return {number, g, g * group, group};
    }

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
                const seen_by<Mask> sees(c, begin + t, sizes);
                std::uint64_t bits = 0;
                for (index_t j = 0; j < keys; ++j) bits |= static_cast<std::uint64_t>(sees(block + j)) << j;
                std::fill_n(visible.begin() + t * of.heads, of.heads, bits);
                any |= bits;
            }
            if (any == 0) continue;
            std::array<index_t, kernel::key_block> cached;
            for (index_t j = 0; j < keys; ++j) cached[static_cast<std::size_t>(j)] = cache.row(block + j);
            sums.template add<softcap::none>(head_keys, head_values, std::span(cached).first(static_cast<std::size_t>(keys)), visible,
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

// layer/attention.hpp, attend
template <class Mask>
[[gnu::noinline]] inline void attend(context& c, const attention_sizes& sizes, matrix_view<const float> q, const kv_cache& cache,
                                     matrix_view<float> mix) {
    const attend_tiles<Mask> tiles{c, sizes, q, cache, mix};
    const index_t pieces = tiles.tiles() * sizes.kv_heads;
    if (pieces < 2 * c.threads.size() && c.threads.size() > 1) {
        tiles.in_spans();
    } else {
        c.threads.for_ranges(pieces, 1, tiles);
    }
}

// layer/attention.hpp, attention_layer
template <class Mask, bool OwnsKv>
struct attention_layer {
    const attention_weights* weights;
    attention_sizes sizes;

    [[gnu::noinline]] void operator()(context& c, const rope_table& rope, matrix_view<const float> x, kv_cache& cache,
                                      matrix_view<float> out) const {
        const index_t q_width = sizes.heads * sizes.head_width, kv_width = sizes.kv_heads * sizes.head_width;
        const auto q = c.memory.q.take(c.tokens, q_width);
        const auto finish_query = [&](index_t t) {
            norm_heads<norm::rms>(q[t], weights->q_norm, c.epsilon, sizes.heads);
            rope.rotate(q[t], c.in_chunk(t));
        };
        if constexpr (!OwnsKv) {
            kernel::matmul(weights->q, x, q, c.threads);
            c.threads.for_ranges(c.tokens, 8, [&](index_t first, index_t last) {
                for (index_t t = first; t < last; ++t) finish_query(t);
            });
        } else {
            const auto k = c.memory.k.take(c.tokens, kv_width), v = c.memory.v.take(c.tokens, kv_width);
            kernel::matmul({{weights->q, x, q}, {weights->k, x, k}, {weights->v, x, v}}, c.threads);
            c.threads.for_ranges(c.tokens, 8, [&](index_t first, index_t last) {
                for (index_t t = first; t < last; ++t) {
                    finish_query(t);
                    norm_heads<norm::rms>(k[t], weights->k_norm, c.epsilon, sizes.kv_heads);
                    norm_heads<norm::rms_without_gain>(v[t], {}, c.epsilon, sizes.kv_heads);
                    rope.rotate(k[t], t);
                }
            });
            cache.make_room(c.position, c.tokens);
            for (index_t t = 0; t < c.tokens; ++t) cache.write(c.position + t, k[t], v[t]);
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
        const gated_network all = network(c, x, out);
        find_hidden<activation::gelu_tanh>(c.threads, {&all, 1});
        find_output(c.threads, {&all, 1});
    }
    gated_network network(context& c, matrix_view<const float> x, matrix_view<float> out) const {
        const index_t hidden = weights->gate.rows;
        return {weights->gate, weights->up, weights->down, x, c.memory.gate.take(x.rows, hidden), c.memory.up.take(x.rows, hidden), out};
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
        add_normed<norm::rms>(c.threads, x, b, weights->mlp_norm, c.epsilon);
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
        add_normed<norm::rms>(c.threads, x, out, weights->norm, c.epsilon);
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
        add_normed<norm::rms>(c.threads, x, b, weights->attention_norm, c.epsilon);
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
