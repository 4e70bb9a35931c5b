// Packed products: every format, every set of instructions, any number of tokens, rows and threads.
#include "packed_view.hpp"

#include <loupe/core/compat/catch2.hpp>

#include <array>
#include <bit>
#include <random>

using namespace loupe;

namespace {

/// Blocks of random bytes; high bits of every byte are clear, so scales are finite and of one order of magnitude.
std::vector<std::byte> random_blocks(const format::info& f, index_t rows, index_t width) {
    std::mt19937 random(f.id);
    std::vector<std::byte> bytes(static_cast<std::size_t>(rows * f.row_bytes(width)));
    for (auto& b : bytes) b = static_cast<std::byte>(random() & 0x3f);
    return bytes;
}

template <class F>
void for_each_format(F&& f) {
    for_each_type(format::all{}, [&]<class Format>() {
        INFO(Format::name);
        f.template operator()<Format>();
    });
}

template <class F>
void for_each_integer_format(F&& f) {
    for_each_type(format::all{}, [&]<class Format>() {
        if constexpr (is::integer_format<Format>) {
            INFO(Format::name);
            f.template operator()<Format>();
        }
    });
}

/// What rows of activations become: bfloat16, or nothing else, or sixteen under one scale; then, as they were stored, having been held
/// against x: none is further away than half a step (and what float's rounding of a near tie allows).
std::vector<double> rounded(const aligned_vector<float>& x, index_t width, kernel::activation_form form) {
    using enum kernel::activation_form;
    std::vector<double> out;
    if (form == bfloats || form == floats) {
        for (const float v : x) out.push_back(static_cast<double>(form == floats ? v : bfloat16_to_float(float_to_bfloat16(v))));
        return out;
    }
    const matrix_view<const float> rows(x.data(), std::ssize(x) / width, width);
    executor one(1);
    kernel::activation_rows stored;
    stored.fill(rows, form, one);
    double worst = 0;
    for (index_t t = 0; t < rows.rows; ++t) {
        const auto [first, size] = stored.tile_of(t);
        const auto* const row = reinterpret_cast<const kernel::quantized_chunk*>(stored.tile(first)) + (t - first);
        for (index_t k = 0; k < width; ++k) {
            const kernel::quantized_chunk& chunk = row[(k / 32 + 1) * size];
            const int q = static_cast<std::int8_t>(chunk.q[k % 32]);
            const double step = static_cast<double>(row->scale[0]) * chunk.factor[k % 32 / 16];
            worst = std::max(worst, std::abs(step * q - static_cast<double>(rows[t].data()[k])) / step);
            out.push_back(step * q);
        }
    }
    CHECK(worst <= 0.5 + 127 * 0x1p-22);
    return out;
}

/// The largest error of a product, in units of float's epsilon times the sum of magnitudes, against double with the decoded weights and
/// what activations become.
double worst_error(const kernel::weight_view& w, const aligned_vector<float>& x, index_t tokens) {
    const auto r = rounded(x, w.width, w.products->x_form);
    const auto y = product(w, x, tokens);
    std::vector<float> row(static_cast<std::size_t>(w.width));
    double worst = 0;
    for (index_t n = 0; n < w.rows; ++n) {
        w.decode_row(n, row.data());
        for (index_t t = 0; t < tokens; ++t) {
            double sum = 0, magnitude = 0;
            for (index_t k = 0; k < w.width; ++k) {
                const double p = static_cast<double>(row[static_cast<std::size_t>(k)]) * r[static_cast<std::size_t>(t * w.width + k)];
                sum += p;
                magnitude += std::abs(p);
            }
            const double error = std::abs(static_cast<double>(y[static_cast<std::size_t>(t * w.rows + n)]) - sum);
            if (magnitude == 0)
                CHECK(error == 0);
            else
                worst = std::max(worst, error / (magnitude * 0x1p-23));
        }
    }
    return worst;
}

} // namespace

