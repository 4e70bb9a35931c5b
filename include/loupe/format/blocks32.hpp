// Blocks of 32 values with one binary16 scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
// Everywhere byte j of the nibbles carries elements j (low) and j + 16 (high).
#pragma once

#include <loupe/core/half.hpp>
#include <loupe/format/concept.hpp>

#include <limits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace loupe::format {

namespace detail {

// A product as binary32 has it. Without this a compiler may fuse it with the addition behind it, and codes on an edge come out
// differently from the reference encoder's. (Decoders do not need it: their products are exact.)
inline float rounded(float product) noexcept {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__SSE2__))
    __asm__("" : "+x"(product));
    return product;
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__("" : "+w"(product));
    return product;
#else
    volatile float kept = product;
    return kept;
#endif
}

// trunc(x * inverse + offset), kept in [0, most] whatever x is (a NaN gives 0).
inline std::uint8_t code(float x, float inverse, float offset, float most) noexcept {
    const float sum = rounded(x * inverse) + offset;
    return static_cast<std::uint8_t>(sum > 0.0F ? (sum < most ? sum : most) : 0.0F);
}

// The element of largest magnitude with its sign; the first of equals.
inline float extreme32(const float* in) noexcept {
    float magnitude = 0.0F, value = 0.0F;
    for (index_t i = 0; i < 32; ++i) {
        const float a = in[i] < 0.0F ? -in[i] : in[i];
        if (a > magnitude) magnitude = a, value = in[i];
    }
    return value;
}

struct range32 {
    float low, high;
    explicit range32(const float* in) noexcept : low(in[0]), high(in[0]) {
        for (index_t i = 1; i < 32; ++i) {
            low = in[i] < low ? in[i] : low;
            high = in[i] > high ? in[i] : high;
        }
    }
};

inline float reciprocal(float d) noexcept { return d != 0.0F ? 1.0F / d : 0.0F; }

// Codes of 0...15 as nibbles.
inline void store_nibbles(const std::uint8_t* codes, std::byte* to) noexcept {
    for (index_t j = 0; j < 16; ++j) to[j] = static_cast<std::byte>((codes[j] & 15U) | ((codes[j + 16] & 15U) << 4));
}

// Bit 4 of each code, as one 32-bit word.
inline std::uint32_t fifth_bits(const std::uint8_t* codes) noexcept {
    std::uint32_t bits = 0;
    for (index_t j = 0; j < 32; ++j) bits |= ((codes[j] >> 4) & 1U) << j;
    return bits;
}

// Nibbles to codes 0...15, in element order.
inline void load_nibbles(const std::byte* from, int* codes) noexcept {
    const local_bytes<16> q(from);
    for (index_t j = 0; j < 16; ++j) {
        codes[j] = q[j] & 15;
        codes[j + 16] = q[j] >> 4;
    }
}

// The same with a fifth bit: byte i / 8 of the word at `high`, bit i % 8.
inline void load_five_bits(const std::byte* high, const std::byte* from, int* codes) noexcept {
    load_nibbles(from, codes);
    const auto bits = load<std::uint32_t>(high);
    for (std::uint32_t j = 0; j < 32; ++j) codes[j] |= static_cast<int>(((bits >> j) & 1U) << 4);
}

inline float load_half(const std::byte* from) noexcept { return half_to_float(load<std::uint16_t>(from)); }
inline void store_half(std::byte* to, float value) noexcept { store(to, float_to_half(value)); }

} // namespace detail

