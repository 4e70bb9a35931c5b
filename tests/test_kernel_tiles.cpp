// Products of many tokens by tiles of bfloat16: plain code against double, the machine's own against plain code.
#include "packed_view.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/random.hpp>

#include <limits>

using namespace loupe;

namespace {

using plain = simd::int8_portable<16, true>;

std::vector<std::byte> random_blocks(const format::info& f, index_t rows, index_t width) {
    std::vector<std::byte> blocks(static_cast<std::size_t>(rows * f.row_bytes(width)));
    const format::random_rows row(f, 1, 7);
    for (index_t r = 0; r < rows; ++r) row(r, blocks.data() + r * f.row_bytes(width), width);
    return blocks;
}

template <class F>
void for_each_format(F&& f) {
    for (const format::info* info : format::infos()) {
        INFO(info->name);
        f(*info);
    }
}

} // namespace

#if defined(LOUPE_HAS_AMX)

TEST_CASE("tiles: the machine's give the bits of plain code", "[tiles]") {
    constexpr index_t steps = 3, most_terms = 3, x_stride = steps * most_terms * simd::tile_bytes + 64;
    if (!simd::tiles_available()) {
        WARN("the system refuses the tiles of this processor");
        return;
    }
    constexpr index_t w_bytes = steps * most_terms * 2 * simd::tile_bytes;
    const auto values = random_floats(2 * x_stride + w_bytes, 1), begun = random_floats(32 * 32, 2);
    aligned_vector<std::byte> x(2 * x_stride), w(w_bytes);
    for (std::size_t i = 0; i < x.size(); i += 64) simd::to_bfloats(values.data() + i, x.data() + i);
    for (std::size_t i = 0; i < w.size(); i += 64) simd::to_bfloats(values.data() + x.size() + i, w.data() + i);
    const auto same = [&]<int M, int N, int Terms>() {
        for (const bool add : {false, true}) {
            auto a = begun, b = begun;
            simd::tiles_portable::multiply<M, N, Terms>(x.data(), x_stride, w.data(), steps, a.data(), add);
            {
                const simd::tiles::session session{};
                simd::tiles::multiply<M, N, Terms>(x.data(), x_stride, w.data(), steps, b.data(), add);
            }
            CHECK((a == b));
            CHECK((a != begun));
        }
    };
    same.operator()<1, 1, 1>(), same.operator()<1, 2, 1>(), same.operator()<2, 1, 1>(), same.operator()<2, 2, 1>();
    same.operator()<1, 2, 2>(), same.operator()<2, 2, 2>(), same.operator()<1, 2, 3>(), same.operator()<2, 2, 3>();
}

TEST_CASE("tiles: a whole product, too, gives the bits of plain code", "[tiles]") {
    constexpr index_t rows = 53, width = 512, tokens = 37; // twice as wide as is summed up at once
    if (!simd::tiles_available()) {
        WARN("the system refuses the tiles of this processor");
        return;
    }
    const auto x = random_floats(tokens * width, 4);
    executor one(1);
    kernel::activation_rows in;
    for_each_format([&](const format::info& f) {
        const auto blocks = random_blocks(f, rows, width);
        const packed_view a(f, blocks.data(), rows, width, *kernel::products_for<plain, true>(f)),
            b(f, blocks.data(), rows, width, *kernel::fastest_products_for(f));
        REQUIRE(b.products->put_tiles != nullptr);
        in.fill({x.data(), tokens, width}, b.products->form_of(tokens, width), one);
        aligned_vector<float> y(static_cast<std::size_t>(tokens * rows));
        kernel::detail::multiply_tiled<simd::tiles_portable>(a, in, {y.data(), tokens, rows}, 0,
                                                             (rows + a.products->rows - 1) / a.products->rows);
        CHECK((y == product(b, x, tokens)));
    });
}

#endif

