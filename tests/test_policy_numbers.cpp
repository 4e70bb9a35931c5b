// Activations, caps, norms and scales against their textbook formulas. Traps: a gain is γ and not 1 + γ, values are normalised without a
// gain, the embedding scale is rounded to the table's precision, the logits are capped and the scores are not.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/kernel/elementwise.hpp>
#include <loupe/kernel/rms_norm.hpp>
#include <loupe/policy/activation.hpp>
#include <loupe/policy/norm.hpp>
#include <loupe/policy/scale.hpp>
#include <loupe/policy/softcap.hpp>

#include <cmath>
#include <limits>
#include <vector>

using namespace loupe;

namespace {

/// Distance in units of the last place of the larger of the two.
float ulps(float a, float b) {
    if (a == b) return 0;
    const float larger = std::max(std::abs(a), std::abs(b));
    const float unit = std::nextafter(larger, std::numeric_limits<float>::infinity()) - larger;
    return std::abs(a - b) / unit;
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))); }

std::vector<float> many() {
    std::vector<float> x;
    for (int i = -12000; i <= 12000; ++i) x.push_back(static_cast<float>(i) * 1e-3F);
    for (const float v : {0.0F, -0.0F, 1e-30F, -1e-30F, 20.0F, -20.0F, 100.0F, -100.0F, 1e4F, -1e4F}) x.push_back(v);
    return x; // 24 011: no multiple of a batch
}

/// Every element through the batch, in one go.
template <class F>
std::vector<float> in_batches(std::vector<float> x, F f) {
    kernel::for_batches(x, [&](const simd::floats& v, index_t) { return f(v); });
    return x;
}

} // namespace

TEST_CASE("activation: the textbook formulas in double", "[policy]") {
    double gelu_error = 0, silu_error = 0, relu_error = 0; // relative to x: the formulas themselves lose that much by cancellation
    for (const float f : many()) {
        const double x = static_cast<double>(f), size = std::max(1e-300, std::abs(x));
        gelu_error = std::max(gelu_error, std::abs(activation::gelu_tanh::apply(x) - gelu(x)) / size);
        silu_error = std::max(silu_error, std::abs(activation::silu::apply(x) - x / (1 + std::exp(-x))) / size);
        relu_error = std::max(relu_error, std::abs(activation::relu2::apply(x) - (x > 0 ? x * x : 0)));
    }
    CHECK(gelu_error < 1e-15);
    CHECK(silu_error < 1e-15);
    CHECK(relu_error == 0);
    CHECK(activation::gelu_tanh::apply(1.0) == Approx(0.8411919906082768).epsilon(1e-13)); // 0.5 (1 + tanh 0.833…)
    CHECK(activation::gelu_tanh::apply(1.0) != Approx(0.8413447460685429).epsilon(1e-5));  // that would be the exact gelu
    CHECK(activation::silu::apply(1.0) == Approx(0.7310585786300049).epsilon(1e-13));
}

TEST_CASE("activation: NaN stays", "[policy]") {
    const auto check = []<class A>(std::type_identity<A>) {
        const std::vector<float> x(3 * simd::width, std::numeric_limits<float>::quiet_NaN());
        for (const float y : in_batches(x, [](const simd::floats& v) { return A::apply(v); })) CHECK(std::isnan(y));
        CHECK(std::isnan(A::apply(x[0])));
        CHECK(std::isnan(A::apply(std::numeric_limits<double>::quiet_NaN())));
    };
    check(std::type_identity<activation::gelu_tanh>{}), check(std::type_identity<activation::silu>{}),
        check(std::type_identity<activation::relu2>{});
}

TEST_CASE("activation: floats and batches of floats agree with double", "[policy]") {
    // exp(−z) turns the absolute error of z, which comes out of four roundings of 2⁻²⁴, into a relative one; exp, sum and quotient add
    // four.
    const auto check = []<class A>(std::type_identity<A>, auto exponent) {
        const auto x = many();
        const auto y = in_batches(x, [](const simd::floats& v) { return A::apply(v); });
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double exact = A::apply(static_cast<double>(x[i]));
            const double z = std::min(100.0, std::abs(exponent(static_cast<double>(x[i])))); // beyond, the result is x or nothing
            const double bound = (4 * z + 4) * 0x1p-24 * std::abs(exact) + 1e-36;
            INFO("x = " << x[i]);
            REQUIRE(std::isfinite(y[i]));
            REQUIRE(std::abs(static_cast<double>(A::apply(x[i])) - exact) <= bound);
            REQUIRE(std::abs(static_cast<double>(y[i]) - exact) <= bound);
        }
    };
    check(std::type_identity<activation::gelu_tanh>{},
          [](double x) { return 2 * std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x); });
    check(std::type_identity<activation::silu>{}, [](double x) { return x; });
    check(std::type_identity<activation::relu2>{}, [](double) { return 0.0; });
}

