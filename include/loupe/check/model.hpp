// Holds a whole model, with weights, against what its users rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/error.hpp>
#include <loupe/model/runtime.hpp>

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

namespace loupe {

/// What a model need not fulfil.
struct model_trials {
    bool causal = true; ///< false: a mask looks ahead, so a sequence comes in one piece
};

namespace is {

/// What decoder offers: sequences, and a forward pass to hidden states.
template <class M>
concept runs = requires(const M& model, typename M::sequence_type& s, std::span<const token_id> ids, runtime& on) {
    { model.start() } -> std::same_as<typename M::sequence_type>;
    { model.forward(s, ids, on, {}, std::span<const index_t>{}) } -> std::same_as<matrix_view<const float>>;
    { model.sizes().vocabulary } -> std::convertible_to<index_t>;
    s.rewind(index_t{0});
};

} // namespace is

namespace detail {

/// Offers logits of hidden states, as decoder does.
template <class M>
concept has_logits = requires(const M& model, typename M::sequence_type& s, matrix_view<const float> hidden, runtime& on,
                              matrix_view<float> out) {
    model.logits(s, hidden, on, out, index_t{0});
};

/// Of the model's composition, if it has one.
template <class Model>
runtime runtime_for(index_t threads) {
    if constexpr (requires { typename Model::model_type; }) {
        return runtime_of<typename Model::model_type>(threads);
    } else {
        return runtime(threads);
    }
}

} // namespace detail

/// On growing beginnings of `ids`: hidden states are finite and have the same bits each time, on one thread and two, with only some tokens
/// wanted, whatever comes later, in one pass and in chunks of 1, 7 and 16, after a rewind (where it is not refused), and with another
/// sequence read in between. So are logits, where the model has them: each time, on two threads, and row by row.
template <is::runs Model>
verdict check(const Model& model, std::span<const token_id> ids, model_trials trials = {}) {
    using detail::say;
    using sequence_type = typename Model::sequence_type;
    using rows = std::vector<float>;
    verdict v("model");
    runtime one = detail::runtime_for<Model>(1), two = detail::runtime_for<Model>(2);
    index_t width = 0;
    const auto pass = [&](sequence_type& s, std::span<const token_id> some, runtime& on, std::span<const index_t> wanted = {}) {
        const auto hidden = model.forward(s, some, on, {}, wanted);
        width = hidden.width;
        return rows(hidden.data, hidden.data + hidden.rows * hidden.width);
    };
    const auto run = [&](std::span<const token_id> some, runtime& on, std::size_t chunk) {
        sequence_type s = model.start();
        rows out;
        for (std::size_t first = 0; first < some.size(); first += chunk) {
            const rows part = pass(s, some.subspan(first, std::min(chunk, some.size() - first)), on);
            out.insert(out.end(), part.begin(), part.end());
        }
        return out;
    };
    const auto search = [&](std::size_t least, auto&& broken) -> std::string {
        for (std::size_t tokens = least; least <= ids.size(); tokens = std::min(tokens + (tokens + 1) / 2, ids.size())) {
            const std::string what = detail::attempt([&] { return broken(ids.first(tokens)); });
            if (!what.empty()) return say(what, " (", tokens, tokens == 1 ? " token)" : " tokens)");
            if (tokens == ids.size()) break;
        }
        return {};
    };
    const auto differs = [&](const rows& a, const rows& b, const std::string& where) {
        const index_t i = detail::first_difference<float>(a, b);
        const auto at = static_cast<std::size_t>(i);
        return i < 0 ? std::string() : say("row ", i / width, ", value ", i % width, " is ", a[at], ", and ", b[at], " ", where);
    };
    v.rule([&] {
        return search(1, [&](std::span<const token_id> some) {
            const rows out = run(some, one, some.size());
            const index_t i = detail::first_not_finite<float>(out);
            return i < 0 ? std::string() : say("row ", i / width, ", value ", i % width, " is ", out[static_cast<std::size_t>(i)]);
        });
    });
    v.rule([&] {
        return search(1, [&](std::span<const token_id> some) {
            return differs(run(some, one, some.size()), run(some, one, some.size()), "in a second run");
        });
    });
    if (!v) return v; // what is not even the same twice would break every rule that follows
    v.rule([&] {
        return search(1, [&](std::span<const token_id> some) {
            return differs(run(some, one, some.size()), run(some, two, some.size()), "on two threads");
        });
    });
    v.rule([&] {
        return search(2, [&](std::span<const token_id> some) {
            const rows whole = run(some, one, some.size());
            std::vector<index_t> wanted;
            rows expected;
            for (auto t = static_cast<index_t>(some.size()) % 2; t < static_cast<index_t>(some.size()); t += 2) {
                wanted.push_back(t);
                expected.insert(expected.end(), whole.begin() + t * width, whole.begin() + (t + 1) * width);
            }
            sequence_type s = model.start();
            return differs(expected, pass(s, some, one, wanted), "when every other row is wanted");
        });
    });
    if constexpr (detail::has_logits<Model>) {
        v.rule([&] {
            return search(1, [&](std::span<const token_id> some) {
                sequence_type s = model.start();
                const rows hidden = pass(s, some, one);
                const auto length = static_cast<index_t>(some.size());
                const auto vocabulary = static_cast<index_t>(model.sizes().vocabulary);
                const index_t first = std::max<index_t>(0, length - 3); // a head is large: of the last three
                const auto logits = [&](runtime& on, index_t at_once) {
                    rows out(static_cast<std::size_t>((length - first) * vocabulary), std::numeric_limits<float>::quiet_NaN());
                    for (index_t t = first; t < length; t += at_once) {
                        const index_t count = std::min(at_once, length - t);
                        model.logits(s, {hidden.data() + t * width, count, width}, on,
                                     {out.data() + (t - first) * vocabulary, count, vocabulary}, t);
                    }
                    return out;
                };
                const rows expected = logits(one, length);
                if (const index_t i = detail::first_not_finite<float>(expected); i >= 0) {
                    return say("logit ", i % vocabulary, " of row ", first + i / vocabulary, " is ", expected[static_cast<std::size_t>(i)]);
                }
                for (const auto& [found, where] : {std::pair{logits(one, length), "when computed again"},
                                                   {logits(two, length), "on two threads"},
                                                   {logits(one, 1), "row by row"}}) {
                    const index_t i = detail::first_difference<float>(expected, found);
                    const auto at = static_cast<std::size_t>(i);
                    if (i >= 0) {
                        return say("logit ", i % vocabulary, " of row ", first + i / vocabulary, " is ", expected[at], ", and ", found[at],
                                   " ", where);
                    }
                }
                return std::string();
            });
        });
    }
    if (!trials.causal) return v;
    v.rule([&] {
        return search(2, [&](std::span<const token_id> some) {
            std::vector<token_id> other(some.begin(), some.end());
            other.back() = static_cast<token_id>((other.back() + 1) % model.sizes().vocabulary);
            rows a = run(some, one, some.size()), b = run(other, one, some.size());
            a.resize(a.size() - static_cast<std::size_t>(width)), b.resize(a.size());
            return differs(a, b, "with another last token");
        });
    });
    v.rule([&] {
        return search(2, [&](std::span<const token_id> some) {
            const rows whole = run(some, one, some.size());
            for (const std::size_t chunk : {1, 7, 16}) {
                if (chunk >= some.size()) break;
                const std::string what = differs(whole, run(some, two, chunk), say("in chunks of ", chunk));
                if (!what.empty()) return what;
            }
            return std::string();
        });
    });
    v.rule([&] {
        return search(2, [&](std::span<const token_id> some) {
            const std::size_t to = some.size() / 2;
            const std::vector<token_id> more(some.rbegin(), some.rbegin() + static_cast<std::ptrdiff_t>(some.size() - to));
            sequence_type s = model.start(), fresh = model.start();
            pass(s, some, one);
            try {
                s.rewind(static_cast<index_t>(to));
            } catch (const error&) {
                return std::string(); // it says that it cannot
            }
            pass(fresh, some.first(to), one);
            const rows expected = pass(fresh, more, one);
            return differs(expected, pass(s, more, one), say("after a rewind to ", to));
        });
    });
    v.rule([&] {
        return search(2, [&](std::span<const token_id> some) {
            const auto first = some.first(some.size() / 2), rest = some.subspan(some.size() / 2);
            std::vector<token_id> others(first.rbegin(), first.rend());
            for (token_id& id : others) id = static_cast<token_id>((id + 1) % model.sizes().vocabulary);
            sequence_type alone = model.start();
            pass(alone, first, one);
            const rows expected = pass(alone, rest, one);
            sequence_type s = model.start(), other = model.start();
            pass(s, first, one);
            pass(other, others, one);
            return differs(expected, pass(s, rest, one), "with another sequence read in between");
        });
    });
    return v;
}

} // namespace loupe
