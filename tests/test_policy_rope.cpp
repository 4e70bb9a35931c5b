// Ropes against their definitions. Traps: p-RoPE takes exponents over the whole head width (partial rope does not), pairs are (i, i + D/2),
// and the table entry for p-RoPE's control belongs to the slowest pairs.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/layer/context.hpp>
#include <loupe/policy/rope.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

using namespace loupe;

namespace {

const rope_sizes full{512, 1e6, 0.25, 1};
const rope_sizes sliding{256, 1e4, 1, 1};

double slow(double theta, index_t exponent, index_t width) {
    return std::exp(-std::log(theta) * 2.0 * static_cast<double>(exponent) / static_cast<double>(width));
}

/// Rotates one head of `x` at a position, from the definition.
std::vector<double> rotated(const std::vector<float>& x, const std::vector<double>& frequency, index_t position) {
    const std::size_t half = x.size() / 2;
    std::vector<double> y(x.size());
    for (std::size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) * frequency[i];
        y[i] = static_cast<double>(x[i]) * std::cos(angle) - static_cast<double>(x[i + half]) * std::sin(angle);
        y[i + half] = static_cast<double>(x[i + half]) * std::cos(angle) + static_cast<double>(x[i]) * std::sin(angle);
    }
    return y;
}

template <class Rope>
std::vector<double> frequencies(const rope_sizes& s) {
    std::vector<double> f;
    for (index_t i = 0; i < s.head_width / 2; ++i) f.push_back(Rope::frequency(i, s));
    return f;
}

} // namespace

TEST_CASE("rope: the check values of the specification", "[policy]") {
    using p = rope::proportional<>;
    CHECK(p::frequency(0, full) == 1.0);
    CHECK(p::frequency(1, full) == Approx(0.9474635256553754).epsilon(1e-14));
    CHECK(p::frequency(2, full) == Approx(0.8976871324473142).epsilon(1e-14));
    CHECK(p::frequency(63, full) == Approx(0.033376246942920386).epsilon(1e-14));
    CHECK(p::frequency(64, full) == 0.0);
    CHECK(p::frequency(255, full) == 0.0);
    CHECK(rope::standard::frequency(1, sliding) == Approx(0.930572040929699).epsilon(1e-14));
    CHECK(rope::standard::frequency(127, sliding) == Approx(1.0746078e-4).epsilon(1e-7));
    // the toy of section 21: D = 8, a quarter: one pair
    const rope_sizes toy{8, 1e6, 0.25, 1};
    CHECK(frequencies<p>(toy) == std::vector<double>{1, 0, 0, 0});
}

TEST_CASE("rope: every policy against its definition", "[policy]") {
    for (const rope_sizes& s : {full, sliding, rope_sizes{64, 1e5, 0.25, 1}, rope_sizes{32, 1e4, 0.5, 8}, rope_sizes{10, 1e4, 0.25, 1}}) {
        const index_t half = s.head_width / 2, pairs = static_cast<index_t>(std::floor(s.share * static_cast<double>(s.head_width) / 2));
        for (index_t i = 0; i < half; ++i) {
            const double whole = slow(s.theta, i, s.head_width) / s.factor;
            CHECK(rope::standard::frequency(i, s) == Approx(whole).epsilon(1e-13));
            CHECK(rope::proportional<>::frequency(i, s) == Approx(i < pairs ? whole : 0).epsilon(1e-13));
            CHECK(rope::partial<>::frequency(i, s) == Approx(i < pairs ? slow(s.theta, i, 2 * pairs) / s.factor : 0).epsilon(1e-13));
            CHECK(rope::reversed<>::frequency(i, s) == Approx(i >= half - pairs ? whole : 0).epsilon(1e-13));
            CHECK(rope::none::frequency(i, s) == 0.0);
            CHECK(rope::stretched<rope::standard, std::ratio<2>>::frequency(i, s) == Approx(whole / 2).epsilon(1e-13));
            CHECK(rope::stretched<rope::proportional<>, std::ratio<3, 2>>::frequency(i, s) ==
                  Approx((i < pairs ? whole : 0) / 1.5).epsilon(1e-13));
        }
    }
}

TEST_CASE("rope: proportional is not partial, reversed has the slowest pairs", "[policy]") {
    const auto p = frequencies<rope::proportional<>>(full), q = frequencies<rope::partial<>>(full), r = frequencies<rope::reversed<>>(full);
    CHECK(p[0] == q[0]);
    for (std::size_t i = 1; i < 64; ++i) CHECK(p[i] > q[i]); // over 128 dimensions frequencies fall four times as fast
    CHECK(p[16] == Approx(q[4]));
    const auto whole = frequencies<rope::standard>(full);
    for (std::size_t i = 0; i < 256; ++i) CHECK(r[i] == (i < 192 ? 0.0 : whole[i]));
    CHECK(r[192] < p[63]);
}

