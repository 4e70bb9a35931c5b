// binary16 and bfloat16 as bit patterns, converted exactly (IEEE 754; subnormals, infinities and NaN included).
#pragma once

#include <bit>
#include <cstdint>

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace loupe {

/// bfloat16 (the upper half of a binary32) to float. Exact.
constexpr float bfloat16_to_float(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

/// float to bfloat16, round to nearest even; a NaN stays a (quiet) NaN.
constexpr std::uint16_t float_to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
    return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

namespace detail {

// Without an instruction for it: subnormal halves are scaled by multiplying with a power of two, which is exact.
constexpr float half_to_float_portable(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1fU;
    const std::uint32_t mantissa = bits & 0x3ffU;
    if (exponent == 0) {
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
        return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
    }
    if (exponent == 31) {
        const std::uint32_t quiet = mantissa != 0 ? 0x400000U : 0U; // the conversion instruction quietens, so do we
        return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13) | quiet);
    }
    return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

constexpr std::uint16_t float_to_half_portable(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
    if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U); // rounds to infinity
    if (magnitude < 0x38800000U) {                                                   // subnormal half or zero
        // Adding 0.5 puts the 24 bits below 2^-14 into the lowest mantissa bits, rounded to nearest even by the addition itself.
        const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U));
    }
    const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
    return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

} // namespace detail

/// binary16 to float. Exact.
inline float half_to_float(std::uint16_t bits) {
#if defined(__F16C__)
    return _cvtsh_ss(bits);
#else
    return detail::half_to_float_portable(bits);
#endif
}

/// float to binary16, round to nearest even.
inline std::uint16_t float_to_half(float value) {
#if defined(__F16C__)
    return static_cast<std::uint16_t>(_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT), 0));
#else
    return detail::float_to_half_portable(value);
#endif
}

} // namespace loupe