TEST_CASE("packed: a product is that of the decoded weights with the rounded activations", "[packed]") {
    constexpr index_t rows = 37, width = 512, tokens = 47; // whole tiles by expanded strips, and a rest
    const auto x = random_floats(tokens * width, 1);
    for_each_format([&]<class F>() {
        const format::info& f = format::info_of<F>();
        const auto blocks = random_blocks(f, rows, width);
        // Of floats, a rounding for each column; of integers, a few for each 32. A minimum cancels against its scale.
        CHECK(worst_error(packed_view(f, blocks.data(), rows, width, *kernel::products_for(f)), x, tokens) <
              static_cast<double>(is::integer_format<F> ? 2 * width / 32 : width / 2));
    });
}

// Columns lie in pairs where a product takes two at once, and in the form for many tokens as well.
TEST_CASE("packed: floats of an odd width", "[packed]") {
    constexpr index_t rows = 5, width = 7;
    for_each_format([&]<class F>() {
        if constexpr (!is::integer_format<F>) {
            const format::info& f = format::info_of<F>();
            const auto blocks = random_blocks(f, rows, width);
            for (const index_t tokens : {11, 47}) {
                const auto x = random_floats(tokens * width, 9);
                for (const auto* products : {kernel::products_for(f), kernel::products_for<simd::int8_portable<8>>(f),
                                             kernel::products_for<simd::int8_portable<16, true>>(f)}) {
                    CHECK(worst_error(packed_view(f, blocks.data(), rows, width, *products), x, tokens) <= static_cast<double>(width) / 2);
                }
            }
        }
    });
}

TEST_CASE("packed: all sets of instructions give the same bits", "[packed]") {
    // rows: strips more than twice as many as are read side by side, those of floats too, and a rest
    constexpr index_t rows = 549, width = 256, tokens = 47;
    const auto x = random_floats(tokens * width, 2);
    for_each_format([&]<class F>() {
        const format::info& f = format::info_of<F>();
        const auto blocks = random_blocks(f, rows, width);
        const auto with = [&](const kernel::packed_products* products) {
            const packed_view w(f, blocks.data(), rows, width, *products);
            const auto all = product(w, x, tokens);
            for (const index_t few : {1, 15}) { // by streams, and tiles of 8, 4, 2 and 1
                const auto first = product(w, x, few);
                CHECK(std::equal(first.begin(), first.end(), all.begin()));
            }
            return all;
        };
        const auto plain = with(kernel::products_for<simd::int8_portable<8>>(f));
        const auto wide = with(kernel::products_for<simd::int8_portable<16, true>>(f)); // vpdpbusd and vdpbf16ps in plain code
        // bfloat16 is the one format that has a product of its own on one set of instructions, and float's on the others
        CHECK((wide == plain) == !std::same_as<F, format::bf16>);
        const bool rounds = kernel::products_for(f)->x_form == kernel::activation_form::bfloats;
        CHECK((with(kernel::products_for(f)) == (rounds ? wide : plain)));
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
        CHECK((with(kernel::products_for<simd::int8_avx2>(f)) == plain));
#endif
    });
}

// A sum of two words takes off from each what was added there: exchanged, the sum of both is right until one of them leaves its 16 bits.
TEST_CASE("packed: what a sum begins with lies in the word that it is taken off from", "[packed]") {
    std::array<std::int8_t, 16> q{};
    std::mt19937 random(1);
    for (int n = 0; n < 1000; ++n) {
        for (auto& v : q) v = static_cast<std::int8_t>(n == 0 ? -127 : n == 1 ? 127 : static_cast<int>(random() % 255) - 127);
        int first = 0, second = 0;
        for (std::size_t i = 0; i < 16; i += 4) first -= 32 * (q[i] + q[i + 1]), second -= 32 * (q[i + 2] + q[i + 3]);
        const auto words =
            std::bit_cast<std::array<std::int16_t, 2>>(simd::start_of_words(reinterpret_cast<const std::uint8_t*>(q.data())));
        REQUIRE(words == std::array{static_cast<std::int16_t>(first), static_cast<std::int16_t>(second)});
    }
}

