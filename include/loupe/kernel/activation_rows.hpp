// Activations as a product with packed weights reads them: rounded to 8 bits, sixteen under one scale; rounded to bfloat16, in pairs or in
// tiles; as sums of three bfloat16, in tiles; or as they are.
//
//   x ≈ s · n · q,  s = max|x| / (127 · 32767) over the row,  n = ⌈32767 · max|x| / max over the row⌉ and q = round(x / (s · n)) over 16
//
// That n is a whole number lets a product weigh its sums of 16 while they still are integers, and leaves one multiplication by s to the end
// of the row.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/compat/int8.hpp>
#include <loupe/core/compat/prefetch.hpp>
#include <loupe/core/compat/tiles.hpp>
#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/core/half.hpp>
#include <loupe/core/view.hpp>
#include <loupe/kernel/elementwise.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

namespace loupe::kernel {

/// 32 values of one token, a cache line. Before the first of a row stands one whose scale[0] is s.
struct alignas(64) quantized_chunk {
    static constexpr int most = 32767; ///< no factor exceeds it

    std::uint8_t q[32];
    std::int16_t factor[2]; ///< n of each sixteen
    float scale[2];         ///< the same as floats
    float mass[2];          ///< n · Σ q of each sixteen: what a weight format's minimum is multiplied by
    float both;             ///< the sum of the two
    std::int32_t start[2];  ///< what takes off again what was added to the weights: −128 · Σ q, or for words start_of_words()
};
static_assert(sizeof(quantized_chunk) == 64);

/// How activations are stored.
enum class activation_form {
    bytes,           ///< quantized_chunk
    bytes_for_words, ///< quantized_chunk, for sums of products in 16 bits
    bfloats,         ///< two columns' bfloat16 side by side
    bfloat_tiles,    ///< bfloat16 in tiles of 16 tokens × 32 columns, see simd::tiles; rows of zeros fill up the last 16 tokens
    split_tiles,     ///< the same with three tiles for one, of the three bfloat16 whose sum is a value
    floats           ///< as they are
};

constexpr bool is_tiled(activation_form f) { return f == activation_form::bfloat_tiles || f == activation_form::split_tiles; }

/// How many tokens a product takes at once.
inline constexpr index_t token_tiles[] = {8, 4, 2, 1};
inline constexpr index_t token_tile = token_tiles[0];

/// Rows of activations in tiles. Within a tile of `size` tokens, a unit (a quantized_chunk, 2 columns of bfloats, 1 of floats) of all
/// tokens lies side by side: unit u of token t is element u · size + t. An odd width is filled up with a zero.
class activation_rows {
    scratch<quantized_chunk> storage_; // of cache lines, whatever the form
    index_t tokens_ = 0, row_bytes_ = 0;
    std::byte* data_ = nullptr;

    /// The largest magnitude of sixteen values is the largest of these lanes; of those that are finite, in each lane: whether all so far
    /// are.
    static simd::floats magnitudes_of_16(const float* x, simd::floats::batch_bool_type& finite) {
        using simd::floats;
        static_assert(16 % simd::width == 0);
        floats most(0.0F);
        for (int i = 0; i < 16; i += simd::width) {
            const floats magnitude = xsimd::abs(floats::load_unaligned(x + i));
            finite = finite & (magnitude < floats(std::numeric_limits<float>::infinity()));
            most = xsimd::max(most, magnitude);
        }
        return most;
    }

    /// Sixteen values become bytes q; Σ q is the sum of the lanes that are returned.
    static simd::floats round_16(const float* x, float inverse, std::uint8_t* q) {
        using simd::floats;
        const floats magic(12582912.0F); // adding and taking away 1.5 · 2^23 rounds to the nearest integer, ties to even
        alignas(64) float rounded[16];
        floats sum(0.0F); // of integers below 2^11: exact
        for (int i = 0; i < 16; i += simd::width) {
            const floats whole = xsimd::fma(floats::load_unaligned(x + i), floats(inverse), magic) - magic;
            sum += whole;
            whole.store_aligned(rounded + i);
        }
        simd::to_bytes(rounded, q);
        return sum;
    }

    /// Magnitudes of all sixteens of a row become their factors n; inverse: of s · n, 0 for 0. Whole batches of both.
    static void find_factors(std::span<float> n, float scale, float relative, std::span<float> inverse) {
        using simd::floats;
        for (std::size_t g = 0; g < n.size(); g += simd::width) {
            const floats largest = floats::load_aligned(n.data() + g);
            const floats factor = xsimd::min(xsimd::ceil(largest * floats(relative)), floats(quantized_chunk::most));
            factor.store_aligned(n.data() + g);
            xsimd::select(factor > floats(0.0F), floats(1.0F) / (floats(scale) * factor), floats(0.0F)).store_aligned(inverse.data() + g);
        }
    }

