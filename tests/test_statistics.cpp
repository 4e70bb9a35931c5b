// Clustered bootstrap: coverage on simulated documents, pairing, and what happens when there is little to resample.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/lab/statistics.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using namespace loupe;
using namespace loupe::lab;

namespace {

/// Documents of different lengths whose tokens share an offset: value = mean + document's offset + token's noise.
struct documents {
    std::vector<double> sums;
    std::vector<double> counts;
};

double uniform(lab::detail::split_mix& random) { return static_cast<double>(random.below(1U << 30)) / static_cast<double>(1U << 30); }

/// Nearly normal with mean 0 and variance 1.
double noise(lab::detail::split_mix& random) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform(random);
    return sum;
}

documents simulated(lab::detail::split_mix& random, int n, double mean, double between, double within) {
    documents d;
    for (int i = 0; i < n; ++i) {
        const auto tokens = static_cast<int>(20 + random.below(60));
        const double offset = between * noise(random);
        double sum = 0;
        for (int t = 0; t < tokens; ++t) sum += mean + offset + within * noise(random);
        d.sums.push_back(sum);
        d.counts.push_back(tokens);
    }
    return d;
}

double width(const estimate& e) { return e.high - e.low; }

} // namespace

TEST_CASE("the bounded draw is uniform and the same everywhere", "[statistics]") {
    // SplitMix64 from seed 1234567, as published with its reference implementation.
    lab::detail::split_mix reference(1234567);
    CHECK(reference.next() == 6457827717110365317U);
    CHECK(reference.next() == 3203168211198807973U);

    lab::detail::split_mix random(3);
    std::vector<int> seen(7, 0);
    for (int i = 0; i < 70000; ++i) ++seen.at(random.below(7));
    for (const int n : seen) CHECK(std::abs(n - 10000) < 400); // 4 standard deviations are 370
}

TEST_CASE("95 % intervals of a mean over clusters cover the truth about that often", "[statistics]") {
    lab::detail::split_mix random(11);
    int covered = 0;
    int covered_by_error = 0;
    constexpr int sets = 300;
    for (int s = 0; s < sets; ++s) {
        const documents d = simulated(random, 50, 2.0, 0.5, 1.0);
        const estimate e = bootstrap(50, 500, static_cast<std::uint64_t>(s)).ratio_of_sums(d.sums, d.counts);
        covered += e.low <= 2.0 && 2.0 <= e.high ? 1 : 0;
        covered_by_error += std::abs(e.value - 2.0) <= 1.96 * standard_error_of_mean(d.sums, d.counts) ? 1 : 0;
    }
    CHECK(covered >= sets * 90 / 100);
    CHECK(covered <= sets * 99 / 100);
    CHECK(covered_by_error >= sets * 90 / 100);
    CHECK(covered_by_error <= sets * 99 / 100);
}

TEST_CASE("of few clusters too, from five on", "[statistics]") {
    for (const int n : {5, 8, 20}) {
        INFO(n << " clusters");
        lab::detail::split_mix random(23);
        int covered = 0;
        constexpr int sets = 600;
        for (int s = 0; s < sets; ++s) {
            const documents d = simulated(random, n, 2.0, 0.5, 1.0);
            const estimate e = bootstrap(n, 1000, static_cast<std::uint64_t>(s)).ratio_of_sums(d.sums, d.counts);
            covered += e.low <= 2.0 && 2.0 <= e.high ? 1 : 0;
        }
        CHECK(covered >= sets * 89 / 100);
        CHECK(covered <= sets * 99 / 100);
    }
}

TEST_CASE("Student's t is that of the tables, and the percentiles of many clusters are the usual ones", "[statistics]") {
    using lab::detail::student_t_of_95_percent;
    const std::vector<std::pair<index_t, double>> table{{1, 12.7062}, {2, 4.3027},  {3, 3.1824},  {4, 2.7764},  {5, 2.5706},
                                                        {9, 2.2622},  {10, 2.2281}, {29, 2.0452}, {99, 1.9842}, {1000, 1.9623}};
    for (const auto& [freedom, t] : table) CHECK(student_t_of_95_percent(freedom) == Approx(t).margin(6e-5));
    CHECK(lab::detail::share_below_interval(100000) == Approx(0.025).epsilon(1e-3));
    CHECK(lab::detail::share_below_interval(5) == Approx(0.000955).epsilon(0.01)); // Φ(−√(5/4) · 2.776)
}

