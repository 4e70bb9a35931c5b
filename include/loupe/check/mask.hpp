// Holds a mask against what caches and attention rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/mask.hpp>

#include <array>

namespace loupe {

/// A query sees nothing ahead unless `looks_ahead` says so (the keys are not there yet), nothing further back than `reach` (a ring has
/// forgotten it), and the same whenever it is asked.
template <is::mask Mask>
verdict check() {
    using detail::say;
    constexpr index_t length = 40;
    verdict v("mask " + type_name<Mask>());
    // Windows, positions in the sequence, queries and keys, the smallest first.
    const auto search = [](auto&& broken) -> std::string {
        for (const index_t window : {1, 2, 3, 8, 30}) {
            for (const index_t from : {0, 131072}) {
                for (index_t query = from; query < from + length; ++query) {
                    for (index_t key = from; key < from + length; ++key) {
                        if (const std::string what = broken(query, key, mask_sizes{window}); !what.empty()) {
                            return say("sees(query ", query, ", key ", key, ") is ", what, " (window ", window, ")");
                        }
                    }
                }
            }
        }
        return {};
    };
    v.rule([] {
        for (const index_t window : {1, 2, 3, 8, 30}) {
            const index_t reach = Mask::reach(mask_sizes{window});
            if (reach < 0) return say("reach is ", reach, ", expected 0 for no bound or a number of positions (window ", window, ")");
        }
        return std::string();
    });
    v.rule([&] {
        return search([](index_t query, index_t key, mask_sizes sizes) {
            return key > query && !Mask::looks_ahead && Mask::sees(query, key, sizes) ? std::string("true but looks_ahead is false")
                                                                                      : std::string();
        });
    });
    v.rule([&] {
        return search([](index_t query, index_t key, mask_sizes sizes) {
            const index_t reach = Mask::reach(sizes);
            return reach > 0 && query - key >= reach && Mask::sees(query, key, sizes) ? say("true but reach is ", reach) : std::string();
        });
    });
    v.rule([&] {
        std::array<bool, static_cast<std::size_t>(length * length)> first{};
        const mask_sizes sizes{3};
        for (index_t i = 0; i < length * length; ++i) first[static_cast<std::size_t>(i)] = Mask::sees(i / length, i % length, sizes);
        for (index_t i = length * length - 1; i >= 0; --i) {
            const bool again = Mask::sees(i / length, i % length, sizes);
            if (again != first[static_cast<std::size_t>(i)]) {
                return say("sees(query ", i / length, ", key ", i % length, ") is ", !again, ", and when asked again ", again,
                           " (window 3)");
            }
        }
        return std::string();
    });
    return v;
}

} // namespace loupe
