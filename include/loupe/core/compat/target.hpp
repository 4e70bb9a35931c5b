// What kind of machine a translation unit is compiled for, where instructions alone do not tell what is fast on it.
#pragma once

namespace loupe::simd {

/// One of Intel's servers from Sapphire Rapids on, known by arithmetic in half precision or by tiles, which AMD's up to Zen 5 do not have
/// (a virtual machine may hide the tiles). A stream of weights must be asked for ahead there, and vdpbf16ps takes as long as four
/// multiplications and additions of floats.
#if defined(__AVX512FP16__) || defined(__AMX_TILE__) || defined(__AMXTILE__)
inline constexpr bool is_intel_server = true;
#else
inline constexpr bool is_intel_server = false;
#endif

/// Whether products of 8-bit integers are added in 32 bits by one instruction, for 16 rows: int8_vnni.
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
inline constexpr bool has_vnni = true;
#else
inline constexpr bool has_vnni = false;
#endif

/// AMD's Zen 5, known by 8-bit products of 256 bits beside those of AVX-512, which Zen 4 does not have.
#if defined(__AVXVNNI__)
inline constexpr bool is_zen_5 = has_vnni && !is_intel_server;
#else
inline constexpr bool is_zen_5 = false;
#endif

/// For functions that need more registers than AVX2 has: g++, which orders instructions after it has given out the registers, is to do so
/// before, with an eye on how many are left. On Zen 3 up to a seventh faster for prompts, as clang's code is.
#if defined(__GNUC__) && !defined(__clang__) && !(defined(__AVX512VNNI__) && defined(__AVX512BW__))
#define LOUPE_ORDERED_FOR_REGISTERS [[gnu::optimize("schedule-insns", "sched-pressure")]]
#else
#define LOUPE_ORDERED_FOR_REGISTERS
#endif

} // namespace loupe::simd
