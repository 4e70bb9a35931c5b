// Parts written by a user, outside the library: for every slot one that does the same as the library's in its own words (equal bit for
// bit), and one that does something else (and is really called). Here: activation, feed-forward layers, experts, branches.
#include "own_policies.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <numeric>

using namespace loupe;
using namespace tests;

namespace {

// ---- what a user would have in a file of his own

/// For numbers only: the library must then not ask for batches.
struct my_gelu {
    static float apply(float x) { return static_cast<float>(apply(static_cast<double>(x))); }
    static double apply(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))); }
};
struct my_relu {
    static float apply(float x) { return x > 0 ? x : 0; }
    static double apply(double x) { return x > 0 ? x : 0; }
};
/// For numbers and batches, as the library's are written.
struct my_silu {
    template <class T>
    static T apply(const T& x) {
        using std::exp;
        return x / (T(1.0F) + exp(-x));
    }
};

struct my_double_wide {
    static constexpr bool has_experts = false;
    static constexpr index_t width(index_t stored, bool shares_kv) { return stored << (shares_kv ? 1 : 0); }
};
struct triple_wide {
    static constexpr bool has_experts = false;
    static constexpr index_t width(index_t stored, bool shares_kv) { return shares_kv ? 3 * stored : stored; }
};
struct my_experts {
    static constexpr bool has_experts = true;
    static constexpr index_t width(index_t stored, bool) { return stored; }
};
/// The library's sublayer, brought along.
struct my_sublayer : my_double_wide {
    template <class Activation, class PostNorm, class Probe>
    struct sublayer {
        dense_sublayer<Activation, PostNorm, Probe> inner;
        sublayer(const block_weights& w, index_t block, index_t experts, index_t used) : inner(w, block, experts, used) {}
        void operator()(context_of<Probe>& c, matrix_view<float> x) const { inner(c, x); }
    };
};
struct empty_sublayer : my_double_wide {
    template <class, class, class Probe>
    struct sublayer {
        sublayer(const block_weights&, index_t, index_t, index_t) {}
        void operator()(context&, matrix_view<float>) const {}
    };
};
/// Nothing passes the gate.
struct shut {
    static float apply(float) { return 0; }
    static double apply(double) { return 0; }
};

/// softmax over all, the k best, divided by their sum: with a sort where the library searches.
struct my_router {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place) {
        const T largest = *std::max_element(scores.begin(), scores.end());
        T sum = 0;
        for (T& s : scores) {
            s = std::exp(s - largest);
            sum += s;
        }
        for (T& s : scores) s /= sum;
        std::vector<std::size_t> order(scores.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
        T kept = 0;
        for (std::size_t i = 0; i < chosen.size(); ++i) kept += scores[order[i]];
        for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = {static_cast<index_t>(order[i]), scores[order[i]] / kept};
    }
};
/// A hash of the position decides: experts p, p + 1, … (Roller et al. 2106.04426).
struct by_position {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place place) {
        for (std::size_t i = 0; i < chosen.size(); ++i) {
            chosen[i] = {(place.position + place.block + static_cast<index_t>(i)) % static_cast<index_t>(scores.size()),
                         T{1} / static_cast<T>(chosen.size())};
        }
    }
};
struct my_count {
    static constexpr index_t count(index_t stored) { return stored; }
};
struct one_less {
    static constexpr index_t count(index_t stored) { return stored - 1; }
};

struct my_branch {
    static constexpr bool enabled = true;
};
struct my_missing_branch {
    static constexpr bool enabled = false;
};

struct my_input {
    static constexpr bool enabled = true;
    template <class T>
    static constexpr T combine(T context, T token) {
        return (token + context) * static_cast<T>(0.70710678118654752440);
    }
};
struct token_only {
    static constexpr bool enabled = true;
    template <class T>
    static constexpr T combine(T, T token) {
        return token;
    }
};

struct max_norm_with_gain {
    template <class T>
    static void apply(std::span<T> row, std::span<const T> gain, T epsilon) {
        T largest = epsilon;
        for (const T x : row) largest = std::max(largest, std::abs(x));
        for (std::size_t i = 0; i < row.size(); ++i) row[i] = row[i] / largest * (gain.empty() ? T{1} : gain[i]);
    }
};
struct no_norm_template {
    template <class T>
    static void apply(std::span<T>, std::span<const T>, T) {}
};

} // namespace

