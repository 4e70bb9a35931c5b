// Four-bit floats (E2M1) with an eight-bit scale: MXFP4 and NVFP4.
#pragma once

#include <loupe/format/concept.hpp>
#include <loupe/format/nibble_table.hpp>

#include <bit>

namespace loupe::format {

namespace detail {

// Twice the values of E2M1. Code 8, minus zero, is plus zero here, as it is in the reference decoder.
inline constexpr nibble_table e2m1_doubled{{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}};

// 2^(e - 128): half of the OCP scale 2^(e - 127), for the doubled table. Codes 0 and 1 are subnormal floats.
constexpr float half_e8m0(std::uint8_t e) noexcept {
    return std::bit_cast<float>(e < 2 ? 0x00200000U << e : (static_cast<std::uint32_t>(e) - 1U) << 23);
}

// Unsigned E4M3, bias 7. 0x7f, the standard's NaN, is 0.
constexpr float ue4m3(std::uint8_t code) noexcept {
    if (code == 0x7f) return 0.0F;
    const std::uint32_t exponent = (code >> 3) & 15U, mantissa = code & 7U;
    if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-9F;
    return std::bit_cast<float>(((exponent + 120U) << 23) | (mantissa << 20));
}

} // namespace detail

/// 32 values under one power of two (OCP microscaling). Bytes: E8M0 scale, 16 nibble bytes.
struct mxfp4 {
    static constexpr std::uint32_t id = 39;
    static constexpr std::string_view name = "MXFP4";
    static constexpr index_t length = 32, bytes = 17;

    static void decode(const std::byte* block, float* out) noexcept {
        const float scale = detail::half_e8m0(static_cast<std::uint8_t>(block[0]));
        detail::e2m1_doubled.decode(block + 1, scale, scale, out, out + 16, out + 8, out + 24);
    }
};

/// 64 values in four sub-blocks of 16. Bytes: 4 scales (unsigned E4M3), 32 nibble bytes.
/// The tensor's own scale lies in another tensor, `<name>.scale`, and multiplies the product of the matmul: a loader's matter.
struct nvfp4 {
    static constexpr std::uint32_t id = 40;
    static constexpr std::string_view name = "NVFP4";
    static constexpr index_t length = 64, bytes = 36;

    static void decode(const std::byte* block, float* out) noexcept {
        for (index_t p = 0; p < 2; ++p) { // 16 bytes carry two sub-blocks: in each, 8 low nibbles come before 8 high ones
            const auto scale = [&](index_t s) { return detail::ue4m3(static_cast<std::uint8_t>(block[s])) * 0.5F; };
            float* const to = out + 32 * p;
            detail::e2m1_doubled.decode(block + 4 + 16 * p, scale(2 * p), scale(2 * p + 1), to, to + 8, to + 16, to + 24);
        }
    }
};

} // namespace loupe::format
