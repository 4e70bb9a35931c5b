// Attention of the query heads that share one key head, over a list of cache rows.
#pragma once

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/view.hpp>
#include <loupe/kernel/dot_tile.hpp>

#include <span>

namespace loupe::kernel {

namespace detail {

template <int M>
inline void score_heads(const float* q, index_t q_stride, const float* keys, index_t key_stride, std::span<const index_t> rows,
                        index_t width, matrix_view<float> scores, index_t head) {
    std::array<const float*, M> qs;
    for (int m = 0; m < M; ++m) qs[m] = q + (head + m) * q_stride;
    const auto n = static_cast<index_t>(rows.size());
    const auto run = [&]<int N>(index_t j) {
        std::array<const float*, N> ks;
        for (int i = 0; i < N; ++i) ks[i] = keys + rows[j + i] * key_stride;
        dot_tile<M, N>(qs, ks, width, scores.data + head * scores.stride + j, scores.stride);
    };
    index_t j = 0;
    for (; j + tile_w <= n; j += tile_w) run.template operator()<tile_w>(j);
    for (; j < n; ++j) run.template operator()<1>(j);
}

} // namespace detail

/// scores[h, j] = q[h] · key[rows[j]] for all heads h; q is [heads, width], a cache row r begins at keys + r · key_stride.
inline void attention_scores(matrix_view<const float> q, const float* keys, index_t key_stride, std::span<const index_t> rows,
                             matrix_view<float> scores) {
    index_t h = 0;
    for (; h + 4 <= q.rows; h += 4) detail::score_heads<4>(q.data, q.stride, keys, key_stride, rows, q.width, scores, h);
    for (; h + 2 <= q.rows; h += 2) detail::score_heads<2>(q.data, q.stride, keys, key_stride, rows, q.width, scores, h);
    for (; h < q.rows; ++h) detail::score_heads<1>(q.data, q.stride, keys, key_stride, rows, q.width, scores, h);
}

/// out[h] = Σ_j probs[h, j] · value[rows[j]], summed in the order of j.
inline void attention_mix(matrix_view<const float> probs, const float* values, index_t value_stride, std::span<const index_t> rows,
                          matrix_view<float> out) {
    using simd::floats;
    constexpr index_t columns = 4; // batches of a value row held in registers
    for (index_t h = 0; h < out.rows; ++h) {
        const float* p = probs.data + h * probs.stride;
        float* y = out.data + h * out.stride;
        index_t d = 0;
        for (; d + columns * simd::width <= out.width; d += columns * simd::width) {
            std::array<floats, columns> sum;
            sum.fill(floats(0.0F));
            for (std::size_t j = 0; j < rows.size(); ++j) {
                const floats weight(p[j]);
                const float* v = values + rows[j] * value_stride + d;
#pragma GCC unroll 8
                for (index_t c = 0; c < columns; ++c) sum[c] = xsimd::fma(weight, floats::load_unaligned(v + c * simd::width), sum[c]);
            }
#pragma GCC unroll 8
            for (index_t c = 0; c < columns; ++c) sum[c].store_unaligned(y + d + c * simd::width);
        }
        for (; d + simd::width <= out.width; d += simd::width) {
            floats sum(0.0F);
            for (std::size_t j = 0; j < rows.size(); ++j) {
                sum = xsimd::fma(floats(p[j]), floats::load_unaligned(values + rows[j] * value_stride + d), sum);
            }
            sum.store_unaligned(y + d);
        }
        for (; d < out.width; ++d) {
            float sum = 0;
            for (std::size_t j = 0; j < rows.size(); ++j) sum += p[j] * values[rows[j] * value_stride + d];
            y[d] = sum;
        }
    }
}

} // namespace loupe::kernel