TEST_CASE("own activation", "[own]") {
    CHECK(largest_difference(logits_of<with<nano::e, slot::activation<my_gelu>>>(nano_e()), stock_e()) < 5e-4F); // of logits up to 30
    CHECK(largest_difference(logits_of<with<nano::e, slot::activation<my_relu>>>(nano_e()), stock_e()) > 0.05F);
    CHECK((logits_of<with<nano::e, slot::activation<my_silu>>>(nano_e()) ==
           logits_of<with<nano::e, slot::activation<activation::silu>>>(nano_e())));
    // of experts too
    CHECK((logits_of<with<nano::a, slot::activation<my_silu>>>(nano_a()) ==
           logits_of<with<nano::a, slot::activation<activation::silu>>>(nano_a())));
    CHECK(logits_of<with<nano::a, slot::activation<my_silu>, slot::dense_branch<dense_branch::off>>>(nano_a()) !=
          logits_of<with<nano::a, slot::dense_branch<dense_branch::off>>>(nano_a()));
}

TEST_CASE("own feed-forward layer", "[own]") {
    CHECK((logits_of<with<nano::e, slot::feed_forward<my_double_wide>>>(nano_e()) == stock_e()));
    CHECK((logits_of<with<nano::a, slot::feed_forward<my_experts>>>(nano_a()) == stock_a()));
    // The width it says is held against the file's.
    using wide = with<nano::e, slot::feed_forward<triple_wide>>;
    CHECK_THROWS_WITH(decoder<wide>(nano_e().sizes, nano_e().weights),
                      "this model: feed-forward width of block 5: expected 768, found 512");
    // Experts that the file has and the composition does not, and the other way round.
    using dense = with<nano::a, slot::feed_forward<my_double_wide>>;
    CHECK_THROWS_WITH(decoder<dense>(nano_a().sizes, nano_a().weights),
                      "this composition does not fit the model: the model has experts, it has none");
}

TEST_CASE("own sublayer", "[own]") {
    static_assert(is::own_sublayer<my_sublayer> && !is::own_sublayer<my_double_wide>);
    static_assert(!is::own_sublayer<feed_forward::gated> && !is::own_sublayer<feed_forward::experts>);
    CHECK((logits_of<with<nano::e, slot::feed_forward<my_sublayer>>>(nano_e()) == stock_e()));
    const auto without = logits_of<with<nano::e, slot::feed_forward<empty_sublayer>>>(nano_e());
    CHECK((without == logits_of<with<nano::e, slot::activation<shut>>>(nano_e())));
    CHECK(largest_difference(without, stock_e()) > 0.05F);
}

TEST_CASE("own router and own number of experts", "[own]") {
    CHECK((logits_of<with<nano::a, slot::router<my_router>>>(nano_a()) == stock_a()));
    CHECK(largest_difference(logits_of<with<nano::a, slot::router<by_position>>>(nano_a()), stock_a()) > 0.05F);
    CHECK((logits_of<with<nano::a, slot::experts_used<my_count>>>(nano_a()) == stock_a()));
    const auto three = logits_of<with<nano::a, slot::experts_used<one_less>>>(nano_a());
    CHECK((three == logits_of<with<nano::a, slot::experts_used<experts_used::exactly<3>>>>(nano_a())));
    CHECK((three != stock_a()));
}

TEST_CASE("own dense branch", "[own]") {
    CHECK((logits_of<with<nano::a, slot::dense_branch<my_branch>>>(nano_a()) == stock_a()));
    const auto without = logits_of<with<nano::a, slot::dense_branch<my_missing_branch>>>(nano_a());
    CHECK((without == logits_of<with<nano::a, slot::dense_branch<dense_branch::off>>>(nano_a())));
    CHECK(largest_difference(without, stock_a()) > 0.05F);
}

TEST_CASE("own per-layer input", "[own]") {
    CHECK((logits_of<with<nano::e, slot::per_layer_input<my_input>>>(nano_e()) == stock_e()));
    const auto tokens = logits_of<with<nano::e, slot::per_layer_input<token_only>>>(nano_e());
    CHECK(largest_difference(tokens, stock_e()) > 0.05F);
    CHECK((tokens != logits_of<with<nano::e, slot::per_layer_input<per_layer_input::context_only>>>(nano_e())));
}

TEST_CASE("own norms behind the layers", "[own]") {
    CHECK((logits_of<with<nano::e, slot::post_norms<no_norm_template>>>(nano_e()) ==
           logits_of<with<nano::e, slot::post_norms<norm::none>>>(nano_e())));
    CHECK(largest_difference(logits_of<with<nano::e, slot::post_norms<max_norm_with_gain>>>(nano_e()), stock_e()) > 0.05F);
    CHECK(largest_difference(logits_of<with<nano::a, slot::post_norms<max_norm_with_gain>>>(nano_a()), stock_a()) > 0.05F);
}
