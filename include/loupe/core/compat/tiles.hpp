// Products of whole tiles of bfloat16, which xsimd does not have: AMX, and the same in plain code.
//
// A tile is 16 rows of 64 bytes. One of activations holds 32 columns of 16 tokens, a token to a row. One of weights holds 32 columns of 16
// weight rows, a pair of columns to a row: the pair of weight row n is its element n. One of sums holds 16 tokens × 16 weight rows in
// float.
#pragma once

#include <loupe/core/half.hpp>
#include <loupe/core/types.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

// g++ and newer clang name these with an underscore more. Weights become tiles by AVX-512, which every processor with AMX has.
#if ((defined(__AMX_TILE__) && defined(__AMX_BF16__)) || (defined(__AMXTILE__) && defined(__AMXBF16__))) && defined(__AVX512VNNI__) &&     \
    defined(__AVX512BW__) && defined(__AVX512BF16__) && defined(__linux__)
#define LOUPE_HAS_AMX
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace loupe::simd {

inline constexpr index_t tile_rows = 16, tile_columns = 32, tile_bytes = 1024;

/// How many bfloat16 make an activation beside weights of `w_terms`: one, to which it is rounded, beside one; else three, whose sum holds
/// the 24 bits of a float.
constexpr int x_terms_for(int w_terms) { return w_terms == 1 ? 1 : 3; }

/// Products of terms to a product of such numbers: those that matter for it in float, of term i and term j with i + j < 3.
constexpr int products_of_terms(int w_terms) {
    int count = 0;
    for (int i = 0; i < x_terms_for(w_terms); ++i) count += std::min(w_terms, x_terms_for(w_terms) - i);
    return count;
}

/// 32 floats rounded to bfloat16; of several terms, a tile apart, the next is what the ones before leave, rounded (Henry, Tang and
/// Heinecke 2019, arXiv 1904.06376). Three hold all bits of magnitudes from 2^−110 to 2^128 · (1 − 2^−9); of one that rounds to infinity
/// the others are no numbers, and so is what it is multiplied into.
template <int Terms = 1>
inline void to_bfloats(const float* from, std::byte* to) {
#if defined(__AVX512BF16__)
    __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + 16);
    const auto floats_of = [](__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); };
    for (int term = 0; term < Terms; ++term) {
        const auto both = std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(to + term * tile_bytes, both);
        low = _mm512_sub_ps(low, floats_of(_mm512_castsi512_si256(both)));
        high = _mm512_sub_ps(high, floats_of(_mm512_extracti64x4_epi64(both, 1)));
    }
#else
    for (index_t i = 0; i < tile_columns; ++i) {
        float left = from[i];
        for (int term = 0; term < Terms; ++term) {
            const std::uint16_t v = float_to_bfloat16(left);
            std::memcpy(to + term * tile_bytes + 2 * i, &v, sizeof v);
            left -= bfloat16_to_float(v);
        }
    }
#endif
}

/// What AMX computes, but for numbers below 2^−126, which that takes for zeros.
struct tiles_portable {
    static bool available() { return true; }
    /// Tiles are multiplied while one of these lives.
    struct [[maybe_unused]] session {};

    /// y[t][n] (+)= Σ_k x[t][k] · w[n][k] for 16 · M tokens, 16 · N weight rows and 32 · steps columns. x: `steps` tiles of 16 tokens, the
    /// next 16 `x_stride` bytes on. w: 2 tiles of 16 rows each for every step, of which the first N are read. With weights of several terms
    /// all terms of a step stand side by side, in x and in w. y: rows of 32 floats, begun anew unless `add`.
    template <int M, int N, int Terms = 1>
    static void multiply(const std::byte* x, index_t x_stride, const std::byte* w, index_t steps, float* y, bool add) {
        if (!add) {
            for (index_t t = 0; t < M * tile_rows; ++t) std::fill_n(y + 32 * t, N * tile_rows, 0.0F);
        }
        constexpr int x_terms = x_terms_for(Terms);
        for (index_t step = 0; step < steps; ++step, x += x_terms * tile_bytes, w += 2 * Terms * tile_bytes) {
            for (index_t t = 0; t < M * tile_rows; ++t) {
                const std::byte* const of_token = x + t / tile_rows * x_stride + t % tile_rows * 64;
                for (index_t n = 0; n < N * tile_rows; ++n) {
                    const std::byte* const of_row = w + n / tile_rows * tile_bytes + n % tile_rows * 4;
                    for (int i = 0; i < x_terms; ++i) {
                        for (int j = 0; j < Terms && i + j < x_terms; ++j)
                            y[32 * t + n] += dot(of_token + i * tile_bytes, of_row + j * 2 * tile_bytes);
                    }
                }
            }
        }
    }