// Pairs of products are added in 16 bits on AVX2, and 2 · 255 · 128 does not fit there.
TEST_CASE("packed: the largest weights against the largest activations do not saturate", "[packed]") {
    constexpr index_t rows = 8, width = 256;
    for_each_integer_format([&]<class F>() {
        const format::info& f = format::info_of<F>();
        for (const int code : {0x00, 0xff, 0x80, 0x7f}) {
            std::vector<std::byte> blocks(static_cast<std::size_t>(rows * f.row_bytes(width)), static_cast<std::byte>(code));
            // halves of 0xffff are no numbers: scales are set to one where the formats have them
            constexpr std::uint16_t one = 0x3c00;
            const auto set = [&](index_t at) {
                for (index_t b = 0; b < rows * width / F::length; ++b) std::memcpy(blocks.data() + b * F::bytes + at, &one, sizeof one);
            };
            using form = format::integer_form<F>;
            if constexpr (form::scales == format::scale_kind::half) {
                set(0);
                if (form::has_minimum) set(2);
            } else if constexpr (std::same_as<F, format::q6_k>) {
                set(208);
            } else if constexpr (std::same_as<F, format::q3_k>) {
                set(108);
            } else if constexpr (std::same_as<F, format::q2_k>) {
                set(80), set(82);
            } else if constexpr (std::same_as<F, format::q4_k> || std::same_as<F, format::q5_k>) {
                set(0), set(2);
            } else if constexpr (std::same_as<F, format::iq4_xs>) {
                set(0);
            } else {
                for (index_t b = 0; b < rows * width / F::length; ++b) std::memset(blocks.data() + b * F::bytes, 0x38, F::id == 40 ? 4 : 1);
            }
            const packed_view plain(f, blocks.data(), rows, width, *kernel::products_for<simd::int8_portable<8>>(f));
            const packed_view other(f, blocks.data(), rows, width, *kernel::products_for<simd::int8_portable<16, true>>(f));
            const packed_view native(f, blocks.data(), rows, width, *kernel::products_for(f));
            for (const float sign : {1.0F, -1.0F}) {
                constexpr index_t tokens = 47; // few and many: of 47 the last seven see other forms of weights than the first
                const aligned_vector<float> x(static_cast<std::size_t>(tokens * width), sign);
                const auto expected = product(plain, x, tokens);
                for (std::size_t i = 0; i < expected.size(); ++i) REQUIRE(expected[i] == expected[i % static_cast<std::size_t>(rows)]);
                CHECK((product(native, x, tokens) == expected));
                CHECK((product(other, x, tokens) == expected));
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
                const packed_view avx2(f, blocks.data(), rows, width, *kernel::products_for<simd::int8_avx2>(f));
                CHECK((product(avx2, x, tokens) == expected));
#endif
            }
        }
    });
}

TEST_CASE("packed: a token's result is the same beside any others and with any number of threads", "[packed]") {
    constexpr index_t rows = 100, width = 256, most = 53;
    const auto x = random_floats(most * width, 3);
    for_each_format([&]<class F>() {
        const format::info& f = format::info_of<F>();
        const auto blocks = random_blocks(f, rows, width);
        const packed_view w(f, blocks.data(), rows, width, *kernel::products_for(f));
        const auto all = product(w, x, most);
        for (const index_t tokens : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33, 39, 40, 41, 53}) {
            for (const index_t threads : {1, 3}) {
                const auto some = product(w, x, tokens, threads);
                CHECK(std::equal(some.begin(), some.end(), all.begin()));
            }
        }
    });
}

