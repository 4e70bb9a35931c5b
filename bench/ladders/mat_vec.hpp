// Two ladders of y = W x, one token's products: W in float32, and W in Q4_0, blocks of 32 weights d · (code − 8) in 18 bytes.
// Every weight is used once, so the end of both is the speed of memory.
#pragma once

#include "rung.hpp"

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/core/half.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/kernel/dot_tile.hpp>
#include <loupe/kernel/matmul.hpp>

#include <cstring>
#include <span>

namespace ladders::mat_vec {

struct operands {
    loupe::matrix_view<const float> w; ///< [rows, width]
    std::span<const float> x;
    std::span<float> y;
    loupe::executor& threads;
};

/// One sum for a row: every addition waits for the one before it, three or four cycles a weight.
inline void naive(const operands& o) {
    for (index_t n = 0; n < o.w.rows; ++n) {
        const float* w = o.w[n].data();
        float sum = 0;
        for (index_t k = 0; k < o.w.width; ++k) sum += w[k] * o.x[static_cast<std::size_t>(k)];
        o.y[static_cast<std::size_t>(n)] = sum;
    }
}

/// Four sums in turn: four additions are under way at a time.
inline void four_sums(const operands& o) {
    const float* x = o.x.data();
    for (index_t n = 0; n < o.w.rows; ++n) {
        const float* w = o.w[n].data();
        float sum[4] = {};
        index_t k = 0;
        for (; k + 4 <= o.w.width; k += 4) {
            for (index_t c = 0; c < 4; ++c) sum[c] += w[k + c] * x[k + c];
        }
        for (; k < o.w.width; ++k) sum[0] += w[k] * x[k];
        o.y[static_cast<std::size_t>(n)] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
}

/// A sum in every lane of a register: one instruction for 8 or 16 weights.
inline void lanes(const operands& o) {
    for (index_t n = 0; n < o.w.rows; ++n) {
        loupe::kernel::dot_tile<1, 1>({o.x.data()}, {o.w[n].data()}, o.w.width, &o.y[static_cast<std::size_t>(n)], 1);
    }
}

/// Four rows at a time: x is read once for all of them, and their four sums do not wait for each other. It pays while w lies in a cache;
/// beyond, memory sets the pace of this rung and of the one before.
inline void four_rows(const operands& o) {
    index_t n = 0;
    for (; n + 4 <= o.w.rows; n += 4) {
        loupe::kernel::dot_tile<1, 4>({o.x.data()}, {o.w[n].data(), o.w[n + 1].data(), o.w[n + 2].data(), o.w[n + 3].data()}, o.w.width,
                                      &o.y[static_cast<std::size_t>(n)], 4);
    }
    for (; n < o.w.rows; ++n) {
        loupe::kernel::dot_tile<1, 1>({o.x.data()}, {o.w[n].data()}, o.w.width, &o.y[static_cast<std::size_t>(n)], 1);
    }
}

/// Rows shared out to threads: one core alone does not ask for as much as memory can give.
inline void library(const operands& o) {
    const loupe::kernel::weight_view w{&loupe::format::info_of<loupe::format::f32>(), reinterpret_cast<const std::byte*>(o.w.data),
                                       o.w.rows, o.w.width};
    loupe::kernel::matmul(w, {o.x.data(), 1, o.w.width}, {o.y.data(), 1, o.w.rows}, o.threads);
}

inline constexpr rung<operands> rungs[] = {
    {"01_naive", naive}, {"02_four_sums", four_sums}, {"03_lanes", lanes}, {"04_four_rows", four_rows}, {"05_threads_library", library}};

} // namespace ladders::mat_vec

namespace ladders::mat_vec_q4_0 {

struct operands {
    loupe::kernel::weight_view w; ///< Q4_0, and packed for integer products
    std::span<const float> x;
    std::span<float> y;
    loupe::executor &one, &all;
};

/// One block as the file has it: the low nibbles are weights 0 … 15, the high ones 16 … 31.
struct block {
    std::uint16_t d;
    std::uint8_t codes[16];
    float scale() const { return loupe::half_to_float(d); }
    int level(int i) const { return (i < 16 ? codes[i] & 15 : codes[i - 16] >> 4) - 8; }
};
static_assert(sizeof(block) == 18);

inline block block_of(const operands& o, index_t row, index_t b) {
    block out;
    std::memcpy(&out, o.w.data + row * o.w.row_bytes() + b * 18, 18);
    return out;
}

/// Every weight is decoded where it is used: a nibble, a conversion, a scale, a product.
inline void naive(const operands& o) {
    for (index_t n = 0; n < o.w.rows; ++n) {
        float sum = 0;
        for (index_t k = 0; k < o.w.width; ++k) {
            const block w = block_of(o, n, k / 32);
            sum += w.scale() * static_cast<float>(w.level(static_cast<int>(k % 32))) * o.x[static_cast<std::size_t>(k)];
        }
        o.y[static_cast<std::size_t>(n)] = sum;
    }
}

/// Block by block: the scale is read once and multiplies the sum of the block, not each weight.
inline void scale_of_block(const operands& o) {
    for (index_t n = 0; n < o.w.rows; ++n) {
        float sum = 0;
        for (index_t b = 0; b < o.w.width / 32; ++b) {
            const block w = block_of(o, n, b);
            const float* x = o.x.data() + 32 * b;
            float part = 0;
            for (int i = 0; i < 32; ++i) part += static_cast<float>(w.level(i)) * x[i];
            sum += w.scale() * part;
        }
        o.y[static_cast<std::size_t>(n)] = sum;
    }
}

/// A few rows decoded to floats, then the float kernel on them: nibbles and products are both vectors, but a weight now passes through the
/// cache as four bytes.
inline void decode_then_lanes(const operands& o) {
    loupe::kernel::weight_view in_float = o.w;
    in_float.packed = nullptr;
    loupe::kernel::matmul(in_float, {o.x.data(), 1, o.w.width}, {o.y.data(), 1, o.w.rows}, o.one);
}

/// x rounded to 8 bits, so that no weight becomes a float, and weights laid out in the order of the instructions, a row to each lane:
/// vpdpbusd multiplies and adds 64 pairs, no sum crosses lanes, and the nibbles are read from the first byte to the last.
inline void packed_integers(const operands& o) { loupe::kernel::matmul(o.w, {o.x.data(), 1, o.w.width}, {o.y.data(), 1, o.w.rows}, o.one); }

/// Strips shared out to threads.
inline void library(const operands& o) { loupe::kernel::matmul(o.w, {o.x.data(), 1, o.w.width}, {o.y.data(), 1, o.w.rows}, o.all); }

inline constexpr rung<operands> rungs[] = {{"01_naive", naive},
                                           {"02_scale_of_block", scale_of_block},
                                           {"03_decode_then_lanes", decode_then_lanes},
                                           {"04_packed_integers", packed_integers},
                                           {"05_threads_library", library}};

} // namespace ladders::mat_vec_q4_0
