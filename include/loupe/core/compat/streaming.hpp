// Writing what nobody reads soon.
#pragma once

#include <loupe/core/types.hpp>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>

namespace loupe::simd {

/// Of as many bytes and fewer, a part is still in a second-level cache when somebody reads them. Measured with tiles on Intel's servers,
/// whose second-level caches have 2 MB each: 4 MB are read again faster, 12 MB are not (docs/performance.md).
inline constexpr index_t streamed_beyond = index_t{4} << 20;

/// Copies `count` floats, whole lines past the caches if `to` begins one: what lay there is not fetched first, and nothing else has to
/// leave. Other threads may see none of it before the writer's finish_streaming().
inline void stream(const float* from, index_t count, float* to) {
#if defined(__AVX__)
    constexpr index_t line = 16;
    if (reinterpret_cast<std::uintptr_t>(to) % 64 == 0) {
        for (; count >= line; count -= line, from += line, to += line) {
#if defined(__AVX512F__)
            _mm512_stream_ps(to, _mm512_loadu_ps(from));
#else
            _mm256_stream_ps(to, _mm256_loadu_ps(from));
            _mm256_stream_ps(to + 8, _mm256_loadu_ps(from + 8));
#endif
        }
    }
#endif
    std::copy_n(from, count, to);
}
/// What the calling thread has streamed is seen by whoever sees what it writes next.
inline void finish_streaming() {
#if defined(__AVX__)
    _mm_sfence();
#endif
}

} // namespace loupe::simd