TEST_CASE("softcap: c tanh(x / c), nothing without a cap", "[policy]") {
    for (const float x : many()) {
        const double d = static_cast<double>(x);
        CHECK(softcap::stored::apply(d, 30.0) == Approx(30 * std::tanh(d / 30)).epsilon(1e-14));
        CHECK(softcap::stored::apply(d, 0.0) == d); // no cap, and no division by it
        CHECK(softcap::stored::apply(x, 0.0F) == x);
        CHECK(softcap::fixed<5>::apply(d, 30.0) == Approx(5 * std::tanh(d / 5)).epsilon(1e-14));
        CHECK(softcap::none::apply(d, 30.0) == d);
        CHECK(std::abs(softcap::stored::apply(x, 30.0F)) <= 30.0F);
    }
    auto x = many();
    const auto before = x;
    kernel::softcap<softcap::stored>(x, 30.0F);
    for (std::size_t i = 0; i < x.size(); ++i)
        REQUIRE(ulps(x[i], static_cast<float>(30 * std::tanh(static_cast<double>(before[i]) / 30))) <= 4.0F);
    x = before;
    kernel::softcap<softcap::stored>(x, 0.0F);
    CHECK(x == before);
    kernel::softcap<softcap::none>(x, 30.0F);
    CHECK(x == before);
}

TEST_CASE("norm: the gain is gamma itself, and is left out where there is none", "[policy]") {
    std::vector<double> x{3, -4, 0, 5}, gain{2, 0.5, 7, -1};
    const double root = std::sqrt((9 + 16 + 0 + 25) / 4.0 + 1e-6);
    auto y = x;
    norm::rms::apply<double>(y, gain, 1e-6);
    for (std::size_t i = 0; i < 4; ++i) CHECK(y[i] == Approx(x[i] / root * gain[i]).epsilon(1e-14));
    y = x;
    norm::rms::apply<double>(y, {}, 1e-6);
    for (std::size_t i = 0; i < 4; ++i) CHECK(y[i] == Approx(x[i] / root).epsilon(1e-14));
    auto z = x;
    norm::rms_without_gain::apply<double>(z, gain, 1e-6);
    CHECK(z == y);
    z = x;
    norm::none::apply<double>(z, gain, 1e-6);
    CHECK(z == x);
    // epsilon stands under the root: a row of zeros stays one
    std::vector<double> zeros(8, 0.0);
    norm::rms::apply<double>(zeros, {}, 1e-6);
    CHECK(zeros == std::vector<double>(8, 0.0));
    std::vector<double> tiny(8, 1e-6);
    norm::rms::apply<double>(tiny, {}, 1e-6);
    CHECK(tiny[0] == Approx(1e-6 / std::sqrt(1e-12 + 1e-6)).epsilon(1e-12));
    // float, and a width that no batch divides
    std::vector<float> a(19), g(19);
    for (std::size_t i = 0; i < 19; ++i) a[i] = static_cast<float>(i) - 7.5F, g[i] = 0.1F * static_cast<float>(i);
    std::vector<double> b(a.begin(), a.end()), h(g.begin(), g.end());
    norm::rms::apply<float>(a, g, 1e-6F);
    norm::rms::apply<double>(b, h, 1e-6);
    for (std::size_t i = 0; i < 19; ++i) CHECK(static_cast<double>(a[i]) == Approx(b[i]).epsilon(1e-6).margin(1e-7));
}

TEST_CASE("scale: the square root of the width is rounded to the table's precision", "[policy]") {
    const auto rounded = [](index_t width) { return scale::sqrt_width::factor(width, table_precision::bfloat16); };
    // section 2.2 of the specification
    CHECK(rounded(1536) == 39.25);
    CHECK(rounded(2560) == 50.5);
    CHECK(rounded(3840) == 62.0);
    CHECK(rounded(2816) == 53.0);
    CHECK(rounded(5376) == 73.5);
    CHECK(rounded(256) == 16.0);
    for (const index_t width : {640, 1152, 1536, 2560, 2816, 3840, 5376}) {
        const double exact = std::sqrt(static_cast<double>(width));
        CHECK(scale::sqrt_width::factor(width, table_precision::float32) == static_cast<double>(static_cast<float>(exact)));
        CHECK(std::abs(scale::sqrt_width::factor(width, table_precision::float16) / exact - 1) <= 0x1p-11);
        CHECK(std::abs(rounded(width) / exact - 1) <= 0x1p-8);
    }
    CHECK(scale::one::factor(1536, table_precision::bfloat16) == 1.0);
}

TEST_CASE("scale: of scores and of layers", "[policy]") {
    CHECK(scale::stored::factor({512, 1.0}) == 1.0);           // Gemma 4: no 1/√D
    CHECK(scale::stored::factor({256, 1.0 / 16}) == 1.0 / 16); // Gemma 3
    CHECK(scale::times<std::ratio<1, 2>>::factor({512, 0.25}) == 0.125);
    CHECK(scale::inverse_sqrt_head_width::factor({256, 1.0}) == 1.0 / 16);
    CHECK(scale::one::factor(score_sizes{256, 0.5}) == 1.0);
    CHECK(layer_scalar::stored::value(0.0045F) == 0.0045F);
    CHECK(layer_scalar::one::value(0.0045F) == 1.0F);
}
