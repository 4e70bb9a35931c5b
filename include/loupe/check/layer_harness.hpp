// The trials of a layer, whatever family it is of: what is run, on what, and what must be equal.
#pragma once

#include <loupe/check/loops.hpp>
#include <loupe/check/verdict.hpp>
#include <loupe/core/error.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/layer/block.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>

namespace loupe {

/// What a layer need not fulfil, and what it may ask for.
struct layer_trials {
    bool causal = true;      ///< false: rows depend on later rows, so a sequence comes in one piece
    bool heads_alike = true; ///< false: attention whose heads differ by their number
    bool keys_alike = true;  ///< false: attention to which a key's place among the others counts, even where nothing rotates
    index_t reach = 0; ///< attention whose mask reaches back so far (a window of 4 is offered): the cache forgets what lies further back
};

namespace detail {

/// Sizes of a layer on trial.
struct layer_sizes {
    index_t width = 2, hidden = 1, heads = 1, kv_heads = 1, head_width = 2, experts = 2, used = 1, per_layer = 2;
};

/// Random float weights of all the layers of a block. `turned`: the same heads, but each key head and its queries in the next one's place,
/// the last in the first's. (In reverse order they would look alike to a layer that pairs them from the end.)
struct weights_on_trial {
    std::vector<std::vector<float>> storage;
    block_weights block;

    weights_on_trial(const layer_sizes& s, bool turned) {
        numbers random(static_cast<std::uint64_t>(s.width));
        const auto vector = [&](index_t n) {
            gain g(static_cast<std::size_t>(n));
            random.fill(std::span(g), 0.5);
            for (float& x : g) x += 1;
            return g;
        };
        const auto matrix = [&](index_t rows, index_t width) {
            auto& values = storage.emplace_back(static_cast<std::size_t>(rows * width));
            random.fill(std::span(values), 1.7 / std::sqrt(static_cast<double>(width))); // variance 1 of the products
            weight_matrix m;
            m.format = &format::info_of<format::f32>();
            m.data = reinterpret_cast<const std::byte*>(values.data());
            m.rows = rows, m.width = width;
            return m;
        };
        const auto all = [&](index_t rows, index_t width) { return expert_matrices{matrix(s.experts * rows, width), rows, rows, 0}; };
        const index_t q = s.heads * s.head_width, kv = s.kv_heads * s.head_width, group = s.heads / s.kv_heads * s.head_width;
        block.attention = {matrix(q, s.width), matrix(kv, s.width),  matrix(kv, s.width),
                           matrix(s.width, q), vector(s.head_width), vector(s.head_width)};
        if (turned) {
            turn(storage[0], 1, s.kv_heads, group * s.width);
            turn(storage[1], 1, s.kv_heads, s.head_width * s.width);
            turn(storage[2], 1, s.kv_heads, s.head_width * s.width);
            turn(storage[3], s.width, s.kv_heads, group);
        }
        block.mlp = {matrix(s.hidden, s.width), matrix(s.hidden, s.width), matrix(s.width, s.hidden)};
        block.experts.router = matrix(s.experts, s.width);
        block.experts.router_scale = vector(s.width), block.experts.expert_scale = vector(s.experts);
        block.experts.gate = all(s.hidden, s.width), block.experts.up = all(s.hidden, s.width), block.experts.down = all(s.width, s.hidden);
        block.per_layer = {matrix(s.per_layer, s.width), matrix(s.width, s.per_layer), vector(s.width)};
        for (gain* g : {&block.input_norm, &block.attention_norm, &block.mlp_input_norm, &block.mlp_norm, &block.experts.input_norm,
                        &block.experts.dense_norm, &block.experts.experts_norm}) {
            *g = vector(s.width);
        }
    }

