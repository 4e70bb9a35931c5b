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

/// How far ahead of what is read it pays to ask for a stream of weights, in bytes: in the first-level cache and in the second; 0: not at
/// all. Intel's servers gain a fifth with one thread and two fifths with two for one token, and a tenth more by eight streams side by side
/// (int8::streams); on AMD's, whose own prefetching suffices, it costs up to a twelfth.
inline constexpr index_t ahead_near = is_intel_server ? 512 : 0, ahead_far = is_intel_server ? 1024 : 0;

/// How much of what is left of a loop over weights is shared out at once, in eighths: where a stream begins anew at some expense, more, in
/// fewer parts; elsewhere less, which a thread that others hold up delays less.
inline constexpr index_t eighths_at_once = is_intel_server ? 7 : 4;

/// Asks for `bytes` bytes so far ahead of `from`. Inlined at once: g++ drops a call that only prefetches, as one without effect.
template <index_t Near = ahead_near, index_t Far = ahead_far>
__attribute__((always_inline)) inline void prefetch_ahead([[maybe_unused]] const std::byte* from, [[maybe_unused]] index_t bytes) {
    if constexpr (Near + Far != 0) {
        for (index_t line = 0; line < bytes; line += 64) {
            if constexpr (Near != 0) __builtin_prefetch(from + line + Near);
            if constexpr (Far != 0) __builtin_prefetch(from + line + Far, 0, 2);
        }
    }
}

} // namespace loupe::simd
