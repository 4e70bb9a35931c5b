// Routers against slow definitions. Traps: softmax comes before the choice, weights are renormalised over those chosen, ties go to the
// lower index.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/policy/router.hpp>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <vector>

using namespace loupe;

namespace {

template <class Router, class T = double>
std::vector<choice<T>> route(std::vector<T> scores, index_t k, route_place place = {}) {
    std::vector<choice<T>> chosen(static_cast<std::size_t>(k));
    Router::route(std::span<T>(scores), std::span(chosen), place);
    return chosen;
}

/// Indices by falling value, the lower index first among equals.
std::vector<std::size_t> best(const std::vector<double>& x) {
    std::vector<std::size_t> order(x.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return x[a] > x[b]; });
    return order;
}

std::vector<double> softmax(const std::vector<double>& x) {
    std::vector<double> p;
    for (const double v : x) {
        double sum = 0; // the k-th share, without subtracting anything
        for (const double u : x) sum += std::exp(u - v);
        p.push_back(1 / sum);
    }
    return p;
}

std::vector<std::vector<double>> some_scores(std::size_t experts) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal(0, 2);
    std::vector<std::vector<double>> out(50, std::vector<double>(experts));
    for (auto& row : out) {
        for (double& v : row) v = normal(random);
    }
    return out;
}

} // namespace

TEST_CASE("router: softmax over all, the k best, divided by their sum", "[policy]") {
    for (const auto& scores : some_scores(128)) {
        const auto p = softmax(scores);
        const auto order = best(scores);
        const auto chosen = route<router::softmax_top_k>(scores, 8), raw = route<router::softmax_top_k_without_normalising>(scores, 8);
        double sum = 0, total = 0;
        for (std::size_t i = 0; i < 8; ++i) sum += p[order[i]];
        for (std::size_t i = 0; i < 8; ++i) {
            CHECK(chosen[i].expert == static_cast<index_t>(order[i]));
            CHECK(chosen[i].weight == Approx(p[order[i]] / sum).epsilon(1e-12));
            CHECK(raw[i].expert == chosen[i].expert);
            CHECK(raw[i].weight == Approx(p[order[i]]).epsilon(1e-12));
            total += chosen[i].weight;
        }
        CHECK(total == Approx(1).epsilon(1e-14));
        CHECK(sum < 0.999);
    }
}

TEST_CASE("router: choosing before softmax is the same function as choosing after it and renormalising", "[policy]") {
    for (const auto& scores : some_scores(16)) {
        const auto a = route<router::softmax_top_k>(scores, 4), b = route<router::top_k_softmax>(scores, 4);
        for (std::size_t i = 0; i < 4; ++i) {
            CHECK(a[i].expert == b[i].expert);
            CHECK(a[i].weight == Approx(b[i].weight).epsilon(1e-13));
        }
    }
}

TEST_CASE("router: sigmoid and uniform weights", "[policy]") {
    for (const auto& scores : some_scores(16)) {
        const auto order = best(scores);
        const auto s = route<router::sigmoid>(scores, 4), u = route<router::uniform_weights>(scores, 4);
        double sum = 0;
        for (std::size_t i = 0; i < 4; ++i) sum += 1 / (1 + std::exp(-scores[order[i]]));
        for (std::size_t i = 0; i < 4; ++i) {
            CHECK(s[i].expert == static_cast<index_t>(order[i]));
            CHECK(s[i].weight == Approx(1 / (1 + std::exp(-scores[order[i]])) / sum).epsilon(1e-13));
            CHECK(u[i].expert == static_cast<index_t>(order[i]));
            CHECK(u[i].weight == 0.25);
        }
    }
}

TEST_CASE("router: ties go to the lower index", "[policy]") {
    const std::vector<double> scores{1, 3, 2, 3, 3, 2};
    const auto check = [&](const std::vector<choice<double>>& chosen) {
        CHECK(chosen[0].expert == 1);
        CHECK(chosen[1].expert == 3);
        CHECK(chosen[2].expert == 4);
        CHECK(chosen[3].expert == 2);
    };
    check(route<router::softmax_top_k>(scores, 4));
    check(route<router::softmax_top_k_without_normalising>(scores, 4));
    check(route<router::top_k_softmax>(scores, 4));
    check(route<router::sigmoid>(scores, 4));
    check(route<router::uniform_weights>(scores, 4));
    // All equal, and all chosen.
    const auto all = route<router::softmax_top_k>(std::vector<double>(4, -7.0), 4);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(all[i].expert == static_cast<index_t>(i));
        CHECK(all[i].weight == 0.25);
    }
}

