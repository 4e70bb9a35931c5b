// Holds a probe against what layers rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/probe.hpp>

#include <cmath>
#include <concepts>
#include <vector>

namespace loupe {

/// What a probe promises, and what it may ask for.
struct probe_trials {
    bool reads_only = false;                  ///< it changes nothing
    std::vector<index_t> widths{1, 2, 8, 64}; ///< of the rows that it is given, for a probe that needs certain ones
};

/// A call writes nothing beside the values, leaves them finite, and as they were if the probe promises that. At attn_probs rows are
/// probabilities, elsewhere they hold anything.
template <is::probe Probe>
verdict check(probe_trials trials = {}) {
    using detail::say;
    verdict v("probe " + type_name<Probe>());
    Probe probe{};
    for_each_type(at::all{}, [&]<class Place>() {
        if constexpr (Probe::template watches<Place>) {
            const auto broken = [&](index_t block, index_t rows, index_t width) {
                detail::guarded<float> values(rows * width);
                const matrix_view<float> given(values.values().data(), rows, width);
                detail::numbers(1).fill(values.values());
                if (std::same_as<Place, at::attn_probs>) {
                    for (index_t t = 0; t < rows; ++t) {
                        float sum = 0;
                        for (float& x : given[t]) sum += x = std::abs(x);
                        for (float& x : given[t]) x /= sum;
                    }
                }
                const std::vector<float> before(values.values().begin(), values.values().end());
                probe(Place{}, block, index_t{5}, given);
                if (!values.intact()) return std::string("writes beside the values");
                const index_t bad = detail::first_not_finite<float>(values.values());
                if (bad >= 0) return say("makes row ", bad / width, ", value ", bad % width, " not finite");
                const index_t changed = detail::first_difference<float>(values.values(), before);
                if (trials.reads_only && changed >= 0) return say("changes row ", changed / width, ", value ", changed % width);
                return std::string();
            };
            v.rule([&] {
                for (const index_t rows : {1, 2, 7}) {
                    for (const index_t width : trials.widths) {
                        for (index_t block = 0; block < 4; ++block) {
                            const std::string what = detail::attempt([&] { return broken(block, rows, width); });
                            if (what.empty()) continue;
                            return say(what, " in ", type_name<Place>(), " (block ", block, ", ", rows, rows == 1 ? " row" : " rows",
                                       ", width ", width, ")");
                        }
                    }
                }
                return std::string();
            });
        }
    });
    return v;
}

} // namespace loupe
