// Clustered, paired uncertainty. Tokens of one document resemble each other, so documents are resampled and not tokens.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>
#include <loupe/lab/result.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <vector>

namespace loupe::lab {

namespace detail {

/// SplitMix64 (Steele, Lea, Flood 2014). The standard library's distributions differ between platforms; this does not.
class split_mix {
  public:
    explicit split_mix(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        state_ += 0x9E3779B97F4A7C15U;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31);
    }

    /// Uniform in [0, bound), without bias (Lemire 1805.10941); 0 < bound < 2^32.
    std::uint64_t below(std::uint64_t bound) {
        const std::uint64_t reject = (std::uint64_t{1} << 32) % bound;
        for (;;) {
            const std::uint64_t product = (next() >> 32) * bound;
            if ((product & 0xFFFFFFFFU) >= reject) return product >> 32;
        }
    }

  private:
    std::uint64_t state_;
};

/// What all clusters hold together, and how many of them hold anything.
struct cluster_totals {
    double sum = 0;
    double count = 0;
    index_t used = 0;
    bool finite = true;
};

inline cluster_totals total_of(std::span<const double> sums, std::span<const double> counts) {
    if (sums.size() != counts.size()) {
        throw error(fmt::format("statistics: {} sums of clusters but {} counts", sums.size(), counts.size()));
    }
    cluster_totals total;
    for (std::size_t i = 0; i < sums.size(); ++i) {
        if (!(counts[i] >= 0) || std::isinf(counts[i])) throw error(fmt::format("statistics: cluster {} has a count of {}", i, counts[i]));
        if (counts[i] == 0 && sums[i] != 0) throw error(fmt::format("statistics: cluster {} has a sum of {} over nothing", i, sums[i]));
        total.sum += sums[i];
        total.count += counts[i];
        total.used += counts[i] > 0 ? 1 : 0;
        total.finite = total.finite && std::isfinite(sums[i]);
    }
    if (total.used == 0) throw error("statistics: nothing was counted, so there is no mean");
    return total;
}

/// Quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996).
inline double quantile(std::span<const double> sorted, double q) {
    const double at = q * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

/// The t that Student's distribution with these degrees of freedom (1 and up) exceeds, either way, in 5 % of all cases. The angle whose
/// tangent is t / √freedom is halved out of the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4.
inline double student_t_of_95_percent(index_t freedom) {
    const auto within = [&](double angle) { // the share of cases between −t and t
        const double sine = std::sin(angle), cosine = std::cos(angle);
        const index_t odd = freedom % 2;
        double term = odd == 1 ? cosine : 1, sum = 0;
        for (index_t power = odd; power <= freedom - 2; power += 2) { // of the cosine
            sum += term;
            term *= cosine * cosine * static_cast<double>(power + 1) / static_cast<double>(power + 2);
        }
        return odd == 1 ? (angle + sine * sum) * 2 / std::numbers::pi : sine * sum;
    };
    double low = 0, high = std::numbers::pi / 2;
    for (int i = 0; i < 60; ++i) {
        const double middle = (low + high) / 2;
        (within(middle) < 0.95 ? low : high) = middle;
    }
    return std::sqrt(static_cast<double>(freedom)) * std::tan(low);
}

/// The share of resamples below a 95 % interval, and as large a one above it, for a mean of `used` (2 and up) clusters. 2.5 % would be
/// right for many: but resamples vary less than samples do, by √((n − 1) / n), and few clusters say little of how much samples vary, for
/// which Student's t stands in place of 1.96. So the percentiles lie further out (Hesterberg 1411.5279).
inline double share_below_interval(index_t used) {
    const auto n = static_cast<double>(used);
    return std::erfc(std::sqrt(n / (n - 1)) * student_t_of_95_percent(used - 1) / std::numbers::sqrt2) / 2;
}

} // namespace detail

/// Percentile bootstrap over clusters (documents, or segments of one text), 95 %, with percentiles expanded for few clusters. Fewer than 5
/// have no reliable interval: theirs holds nearly all resamples, and still misses the truth in more than 5 % of all cases.
///
/// The resamples are drawn once, so every estimate of one object sees the same documents: figures of several variants are
/// comparable, and a difference summed per cluster before is the paired comparison of Miller (2411.00640, section 4). The same
/// clusters, resamples and seed give the same intervals on every platform (up to the last bits of floating-point addition).
///
/// All figures are ratios of sums, since clusters differ in length: the mean of documents' means would be another quantity.
class bootstrap {
  public:
    /// Draws `resamples` samples of `clusters` clusters with replacement. Throws `error` if there are no clusters or resamples.
    explicit bootstrap(index_t clusters, index_t resamples = 2000, std::uint64_t seed = 1) : clusters_(clusters), resamples_(resamples) {
        if (clusters < 1) throw error(fmt::format("bootstrap: {} clusters, at least one is needed", clusters));
        if (clusters >= (index_t{1} << 32)) throw error(fmt::format("bootstrap: {} clusters are too many", clusters));
        if (resamples < 1) throw error(fmt::format("bootstrap: {} resamples, at least one is needed", resamples));
        if (clusters == 1) return; // every resample would be the sample itself
        // Clusters are the outer dimension: then the sums below run along the resamples, independent of each other, and vectorise.
        drawn_.assign(static_cast<std::size_t>(clusters * resamples), 0);
        detail::split_mix random(seed);
        for (index_t r = 0; r < resamples; ++r) {
            for (index_t i = 0; i < clusters; ++i) {
                const auto cluster = static_cast<index_t>(random.below(static_cast<std::uint64_t>(clusters)));
                ++drawn_[static_cast<std::size_t>(cluster * resamples + r)];
            }
        }
    }