  private:
    /// Each of `rows` rows is `count` pieces of `size` values: each piece in the next one's place.
    static void turn(std::vector<float>& values, index_t rows, index_t count, index_t size) {
        const std::vector<float> before = values;
        for (index_t r = 0; r < rows; ++r) {
            for (index_t i = 0; i < count; ++i) {
                std::copy_n(before.data() + (r * count + i) * size, size, values.data() + (r * count + (i + 1) % count) * size);
            }
        }
    }
};

/// One sequence of a layer.
struct layer_on_trial {
    std::function<void(context&, rope_table&, matrix_view<float> x, matrix_view<float> out)>
        read; ///< the next rows; `out` is `x` for layers in place
    std::function<bool(index_t)> can_rewind = [](index_t) { return true; };
};

/// Bases of the tables of rotations that a layer is handed, and finds in the context beside it.
struct thetas_on_trial {
    double handed = 10000, sliding = 100, full = 1e6; ///< 0: none rotates
};

/// How a family of layers is made and called.
struct kind_of_layer {
    enum class needs { width, hidden, experts, heads, everything };
    needs sizes = needs::width;
    bool in_place = false;       ///< and so begins with a norm
    bool takes_wanted = false;   ///< rows may be some of a chunk's tokens
    bool rotates = false;        ///< it is handed a table of rotations
    bool holds_sequences = true; ///< any number of them, side by side
    scratch<float> workspace::*x = &workspace::normed;
    scratch<float> workspace::*out = &workspace::branch;
    index_t width = 0; ///< the only width it can be called with; 0 for any
    std::function<std::function<layer_on_trial()>(const layer_sizes&, bool turned)> make{}; ///< what begins sequences
};

/// Runs the trials: everything that does not depend on the layer's type.
class layer_harness {
    static constexpr index_t margin = 16;
    const kind_of_layer& kind_;
    const layer_trials& trials_;
    runtime one_{1}, two_{2}, backwards_{executor::of<one_by_one>(2)}, at_once_{executor::of<side_by_side>(2)};
    std::map<std::pair<index_t, bool>, std::function<layer_on_trial()>> made_; ///< by width and order of heads

  public:
    layer_harness(const kind_of_layer& kind, const layer_trials& trials) : kind_(kind), trials_(trials) {}

