// The ladder of causal attention, one head: y[t] = Σ_j p[t, j] v[j], p[t] = softmax_j(scale · q[t] · k[j]) over the keys j that t sees.
#pragma once

#include "rung.hpp"

#include <loupe/kernel/attention.hpp>
#include <loupe/kernel/dot_tile.hpp>
#include <loupe/kernel/elementwise.hpp>
#include <loupe/policy/softcap.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace ladders::attention {

struct operands {
    loupe::matrix_view<const float> q;    ///< [queries, D], the last positions of the context
    loupe::matrix_view<const float> k, v; ///< [keys, D]
    float scale;
    loupe::matrix_view<float> y; ///< [queries, D]

    /// Keys that query t sees: all before it and its own.
    index_t seen(index_t t) const { return k.rows - q.rows + t + 1; }
};

/// The formula, word for word: all scores, softmax, then for every element of y a walk down a column of v.
inline void naive(const operands& o) {
    std::vector<float> p(static_cast<std::size_t>(o.k.rows));
    for (index_t t = 0; t < o.q.rows; ++t) {
        const index_t n = o.seen(t);
        float largest = -std::numeric_limits<float>::infinity(), sum = 0;
        for (index_t j = 0; j < n; ++j) {
            float score = 0;
            for (index_t d = 0; d < o.q.width; ++d) score += o.q[t].data()[d] * o.k[j].data()[d];
            p[static_cast<std::size_t>(j)] = score * o.scale;
            largest = std::max(largest, p[static_cast<std::size_t>(j)]);
        }
        for (index_t j = 0; j < n; ++j) sum += p[static_cast<std::size_t>(j)] = std::exp(p[static_cast<std::size_t>(j)] - largest);
        for (index_t d = 0; d < o.q.width; ++d) {
            float y = 0;
            for (index_t j = 0; j < n; ++j) y += p[static_cast<std::size_t>(j)] / sum * o.v[j].data()[d];
            o.y[t].data()[d] = y;
        }
    }
}

/// Key by key: a row of v is read in the order in which it lies, and the division is done once for each weight.
inline void key_by_key(const operands& o) {
    std::vector<float> p(static_cast<std::size_t>(o.k.rows));
    for (index_t t = 0; t < o.q.rows; ++t) {
        const index_t n = o.seen(t);
        const float* q = o.q[t].data();
        float *y = o.y[t].data(), sum = 0;
        for (index_t j = 0; j < n; ++j) {
            float score = 0;
            for (index_t d = 0; d < o.q.width; ++d) score += q[d] * o.k[j].data()[d];
            p[static_cast<std::size_t>(j)] = score * o.scale;
        }
        const float largest = *std::max_element(p.begin(), p.begin() + n);
        for (index_t j = 0; j < n; ++j) sum += p[static_cast<std::size_t>(j)] = std::exp(p[static_cast<std::size_t>(j)] - largest);
        std::fill_n(y, o.q.width, 0.0F);
        for (index_t j = 0; j < n; ++j) {
            const float weight = p[static_cast<std::size_t>(j)] / sum, *v = o.v[j].data();
            for (index_t d = 0; d < o.q.width; ++d) y[d] += weight * v[d];
        }
    }
}

/// Vectors in all three parts: four keys at a time for the scores, softmax with its own exponential, a batch of y's elements in registers.
inline void lanes(const operands& o) {
    std::vector<float> p(static_cast<std::size_t>(o.k.rows));
    std::vector<index_t> keys(static_cast<std::size_t>(o.k.rows));
    std::iota(keys.begin(), keys.end(), index_t{0});
    for (index_t t = 0; t < o.q.rows; ++t) {
        const index_t n = o.seen(t);
        const std::span<const index_t> seen(keys.data(), static_cast<std::size_t>(n));
        loupe::kernel::attention_scores(o.q.slice(t, 1), o.k.data, o.k.stride, seen, {p.data(), 1, n});
        loupe::kernel::scale({p.data(), seen.size()}, o.scale);
        loupe::kernel::softmax({p.data(), seen.size()});
        loupe::kernel::attention_mix({p.data(), 1, n}, o.v.data, o.v.stride, seen, o.y.slice(t, 1));
    }
}

/// Queries [t, t + count) against one block of keys after the other. A running maximum and a running sum take the place of the softmax over
/// the whole row; when the maximum grows, what was summed so far is scaled down to it (online softmax).
inline void in_blocks(const operands& o, index_t t, index_t count) {
    using namespace loupe::kernel;
    thread_local attention_sums sums;
    thread_local std::vector<const float*> q;
    thread_local std::vector<std::uint64_t> visible;
    q.clear();
    for (index_t r = 0; r < count; ++r) q.push_back(o.q[t + r].data());
    sums.start(q, o.q.width);
    const index_t end = o.seen(t + count - 1);
    for (index_t first = 0; first < end; first += key_block) {
        index_t keys[key_block];
        const index_t n = std::min(key_block, end - first);
        std::iota(keys, keys + n, first);
        visible.clear();
        for (index_t r = 0; r < count; ++r) { // bit j: whether the query sees key first + j
            const index_t seen = std::clamp<index_t>(o.seen(t + r) - first, 0, 64);
            visible.push_back(seen == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << seen) - 1);
        }
        sums.add<loupe::softcap::none>(cached_rows::of(o.k), cached_rows::of(o.v), {keys, static_cast<std::size_t>(n)}, visible, o.scale,
                                       0.0F);
    }
    for (index_t r = 0; r < count; ++r) sums.finish(r, o.y[t + r]);
}

/// Block by block of keys: weights of 64 keys stay in the first-level cache, whatever the length of the context.
inline void online(const operands& o) {
    for (index_t t = 0; t < o.q.rows; ++t) in_blocks(o, t, 1);
}

/// A tile of queries at a time: a block of keys and values is read once for all of them, and both halves are small matrix products.
inline void library(const operands& o) {
    for (index_t t = 0; t < o.q.rows; t += 8) in_blocks(o, t, std::min<index_t>(8, o.q.rows - t));
}

inline constexpr rung<operands> rungs[] = {
    {"01_naive", naive}, {"02_key_by_key", key_by_key}, {"03_lanes", lanes}, {"04_online", online}, {"05_query_tile_library", library}};

} // namespace ladders::attention