    /// The factors of a row, and the inverses of s · n; returns s. Of a row that is not finite: NaN, and zeros.
    static float find_scales(std::span<const float> x, std::span<float> n, std::span<float> inverse) {
        const index_t groups = std::ssize(x) / 16;
        simd::floats::batch_bool_type finite(true);
        std::fill(n.begin() + groups, n.end(), 0.0F);
        for_fours(groups, [&](index_t g, const std::array<index_t, 4>& of) {
            alignas(16) float largest[4];
            const auto lanes = [&](int i) { return magnitudes_of_16(x.data() + 16 * of[i], finite); };
            simd::largest4(lanes(0), lanes(1), lanes(2), lanes(3), largest);
            std::copy_n(largest, std::min<index_t>(4, groups - g), n.begin() + g);
        });
        if (!xsimd::all(finite)) { // an integer has no NaN: the scale of the whole row has it
            std::fill(n.begin(), n.end(), 0.0F);
            std::fill(inverse.begin(), inverse.end(), 0.0F);
            return std::numeric_limits<float>::quiet_NaN();
        }
        const float most = std::max(1e-30F, kernel::largest(n)); // whatever is smaller has neither an inverse nor an influence
        const float scale = most / (127.0F * quantized_chunk::most);
        find_factors(n, scale, quantized_chunk::most / most, inverse);
        return scale;
    }

    /// Calls f(g, groups g, g + 1, g + 2 and g + 3) for every fourth g; beyond the last group stands the last one once more. What goes
    /// across the lanes of a batch, a maximum or a sum, costs four of them hardly more than one.
    template <class F>
    static void for_fours(index_t groups, F&& f) {
        const index_t last = groups - 1;
        for (index_t g = 0; g < groups; g += 4) f(g, std::array{g, std::min(g + 1, last), std::min(g + 2, last), std::min(g + 3, last)});
    }

    /// The rows of a tile, side by side: what is written lies in a row, though each token's chunks lie apart.
    static void quantize(matrix_view<const float> x, bool for_words, quantized_chunk* out) {
        thread_local scratch<float> memory_of_factors, memory_of_inverses, memory_of_zeros;
        const index_t groups = x.width / 16, whole = (groups + 15) / 16 * 16, stride = x.rows;
        const auto n = memory_of_factors.take(x.rows, whole), inverse = memory_of_inverses.take(x.rows, whole);
        if (x.rows == 1) { // other threads have read what lay there
            for (index_t c = 1; c <= groups / 2; ++c) simd::prefetch_to_write(out + c);
        }
        std::array<const float*, token_tile> rows;
        for (index_t t = 0; t < x.rows; ++t) {
            out[t].scale[0] = find_scales(x[t], n[t], inverse[t]);
            rows[static_cast<std::size_t>(t)] = x[t].data();
            if (!std::isnan(out[t].scale[0])) continue;
            const auto zeros = memory_of_zeros.take(x.width);
            std::fill(zeros.begin(), zeros.end(), 0.0F);
            rows[static_cast<std::size_t>(t)] = zeros.data();
        }
        for_fours(groups, [&](index_t g, const std::array<index_t, 4>& of) {
            for (index_t t = 0; t < x.rows; ++t) {
                alignas(16) float sums[4];
                quantized_chunk* const chunk = out + (g / 2 + 1) * stride + t;
                const float* const row = rows[static_cast<std::size_t>(t)];
                const auto round = [&](int i) {
                    const index_t group = of[i];
                    return round_16(row + 16 * group, inverse[t][group], chunk[(group - g) / 2 * stride].q + 16 * (group % 2));
                };
                simd::sum4(round(0), round(1), round(2), round(3), sums);
                for (index_t i = 0; i < std::min<index_t>(4, groups - g); i += 2)
                    put_factors(n[t].data() + g + i, sums + i, for_words, chunk[i / 2 * stride]);
            }
        });
    }
    static void put_factors(const float* n, const float* sum, bool for_words, quantized_chunk& chunk) {
        std::int32_t mass[2];
        for (int half = 0; half < 2; ++half) {
            const auto of_q = static_cast<std::int32_t>(sum[half]);
            chunk.factor[half] = static_cast<std::int16_t>(n[half]);
            chunk.scale[half] = n[half];
            mass[half] = chunk.factor[half] * of_q;
            chunk.mass[half] = static_cast<float>(mass[half]);
            chunk.start[half] = for_words ? simd::start_of_words(chunk.q + 16 * half) : -128 * of_q;
        }
        chunk.both = static_cast<float>(mass[0] + mass[1]);
    }