TEST_CASE("packed: rows of results may lie apart, and there may be none", "[packed]") {
    constexpr index_t rows = 301, width = 1280, stride = rows + 5;
    const auto& f = format::info_of<format::q4_k>();
    const auto blocks = random_blocks(f, rows, width);
    const packed_view w(f, blocks.data(), rows, width, *kernel::products_for(f));
    executor one(1);
    for (const index_t tokens : {0, 1, 5, 47}) {
        const auto x = random_floats(tokens * width, 41);
        constexpr float untouched = -7.5F;
        aligned_vector<float> y(static_cast<std::size_t>(tokens * stride), untouched);
        kernel::matmul(w, {x.data(), tokens, width}, {y.data(), tokens, rows, stride}, one);
        const auto expected = product(w, x, tokens);
        for (index_t t = 0; t < tokens; ++t) {
            const auto row = y.begin() + t * stride;
            CHECK(std::equal(row, row + rows, expected.begin() + t * rows));
            CHECK(std::all_of(row + rows, row + stride, [&](float v) { return v == untouched; }));
        }
    }
}

// Products that share x share its rounding; two of the same memory but other sizes must not.
TEST_CASE("packed: products side by side give the bits of each alone", "[packed][determinism]") {
    constexpr index_t rows = 45, width = 256;
    const auto& q4 = format::info_of<format::q4_0>();
    const auto& q6 = format::info_of<format::q6_k>();
    const auto& f32 = format::info_of<format::f32>();
    const auto a_blocks = random_blocks(q4, rows, width), b_blocks = random_blocks(q6, rows, width);
    const packed_view a(q4, a_blocks.data(), rows, width, *kernel::products_for(q4)),
        b(q6, b_blocks.data(), rows, width, *kernel::products_for(q6)),
        half(q4, a_blocks.data(), rows, width / 2, *kernel::products_for(q4));
    const auto c_rows = random_floats(rows * width, 31);
    const kernel::weight_view c{&f32, reinterpret_cast<const std::byte*>(c_rows.data()), rows, width};
    for (const index_t tokens : {1, 5, 47}) {
        const auto x = random_floats(tokens * width, 32), other = random_floats(tokens * width, 33);
        const matrix_view<const float> in(x.data(), tokens, width), in_other(other.data(), tokens, width),
            narrow(x.data(), tokens, width / 2), apart(x.data(), tokens, width / 2, width);
        for (const index_t threads : {1, 2, 3}) {
            executor run(threads);
            std::array<aligned_vector<float>, 7> y;
            for (auto& out : y) out.resize(static_cast<std::size_t>(tokens * rows));
            const auto into = [&](std::size_t i) { return matrix_view<float>(y[i].data(), tokens, rows); };
            kernel::matmul({{a, in, into(0)},
                            {c, in, into(1)},
                            {b, in, into(2)},
                            {half, narrow, into(3)},
                            {b, in_other, into(4)},
                            {a, in, into(5)},
                            {half, apart, into(6)}},
                           run);
            CHECK((y[0] == product(a, x, tokens)));
            CHECK((y[1] == product(c, x, tokens)));
            CHECK((y[2] == product(b, x, tokens)));
            const aligned_vector<float> narrow_x(x.begin(), x.begin() + tokens * width / 2);
            CHECK((y[3] == product(half, narrow_x, tokens)));
            CHECK((y[4] == product(b, other, tokens)));
            CHECK((y[5] == y[0]));
            aligned_vector<float> left_halves;
            for (index_t t = 0; t < tokens; ++t) left_halves.insert(left_halves.end(), in[t].begin(), in[t].begin() + width / 2);
            CHECK((y[6] == product(half, left_halves, tokens)));
        }
    }
    executor run(2);
    kernel::matmul(std::span<const kernel::product>{}, run); // nothing to do
}

namespace {

/// Products of some tokens with two matrices side by side, as tasks for threads.
struct cut_products {
    std::array<kernel::product, 2> products;
    std::vector<kernel::detail::task> tasks;
    shared_tasks shared;

