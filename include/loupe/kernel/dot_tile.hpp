// The inner loop of matrix products and of attention scores: M rows against N rows, every pair's dot product.
#pragma once

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/types.hpp>

#include <array>

namespace loupe::kernel {

/// out[m · stride + n] = Σ_k x[m][k] · w[n][k], for N = 4 or 1. A pair's sum is built in the same order whatever M and N are, so a token's
/// result does not depend on how many others are computed beside it.
template <int M, int N>
inline void dot_tile(const std::array<const float*, M>& x, const std::array<const float*, N>& w, index_t width, float* out,
                     index_t stride) {
    static_assert(N == 4 || N == 1);
    using simd::floats;
    // Unrolled whatever the optimisation level: an accumulator that is not in a register costs more than the arithmetic.
    std::array<std::array<floats, N>, M> lanes;
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) lanes[m][n] = floats(0.0F);
    }
    index_t k = 0;
    for (; k + simd::width <= width; k += simd::width) {
        std::array<floats, N> b;
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) b[n] = floats::load_unaligned(w[n] + k);
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
            const floats a = floats::load_unaligned(x[m] + k);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) lanes[m][n] = xsimd::fma(a, b[n], lanes[m][n]);
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
        float sums[4];
        simd::sum4(lanes[m][0], lanes[m][N > 1 ? 1 : 0], lanes[m][N > 2 ? 2 : 0], lanes[m][N > 3 ? 3 : 0], sums);
        for (int n = 0; n < N; ++n) {
            for (index_t i = k; i < width; ++i) sums[n] += x[m][i] * w[n][i];
            out[m * stride + n] = sums[n];
        }
    }
}

/// Rows of x and of w that a tile takes at once: as many as the registers hold.
inline constexpr int tile_x = simd::width >= 16 ? 6 : 3;
inline constexpr int tile_w = 4;

} // namespace loupe::kernel
