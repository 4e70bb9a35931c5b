// Four-bit floats (E2M1) with an eight-bit scale: MXFP4 and NVFP4.
#pragma once

#include <loupe/format/concept.hpp>

#include <bit>

namespace loupe::format {

namespace detail {

// Twice the values of E2M1. Code 8, minus zero, is plus zero here, as it is in the reference decoder.
inline constexpr float e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

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

// `pairs` bytes: the low nibbles are elements 0..., the high ones follow.
template <index_t Pairs>
inline void decode_e2m1(float scale, const std::byte* nibbles, float* out) noexcept {
    float values[16];
    for (index_t i = 0; i < 16; ++i) values[i] = scale * e2m1_doubled[i];
    const local_bytes<Pairs> q(nibbles);
    for (index_t j = 0; j < Pairs; ++j) {
        out[j] = values[q[j] & 15];
        out[j + Pairs] = values[q[j] >> 4];
    }
}

} // namespace detail

/// 32 values under one power of two (OCP microscaling). Bytes: E8M0 scale, 16 nibble bytes.
struct mxfp4 {
    static constexpr std::uint32_t id = 39;
    static constexpr std::string_view name = "MXFP4";
    static constexpr index_t length = 32, bytes = 17;

    static void decode(const std::byte* block, float* out) noexcept {
        detail::decode_e2m1<16>(detail::half_e8m0(static_cast<std::uint8_t>(block[0])), block + 1, out);
    }
};

/// 64 values in four sub-blocks of 16. Bytes: 4 scales (unsigned E4M3), 32 nibble bytes.
/// The tensor's own scale lies in another tensor, `<name>.scale`, and multiplies the product of the matmul: a loader's matter.
struct nvfp4 {
    static constexpr std::uint32_t id = 40;
    static constexpr std::string_view name = "NVFP4";
    static constexpr index_t length = 64, bytes = 36;

    static void decode(const std::byte* block, float* out) noexcept {
        for (index_t s = 0; s < 4; ++s)
            detail::decode_e2m1<8>(detail::ue4m3(static_cast<std::uint8_t>(block[s])) * 0.5F, block + 4 + 8 * s, out + 16 * s);
    }
};

} // namespace loupe::format