    cut_products(const kernel::packed_products& with, const format::info& f, index_t rows, index_t width, index_t tokens, index_t threads) {
        static constexpr std::byte nothing{}; // tasks are cut without a look at what they are of
        for (auto& p : products) {
            p.w = kernel::for_products({&f, &nothing, rows, width}, with);
            p.w.packed = &nothing;
            p.x = {nullptr, tokens, width};
            p.y = {nullptr, tokens, rows};
            rows += 33;
        }
        kernel::detail::cut(products, threads, tasks, shared);
    }
    /// How often each strip of product i is in a task.
    std::vector<int> strips_of(std::size_t i) const {
        std::vector<int> times(static_cast<std::size_t>(kernel::packed_strips(products[i].w)));
        for (const auto& t : tasks) {
            for (index_t stream = 0; stream < t.streams && t.product == i; ++stream) {
                for (index_t s = t.first; s < t.last; ++s) ++times.at(static_cast<std::size_t>(s + stream * t.apart));
            }
        }
        return times;
    }
    /// Tasks that do not go on where the one before has ended.
    int beginnings() const {
        int count = 1;
        for (std::size_t i = 1; i < tasks.size(); ++i) {
            const auto &before = tasks[i - 1], &t = tasks[i];
            const bool next_step = t.first == before.last, rest_of_step = t.first == before.first + before.streams * before.apart;
            count += t.product != before.product || t.apart != before.apart || !(next_step || rest_of_step);
        }
        return count;
    }
};

} // namespace

TEST_CASE("packed: tasks take every strip once", "[packed]") {
    const auto& f = format::info_of<format::q2_k>();
    for (const auto* with : {kernel::fastest_products_for(f), kernel::products_for<simd::int8_portable<8>>(f)}) {
        for (const index_t rows : {1, 100, 640, 2049, 6144}) {
            for (const index_t tokens : {1, 8, 20, 64}) {
                for (const index_t threads : {1, 2, 3}) {
                    CAPTURE(rows, tokens, threads);
                    const cut_products cut(*with, f, rows, 256, tokens, threads);
                    for (const std::size_t i : {0U, 1U}) {
                        const auto times = cut.strips_of(i);
                        CHECK(std::ranges::count(times, 1) == std::ssize(times));
                    }
                }
            }
        }
    }
}

// Streams that are read side by side take some microseconds to begin: a tenth of what one token takes with a matrix of 3 MB and two
// threads.
TEST_CASE("packed: tasks of few tokens go on where the one before has ended", "[packed]") {
    const auto& f = format::info_of<format::q2_k>();
    const auto& with = *kernel::products_for<simd::int8_portable<8>>(f); // three streams of two strips each
    for (const index_t threads : {1, 2, 3}) {
        const cut_products cut(with, f, 6144, 1536, 1, threads);
        CAPTURE(threads, cut.tasks.size());
        CHECK(std::ssize(cut.tasks) >= 6 * (threads - 1)); // what a slow thread has not begun others can take
        CHECK(cut.beginnings() <= threads + 4);            // of parts, of the second matrix, and of what is too little for all streams
    }
}

TEST_CASE("packed: a matrix without columns is multiplied to zeros, and one without rows to nothing", "[packed]") {
    for_each_format([&]<class F>() {
        const auto& f = format::info_of<F>();
        for (const index_t tokens : {1, 47}) {
            packed_view no_columns(f, nullptr, 35, 0, *kernel::products_for(f)), no_rows(f, nullptr, 0, 256, *kernel::products_for(f));
            const std::byte nothing{}; // what is packed lies somewhere, though it has no bytes
            no_columns.packed = no_rows.packed = &nothing;
            CHECK(product(no_columns, {}, tokens) == aligned_vector<float>(static_cast<std::size_t>(tokens * 35), 0.0F));
            CHECK(product(no_rows, random_floats(tokens * 256, 7), tokens).empty());
        }
    });
}

