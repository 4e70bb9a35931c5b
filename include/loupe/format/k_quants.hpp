// Super-blocks of 256 values whose sub-blocks have quantised scales: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
// Products are taken from left to right, (d * scale) * q: a zero q then takes the sign the reference gives it.
#pragma once

#include <loupe/core/half.hpp>
#include <loupe/format/concept.hpp>

namespace loupe::format {

namespace detail {

// The eight 6-bit scales and minima of Q4_K and Q5_K, times d and dmin (GGUF specification, packing of S; four at a time).
struct k_scales {
    float scale[8], minimum[8];

    k_scales(float d, float dmin, const std::byte* packed) noexcept {
        const auto a = load<std::uint32_t>(packed), b = load<std::uint32_t>(packed + 4), c = load<std::uint32_t>(packed + 8);
        const std::uint32_t s[2] = {a & 0x3f3f3f3fU, (c & 0x0f0f0f0fU) | ((a >> 2) & 0x30303030U)};
        const std::uint32_t m[2] = {b & 0x3f3f3f3fU, ((c >> 4) & 0x0f0f0f0fU) | ((b >> 2) & 0x30303030U)};
        for (std::uint32_t i = 0; i < 8; ++i) {
            scale[i] = d * static_cast<float>(static_cast<int>((s[i / 4] >> (8 * (i % 4))) & 63U));
            minimum[i] = dmin * static_cast<float>(static_cast<int>((m[i / 4] >> (8 * (i % 4))) & 63U));
        }
    }
};

inline float k_half(const std::byte* from) noexcept { return half_to_float(load<std::uint16_t>(from)); }

} // namespace detail

/// d s q - dmin m, q of 2 bits, 16 sub-blocks. Bytes: 16 (s, m) nibbles, 64 codes, half d, half dmin.
struct q2_k {
    static constexpr std::uint32_t id = 10;
    static constexpr std::string_view name = "Q2_K";
    static constexpr index_t length = 256, bytes = 84;
    static constexpr index_t halves[] = {80, 82};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::k_half(block + 80), dmin = detail::k_half(block + 82);
        const detail::local_bytes<16> s(block);
        for (index_t n = 0; n < 2; ++n) { // halves of 128: byte l of the 32 carries elements l, 32 + l, 64 + l, 96 + l
            const detail::local_bytes<32> q(block + 16 + 32 * n);
            for (index_t g = 0; g < 4; ++g)
                for (index_t h = 0; h < 2; ++h) {
                    const index_t e = 128 * n + 32 * g + 16 * h;
                    const float scale = d * static_cast<float>(s[e / 16] & 15), minimum = dmin * static_cast<float>(s[e / 16] >> 4);
                    for (index_t l = 0; l < 16; ++l) out[e + l] = scale * static_cast<float>((q[16 * h + l] >> (2 * g)) & 3) - minimum;
                }
        }
    }
};

/// d s q, q of 3 bits (-4...3), 16 sub-blocks, s of 6 bits (-32...31). Bytes: 32 high bits, 64 low bits, 12 scales, half d.
struct q3_k {
    static constexpr std::uint32_t id = 11;
    static constexpr std::string_view name = "Q3_K";
    static constexpr index_t length = 256, bytes = 110;
    static constexpr index_t halves[] = {108};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::k_half(block + 108);
        const detail::local_bytes<32> mask(block);
        const detail::local_bytes<12> packed(block + 96);
        for (index_t n = 0; n < 2; ++n) {
            const detail::local_bytes<32> q(block + 32 + 32 * n);
            for (index_t g = 0; g < 4; ++g)
                for (index_t h = 0; h < 2; ++h) {
                    const index_t e = 128 * n + 32 * g + 16 * h, i = e / 16;
                    const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4, high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
                    const float scale = d * static_cast<float>((low | (high << 4)) - 32);
                    for (index_t l = 0; l < 16; ++l) { // a cleared bit of the mask subtracts 4
                        const int low_bits = (q[16 * h + l] >> (2 * g)) & 3, bit = (mask[16 * h + l] >> (4 * n + g)) & 1;
                        out[e + l] = scale * static_cast<float>((low_bits | (bit << 2)) - 4);
                    }
                }
        }
    }
};

