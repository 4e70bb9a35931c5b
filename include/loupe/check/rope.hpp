// Holds a rope against what the table of angles relies on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/rope.hpp>

#include <vector>

namespace loupe {

/// What a rope may ask for.
struct rope_trials {
    index_t head_width = 0; ///< of all heads, for a rope with a table for one width; 0: from 2 to 512
};

/// Every angle up to position 1 048 576 is finite, so that a rotation leaves a head's length as it is; the same whenever it is asked.
template <is::rope Rope>
verdict check(rope_trials trials = {}) {
    using detail::say;
    constexpr double last_position = 1 << 20;
    verdict v("rope " + type_name<Rope>());
    const std::vector<index_t> widths =
        trials.head_width > 0 ? std::vector{trials.head_width} : std::vector<index_t>{2, 4, 6, 16, 64, 256, 512};
    const auto search = [&](auto&& broken) -> std::string {
        for (const index_t width : widths) {
            for (const double theta : {10000.0, 1000000.0, 1.0}) {
                for (const double share : {1.0, 0.25, 0.0}) {
                    for (const double factor : {1.0, 8.0}) {
                        for (index_t pair = 0; pair < width / 2; ++pair) {
                            const rope_sizes sizes{width, theta, share, factor};
                            const std::string what = detail::attempt([&] { return broken(pair, sizes); });
                            if (what.empty()) continue;
                            return say("frequency of pair ", pair, " ", what, " (head width ", width, ", theta ", theta, ", share ", share,
                                       ", factor ", factor, ")");
                        }
                    }
                }
            }
        }
        return {};
    };
    v.rule([&] {
        return search([](index_t pair, const rope_sizes& sizes) {
            const double frequency = Rope::frequency(pair, sizes);
            return std::isfinite(frequency * last_position) ? std::string() : say("is ", frequency);
        });
    });
    v.rule([&] {
        return search([](index_t pair, const rope_sizes& sizes) {
            const double first = Rope::frequency(pair, sizes), again = Rope::frequency(pair, sizes);
            return detail::same_bits(first, again) ? std::string() : say("is ", first, ", and when asked again ", again);
        });
    });
    return v;
}

} // namespace loupe