TEST_CASE("router: far scores neither overflow nor choose an expert twice", "[policy]") {
    const auto check = []<class Router>(std::type_identity<Router>) {
        for (const float spread : {100.0F, 1e4F, 1e30F}) { // in float most probabilities are zero
            std::vector<float> scores(16);
            for (std::size_t i = 0; i < 16; ++i) scores[i] = spread * static_cast<float>((7 * i) % 16);
            const auto chosen = route<Router, float>(scores, 5);
            std::set<index_t> experts;
            float sum = 0;
            for (const auto& c : chosen) {
                experts.insert(c.expert);
                CHECK(std::isfinite(c.weight));
                CHECK(c.weight >= 0);
                sum += c.weight;
            }
            CHECK(experts.size() == 5);
            CHECK(sum == Approx(1).epsilon(1e-6));
            CHECK(chosen[0].expert == 9); // 7 · 9 mod 16 = 15
        }
    };
    check(std::type_identity<router::softmax_top_k>{});
    check(std::type_identity<router::top_k_softmax>{});
    check(std::type_identity<router::uniform_weights>{});
}

TEST_CASE("router: sigmoids of very low scores do not divide by zero", "[policy]") {
    const auto chosen = route<router::sigmoid, float>({-1e4F, -1e4F, -1e4F, -1e4F}, 2);
    for (const auto& c : chosen) CHECK(std::isfinite(c.weight));
}

TEST_CASE("router: random depends on block, position and seed alone, and draws every expert alike", "[policy]") {
    constexpr std::size_t experts = 16, k = 4;
    constexpr index_t positions = 2000;
    std::vector<double> counts(experts, 0.0), pairs(experts * experts, 0.0);
    std::size_t like_the_last = 0;
    std::vector<index_t> last;
    for (index_t p = 0; p < positions; ++p) {
        const auto a = route<router::random<>>(std::vector<double>(experts, 0.0), k, {3, p});
        const auto b = route<router::random<>>(some_scores(experts)[0], k, {3, p}); // scores do not matter
        std::vector<index_t> drawn;
        for (std::size_t i = 0; i < k; ++i) {
            CHECK(a[i].expert == b[i].expert);
            CHECK(a[i].weight == 0.25);
            counts[static_cast<std::size_t>(a[i].expert)] += 1;
            drawn.push_back(a[i].expert);
        }
        if (!last.empty()) pairs[static_cast<std::size_t>(last[0]) * experts + static_cast<std::size_t>(drawn[0])] += 1;
        like_the_last += drawn == last ? 1 : 0;
        last = drawn;
        std::sort(drawn.begin(), drawn.end());
        CHECK(std::adjacent_find(drawn.begin(), drawn.end()) == drawn.end());
    }
    // Each expert is in a share k / experts of the draws; Σ (n − e)² / e is about 16 · (1 − 1/4), and above 45 about once in ten thousand
    // seeds.
    double chi = 0;
    const double expected = static_cast<double>(positions) * k / experts;
    for (const double n : counts) chi += (n - expected) * (n - expected) / expected;
    CHECK(chi < 45);
    // So are neighbouring positions: 255 degrees of freedom, standard deviation 22.6.
    double chi_pairs = 0;
    for (const double n : pairs) chi_pairs += (n - (positions - 1) / 256.0) * (n - (positions - 1) / 256.0) / ((positions - 1) / 256.0);
    CHECK(chi_pairs < 255 + 5 * 22.6);
    CHECK(like_the_last < 3);
    const auto of = [](index_t block, auto r) {
        std::vector<index_t> all;
        for (index_t p = 0; p < 50; ++p) {
            for (const auto& c : route<decltype(r)>(std::vector<double>(experts, 0.0), k, {block, p})) all.push_back(c.expert);
        }
        return all;
    };
    CHECK(of(0, router::random<>{}) != of(1, router::random<>{}));
    CHECK(of(0, router::random<0>{}) != of(0, router::random<1>{}));
    CHECK(of(0, router::random<>{}) == of(0, router::random<0>{}));
}

TEST_CASE("router: numbers of experts", "[policy]") {
    static_assert(experts_used::stored::count(8) == 8);
    static_assert(experts_used::exactly<3>::count(8) == 3);
    static_assert(!router::none::uses_experts);
    SUCCEED();
}