    void hold(verdict& v) {
        using rows = std::vector<float>;
        v.rule([&] {
            return search(1, [&](const layer_sizes& s, index_t tokens) {
                std::string wrote;
                layer_on_trial layer = begin(s);
                pass(layer, s, one_, input(s, tokens), 0, {}, &wrote);
                return wrote;
            });
        });
        v.rule([&] {
            return search(1, [&](const layer_sizes& s, index_t tokens) {
                const double large = kind_.in_place ? 1e9 : std::sqrt(static_cast<double>(s.width)); // what a norm lets through
                rows x = input(s, tokens);
                for (const auto& [name, scale] :
                     {std::pair{"", 1.0}, {", x is 0", 0.0}, {", x up to 1e-30", 1e-30}, {", one large value in x", large}}) {
                    rows y(x.size());
                    for (std::size_t i = 0; i < x.size(); ++i) {
                        if (scale <= 1) y[i] = static_cast<float>(static_cast<double>(x[i]) * scale);
                        if (scale > 1 && i % static_cast<std::size_t>(s.width) == 0) y[i] = static_cast<float>(scale);
                    }
                    const rows out = run(s, one_, y, tokens);
                    const index_t i = first_not_finite<float>(out);
                    if (i >= 0) return say("row ", i / s.width, ", value ", i % s.width, " is ", out[static_cast<std::size_t>(i)], name);
                }
                return std::string();
            });
        });
        v.rule([&] {
            return search(1, [&](const layer_sizes& s, index_t tokens) {
                const rows x = input(s, tokens);
                return differs(run(s, one_, x, tokens), run(s, one_, x, tokens), s, "in a second run");
            });
        });
        if (!v) return; // what is not even the same twice would break every rule that follows
        v.rule([&] {
            std::string what = search(1, [&](const layer_sizes& s, index_t tokens) {
                const rows x = input(s, tokens);
                return differs(run(s, one_, x, tokens), run(s, two_, x, tokens), s, "on two threads");
            });
            const auto backwards = [&](const layer_sizes& s, index_t tokens) {
                const rows x = input(s, tokens);
                const watched_memory watched(backwards_.memory);
                const rows found = run(s, backwards_, x, tokens);
                if (!watched.problem().empty()) return watched.problem();
                return differs(run(s, one_, x, tokens), found, s, "when the ranges of its loops are computed from the last to the first");
            };
            if (what.empty()) what = search_long(backwards); // loops over many rows, and over wide ones
            if (what.empty() && kind_.width == 0) what = broken_at({160, 144, 6, 3, 24, 8, 3, 130}, 3, backwards);
            const auto at_once = [&](const layer_sizes& s, index_t tokens) {
                const rows x = input(s, tokens), alone = run(s, one_, x, tokens);
                side_by_side::pairs = side_by_side::overlapping = 0;
                for (int repeat = 0; repeat < 20; ++repeat) { // two processors that others use seldom work at once
                    std::string differing = differs(alone, run(s, at_once_, x, tokens), s, "on two threads that begin at once");
                    if (!differing.empty()) return differing;
                    if (repeat >= 2 && 2 * side_by_side::overlapping >= side_by_side::pairs) break;
                }
                return std::string();
            };
            if (what.empty()) what = broken_at(all_sizes[3], many, at_once);
            return what;
        });
        if (kind_.takes_wanted) {
            v.rule([&] {
                return search(2, [&](const layer_sizes& s, index_t tokens) {
                    const rows x = input(s, tokens), whole = run(s, one_, x, tokens);
                    std::vector<index_t> wanted;
                    rows some, expected;
                    for (index_t t = 1; t < tokens; t += 2) {
                        wanted.push_back(t);
                        some.insert(some.end(), x.begin() + t * s.width, x.begin() + (t + 1) * s.width);
                        expected.insert(expected.end(), whole.begin() + t * s.width, whole.begin() + (t + 1) * s.width);
                    }
                    layer_on_trial layer = begin(s);
                    return differs(expected, pass(layer, s, one_, some, 0, wanted), s, "when every other row is wanted");
                });
            });
        }
        if (kind_.rotates) {
            v.rule([&] {
                return search(1, [&](const layer_sizes& s, index_t tokens) {
                    const rows x = input(s, tokens);
                    return differs(run(s, one_, x, tokens), run(s, one_, x, tokens, {.sliding = 500, .full = 5e4}), s,
                                   "with other tables in rope_sliding and rope_full than the one handed over");
                });
            });
        }
        if (kind_.sizes == kind_of_layer::needs::heads && trials_.heads_alike) {
            v.rule([&] { return search(1, [&](const layer_sizes& s, index_t tokens) { return heads_turned(s, tokens); }); });
        }
        const bool attends = kind_.sizes == kind_of_layer::needs::heads && !kind_.takes_wanted; // to keys of its own
        if (attends) {
            v.rule([&] {
                return search_long([&](const layer_sizes& s, index_t tokens) {
                    if (!depends(s, 36, 34, {}) || depends(s, tokens, tokens - 2, {})) return std::string();
                    return say("row ", tokens - 1, " does not depend on row ", tokens - 2, ", and row 35 of 36 does on row 34");
                });
            });
        }
        if (attends && trials_.keys_alike) {
            v.rule([&] { return search_long([&](const layer_sizes& s, index_t tokens) { return keys_exchanged(s, tokens); }); });
        }
        if (!trials_.causal) return;
        v.rule([&] {
            return search(2, [&](const layer_sizes& s, index_t tokens) {
                const rows x = input(s, tokens);
                rows y = x;
                for (auto i = y.end() - s.width; i != y.end(); ++i) *i = 0.5F - *i;
                rows a = run(s, one_, x, tokens), b = run(s, one_, y, tokens);
                a.resize(a.size() - static_cast<std::size_t>(s.width)), b.resize(a.size());
                return differs(a, b, s, "with another last token");
            });
        });
        v.rule([&] {
            std::string what = search(2, [&](const layer_sizes& s, index_t tokens) {
                const rows x = input(s, tokens), whole = run(s, one_, x, tokens);
                for (const index_t chunk : {1, 7, 16}) {
                    if (chunk >= tokens) break;
                    std::string differing = differs(whole, run(s, one_, x, chunk), s, say("in chunks of ", chunk));
                    if (!differing.empty()) return differing;
                }
                return std::string();
            });
            if (!what.empty()) return what;
            return search_long([&](const layer_sizes& s, index_t tokens) {
                const rows x = input(s, tokens), whole = run(s, one_, x, tokens);
                for (const index_t chunk : {63, 64, 65}) {
                    std::string differing = differs(whole, run(s, one_, x, chunk), s, say("in chunks of ", chunk));
                    if (!differing.empty()) return differing;
                }
                return std::string();
            });
        });
        v.rule([&] {
            return search(2, [&](const layer_sizes& s, index_t tokens) {
                const index_t to = tokens / 2;
                const rows x = input(s, tokens), more = input(s, tokens - to, 5);
                layer_on_trial layer = begin(s), fresh = begin(s);
                pass(layer, s, one_, x, 0);
                if (!layer.can_rewind(to)) return std::string();
                pass(fresh, s, one_, rows(x.begin(), x.begin() + to * s.width), 0);
                const rows expected = pass(fresh, s, one_, more, to);
                rows found;
                try {
                    found = pass(layer, s, one_, more, to);
                } catch (const error&) {
                    return std::string(); // it says that it cannot
                }
                return differs(expected, found, s, say("after a rewind to ", to));
            });
        });
        if (!kind_.holds_sequences) return;
        v.rule([&] {
            return search(2, [&](const layer_sizes& s, index_t tokens) {
                const index_t to = tokens / 2;
                const rows x = input(s, tokens), first(x.begin(), x.begin() + to * s.width), rest(x.begin() + to * s.width, x.end());
                layer_on_trial alone = begin(s), layer = begin(s), other = begin(s);
                pass(alone, s, one_, first, 0);
                const rows expected = pass(alone, s, one_, rest, to);
                pass(layer, s, one_, first, 0);
                pass(other, s, one_, input(s, to, 7), 0);
                return differs(expected, pass(layer, s, one_, rest, to), s, "with another sequence read in between");
            });
        });
    }

