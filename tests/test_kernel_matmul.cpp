// Matrix products against double, for every weight format, odd sizes and every number of tokens. A token's result does not depend on how
// many others are computed beside it, nor on the number of threads: bit for bit.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/kernel/matmul.hpp>

#include <cmath>
#include <random>
#include <vector>

using namespace loupe;

namespace {

struct weights {
    std::vector<std::byte> bytes;
    kernel::weight_view view;
};

/// Rows in a format: encoded where there is an encoder, else blocks of random bytes of which all values are finite and of ordinary size.
weights random_weights(const format::info& f, index_t rows, index_t width, std::mt19937& random) {
    weights w;
    w.bytes.resize(static_cast<std::size_t>(rows * f.row_bytes(width)));
    std::normal_distribution<float> normal(0, 1);
    if (f.encode_row != nullptr) {
        std::vector<float> row(static_cast<std::size_t>(width));
        for (index_t r = 0; r < rows; ++r) {
            for (float& v : row) v = normal(random);
            f.encode_row(row.data(), w.bytes.data() + r * f.row_bytes(width), width);
        }
    } else {
        std::vector<float> values(static_cast<std::size_t>(f.length));
        for (index_t b = 0; b < rows * width / f.length; ++b) {
            std::byte* block = w.bytes.data() + b * f.bytes;
            float largest = 0;
            do {
                for (index_t i = 0; i < f.bytes; ++i) block[i] = static_cast<std::byte>(random());
                f.decode_row(block, values.data(), f.length);
                largest = 0;
                for (const float v : values) largest = std::isfinite(v) ? std::max(largest, std::abs(v)) : 1e30F;
            } while (!(largest < 100.0F) || largest == 0);
        }
    }
    w.view = {&f, w.bytes.data(), rows, width};
    return w;
}

std::vector<float> random_tokens(index_t tokens, index_t width, std::mt19937& random) {
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> x(static_cast<std::size_t>(tokens * width));
    for (float& v : x) v = normal(random);
    return x;
}

std::vector<float> product(const kernel::weight_view& w, const std::vector<float>& x, index_t tokens, executor& threads) {
    std::vector<float> y(static_cast<std::size_t>(tokens * w.rows), 12345.0F);
    kernel::matmul(w, {x.data(), tokens, w.width}, {y.data(), tokens, w.rows}, threads);
    return y;
}

/// Error against double at most twice that of a plain loop in float, plus a few ulps of the terms' root sum of squares.
void check(const kernel::weight_view& w, const std::vector<float>& x, index_t tokens, const std::vector<float>& y) {
    std::vector<float> row(static_cast<std::size_t>(w.width));
    double error = 0, naive_error = 0, largest = 0;
    for (index_t r = 0; r < w.rows; ++r) {
        w.decode_row(r, row.data());
        for (index_t t = 0; t < tokens; ++t) {
            double exact = 0, squares = 0;
            float naive = 0;
            for (index_t i = 0; i < w.width; ++i) {
                const float a = x[static_cast<std::size_t>(t * w.width + i)], b = row[static_cast<std::size_t>(i)];
                exact += static_cast<double>(a) * static_cast<double>(b);
                naive += a * b;
                squares += static_cast<double>(a * b) * static_cast<double>(a * b);
            }
            error = std::max(error, std::abs(static_cast<double>(y[static_cast<std::size_t>(t * w.rows + r)]) - exact));
            naive_error = std::max(naive_error, std::abs(static_cast<double>(naive) - exact));
            largest = std::max(largest, std::sqrt(squares));
        }
    }
    CHECK(error <= 2 * naive_error + 4 * 0x1p-24 * largest);
}

} // namespace

TEST_CASE("matmul: every weight format against double", "[kernel]") {
    std::mt19937 random(1);
    executor threads(1);
    for (const format::info* f : format::infos()) {
        INFO(f->name);
        for (const index_t blocks : {1, 3}) {
            const index_t width = f->length == 1 ? 64 * blocks + 5 : f->length * blocks, rows = 37, tokens = 5;
            const weights w = random_weights(*f, rows, width, random);
            const auto x = random_tokens(tokens, width, random);
            check(w.view, x, tokens, product(w.view, x, tokens, threads));
        }
    }
}

TEST_CASE("matmul: odd numbers of rows, columns and tokens", "[kernel]") {
    std::mt19937 random(2);
    executor threads(1);
    for (const index_t width : {1, 2, 7, 15, 16, 17, 31, 33, 66, 88, 700}) {
        for (const index_t rows : {1, 2, 3, 4, 5, 63, 64, 65, 130}) {
            for (const index_t tokens : {1, 2, 6, 7, 13}) {
                INFO(rows << " × " << width << ", " << tokens << " tokens");
                const weights w = random_weights(format::info_of<format::f32>(), rows, width, random);
                const auto x = random_tokens(tokens, width, random);
                check(w.view, x, tokens, product(w.view, x, tokens, threads));
            }
        }
    }
}

