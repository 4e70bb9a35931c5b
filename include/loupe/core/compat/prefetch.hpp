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

/// How far it pays to ask ahead for a stream of weights, in bytes, in the first-level cache and in the second; 0: not at all. Intel's
/// servers gain a fifth with one thread and two fifths with two for one token, and a tenth more by eight streams side by side
/// (int8::streams). On Zen 3 integers gain up to a third beside what four streams give them, and floats lose up to a seventh; other
/// machines without VNNI are taken to be like it, unmeasured. On Zen 4 (and others with VNNI, unmeasured) a short way is best: it gives
/// formats that take long to unpack a tenth to two fifths, whose instructions keep the processor from looking ahead by itself, and takes
/// nothing from others, while 512 bytes cost them a fifth.
inline constexpr bool is_like_zen_4 = has_vnni && !is_intel_server;
inline constexpr index_t integers_near = is_like_zen_4 ? 256 : 512, integers_far = is_like_zen_4 ? 0 : 1024;
inline constexpr index_t floats_near = is_intel_server ? 512 : 0, floats_far = is_intel_server ? 1024 : 0;

/// How much of what is left of a loop over weights is shared out at once, in eighths: where a stream begins anew at some expense, more, in
/// fewer parts; elsewhere less, which a thread that others hold up delays less.
inline constexpr index_t eighths_at_once = is_intel_server ? 7 : 4;

/// Asks for `bytes` bytes so far ahead of `from`; 0: not at all. Inlined at once: g++ drops a call that only prefetches, as one without
/// effect.
template <index_t Near, index_t Far>
__attribute__((always_inline)) inline void prefetch_ahead([[maybe_unused]] const std::byte* from, [[maybe_unused]] index_t bytes) {
    if constexpr (Near + Far != 0) {
        for (index_t line = 0; line < bytes; line += 64) {
            if constexpr (Near != 0) __builtin_prefetch(from + line + Near);
            if constexpr (Far != 0) __builtin_prefetch(from + line + Far, 0, 2);
        }
    }
}

} // namespace loupe::simd
