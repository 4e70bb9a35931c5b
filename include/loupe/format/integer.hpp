// Weight formats as integers and their scales: what a product with integers starts from.
//
//   value = scale · level(code) + minimum,  level(code) = code − zero, or an entry of a table
//
// The minimum that is stored is a file's, which is that of code 0: the product adds zero · scale to it.
//
// Scales are stored as exactly, and as briefly, as they come in the file: see scale_kind.
#pragma once

#include <loupe/format/formats.hpp>

#include <cstdint>

namespace loupe::format {

/// How scales are stored in a packed matrix.
enum class scale_kind {
    half,           ///< binary16 for each group, and one for its minimum
    bfloat,         ///< bfloat16 for each group: wide enough for powers of two
    e4m3,           ///< an unsigned E4M3 byte for each group, times one half
    super_signed,   ///< binary16 for the block times a signed byte for each group
    super_signed_6, ///< the same in 6 bits
    super_6,        ///< binary16 for the block times 6 bits for each group, and the same once more for its minimum
    super_nibbles   ///< the same, both in one byte: the minimum in the high four bits
};

/// Codes and scales of one block of a format.
struct integer_block {
    std::uint8_t code[256];
    std::uint16_t scale[16];     ///< half, bfloat: one for each group
    std::uint16_t minimum[16];   ///< half: one for each group
    std::uint16_t d, dmin;       ///< super_…: binary16 of the whole block; value = d · factor · level − dmin · min_factor
    std::uint8_t factor[16];     ///< e4m3, super_…: one for each group
    std::uint8_t min_factor[16]; ///< super_6: one for each group
};

/// What a format is as integers; defined for every format whose weights are integers times a scale.
/// bits: of a code; zero: the code of level 0 without a table; largest: no level exceeds it; group: weights under one scale;
/// unpack(block, out) reads one block.
template <class F>
struct integer_form;

namespace detail {

template <int Bits, int Zero, int Group, scale_kind Scales, bool Minimum = false>
struct linear {
    static constexpr int bits = Bits, zero = Zero, group = Group;
    static constexpr int largest = Zero > (1 << Bits) - 1 - Zero ? Zero : (1 << Bits) - 1 - Zero;
    static constexpr scale_kind scales = Scales;
    static constexpr bool has_minimum = Minimum;
    static constexpr const std::int8_t* table = nullptr;
};

template <int Largest, int Group, scale_kind Scales>
struct tabled {
    static constexpr int bits = 4, zero = 0, group = Group, largest = Largest;
    static constexpr scale_kind scales = Scales;
    static constexpr bool has_minimum = false;
};

inline void nibbles(const std::byte* from, std::uint8_t* code) {
    const local_bytes<16> q(from);
    for (int j = 0; j < 16; ++j) code[j] = q[j] & 15U;
    for (int j = 0; j < 16; ++j) code[j + 16] = static_cast<std::uint8_t>(q[j] >> 4U);
}
inline void fifth(const std::byte* from, std::uint8_t* code) {
    const auto word = load<std::uint32_t>(from);
    for (std::uint32_t j = 0; j < 32; ++j) code[j] = static_cast<std::uint8_t>(code[j] | (((word >> j) & 1U) << 4U));
}

/// f(n, g, codes) for the 32 codes of part g (of 4) in half n of a block of 256: every such 32 come from as many bytes side by side.
template <class F>
inline void for_parts_of_32(integer_block& out, F&& f) {
    for (int i = 0; i < 8; ++i) f(i / 4, i % 4, out.code + 32 * i);
}

} // namespace detail

template <>
struct integer_form<q4_0> : detail::linear<4, 8, 32, scale_kind::half> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.scale[0] = detail::load<std::uint16_t>(b);
        detail::nibbles(b + 2, out.code);
    }
};

template <>
struct integer_form<q4_1> : detail::linear<4, 0, 32, scale_kind::half, true> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.scale[0] = detail::load<std::uint16_t>(b);
        out.minimum[0] = detail::load<std::uint16_t>(b + 2);
        detail::nibbles(b + 4, out.code);
    }
};