  private:
    static constexpr std::array<layer_sizes, 5> all_sizes{layer_sizes{}, layer_sizes{3, 2, 2, 1, 2, 2, 2, 1},
                                                          layer_sizes{4, 5, 2, 2, 4, 3, 2, 3}, layer_sizes{33, 19, 6, 3, 16, 8, 3, 5},
                                                          layer_sizes{64, 96, 8, 2, 34, 16, 4, 16}};
    static constexpr index_t many = 150; ///< tokens: more than two of the blocks of 64 keys, and several ranges of rows in any usual loop

    /// Sizes from small to large, and for each of them growing numbers of tokens.
    template <class Broken>
    std::string search(index_t least_tokens, Broken&& broken) {
        for (const layer_sizes& s : all_sizes) {
            for (const index_t tokens : {1, 2, 3, 4, 5, 8, 17, 36}) {
                if (tokens < least_tokens) continue;
                std::string what = broken_at(s, tokens, broken);
                if (!what.empty()) return what;
            }
            if (kind_.width != 0) break;
        }
        return {};
    }

    /// The smallest sizes, and many tokens.
    template <class Broken>
    std::string search_long(Broken&& broken) {
        for (std::size_t i = 0; i < (kind_.width != 0 ? 1 : 3); ++i) {
            std::string what = broken_at(all_sizes[i], many, broken);
            if (!what.empty()) return what;
        }
        return {};
    }