TEST_CASE("what few clusters of many hold has the interval of few", "[statistics]") {
    std::vector<double> sums(40, 0.0), counts(40, 0.0);
    for (std::size_t i = 0; i < 5; ++i) {
        counts[8 * i] = 1;
        sums[8 * i] = static_cast<double>(i);
    }
    CHECK(width(bootstrap(40).ratio_of_sums(sums, counts)) > 4 * 0.8); // percentiles at 2.5 and 97.5 are 2.9 apart
    CHECK(width(bootstrap(40).ratio_of_sums(sums, counts)) <= 4);
}

TEST_CASE("bootstrap and sandwich agree, and both see that tokens of a document are alike", "[statistics]") {
    lab::detail::split_mix random(5);
    const documents alike = simulated(random, 200, 1.0, 0.5, 1.0);
    const bootstrap b(200);
    const estimate e = b.ratio_of_sums(alike.sums, alike.counts);
    CHECK(width(e) == Approx(2 * 1.96 * standard_error_of_mean(alike.sums, alike.counts)).epsilon(0.08));

    // What one would claim from independent tokens: their variance is 0.25 + 1.
    double tokens = 0;
    for (const double c : alike.counts) tokens += c;
    CHECK(width(e) > 2 * (2 * 1.96 * std::sqrt(1.25 / tokens)));

    // Without an offset of the document there is nothing to see, and the interval is the naive one.
    const documents apart = simulated(random, 200, 1.0, 0.0, 1.0);
    CHECK(width(b.ratio_of_sums(apart.sums, apart.counts)) == Approx(2 * 1.96 / std::sqrt(tokens)).epsilon(0.25));
}

TEST_CASE("paired differences are narrower than the difference of two models on their own", "[statistics]") {
    lab::detail::split_mix random(7);
    const documents stock = simulated(random, 120, 1.0, 0.5, 0.5);
    std::vector<double> variant = stock.sums;
    for (std::size_t i = 0; i < variant.size(); ++i)
        variant[i] += stock.counts[i] * 0.05 + std::sqrt(stock.counts[i]) * 0.1 * noise(random);
    const bootstrap b(120);
    const estimate paired = b.ratio_of_sums(paired_differences(variant, stock.sums), stock.counts);
    const estimate alone = b.ratio_of_sums(variant, stock.counts);
    CHECK(width(paired) < width(alone) / 5);
    CHECK(paired.low > 0); // a change that the unpaired intervals, which overlap, would not show
    CHECK(alone.low < b.ratio_of_sums(stock.sums, stock.counts).high);

    const estimate change = b.exp_of_mean_minus_one(paired_differences(variant, stock.sums), stock.counts);
    const double ratio = b.exp_of_mean(variant, stock.counts).value / b.exp_of_mean(stock.sums, stock.counts).value;
    CHECK(change.value == Approx(ratio - 1).epsilon(1e-10));
    CHECK(change.low == Approx(std::exp(paired.low) - 1).epsilon(1e-10));
    CHECK(change.high == Approx(std::exp(paired.high) - 1).epsilon(1e-10));
    CHECK_THROWS_AS(paired_differences(variant, std::vector<double>(3)), error);
}

TEST_CASE("resamples are shared between estimates and fixed by the seed", "[statistics]") {
    lab::detail::split_mix random(9);
    const documents d = simulated(random, 30, 1.0, 0.5, 0.5);
    const estimate a = bootstrap(30).ratio_of_sums(d.sums, d.counts);
    const estimate again = bootstrap(30).ratio_of_sums(d.sums, d.counts);
    CHECK(a.low == again.low);
    CHECK(a.high == again.high);
    CHECK(bootstrap(30, 2000, 2).ratio_of_sums(d.sums, d.counts).low != a.low);

    // Adding a constant per token moves every resample by it: true only if all estimates see the same documents.
    const bootstrap b(30);
    std::vector<double> shifted = d.sums;
    for (std::size_t i = 0; i < shifted.size(); ++i) shifted[i] += 3 * d.counts[i];
    const estimate moved = b.ratio_of_sums(shifted, d.counts);
    const estimate here = b.ratio_of_sums(d.sums, d.counts);
    CHECK(moved.low == Approx(here.low + 3).epsilon(1e-12));
    CHECK(moved.high == Approx(here.high + 3).epsilon(1e-12));
}

