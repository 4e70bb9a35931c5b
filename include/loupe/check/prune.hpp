// Holds a pruning policy against what decoders rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/layer/pruning.hpp>
#include <loupe/policy/prune.hpp>

#include <algorithm>

namespace loupe {

/// The newest token is never dropped, a block before the first pruned one scores the tokens, scores are numbers and the same whenever
/// asked; and over 40 tokens the budget is kept, and with it the newest `recent` tokens.
template <is::pruning Prune>
verdict check() {
    using detail::say;
    verdict v("prune " + type_name<Prune>());
    if (!Prune::enabled) return v;
    v.rule([] {
        const index_t recent = Prune::recent;
        return recent < 1 ? say("recent is ", recent, ", expected at least 1: a query sees itself") : std::string();
    });
    v.rule([] {
        for (index_t first_full = 0; first_full < 8; ++first_full) {
            const index_t first = Prune::first_block(first_full);
            if (first < 1) {
                return say("first_block(first full block ", first_full, ") is ", first,
                           ", expected at least 1: an earlier block scores the tokens");
            }
        }
        return std::string();
    });
    v.rule([] {
        for (index_t queries = 1; queries < 40; ++queries) {
            for (const index_t key : {0, 1, 2, 100}) {
                for (const double received : {0.0, 1e-30, 1.0, 1000.0}) {
                    const double score = Prune::score(key, received, queries), again = Prune::score(key, received, queries);
                    const std::string call = say("score(key ", key, ", received ", received, ", queries ", queries, ") is ", score);
                    if (std::isnan(score)) return call;
                    if (!detail::same_bits(score, again)) return say(call, ", and when asked again ", again);
                }
            }
        }
        return std::string();
    });
    v.rule([] {
        pruning_state state;
        if (Prune::recent < 1) return std::string(); // said above
        const pruning_rule rule = pruning_rule::of<Prune>(0);
        detail::numbers attention(1);
        index_t kept = 0;
        for (index_t query = 0; query < 40; ++query) {
            std::vector<float> row(static_cast<std::size_t>(query + 1));
            for (float& p : row) p = static_cast<float>(std::abs(attention()));
            state.advance(rule, query, row);
            const index_t tokens = query + 1;
            const index_t expected = std::min(kept + 1, std::max<index_t>(Prune::recent, Prune::budget(tokens)));
            kept = 0;
            for (index_t key = 0; key <= query; ++key) {
                const bool sees = state.sees(tokens, key);
                kept += sees ? 1 : 0;
                if (!sees && key > query - Prune::recent) {
                    return say("drops token ", key, " of ", tokens, ", one of the newest ", index_t{Prune::recent});
                }
            }
            if (kept != expected) return say("keeps ", kept, " of ", tokens, " tokens, the budget says ", expected);
        }
        return std::string();
    });
    return v;
}

} // namespace loupe