    template <class Broken>
    std::string broken_at(layer_sizes s, index_t tokens, Broken&& broken) {
        using needs = kind_of_layer::needs;
        if (kind_.width != 0) s.width = kind_.width;
        std::string what = attempt([&] { return broken(s, tokens); });
        if (what.empty()) return what;
        what += say(" (", tokens, tokens == 1 ? " token" : " tokens", ", width ", s.width);
        if (kind_.sizes == needs::heads || kind_.sizes == needs::everything) {
            what += say(", ", s.heads, s.heads == 1 ? " head" : " heads", " of ", s.head_width, " on ", s.kv_heads);
        }
        if (kind_.sizes != needs::width && kind_.sizes != needs::heads) what += say(", hidden width ", s.hidden);
        if (kind_.sizes == needs::experts) what += say(", ", s.used, " of ", s.experts, " experts");
        return what + ")";
    }

    static std::vector<float> input(const layer_sizes& s, index_t tokens, std::uint64_t seed = 1) {
        std::vector<float> x(static_cast<std::size_t>(tokens * s.width));
        numbers(seed).fill(std::span(x));
        return x;
    }

    static std::string differs(const std::vector<float>& a, const std::vector<float>& b, const layer_sizes& s, const std::string& where) {
        const index_t i = first_difference<float>(a, b);
        const auto at = static_cast<std::size_t>(i);
        return i < 0 ? std::string() : say("row ", i / s.width, ", value ", i % s.width, " is ", a[at], ", and ", b[at], " ", where);
    }

    /// The same from a row on, for sums of so many terms in another order.
    static std::string differs_beyond_rounding(const std::vector<float>& a, const std::vector<float>& b, const layer_sizes& s,
                                               index_t first, index_t terms, const std::string& where) {
        float largest = 0;
        for (const float y : a) largest = std::max(largest, std::abs(y));
        const float allowed = static_cast<float>(terms) * 0x1p-24F * largest;
        for (index_t i = first * s.width; i < std::ssize(a); ++i) {
            const float x = a[static_cast<std::size_t>(i)], y = b[static_cast<std::size_t>(i)];
            if (!(std::abs(x - y) <= allowed)) return say("row ", i / s.width, ", value ", i % s.width, " is ", x, ", and ", y, " ", where);
        }
        return {};
    }

    /// The same heads in another order give the same sum, but for its rounding.
    std::string heads_turned(const layer_sizes& s, index_t tokens) {
        if (s.kv_heads == 1) return {};
        const auto x = input(s, tokens);
        layer_on_trial layer = begin(s), other = begin(s, true);
        return differs_beyond_rounding(pass(layer, s, one_, x, 0), pass(other, s, one_, x, 0), s, 0,
                                       s.heads * s.head_width + s.head_width + tokens, "with the heads in another order");
    }

    /// Whether the last row of so many is another one when row `j` is.
    bool depends(const layer_sizes& s, index_t tokens, index_t j, thetas_on_trial thetas) {
        const auto x = input(s, tokens);
        auto y = x;
        for (index_t i = 0; i < s.width; ++i) y[static_cast<std::size_t>(j * s.width + i)] *= -1;
        const auto a = run(s, one_, x, tokens, thetas), b = run(s, one_, y, tokens, thetas);
        return !std::equal(a.end() - s.width, a.end(), b.end() - s.width);
    }

    /// Where nothing rotates, two rows that the last one sees may stand in each other's place: its sum is the same, but for its rounding.
    std::string keys_exchanged(const layer_sizes& s, index_t tokens) {
        constexpr thetas_on_trial none{0, 0, 0};
        const auto x = input(s, tokens), a = run(s, one_, x, tokens, none);
        for (const auto& [i, j] : {std::pair<index_t, index_t>{5, 70}, {70, 140}, {5, 140}}) {
            if (!depends(s, tokens, i, none) || !depends(s, tokens, j, none)) continue;
            auto y = x;
            std::swap_ranges(y.begin() + i * s.width, y.begin() + (i + 1) * s.width, y.begin() + j * s.width);
            std::string what = differs_beyond_rounding(a, run(s, one_, y, tokens, none), s, tokens - 1, 2 * tokens + s.heads * s.head_width,
                                                       say("with rows ", i, " and ", j, " in each other's place, and no rotation"));
            if (!what.empty()) return what;
        }
        return {};
    }

