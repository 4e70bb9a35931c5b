// Nibbles that index a table of 16 small integers: common to IQ4 and FP4.
#pragma once

#include <loupe/format/concept.hpp>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace loupe::format::detail {

struct nibble_table {
    std::int8_t at[16];

    // 16 bytes of nibbles to 32 values: those of bytes 0-7 times scale0 go to low0[8] and high0[8], those of bytes 8-15 times scale1 to
    // low1[8] and high1[8]. Compilers make scalar loads of a table of 16; the shuffle looks all up at once.
    void decode(const std::byte* nibbles, float scale0, float scale1, float* low0, float* high0, float* low1, float* high1) const noexcept {
#if defined(__AVX2__)
        const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), mask = _mm_set1_epi8(15);
        const __m128i q = _mm_loadu_si128(reinterpret_cast<const __m128i*>(nibbles));
        const __m128i low = _mm_shuffle_epi8(table, _mm_and_si128(q, mask));
        const __m128i high = _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(q, 4), mask));
        const auto eight = [](__m128i bytes, float scale, float* to) {
            _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
        };
        eight(low, scale0, low0);
        eight(high, scale0, high0);
        eight(_mm_unpackhi_epi64(low, low), scale1, low1);
        eight(_mm_unpackhi_epi64(high, high), scale1, high1);
#else
        const local_bytes<16> q(nibbles);
        for (index_t j = 0; j < 8; ++j) {
            low0[j] = scale0 * static_cast<float>(at[q[j] & 15]);
            high0[j] = scale0 * static_cast<float>(at[q[j] >> 4]);
            low1[j] = scale1 * static_cast<float>(at[q[j + 8] & 15]);
            high1[j] = scale1 * static_cast<float>(at[q[j + 8] >> 4]);
        }
#endif
    }
};

} // namespace loupe::format::detail