    template <class Unit, index_t Columns, class F>
    static void store_row(std::span<const float> x, Unit* out, index_t stride, F&& unit_of) {
        const auto width = std::ssize(x);
        index_t k = 0;
        for (; k + Columns <= width; k += Columns, out += stride) unit_of(x.data() + k, *out);
        if (k < width) {
            float rest[Columns] = {};
            std::copy_n(x.data() + k, width - k, rest);
            unit_of(rest, *out);
        }
    }

    template <int Terms>
    static void store_tiles(matrix_view<const float> x, std::byte* out) {
        for (index_t k = 0; k < x.width; k += simd::tile_columns, out += Terms * simd::tile_bytes) {
            for (index_t t = 0; t < x.rows; ++t) simd::to_bfloats<Terms>(x[t].data() + k, out + t * 64);
            for (int term = 0; term < Terms; ++term)
                std::memset(out + term * simd::tile_bytes + x.rows * 64, 0, static_cast<std::size_t>(simd::tile_bytes - x.rows * 64));
        }
    }

    /// A tile of tokens, at `out`.
    static void store(matrix_view<const float> x, activation_form form, std::byte* out) {
        switch (form) {
        case activation_form::bytes:
        case activation_form::bytes_for_words:
            quantize(x, form == activation_form::bytes_for_words, reinterpret_cast<quantized_chunk*>(out));
            break;
        case activation_form::bfloats:
            for (index_t t = 0; t < x.rows; ++t) {
                store_row<std::uint32_t, 2>(x[t], reinterpret_cast<std::uint32_t*>(out) + t, x.rows, [](const float* v, std::uint32_t& to) {
                    to = float_to_bfloat16(v[0]) | static_cast<std::uint32_t>(float_to_bfloat16(v[1])) << 16U;
                });
            }
            break;
        case activation_form::floats:
            for (index_t t = 0; t < x.rows; ++t) {
                float* const to = reinterpret_cast<float*>(out) + t;
                store_row<float, 1>(x[t], to, x.rows, [](const float* v, float& unit) { unit = *v; });
                if (x.width % 2 != 0) to[x.width * x.rows] = 0;
            }
            break;
        case activation_form::bfloat_tiles:
            store_tiles<1>(x, out);
            break;
        case activation_form::split_tiles:
            store_tiles<3>(x, out);
            break;
        }
    }

  public:
    /// Bytes of one token's activations.
    static constexpr index_t bytes(activation_form form, index_t width) {
        const index_t even = width + width % 2;
        switch (form) {
        case activation_form::bfloats:
        case activation_form::bfloat_tiles:
            return 2 * even;
        case activation_form::split_tiles:
            return 6 * even;
        case activation_form::floats:
            return 4 * even;
        default:
            return (width / 32 + 1) * static_cast<index_t>(sizeof(quantized_chunk));
        }
    }

    /// x: [tokens, width]; for bytes and tiles, width is a multiple of 32. Valid until the next call.
    void fill(matrix_view<const float> x, activation_form form, executor& threads) {
        constexpr auto line = static_cast<index_t>(sizeof(quantized_chunk));
        constexpr index_t rows = simd::tile_rows;
        tokens_ = x.rows;
        row_bytes_ = bytes(form, x.width);
        const index_t stored = is_tiled(form) ? (tokens_ + rows - 1) / rows * rows : tokens_;
        data_ = reinterpret_cast<std::byte*>(storage_.take((stored * row_bytes_ + line - 1) / line).data());
        static_assert(2 * token_tile == rows);
        threads.for_ranges(tokens_, rows, [&](index_t first, index_t last) {
            for (index_t size = 0; first < last; first += size) {
                size = is_tiled(form) ? std::min(rows, last - first) : tile_of(first).second;
                store(x.slice(first, size), form, data_ + first * row_bytes_);
            }
        });
    }

    index_t tokens() const { return tokens_; }
    index_t row_bytes() const { return row_bytes_; }
    /// The activations of the tile that begins with token `first`.
    const std::byte* tile(index_t first) const { return data_ + first * row_bytes_; }

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
