// Products of 8-bit integers and of bfloat16, which xsimd does not have: one set of operations for AVX-512 with VNNI, one for AVX2, one in
// plain code that every machine can run.
//
// All of them work on a strip of `rows` weight rows, one to a lane. `bytes` holds four consecutive weights of each row ("a quad"). The
// instructions multiply unsigned with signed bytes. Activations are the signed ones. Weights are unsigned, with a power of two added where
// need be, so that vpdpbusd reads and spreads four activations by itself; what that adds to a sum is taken off by what it starts with.
// Where products are added in 16 bits, weights too large for that keep their signs.
#pragma once

#include <loupe/core/compat/target.hpp>
#include <loupe/core/compat/tiles.hpp>
#include <loupe/core/half.hpp>
#include <loupe/core/types.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace loupe::simd {

/// Sixteen whole numbers in [−128, 127] as bytes. `from` lies on a cache line.
inline void to_bytes(const float* from, std::uint8_t* to) {
#if defined(__AVX512F__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(_mm512_load_ps(from))));
#elif defined(__AVX2__)
    const __m256i low = _mm256_cvttps_epi32(_mm256_load_ps(from)), high = _mm256_cvttps_epi32(_mm256_load_ps(from + 8));
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
#else
    for (int i = 0; i < 16; ++i) to[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(from[i]));
#endif
}

/// Of sixteen signed bytes, −32 times the sum of the first two of every four (in the low word) and of the last two (in the high one): what
/// takes 32, the most that is ever added to a weight, off the halves of which a sum of products in 16 bits consists. Neither leaves its
/// word if no byte is −128, which activations are not: 32 · 8 · 127.
inline std::int32_t start_of_words(const std::uint8_t* q) {
#if defined(__AVX2__)
    const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), _mm_loadu_si128(reinterpret_cast<const __m128i*>(q)));
    const __m128i twos = _mm_add_epi16(pairs, _mm_srli_si128(pairs, 8));
    const __m128i sums = _mm_add_epi16(twos, _mm_srli_si128(twos, 4));
    return _mm_cvtsi128_si32(_mm_slli_epi16(_mm_sub_epi16(_mm_setzero_si128(), sums), 5));
#else
    std::int16_t words[2] = {};
    for (int i = 0; i < 16; ++i) words[i / 2 % 2] = static_cast<std::int16_t>(words[i / 2 % 2] - 32 * static_cast<std::int8_t>(q[i]));
    return std::bit_cast<std::int32_t>(words);
#endif
}

/// Plain code for any number of rows, with sums of either kind: what the others must agree with to the bit.
template <int Rows, bool WideSums = false>
struct int8_portable {
    static constexpr int rows = Rows;
    /// Products are added in 32 bits, weights may be any unsigned bytes. Elsewhere those of dot_words() are added in 16, two words to a
    /// row, and the weights of dot(), which are too large for that, are signed.
    static constexpr bool wide_sums = WideSums;
    static constexpr int bundle = 2;           ///< strips that lie interleaved, at most
    static constexpr int streams = 3;          ///< bundles that are read side by side where weights come from memory
    static constexpr int tokens_together = 2;  ///< tokens whose sums of 32 columns are taken side by side by dot()
    static constexpr int words_together = 2;   ///< the same of dot_words()
    static constexpr index_t expand_from = 16; ///< tokens from which on it pays to expand a strip
    struct bytes {
        std::array<std::uint8_t, 4 * Rows> at;
    };
    struct ints {
        std::array<std::int32_t, Rows> at;
    };
    struct floats {
        std::array<float, Rows> at;
    };

  private:
    // Not inlined: a tile calls each of these a hundred times, and a compiler that unrolls them all is busy for minutes.
    template <class F>
    [[gnu::noinline]] static bytes each_byte(F&& f) {
        bytes out;
        for (std::size_t i = 0; i < 4 * Rows; ++i) out.at[i] = static_cast<std::uint8_t>(f(i));
        return out;
    }
    template <class F>
    [[gnu::noinline]] static floats each_row(F&& f) {
        floats out;
        for (std::size_t i = 0; i < Rows; ++i) out.at[i] = f(i);
        return out;
    }

