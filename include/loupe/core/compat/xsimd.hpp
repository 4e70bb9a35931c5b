// xsimd 8 to 14 under one name, and the few operations it lacks.
#pragma once

#include <xsimd/xsimd.hpp>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <array>

namespace loupe::simd {

/// The widest batch of floats of the target.
using floats = xsimd::batch<float>;
inline constexpr int width = static_cast<int>(floats::size);

/// Sum of a batch's lanes.
inline float sum(const floats& x) {
#if XSIMD_VERSION_MAJOR >= 10
    return xsimd::reduce_add(x);
#else
    return xsimd::hadd(x);
#endif
}

/// The largest of a batch's lanes.
inline float largest(const floats& x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps(x);
#elif defined(__AVX__)
    const __m256 all = x;
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    alignas(64) float lane[width];
    x.store_aligned(lane);
    float most = lane[0];
    for (const float v : lane) most = v > most ? v : most;
    return most;
#endif
}

/// The sums of four batches at once, each in the same order of addition: a fifth of the instructions of four sums.
inline void sum4(const floats& a, const floats& b, const floats& c, const floats& d, float* out) {
#if defined(__AVX__)
#if defined(__AVX512F__)
    const auto half = [](__m512 x) {
        return _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
    };
    const __m256 a8 = half(a), b8 = half(b), c8 = half(c), d8 = half(d);
#else
    const __m256 a8 = a, b8 = b, c8 = c, d8 = d;
#endif
    const __m256 quarters = _mm256_hadd_ps(_mm256_hadd_ps(a8, b8), _mm256_hadd_ps(c8, d8));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1)));
#else
    out[0] = sum(a), out[1] = sum(b), out[2] = sum(c), out[3] = sum(d);
#endif
}

/// The largest lane of each of four batches.
inline void largest4(const floats& a, const floats& b, const floats& c, const floats& d, float* out) {
#if defined(__AVX__)
#if defined(__AVX512F__)
    const auto half = [](__m512 x) {
        return _mm256_max_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
    };
    const __m256 a8 = half(a), b8 = half(b), c8 = half(c), d8 = half(d);
#else
    const __m256 a8 = a, b8 = b, c8 = c, d8 = d;
#endif
    const __m256 ab = _mm256_max_ps(_mm256_unpacklo_ps(a8, b8), _mm256_unpackhi_ps(a8, b8)); // a b a b, twice
    const __m256 cd = _mm256_max_ps(_mm256_unpacklo_ps(c8, d8), _mm256_unpackhi_ps(c8, d8));
    const __m256 quarters = _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
    _mm_storeu_ps(out, _mm_max_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1)));
#else
    out[0] = largest(a), out[1] = largest(b), out[2] = largest(c), out[3] = largest(d);
#endif
}

} // namespace loupe::simd