/// The largest error of a product by tiles of plain code, as a share of the sum of magnitudes. Activations are rounded to bfloat16 in what
/// it is compared with if they are for the product.
double error_of_tiles(const format::info& f, index_t width) {
    constexpr index_t rows = 53, tokens = 37; // neither whole strips nor whole tiles
    const auto x = random_floats(tokens * width, 3);
    const auto blocks = random_blocks(f, rows, width);
    const packed_view w(f, blocks.data(), rows, width, *kernel::products_for<plain, true>(f));
    const auto form = w.products->form_of(tokens, width);
    REQUIRE(kernel::is_tiled(form));
    const auto y = product(w, x, tokens);
    std::vector<float> row(static_cast<std::size_t>(width));
    double worst = 0;
    for (index_t n = 0; n < rows; ++n) {
        w.decode_row(n, row.data());
        for (index_t t = 0; t < tokens; ++t) {
            double sum = 0, magnitude = 0;
            for (index_t k = 0; k < width; ++k) {
                const float v = x[static_cast<std::size_t>(t * width + k)];
                const float multiplied = form == kernel::activation_form::split_tiles ? v : bfloat16_to_float(float_to_bfloat16(v));
                const double p = static_cast<double>(row[static_cast<std::size_t>(k)]) * static_cast<double>(multiplied);
                sum += p;
                magnitude += std::abs(p);
            }
            worst = std::max(worst, std::abs(static_cast<double>(y[static_cast<std::size_t>(t * rows + n)]) - sum) / magnitude);
        }
    }
    return worst;
}

// A product errs by the rounding of its weight, half a unit in the last of 8 bits, and each of the sums by that of a float.
TEST_CASE("tiles: a product is that of the weights, rounded, and the rounded activations", "[tiles]") {
    for_each_format([](const format::info& f) {
        if (f.id == format::f32::id || f.id == format::f16::id) return;
        const double worst = error_of_tiles(f, 512);
        CHECK(worst < (f.id == format::bf16::id ? 0 : 0x1p-8) + 512 * 0x1p-24);
        CHECK(worst > 0);
    });
}

// Three bfloat16 hold a float, two a half. Without any one of the products of terms the error would be ten times this.
TEST_CASE("tiles: F32 and F16 are as exact as float", "[tiles]") {
    for (const auto* f : {&format::info_of<format::f32>(), &format::info_of<format::f16>()}) {
        INFO(f->name);
        const double worst = error_of_tiles(*f, 32);
        CHECK(worst < 0x1p-22);
        CHECK(worst > 0);
        CHECK(error_of_tiles(*f, 288) < 288 * 0x1p-24); // more than is summed up at once
    }
}

// Sixteen tokens make a tile; what fewer give is what they give without tiles.
TEST_CASE("tiles: a token's result depends on whether there are sixteen, not on how many", "[tiles][determinism]") {
    constexpr index_t rows = 80, width = 320, most = 530; // more than are summed up at once
    const auto& f = format::info_of<format::q5_0>();
    const auto x = random_floats(most * width, 5);
    const auto blocks = random_blocks(f, rows, width);
    const packed_view w(f, blocks.data(), rows, width, *kernel::products_for<plain, true>(f)),
        untiled(f, blocks.data(), rows, width, *kernel::products_for<plain>(f));
    const auto all = product(w, x, most);
    for (const index_t tokens : {16, 17, 33, 64, 513}) {
        for (const index_t threads : {1, 3}) {
            const auto some = product(w, x, tokens, threads);
            CHECK(std::equal(some.begin(), some.end(), all.begin()));
        }
    }
    CHECK((product(w, x, 15) == product(untiled, x, 15)));
    CHECK((product(w, x, 16) != product(untiled, x, 16)));
}

