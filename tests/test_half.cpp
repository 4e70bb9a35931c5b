// binary16 and bfloat16: all patterns, and the instruction against the portable path.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/core/half.hpp>

#include <cmath>
#include <limits>

using namespace loupe;

namespace {

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

// IEEE 754, section 3.4, in double: no code shared with the conversions.
double half_value(std::uint16_t h) {
    const int exponent = (h >> 10) & 31, mantissa = h & 1023;
    const double sign = (h & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == 31) return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
    return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

} // namespace

TEST_CASE("all 65536 halves: the value, subnormals and signs of zero included, and back to the same bits", "[half]") {
    int wrong_value = 0, wrong_path = 0, wrong_back = 0, wrong_sign = 0;
    for (std::uint32_t i = 0; i < 65536; ++i) {
        const auto h = static_cast<std::uint16_t>(i);
        const float f = half_to_float(h), portable = detail::half_to_float_portable(h);
        const double expected = half_value(h);
        wrong_path += bits(f) != bits(portable);
        wrong_value += std::isnan(expected) ? !std::isnan(f) : static_cast<double>(f) != expected;
        wrong_sign += std::signbit(f) != ((h & 0x8000) != 0);
        const bool nan = std::isnan(expected);
        const auto quiet = static_cast<std::uint16_t>(nan ? h | 0x200 : h);
        wrong_back += float_to_half(f) != quiet || detail::float_to_half_portable(portable) != quiet;
    }
    CHECK(wrong_value == 0);
    CHECK(wrong_path == 0);
    CHECK(wrong_sign == 0);
    CHECK(wrong_back == 0);
}

TEST_CASE("rounding to half: between any two neighbours, the tie goes to the even one", "[half]") {
    int wrong = 0;
    for (std::uint32_t i = 0; i < 0x7bff; ++i) { // finite, and the next is finite
        const auto low = static_cast<std::uint16_t>(i), high = static_cast<std::uint16_t>(i + 1);
        const auto middle = static_cast<float>((half_value(low) + half_value(high)) / 2); // exact: one bit more than a half
        const std::uint16_t even = (i & 1) == 0 ? low : high;
        for (const float sign : {1.0F, -1.0F}) {
            const auto s = static_cast<std::uint16_t>(sign < 0 ? 0x8000 : 0);
            const float below = std::nextafter(middle, 0.0F), above = std::nextafter(middle, 1e9F);
            for (const auto& [x, expected] : {std::pair(middle, even), std::pair(below, low), std::pair(above, high)}) {
                wrong += float_to_half(sign * x) != (expected | s);
                wrong += detail::float_to_half_portable(sign * x) != (expected | s);
            }
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("float to half: overflow, underflow and what is not a number, by both paths", "[half]") {
    for (const auto convert : {+[](float x) { return float_to_half(x); }, +[](float x) { return detail::float_to_half_portable(x); }}) {
        CHECK(convert(65519.996F) == 0x7bff);
        CHECK(convert(65520.0F) == 0x7c00);
        CHECK(convert(-1e38F) == 0xfc00);
        CHECK(convert(std::numeric_limits<float>::infinity()) == 0x7c00);
        CHECK(convert(0x1p-25F) == 0);
        CHECK(convert(0x1.000002p-25F) == 1);
        CHECK(convert(-1e-44F) == 0x8000);
        CHECK((convert(std::numeric_limits<float>::quiet_NaN()) & 0x7fff) > 0x7c00);
        CHECK((convert(std::bit_cast<float>(0x7f800001U)) & 0x7fff) > 0x7c00); // must not become an infinity
    }
    std::uint32_t state = 1;
    int wrong = 0;
    for (int i = 0; i < 2'000'000; ++i) { // every exponent, random mantissas
        state = state * 1664525U + 1013904223U;
        const float x = std::bit_cast<float>(state ^ (state >> 15));
        wrong += float_to_half(x) != detail::float_to_half_portable(x);
    }
    CHECK(wrong == 0);
}

TEST_CASE("all 65536 bfloat16: the upper half of a float, and back", "[half]") {
    int wrong = 0;
    for (std::uint32_t i = 0; i < 65536; ++i) {
        const auto b = static_cast<std::uint16_t>(i);
        const float f = bfloat16_to_float(b);
        wrong += bits(f) != i << 16;
        const bool nan = (i & 0x7fff) > 0x7f80;
        wrong += float_to_bfloat16(f) != (nan ? i | 0x40 : i);
        if ((i & 0x7fff) >= 0x7f80) continue;
        // Ties go to even; beyond the largest they go to infinity.
        wrong += float_to_bfloat16(std::bit_cast<float>((i << 16) | 0x8000U)) != i + (i & 1);
        wrong += float_to_bfloat16(std::bit_cast<float>((i << 16) | 0x7fffU)) != i;
        wrong += float_to_bfloat16(std::bit_cast<float>((i << 16) | 0x8001U)) != i + 1;
    }
    CHECK(wrong == 0);
    CHECK((float_to_bfloat16(std::bit_cast<float>(0x7f800001U)) & 0x7fffU) > 0x7f80U); // rounding must not make it infinite
    CHECK((float_to_bfloat16(std::bit_cast<float>(0x7fffffffU)) & 0x7fffU) > 0x7f80U); // nor wrap it to minus zero
}
