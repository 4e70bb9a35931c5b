// Weight formats: decoders and encoders against ggml's bits.
#include "data.hpp"
#include "products.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/io/npy.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

using namespace loupe;

namespace {

std::vector<std::byte> raw_blocks(const std::string& name) {
    const auto bytes = io::npy::read<std::uint8_t>(tests::data("blocks") / (name + ".raw.npy")).values;
    std::vector<std::byte> result(bytes.size());
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
}

// The number of floats whose bits differ; -0 and +0 differ.
std::size_t different_bits(const std::vector<float>& a, const std::vector<float>& b) {
    std::size_t n = a.size() == b.size() ? 0 : 1;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        n += std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i]);
    return n;
}

std::vector<float> decode(const format::info& f, const std::vector<std::byte>& blocks) {
    std::vector<float> values(blocks.size() / static_cast<std::size_t>(f.bytes) * static_cast<std::size_t>(f.length));
    f.decode_row(blocks.data(), values.data(), static_cast<index_t>(values.size()));
    return values;
}

const char* const block_formats[] = {"q4_0", "q4_1", "q5_0", "q5_1",   "q8_0",   "q2_K",  "q3_K",
                                     "q4_K", "q5_K", "q6_K", "iq4_nl", "iq4_xs", "mxfp4", "nvfp4"};

} // namespace

TEST_CASE("random blocks of every format decode to ggml's bits, the sign of zero included", "[format]") {
    for (const std::string name : block_formats) {
        CAPTURE(name);
        const format::info* f = format::find(name);
        REQUIRE(f != nullptr);
        const auto blocks = raw_blocks(name);
        const auto expected = io::npy::read<float>(tests::data("blocks") / (name + ".f32.npy")).values;
        REQUIRE(expected.size() == 24 * static_cast<std::size_t>(f->length));
        REQUIRE(blocks.size() == 24 * static_cast<std::size_t>(f->bytes));
        CHECK(different_bits(decode(*f, blocks), expected) == 0);
    }
}

TEST_CASE("blocks whose scales say that all is finite hold nothing else, and the others do", "[format]") {
    std::mt19937 random(1);
    for (const format::info* f : format::infos()) {
        CAPTURE(f->name);
        int finite = 0;
        constexpr int blocks = 4000;
        for (int i = 0; i < blocks; ++i) {
            std::vector<std::byte> block(static_cast<std::size_t>(f->bytes));
            for (auto& b : block) b = static_cast<std::byte>(random());
            bool all = true;
            for (const float v : decode(*f, block)) all = all && std::isfinite(v);
            REQUIRE(f->all_finite(block.data(), f->length) == all);
            finite += all;
        }
        const bool always = f->name == "NVFP4"; // its scales have no infinity, and a NaN is read as 0
        CHECK(finite > 0);
        CHECK((finite == blocks) == always);
    }
}

TEST_CASE("packed scales of 6 bits take no more than the file's", "[format][packed]") {
    for (const auto* f : {&format::info_of<format::q3_k>(), &format::info_of<format::q4_k>(), &format::info_of<format::q5_k>()}) {
        const auto& products = *kernel::products_for(*f);
        CHECK(products.strip_bytes(2560) == products.rows * f->row_bytes(2560));
    }
}

TEST_CASE("blocks decode from any address", "[format]") {
    for (const std::string name : block_formats) {
        CAPTURE(name);
        const format::info& f = *format::find(name);
        const auto blocks = raw_blocks(name);
        for (std::size_t shift = 1; shift < 4; ++shift) {
            std::vector<std::byte> moved(shift);
            moved.insert(moved.end(), blocks.begin(), blocks.end());
            std::vector<float> values(static_cast<std::size_t>(24 * f.length));
            f.decode_row(moved.data() + shift, values.data(), 24 * f.length);
            CHECK(different_bits(values, decode(f, blocks)) == 0);
        }
    }
}

namespace {

struct golden {
    const char* name;
    std::vector<std::pair<std::size_t, float>> samples;
    double sum, wsum;
};

// GGUF specification, golden vectors: byte i is 37 i + 11, then the scales are set.
std::vector<std::byte> golden_block(const format::info& f) {
    std::vector<std::byte> block(static_cast<std::size_t>(f.bytes));
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>((37 * i + 11) & 255);
    const auto half = [&](std::size_t at, unsigned bits) {
        block[at] = static_cast<std::byte>(bits & 255);
        block[at + 1] = static_cast<std::byte>(bits >> 8);
    };
    constexpr unsigned d = 0x2c00, m = 0xb800, dmin = 0x3400;
    const std::string_view name = f.name;
    if (name == "MXFP4")
        block[0] = std::byte{124};
    else if (name == "NVFP4")
        block[0] = std::byte{0x38}, block[1] = std::byte{0x41}, block[2] = std::byte{0x05}, block[3] = std::byte{0x30};
    else if (name == "Q2_K")
        half(80, d), half(82, dmin);
    else if (name == "Q3_K")
        half(108, d);
    else if (name == "Q6_K")
        half(208, d);
    else
        half(0, d);
    if (name == "Q4_1" || name == "Q5_1") half(2, m);
    if (name == "Q4_K" || name == "Q5_K") half(2, dmin);
    return block;
}

} // namespace