template <>
struct integer_form<q5_0> : detail::linear<5, 16, 32, scale_kind::half> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.scale[0] = detail::load<std::uint16_t>(b);
        detail::nibbles(b + 6, out.code);
        detail::fifth(b + 2, out.code);
    }
};

template <>
struct integer_form<q5_1> : detail::linear<5, 16, 32, scale_kind::half, true> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.scale[0] = detail::load<std::uint16_t>(b);
        out.minimum[0] = detail::load<std::uint16_t>(b + 2);
        detail::nibbles(b + 8, out.code);
        detail::fifth(b + 4, out.code);
    }
};

template <>
struct integer_form<q8_0> : detail::linear<8, 128, 32, scale_kind::half> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.scale[0] = detail::load<std::uint16_t>(b);
        for (int j = 0; j < 32; ++j) out.code[j] = static_cast<std::uint8_t>(b[2 + j]) ^ 0x80U;
    }
};

template <>
struct integer_form<iq4_nl> : detail::tabled<127, 32, scale_kind::half> {
    static constexpr const std::int8_t* table = detail::iq4_values.at;
    static void unpack(const std::byte* b, integer_block& out) {
        out.scale[0] = detail::load<std::uint16_t>(b);
        detail::nibbles(b + 2, out.code);
    }
};

template <>
struct integer_form<iq4_xs> : detail::tabled<127, 32, scale_kind::super_signed> {
    static constexpr const std::int8_t* table = detail::iq4_values.at;
    static void unpack(const std::byte* b, integer_block& out) {
        out.d = detail::load<std::uint16_t>(b);
        const int high = detail::load<std::uint16_t>(b + 2);
        for (int i = 0; i < 8; ++i) {
            const int low = static_cast<std::uint8_t>(b[4 + i / 2]) >> (4 * (i % 2));
            out.factor[i] = static_cast<std::uint8_t>(((low & 15) | (((high >> (2 * i)) & 3) << 4)) - 32);
            detail::nibbles(b + 8 + 16 * i, out.code + 32 * i);
        }
    }
};

template <>
struct integer_form<mxfp4> : detail::tabled<12, 32, scale_kind::bfloat> {
    static constexpr const std::int8_t* table = detail::e2m1_doubled.at;
    static void unpack(const std::byte* b, integer_block& out) {
        const float scale = detail::half_e8m0(static_cast<std::uint8_t>(b[0]));
        out.scale[0] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(scale) >> 16U); // a power of two: exact
        detail::nibbles(b + 1, out.code);
    }
};

template <>
struct integer_form<nvfp4> : detail::tabled<12, 16, scale_kind::e4m3> {
    static constexpr const std::int8_t* table = detail::e2m1_doubled.at;
    static void unpack(const std::byte* b, integer_block& out) {
        for (int s = 0; s < 4; ++s) {
            const auto code = static_cast<std::uint8_t>(b[s]);
            out.factor[s] = code == 0x7f ? 0 : code & 0x7fU; // the standard's NaN is 0, and there is no sign
            for (int j = 0; j < 8; ++j) {
                const auto byte = static_cast<std::uint8_t>(b[4 + 8 * s + j]);
                out.code[16 * s + j] = byte & 15U;
                out.code[16 * s + 8 + j] = byte >> 4U;
            }
        }
    }
};

template <>
struct integer_form<q2_k> : detail::linear<2, 0, 16, scale_kind::super_nibbles, true> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.d = detail::load<std::uint16_t>(b + 80);
        out.dmin = detail::load<std::uint16_t>(b + 82);
        for (int i = 0; i < 16; ++i) out.factor[i] = static_cast<std::uint8_t>(b[i]);
        detail::for_parts_of_32(out, [&](int n, int g, std::uint8_t* code) {
            const detail::local_bytes<32> low(b + 16 + 32 * n);
            for (int l = 0; l < 32; ++l) code[l] = (low[l] >> (2 * g)) & 3U;
        });
    }
};

