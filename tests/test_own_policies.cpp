// Parts written by a user, outside the library: for every slot one that does the same as the library's in its own words (equal bit for
// bit), and one that does something else (and is really called). Here: ropes, masks, scores.
#include "own_policies.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/npy.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <numeric>

using namespace loupe;
using namespace tests;

namespace {

// ---- what a user would have in a file of his own

struct my_rope {
    static double frequency(index_t pair, const rope_sizes& s) {
        return std::pow(s.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(s.head_width));
    }
};
struct my_quarter_rope {
    static double frequency(index_t pair, const rope_sizes& s) { return pair < s.head_width / 8 ? my_rope::frequency(pair, s) : 0.0; }
};
/// Frequencies in equal steps (no paper: only to be different).
struct linear_rope {
    static double frequency(index_t pair, const rope_sizes& s) { return 1.0 / static_cast<double>(1 + pair * s.head_width); }
};

struct my_window {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes s) { return s.window; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes s) { return query - key >= 0 && query - key < s.window; }
};
/// Sees the last 4 keys and every fourth one before them (a fixed sparse pattern, Child et al. 1904.10509).
struct strided {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query && (query - key < 4 || key % 4 == 0); }
};
struct my_causal {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return !(key > query); }
};
/// Nothing but the query itself.
struct itself {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 1; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key == query; }
};
struct my_image_mask {
    static constexpr bool sees_block = true;
};

struct my_score_scale {
    static double factor(score_sizes s) { return s.stored; }
};
struct colder {
    static double factor(score_sizes s) { return s.stored * 1.5; }
};

/// Does nothing, for numbers only: the library must then not ask for batches.
struct my_no_cap {
    static float apply(float x, float) { return x; }
    static double apply(double x, double) { return x; }
};
/// Cuts off at ±5.
struct hard_cap {
    static float apply(float x, float) { return std::clamp(x, -5.0F, 5.0F); }
    static double apply(double x, double) { return std::clamp(x, -5.0, 5.0); }
};

} // namespace

TEST_CASE("own rope", "[own]") {
    CHECK((logits_of<with<nano::e, slot::rope_sliding<my_rope>>>(nano_e()) == stock_e()));
    CHECK((logits_of<with<nano::e, slot::rope_full<my_quarter_rope>>>(nano_e()) == stock_e()));
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::rope_sliding<linear_rope>>>(nano_e()), 1)); // row 0 sees itself alone
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::rope_full<linear_rope>>>(nano_e()), 1));
}

TEST_CASE("own mask", "[own]") {
    CHECK((logits_of<with<nano::e, slot::mask_sliding<my_window>>>(nano_e()) == stock_e()));
    CHECK((logits_of<with<nano::e, slot::mask_full<my_causal>>>(nano_e()) == stock_e()));
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::mask_full<strided>>>(nano_e()), 5)); // query 5 no longer sees key 1
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::mask_sliding<itself>>>(nano_e()), 1));
    // A causal mask on sliding blocks differs as soon as the window is full, and not before.
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::mask_sliding<my_causal>>>(nano_e()), 32));
}

TEST_CASE("own image mask", "[own]") {
    std::vector<std::int32_t> images(48, -1);
    std::fill(images.begin() + 10, images.begin() + 16, 0);
    using mine = with<nano::e, slot::image_mask<my_image_mask>>;
    using library = with<nano::e, slot::image_mask<image_mask::within_image>>;
    const auto seen = logits_of<mine>(nano_e(), images, true);
    CHECK((seen == logits_of<library>(nano_e(), images, true)));
    CHECK(differs_from_row(stock_e(), seen, 10));                                             // the first row of the image sees ahead
    CHECK((logits_of<mine>(nano_e(), images, false) == stock_e()));                           // the file does not ask for it
    CHECK((logits_of<nano::e>(nano_e(), images, true) == stock_e()));                         // the composition does not
    CHECK((logits_of<mine>(nano_e(), std::vector<std::int32_t>(48, -1), true) == stock_e())); // there is no image
}

TEST_CASE("own score scale and cap of scores", "[own]") {
    CHECK((logits_of<with<nano::e, slot::score_scale<my_score_scale>>>(nano_e()) == stock_e()));
    CHECK((logits_of<with<nano::e, slot::score_scale<colder>>>(nano_e()) ==
           logits_of<with<nano::e, slot::score_scale<scale::times<std::ratio<3, 2>>>>>(nano_e())));
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::score_scale<colder>>>(nano_e()), 1));
    CHECK((logits_of<with<nano::e, slot::attention_softcap<my_no_cap>>>(nano_e()) == stock_e()));
    CHECK(largest_difference(logits_of<with<nano::e, slot::attention_softcap<hard_cap>>>(nano_e()), stock_e()) > 0.01F);
}