  public:
    static bytes load(const std::byte* from) {
        bytes out;
        std::memcpy(out.at.data(), from, sizeof out.at);
        return out;
    }
    static void store(std::byte* to, const bytes& v) { std::memcpy(to, v.at.data(), sizeof v.at); }
    /// Bits [Shift, Shift + Bits) of every byte.
    template <int Shift, int Bits>
    static bytes field(bytes v) {
        return each_byte([&](std::size_t i) { return (v.at[i] >> Shift) & ((1 << Bits) - 1); });
    }
    /// low, and bits [From, From + Bits) of every byte of v at bit To.
    template <int From, int To, int Bits>
    static bytes insert(bytes low, bytes v) {
        return each_byte([&](std::size_t i) { return low.at[i] | (((v.at[i] >> From) & ((1 << Bits) - 1)) << To); });
    }
    template <int Value>
    static bytes plus(bytes v) {
        return each_byte([&](std::size_t i) { return v.at[i] + Value; });
    }
    static bytes look_up(const std::int8_t* table16, bytes v) {
        return each_byte([&](std::size_t i) { return table16[v.at[i]]; });
    }
    /// What takes Added to each of 16 weights off their products with a token: of wide sums given −128 · Σ q, of others
    /// start_of_words().
    template <unsigned Added>
    static ints start(std::int32_t of_x) {
        if constexpr (WideSums) {
            return all(of_x >> std::countr_zero(128U / Added));
        } else {
            const auto words = std::bit_cast<std::array<std::int16_t, 2>>(of_x);
            return all((words[0] + words[1]) >> std::countr_zero(32U / Added));
        }
    }
    /// low[t] += the products of 16 weights of each row with 16 activations of token t, high[t] those of the next 16. The tokens'
    /// activations lie `apart` bytes apart.
    template <int Tokens>
    [[gnu::noinline]] static void dot(ints* low, ints* high, const bytes* w, const std::uint8_t* x, index_t apart) {
        for (int t = 0; t < Tokens; ++t, x += apart) {
            add_products<!WideSums>(low[t], w, x);
            add_products<!WideSums>(high[t], w + 4, x + 16);
        }
    }
    /// dot() for weights of at most 32: a sum fits 16 bits, or a row's two parts of it do, which weigh() adds.
    template <int Tokens>
    [[gnu::noinline]] static void dot_words(ints* low, ints* high, const bytes* w, const std::uint8_t* x, index_t apart) {
        for (int t = 0; t < Tokens; ++t, x += apart) {
            add_products<false>(low[t], w, x);
            add_products<false>(high[t], w + 4, x + 16);
        }
    }
    /// n · v, and n[0] · low + n[1] · high if no weight exceeded 16, of sums of dot_words(): whole numbers of 32 bits, then floats.
    [[gnu::noinline]] static floats weigh(const ints& v, std::int16_t n) {
        return each_row([&](std::size_t i) { return static_cast<float>(n * v.at[i]); });
    }
    [[gnu::noinline]] static floats weigh(const ints& low, const ints& high, const std::int16_t* n) {
        return each_row([&](std::size_t i) { return static_cast<float>(n[0] * low.at[i] + n[1] * high.at[i]); });
    }
    static ints all(std::int32_t v) {
        ints out;
        out.at.fill(v);
        return out;
    }
    static floats zero() { return floats{}; }
    static floats to_floats(const ints& v) {
        return each_row([&](std::size_t i) { return static_cast<float>(v.at[i]); });
    }
    static floats all(float x) {
        return each_row([&](std::size_t) { return x; });
    }
    static floats times(const floats& a, const floats& b) {
        return each_row([&](std::size_t i) { return a.at[i] * b.at[i]; });
    }
    /// a · b + c, rounded once.
    static floats fma(const floats& a, const floats& b, const floats& c) {
        return each_row([&](std::size_t i) { return __builtin_fmaf(a.at[i], b.at[i], c.at[i]); });
    }
    static floats load_half(const std::byte* from) {
        return each_row([&](std::size_t i) { return half_to_float(word(from, i)); });
    }
    static floats load_bfloat(const std::byte* from) {
        return each_row([&](std::size_t i) { return std::bit_cast<float>(static_cast<std::uint32_t>(word(from, i)) << 16); });
    }
    /// factor · unsigned E4M3 (bias 7, no NaN).
    static floats load_e4m3(const std::byte* from, float factor) {
        return each_row([&](std::size_t i) {
            return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::uint8_t>(from[i])) << 20) * (0x1p120F * factor);
        });
    }
    /// Bits [Shift, Shift + Bits) of a byte for each row.
    template <int Shift, int Bits>
    static floats load_field(const std::byte* from) {
        return each_row(
            [&](std::size_t i) { return static_cast<float>((static_cast<std::uint8_t>(from[i]) >> Shift) & ((1 << Bits) - 1)); });
    }
    static floats load_signed(const std::byte* from) {
        return each_row([&](std::size_t i) { return static_cast<float>(static_cast<std::int8_t>(from[i])); });
    }
    static floats load_float(const std::byte* from) {
        floats out;
        std::memcpy(out.at.data(), from, sizeof out.at);
        return out;
    }
    /// The first and the second of the two bfloat16 of each row.
    static floats first_bfloat(const bytes& v) {
        return each_row([&](std::size_t i) { return std::bit_cast<float>(pair(v, i) << 16U); });
    }
    static floats second_bfloat(const bytes& v) {
        return each_row([&](std::size_t i) { return std::bit_cast<float>(pair(v, i) & 0xffff0000U); });
    }
    /// sum + the products of two bfloat16 of each row with the two of x: first the second, then the first, each rounded (vdpbf16ps, but
    /// for numbers below 2^−126, which that takes for zeros).
    static constexpr bool has_bfloat_products = WideSums;
    static floats dot_bfloats(const floats& sum, const bytes& w, std::uint32_t x) {
        const auto half = [&](const floats& a, const floats& b, std::uint32_t bits) { return fma(a, all(std::bit_cast<float>(bits)), b); };
        return half(first_bfloat(w), half(second_bfloat(w), sum, x & 0xffff0000U), x << 16U);
    }
    /// Column of each row's quad, a signed byte.
    template <int Column>
    static floats column(const bytes& v) {
        return each_row([&](std::size_t i) { return static_cast<float>(static_cast<std::int8_t>(v.at[4 * i + Column])); });
    }
    /// Two numbers of each row side by side, rounded to bfloat16.
    static bytes bfloats(const floats& first, const floats& second) {
        bytes out;
        for (std::size_t i = 0; i < Rows; ++i) {
            const std::uint32_t both = float_to_bfloat16(first.at[i]) | static_cast<std::uint32_t>(float_to_bfloat16(second.at[i])) << 16U;
            std::memcpy(out.at.data() + 4 * i, &both, sizeof both);
        }
        return out;
    }
    static void store(float* to, const floats& v) { std::memcpy(to, v.at.data(), sizeof v.at); }

  private:
    template <bool SignedWeights>
    static void add_products(ints& sum, const bytes* w, const std::uint8_t* x) {
        for (std::size_t r = 0; r < Rows; ++r) {
            for (std::size_t q = 0; q < 4; ++q) {
                for (std::size_t j = 0; j < 4; ++j) {
                    const std::uint8_t a = x[4 * q + j], b = w[q].at[4 * r + j];
                    sum.at[r] += static_cast<std::int8_t>(a) * (SignedWeights ? static_cast<std::int8_t>(b) : b);
                }
            }
        }
    }
    static std::uint32_t pair(const bytes& v, std::size_t i) {
        std::uint32_t value;
        std::memcpy(&value, v.at.data() + 4 * i, sizeof value);
        return value;
    }
    static std::uint16_t word(const std::byte* from, std::size_t i) {
        std::uint16_t value;
        std::memcpy(&value, from + 2 * i, sizeof value);
        return value;
    }
};

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