  private:
    /// 32 products: those of even columns and those of odd ones are summed apart, each rounded once.
    static float dot(const std::byte* x, const std::byte* w) {
        float sum[2] = {};
        for (int k = 0; k < 16; ++k, x += 4, w += 64) {
            for (int i = 0; i < 2; ++i) sum[i] = __builtin_fmaf(number(x + 2 * i), number(w + 2 * i), sum[i]);
        }
        return sum[0] + sum[1];
    }
    static float number(const std::byte* at) {
        std::uint16_t bits;
        std::memcpy(&bits, at, sizeof bits);
        return bfloat16_to_float(bits);
    }
};

#if defined(LOUPE_HAS_AMX)

/// Intel's Advanced Matrix Extensions: a register of 1 KB each for four tiles of sums, two of activations and two of weights.
struct tiles_amx {
    /// Whether the operating system lets this process use them; it is asked once.
    static bool available() {
        static const bool granted = [] {
            constexpr long request_permission = 0x1023, tile_data = 18; // ARCH_REQ_XCOMP_PERM of arch_prctl(2)
            return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
        }();
        return granted;
    }

    /// The registers' shapes, for the thread that makes one; afterwards it is as cheap to switch to another thread as before.
    struct session {
        session() {
            struct alignas(64) shapes {
                std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
                std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
                std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
            };
            static constexpr shapes all{};
            _tile_loadconfig(&all);
        }
        session(const session&) = delete;
        session& operator=(const session&) = delete;
        ~session() { _tile_release(); }
    };

    /// See tiles_portable.
    template <int M, int N, int Terms = 1>
    static void multiply(const std::byte* x, index_t x_stride, const std::byte* w, index_t steps, float* y, bool add) {
        asm volatile("" : : : "memory"); // g++ does not know that tiles are loaded from memory: what was written before must lie there
        constexpr index_t rows = tile_rows * 32, columns = tile_rows; // in y, to the next tile
        if (add) {
            _tile_loadd(0, y, 128);
            if constexpr (N > 1) _tile_loadd(1, y + columns, 128);
            if constexpr (M > 1) _tile_loadd(2, y + rows, 128);
            if constexpr (M > 1 && N > 1) _tile_loadd(3, y + rows + columns, 128);
        } else {
            _tile_zero(0);
            if constexpr (N > 1) _tile_zero(1);
            if constexpr (M > 1) _tile_zero(2);
            if constexpr (M > 1 && N > 1) _tile_zero(3);
        }
        for (index_t step = 0; step < steps; ++step, w += 2 * Terms * tile_bytes) {
            for (int i = 0; i < x_terms_for(Terms); ++i, x += tile_bytes) {
                _tile_loadd(4, x, 64);
                if constexpr (M > 1) _tile_loadd(5, x + x_stride, 64);
                for (int j = 0; j < Terms && i + j < x_terms_for(Terms); ++j) {
                    _tile_loadd(6, w + j * 2 * tile_bytes, 64);
                    if constexpr (N > 1) _tile_loadd(7, w + (j * 2 + 1) * tile_bytes, 64);
                    _tile_dpbf16ps(0, 4, 6);
                    if constexpr (N > 1) _tile_dpbf16ps(1, 4, 7);
                    if constexpr (M > 1) _tile_dpbf16ps(2, 5, 6);
                    if constexpr (M > 1 && N > 1) _tile_dpbf16ps(3, 5, 7);
                }
            }
        }
        _tile_stored(0, y, 128);
        if constexpr (N > 1) _tile_stored(1, y + columns, 128);
        if constexpr (M > 1) _tile_stored(2, y + rows, 128);
        if constexpr (M > 1 && N > 1) _tile_stored(3, y + rows + columns, 128);
        asm volatile("" : : : "memory");
    }
};

using tiles = tiles_amx;
inline constexpr bool has_tiles = true;
#else
using tiles = tiles_portable; // to be tested, not to be used: slower than what it would replace
inline constexpr bool has_tiles = false;
#endif

/// Whether products of tiles are there, and worth it.
inline bool tiles_available() { return has_tiles && tiles::available(); }

} // namespace loupe::simd