    index_t clusters() const { return clusters_; }
    index_t resamples() const { return resamples_; }

    /// Mean per counted thing: sum of `sums` / sum of `counts`, both by cluster (say nats and tokens of each document).
    /// Paired means are had by summing differences per cluster. If fewer than two clusters count anything, or a sum is not finite,
    /// the interval is NaN. Throws `error` if sizes do not fit, a count is negative or all are zero.
    estimate ratio_of_sums(std::span<const double> sums, std::span<const double> counts) const {
        if (static_cast<index_t>(sums.size()) != clusters_) {
            throw error(fmt::format("bootstrap: {} sums for {} clusters", sums.size(), clusters_));
        }
        const detail::cluster_totals total = detail::total_of(sums, counts);
        const double none = std::numeric_limits<double>::quiet_NaN();
        estimate result{total.sum / total.count, none, none};
        if (total.used < 2 || !total.finite) return result;

        const auto n = static_cast<std::size_t>(resamples_);
        std::vector<double> numerators(n, 0.0);
        std::vector<double> denominators(n, 0.0);
        for (std::size_t c = 0; c < sums.size(); ++c) {
            if (counts[c] == 0) continue;
            const double sum = sums[c];
            const double count = counts[c];
            const std::uint16_t* times = drawn_.data() + c * n;
            for (std::size_t r = 0; r < n; ++r) {
                const auto weight = static_cast<double>(times[r]);
                numerators[r] += weight * sum;
                denominators[r] += weight * count;
            }
        }
        // A kind of task that few documents hold can be missing from a resample: that resample says nothing.
        std::size_t kept = 0;
        for (std::size_t r = 0; r < n; ++r) {
            if (denominators[r] > 0) numerators[kept++] = numerators[r] / denominators[r];
        }
        numerators.resize(kept);
        if (kept == 0) return result;
        std::sort(numerators.begin(), numerators.end());
        const double below = detail::share_below_interval(total.used);
        result.low = detail::quantile(numerators, below);
        result.high = detail::quantile(numerators, 1 - below);
        return result;
    }

    /// Perplexity: exp of the mean nats. Percentiles pass through a rising function, so the interval is that of the mean.
    estimate exp_of_mean(std::span<const double> sums, std::span<const double> counts) const {
        const estimate mean = ratio_of_sums(sums, counts);
        return {std::exp(mean.value), std::exp(mean.low), std::exp(mean.high)};
    }

    /// Ratio of two perplexities minus one: exp(mean of the differences) - 1, where `differences` are summed per cluster, variant
    /// minus stock on the same tokens, in nats.
    estimate exp_of_mean_minus_one(std::span<const double> differences, std::span<const double> counts) const {
        const estimate mean = ratio_of_sums(differences, counts);
        return {std::expm1(mean.value), std::expm1(mean.low), std::expm1(mean.high)};
    }

  private:
    index_t clusters_;
    index_t resamples_;
    std::vector<std::uint16_t> drawn_; ///< [cluster][resample]; a count above 65535 is out of the question (it is about Poisson(1))
};

/// Variant minus stock, cluster by cluster: what the paired estimates take. Throws `error` if the sizes differ.
inline std::vector<double> paired_differences(std::span<const double> variant, std::span<const double> stock) {
    if (variant.size() != stock.size()) {
        throw error(fmt::format("statistics: {} clusters of the variant but {} of the stock model", variant.size(), stock.size()));
    }
    std::vector<double> result(variant.size());
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = variant[i] - stock[i];
    return result;
}

/// Clustered standard error of sum(sums) / sum(counts): the linearised ratio estimator, with n/(n-1) for few clusters
/// (Miller 2411.00640, section 2.2, is its case of equal weights). In the unit of the mean. NaN if fewer than two clusters count anything.
/// Throws as bootstrap::ratio_of_sums does.
inline double standard_error_of_mean(std::span<const double> sums, std::span<const double> counts) {
    const detail::cluster_totals total = detail::total_of(sums, counts);
    if (total.used < 2) return std::numeric_limits<double>::quiet_NaN();
    const double mean = total.sum / total.count;
    double squares = 0;
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const double residual = sums[i] - mean * counts[i];
        squares += residual * residual;
    }
    const auto n = static_cast<double>(total.used);
    return std::sqrt(squares * n / (n - 1)) / total.count;
}

} // namespace loupe::lab
