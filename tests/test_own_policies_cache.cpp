// Parts written by a user, outside the library: for every slot one that does the same as the library's in its own words (equal bit for
// bit), and one that does something else (and is really called). Here: norms of heads, sources of keys and values, caches, pruning.
#include "own_policies.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/npy.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <cstring>
#include <numeric>

using namespace loupe;
using namespace tests;

namespace {

// ---- what a user would have in a file of his own

struct my_no_norm { // no template: one function for each precision will do
    static void apply(std::span<float>, std::span<const float>, float) {}
    static void apply(std::span<double>, std::span<const double>, double) {}
};
/// Root-mean-square norm, written as a student would.
struct my_rms {
    template <class T>
    static void apply(std::span<T> row, std::span<const T> gain, T epsilon) {
        T mean = epsilon;
        for (const T x : row) mean += x * x / static_cast<T>(row.size());
        for (std::size_t i = 0; i < row.size(); ++i) row[i] = row[i] / std::sqrt(mean) * (gain.empty() ? T{1} : gain[i]);
    }
};
/// Divides by the largest magnitude.
struct max_norm {
    template <class T>
    static void apply(std::span<T> row, std::span<const T>, T epsilon) {
        T largest = epsilon;
        for (const T x : row) largest = std::max(largest, std::abs(x));
        for (T& x : row) x /= largest;
    }
};

/// A donor that reads another's keys itself.
struct chain {
    static constexpr index_t donor(index_t block, std::span<const bool>, index_t first_shared) {
        return block < first_shared ? block : block == first_shared ? block - 2 : block - 1;
    }
};
struct my_sharing { // constexpr, since the composition's rules call it
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        index_t found = block;
        for (index_t i = 0; block >= first_shared && i < first_shared; ++i) {
            if (is_full[static_cast<std::size_t>(i)] == is_full[static_cast<std::size_t>(block)]) found = i;
        }
        return found;
    }
};
/// The first block of the kind gives in place of the last.
struct first_of_kind {
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        if (block < first_shared) return block;
        index_t i = 0;
        while (is_full[static_cast<std::size_t>(i)] != is_full[static_cast<std::size_t>(block)]) ++i;
        return i;
    }
};

struct my_full_cache {
    static constexpr index_t sinks = 0, length = 0;
};
struct small_cache {
    static constexpr index_t sinks = 2, length = 6;
};

struct decoded_floats { // the library's own are read in place, these are decoded
    static constexpr std::uint32_t id = 3000;
    static constexpr std::string_view name = "MY_FLOATS";
    static constexpr index_t length = 1, bytes = sizeof(float);
    static void decode(const std::byte* block, float* out) noexcept { std::memcpy(out, block, sizeof *out); }
    static void encode(const float* in, std::byte* block) noexcept { std::memcpy(block, in, sizeof *in); }
};
struct quarters { // whole multiples of 1/4, pairs of them in a block
    static constexpr std::uint32_t id = 3001;
    static constexpr std::string_view name = "QUARTERS";
    static constexpr index_t length = 2, bytes = 2;
    static void decode(const std::byte* block, float* out) noexcept {
        for (int i = 0; i < 2; ++i) out[i] = static_cast<float>(std::to_integer<int>(block[i]) - 128) / 4;
    }
    static void encode(const float* in, std::byte* block) noexcept {
        for (int i = 0; i < 2; ++i) block[i] = static_cast<std::byte>(std::clamp(std::lround(in[i] * 4) + 128L, 0L, 255L));
    }
};

/// Counts as pruning, but has room for every token.
struct roomy {
    static constexpr bool enabled = true;
    static constexpr index_t recent = 1;
    static constexpr index_t first_block(index_t) { return 2; }
    static constexpr index_t budget(index_t tokens) { return tokens; }
    static constexpr double score(index_t, double received, index_t) { return received; }
};
/// The last third of the tokens, whatever attention says.
struct newest_third {
    static constexpr bool enabled = true;
    static constexpr index_t recent = 1;
    static constexpr index_t first_block(index_t first_full) { return first_full + 1; }
    static constexpr index_t budget(index_t tokens) { return tokens / 3 + 1; }
    static constexpr double score(index_t key, double, index_t) { return static_cast<double>(key); }
};

