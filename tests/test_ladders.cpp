// Every rung of the ladders in bench/ladders against double, at odd sizes too. Bounds are sums of roundings: u = 2^-24 for each operation
// in float, whatever their order, and half a step for each activation that is rounded to 8 bits.
#include "products.hpp"

#include <ladders/attention.hpp>
#include <ladders/mat_mul.hpp>
#include <ladders/mat_vec.hpp>
#include <ladders/rms_norm.hpp>
#include <ladders/rope.hpp>
#include <ladders/softmax.hpp>
#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/formats.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

using namespace loupe;

namespace {

constexpr double u = 0x1p-24;

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }
double wide(float x) { return static_cast<double>(x); }

aligned_vector<float> normal_floats(index_t n, float spread = 1) {
    static std::mt19937 random(1);
    std::normal_distribution<float> normal(0, spread);
    aligned_vector<float> x(at(n));
    for (float& v : x) v = normal(random);
    return x;
}

/// Operands that nothing wrote to fail every comparison.
void forget(std::span<float> x) { std::fill(x.begin(), x.end(), std::numeric_limits<float>::quiet_NaN()); }

/// Largest magnitude among the 16 activations that share a scale with x[k].
double largest_of_16(const float* x, index_t k) {
    double most = 0;
    for (index_t i = k / 16 * 16; i < k / 16 * 16 + 16; ++i) most = std::max(most, std::abs(wide(x[i])));
    return most;
}

struct sum_of_products {
    double exact = 0, bound = 0;
};

/// Σ x w, with the bound for sums in float; `rounded` adds that for activations of 8 bits: half a step of max|x| / 127, and the roundings
/// of the quotient and of the scale, of at most 127 u each.
sum_of_products dot(const float* x, const float* w, index_t n, bool rounded) {
    sum_of_products out;
    double magnitude = 0, steps = 0;
    for (index_t k = 0; k < n; ++k) {
        out.exact += wide(x[k]) * wide(w[k]);
        magnitude += std::abs(wide(x[k]) * wide(w[k]));
        if (rounded) steps += std::abs(wide(w[k])) * largest_of_16(x, k) / 127;
    }
    out.bound = wide(static_cast<float>(n + 4)) * u * (magnitude + steps) + steps * (0.5 + 4 * 127 * u);
    return out;
}

struct quantized_matrix {
    std::vector<std::byte> blocks;
    aligned_vector<std::byte> packed;
    aligned_vector<float> values;
    kernel::weight_view view;

    quantized_matrix(const format::info& f, index_t rows, index_t width, executor& threads)
        : blocks(at(rows * f.row_bytes(width))), values(normal_floats(rows * width)) {
        view = {&f, blocks.data(), rows, width};
        for (index_t r = 0; r < rows; ++r) {
            f.encode_row(values.data() + r * width, blocks.data() + r * f.row_bytes(width), width);
            view.decode_row(r, values.data() + r * width);
        }
        view = kernel::for_products(view, *kernel::products_for(f));
        packed = kernel::pack(view, threads);
        view.packed = packed.data();
    }
};

bool starts_with_one_of(std::string_view name, std::initializer_list<std::string_view> beginnings) {
    return std::any_of(beginnings.begin(), beginnings.end(), [&](std::string_view b) { return name.substr(0, b.size()) == b; });
}

} // namespace

TEST_CASE("ladders: rms_norm", "[ladders]") {
    for (const index_t n : {1, 2, 3, 5, 15, 16, 17, 63, 1536, 3841}) {
        const auto x = normal_floats(n), gain = normal_floats(n);
        aligned_vector<float> out(at(n));
        double squares = 0;
        for (const float v : x) squares += wide(v) * wide(v);
        const double factor = 1 / std::sqrt(squares / wide(static_cast<float>(n)) + wide(1e-6F));
        for (const auto& rung : ladders::rms_norm::rungs) {
            INFO(rung.name << ", " << n);
            forget(out);
            rung.run({x, gain, 1e-6F, out});
            // the sum's error, at most n + 1 roundings, is halved by the root; seven more operations
            const double relative = (wide(static_cast<float>(n + 1)) / 2 + 7) * u;
            double worst = 0;
            for (index_t i = 0; i < n; ++i) {
                const double exact = wide(x[at(i)]) * factor * wide(gain[at(i)]);
                worst = std::max(worst, std::abs(wide(out[at(i)]) - exact) / (std::abs(exact) + 1e-37));
                if (std::isnan(out[at(i)])) worst = 1;
            }
            CHECK(worst <= relative);
        }
    }
}

