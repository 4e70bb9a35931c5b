// Holds a probe against what layers rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/probe.hpp>

namespace loupe {

/// What a probe promises.
struct probe_trials {
    bool reads_only = false; ///< it changes nothing
};

/// A call writes nothing beside the values, leaves them finite, and as they were if the probe promises that.
template <is::probe Probe>
verdict check(probe_trials trials = {}) {
    using detail::say;
    verdict v("probe " + type_name<Probe>());
    Probe probe{};
    for_each_type(at::all{}, [&]<class Place>() {
        if constexpr (Probe::template watches<Place>) {
            v.rule([&] {
                const std::string place = type_name<Place>();
                for (const index_t rows : {1, 2, 7}) {
                    for (const index_t width : {1, 2, 8, 64}) {
                        for (index_t block = 0; block < 4; ++block) {
                            const std::string where =
                                say(" in ", place, " (block ", block, ", ", rows, rows == 1 ? " row" : " rows", ", width ", width, ")");
                            detail::guarded<float> values(rows * width);
                            detail::numbers(1).fill(values.values());
                            const std::vector<float> before(values.values().begin(), values.values().end());
                            probe(Place{}, block, index_t{5}, matrix_view<float>(values.values().data(), rows, width));
                            if (!values.intact()) return "writes beside the values" + where;
                            const index_t bad = detail::first_not_finite<float>(values.values());
                            if (bad >= 0) return say("makes row ", bad / width, ", value ", bad % width, " not finite", where);
                            const index_t changed = detail::first_difference<float>(values.values(), before);
                            if (trials.reads_only && changed >= 0) {
                                return say("changes row ", changed / width, ", value ", changed % width, where);
                            }
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
