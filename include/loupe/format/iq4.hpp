// Four bits that index a fixed table of unevenly spaced values: IQ4_NL, IQ4_XS.
#pragma once

#include <loupe/core/half.hpp>
#include <loupe/format/concept.hpp>
#include <loupe/format/nibble_table.hpp>

namespace loupe::format {

namespace detail {

// Asymmetric and without a zero; the code for "near zero" is 8.
inline constexpr nibble_table iq4_values{{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}};

// 32 values: byte j carries elements j (low) and j + 16 (high).
inline void decode_iq4(float scale, const std::byte* nibbles, float* out) noexcept {
    iq4_values.decode(nibbles, scale, scale, out, out + 16, out + 8, out + 24);
}

} // namespace detail

/// d T[q], 32 values. Bytes: half d, 16 nibble bytes.
struct iq4_nl {
    static constexpr std::uint32_t id = 20;
    static constexpr std::string_view name = "IQ4_NL";
    static constexpr index_t length = 32, bytes = 18;
    static constexpr index_t halves[] = {0};

    static void decode(const std::byte* block, float* out) noexcept {
        detail::decode_iq4(half_to_float(detail::load<std::uint16_t>(block)), block + 2, out);
    }
};

/// d (s - 32) T[q], 8 sub-blocks, s of 6 bits. Bytes: half d, u16 high bits of s, 4 bytes low bits of s, 128 nibble bytes.
struct iq4_xs {
    static constexpr std::uint32_t id = 23;
    static constexpr std::string_view name = "IQ4_XS";
    static constexpr index_t length = 256, bytes = 136;
    static constexpr index_t halves[] = {0};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = half_to_float(detail::load<std::uint16_t>(block));
        const int high = detail::load<std::uint16_t>(block + 2);
        const detail::local_bytes<4> low(block + 4);
        for (index_t b = 0; b < 8; ++b) {
            const int s = ((low[b / 2] >> (4 * (b % 2))) & 15) | (((high >> (2 * b)) & 3) << 4);
            detail::decode_iq4(d * static_cast<float>(s - 32), block + 8 + 16 * b, out + 32 * b);
        }
    }
};

} // namespace loupe::format