/// Pairs of products in 16 bits (vpmaddubsw), all of a sixteen added there where weights are small enough.
struct int8_avx2 {
    static constexpr int rows = 8;
    static constexpr bool wide_sums = false;
    static constexpr int bundle = 1; // four streams share activations as well
    static constexpr int streams = 4;
    static constexpr int tokens_together = 4; // magnitudes of weights serve four
    static constexpr int words_together = 1;  // four products of a sum do not wait for each other
    static constexpr index_t expand_from = 16;
    using bytes = __m256i;
    using ints = __m256i;
    using floats = __m256;

    static bytes load(const std::byte* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
    static void store(std::byte* to, bytes v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
    template <int Shift, int Bits>
    static bytes field(bytes v) {
        return _mm256_and_si256(_mm256_srli_epi16(v, Shift), _mm256_set1_epi8((1 << Bits) - 1));
    }
    template <int From, int To, int Bits>
    static bytes insert(bytes low, bytes v) {
        const bytes moved = From >= To ? _mm256_srli_epi16(v, From - To) : _mm256_slli_epi16(v, To - From);
        return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(((1 << Bits) - 1) << To)));
    }
    template <int Value>
    static bytes plus(bytes v) {
        return _mm256_add_epi8(v, _mm256_set1_epi8(static_cast<char>(Value)));
    }
    static bytes look_up(const std::int8_t* table16, bytes v) {
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table16))), v);
    }

  private:
    static __m256i quad(const std::uint8_t* x) {
        int four;
        std::memcpy(&four, x, sizeof four);
        return _mm256_set1_epi32(four);
    }
    static __m256i widen(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
    /// sum[t] += the products of 16 weights with signs. A weight's magnitude is the unsigned factor, its sign goes to the activations: as
    /// unsigned bytes two weights would overflow 16 bits, 2 · 255 · 127.
    template <int Tokens>
    __attribute__((always_inline)) static void add_signed(ints* sum, const bytes* w, const std::uint8_t* x, index_t apart) {
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            const __m256i magnitude = _mm256_abs_epi8(w[q]);
#pragma GCC unroll 4
            for (int t = 0; t < Tokens; ++t) {
                const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(quad(x + t * apart + 4 * q), w[q]));
                sum[t] = _mm256_add_epi32(sum[t], widen(pairs));
            }
        }
    }
    /// 2 · 127 · 63 fits 16 bits; the sum of four such need not, as long as that without what was added to the weights does: 8 · 127 · 32.
    static ints sum_of_words(ints start, const bytes* w, const std::uint8_t* x) {
        const auto pairs = [&](int q) { return _mm256_maddubs_epi16(w[q], quad(x + 4 * q)); };
        return _mm256_add_epi16(start, _mm256_add_epi16(_mm256_add_epi16(pairs(0), pairs(1)), _mm256_add_epi16(pairs(2), pairs(3))));
    }

  public:
    template <unsigned Added>
    static ints start(std::int32_t of_x) {
        return _mm256_srai_epi16(_mm256_set1_epi32(of_x), std::countr_zero(32U / Added));
    }
    template <int Tokens>
    __attribute__((always_inline)) static void dot_words(ints* low, ints* high, const bytes* w, const std::uint8_t* x, index_t apart) {
#pragma GCC unroll 4
        for (int t = 0; t < Tokens; ++t, x += apart) {
            low[t] = sum_of_words(low[t], w, x);
            high[t] = sum_of_words(high[t], w + 4, x + 16);
        }
    }
    static floats weigh(ints v, std::int16_t n) { return to_floats(_mm256_madd_epi16(v, _mm256_set1_epi16(n))); }
    static floats weigh(ints low, ints high, const std::int16_t* n) {
        return to_floats(
            _mm256_add_epi32(_mm256_madd_epi16(low, _mm256_set1_epi16(n[0])), _mm256_madd_epi16(high, _mm256_set1_epi16(n[1]))));
    }
    template <int Tokens>
    __attribute__((always_inline)) static void dot(ints* low, ints* high, const bytes* w, const std::uint8_t* x, index_t apart) {
        add_signed<Tokens>(low, w, x, apart);
        add_signed<Tokens>(high, w + 4, x + 16, apart);
    }
    static ints all(std::int32_t v) { return _mm256_set1_epi32(v); }
    static floats zero() { return _mm256_setzero_ps(); }
    static floats to_floats(ints v) { return _mm256_cvtepi32_ps(v); }
    static floats all(float x) { return _mm256_set1_ps(x); }
    static floats times(floats a, floats b) { return _mm256_mul_ps(a, b); }
    static floats fma(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
    static floats load_half(const std::byte* from) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))); }
    static floats load_bfloat(const std::byte* from) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
    static floats load_e4m3(const std::byte* from, float factor) {
        // by way of half, as for AVX-512
        const __m128i half = _mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))), 7);
        return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(0x1p8F * factor));
    }
    template <int Shift, int Bits>
    static floats load_field(const std::byte* from) {
        const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
        const __m256i moved = _mm256_srli_epi32(wide, Shift);
        return _mm256_cvtepi32_ps(Shift + Bits == 8 ? moved : _mm256_and_si256(moved, _mm256_set1_epi32((1 << Bits) - 1)));
    }
    static floats load_signed(const std::byte* from) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
    }
    static floats load_float(const std::byte* from) { return _mm256_loadu_ps(reinterpret_cast<const float*>(from)); }
    static constexpr bool has_bfloat_products = false;
    static floats first_bfloat(bytes v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
    static floats second_bfloat(bytes v) { return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(-65536))); }
    static void store(float* to, floats v) { _mm256_storeu_ps(to, v); }
};

