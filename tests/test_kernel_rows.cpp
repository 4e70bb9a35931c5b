// Kernels on rows (norm, softmax, log Σ exp, KL divergence, gate, rotation) and attention against double: the error is at most twice that
// of a plain loop in float, plus a few ulps.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/kernel/attention.hpp>
#include <loupe/kernel/elementwise.hpp>
#include <loupe/kernel/rms_norm.hpp>
#include <loupe/policy/activation.hpp>

#include <cmath>
#include <random>
#include <vector>

using namespace loupe;

namespace {

constexpr double ulp = 0x1p-24;

std::vector<float> random_row(std::size_t n, float deviation, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> x(n);
    for (float& v : x) v = normal(random);
    return x;
}

/// Largest distance from the exact values.
template <class A>
double error(const A& found, const std::vector<double>& exact) {
    double e = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) e = std::max(e, std::abs(static_cast<double>(found[i]) - exact[i]));
    return e;
}
double largest(const std::vector<double>& x) {
    double m = 0;
    for (const double v : x) m = std::max(m, std::abs(v));
    return m;
}

const std::size_t sizes[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 100, 640, 1023, 1024, 1025, 5003};

} // namespace

TEST_CASE("rms_norm: against double", "[kernel]") {
    for (const std::size_t n : sizes) {
        for (const float deviation : {1e-4F, 1.0F, 200.0F}) {
            const auto x = random_row(n, deviation, 1), gain = random_row(n, 50.0F, 2); // gains reach ±190 in released models
            double squares = 0;
            float naive_squares = 0;
            for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v), naive_squares += v * v;
            const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-6);
            const float naive_factor = 1 / std::sqrt(naive_squares / static_cast<float>(n) + 1e-6F);
            std::vector<double> exact;
            std::vector<float> naive, out(n), without(n);
            for (std::size_t i = 0; i < n; ++i) {
                exact.push_back(static_cast<double>(x[i]) * factor * static_cast<double>(gain[i]));
                naive.push_back(x[i] * naive_factor * gain[i]);
            }
            kernel::rms_norm(x, gain, 1e-6F, out);
            INFO(n << " values of " << deviation);
            CHECK(error(out, exact) <= 2 * error(naive, exact) + 4 * ulp * largest(exact));
            auto in_place = x;
            kernel::rms_norm(in_place, gain, 1e-6F, in_place);
            CHECK(in_place == out);
            kernel::rms_norm(x, {}, 1e-6F, without);
            const std::vector<float> ones(n, 1.0F);
            kernel::rms_norm(x, ones, 1e-6F, out);
            CHECK(without == out);
        }
    }
}

TEST_CASE("softmax: against double, far scores and single ones included", "[kernel]") {
    for (const std::size_t n : sizes) {
        for (const float deviation : {0.1F, 3.0F, 40.0F}) {
            const auto x = random_row(n, deviation, 3);
            const double top = static_cast<double>(*std::max_element(x.begin(), x.end()));
            double sum = 0;
            float naive_sum = 0;
            for (const float v : x) sum += std::exp(static_cast<double>(v) - top), naive_sum += std::exp(v - static_cast<float>(top));
            std::vector<double> exact;
            std::vector<float> naive;
            for (const float v : x) {
                exact.push_back(std::exp(static_cast<double>(v) - top) / sum);
                naive.push_back(std::exp(v - static_cast<float>(top)) / naive_sum);
            }
            auto out = x;
            kernel::softmax(out);
            INFO(n << " values of " << deviation);
            CHECK(error(out, exact) <= 2 * error(naive, exact) + 4 * ulp * largest(exact));
            double total = 0;
            for (const float v : out) total += static_cast<double>(v);
            CHECK(std::abs(total - 1) < 1e-6);
        }
    }
    std::vector<float> one{-300.0F};
    kernel::softmax(one);
    CHECK(one[0] == 1.0F);
    // A masked score is −∞ and gets nothing (what -ffast-math breaks).
    std::vector<float> masked(37, 2.0F);
    masked[3] = masked[36] = -std::numeric_limits<float>::infinity();
    kernel::softmax(masked);
    CHECK(masked[3] == 0.0F);
    CHECK(masked[36] == 0.0F);
    CHECK(static_cast<double>(masked[0]) == Approx(1.0 / 35).epsilon(1e-6));
    // No overflow where the scores themselves would.
    std::vector<float> high(20, 1e4F);
    high[7] = 1e4F + 1;
    kernel::softmax(high);
    CHECK(static_cast<double>(high[7]) == Approx(std::exp(1.0) / (std::exp(1.0) + 19)).epsilon(1e-5));
}

