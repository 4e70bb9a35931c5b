// What activations and softcaps have in common: a function of one value, for float, double and perhaps batches.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/compat/xsimd.hpp>

#include <algorithm>

namespace loupe::detail {

/// Values to try, small magnitudes first: zero, subnormal, tiny, ordinary, where exp overflows, and larger than any activation.
inline constexpr double element_inputs[] = {0,  1e-45, 1e-30, 1e-6, 0.25, 0.5, 1,  2,   3,   5,   7,   10,
                                            13, 20,    30,    50,   80,   87,  89, 100, 300, 1e4, 1e6, 1e9};

/// f(x) for float and double, and with Batches for simd::floats: finite for finite x, the same whenever asked and in every lane, and alike
/// in all three. `where` ends every message.
template <bool Batches, class F>
void hold_elementwise(verdict& v, F f, const std::string& where = {}) {
    const auto search = [&](auto&& broken) -> std::string {
        for (const double magnitude : element_inputs) {
            for (const double x : {magnitude, -magnitude}) {
                const std::string what = attempt([&] { return broken(static_cast<float>(x)); });
                if (!what.empty()) return say("apply(", static_cast<float>(x), ") ", what, where);
            }
        }
        return {};
    };
    // The value of x in one lane, other values in the others.
    const auto in_lane = [&](float x, int lane) {
        alignas(64) float values[simd::width];
        for (int i = 0; i < simd::width; ++i) values[i] = i == lane ? x : static_cast<float>(i) - 1.5F;
        if constexpr (Batches) simd::floats(f(simd::floats::load_aligned(values))).store_aligned(values);
        return values[lane];
    };
    v.rule([&] {
        return search([&](float x) {
            const auto single = static_cast<float>(f(x));
            const auto exact = static_cast<double>(f(static_cast<double>(x)));
            if (!std::isfinite(single)) return say("is ", single, " in float");
            if (!std::isfinite(exact)) return say("is ", exact, " in double");
            if (Batches && !std::isfinite(in_lane(x, 0))) return say("is ", in_lane(x, 0), " in a batch");
            return std::string();
        });
    });
    v.rule([&] {
        return search([&](float x) {
            const auto exact = static_cast<double>(f(static_cast<double>(x)));
            // 16 roundings of the largest number in sight
            const double allowed = 16 * 0x1p-24 * std::max({1.0, std::abs(static_cast<double>(x)), std::abs(exact)});
            const auto single = static_cast<float>(f(x));
            const auto far = [&](float found) { return std::isfinite(found) && std::abs(static_cast<double>(found) - exact) > allowed; };
            if (far(single)) return say("is ", single, " in float and ", exact, " in double");
            if (Batches && far(in_lane(x, 0))) return say("is ", in_lane(x, 0), " in a batch and ", exact, " in double");
            return std::string();
        });
    });
    v.rule([&] {
        return search([&](float x) {
            const auto first = static_cast<float>(f(x));
            static_cast<void>(f(0.5F));
            const auto again = static_cast<float>(f(x));
            if (!same_bits(first, again)) return say("is ", first, ", and when asked again ", again);
            for (int lane = 1; Batches && lane < simd::width; ++lane) {
                if (!same_bits(in_lane(x, lane), in_lane(x, 0))) {
                    return say("is ", in_lane(x, 0), " in lane 0 of a batch and ", in_lane(x, lane), " in lane ", lane);
                }
            }
            return std::string();
        });
    });
}

} // namespace loupe::detail