/// d (q - 8), q of 4 bits. Bytes: half d, 16 nibble bytes.
struct q4_0 {
    static constexpr std::uint32_t id = 2;
    static constexpr std::string_view name = "Q4_0";
    static constexpr index_t length = 32, bytes = 18;
    static constexpr index_t halves[] = {0};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::load_half(block);
        int q[32];
        detail::load_nibbles(block + 2, q);
        for (index_t i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i] - 8);
    }
    /// The value of largest magnitude gets code 0 (GGUF specification, encoder of Q4_0).
    static void encode(const float* in, std::byte* block) noexcept {
        const float d = detail::extreme32(in) / -8.0F, inverse = detail::reciprocal(d);
        std::uint8_t codes[32];
        for (index_t i = 0; i < 32; ++i) codes[i] = detail::code(in[i], inverse, 8.5F, 15.0F);
        detail::store_half(block, d);
        detail::store_nibbles(codes, block + 2);
    }
};

/// d q + m, q of 4 bits. Bytes: half d, half m, 16 nibble bytes.
struct q4_1 {
    static constexpr std::uint32_t id = 3;
    static constexpr std::string_view name = "Q4_1";
    static constexpr index_t length = 32, bytes = 20;
    static constexpr index_t halves[] = {0, 2};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::load_half(block), m = detail::load_half(block + 2);
        int q[32];
        detail::load_nibbles(block + 4, q);
        for (index_t i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]) + m;
    }
    static void encode(const float* in, std::byte* block) noexcept {
        const detail::range32 range(in);
        const float d = (range.high - range.low) / 15.0F, inverse = detail::reciprocal(d);
        std::uint8_t codes[32];
        for (index_t i = 0; i < 32; ++i) codes[i] = detail::code(in[i] - range.low, inverse, 0.5F, 15.0F);
        detail::store_half(block, d);
        detail::store_half(block + 2, range.low);
        detail::store_nibbles(codes, block + 4);
    }
};

/// d (q - 16), q of 5 bits. Bytes: half d, u32 fifth bits, 16 nibble bytes.
struct q5_0 {
    static constexpr std::uint32_t id = 6;
    static constexpr std::string_view name = "Q5_0";
    static constexpr index_t length = 32, bytes = 22;
    static constexpr index_t halves[] = {0};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::load_half(block);
        int q[32];
        detail::load_five_bits(block + 2, block + 6, q);
        for (index_t i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i] - 16);
    }
    static void encode(const float* in, std::byte* block) noexcept {
        const float d = detail::extreme32(in) / -16.0F, inverse = detail::reciprocal(d);
        std::uint8_t codes[32];
        for (index_t i = 0; i < 32; ++i) codes[i] = detail::code(in[i], inverse, 16.5F, 31.0F);
        detail::store_half(block, d);
        detail::store(block + 2, detail::fifth_bits(codes));
        detail::store_nibbles(codes, block + 6);
    }
};

/// d q + m, q of 5 bits. Bytes: half d, half m, u32 fifth bits, 16 nibble bytes.
struct q5_1 {
    static constexpr std::uint32_t id = 7;
    static constexpr std::string_view name = "Q5_1";
    static constexpr index_t length = 32, bytes = 24;
    static constexpr index_t halves[] = {0, 2};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::load_half(block), m = detail::load_half(block + 2);
        int q[32];
        detail::load_five_bits(block + 4, block + 8, q);
        for (index_t i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]) + m;
    }
    static void encode(const float* in, std::byte* block) noexcept {
        const detail::range32 range(in);
        const float d = (range.high - range.low) / 31.0F, inverse = detail::reciprocal(d);
        std::uint8_t codes[32];
        for (index_t i = 0; i < 32; ++i) codes[i] = detail::code(in[i] - range.low, inverse, 0.5F, 31.0F);
        detail::store_half(block, d);
        detail::store_half(block + 2, range.low);
        detail::store(block + 4, detail::fifth_bits(codes));
        detail::store_nibbles(codes, block + 8);
    }
};

/// d q, q of 8 bits. Bytes: half d, 32 signed bytes.
struct q8_0 {
    static constexpr std::uint32_t id = 8;
    static constexpr std::string_view name = "Q8_0";
    static constexpr index_t length = 32, bytes = 34;
    static constexpr index_t halves[] = {0};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::load_half(block);
#if defined(__AVX512F__)
        for (index_t i = 0; i < 32; i += 16) {
            const __m512i q = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 2 + i)));
            _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_set1_ps(d), _mm512_cvtepi32_ps(q)));
        }
