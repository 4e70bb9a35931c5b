// Parts written by a user, outside the library: for every slot one that does the same as the library's in its own words (equal bit for
// bit), and one that does something else (and is really called). Here: what is a number (scales, caps, cards), and weights in formats of
// one's own.
#include "own_policies.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <numeric>

using namespace loupe;
using namespace tests;

namespace {

// ---- what a user would have in a file of his own

struct my_card {
    static constexpr card value = [] {
        card c = nano::e_card::value;
        c.name = "mine";
        return c;
    }();
};
struct wider_window {
    static constexpr card value = [] {
        card c = nano::e_card::value;
        c.window = 64;
        return c;
    }();
};

struct my_embedding_scale {
    static double factor(index_t width, table_precision) { return std::sqrt(static_cast<double>(width)); } // 16: exact in every format
};
struct doubled_embedding {
    static double factor(index_t width, table_precision precision) { return 2 * scale::sqrt_width::factor(width, precision); }
};
struct my_layer_scalar {
    static float value(float stored) { return stored; }
};
struct root_of_scalar {
    static float value(float stored) { return std::sqrt(stored); }
};
/// For numbers only: the library must then not ask for batches.
struct my_cap {
    static float apply(float x, float cap) { return static_cast<float>(apply(static_cast<double>(x), static_cast<double>(cap))); }
    static double apply(double x, double cap) { return cap * std::tanh(x / cap); }
};
struct cut_at_3 {
    static float apply(float x, float) { return std::clamp(x, -3.0F, 3.0F); }
    static double apply(double x, double) { return std::clamp(x, -3.0, 3.0); }
};

/// Nothing done, stored as float: the same model.
struct my_floats {
    static constexpr bool enabled = true;
    using format = format::f32;
    static void prepare(std::span<float>) {}
};
/// Keeps the larger half of every row (magnitude pruning, Han et al. 1506.02626).
struct half_of_every_row {
    static constexpr bool enabled = true;
    using format = format::f32;
    static void prepare(std::span<float> row) {
        std::vector<float> magnitude(row.size());
        std::transform(row.begin(), row.end(), magnitude.begin(), [](float v) { return std::abs(v); });
        const auto middle = magnitude.begin() + static_cast<std::ptrdiff_t>(row.size() / 2);
        std::nth_element(magnitude.begin(), middle, magnitude.end());
        for (float& v : row) {
            if (std::abs(v) < *middle) v = 0;
        }
    }
};

/// Signs and one mean magnitude for 32 weights (XNOR-Net, Rastegari et al. 1603.05279). Ids below 256 are GGUF's.
struct sign_and_mean {
    static constexpr std::uint32_t id = 1000;
    static constexpr std::string_view name = "SIGN32";
    static constexpr index_t length = 32, bytes = 8;
    static void decode(const std::byte* block, float* out) noexcept {
        const auto mean = format::detail::load<float>(block);
        const auto signs = format::detail::load<std::uint32_t>(block + 4);
        for (std::uint32_t i = 0; i < 32; ++i) out[i] = (signs >> i & 1U) != 0 ? -mean : mean;
    }
    static void encode(const float* in, std::byte* block) noexcept {
        float sum = 0;
        std::uint32_t signs = 0;
        for (std::uint32_t i = 0; i < 32; ++i) {
            sum += std::abs(in[i]);
            signs |= (std::signbit(in[i]) ? 1U : 0U) << i;
        }
        format::detail::store(block, sum / 32);
        format::detail::store(block + 4, signs);
    }
};
static_assert(is::encodable_format<sign_and_mean>);

} // namespace

TEST_CASE("own card", "[own]") {
    CHECK((logits_of<with<nano::e, slot::sizes<my_card>>>(nano_e()) == stock_e()));
    CHECK((logits_of<with<nano::e, slot::sizes<sizes_of_file>>>(nano_e()) == stock_e()));
    using other = with<nano::e, slot::sizes<wider_window>>;
    CHECK_THROWS_WITH(decoder<other>(nano_e().sizes, nano_e().weights), "this model: not a nano-e: window: expected 64, found 32");
}

