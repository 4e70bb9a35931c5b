// Holds a scale of embeddings or scores, or a layer scalar, against what decoders rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/scale.hpp>

#include <limits>

namespace loupe {

/// A number that a float can hold, whatever width, precision or stored number it is made from, and the same whenever asked.
template <class Scale>
requires(is::embedding_scale<Scale> || is::score_scale<Scale> || is::layer_scalar<Scale>) verdict check() {
    using detail::say;
    verdict v("scale " + type_name<Scale>());
    const auto wrong = [](double first, double again) {
        if (!(std::abs(first) <= static_cast<double>(std::numeric_limits<float>::max()))) return say("is ", first);
        return detail::same_bits(first, again) ? std::string() : say("is ", first, ", and when asked again ", again);
    };
    if constexpr (is::embedding_scale<Scale>) {
        v.rule([&] {
            for (const index_t width : {1, 2, 3, 256, 1536, 5376}) {
                for (const auto precision : {table_precision::float32, table_precision::float16, table_precision::bfloat16}) {
                    const std::string what = wrong(Scale::factor(width, precision), Scale::factor(width, precision));
                    if (!what.empty()) return say("factor(width ", width, ") ", what);
                }
            }
            return std::string();
        });
    }
    if constexpr (is::score_scale<Scale>) {
        v.rule([&] {
            for (const index_t width : {2, 64, 256, 512}) {
                for (const double stored : {1.0, 0.0625, 0.0}) {
                    const score_sizes sizes{width, stored};
                    const std::string what = wrong(Scale::factor(sizes), Scale::factor(sizes));
                    if (!what.empty()) return say("factor(head width ", width, ", stored ", stored, ") ", what);
                }
            }
            return std::string();
        });
    }
    if constexpr (is::layer_scalar<Scale>) {
        v.rule([&] {
            for (const float stored : {0.0F, 1.0F, -1.0F, 1e-3F, 1e3F}) {
                const std::string what = wrong(static_cast<double>(Scale::value(stored)), static_cast<double>(Scale::value(stored)));
                if (!what.empty()) return say("value(stored ", stored, ") ", what);
            }
            return std::string();
        });
    }
    return v;
}

} // namespace loupe