TEST_CASE("log_sum_exp: against double", "[kernel]") {
    for (const std::size_t n : sizes) {
        for (const float deviation : {0.1F, 3.0F, 40.0F}) {
            const auto x = random_row(n, deviation, 4);
            const double top = static_cast<double>(*std::max_element(x.begin(), x.end()));
            double sum = 0;
            float naive = 0;
            for (const float v : x) sum += std::exp(static_cast<double>(v) - top), naive += std::exp(v - static_cast<float>(top));
            const double exact = top + std::log(sum),
                         naive_error = std::abs(static_cast<double>(static_cast<float>(top) + std::log(naive)) - exact);
            INFO(n << " values of " << deviation);
            CHECK(std::abs(kernel::log_sum_exp(x) - exact) <= 2 * naive_error + 4 * ulp * std::max(1.0, std::abs(exact)));
        }
    }
    CHECK(kernel::log_sum_exp(std::vector<float>{-7.5F}) == -7.5);
    CHECK(kernel::log_sum_exp(std::vector<float>(262144, 0.0F)) ==
          Approx(std::log(262144.0)).epsilon(1e-7)); // a float sum would still be right here
    auto capped = random_row(262144, 5.0F, 9);
    double sum = 0;
    for (const float v : capped) sum += std::exp(static_cast<double>(v));
    CHECK(std::abs(kernel::log_sum_exp(capped) - std::log(sum)) < 1e-6); // here a float sum of a quarter of a million terms is not
}

TEST_CASE("kl_divergence: against double, zero for equal distributions, never for others", "[kernel]") {
    for (const std::size_t n : sizes) {
        for (const float deviation : {0.01F, 1.0F, 10.0F}) {
            const auto a = random_row(n, 3.0F, 5);
            auto b = random_row(n, deviation, 6);
            for (std::size_t i = 0; i < n; ++i) b[i] += a[i];
            const auto sums = [&](const std::vector<float>& x) {
                double s = 0;
                for (const float v : x) s += std::exp(static_cast<double>(v));
                return std::log(s);
            };
            const double la = sums(a), lb = sums(b);
            double exact = 0;
            float naive = 0;
            for (std::size_t i = 0; i < n; ++i) {
                exact += std::exp(static_cast<double>(a[i]) - la) * (static_cast<double>(a[i]) - la - static_cast<double>(b[i]) + lb);
                naive += std::exp(a[i] - static_cast<float>(la)) * ((a[i] - static_cast<float>(la)) - (b[i] - static_cast<float>(lb)));
            }
            INFO(n << " values, differing by " << deviation);
            const double found = kernel::kl_divergence(a, la, b, lb);
            CHECK(std::abs(found - exact) <= 2 * std::abs(static_cast<double>(naive) - exact) + 4 * ulp * std::max(1.0, exact));
            CHECK(std::abs(kernel::kl_divergence(a, la, a, la)) == 0);
        }
    }
}

TEST_CASE("kl_divergence: what has no probability adds nothing, what has lost all of it adds infinity, NaN stays", "[kernel]") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    for (const std::size_t n : {std::size_t{5}, std::size_t{40}}) {
        for (const std::size_t place : {std::size_t{0}, n - 1}) {
            const auto all = random_row(n, 3.0F, 5);
            auto less = all;
            less[place] = -infinity;
            const double of_all = kernel::log_sum_exp(all), of_less = kernel::log_sum_exp(less);
            CHECK(kernel::kl_divergence(less, of_less, less, of_less) == 0);
            CHECK(std::abs(kernel::kl_divergence(less, of_less, all, of_all) - (of_all - of_less)) < 1e-5); // log of what is left
            CHECK(kernel::kl_divergence(all, of_all, less, of_less) == static_cast<double>(infinity));
            less[place] = std::numeric_limits<float>::quiet_NaN();
            CHECK(std::isnan(kernel::kl_divergence(less, of_less, all, of_all)));
        }
    }
}

TEST_CASE("attention_weights: a softmax, zeros if no key is seen", "[kernel]") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    for (const std::size_t n : {std::size_t{1}, std::size_t{5}, std::size_t{40}}) {
        auto weights = random_row(n, 3.0F, 5), expected = weights;
        kernel::attention_weights(weights), kernel::softmax(expected);
        CHECK(weights == expected);
        std::fill(weights.begin(), weights.end(), -infinity);
        kernel::attention_weights(weights);
        CHECK(weights == std::vector<float>(n, 0.0F));
        std::fill(weights.begin(), weights.end(), -infinity);
        weights.back() = std::numeric_limits<float>::quiet_NaN();
        kernel::attention_weights(weights);
        for (const float w : weights) CHECK(std::isnan(w));
    }
    kernel::attention_weights({});
}

TEST_CASE("gate, multiply, add and scale: every element, whatever the length", "[kernel]") {
    for (const std::size_t n : sizes) {
        const auto x = random_row(n, 2.0F, 7), y = random_row(n, 2.0F, 8);
        auto gated = x, products = x, sums = x, scaled = x;
        kernel::gate<activation::gelu_tanh>(gated, y);
        kernel::multiply(products, y);
        kernel::add(sums, y, 0.5F);
        kernel::scale(scaled, -3.0F);
        std::vector<double> exact;
        std::vector<float> naive;
        bool same = true;
        for (std::size_t i = 0; i < n; ++i) {
            exact.push_back(activation::gelu_tanh::apply(static_cast<double>(x[i])) * static_cast<double>(y[i]));
            naive.push_back(activation::gelu_tanh::apply(x[i]) * y[i]);
            same = same && products[i] == x[i] * y[i] && scaled[i] == x[i] * -3.0F && sums[i] == std::fma(0.5F, y[i], x[i]);
        }
        INFO(n << " values");
        CHECK(same); // doubling and halving are exact: fused or not, the sum is rounded once
        CHECK(error(gated, exact) <= 2 * error(naive, exact) + 4 * ulp * largest(exact));
        // An element's value does not depend on where it stands.
        std::vector<float> one{x.back()}, other{y.back()};
        kernel::gate<activation::gelu_tanh>(one, other);
        CHECK(one[0] == gated.back());
    }
}

