// The inner loop of matrix products and of attention scores: M rows against N rows, every pair's dot product.
#pragma once

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/types.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>

namespace loupe::kernel {

namespace detail {

/// f(0), f(1) … f(N − 1) with constants: what is indexed by them is in registers whatever the optimisation level.
template <int N>
__attribute__((always_inline)) inline void unrolled(auto&& f) {
    [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) { (f(std::integral_constant<int, I>{}), ...); }
    (std::make_integer_sequence<int, N>{});
}

} // namespace detail

struct nothing {
    void operator()() const {}
};

/// M rows of x, each where it lies.
template <int M>
struct rows_apart {
    std::array<const float*, M> first;
    const float* batch(int m, index_t k) const { return first[static_cast<std::size_t>(m)] + k; }
    float value(int m, index_t k) const { return first[static_cast<std::size_t>(m)][k]; }
};
/// M rows of x, a batch of columns of each in turn; what is left of the columns, one column after the other. One pointer, where there are
/// few: g++ would keep the others in registers of floats, and read x again for every row of w.
template <int M>
struct rows_in_turns {
    const float* first;
    const float* batch(int m, index_t k) const { return first + k * M + m * simd::width; }
    float value(int m, index_t k) const { return first[k * M + m]; }

    /// Lays them out: M · width values.
    static void pack(std::span<const float* const> rows, index_t width, float* to) {
        index_t k = 0;
        for (; k + simd::width <= width; k += simd::width) {
            for (int m = 0; m < M; ++m, to += simd::width) std::copy_n(rows[static_cast<std::size_t>(m)] + k, simd::width, to);
        }
        for (; k < width; ++k) {
            for (int m = 0; m < M; ++m) *to++ = rows[static_cast<std::size_t>(m)][k];
        }
    }
};

/// out[m · stride + n] = Σ_k x[m][k] · w[n][k] for M rows of x and N = 4 or 1 of w. A pair's sum is built in the same order whatever M and
/// N are and however x lies, so a token's result does not depend on how many others are computed beside it. meanwhile() is called before
/// every batch of columns.
template <int M, int N, class Rows, class Meanwhile = nothing>
inline void dot_rows(const Rows& x, const std::array<const float*, N>& w, index_t width, float* out, index_t stride,
                     Meanwhile meanwhile = {}) {
    static_assert(N == 4 || N == 1);
    using simd::floats;
    floats lanes[M][N];
    detail::unrolled<M>([&](auto m) __attribute__((always_inline)) {
        detail::unrolled<N>([&](auto n) __attribute__((always_inline)) { lanes[m][n] = floats(0.0F); });
    });
    index_t k = 0;
    for (; k + simd::width <= width; k += simd::width) {
        meanwhile();
        floats b[N];
        detail::unrolled<N>([&](auto n) __attribute__((always_inline)) { b[n] = floats::load_unaligned(w[n] + k); });
        detail::unrolled<M>([&](auto m) __attribute__((always_inline)) {
            const floats a = floats::load_unaligned(x.batch(m, k));
            detail::unrolled<N>([&](auto n) __attribute__((always_inline)) { lanes[m][n] = xsimd::fma(a, b[n], lanes[m][n]); });
        });
    }
    detail::unrolled<M>([&](auto m) __attribute__((always_inline)) {
        if constexpr (N == 4) {
            simd::sum4(lanes[m][0], lanes[m][1], lanes[m][2], lanes[m][3], out + m * stride);
        } else {
            float sums[4];
            simd::sum4(lanes[m][0], lanes[m][0], lanes[m][0], lanes[m][0], sums);
            out[m * stride] = sums[0];
        }
    });
    for (; k < width; ++k) { // fused by name: left to itself, g++ does so in some instances and not in others
        for (int m = 0; m < M; ++m) {
            for (int n = 0; n < N; ++n) out[m * stride + n] = std::fma(x.value(m, k), w[n][k], out[m * stride + n]);
        }
    }
}

/// The same for rows of x that lie apart.
template <int M, int N>
inline void dot_tile(const std::array<const float*, M>& x, const std::array<const float*, N>& w, index_t width, float* out,
                     index_t stride) {
    dot_rows<M, N>(rows_apart<M>{x}, w, width, out, stride);
}

/// Rows of x and of w that a tile takes at once: as many as the registers hold.
inline constexpr int tile_x = simd::width >= 16 ? 6 : 3;
inline constexpr int tile_w = 4;

} // namespace loupe::kernel