/// d s q - dmin m, q of 4 bits, 8 sub-blocks. Bytes: half d, half dmin, 12 of scales and minima, 128 of nibbles.
struct q4_k {
    static constexpr std::uint32_t id = 12;
    static constexpr std::string_view name = "Q4_K";
    static constexpr index_t length = 256, bytes = 144;
    static constexpr index_t halves[] = {0, 2};

    static void decode(const std::byte* block, float* out) noexcept {
        const detail::k_scales s(detail::k_half(block), detail::k_half(block + 2), block + 4);
        for (index_t p = 0; p < 4; ++p) { // 32 bytes carry two sub-blocks, low nibbles then high ones
            const detail::local_bytes<32> q(block + 16 + 32 * p);
            const float s0 = s.scale[2 * p], m0 = s.minimum[2 * p], s1 = s.scale[2 * p + 1], m1 = s.minimum[2 * p + 1];
            for (index_t l = 0; l < 32; ++l) out[64 * p + l] = s0 * static_cast<float>(q[l] & 15) - m0;
            for (index_t l = 0; l < 32; ++l) out[64 * p + 32 + l] = s1 * static_cast<float>(q[l] >> 4) - m1;
        }
    }
};

/// d s q - dmin m, q of 5 bits, 8 sub-blocks. Bytes: half d, half dmin, 12 of scales and minima, 32 fifth bits, 128 of nibbles.
struct q5_k {
    static constexpr std::uint32_t id = 13;
    static constexpr std::string_view name = "Q5_K";
    static constexpr index_t length = 256, bytes = 176;
    static constexpr index_t halves[] = {0, 2};

    static void decode(const std::byte* block, float* out) noexcept {
        const detail::k_scales s(detail::k_half(block), detail::k_half(block + 2), block + 4);
        const detail::local_bytes<32> high(block + 16);
        for (index_t p = 0; p < 4; ++p) {
            const detail::local_bytes<32> q(block + 48 + 32 * p);
            const float s0 = s.scale[2 * p], m0 = s.minimum[2 * p], s1 = s.scale[2 * p + 1], m1 = s.minimum[2 * p + 1];
            for (index_t l = 0; l < 32; ++l)
                out[64 * p + l] = s0 * static_cast<float>((q[l] & 15) | (((high[l] >> (2 * p)) & 1) << 4)) - m0;
            for (index_t l = 0; l < 32; ++l)
                out[64 * p + 32 + l] = s1 * static_cast<float>((q[l] >> 4) | (((high[l] >> (2 * p + 1)) & 1) << 4)) - m1;
        }
    }
};

/// d s q, q of 6 bits (-32...31), 16 sub-blocks, s a signed byte. Bytes: 128 low nibbles, 64 high bits, 16 scales, half d.
struct q6_k {
    static constexpr std::uint32_t id = 14;
    static constexpr std::string_view name = "Q6_K";
    static constexpr index_t length = 256, bytes = 210;
    static constexpr index_t halves[] = {208};

    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::k_half(block + 208);
        std::int8_t s[16];
        __builtin_memcpy(s, block + 192, sizeof s);
        for (index_t n = 0; n < 2; ++n) {
            const detail::local_bytes<64> low(block + 64 * n);
            const detail::local_bytes<32> high(block + 128 + 32 * n);
            int q[128]; // groups g and g + 2 share the bytes of low, unlike Q4_K's neighbours
            for (index_t l = 0; l < 32; ++l) q[l] = ((low[l] & 15) | ((high[l] & 3) << 4)) - 32;
            for (index_t l = 0; l < 32; ++l) q[32 + l] = ((low[32 + l] & 15) | ((high[l] & 12) << 2)) - 32;
            for (index_t l = 0; l < 32; ++l) q[64 + l] = ((low[l] >> 4) | (high[l] & 48)) - 32;
            for (index_t l = 0; l < 32; ++l) q[96 + l] = ((low[32 + l] >> 4) | ((high[l] & 192) >> 2)) - 32;
            for (index_t b = 0; b < 8; ++b) {
                const float scale = d * static_cast<float>(s[8 * n + b]);
                for (index_t l = 16 * b; l < 16 * b + 16; ++l) out[128 * n + l] = scale * static_cast<float>(q[l]);
            }
        }
    }
};

} // namespace loupe::format
