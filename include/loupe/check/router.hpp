// Holds a router, and a number of experts, against what the layer of experts relies on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/error.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/router.hpp>

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

namespace loupe {

/// What a router need not fulfil, and what it may ask for.
struct router_trials {
    bool experts_alike =
        true;            ///< false for a router that favours some experts by their number: permuting scores need not permute its choice
    index_t experts = 0; ///< how many there are, for a router that needs a certain number; 0: from 1 to 128
    index_t used = 0;    ///< how many a token goes to; 0: from 1 to 8
};

/// For up to 128 experts (26B-A4B's number): all of `chosen` is filled with different experts that exist and with finite weights, from
/// ordinary, equal, tiny and very unequal scores; nothing else is written; the same scores at the same place give the same choice whatever
/// was routed in between (a text may be read in chunks); permuting the experts permutes the choice, unless it depends on the place (a
/// router that draws); float and double choose the same experts.
template <is::router Router>
verdict check(router_trials trials = {}) {
    using detail::say;
    verdict v("router " + type_name<Router>());
    if (!Router::uses_experts) return v;
    const std::vector<index_t> experts_to_try =
        trials.experts > 0 ? std::vector{trials.experts} : std::vector<index_t>{1, 2, 3, 4, 8, 16, 127, 128};
    const std::vector<index_t> used_to_try = trials.used > 0 ? std::vector{trials.used} : std::vector<index_t>{1, 2, 4, 8};
    if (used_to_try.front() > experts_to_try.back()) {
        throw error(say("expected at most ", experts_to_try.back(), " experts used on trial, found ", used_to_try.front()));
    }

    struct kind_of_scores {
        const char* name;
        double scale;
    };
    constexpr kind_of_scores ordinary{"different scores", 1};
    // Scores from −3 to 9.8 that differ from each other, by a tenth for up to 128 experts, in no order.
    const auto scores_of = []<class T>(index_t experts, double scale, std::type_identity<T>) {
        std::vector<T> scores(static_cast<std::size_t>(experts));
        index_t steps = 128; // of a power of two every odd number gives all multiples
        while (steps < experts) steps *= 2;
        for (index_t e = 0; e < experts; ++e) {
            scores[static_cast<std::size_t>(e)] =
                static_cast<T>(scale * (12.8 * static_cast<double>((e * 37 + 11) % steps) / static_cast<double>(steps) - 3));
        }
        return scores;
    };
    const auto route = []<class T>(std::vector<T> scores, index_t used, route_place place) {
        std::vector<choice<T>> chosen(static_cast<std::size_t>(used), choice<T>{-1, T(NAN)});
        Router::route(std::span<T>(scores), std::span(chosen), place);
        return chosen;
    };
    const auto same = []<class T>(const std::vector<choice<T>>& a, const std::vector<choice<T>>& b) {
        return std::equal(a.begin(), a.end(), b.begin(),
                          [](const auto& x, const auto& y) { return x.expert == y.expert && detail::same_bits(x.weight, y.weight); });
    };
    const auto search = [&](std::initializer_list<kind_of_scores> kinds, auto&& broken) -> std::string {
        for (const index_t experts : experts_to_try) {
            for (const index_t used : used_to_try) {
                if (used > experts) continue;
                for (const kind_of_scores& kind : kinds) {
                    if (const std::string what = detail::attempt([&] { return broken(experts, used, kind.scale); }); !what.empty()) {
                        return say(what, " (", used, " of ", experts, experts == 1 ? " expert, " : " experts, ", kind.name, ")");
                    }
                }
            }
        }
        return {};
    };
    const std::initializer_list<kind_of_scores> all{
        ordinary, {"equal scores", 0}, {"scores up to 1e-30", 1e-31}, {"scores up to 1e4", 1e3}};
    v.rule([&] {
        return search(all, [&](index_t experts, index_t used, double scale) {
            const auto broken = [&]<class T>(std::type_identity<T> type) {
                const auto chosen = route(scores_of(experts, scale, type), used, {0, 0});
                for (std::size_t i = 0; i < chosen.size(); ++i) {
                    const auto& c = chosen[i];
                    if (c.expert < 0 || c.expert >= experts) return say("choice ", i, " is expert ", c.expert);
                    if (!std::isfinite(c.weight)) return say("choice ", i, " has weight ", c.weight);
                    for (std::size_t j = 0; j < i; ++j) {
                        if (chosen[j].expert == c.expert) return say("choices ", j, " and ", i, " are both expert ", c.expert);
                    }
                }
                return std::string();
            };
            const std::string what = broken(std::type_identity<float>{});
            return what.empty() ? broken(std::type_identity<double>{}) : what;
        });
    });
    v.rule([&] {
        return search({ordinary}, [&](index_t experts, index_t used, double scale) {
            detail::guarded<float> scores(experts);
            detail::guarded<choice<float>> chosen(used);
            const auto ordinary_scores = scores_of(experts, scale, std::type_identity<float>{});
            std::copy(ordinary_scores.begin(), ordinary_scores.end(), scores.values().begin());
            Router::route(scores.values(), chosen.values(), route_place{0, 0});
            return scores.intact() && chosen.intact() ? std::string() : std::string("writes beside scores or choices");
        });
    });
    v.rule([&] {
        return search(all, [&](index_t experts, index_t used, double scale) {
            const auto scores = scores_of(experts, scale, std::type_identity<float>{});
            const auto first = route(scores, used, {0, 3});
            route(scores_of(experts, 0.5, std::type_identity<float>{}), used, {0, 4});
            route(scores, used, {1, 3});
            return same(first, route(scores, used, {0, 3})) ? std::string()
                                                            : std::string("routes position 3 otherwise after it has routed position 4");
        });
    });
    v.rule([&] {
        return search({ordinary}, [&](index_t experts, index_t used, double scale) {
            const auto scores = scores_of(experts, scale, std::type_identity<float>{});
            const auto first = route(scores, used, {0, 0});
            bool draws = !trials.experts_alike;
            for (index_t position = 1; position < 20; ++position) draws = draws || !same(first, route(scores, used, {0, position}));
            std::vector<float> reversed(scores.rbegin(), scores.rend());
            const auto other = route(reversed, used, {0, 0});
            for (std::size_t i = 0; i < first.size() && !draws; ++i) {
                const auto match =
                    std::find_if(other.begin(), other.end(), [&](const auto& c) { return experts - 1 - c.expert == first[i].expert; });
                if (match == other.end() && first[i].expert >= 0) {
                    return say("chooses expert ", first[i].expert, ", and not expert ", experts - 1 - first[i].expert,
                               " when the experts' order is reversed");
                }
            }
            return std::string();
        });
    });
    v.rule([&] {
        return search({ordinary}, [&](index_t experts, index_t used, double scale) {
            const auto single = route(scores_of(experts, scale, std::type_identity<float>{}), used, {2, 5});
            const auto exact = route(scores_of(experts, scale, std::type_identity<double>{}), used, {2, 5});
            for (std::size_t i = 0; i < single.size(); ++i) {
                if (single[i].expert != exact[i].expert) {
                    return say("choice ", i, " is expert ", single[i].expert, " in float and ", exact[i].expert, " in double");
                }
                const auto found = static_cast<double>(single[i].weight), expected = exact[i].weight;
                // a sum over all experts of exponentials, each off by the rounding of its argument (up to 16)
                if (std::abs(found - expected) > static_cast<double>(experts + 32) * 0x1p-24 * std::max(1.0, std::abs(expected))) {
                    return say("choice ", i, " has weight ", found, " in float and ", expected, " in double");
                }
            }
            return std::string();
        });
    });
    return v;
}

namespace detail {

template <class Used>
concept constexpr_count = requires {
    typename std::bool_constant<(Used::count(1), true)>;
};

} // namespace detail

/// At least one expert, the same number whenever asked; and `count` is constexpr.
template <is::experts_used Used>
verdict check() {
    using detail::say;
    verdict v("experts_used " + type_name<Used>());
    v.rule([] {
        return detail::constexpr_count<Used> ? std::string() : std::string("count is not constexpr, a composition's rules cannot call it");
    });
    v.rule([] {
        for (const index_t stored : {1, 2, 4, 8, 64}) {
            const index_t count = Used::count(stored), again = Used::count(stored);
            if (count < 1) return say("count(stored ", stored, ") is ", count, ", expected at least 1");
            if (count != again) return say("count(stored ", stored, ") is ", count, ", and when asked again ", again);
        }
        return std::string();
    });
    return v;
}

} // namespace loupe