TEST_CASE("the specification's golden vectors: nibble order, packed scales and tables", "[format]") {
    const golden all[] = {
        {"Q4_0", {{0, -0.1875F}, {1, 0.125F}, {15, -0.5F}, {16, -0.1875F}, {17, -0.0625F}, {31, 0}}, -1.3125, -32.375},
        {"Q4_1", {{0, 0.4375F}, {1, -0.25F}, {15, 0.125F}, {16, 0.0625F}, {17, 0.25F}, {31, 0.25F}}, -0.6875, -15.0625},
        {"Q5_0", {{0, 0.5625F}, {1, -0.125F}, {15, -0.75F}, {16, 0.875F}, {17, 0}, {31, 0.0625F}}, 0.9375, 7.0},
        {"Q5_1", {{0, 0.6875F}, {1, 1}, {15, 1.375F}, {16, 0.6875F}, {17, -0.1875F}, {31, -0.1875F}}, 15.5625, 229.8125},
        {"Q8_0", {{0, 5.3125F}, {1, 7.625F}, {15, -8}, {16, -5.6875F}, {17, -3.375F}, {31, -3}}, -11.0, -505.0},
        {"IQ4_NL", {{0, -2.1875F}, {1, 1.5625F}, {15, -7.9375F}, {16, -2.1875F}, {17, -0.625F}, {31, 0.0625F}}, -16.0625, -432.4375},
        {"MXFP4", {{0, 0}, {1, 0.375F}, {15, -0.1875F}, {16, 0.1875F}, {17, 0.375F}, {31, 0.375F}}, 1.5625, 39.875},
        {"NVFP4", {{0, -6}, {1, 2}, {8, -0.5F}, {16, 13.5F}, {17, -4.5F}, {40, -0.0390625F}, {63, 0.25F}}, 7.833984375, 283.6611328125},
        {"Q2_K",
         {{0, 2.0625F},
          {1, 0},
          {16, -0.75F},
          {32, -0.625F},
          {63, -1.125F},
          {64, -1.3125F},
          {127, 2.625F},
          {128, -0.1875F},
          {200, -2.125F},
          {255, -0.375F}},
         -238.8125,
         -35416.125},
        {"Q3_K",
         {{0, 5.0625F},
          {1, -6.75F},
          {16, -6},
          {31, 4},
          {32, -1.375F},
          {63, 0.625F},
          {64, 2.125F},
          {127, 4.5F},
          {128, 0.125F},
          {200, 1.5625F},
          {255, 2.625F}},
         59.875,
         11071.5625},
        {"Q4_K",
         {{0, 8.5625F},
          {1, -12.75F},
          {31, -1.125F},
          {32, -4.75F},
          {63, -2.75F},
          {64, 12.9375F},
          {127, -2.375F},
          {128, 23.8125F},
          {200, 4.9375F},
          {255, -4.625F}},
         1554.5,
         265178.5},
        {"Q5_K",
         {{0, 39.5625F},
          {1, -12.75F},
          {31, -1.125F},
          {32, 1.75F},
          {63, -0.25F},
          {64, 12.9375F},
          {127, -7.625F},
          {128, 62.8125F},
          {200, 4.9375F},
          {255, -0.875F}},
         5415.5,
         793591.5},
        {"Q6_K",
         {{0, -89.4375F},
          {1, 106},
          {16, -27},
          {31, -6},
          {32, 14.4375F},
          {63, -36.25F},
          {64, -190},
          {127, 93.75F},
          {128, -21.9375F},
          {200, 68.0625F},
          {255, -3.75F}},
         288.25,
         49026.25},
        {"IQ4_XS",
         {{0, 4.0625F},
          {1, -0.0625F},
          {31, 2.1875F},
          {32, 28.4375F},
          {63, -10.9375F},
          {64, 48.75F},
          {127, 12.25F},
          {128, -36.5625F},
          {200, 71.25F},
          {255, -1}},
         -687.8125,
         -130695.875},
    };
    for (const golden& g : all) {
        CAPTURE(g.name);
        const format::info& f = *format::find(std::string_view(g.name));
        const auto values = decode(f, golden_block(f));
        double sum = 0, wsum = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            sum += static_cast<double>(values[i]);
            wsum += static_cast<double>(i + 1) * static_cast<double>(values[i]);
        }
        for (const auto& [i, value] : g.samples) {
            CAPTURE(i);
            CHECK(values.at(i) == value);
        }
        CHECK(sum == g.sum);
        CHECK(wsum == g.wsum);
    }
}