TEST_CASE("matmul: a token's result is the same beside any others and with any number of threads", "[kernel]") {
    std::mt19937 random(3);
    executor one(1), two(2), five(5);
    for (const char* name : {"F32", "BF16", "Q4_K", "Q5_0", "Q8_0"}) {
        const format::info& f = *format::find(name);
        const index_t width = 768, rows = 203;
        const weights w = random_weights(f, rows, width, random);
        const auto x = random_tokens(13, width, random);
        const auto all = product(w.view, x, 13, one);
        CHECK(product(w.view, x, 13, two) == all);
        CHECK(product(w.view, x, 13, five) == all);
        for (index_t tokens = 1; tokens <= 13; ++tokens) {
            for (index_t first = 0; first + tokens <= 13; first += 3) {
                const std::vector<float> some(x.begin() + first * width, x.begin() + (first + tokens) * width);
                const auto y = product(w.view, some, tokens, tokens % 2 == 0 ? one : two);
                INFO(name << ": " << tokens << " tokens from " << first);
                CHECK(std::equal(y.begin(), y.end(), all.begin() + first * rows));
            }
        }
        // and whichever rows of the matrix are asked for
        const auto part = product(w.view.slice(64, 64), x, 13, one);
        for (index_t t = 0; t < 13; ++t) CHECK(std::equal(part.begin() + t * 64, part.begin() + (t + 1) * 64, all.begin() + t * rows + 64));
    }
}

// g++ tuned for Zen, as this file is, fuses a product with an addition in some instances of a tile and not in others.
TEST_CASE("matmul: a token's result is the same beside any others where columns are left over", "[kernel]") {
    std::mt19937 random(8);
    const format::info& f = *format::find("F32");
    executor one(1);
    for (const index_t width : {1, 2, 3, 7, 13, 21}) {
        for (const index_t rows : {1, 2, 4, 7}) {
            const weights w = random_weights(f, rows, width, random);
            const auto x = random_tokens(9, width, random);
            const auto all = product(w.view, x, 9, one);
            for (index_t tokens = 1; tokens < 9; ++tokens) {
                const auto y = product(w.view, {x.begin(), x.begin() + tokens * width}, tokens, one);
                INFO(tokens << " tokens of width " << width << ", " << rows << " rows");
                CHECK(std::equal(y.begin(), y.end(), all.begin()));
            }
        }
    }
}

TEST_CASE("matmul: rows with a stride are read and written where they lie", "[kernel]") {
    std::mt19937 random(4);
    executor threads(1);
    const weights w = random_weights(format::info_of<format::f32>(), 9, 20, random);
    const auto x = random_tokens(7, 20, random);
    const auto expected = product(w.view, x, 7, threads);
    std::vector<float> wide_x(7 * 31, std::numeric_limits<float>::quiet_NaN()), wide_y(7 * 40, -1.0F);
    for (index_t t = 0; t < 7; ++t) std::copy_n(x.begin() + t * 20, 20, wide_x.begin() + t * 31);
    kernel::matmul(w.view, {wide_x.data(), 7, 20, 31}, {wide_y.data() + 3, 7, 9, 40}, threads);
    for (index_t t = 0; t < 7; ++t) {
        for (index_t i = 0; i < 40; ++i) {
            const float found = wide_y[static_cast<std::size_t>(t * 40 + i)];
            CHECK(found == (i >= 3 && i < 12 ? expected[static_cast<std::size_t>(t * 9 + i - 3)] : -1.0F));
        }
    }
}

TEST_CASE("matmul: rows of no columns give zeros", "[kernel]") {
    executor threads(2);
    const kernel::weight_view w{&format::info_of<format::f32>(), nullptr, 40, 0};
    std::vector<float> y(2 * 40, 1.0F);
    kernel::matmul(w, {static_cast<const float*>(nullptr), 2, 0}, {y.data(), 2, 40}, threads);
    CHECK(y == std::vector<float>(y.size(), 0.0F));
}

TEST_CASE("matmul: a value that is not finite stays in its row", "[kernel]") {
    std::mt19937 random(5);
    executor threads(1);
    weights w = random_weights(format::info_of<format::f32>(), 10, 33, random);
    const auto x = random_tokens(7, 33, random);
    const auto clean = product(w.view, x, 7, threads);
    reinterpret_cast<float*>(w.bytes.data())[4 * 33 + 32] = std::numeric_limits<float>::infinity();
    const auto y = product(w.view, x, 7, threads);
    for (index_t t = 0; t < 7; ++t) {
        for (index_t r = 0; r < 10; ++r) {
            const auto i = static_cast<std::size_t>(t * 10 + r);
            if (r == 4)
                CHECK(!std::isfinite(y[i]));
            else
                CHECK(y[i] == clean[i]);
        }
    }
}
