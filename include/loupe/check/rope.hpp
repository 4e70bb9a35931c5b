// Holds a rope against what the table of angles relies on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/rope.hpp>

namespace loupe {

/// Every angle up to position 1 048 576 is finite, so that a rotation leaves a head's length as it is; the same whenever it is asked.
template <is::rope Rope>
verdict check() {
    using detail::say;
    constexpr double last_position = 1 << 20;
    verdict v("rope " + type_name<Rope>());
    const auto search = [](auto&& broken) -> std::string {
        for (const index_t width : {2, 4, 6, 16, 64, 256, 512}) {
            for (const double theta : {10000.0, 1000000.0, 1.0}) {
                for (const double share : {1.0, 0.25, 0.0}) {
                    for (const double factor : {1.0, 8.0}) {
                        if (const std::string what = broken(rope_sizes{width, theta, share, factor}); !what.empty()) {
                            return say(what, " (head width ", width, ", theta ", theta, ", share ", share, ", factor ", factor, ")");
                        }
                    }
                }
            }
        }
        return {};
    };
    v.rule([&] {
        return search([](const rope_sizes& sizes) {
            for (index_t pair = 0; pair < sizes.head_width / 2; ++pair) {
                const double frequency = Rope::frequency(pair, sizes);
                if (!std::isfinite(frequency * last_position)) return say("frequency of pair ", pair, " is ", frequency);
            }
            return std::string();
        });
    });
    v.rule([&] {
        return search([](const rope_sizes& sizes) {
            for (index_t pair = 0; pair < sizes.head_width / 2; ++pair) {
                const double first = Rope::frequency(pair, sizes), again = Rope::frequency(pair, sizes);
                if (!detail::same_bits(first, again))
                    return say("frequency of pair ", pair, " is ", first, ", and when asked again ", again);
            }
            return std::string();
        });
    });
    return v;
}

} // namespace loupe