TEST_CASE("ladders: rope", "[ladders]") {
    for (const index_t heads : {1, 3, 8}) {
        for (const index_t D : {2, 6, 30, 34, 66, 256}) {
            for (const index_t position : {0, 1, 1000, 100000}) {
                const auto before = normal_floats(heads * D);
                aligned_vector<float> cosines(at(D / 2)), sines(at(D / 2)), x(at(heads * D));
                std::vector<double> angles(at(D / 2));
                for (index_t i = 0; i < D / 2; ++i) {
                    angles[at(i)] = ladders::rope::angle({{x.data(), heads, D}, position, 1e4, {}, {}}, i);
                    cosines[at(i)] = static_cast<float>(std::cos(angles[at(i)]));
                    sines[at(i)] = static_cast<float>(std::sin(angles[at(i)]));
                }
                for (const auto& rung : ladders::rope::rungs) {
                    INFO(rung.name << ", " << heads << " × " << D << " at " << position);
                    x = before;
                    rung.run({{x.data(), heads, D}, position, 1e4, cosines, sines});
                    double worst = 0; // in units of (|a| + |b|) u: three roundings, of the cosine, the product and the sum
                    for (index_t h = 0; h < heads; ++h) {
                        for (index_t i = 0; i < D / 2; ++i) {
                            const double a = wide(before[at(h * D + i)]), b = wide(before[at(h * D + i + D / 2)]);
                            const double c = std::cos(angles[at(i)]), s = std::sin(angles[at(i)]), unit = (std::abs(a) + std::abs(b)) * u;
                            worst = std::max(worst, std::abs(wide(x[at(h * D + i)]) - (a * c - b * s)) / unit);
                            worst = std::max(worst, std::abs(wide(x[at(h * D + i + D / 2)]) - (b * c + a * s)) / unit);
                        }
                    }
                    CHECK(worst <= 3.001);
                }
            }
        }
    }
}

TEST_CASE("ladders: softmax", "[ladders]") {
    for (const index_t n : {1, 2, 5, 15, 16, 17, 33, 512, 1023}) {
        for (const float spread : {1.0F, 20.0F}) {
            const auto x = normal_floats(n, spread);
            aligned_vector<float> y(at(n));
            const auto [least, most] = std::minmax_element(x.begin(), x.end());
            double sum = 0;
            for (const float v : x) sum += std::exp(wide(v) - wide(*most));
            // the difference from the maximum has one rounding, the exponential two; n additions; a reciprocal and a product
            const double relative = (2 * (wide(*most) - wide(*least)) + 2 * 4 + wide(static_cast<float>(n)) + 3) * u;
            for (const auto& rung : ladders::softmax::rungs) {
                INFO(rung.name << ", " << n << ", spread " << spread);
                forget(y);
                rung.run({x, y});
                double worst = 0;
                for (index_t i = 0; i < n; ++i) {
                    const double exact = std::exp(wide(x[at(i)]) - wide(*most)) / sum;
                    const double error =
                        std::abs(wide(y[at(i)]) - exact) / (exact * relative + 0x1p-126); // below that, floats have fewer bits
                    worst = std::isnan(error) ? 1e9 : std::max(worst, error);
                }
                CHECK(worst <= 1);
            }
        }
    }
}

TEST_CASE("ladders: mat_vec in float", "[ladders]") {
    executor two(2);
    for (const index_t rows : {1, 3, 4, 37, 130}) {
        for (const index_t width : {1, 3, 15, 16, 17, 66, 700}) {
            const auto w = normal_floats(rows * width), x = normal_floats(width);
            aligned_vector<float> y(at(rows));
            for (const auto& rung : ladders::mat_vec::rungs) {
                INFO(rung.name << ", " << rows << " × " << width);
                forget(y);
                rung.run({{w.data(), rows, width}, x, y, two});
                index_t wrong = 0;
                for (index_t n = 0; n < rows; ++n) {
                    const auto expected = dot(x.data(), w.data() + n * width, width, false);
                    wrong += !(std::abs(wide(y[at(n)]) - expected.exact) <= expected.bound);
                }
                CHECK(wrong == 0);
            }
        }
    }
}

TEST_CASE("ladders: mat_vec in Q4_0", "[ladders]") {
    executor one(1), two(2);
    for (const index_t rows : {1, 5, 16, 37, 130}) {
        for (const index_t width : {32, 96, 704}) {
            const quantized_matrix w(format::info_of<format::q4_0>(), rows, width, one);
            const auto x = normal_floats(width);
            aligned_vector<float> y(at(rows));
            for (const auto& rung : ladders::mat_vec_q4_0::rungs) {
                INFO(rung.name << ", " << rows << " × " << width);
                forget(y);
                rung.run({w.view, x, y, one, two});
                const bool rounded = starts_with_one_of(rung.name, {"04", "05"});
                index_t wrong = 0;
                for (index_t n = 0; n < rows; ++n) {
                    const auto expected = dot(x.data(), w.values.data() + n * width, width, rounded);
                    wrong += !(std::abs(wide(y[at(n)]) - expected.exact) <= expected.bound);
                }
                CHECK(wrong == 0);
            }
        }
    }
}

