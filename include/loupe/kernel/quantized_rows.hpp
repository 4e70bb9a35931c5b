// Activations rounded to 8 bits, sixteen under one scale: the other factor of an integer product.
//
//   q = round(x · 127 / max|x|) over each 16 values; stored as q, or as q + 128 where the activations are the unsigned factor
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/compat/int8.hpp>
#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/core/view.hpp>

#include <algorithm>
#include <cstdint>

namespace loupe::kernel {

/// 32 values of one token, a cache line.
struct alignas(64) quantized_chunk {
    std::uint8_t q[32];
    float scale[2];
    float mass[2];         ///< scale · Σ q of each sixteen: what a weight format's minimum is multiplied by
    float both;            ///< the sum of the two
    std::int32_t start[2]; ///< −128 · Σ q: what takes off again 128 that was added to the weights
};

/// How many tokens an integer product takes at once: the accumulators of 16, one to a register, leave room for the weights.
inline constexpr index_t token_tiles[] = {16, 4, 1};

/// Rows of activations in tiles: tile by tile, chunk by chunk, token by token.
class quantized_rows {
    scratch<quantized_chunk> storage_;
    index_t tokens_ = 0, chunks_ = 0;
    quantized_chunk* data_ = nullptr;

    static void quantize(const float* x, int offset, quantized_chunk& out) {
        using simd::floats;
        static_assert(16 % simd::width == 0);
        const floats magic(12582912.0F); // adding and taking away 1.5 · 2^23 rounds to the nearest integer, ties to even
        for (int half = 0; half < 2; ++half) {
            const float* v = x + 16 * half;
            floats most(0.0F);
            for (int i = 0; i < 16; i += simd::width) most = xsimd::max(most, xsimd::abs(floats::load_unaligned(v + i)));
            const float largest = simd::largest(most);
            const float scale = largest / 127.0F, inverse = largest > 0 ? 127.0F / largest : 0.0F;
            alignas(64) float rounded[16];
            floats sum(0.0F); // of integers below 2^11: exact
            for (int i = 0; i < 16; i += simd::width) {
                const floats q = (floats::load_unaligned(v + i) * floats(inverse) + magic) - magic;
                sum += q;
                q.store_aligned(rounded + i);
            }
            simd::to_bytes(rounded, offset, out.q + 16 * half);
            out.scale[half] = scale;
            const float total = simd::sum(sum);
            out.mass[half] = scale * total;
            out.start[half] = -128 * static_cast<std::int32_t>(total);
        }
        out.both = out.mass[0] + out.mass[1];
    }

  public:
    /// x: [tokens, width], width a multiple of 32; q is stored signed, or with 128 added. Valid until the next call.
    void fill(matrix_view<const float> x, bool is_signed, executor& threads) {
        tokens_ = x.rows;
        chunks_ = x.width / 32;
        data_ = storage_.take(tokens_ * chunks_).data();
        threads.for_ranges(tokens_, 16, [&](index_t first, index_t last) {
            for (index_t t = first; t < last; ++t) {
                const auto [tile, size] = tile_of(t);
                for (index_t c = 0; c < chunks_; ++c)
                    quantize(x[t].data() + 32 * c, is_signed ? 0 : 128, data_[tile * chunks_ + c * size + (t - tile)]);
            }
        });
    }

    index_t tokens() const { return tokens_; }
    index_t chunks() const { return chunks_; }
    /// Chunk c of token `first + t`, where a tile of `size` tokens begins at `first`, is element c · size + t.
    const quantized_chunk* tile(index_t first) const { return data_ + first * chunks_; }

    /// First token and size of the tile that holds token t.
    std::pair<index_t, index_t> tile_of(index_t t) const {
        index_t first = 0;
        for (const index_t size : token_tiles) {
            const index_t end = first + (tokens_ - first) / size * size;
            if (t < end) return {first + (t - first) / size * size, size};
            first = end;
        }
        return {t, 1};
    }
};

} // namespace loupe::kernel