    /// A new sequence of the layer of these sizes, which is kept as a decoder keeps its blocks.
    layer_on_trial begin(const layer_sizes& s, bool turned = false) {
        auto& start = made_[{s.width, turned}];
        if (!start) start = kind_.make(s, turned);
        return start();
    }

    /// A new sequence in chunks.
    std::vector<float> run(const layer_sizes& s, runtime& on, const std::vector<float>& x, index_t chunk, thetas_on_trial thetas = {}) {
        layer_on_trial layer = begin(s);
        std::vector<float> out;
        const auto tokens = static_cast<index_t>(x.size()) / s.width;
        for (index_t first = 0; first < tokens; first += chunk) {
            const index_t last = std::min(tokens, first + chunk);
            const auto part = pass(layer, s, on, {x.begin() + first * s.width, x.begin() + last * s.width}, first, {}, nullptr, thetas);
            out.insert(out.end(), part.begin(), part.end());
        }
        return out;
    }

    /// One call, with x and out where blocks have them, scratch memory (at a sequence's begin) and out full of NaN, and guard zones around
    /// both.
    std::vector<float> pass(layer_on_trial& layer, const layer_sizes& s, runtime& on, const std::vector<float>& rows, index_t position,
                            std::span<const index_t> wanted = {}, std::string* wrote = nullptr, thetas_on_trial thetas = {}) {
        const auto tokens = static_cast<index_t>(rows.size()) / s.width, chunk = wanted.empty() ? tokens : wanted.back() + 1;
        const auto size = static_cast<std::ptrdiff_t>(rows.size());
        workspace& m = on.memory;
        for (const auto& [name, place] : places_of_workspace) {
            const auto all = (m.*place).take(16384);
            if (position == 0) std::memset(all.data(), 0xFF, all.size_bytes()); // NaN
        }
        const index_t before = kind_.in_place ? margin : 0; // a layer that takes this memory for itself begins where x begins
        const auto memory = (m.*kind_.x).take(size + 2 * margin);
        const auto results = kind_.in_place ? memory : (m.*kind_.out).take(size + 2 * margin);
        std::ranges::fill(memory, NAN), std::ranges::fill(results, NAN);
        std::copy(rows.begin(), rows.end(), memory.begin() + before);
        const matrix_view<float> x(memory.data() + before, tokens, s.width), out(results.data() + margin, tokens, s.width);
        const auto table = [&](double theta) {
            if (theta == 0) return rope_table();
            rope_table rope = rope_table::of<rope::standard>({s.head_width, theta});
            rope.fill(position, chunk);
            return rope;
        };
        rope_table handed = table(thetas.handed), sliding = table(thetas.sliding), full = table(thetas.full);
        std::vector<token_id> ids;
        for (index_t t = 0; t < chunk; ++t) ids.push_back(static_cast<token_id>((7 * (position + t) + 3) % 16)); // a small vocabulary
        context c{on.threads, m, position, tokens, ids, {}, sliding, full, 1e-6F, wanted};
        layer.read(c, handed, x, out);
        if (wrote != nullptr) {
            const auto untouched = [](auto begin, auto end) { return std::all_of(begin, end, [](float v) { return std::isnan(v); }); };
            if (!untouched(results.begin(), results.begin() + margin) ||
                !untouched(results.begin() + margin + size, results.begin() + size + 2 * margin)) {
                *wrote = "writes beside its output";
            } else if (!kind_.in_place && !std::equal(rows.begin(), rows.end(), memory.begin() + before)) {
                *wrote = "changes its input";
            }
        }
        return {results.begin() + margin, results.begin() + margin + size};
    }
};

inline verdict hold_layer(std::string part, const kind_of_layer& kind, const layer_trials& trials) {
    verdict v(std::move(part));
    layer_harness(kind, trials).hold(v);
    return v;
}

} // namespace detail

} // namespace loupe
