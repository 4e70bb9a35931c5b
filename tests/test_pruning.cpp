// Pruning of tokens against a slow definition. Traps: what is dropped stays dropped, a query always sees itself, the newest tokens are
// spared, and no decision looks into the future.
#include "data.hpp"

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/layer/pruning.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <random>
#include <set>

using namespace loupe;

namespace {

/// Attention of `n` queries: row q holds one value for each key 0 … q.
std::vector<std::vector<float>> some_attention(index_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::exponential_distribution<float> draw(1.0F);
    std::vector<std::vector<float>> rows;
    for (index_t q = 0; q < n; ++q) {
        std::vector<float>& row = rows.emplace_back(static_cast<std::size_t>(q + 1));
        for (float& v : row) v = draw(random);
    }
    return rows;
}

/// For every query the keys it sees, by the definition in policy/prune.hpp: after each query the tokens are cut to the budget, lowest score
/// first (of equals the earlier token), the newest `recent` spared.
template <class Prune>
std::vector<std::set<index_t>> slow(const std::vector<std::vector<float>>& attention) {
    std::vector<std::set<index_t>> sees;
    std::set<index_t> alive;
    const auto n = static_cast<index_t>(attention.size());
    for (index_t q = 0; q < n; ++q) {
        alive.insert(q);
        while (static_cast<index_t>(alive.size()) > std::max<index_t>(Prune::recent, Prune::budget(q + 1))) {
            index_t worst = -1;
            double lowest = 0;
            for (const index_t key : alive) {
                if (key > q - Prune::recent) continue;
                double received = 0;
                for (index_t i = key; i <= q; ++i)
                    received += static_cast<double>(attention[static_cast<std::size_t>(i)][static_cast<std::size_t>(key)]);
                const double score = Prune::score(key, received, q - key + 1);
                if (worst < 0 || score < lowest) worst = key, lowest = score;
            }
            alive.erase(worst);
        }
        sees.push_back(alive);
        sees.back().insert(q);
    }
    return sees;
}

template <class Prune>
std::vector<std::set<index_t>> fast(const std::vector<std::vector<float>>& attention) {
    const auto rule = pruning_rule::of<Prune>(3);
    pruning_state state;
    const auto n = static_cast<index_t>(attention.size());
    for (index_t q = 0; q < n; ++q) state.advance(rule, q, attention[static_cast<std::size_t>(q)]);
    std::vector<std::set<index_t>> sees(attention.size());
    for (index_t q = 0; q < n; ++q) {
        for (index_t k = 0; k <= q; ++k) {
            if (state.sees(q, k)) sees[static_cast<std::size_t>(q)].insert(k);
        }
    }
    return sees;
}

template <class Prune>
void check() {
    INFO(type_name<Prune>());
    for (std::uint32_t seed = 0; seed < 4; ++seed) {
        const auto attention = some_attention(70, seed);
        const auto sees = fast<Prune>(attention);
        CHECK(sees == slow<Prune>(attention));
        for (index_t q = 0; q < 70; ++q) {
            const auto& now = sees[static_cast<std::size_t>(q)];
            CHECK(now.contains(q));
            for (index_t k = std::max<index_t>(0, q - Prune::recent + 1); k <= q; ++k) CHECK(now.contains(k));
            CHECK(static_cast<index_t>(now.size()) == std::min(q + 1, std::max<index_t>(Prune::recent, Prune::budget(q + 1))));
            if (q > 0) { // nothing comes back
                for (const index_t k : now) CHECK((k == q || sees[static_cast<std::size_t>(q - 1)].contains(k)));
            }
        }
    }
}

/// Recent tokens 1: what a tight budget does.
template <int Num, int Den, index_t Recent>
using attention_of = prune::received_attention<std::ratio<Num, Den>, prune::after_first_full_block, Recent>;

} // namespace

TEST_CASE("pruning: the budget is the rounded-up share that is kept", "[policy]") {
    using quarter = prune::received_attention<std::ratio<1, 4>>;
    for (index_t n = 0; n < 200; ++n) CHECK(quarter::budget(n) == static_cast<index_t>(std::ceil(0.75 * static_cast<double>(n))));
    using most = prune::random<std::ratio<9, 10>>;
    CHECK(most::budget(1) == 1);
    CHECK(most::budget(10) == 1);
    CHECK(most::budget(11) == 2);
    CHECK(quarter::recent == 16);
    CHECK(quarter::first_block(4) == 5);
    CHECK(prune::received_attention<std::ratio<1, 4>, 2>::first_block(4) == 2);
    CHECK(prune::none::budget(7) == 7);
    CHECK(!prune::none::enabled);
}

TEST_CASE("pruning: the state is that of the definition", "[policy]") {
    check<prune::received_attention<std::ratio<1, 4>>>();
    check<prune::received_attention<std::ratio<1, 2>>>();
    check<attention_of<1, 2, 1>>();
    check<attention_of<9, 10, 3>>();
    check<prune::random<std::ratio<1, 2>>>();
    check<prune::random<std::ratio<2, 3>, 1, 5, 42>>();
}

TEST_CASE("pruning: attention decides, and per query, not in sum", "[policy]") {
    // Key 1 receives nothing, all others the same per query: it goes first, whatever their age.
    std::vector<std::vector<float>> attention;
    for (std::size_t q = 0; q < 8; ++q) {
        attention.emplace_back(q + 1, 1.0F);
        if (q >= 1) attention.back()[1] = 0.25F;
    }
    const auto sees = fast<attention_of<1, 4, 1>>(attention);
    CHECK(!sees[7].contains(1));
    CHECK(sees[7].contains(6)); // has received less in sum than key 0, but no less per query
    CHECK(sees[7].size() == 6);
}