TEST_CASE("rope: a share of one's own replaces the model's", "[policy]") {
    CHECK(frequencies<rope::proportional<std::ratio<1, 4>>>(full) == frequencies<rope::proportional<>>(full));
    CHECK(frequencies<rope::proportional<std::ratio<1>>>(full) == frequencies<rope::standard>(full));
    CHECK(frequencies<rope::proportional<std::ratio<0>>>(full) == frequencies<rope::none>(full));
    CHECK(frequencies<rope::reversed<std::ratio<1>>>(full) == frequencies<rope::standard>(full));
    const auto half = frequencies<rope::proportional<std::ratio<1, 2>>>(full);
    CHECK(half[127] > 0);
    CHECK(half[128] == 0);
}

TEST_CASE("rope: pairs are (i, i + D/2), heads are rotated alike, dimensions that do not rotate keep their bits", "[policy]") {
    const rope_sizes s{48, 1e4, 0.5, 1}; // 24 pairs: no multiple of a batch
    auto table = rope_table::of<rope::proportional<>>(s);
    const auto f = frequencies<rope::proportional<>>(s);
    constexpr index_t first = 1000, tokens = 5;
    table.fill(first, tokens);
    std::vector<float> head(48);
    for (std::size_t i = 0; i < head.size(); ++i) head[i] = std::sin(static_cast<float>(i) + 0.5F);
    for (index_t t = 0; t < tokens; ++t) {
        std::vector<float> two = head;
        two.insert(two.end(), head.begin(), head.end());
        table.rotate(two, t);
        const auto expected = rotated(head, f, first + t);
        for (std::size_t i = 0; i < 48; ++i) {
            CHECK(static_cast<double>(two[i]) == Approx(expected[i]).margin(2e-7));
            CHECK(two[i] == two[i + 48]);
            if (f[i % 24] == 0) CHECK(two[i] == head[i]);
        }
    }
}

namespace {

/// The largest difference of a table's cosines and sines at a position from those of `angle(pair)` in long double.
template <class Rope, class Angle>
long double table_error(const rope_sizes& s, index_t position, Angle&& angle) {
    auto table = rope_table::of<Rope>(s);
    table.fill(position, 1);
    const auto half = static_cast<std::size_t>(s.head_width / 2);
    std::vector<float> x(2 * half, 0.0F);
    std::fill_n(x.begin(), half, 1.0F);
    table.rotate(x, 0); // cosines, then sines
    long double worst = 0;
    for (std::size_t i = 0; i < half; ++i) {
        const long double a = angle(static_cast<index_t>(i));
        worst = std::max(
            {worst, std::abs(static_cast<long double>(x[i]) - std::cos(a)), std::abs(static_cast<long double>(x[i + half]) - std::sin(a))});
    }
    return worst;
}

} // namespace

TEST_CASE("rope: angles at the last positions of a context of 262144 are right to a float's rounding", "[policy]") {
    // Half a unit in the last place below 1, and 262144 · four roundings of a double in the angle.
    constexpr long double rounding = 0x1p-25L + 4 * 0x1p18L * 0x1p-53L;
    for (const index_t position : {262142, 262143}) {
        const auto exact = [&](const rope_sizes& s) {
            return [&s, position](index_t i) {
                const auto exponent = -2 * static_cast<long double>(i) / static_cast<long double>(s.head_width);
                return static_cast<long double>(position) * std::pow(static_cast<long double>(s.theta), exponent);
            };
        };
        for (const rope_sizes& s : {sliding, rope_sizes{256, 1e6, 1, 1}, rope_sizes{512, 1e6, 1, 1}}) {
            INFO("position " << position << ", theta " << s.theta);
            CHECK(table_error<rope::standard>(s, position, exact(s)) <= rounding);
            // what a product of floats would give, at the same bound
            const auto in_float = [&](index_t i) {
                const auto frequency = static_cast<float>(rope::standard::frequency(i, s));
                return static_cast<long double>(static_cast<float>(position) * frequency);
            };
            CHECK(table_error<rope::standard>(s, position, in_float) > 1e5L * rounding);
        }
        const auto quarter = [&](index_t i) { return i < 64 ? exact(full)(i) : 0.0L; };
        CHECK(table_error<rope::proportional<>>(full, position, quarter) <= rounding);
    }
}

TEST_CASE("rope: scores depend on distance alone", "[policy]") {
    auto table = rope_table::of<rope::standard>({64, 1e4, 1, 1});
    std::vector<float> q(64), k(64);
    for (std::size_t i = 0; i < 64; ++i) q[i] = std::cos(static_cast<float>(3 * i)), k[i] = std::sin(static_cast<float>(7 * i + 1));
    const auto score = [&](index_t at_q, index_t at_k) {
        auto a = q, b = k;
        table.fill(at_q, 1);
        table.rotate(a, 0);
        table.fill(at_k, 1);
        table.rotate(b, 0);
        double sum = 0;
        for (std::size_t i = 0; i < 64; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        return sum;
    };
    CHECK(score(9, 4) == Approx(score(105, 100)).margin(1e-5));
    CHECK(score(9, 4) == Approx(score(5000, 4995)).margin(1e-5));
    CHECK(std::abs(score(9, 4) - score(9, 5)) > 1e-3);
}
