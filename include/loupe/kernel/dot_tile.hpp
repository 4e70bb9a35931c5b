// The inner loop of matrix products and of attention scores: M rows against N rows, every pair's dot product.
#pragma once

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/types.hpp>

#include <array>

namespace loupe::kernel {

/// sums[m][n] = Σ_k x[m][k] · w[n][k]. A pair's sum is built in the same order whatever M and N are, so a token's result does not depend on how
/// many others are computed beside it.
template <int M, int N>
inline void dot_tile(const std::array<const float*, M>& x, const std::array<const float*, N>& w, index_t width,
                     std::array<std::array<float, N>, M>& sums) {
    using simd::floats;
    std::array<std::array<floats, N>, M> lanes;
    for (auto& row : lanes) row.fill(floats(0.0F));
    index_t k = 0;
    for (; k + simd::width <= width; k += simd::width) {
        std::array<floats, N> b;
        for (int n = 0; n < N; ++n) b[n] = floats::load_unaligned(w[n] + k);
        for (int m = 0; m < M; ++m) {
            const floats a = floats::load_unaligned(x[m] + k);
            for (int n = 0; n < N; ++n) lanes[m][n] = xsimd::fma(a, b[n], lanes[m][n]);
        }
    }
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) {
            float sum = simd::sum(lanes[m][n]);
            for (index_t i = k; i < width; ++i) sum += x[m][i] * w[n][i];
            sums[m][n] = sum;
        }
    }
}

/// Rows of x and of w that a tile takes at once: as many as the registers hold.
inline constexpr int tile_x = simd::width >= 16 ? 6 : 3;
inline constexpr int tile_w = simd::width >= 16 ? 4 : 3;

} // namespace loupe::kernel