TEST_CASE("pruning: random scores do not look at attention, and seeds differ", "[policy]") {
    using r = prune::random<std::ratio<1, 2>>;
    using other = prune::random<std::ratio<1, 2>, prune::after_first_full_block, 16, 1>;
    CHECK(fast<r>(some_attention(60, 1)) == fast<r>(some_attention(60, 2)));
    CHECK(fast<r>(some_attention(60, 1)) != fast<other>(some_attention(60, 1)));
    using a = prune::received_attention<std::ratio<1, 2>>;
    CHECK(fast<a>(some_attention(60, 1)) != fast<a>(some_attention(60, 2)));
    // Scores are spread: over 4096 positions as many lie below the middle as above, within 5 standard deviations.
    index_t below = 0;
    for (index_t k = 0; k < 4096; ++k) below += r::score(k, 0, 1) < 0x1p52 ? 1 : 0;
    CHECK(std::abs(below - 2048) < 160);
}

namespace {

using pruned = with<nano::e, slot::prune<prune::received_attention<std::ratio<1, 2>, prune::after_first_full_block, 4>>>;

template <is::model M>
std::vector<float> logits_of(std::span<const token_id> ids, index_t chunk, index_t threads = 1) {
    static const decoder<M> model(tests::nano_e().sizes, tests::nano_e().weights);
    runtime on(threads);
    auto s = model.start();
    std::vector<float> out;
    model.read(s, ids, on, chunk, [&](index_t, matrix_view<const float> hidden) {
        const std::size_t before = out.size();
        out.resize(before + static_cast<std::size_t>(hidden.rows * 2048));
        model.logits(s, hidden, on, {out.data() + before, hidden.rows, 2048});
    });
    return out;
}

std::vector<token_id> some_ids() {
    std::vector<token_id> ids{2};
    for (token_id i = 1; i < 40; ++i) ids.push_back(280 + 41 * i % 1700);
    return ids;
}

} // namespace

TEST_CASE("pruning: in a model the first tokens are untouched, and it is causal", "[policy]") {
    const auto ids = some_ids();
    const auto stock = logits_of<nano::e>(ids, 0), less = logits_of<pruned>(ids, 0);
    // Budget max(4, ⌈n/2⌉): after query 4 one of the five tokens is dropped, at the earliest for query 4 itself.
    CHECK(std::equal(stock.begin(), stock.begin() + 4 * 2048, less.begin()));
    CHECK((stock != less));
    auto changed = ids;
    changed.back() = 700;
    const auto other = logits_of<pruned>(changed, 0);
    CHECK(std::equal(less.begin(), less.end() - 2048, other.begin()));
    CHECK(!std::equal(less.end() - 2048, less.end(), other.end() - 2048));
}

TEST_CASE("pruning: chunks and threads do not change what is dropped", "[policy]") {
    const auto ids = some_ids();
    const auto whole = logits_of<pruned>(ids, 0);
    CHECK((logits_of<pruned>(ids, 1) == whole));
    CHECK((logits_of<pruned>(ids, 7) == whole));
    CHECK((logits_of<pruned>(ids, 0, 3) == whole));
}

namespace {

/// Fails behind the last block, once pruning has looked at all tokens of the pass.
struct failing {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::residual>;
    bool armed = false;

    void operator()(at::residual, index_t block, index_t, matrix_view<float>) {
        if (armed && block == 9) throw std::runtime_error("failed");
    }
};

} // namespace

TEST_CASE("pruning: a pass that throws leaves nothing behind", "[policy]") {
    const decoder<with<pruned, slot::probe<failing>>> model(tests::nano_e().sizes, tests::nano_e().weights);
    runtime on;
    const auto ids = some_ids();
    const auto fail = [&](sequence<failing>& s, std::span<const token_id> some) {
        s.probe.armed = true;
        CHECK_THROWS_AS(model.forward(s, some, on), std::runtime_error);
        s.probe.armed = false;
    };
    const auto hidden = [&](sequence<failing>& s, std::span<const token_id> some) {
        const auto h = model.forward(s, some, on);
        return std::vector<float>(h.data, h.data + h.rows * h.width);
    };
    auto fresh = model.start();
    const auto whole = hidden(fresh, ids);

    auto again = model.start();
    fail(again, ids);
    CHECK(again.length == 0);
    CHECK((hidden(again, ids) == whole));

    auto rewound = model.start();
    hidden(rewound, std::span(ids).first(9));
    fail(rewound, std::span(ids).subspan(9));
    rewound.rewind(0);
    CHECK((hidden(rewound, ids) == whole));

    auto later = model.start();
    const auto first = hidden(later, std::span(ids).first(17));
    fail(later, std::span(ids).subspan(20)); // others than those that are read in the end
    const auto rest = hidden(later, std::span(ids).subspan(17));
    CHECK(std::equal(first.begin(), first.end(), whole.begin()));
    CHECK((std::equal(rest.begin(), rest.end(), whole.end() - static_cast<std::ptrdiff_t>(rest.size()))));
}

TEST_CASE("pruning: a block that is not there cannot begin it", "[policy]") {
    using late = with<nano::e, slot::prune<prune::random<std::ratio<1, 2>, 10>>>;
    CHECK_THROWS_WITH((decoder<late>(tests::nano_e().sizes, tests::nano_e().weights)),
                      "this composition does not fit the model: it prunes from block 10 on, the model has 10 blocks");
}