TEST_CASE("ladders: mat_mul", "[ladders]") {
    executor one(1), two(2);
    for (const index_t tokens : {1, 2, 6, 7, 13, 33}) {
        for (const index_t rows : {1, 5, 64, 67}) {
            for (const index_t width : {32, 96, 704}) {
                const quantized_matrix w(format::info_of<format::q8_0>(), rows, width, one);
                const auto x = normal_floats(tokens * width);
                aligned_vector<float> y(at(tokens * rows));
                for (const auto& rung : ladders::mat_mul::rungs) {
                    INFO(rung.name << ", " << tokens << " × " << rows << " × " << width);
                    forget(y);
                    rung.run({{x.data(), tokens, width}, {w.values.data(), rows, width}, {y.data(), tokens, rows}, w.view, one, two});
                    const bool rounded = starts_with_one_of(rung.name, {"06", "07"});
                    index_t wrong = 0;
                    for (index_t i = 0; i < tokens * rows; ++i) {
                        const auto expected = dot(x.data() + i / rows * width, w.values.data() + i % rows * width, width, rounded);
                        wrong += !(std::abs(wide(y[at(i)]) - expected.exact) <= expected.bound);
                    }
                    CHECK(wrong == 0);
                }
            }
        }
    }
}

TEST_CASE("ladders: mat_mul in float, widths that no register divides", "[ladders]") {
    executor one(1);
    for (const index_t width : {1, 7, 15, 17, 33, 701}) {
        const index_t tokens = 13, rows = 37;
        const auto x = normal_floats(tokens * width), w = normal_floats(rows * width);
        aligned_vector<float> y(at(tokens * rows));
        for (const auto& rung : ladders::mat_mul::rungs) {
            if (starts_with_one_of(rung.name, {"06", "07"})) continue; // widths of whole blocks only
            INFO(rung.name << ", width " << width);
            forget(y);
            rung.run({{x.data(), tokens, width}, {w.data(), rows, width}, {y.data(), tokens, rows}, {}, one, one});
            index_t wrong = 0;
            for (index_t i = 0; i < tokens * rows; ++i) {
                const auto expected = dot(x.data() + i / rows * width, w.data() + i % rows * width, width, false);
                wrong += !(std::abs(wide(y[at(i)]) - expected.exact) <= expected.bound);
            }
            CHECK(wrong == 0);
        }
    }
}

TEST_CASE("ladders: attention", "[ladders]") {
    const struct {
        index_t queries, keys, D;
    } sizes[] = {{1, 1, 1}, {1, 70, 16}, {5, 5, 7}, {8, 64, 33}, {9, 65, 64}, {13, 130, 66}, {20, 200, 256}};
    for (const auto [queries, keys, D] : sizes) {
        const auto q = normal_floats(queries * D), k = normal_floats(keys * D), v = normal_floats(keys * D);
        const float scale = 1 / std::sqrt(static_cast<float>(D));
        aligned_vector<float> y(at(queries * D));
        for (const auto& rung : ladders::attention::rungs) {
            INFO(rung.name << ", " << queries << " queries, " << keys << " keys, D " << D);
            forget(y);
            const ladders::attention::operands o{
                {q.data(), queries, D}, {k.data(), keys, D}, {v.data(), keys, D}, scale, {y.data(), queries, D}};
            rung.run(o);
            index_t wrong = 0;
            for (index_t t = 0; t < queries; ++t) {
                const index_t n = o.seen(t);
                std::vector<double> p(at(n));
                double score_error = 0, sum = 0;
                for (index_t j = 0; j < n; ++j) {
                    const auto score = dot(q.data() + t * D, k.data() + j * D, D, false);
                    p[at(j)] = score.exact * wide(scale);
                    score_error = std::max(score_error, (score.bound + std::abs(score.exact) * u) * wide(scale));
                }
                const auto [least, most] = std::minmax_element(p.begin(), p.end());
                const double largest = *most, range = *most - *least;
                for (double& e : p) sum += e = std::exp(e - largest);
                // a weight: errors of two scores, a difference and an exponential of two roundings for it and for the sum, n additions, and
                // for each block of keys a rescaling; then n products and additions
                const double blocks = wide(static_cast<float>((n + kernel::key_block - 1) / kernel::key_block));
                const double relative =
                    2 * score_error + (2 * range + 2 * wide(static_cast<float>(n)) + blocks * (2 * range + 10) + 16) * u;
                for (index_t d = 0; d < D; ++d) {
                    double exact = 0, magnitude = 0;
                    for (index_t j = 0; j < n; ++j) {
                        exact += p[at(j)] / sum * wide(v[at(j * D + d)]);
                        magnitude += p[at(j)] / sum * std::abs(wide(v[at(j * D + d)]));
                    }
                    wrong += !(std::abs(wide(y[at(t * D + d)]) - exact) <= magnitude * relative);
                }
            }
            CHECK(wrong == 0);
        }
    }
}