TEST_CASE("own scale of embeddings", "[own]") {
    CHECK((logits_of<with<nano::e, slot::embedding_scale<my_embedding_scale>>>(nano_e()) == stock_e()));
    CHECK(largest_difference(logits_of<with<nano::e, slot::embedding_scale<doubled_embedding>>>(nano_e()), stock_e()) > 0.05F);
}

TEST_CASE("own scalar of layers", "[own]") {
    CHECK((logits_of<with<nano::e, slot::layer_scalar<my_layer_scalar>>>(nano_e()) == stock_e()));
    CHECK(largest_difference(logits_of<with<nano::e, slot::layer_scalar<root_of_scalar>>>(nano_e()), stock_e()) > 0.01F);
}

TEST_CASE("own cap of logits", "[own]") {
    CHECK(largest_difference(logits_of<with<nano::e, slot::final_softcap<my_cap>>>(nano_e()), stock_e()) < 2e-5F); // a few ulps of 30
    const auto capped = logits_of<with<nano::e, slot::final_softcap<cut_at_3>>>(nano_e()),
               free = logits_of<with<nano::e, slot::final_softcap<softcap::none>>>(nano_e());
    for (std::size_t i = 0; i < free.size(); ++i) {
        if (capped[i] != std::clamp(free[i], -3.0F, 3.0F)) {
            FAIL("logit " << i << ": " << free[i] << " became " << capped[i]);
        }
    }
}

TEST_CASE("own preparation of weights", "[own]") {
    CHECK((logits_of<with<nano::e, slot::weights<my_floats>>>(nano_e()) == stock_e()));
    CHECK(largest_difference(logits_of<with<nano::e, slot::weights<half_of_every_row>>>(nano_e()), stock_e()) > 0.05F);
    executor threads(2);
    const auto pruned = io::prepare_weights<half_of_every_row>(nano_e().weights, threads);
    const auto& before = nano_e().weights->block[3].mlp.up;
    const auto& after = pruned->block[3].mlp.up;
    std::vector<float> a(256), b(256);
    for (index_t r = 0; r < before.rows; ++r) {
        before.decode_row(r, a.data());
        after.decode_row(r, b.data());
        float largest_dropped = 0, smallest_kept = 1e30F;
        index_t dropped = 0;
        for (std::size_t i = 0; i < 256; ++i) {
            if (b[i] == 0) {
                ++dropped;
                largest_dropped = std::max(largest_dropped, std::abs(a[i]));
            } else if (a[i] == b[i]) {
                smallest_kept = std::min(smallest_kept, std::abs(a[i]));
            } else {
                FAIL("row " << r << " holds a weight that is neither kept nor dropped");
            }
        }
        if (dropped > 128 || largest_dropped > smallest_kept)
            FAIL("row " << r << ": " << dropped << " dropped, the largest " << largest_dropped);
    }
}

TEST_CASE("own format of weights", "[own]") {
    using signs = with<nano::e, slot::weights<weights::requantized<sign_and_mean>>>;
    CHECK(largest_difference(logits_of<signs>(nano_e()), stock_e()) > 0.1F);
    executor threads(1);
    const auto w = io::prepare_weights<weights::requantized<sign_and_mean>>(nano_e().weights, threads);
    CHECK(w->embedding.format == &format::info_of<sign_and_mean>());
    CHECK(w->embedding.bytes() == 2048 * 256 / 32 * 8);
    CHECK(4 * io::bytes_of(*w) < io::bytes_of(*nano_e().weights));
    std::vector<float> a(256), b(256);
    nano_e().weights->block[0].attention.q.decode_row(7, a.data());
    w->block[0].attention.q.decode_row(7, b.data());
    for (std::size_t i = 0; i < 256; i += 32) {
        float sum = 0;
        for (std::size_t j = i; j < i + 32; ++j) sum += std::abs(a[j]);
        for (std::size_t j = i; j < i + 32; ++j) CHECK(b[j] == std::copysign(sum / 32, a[j]));
    }
}