TEST_CASE("encoders give ggml's bytes: zeros, outliers, one sign, exact quarters, no fused multiply-add", "[format]") {
    const auto rows = io::npy::read<float>(tests::data("blocks") / "encode_rows.f32.npy");
    REQUIRE(rows.shape == std::vector<index_t>{12, 256});
    for (const std::string name : {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0"}) {
        CAPTURE(name);
        const format::info& f = *format::find(name);
        REQUIRE(f.encode_row != nullptr);
        const auto expected = raw_blocks("encode_" + name);
        std::vector<std::byte> found(static_cast<std::size_t>(f.row_bytes(12 * 256)));
        f.encode_row(rows.values.data(), found.data(), 12 * 256);
        CHECK(found == expected);
    }
}

TEST_CASE("encoders survive values that are not numbers, infinite, or too small for a reciprocal", "[format]") {
    for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(), 1e-44F}) {
        std::vector<float> values(32, 0.0F);
        values[5] = odd;
        for (const auto* f : format::infos())
            if (f->encode_row != nullptr) {
                std::vector<std::byte> block(static_cast<std::size_t>(f->row_bytes(32)));
                f->encode_row(values.data(), block.data(), 32); // the sanitizers watch
                CHECK(block.size() > 0);
            }
    }
}

TEST_CASE("what a cache makes of a NaN is none of the block's numbers", "[format]") {
    for (const auto* f : {&format::info_of<format::f32>(), &format::info_of<format::f16>(), &format::info_of<format::bf16>(),
                          &format::info_of<format::q8_0>()}) {
        INFO(f->name);
        for (std::size_t place = 0; place < 32; ++place) {
            std::vector<float> values(32, 1.0F), back(32);
            values[place] = std::numeric_limits<float>::quiet_NaN();
            std::vector<std::byte> row(static_cast<std::size_t>(f->row_bytes(32)));
            f->encode_row(values.data(), row.data(), 32);
            f->decode_row(row.data(), back.data(), 32);
            for (std::size_t i = 0; i < 32; ++i) {
                if (i == place || f->length > 1)
                    CHECK(std::isnan(back[i]));
                else
                    CHECK(back[i] == 1.0F);
            }
        }
    }
}

TEST_CASE("float formats: rows of every length, and round trips", "[format]") {
    for (const index_t count : {0, 1, 7, 8, 9, 15, 16, 17, 40}) {
        std::vector<float> values;
        for (index_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i - 7) * 0.25F); // exact in all three
        for (const char* name : {"f32", "f16", "bf16"}) {
            CAPTURE(name, count);
            const format::info& f = *format::find(std::string_view(name));
            std::vector<std::byte> bytes(static_cast<std::size_t>(f.row_bytes(count)) + 1);
            f.encode_row(values.data(), bytes.data() + 1, count);
            std::vector<float> back(values.size());
            f.decode_row(bytes.data() + 1, back.data(), count);
            CHECK(different_bits(back, values) == 0);
        }
    }
}

TEST_CASE("formats are found by id and by name in any case; removed and unsupported ids are not", "[format]") {
    CHECK(format::infos().size() == 17);
    for (const auto* f : format::infos()) {
        CHECK(format::find(f->id) == f);
        CHECK(format::find(f->name) == f);
    }
    CHECK(format::find("q4_k") == &format::info_of<format::q4_k>());
    CHECK(format::find("Q4_k") == format::find(12U));
    CHECK(format::find("bf16")->id == 30);
    for (const std::uint32_t id : {4U, 5U, 9U, 15U, 24U, 31U, 32U, 33U, 36U, 37U, 38U, 43U, 0xffffffffU})
        CHECK(format::find(id) == nullptr);
    CHECK(format::find("Q4") == nullptr);
    CHECK(format::find("") == nullptr);
    CHECK(format::info_of<format::q6_k>().row_bytes(512) == 420);
    STATIC_REQUIRE(is::encodable_format<format::q8_0>);
    STATIC_REQUIRE(!is::encodable_format<format::q4_k>);
    STATIC_REQUIRE(!is::weight_format<int>);
}

TEST_CASE("rows of any length are encoded as their values are", "[format]") {
    std::vector<float> values;
    for (const float magnitude : {0.0F, 1e-45F, 1e-8F, 6.1e-5F, 0.1F, 1.0F, 65503.9F, 65520.0F, 1e30F, INFINITY, NAN})
        values.push_back(magnitude), values.push_back(-magnitude);
    for (int i = 0; i < 41; ++i) values.push_back(std::ldexp(1.0F + static_cast<float>(i) * 0x1p-11F, i - 20)); // halfway, for F16
    const auto check = [&]<class F>(std::type_identity<F>) {
        for (std::size_t n = 0; n <= values.size(); ++n) {
            std::vector<std::byte> row(n * F::bytes), one(F::bytes);
            format::info_of<F>().encode_row(values.data(), row.data(), static_cast<index_t>(n));
            for (std::size_t i = 0; i < n; ++i) {
                F::encode(&values[i], one.data());
                if (!std::equal(one.begin(), one.end(), row.begin() + static_cast<std::ptrdiff_t>(i * F::bytes))) FAIL(values[i]);
            }
        }
    };
    check(std::type_identity<format::f32>{});
    check(std::type_identity<format::f16>{});
    check(std::type_identity<format::bf16>{});
    SUCCEED();
}