struct my_key_value {
    static constexpr bool from_key = true;
};

} // namespace

TEST_CASE("own norms of queries, keys and values", "[own]") {
    const auto close = [](const std::vector<float>& a) { return largest_difference(a, stock_e()) < 2e-4F; }; // of logits up to 30
    CHECK(close(logits_of<with<nano::e, slot::q_norm<my_rms>>>(nano_e())));
    CHECK(close(logits_of<with<nano::e, slot::k_norm<my_rms>>>(nano_e())));
    CHECK(close(logits_of<with<nano::e, slot::v_norm<my_rms>>>(nano_e())));
    CHECK((logits_of<with<nano::e, slot::v_norm<my_no_norm>>>(nano_e()) == logits_of<with<nano::e, slot::v_norm<norm::none>>>(nano_e())));
    CHECK(largest_difference(logits_of<with<nano::e, slot::q_norm<max_norm>>>(nano_e()), stock_e()) > 0.01F);
    CHECK(largest_difference(logits_of<with<nano::e, slot::v_norm<max_norm>>>(nano_e()), stock_e()) > 0.01F);
}

TEST_CASE("own sharing of keys and values", "[own]") {
    CHECK((logits_of<with<nano::e, slot::kv_sharing<my_sharing>>>(nano_e()) == stock_e()));
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::kv_sharing<first_of_kind>>>(nano_e()), 0));
    using chained = with<nano::e, slot::sizes<sizes_of_file>, slot::kv_sharing<chain>>; // sizes of files are checked when they are there
    CHECK_THROWS_WITH(decoder<chained>(nano_e().sizes, nano_e().weights),
                      "this composition does not fit the model: block 6 reads keys and values of block 5, which has none of its own");
}

TEST_CASE("own cache and own pruning", "[own]") {
    CHECK((logits_of<with<nano::e, slot::kv<my_full_cache>>>(nano_e()) == stock_e()));
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::kv<small_cache>>>(nano_e()),
                           8)); // 2 sinks and 6: position 2 is gone at 8
    CHECK((logits_of<with<nano::e, slot::prune<roomy>>>(nano_e()) == stock_e()));
    const auto pruned = logits_of<with<nano::e, slot::prune<newest_third>>>(nano_e());
    // budgets of 1, 1, 2 tokens and so on: already query 1 sees itself alone
    CHECK(differs_from_row(stock_e(), pruned, 1));
}

TEST_CASE("own format of keys and values", "[own]") {
    CHECK((logits_of<with<nano::e, slot::kv_format<decoded_floats>>>(nano_e()) == stock_e()));
    CHECK(differs_from_row(stock_e(), logits_of<with<nano::e, slot::kv_format<quarters>>>(nano_e()), 0)); // a query reads its own key
}

TEST_CASE("own source of values", "[own]") {
    CHECK((logits_of<with<nano::a, slot::value_full<my_key_value>>>(nano_a()) == logits_of<nano::a>(nano_a())));
    // E2B's structure with K = V on its full blocks: the value projection is there and not used
    const auto same = logits_of<with<nano::e, slot::value_full<my_key_value>>>(nano_e());
    CHECK((same == logits_of<with<nano::e, slot::value_full<value::key>>>(nano_e())));
    CHECK(differs_from_row(stock_e(), same, 0));
    // and the other way round there is nothing to read
    using projected = with<nano::a, slot::value_full<value::projected>>;
    CHECK_THROWS_AS(decoder<projected>(nano_a().sizes, nano_a().weights), error);
}
