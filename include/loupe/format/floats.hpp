// Weights stored as plain floats: F32, F16, BF16.
#pragma once

#include <loupe/core/half.hpp>
#include <loupe/format/concept.hpp>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace loupe::format {

/// binary32.
struct f32 {
    static constexpr std::uint32_t id = 0;
    static constexpr std::string_view name = "F32";
    static constexpr index_t length = 1, bytes = 4;

    static void decode(const std::byte* block, float* out) noexcept { *out = detail::load<float>(block); }
    static void encode(const float* in, std::byte* block) noexcept { detail::store(block, *in); }
    static void decode_row(const std::byte* blocks, float* values, index_t count) noexcept {
        if (count > 0) __builtin_memcpy(values, blocks, static_cast<std::size_t>(count) * 4);
    }
    static void encode_row(const float* values, std::byte* blocks, index_t count) noexcept {
        if (count > 0) __builtin_memcpy(blocks, values, static_cast<std::size_t>(count) * 4);
    }
};

/// IEEE binary16.
struct f16 {
    static constexpr std::uint32_t id = 1;
    static constexpr std::string_view name = "F16";
    static constexpr index_t length = 1, bytes = 2;

    static void decode(const std::byte* block, float* out) noexcept { *out = half_to_float(detail::load<std::uint16_t>(block)); }
    static void encode(const float* in, std::byte* block) noexcept { detail::store(block, float_to_half(*in)); }
    static void decode_row(const std::byte* blocks, float* values, index_t count) noexcept {
        index_t i = 0;
        // Compilers do not vectorise the scalar conversion by themselves.
#if defined(__AVX512F__)
        for (; i + 16 <= count; i += 16)
            _mm512_storeu_ps(values + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(blocks + 2 * i))));
#endif
#if defined(__F16C__)
        for (; i + 8 <= count; i += 8)
            _mm256_storeu_ps(values + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 2 * i))));
#endif
        for (; i < count; ++i) decode(blocks + 2 * i, values + i);
    }
    static void encode_row(const float* values, std::byte* blocks, index_t count) noexcept {
        index_t i = 0;
#if defined(__F16C__)
        for (; i + 8 <= count; i += 8) {
            const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(blocks + 2 * i), halves);
        }
#endif
        for (; i < count; ++i) encode(values + i, blocks + 2 * i);
    }
};

/// The upper half of a binary32.
struct bf16 {
    static constexpr std::uint32_t id = 30;
    static constexpr std::string_view name = "BF16";
    static constexpr index_t length = 1, bytes = 2;

    static void decode(const std::byte* block, float* out) noexcept { *out = bfloat16_to_float(detail::load<std::uint16_t>(block)); }
    static void encode(const float* in, std::byte* block) noexcept { detail::store(block, float_to_bfloat16(*in)); }
    static void decode_row(const std::byte* blocks, float* values, index_t count) noexcept {
        index_t i = 0;
        // g++ 12 makes loads and stores of single words of a plain loop.
#if defined(__AVX512F__)
        for (; i + 16 <= count; i += 16) {
            const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(blocks + 2 * i)));
            _mm512_storeu_ps(values + i, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
        }
#endif
#if defined(__AVX2__)
        for (; i + 8 <= count; i += 8) {
            const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 2 * i)));
            _mm256_storeu_ps(values + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
        }
#endif
        for (; i < count; ++i) decode(blocks + 2 * i, values + i);
    }
};

} // namespace loupe::format