#endif

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

/// Four products at once, added in 32 bits (vpdpbusd).
struct int8_vnni {
    static constexpr int rows = 16;
    static constexpr bool wide_sums = true;
    /// Where one stream is read fastest; others with VNNI are taken to be like Zen 4, unmeasured.
    static constexpr int bundle = is_intel_server ? 1 : 4;
    static constexpr int streams = is_intel_server ? 8 : 1; // see prefetch.hpp
    static constexpr int tokens_together = 8;
    static constexpr int words_together = 8;
    static constexpr index_t expand_from = 40;
    using bytes = __m512i;
    using ints = __m512i;
    using floats = __m512;

    static bytes load(const std::byte* from) { return _mm512_loadu_si512(from); }
    static void store(std::byte* to, bytes v) { _mm512_storeu_si512(to, v); }
    template <int Shift, int Bits>
    static bytes field(bytes v) {
#if defined(__GFNI__) // one instruction for two: each bit of a byte is one of the bits of its source, if any
        // On Zen 4 (and others, unmeasured) it would wait for the same two units as vpdpbusd, which shifting and masking do not.
        constexpr std::uint64_t matrix = [] {
            std::uint64_t rows_from_last = 0;
            for (int i = 0; i < Bits; ++i) rows_from_last |= std::uint64_t{1} << (8 * (7 - i) + i + Shift);
            return rows_from_last;
        }();
        if constexpr (is_intel_server && Shift > 0)
            return _mm512_gf2p8affine_epi64_epi8(v, _mm512_set1_epi64(static_cast<long long>(matrix)), 0);
#endif
        return _mm512_and_si512(_mm512_srli_epi16(v, Shift), _mm512_set1_epi8((1 << Bits) - 1));
    }
    template <int From, int To, int Bits>
    static bytes insert(bytes low, bytes v) {
        const bytes moved = From >= To ? _mm512_srli_epi16(v, From - To) : _mm512_slli_epi16(v, To - From);
        constexpr int low_or_both = 0xF8; // a | (b & c) for every bit
        return _mm512_ternarylogic_epi32(low, moved, _mm512_set1_epi8(((1 << Bits) - 1) << To), low_or_both);
    }
    template <int Value>
    static bytes plus(bytes v) {
        return _mm512_add_epi8(v, _mm512_set1_epi8(static_cast<char>(Value)));
    }
    static bytes look_up(const std::int8_t* table16, bytes v) {
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table16))), v);
    }
    /// The four instructions of a sum wait for each other, so those of all sums take turns.
    template <int Tokens>
    __attribute__((always_inline)) static void dot(ints* low, ints* high, const bytes* w, const std::uint8_t* x, index_t apart) {
        const auto add = [](ints sum, bytes quad, const std::uint8_t* of) {
            int four;
            std::memcpy(&four, of, sizeof four);
            return _mm512_dpbusd_epi32(sum, quad, _mm512_set1_epi32(four));
        };
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
#pragma GCC unroll 8
            for (int t = 0; t < Tokens; ++t) {
                low[t] = add(low[t], w[q], x + t * apart + 4 * q);
                high[t] = add(high[t], w[4 + q], x + t * apart + 16 + 4 * q);
            }
        }
    }
    template <int Tokens>
    __attribute__((always_inline)) static void dot_words(ints* low, ints* high, const bytes* w, const std::uint8_t* x, index_t apart) {
        dot<Tokens>(low, high, w, x, apart);
    }
    static floats weigh(ints low, ints high, const std::int16_t* n) {
        constexpr __mmask64 second_words = 0xcccccccccccccccc;
        const __m512i first_words = _mm512_set4_epi32(0x0d0c0d0c, 0x09080908, 0x05040504, 0x01000100);
        const __m512i pairs = _mm512_mask_shuffle_epi8(low, second_words, high, first_words);
        std::int32_t both;
        std::memcpy(&both, n, sizeof both);
        return to_floats(_mm512_madd_epi16(pairs, _mm512_set1_epi32(both)));
    }
    static ints all(std::int32_t v) { return _mm512_set1_epi32(v); }
    template <unsigned Added>
    static ints start(std::int32_t of_x) {
        return _mm512_srai_epi32(_mm512_set1_epi32(of_x), std::countr_zero(128U / Added));
    }
    static floats zero() { return _mm512_setzero_ps(); }
    static floats to_floats(ints v) { return _mm512_cvtepi32_ps(v); }
    static floats all(float x) { return _mm512_set1_ps(x); }
    static floats times(floats a, floats b) { return _mm512_mul_ps(a, b); }
    static floats fma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
    static floats load_half(const std::byte* from) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); }
    static floats load_bfloat(const std::byte* from) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    static floats load_e4m3(const std::byte* from, float factor) {
        // by way of half, whose bias is 8 more: a float of the same bits would be denormal where E4M3 is, which takes Intel's 150 cycles
        const __m256i half = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))), 7);
        return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(0x1p8F * factor));
    }
    template <int Shift, int Bits>
    static floats load_field(const std::byte* from) {
        const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
        const __m512i moved = _mm512_srli_epi32(wide, Shift);
        if constexpr (Bits == 4) // looked up by the lowest four bits
            return _mm512_permutexvar_ps(moved, _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        return _mm512_cvtepi32_ps(Shift + Bits == 8 ? moved : _mm512_and_si512(moved, _mm512_set1_epi32((1 << Bits) - 1)));
    }
    static floats load_signed(const std::byte* from) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
    }
    static floats load_float(const std::byte* from) { return _mm512_loadu_ps(from); }
    static floats first_bfloat(bytes v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); }
    static floats second_bfloat(bytes v) { return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(-65536))); }
#if defined(__AVX512BF16__)
    static constexpr bool has_bfloat_products = !is_intel_server; // where four of floats take as long
    static floats dot_bfloats(floats sum, bytes w, std::uint32_t x) {
        return _mm512_dpbf16_ps(sum, std::bit_cast<__m512bh>(w), std::bit_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x))));
    }
    template <int Column>
    static floats column(bytes v) {
        return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(v, 24 - 8 * Column), 24));
    }
    static bytes bfloats(floats first, floats second) {
        alignas(64) static constexpr auto places = [] { // of the words: all of the first, then all of the second, become pairs
            std::array<std::uint32_t, 16> out{};
            for (std::uint32_t n = 0; n < 16; ++n) out[n] = n | (16 + n) << 16U;
            return out;
        }();
        const auto both = std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
        return _mm512_permutexvar_epi16(_mm512_load_si512(places.data()), both);
    }
#else
    static constexpr bool has_bfloat_products = false;
#endif
    static void store(float* to, floats v) { _mm512_storeu_ps(to, v); }
};

#endif

/// The fastest of them on the target.
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
using int8 = int8_vnni;
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
using int8 = int8_avx2;
#else
using int8 = int8_portable<8>;
#endif

} // namespace loupe::simd
