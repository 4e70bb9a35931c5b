// The ladder of the matrix product: y[t, n] = Σ_k x[t, k] · w[n, k], many tokens t. See docs/ladder.md.
#pragma once

#include "rung.hpp"

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/kernel/dot_tile.hpp>
#include <loupe/kernel/matmul.hpp>

#include <algorithm>
#include <array>

namespace ladders::mat_mul {

struct operands {
    loupe::matrix_view<const float> x;    ///< [tokens, width]
    loupe::matrix_view<const float> w;    ///< [rows, width]: a row for each output, as files have it
    loupe::matrix_view<float> y;          ///< [tokens, rows]
    loupe::kernel::weight_view quantized; ///< w once more, in a quantised format and packed for integer products
    loupe::executor &one, &all;
};

/// Loops in the order t, k, n. It suits a matrix that lies the other way round: here each step of the inner loop lands in another row of w,
/// a cache line for four bytes of use.
// [NAIVE]
inline void naive(const operands& o) {
    for (index_t t = 0; t < o.x.rows; ++t) {
        float* y = o.y[t].data();
        std::fill_n(y, o.w.rows, 0.0F);
        for (index_t k = 0; k < o.w.width; ++k) {
            for (index_t n = 0; n < o.w.rows; ++n) y[n] += o.x[t].data()[k] * o.w[n].data()[k];
        }
    }
}
// [/NAIVE]

/// Two loops changed places: the inner one reads both rows in the order in which they lie, and keeps its sum in a register.
// [CONTIGUOUS]
inline void contiguous(const operands& o) {
    for (index_t t = 0; t < o.x.rows; ++t) {
        for (index_t n = 0; n < o.w.rows; ++n) {
            const float *x = o.x[t].data(), *w = o.w[n].data();
            float sum = 0;
            for (index_t k = 0; k < o.w.width; ++k) sum += x[k] * w[k];
            o.y[t].data()[n] = sum;
        }
    }
}
// [/CONTIGUOUS]

/// A sum in every lane of a register: one instruction multiplies and adds 8 or 16 pairs. A compiler may not do so by itself, since it
/// changes the order of additions and with it the rounding.
// [LANES]
inline float dot(const float* x, const float* w, index_t width) {
    using loupe::simd::floats;
    floats sums(0.0F);
    index_t k = 0;
    for (; k + loupe::simd::width <= width; k += loupe::simd::width) {
        sums = xsimd::fma(floats::load_unaligned(x + k), floats::load_unaligned(w + k), sums);
    }
    float sum = loupe::simd::sum(sums);
    for (; k < width; ++k) sum += x[k] * w[k];
    return sum;
}

inline void lanes(const operands& o) {
    for (index_t t = 0; t < o.x.rows; ++t) {
        for (index_t n = 0; n < o.w.rows; ++n) o.y[t].data()[n] = dot(o.x[t].data(), o.w[n].data(), o.w.width);
    }
}
// [/LANES]

/// M tokens against N rows at a time, M · N sums in registers: M + N loads for M · N products instead of two for each, and as many sums
/// that do not wait for each other.
// [TILE]
template <int M, int N>
void tile(const operands& o, index_t t, index_t n) {
    std::array<const float*, M> x;
    std::array<const float*, N> w;
    for (int i = 0; i < M; ++i) x[i] = o.x[t + i].data();
    for (int i = 0; i < N; ++i) w[i] = o.w[n + i].data();
    loupe::kernel::dot_tile<M, N>(x, w, o.w.width, o.y[t].data() + n, o.y.stride);
}

/// M tokens from t on against the rows [first, last).
template <int M>
void tokens_by_rows(const operands& o, index_t t, index_t first, index_t last) {
    index_t n = first;
    for (; n + 4 <= last; n += 4) tile<M, 4>(o, t, n);
    for (; n < last; ++n) tile<M, 1>(o, t, n);
}

/// All tokens against the rows [first, last).
inline void all_by_rows(const operands& o, index_t first, index_t last) {
    using loupe::kernel::tile_x; // 6 with 32 registers, 3 with 16
    index_t t = 0;
    for (; t + tile_x <= o.x.rows; t += tile_x) tokens_by_rows<tile_x>(o, t, first, last);
    for (; t < o.x.rows; ++t) tokens_by_rows<1>(o, t, first, last);
}

inline void tiles(const operands& o) { all_by_rows(o, 0, o.w.rows); }
// [/TILE]

/// A panel of rows that fits the second-level cache, all tokens over it, then the next panel: w comes from memory once, not once for every
/// few tokens.
// [PANELS]
inline void panels(const operands& o) {
    const index_t rows = std::clamp<index_t>(32768 / o.w.width, 8, 64); // 128 kB of floats
    for (index_t n = 0; n < o.w.rows; n += rows) all_by_rows(o, n, std::min(n + rows, o.w.rows));
}
// [/PANELS]

/// 8-bit integers: four times as many pairs to a register, and a quarter of the bytes. x is rounded on the way.
// [INTEGERS]
inline void integers(const operands& o) { loupe::kernel::matmul(o.quantized, o.x, o.y, o.one); }
// [/INTEGERS]

/// Panels shared out to threads: no two of them write the same y, so nothing is to be added up afterwards.
// [LIBRARY]
inline void library(const operands& o) { loupe::kernel::matmul(o.quantized, o.x, o.y, o.all); }
// [/LIBRARY]

/// What the library runs for weights in float, where rung 05 stands: the same tiles and panels.
inline void library_float(const operands& o) {
    const loupe::kernel::weight_view w{&loupe::format::info_of<loupe::format::f32>(), reinterpret_cast<const std::byte*>(o.w.data),
                                       o.w.rows, o.w.width};
    loupe::kernel::matmul(w, o.x, o.y, o.one);
}

inline constexpr rung<operands> rungs[] = {{"01_naive", naive},
                                           {"02_contiguous", contiguous},
                                           {"03_lanes", lanes},
                                           {"04_tiles", tiles},
                                           {"05_panels", panels},
                                           {"05_panels_library", library_float},
                                           {"06_integers_library", integers},
                                           {"07_threads_library", library}};

} // namespace ladders::mat_mul
