// Parts that would read or write where nothing is are refused by name, when a composition meets a model's sizes or before.
#include "data.hpp"
#include "files.hpp"

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/layer/pruning.hpp>
#include <loupe/model/check.hpp>
#include <loupe/model/nano.hpp>

#include <cstring>
#include <limits>

using namespace loupe;

namespace {

using base = with<nano::e, slot::sizes<sizes_of_file>>;
using base_a = with<nano::a, slot::sizes<sizes_of_file>>;

/// The message with which a model refuses a composition.
template <is::model M>
std::string refusal(const char* name) {
    executor one;
    const auto file = tests::open(tests::example(name), one);
    const std::string text = tests::refusal([&] { check_parts(numbers_of<M>, file.sizes, *file.weights); });
    const std::string common = "this composition does not fit the model: ";
    return text.starts_with(common) ? text.substr(common.size()) : text;
}

/// Shared blocks read the keys of the block before, which may have none of its own.
struct nearest_of_kind {
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        if (block < first_shared) return block;
        for (index_t i = block - 1; i >= 0; --i) {
            if (is_full[static_cast<std::size_t>(i)] == is_full[static_cast<std::size_t>(block)]) return i;
        }
        return kv_sharing::no_donor;
    }
};
struct backwards { // reaches −1 position
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return -1; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query; }
};
struct less_than_nothing {
    static constexpr index_t sinks = 0, length = -4;
};
struct minus_a_sink {
    static constexpr index_t sinks = -1, length = 4;
};
struct long_blocks {
    static constexpr std::uint32_t id = 3000;
    static constexpr std::string_view name = "LONG";
    static constexpr index_t length = 128, bytes = 512;
    static void decode(const std::byte* block, float* out) noexcept { std::memcpy(out, block, bytes); }
    static void encode(const float* in, std::byte* block) noexcept { std::memcpy(block, in, bytes); }
};
struct no_expert {
    static constexpr index_t count(index_t) { return 0; }
};
struct half_kept {
    static constexpr bool enabled = true;
    static constexpr index_t recent = 1;
    static constexpr index_t first_block(index_t) { return 1; }
    static constexpr index_t budget(index_t tokens) { return (tokens + 1) / 2; }
    static constexpr double score(index_t, double received, index_t) { return received; }
};
struct from_the_first : half_kept {
    static constexpr index_t first_block(index_t) { return 0; }
};
struct without_the_newest : half_kept {
    static constexpr index_t recent = 0;
};
struct keeps_the_first : half_kept { // whatever it received
    static constexpr double score(index_t key, double received, index_t) {
        return key < 4 ? std::numeric_limits<double>::infinity() : received;
    }
};
struct not_a_number : half_kept {
    static constexpr double score(index_t, double, index_t) { return std::numeric_limits<double>::quiet_NaN(); }
};

/// The tokens that query 16 still sees of the 16 before it.
template <class Prune>
std::vector<index_t> kept() {
    pruning_state state;
    const pruning_rule rule = pruning_rule::of<Prune>(0);
    for (index_t query = 0; query < 16; ++query) {
        state.advance(rule, query, std::vector<float>(static_cast<std::size_t>(query + 1), 1.0F));
    }
    std::vector<index_t> keys;
    for (index_t key = 0; key < 16; ++key) {
        if (state.sees(16, key)) keys.push_back(key);
    }
    return keys;
}

} // namespace

TEST_CASE("parts: what would read or write where nothing is, is refused", "[composition]") {
    const char *e = "models/nano-e", *a = "models/nano-a";
    CHECK(refusal<base>(e).empty());
    CHECK(refusal<base_a>(a).empty());
    CHECK(refusal<with<base, slot::kv_sharing<nearest_of_kind>>>(e) ==
          "block 6 reads keys and values of block 5, which has none of its own");
    CHECK(refusal<with<base, slot::mask_sliding<backwards>>>(e) == "mask_sliding reaches back -1 positions, expected 0 (no bound) or more");
    CHECK(refusal<with<base, slot::mask_full<backwards>>>(e) == "mask_full reaches back -1 positions, expected 0 (no bound) or more");
    CHECK(refusal<with<base, slot::kv<less_than_nothing>>>(e) == "its cache keeps 0 first and -4 last positions, expected 0 or more");
    CHECK(refusal<with<base, slot::kv<minus_a_sink>>>(e) == "its cache keeps -1 first and 4 last positions, expected 0 or more");
    CHECK(refusal<with<base, slot::kv_format<long_blocks>>>(e) ==
          "block 0 has heads of width 64, expected a multiple of 128, since it holds keys and values in blocks of LONG");
    CHECK(refusal<with<base_a, slot::experts_used<no_expert>>>(a) == "it uses 0 experts, expected 1 to 16");
    CHECK(refusal<with<base_a, slot::experts_used<experts_used::exactly<17>>>>(a) == "it uses 17 experts, expected 1 to 16");
    CHECK(refusal<with<base, slot::prune<half_kept>>>(e).empty());
    CHECK(refusal<with<base, slot::prune<from_the_first>>>(e) ==
          "it prunes from block 0 on, which no block before it could score tokens for");
    CHECK(refusal<with<base, slot::prune<without_the_newest>>>(e) == "it prunes all but the newest 0 tokens, expected at least 1");
    // With a card the rules of a composition see it before there is a model.
    static_assert(
        std::same_as<detail::problem_with<nano::e, slot::kv_sharing<nearest_of_kind>>, rule::shared_kv_block_has_no_donor_of_its_kind<6>>);
}

TEST_CASE("pruning: the budget is kept whatever the scores are", "[prune]") {
    CHECK(kept<half_kept>().size() == 8);
    CHECK(kept<keeps_the_first>().size() == 8);
    CHECK(kept<not_a_number>().size() == 8);
}