template <>
struct integer_form<q3_k> : detail::linear<3, 4, 16, scale_kind::super_signed_6> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.d = detail::load<std::uint16_t>(b + 108);
        for (int i = 0; i < 16; ++i) {
            const int low = i < 8 ? static_cast<std::uint8_t>(b[96 + i]) & 15 : static_cast<std::uint8_t>(b[88 + i]) >> 4;
            const int high = (static_cast<std::uint8_t>(b[104 + i % 4]) >> (2 * (i / 4))) & 3;
            out.factor[i] = static_cast<std::uint8_t>((low | (high << 4)) - 32);
        }
        detail::for_parts_of_32(out, [&](int n, int g, std::uint8_t* code) {
            const detail::local_bytes<32> low(b + 32 + 32 * n), high(b);
            for (int l = 0; l < 32; ++l) {
                code[l] = static_cast<std::uint8_t>(((low[l] >> (2 * g)) & 3U) | (((high[l] >> (4 * n + g)) & 1U) << 2U));
            }
        });
    }
};

namespace detail {

/// The eight six-bit factors and minima of Q4_K and Q5_K.
inline void k_factors(const std::byte* packed, integer_block& out) {
    const auto at = [&](int i) { return static_cast<std::uint8_t>(packed[i]); };
    for (int i = 0; i < 4; ++i) {
        out.factor[i] = at(i) & 63U;
        out.min_factor[i] = at(i + 4) & 63U;
        out.factor[i + 4] = static_cast<std::uint8_t>((at(i + 8) & 15U) | ((at(i) >> 6U) << 4U));
        out.min_factor[i + 4] = static_cast<std::uint8_t>((at(i + 8) >> 4U) | ((at(i + 4) >> 6U) << 4U));
    }
}

} // namespace detail

template <>
struct integer_form<q4_k> : detail::linear<4, 0, 32, scale_kind::super_6, true> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.d = detail::load<std::uint16_t>(b);
        out.dmin = detail::load<std::uint16_t>(b + 2);
        detail::k_factors(b + 4, out);
        detail::for_parts_of_32(out, [&](int n, int g, std::uint8_t* code) {
            const detail::local_bytes<32> low(b + 16 + 64 * n + 32 * (g / 2));
            for (int l = 0; l < 32; ++l) code[l] = (low[l] >> (4 * (g % 2))) & 15U;
        });
    }
};

template <>
struct integer_form<q5_k> : detail::linear<5, 16, 32, scale_kind::super_6, true> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.d = detail::load<std::uint16_t>(b);
        out.dmin = detail::load<std::uint16_t>(b + 2);
        detail::k_factors(b + 4, out);
        detail::for_parts_of_32(out, [&](int n, int g, std::uint8_t* code) {
            const detail::local_bytes<32> low(b + 48 + 64 * n + 32 * (g / 2)), high(b + 16);
            for (int l = 0; l < 32; ++l) {
                code[l] = static_cast<std::uint8_t>(((low[l] >> (4 * (g % 2))) & 15U) | (((high[l] >> (4 * n + g)) & 1U) << 4U));
            }
        });
    }
};

template <>
struct integer_form<q6_k> : detail::linear<6, 32, 16, scale_kind::super_signed> {
    static void unpack(const std::byte* b, integer_block& out) {
        out.d = detail::load<std::uint16_t>(b + 208);
        for (int i = 0; i < 16; ++i) out.factor[i] = static_cast<std::uint8_t>(b[192 + i]);
        detail::for_parts_of_32(out, [&](int n, int g, std::uint8_t* code) {
            const detail::local_bytes<32> low(b + 64 * n + 32 * (g % 2)), high(b + 128 + 32 * n);
            for (int l = 0; l < 32; ++l) {
                code[l] = static_cast<std::uint8_t>(((low[l] >> (4 * (g / 2))) & 15U) | (((high[l] >> (2 * g)) & 3U) << 4U));
            }
        });
    }
};

} // namespace loupe::format

namespace loupe::is {

/// A format whose weights are integers times scales.
template <class F>
concept integer_format = weight_format<F> && requires(const std::byte* b, format::integer_block& out) {
    format::integer_form<F>::unpack(b, out);
};

} // namespace loupe::is
