// Requests for memory before it is used.
#pragma once

#include <loupe/core/compat/target.hpp>
#include <loupe/core/types.hpp>

#include <cstddef>

namespace loupe::simd {

/// Asks for a line that is about to be written: other processors give theirs up meanwhile. A compiler would need to be told that the
/// target has this instruction, which does nothing where it is not known.
inline void prefetch_to_write([[maybe_unused]] const void* line) {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#endif
}

/// Asks for `bytes` bytes, into the second-level cache.
__attribute__((always_inline)) inline void prefetch_lines(const std::byte* from, index_t bytes) {
    for (index_t line = 0; line < bytes; line += 64) __builtin_prefetch(from + line, 0, 2);
}

/// How far ahead of a stream of weights it pays to ask, in bytes: in the first-level cache and in the second; 0: not at all.
struct distance {
    index_t near = 0, far = 0;
};

/// For weights of integers, and for floats. Measured with one token in turns, docs/performance.md:
/// - Zen 5: the processor asks for too little by itself beside instructions that unpack. 8 KB give integers 1.05 to 2.3 times the speed,
///   floats up to 1.1; 4 KB and 12 KB less.
/// - Zen 4, and others with VNNI, unmeasured: a short way gives formats that take long to unpack a tenth to two fifths and takes nothing
///   from others, while 512 bytes cost them a fifth.
/// - Intel's servers: a fifth with one thread and two fifths with two, and a tenth more by eight streams side by side (int8::streams).
/// - Zen 3, and others without VNNI, unmeasured: integers gain up to a third beside what four streams give them, floats lose up to a
///   seventh.
inline constexpr distance integers_ahead = is_zen_5                       ? distance{8192, 0}
                                           : has_vnni && !is_intel_server ? distance{256, 0}
                                                                          : distance{512, 1024};
inline constexpr distance floats_ahead = is_zen_5 ? distance{8192, 0} : is_intel_server ? distance{512, 1024} : distance{};

/// Asks for the beginnings of streams that are about to be read side by side, `apart` bytes from each to the next: requests ahead of a
/// reader come too late for them. On an Intel server 512 bytes of each and 1024 are alike.
__attribute__((always_inline)) inline void prefetch_beginnings(const std::byte* first, index_t streams, index_t apart) {
    for (index_t line = 0; line < 512; line += 64) {
        for (index_t i = 0; i < streams; ++i) __builtin_prefetch(first + i * apart + line);
    }
}

/// Asks for `bytes` bytes so far ahead of `from`. Inlined at once: g++ drops a call that only prefetches, as one without effect.
template <distance Ahead>
__attribute__((always_inline)) inline void prefetch_ahead([[maybe_unused]] const std::byte* from, [[maybe_unused]] index_t bytes) {
    if constexpr (Ahead.near + Ahead.far != 0) {
        for (index_t line = 0; line < bytes; line += 64) {
            if constexpr (Ahead.near != 0) __builtin_prefetch(from + line + Ahead.near);
            if constexpr (Ahead.far != 0) __builtin_prefetch(from + line + Ahead.far, 0, 2);
        }
    }
}

} // namespace loupe::simd