TEST_CASE("packed: slices begin at bundles of strips", "[packed]") {
    constexpr index_t rows = 96, width = 320;
    const format::info& f = format::info_of<format::q8_0>();
    const auto blocks = random_blocks(f, rows, width);
    const auto x = random_floats(47 * width, 4);
    for (const index_t bundle : {1, 2}) {
        const packed_view w(f, blocks.data(), rows, width, *kernel::products_for<simd::int8_portable<16, true>>(f), bundle);
        for (const index_t tokens : {1, 47}) {
            const auto whole = product(w, x, tokens), part = product(w.slice(32, 32), x, tokens);
            for (index_t t = 0; t < tokens; ++t)
                CHECK(std::equal(part.begin() + t * 32, part.begin() + (t + 1) * 32, whole.begin() + t * rows + 32));
        }
    }
}

// How strips lie, and in what steps columns are passed over, changes no bit: bundles that are whole, one that is not and an incomplete
// strip; a turn of columns and a block of them that are shorter than the others.
TEST_CASE("packed: strips that lie interleaved give the bits of strips one behind the other", "[packed]") {
    constexpr index_t rows = 7 * 16 + 5;
    for_each_integer_format([&]<class F>() {
        const format::info& f = format::info_of<F>();
        const index_t width = 1280 - (F::length < 256 ? 64 : 0);
        const auto x = random_floats(47 * width, 6);
        const auto blocks = random_blocks(f, rows, width);
        for (const auto* products : {kernel::products_for(f), kernel::products_for<simd::int8_portable<16, true>>(f)}) {
            const packed_view apart(f, blocks.data(), rows, width, *products, 1);
            for (index_t bundle = 1; bundle <= products->bundle; bundle *= 2) {
                const packed_view w(f, blocks.data(), rows, width, *products, bundle);
                for (const index_t tokens : {1, 7, 47}) {
                    const aligned_vector<float> some(x.begin(), x.begin() + tokens * width);
                    const auto expected = product(apart, some, tokens);
                    CHECK((product(w, some, tokens) == expected));
                    CHECK((product(w, some, tokens, 3) == expected));
                    const auto one = product(w, aligned_vector<float>(x.begin(), x.begin() + width), 1);
                    CHECK(std::equal(one.begin(), one.end(), expected.begin()));
                }
            }
            CHECK(std::ssize(apart.memory) == (rows + products->rows - 1) / products->rows * products->strip_bytes(width));
        }
    });
}

TEST_CASE("packed: floats whose columns are passed over in blocks give the bits of one token", "[packed]") {
    constexpr index_t rows = 37, width = 2 * 1024 + 77, tokens = 47;
    const auto x = random_floats(tokens * width, 8);
    for_each_format([&]<class F>() {
        if constexpr (!is::integer_format<F>) {
            const format::info& f = format::info_of<F>();
            const auto blocks = random_blocks(f, rows, width);
            for (const auto* products : {kernel::products_for(f), kernel::products_for<simd::int8_portable<16, true>>(f)}) {
                const packed_view w(f, blocks.data(), rows, width, *products);
                const auto all = product(w, x, tokens, 3), one = product(w, aligned_vector<float>(x.begin(), x.begin() + width), 1);
                CHECK(std::equal(one.begin(), one.end(), all.begin()));
            }
        }
    });
}

// A row's scales are whole multiples of one unit: a value far above the others must not take their steps away.
TEST_CASE("packed: small activations keep their precision beside a large one", "[packed]") {
    constexpr index_t rows = 16, width = 256;
    for_each_integer_format([&]<class F>() {
        const format::info& f = format::info_of<F>();
        const auto blocks = random_blocks(f, rows, width);
        const packed_view w(f, blocks.data(), rows, width, *kernel::products_for(f));
        auto x = random_floats(width, 5);
        std::fill(x.end() - 16, x.end(), 0.0F);
        x.back() = 300.0F;
        const auto y = product(w, x, 1);
        std::vector<float> row(static_cast<std::size_t>(width));
        for (index_t n = 0; n < rows; ++n) {
            w.decode_row(n, row.data());
            double sum = 0, half_steps = 0;
            for (std::size_t g = 0; g < width; g += 16) {
                double most = 0, weights = 0;
                for (std::size_t k = g; k < g + 16; ++k) {
                    most = std::max(most, static_cast<double>(std::abs(x[k])));
                    weights += static_cast<double>(std::abs(row[k]));
                    sum += static_cast<double>(row[k]) * static_cast<double>(x[k]);
                }
                if (g + 16 < width) half_steps += 0.5 * most / 127 * weights; // the last sixteen are exact
            }
            CHECK(std::abs(static_cast<double>(y[static_cast<std::size_t>(n)]) - sum) <= 1.01 * half_steps + 1e-5 * std::abs(sum));
        }
    });
}