#elif defined(__AVX2__)
        for (index_t i = 0; i < 32; i += 8) { // g++ 12 leaves half of a plain loop to single bytes
            const __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 2 + i)));
            _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(q)));
        }
#else
        std::int8_t q[32];
        __builtin_memcpy(q, block + 2, sizeof q);
        for (index_t i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]);
#endif
    }
    /// Rounds halves away from zero; d is stored as a half, the codes come from the unrounded one. A NaN makes the block's scale NaN, where
    /// ggml keeps the others: what a cache returns must not look sound.
    static void encode(const float* in, std::byte* block) noexcept {
#if defined(__AVX2__)
        // What the loops below do, which compilers leave to single values: a float may not be a number, and an instruction that finds the
        // larger of two gives the second one then, as a > b ? a : b does.
        const auto eight = [in](index_t i) { return _mm256_loadu_ps(in + 8 * i); };
        const auto magnitude = [&](index_t i) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), eight(i)); };
        __m256 most = _mm256_setzero_ps(), no_numbers = _mm256_setzero_ps();
        for (index_t i = 0; i < 4; ++i) {
            most = _mm256_max_ps(magnitude(i), most);
            no_numbers = _mm256_or_ps(no_numbers, _mm256_cmp_ps(eight(i), eight(i), _CMP_UNORD_Q));
        }
        __m128 largest4 = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
        largest4 = _mm_max_ps(largest4, _mm_movehl_ps(largest4, largest4));
        const float d = _mm_cvtss_f32(_mm_max_ss(largest4, _mm_movehdup_ps(largest4))) / 127.0F;
        const __m256 inverse = _mm256_set1_ps(detail::reciprocal(d)), limit = _mm256_set1_ps(127.0F);
        const auto code = [&](index_t i) {
            __m256 p = _mm256_max_ps(_mm256_mul_ps(eight(i), inverse), _mm256_set1_ps(-127.0F));
            p = _mm256_min_ps(p, limit);
            const __m256i twice = _mm256_cvttps_epi32(_mm256_add_ps(p, p));
            const __m256i away = _mm256_add_epi32(twice, _mm256_or_si256(_mm256_srai_epi32(twice, 31), _mm256_set1_epi32(1)));
            return _mm256_srai_epi32(_mm256_sub_epi32(away, _mm256_srai_epi32(away, 31)), 1);
        };
        const __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(code(0), code(1)), _mm256_packs_epi32(code(2), code(3)));
        detail::store_half(block, _mm256_movemask_ps(no_numbers) == 0 ? d : std::numeric_limits<float>::quiet_NaN());
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(block + 2),
                            _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
#else
        float largest = 0.0F;
        bool are_numbers = true;
        for (index_t i = 0; i < 32; ++i) {
            const float a = in[i] < 0.0F ? -in[i] : in[i];
            largest = a > largest ? a : largest;
            are_numbers = are_numbers && a == a;
        }
        const float d = largest / 127.0F, inverse = detail::reciprocal(d);
        std::int8_t q[32];
        for (index_t i = 0; i < 32; ++i) {
            float p = in[i] * inverse;
            p = p > -127.0F ? p : -127.0F; // also where p is not a number
            p = p < 127.0F ? p : 127.0F;
            const int twice = static_cast<int>(p * 2.0F); // doubling is exact: no sum of floats to be fused
            q[i] = static_cast<std::int8_t>((twice + (twice < 0 ? -1 : 1)) / 2);
        }
        detail::store_half(block, are_numbers ? d : std::numeric_limits<float>::quiet_NaN());
        __builtin_memcpy(block + 2, q, sizeof q);
#endif
    }
};

} // namespace loupe::format