TEST_CASE("rotate: against double, any even width", "[kernel]") {
    for (const std::size_t half : {1, 5, 16, 31, 64, 128}) {
        const auto x = random_row(2 * half, 1.0F, 10), angle = random_row(half, 2.0F, 11);
        std::vector<float> c, s;
        for (const float a : angle) c.push_back(std::cos(a)), s.push_back(std::sin(a));
        std::vector<double> exact(2 * half);
        for (std::size_t i = 0; i < half; ++i) {
            const double a = static_cast<double>(x[i]), b = static_cast<double>(x[i + half]), cd = static_cast<double>(c[i]),
                         sd = static_cast<double>(s[i]);
            exact[i] = a * cd - b * sd;
            exact[i + half] = b * cd + a * sd;
        }
        auto y = x;
        kernel::rotate(y, c, s);
        CHECK(error(y, exact) <= 4 * ulp * 4);
    }
}

TEST_CASE("attention_scores and attention_mix: against double, for any heads, widths and rows", "[kernel]") {
    for (const index_t heads : {1, 2, 3, 4, 7, 8}) {
        for (const index_t width : {2, 16, 30, 64, 100, 256}) {
            for (const index_t keys : {1, 3, 4, 5, 29}) {
                const index_t held = 40, stride = 2 * width + 3; // two key heads and some room: rows need no alignment
                const auto q = random_row(static_cast<std::size_t>(heads * width), 1.0F, 12),
                           k = random_row(static_cast<std::size_t>(held * stride), 1.0F, 13),
                           v = random_row(static_cast<std::size_t>(held * stride), 1.0F, 14);
                std::vector<index_t> rows;
                for (index_t j = 0; j < keys; ++j) rows.push_back((7 * j + 3) % held); // a ring: not in order
                std::vector<float> scores(static_cast<std::size_t>(heads * keys)), mix(static_cast<std::size_t>(heads * width));
                kernel::attention_scores({q.data(), heads, width}, k.data() + width, stride, rows, {scores.data(), heads, keys});
                std::vector<double> exact, exact_mix;
                std::vector<float> naive, naive_mix;
                for (index_t h = 0; h < heads; ++h) {
                    for (index_t j = 0; j < keys; ++j) {
                        double sum = 0;
                        float plain = 0;
                        for (index_t d = 0; d < width; ++d) {
                            const float a = q[static_cast<std::size_t>(h * width + d)],
                                        b = k[static_cast<std::size_t>(rows[static_cast<std::size_t>(j)] * stride + width + d)];
                            sum += static_cast<double>(a) * static_cast<double>(b);
                            plain += a * b;
                        }
                        exact.push_back(sum);
                        naive.push_back(plain);
                    }
                }
                INFO(heads << " heads of " << width << ", " << keys << " keys");
                CHECK(error(scores, exact) <= 2 * error(naive, exact) + 4 * ulp * (8 + largest(exact))); // terms reach 8
                for (index_t h = 0; h < heads; ++h) kernel::softmax({scores.data() + h * keys, static_cast<std::size_t>(keys)});
                kernel::attention_mix({scores.data(), heads, keys}, v.data(), stride, rows, {mix.data(), heads, width});
                for (index_t h = 0; h < heads; ++h) {
                    for (index_t d = 0; d < width; ++d) {
                        double sum = 0;
                        float plain = 0;
                        for (index_t j = 0; j < keys; ++j) {
                            const float a = scores[static_cast<std::size_t>(h * keys + j)],
                                        b = v[static_cast<std::size_t>(rows[static_cast<std::size_t>(j)] * stride + d)];
                            sum += static_cast<double>(a) * static_cast<double>(b);
                            plain += a * b;
                        }
                        exact_mix.push_back(sum);
                        naive_mix.push_back(plain);
                    }
                }
                CHECK(error(mix, exact_mix) <= 2 * error(naive_mix, exact_mix) + 4 * ulp * 4);
                // A head's scores are the same beside any others.
                std::vector<float> alone(static_cast<std::size_t>(keys)), again(static_cast<std::size_t>(heads * keys));
                kernel::attention_scores({q.data(), heads, width}, k.data() + width, stride, rows, {again.data(), heads, keys});
                kernel::attention_scores({q.data() + (heads - 1) * width, 1, width}, k.data() + width, stride, rows,
                                         {alone.data(), 1, keys});
                CHECK(std::equal(alone.begin(), alone.end(), again.end() - keys));
            }
        }
    }
}