TEST_CASE("means weigh documents by their tokens", "[statistics]") {
    const std::vector<double> sums{10, 1};
    const std::vector<double> counts{10, 30};
    const bootstrap b(2);
    const estimate e = b.ratio_of_sums(sums, counts);
    CHECK(e.value == Approx(11.0 / 40));
    CHECK(e.low == Approx(1.0 / 30)); // the second twice: a quarter of all resamples
    CHECK(e.high == Approx(1.0));
    CHECK(b.exp_of_mean(sums, counts).value == Approx(std::exp(11.0 / 40)));
    // residuals 10 - 2.75 and 1 - 8.25: sqrt(2 * 7.25^2 * 2 / 1) / 40
    CHECK(standard_error_of_mean(sums, counts) == Approx(2 * 7.25 / 40));
}

TEST_CASE("no interval where nothing can be resampled", "[statistics]") {
    const std::vector<double> one_sum{6};
    const std::vector<double> one_count{3};
    const estimate e = bootstrap(1).ratio_of_sums(one_sum, one_count);
    CHECK(e.value == 2);
    CHECK(std::isnan(e.low));
    CHECK(std::isnan(e.high));
    CHECK(std::isnan(standard_error_of_mean(one_sum, one_count)));
    CHECK(std::isnan(bootstrap(1).exp_of_mean_minus_one(one_sum, one_count).low));

    // Three documents, but only one holds this kind of task.
    const estimate lonely = bootstrap(3).ratio_of_sums(std::vector<double>{0, 4, 0}, std::vector<double>{0, 8, 0});
    CHECK(lonely.value == 0.5);
    CHECK(std::isnan(lonely.low));

    // Two of three: resamples that hold neither are dropped.
    const estimate two = bootstrap(3).ratio_of_sums(std::vector<double>{0, 4, 0}, std::vector<double>{0, 8, 2});
    CHECK(two.low == 0);
    CHECK(two.high == 0.5);

    // A model that falls to pieces still gets its figure.
    const double infinite = std::numeric_limits<double>::infinity();
    const estimate broken = bootstrap(2).exp_of_mean(std::vector<double>{infinite, 1}, std::vector<double>{1, 1});
    CHECK(std::isinf(broken.value));
    CHECK(std::isnan(broken.low));

    // All documents alike: an interval of no width, not NaN.
    const estimate same = bootstrap(4).ratio_of_sums(std::vector<double>(4, 0.0), std::vector<double>(4, 5.0));
    CHECK(same.low == 0);
    CHECK(same.high == 0);
}

TEST_CASE("what cannot be estimated is an error", "[statistics]") {
    CHECK_THROWS_AS(bootstrap(0), error);
    CHECK_THROWS_AS(bootstrap(-1), error);
    CHECK_THROWS_AS(bootstrap(3, 0), error);
    const bootstrap b(2);
    const std::vector<double> two{1, 1};
    CHECK_THROWS_AS(b.ratio_of_sums(std::vector<double>{1, 1, 1}, std::vector<double>{1, 1, 1}), error);
    CHECK_THROWS_AS(b.ratio_of_sums(two, std::vector<double>{1}), error);
    CHECK_THROWS_AS(b.ratio_of_sums(two, std::vector<double>{1, -1}), error);
    CHECK_THROWS_AS(b.ratio_of_sums(two, std::vector<double>{1, 0}), error);
    CHECK_THROWS_AS(b.ratio_of_sums(std::vector<double>{0, 0}, std::vector<double>{0, 0}), error);
    CHECK_THROWS_AS(standard_error_of_mean({}, {}), error);
}
