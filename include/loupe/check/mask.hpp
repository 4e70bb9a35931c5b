// Holds a mask against what caches and attention rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/mask.hpp>

#include <algorithm>
#include <array>

namespace loupe {

/// A query sees nothing ahead unless `looks_ahead` says so (the keys are not there yet), nothing further back than `reach` (a ring has
/// forgotten it), and the same whenever it is asked.
template <is::mask Mask>
verdict check() {
    using detail::say;
    constexpr index_t length = 40, far = 131072, furthest = index_t{1} << 30; // no sequence is as long as that
    verdict v("mask " + type_name<Mask>());
    constexpr std::array<index_t, 5> windows{1, 2, 3, 8, 30};
    std::array<index_t, windows.size()> reaches{}; // no bound where it cannot be told
    v.rule([&] {
        std::string found;
        for (std::size_t i = 0; i < windows.size(); ++i) {
            const std::string what = detail::attempt([&] {
                const index_t reach = Mask::reach(mask_sizes{windows[i]});
                if (reach < 0) return say("is ", reach, ", expected 0 for no bound or a number of positions");
                reaches[i] = reach;
                return std::string();
            });
            if (!what.empty() && found.empty()) found = say("reach ", what, " (window ", windows[i], ")");
        }
        return found;
    });
    // Windows, positions in the sequence, queries and keys, the smallest first.
    const auto search = [&](auto&& broken) -> std::string {
        for (std::size_t i = 0; i < windows.size(); ++i) {
            const auto ask = [&](index_t query, index_t key) {
                const std::string what = detail::attempt([&] { return broken(query, key, mask_sizes{windows[i]}, reaches[i]); });
                return what.empty() ? what : say("sees(query ", query, ", key ", key, ") ", what, " (window ", windows[i], ")");
            };
            for (const index_t from : {index_t{0}, far}) {
                for (index_t query = from; query < from + length; ++query) {
                    for (index_t key = from; key < from + length; ++key) {
                        if (std::string what = ask(query, key); !what.empty()) return what;
                    }
                }
            }
            if (reaches[i] == 0) continue;
            // What lies around a reach that goes beyond these positions, and what was there first.
            const index_t reach = std::min(reaches[i], furthest);
            for (const index_t query : {index_t{0}, reach - 1, reach, reach + 1, 2 * reach, far + reach}) {
                for (index_t key = 0; key < 8; ++key) {
                    if (std::string what = ask(query, key); !what.empty()) return what;
                }
                for (const index_t key : {query - reach - 1, query - reach, query - reach + 1, query + 1}) {
                    if (key < 0) continue;
                    if (std::string what = ask(query, key); !what.empty()) return what;
                }
            }
        }
        return {};
    };
    v.rule([&] {
        return search([](index_t query, index_t key, mask_sizes sizes, index_t) {
            const bool seen = Mask::sees(query, key, sizes);
            return seen && key > query && !Mask::looks_ahead ? std::string("is true but looks_ahead is false") : std::string();
        });
    });
    v.rule([&] {
        return search([](index_t query, index_t key, mask_sizes sizes, index_t reach) {
            const bool seen = Mask::sees(query, key, sizes);
            return seen && reach > 0 && query - key >= reach ? say("is true but reach is ", reach) : std::string();
        });
    });
    v.rule([&] {
        std::array<bool, static_cast<std::size_t>(length * length)> first{};
        const mask_sizes sizes{3};
        index_t i = 0;
        const std::string what = detail::attempt([&] {
            for (; i < length * length; ++i) first[static_cast<std::size_t>(i)] = Mask::sees(i / length, i % length, sizes);
            while (--i >= 0) {
                const bool again = Mask::sees(i / length, i % length, sizes);
                if (again != first[static_cast<std::size_t>(i)]) return say("is ", !again, ", and when asked again ", again);
            }
            return std::string();
        });
        return what.empty() ? what : say("sees(query ", i / length, ", key ", i % length, ") ", what, " (window 3)");
    });
    return v;
}

} // namespace loupe