// Decoding minds neither the bit that would be E4M3's sign nor its NaN.
TEST_CASE("packed: scales of NVFP4 in all bytes", "[packed]") {
    constexpr index_t rows = 64, width = 64;
    const format::info& f = format::info_of<format::nvfp4>();
    auto blocks = random_blocks(f, rows, width);
    for (index_t i = 0; i < 4 * rows; ++i) blocks[static_cast<std::size_t>(i / 4 * f.row_bytes(width) + i % 4)] = static_cast<std::byte>(i);
    const packed_view w(f, blocks.data(), rows, width, *kernel::products_for(f));
    CHECK(worst_error(w, random_floats(width, 41), 1) < static_cast<double>(2 * width / 32));
}

TEST_CASE("packed: rows of zeros and of one large value", "[packed]") {
    const format::info& f = format::info_of<format::q4_0>();
    const auto blocks = random_blocks(f, 16, 32);
    const packed_view w(f, blocks.data(), 16, 32, *kernel::products_for(f));
    aligned_vector<float> x(32, 0.0F);
    for (const float v : product(w, x, 1)) CHECK(v == 0.0F);
    x[17] = 1e30F;
    std::vector<float> row(32);
    const auto y = product(w, x, 1);
    for (index_t n = 0; n < 16; ++n) {
        w.decode_row(n, row.data());
        CHECK(y[static_cast<std::size_t>(n)] == Approx(row[17] * 1e30F).epsilon(1e-5));
    }
}

TEST_CASE("packed: a token that is not finite stays so, in every row, and nobody else's changes", "[packed]") {
    constexpr index_t rows = 16, width = 256;
    for_each_integer_format([&]<class Format>() {
        const format::info& f = format::info_of<Format>();
        const auto blocks = random_blocks(f, rows, width);
        for (const kernel::packed_products* with : {kernel::products_for(f), kernel::products_for<simd::int8_portable<8>>(f)}) {
            const packed_view w(f, blocks.data(), rows, width, *with);
            for (const index_t tokens : {1, 3, 24}) {
                const auto x = random_floats(tokens * width, 5);
                const auto sound = product(w, x, tokens);
                for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
                    for (const index_t place : {0, 6, 7, 15, 100, 255}) {
                        auto broken = x;
                        broken[static_cast<std::size_t>(tokens / 2 * width + place)] = -bad;
                        const auto y = product(w, broken, tokens);
                        index_t wrong = 0;
                        for (index_t i = 0; i < tokens * rows; ++i) {
                            const auto at = static_cast<std::size_t>(i);
                            wrong += i / rows == tokens / 2
                                         ? std::isfinite(y[at])
                                         : std::bit_cast<std::uint32_t>(y[at]) != std::bit_cast<std::uint32_t>(sound[at]);
                        }
                        CHECK(wrong == 0);
                    }
                }
            }
        }
    });
}

TEST_CASE("packed: memory is at most a tenth more than the file's", "[packed]") {
    for_each_format([&]<class F>() {
        const auto& f = format::info_of<F>();
        const auto& products = *kernel::products_for(f);
        CHECK(static_cast<double>(products.strip_bytes(2560)) <= 1.1 * static_cast<double>(products.rows * f.row_bytes(2560)));
    });
}
