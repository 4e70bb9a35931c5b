// Random rows of every format, made without an encoder: codes are random bits, scales are set so that the values spread as wanted. As fast
// as memory is written, for models that must only have the shape of real ones.
#pragma once

#include <loupe/core/half.hpp>
#include <loupe/core/random.hpp>
#include <loupe/format/formats.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

namespace loupe::format {

namespace detail {

inline void random_bytes(std::uint64_t seed, std::byte* to, index_t count) noexcept {
    const auto word = [seed](index_t i) { return mixed(seed + static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15U); };
    const index_t words = count / 8;
    for (index_t i = 0; i < words; ++i) store(to + 8 * i, word(i));
    const std::uint64_t last = word(words);
    __builtin_memcpy(to + 8 * words, &last, static_cast<std::size_t>(count % 8));
}

/// Scales and minima of Q4_K and Q5_K: 32…63, minima like scales, so that d·s·q − dmin·s has mean 0 for a fitting dmin.
inline void random_k_scales(std::byte* packed) noexcept {
    const std::uint32_t low = load<std::uint32_t>(packed) | 0xa0a0a0a0U, high = load<std::uint32_t>(packed + 8) & 0x0f0f0f0fU;
    store(packed, low);
    store(packed + 4, low);
    store(packed + 8, high | high << 4);
}

/// The nearest scale of NVFP4 (unsigned E4M3), but not 0.
inline std::uint8_t to_ue4m3(float value) noexcept {
    if (value < 0x1p-6F) return static_cast<std::uint8_t>(std::clamp(value * 512.0F + 0.5F, 1.0F, 8.0F));
    return static_cast<std::uint8_t>(std::min<std::uint32_t>((std::bit_cast<std::uint32_t>(value) + 0x80000U) / 0x100000U - 120 * 8, 0x7e));
}

/// Makes blocks of scale d out of random bytes. Where codes are not symmetric, the scale's sign stays random: the mean is 0.
inline void set_scales(const info& f, std::byte* blocks, index_t count, float d) noexcept {
    const auto each = [&](auto&& set) {
        for (index_t i = 0; i < count; i += f.length, blocks += f.bytes) set(blocks);
    };
    const std::uint16_t half = float_to_half(d);
    const auto set_signed = [half](std::byte* at) { store(at, static_cast<std::uint16_t>(half | (load<std::uint16_t>(at) & 0x8000U))); };
    const auto set_two = [half](std::byte* at, std::uint16_t second) {
        store(at, half);
        store(at + 2, second);
    };
    const auto integer = [](auto value) { return static_cast<float>(value); };
    switch (f.id) {
    case f32::id:
        each([&](std::byte* b) { store(b, integer(load<std::int32_t>(b)) * (d * 0x1p-31F)); });
        break;
    case f16::id:
        each([&](std::byte* b) { store(b, float_to_half(integer(load<std::int16_t>(b)) * (d * 0x1p-15F))); });
        break;
    case bf16::id:
        each([&](std::byte* b) { store(b, float_to_bfloat16(integer(load<std::int16_t>(b)) * (d * 0x1p-15F))); });
        break;
    case q4_1::id:
        each([&, m = float_to_half(-7.5F * d)](std::byte* b) { set_two(b, m); });
        break;
    case q5_1::id:
        each([&, m = float_to_half(-15.5F * d)](std::byte* b) { set_two(b, m); });
        break;
    case q8_0::id:
        each([&](std::byte* b) {
            set_signed(b);
            for (index_t i = 2; i < q8_0::bytes; ++i) b[i] = b[i] == std::byte{0x80} ? std::byte{0x81} : b[i]; // no encoder gives −128
        });
        break;
    case q2_k::id: // scales 8…15, minima like scales
        each([&, m = float_to_half(1.5F * d)](std::byte* b) {
            for (index_t i = 0; i < 16; ++i) b[i] = static_cast<std::byte>((static_cast<unsigned>(b[i] & std::byte{7}) | 8U) * 17U);
            set_two(b + 80, m);
        });
        break;
    case q3_k::id:
        each([&](std::byte* b) { set_signed(b + 108); });
        break;
    case q4_k::id:
    case q5_k::id:
        each([&, m = float_to_half((f.id == q4_k::id ? 7.5F : 15.5F) * d)](std::byte* b) {
            set_two(b, m);
            random_k_scales(b + 4);
        });
        break;
    case q6_k::id:
        each([&](std::byte* b) { set_signed(b + 208); });
        break;
    case mxfp4::id:
        each([&, e = static_cast<std::byte>(std::clamp(std::lround(std::log2(d)) + 128L, 0L, 254L))](std::byte* b) { b[0] = e; });
        break;
    case nvfp4::id:
        each([&, s = std::byte{to_ue4m3(d)}](std::byte* b) { std::fill_n(b, 4, s); });
        break;
    default:
        each(set_signed);
        break; // Q4_0, Q5_0, IQ4_NL, IQ4_XS: a half in front
    }
}

} // namespace detail

/// Rows of random values of one format: mean 0, a standard deviation, uniform as far as the format is. A row depends on its number and the
/// seed alone.
class random_rows {
    const info* format_;
    std::uint64_t seed_;
    float scale_ = 1;

  public:
    random_rows(const info& format, double deviation, std::uint64_t seed) : format_(&format), seed_(seed) {
        constexpr index_t sample = 16384; // a multiple of every block length
        std::vector<std::byte> blocks(static_cast<std::size_t>(format.row_bytes(sample)));
        std::vector<float> values(static_cast<std::size_t>(sample));
        (*this)(0, blocks.data(), sample);
        format.decode_row(blocks.data(), values.data(), sample);
        double squares = 0;
        for (const float v : values) squares += static_cast<double>(v) * static_cast<double>(v);
        scale_ = static_cast<float>(deviation / std::sqrt(squares / static_cast<double>(sample)));
    }

    /// Row number `row` of `width` values, a multiple of the format's block length.
    void operator()(index_t row, std::byte* blocks, index_t width) const {
        detail::random_bytes(mixed(seed_ ^ mixed(static_cast<std::uint64_t>(row) + 1)), blocks, format_->row_bytes(width));
        detail::set_scales(*format_, blocks, width, scale_);
    }
};

} // namespace loupe::format