// A slice begins at a strip, which need not be the first of a pair of tiles.
TEST_CASE("tiles: slices of a packed matrix", "[tiles]") {
    constexpr index_t rows = 80, width = 64, tokens = 37;
    const auto& f = format::info_of<format::q8_0>();
    const auto x = random_floats(tokens * width, 8);
    const auto blocks = random_blocks(f, rows, width);
    const packed_view w(f, blocks.data(), rows, width, *kernel::products_for<plain, true>(f));
    const auto all = product(w, x, tokens);
    for (const auto& [first, count] : {std::pair<index_t, index_t>{16, 48}, {32, 16}, {48, 32}}) {
        const auto part = product(w.slice(first, count), x, tokens);
        for (index_t t = 0; t < tokens; ++t)
            CHECK(std::equal(part.begin() + t * count, part.begin() + (t + 1) * count, all.begin() + t * rows + first));
    }
}

// Results of many megabytes go around the caches in whole lines; most rows of these begin within one.
TEST_CASE("tiles: what is written past the caches is what slices write", "[tiles]") {
    constexpr index_t tokens = 17, rows = 61'709, width = 32, part = 160;
    static_assert(tokens * rows * 4 > simd::streamed_beyond && tokens * part * 4 <= simd::streamed_beyond);
    const auto& f = format::info_of<format::q8_0>();
    const auto x = random_floats(tokens * width, 11);
    const auto blocks = random_blocks(f, rows, width);
    const packed_view w(f, blocks.data(), rows, width, *kernel::products_for<plain, true>(f));
    for (const index_t threads : {1, 2}) {
        const auto all = product(w, x, tokens, threads);
        for (const index_t first : {index_t{0}, 32'000 / part * part, rows / part * part}) {
            const index_t count = std::min(part, rows - first);
            const auto some = product(w.slice(first, count), x, tokens);
            for (index_t t = 0; t < tokens; ++t)
                CHECK(std::equal(some.begin() + t * count, some.begin() + (t + 1) * count, all.begin() + t * rows + first));
        }
        CHECK(std::ranges::none_of(all, [](float v) { return std::isnan(v); }));
    }
}

TEST_CASE("stream: copies as many floats as it is told, wherever they go", "[tiles]") {
    const auto from = random_floats(80, 12);
    for (const index_t at : {0, 1, 16}) {
        for (const index_t count : {0, 1, 16, 37, 64}) {
            aligned_vector<float> to(96, -1.0F), expected = to;
            std::copy_n(from.begin() + 3, count, expected.begin() + at);
            simd::stream(from.data() + 3, count, to.data() + at);
            simd::finish_streaming();
            CHECK((to == expected));
        }
    }
}

// What is left of an infinity is not a number: of its own token and row, and of no other.
TEST_CASE("tiles: a value that is not finite stays in its row", "[tiles]") {
    constexpr index_t rows = 40, width = 64, tokens = 20;
    const auto& f = format::info_of<format::f32>();
    const auto x = random_floats(tokens * width, 9);
    auto values = random_floats(rows * width, 10);
    const auto of = [&] {
        return product(
            packed_view(f, reinterpret_cast<const std::byte*>(values.data()), rows, width, *kernel::products_for<plain, true>(f)), x,
            tokens);
    };
    const auto clean = of();
    values[4 * width + 33] = std::numeric_limits<float>::infinity();
    const auto y = of();
    for (std::size_t i = 0; i < y.size(); ++i) CHECK((i % rows == 4 ? !std::isfinite(y[i]) : y[i] == clean[i]));
}

TEST_CASE("tiles: matrices that are no multiple of a tile wide go without", "[tiles]") {
    const auto& bf16 = format::info_of<format::bf16>();
    const auto blocks = random_blocks(bf16, 20, 40);
    const packed_view w(bf16, blocks.data(), 20, 40, *kernel::products_for<plain, true>(bf16)),
        untiled(bf16, blocks.data(), 20, 40, *kernel::products_for<plain>(bf16));
    const auto x = random_floats(20 * 40, 6);
    CHECK((product(w, x, 20) == product(untiled, x, 20)));
}
