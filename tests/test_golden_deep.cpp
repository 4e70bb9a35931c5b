// Positions up to 262143, the last of Gemma 4's context: a sequence with a made-up past goes on as ref/ in double does on the same keys and
// values.
#include "npy_compare.hpp"

#include <loupe/model/gemma4.hpp>

using namespace loupe;

namespace {

using tests::outputs;

/// `ids` behind `depth` made-up positions, token by token.
template <is::model M>
outputs<float> fast(const io::checkpoint& file, index_t depth, std::span<const token_id> ids, index_t threads, std::uint64_t seed = 7) {
    const decoder<tests::recorded<M>> model(file.sizes, file.weights);
    runtime on(threads);
    auto s = model.start();
    s.make_up_past(depth, seed);
    REQUIRE(s.length == depth);
    outputs<float> out;
    std::vector<float> logits(static_cast<std::size_t>(file.sizes.vocabulary));
    for (const token_id& id : ids) {
        model.logits(s, model.forward(s, std::span(&id, 1), on), on, {logits.data(), 1, file.sizes.vocabulary});
        tests::append(out.logits, logits.data(), file.sizes.vocabulary);
    }
    out.layers = std::move(s.probe.layers);
    return out;
}

/// The same in double, by definition: every position has its row, whether any mask sees it or not.
template <is::model M>
outputs<double> slow(const io::checkpoint& file, index_t depth, std::span<const token_id> ids) {
    const dimensions& d = file.sizes;
    const ref::decoder<M, double> model(d, file.weights);
    typename ref::decoder<M, double>::state state;
    state.length = depth;
    state.block.resize(d.block.size());
    for (index_t i = 0; i < d.first_shared(); ++i) {
        const index_t width = d[i].kv_heads * d[i].head_width;
        auto& past = state.block[static_cast<std::size_t>(i)];
        past = {ref::zeros<double>(depth, width), ref::zeros<double>(depth, width)};
        std::vector<float> key(static_cast<std::size_t>(width)), value(key.size());
        for (index_t p = d[i].full ? 0 : std::max<index_t>(0, depth - d.window); p < depth; ++p) {
            made_up_rows{7}(i, p, key, value);
            std::copy(key.begin(), key.end(), ref::row(past.keys, p).begin());
            std::copy(value.begin(), value.end(), ref::row(past.values, p).begin());
        }
    }
    const auto r = model.forward(state, ids);
    outputs<double> out;
    tests::append(out.logits, r.logits.data(), static_cast<index_t>(r.logits.size()));
    out.layers.resize(r.layers.shape()[0]);
    const auto size = static_cast<index_t>(r.layers.size() / out.layers.size());
    for (std::size_t l = 0; l < out.layers.size(); ++l)
        tests::append(out.layers[l], r.layers.data() + static_cast<index_t>(l) * size, size);
    return out;
}

using base = gemma4::per_layer_of_file;

} // namespace

TEST_CASE("deep: positions 262142 and 262143", "[golden][deep]") {
    const auto file = tests::open(tests::data("gemma4-e2b"));
    constexpr index_t depth = 262142;
    const std::vector<token_id> ids{17, 42};
    const auto one = fast<base>(file, depth, ids, 1);
    CHECK(tests::distance(one, slow<base>(file, depth, ids)) <= 5e-5); // as the goldens
    CHECK((fast<base>(file, depth, ids, 2) == one));
    // and it matters where the tokens stand, and what stands before them
    CHECK(tests::distance(fast<base>(file, depth - 1, ids, 1).logits, one.logits) > 1e-3);
    CHECK(tests::distance(fast<base>(file, depth, ids, 1, 8).logits, one.logits) > 1e-3);
}

TEST_CASE("deep: a made-up past of any length lies where one that was read does", "[golden][deep]") {
    const auto file = tests::open(tests::data("gemma4-e2b")); // windows of 8
    const std::vector<token_id> ids{2, 17, 42, 99, 3};
    using narrow = with<base, slot::kv<kv::sink_window<3, 6>>>;
    for (const index_t depth : {0, 1, 2, 3, 4, 7, 8, 9, 10, 17, 64, 100}) {
        INFO(depth);
        CHECK(tests::distance(fast<base>(file, depth, ids, 1), slow<base>(file, depth, ids)) <= 5e-5);
        CHECK(tests::distance(fast<narrow>(file, depth, ids, 1), slow<narrow>(file, depth, ids)) <= 5e-5);
    }
}

TEST_CASE("deep: a made-up past replaces what was read, and can be rewound to", "[golden][deep]") {
    const auto file = tests::open(tests::data("gemma4-e2b"));
    const decoder<base> model(file.sizes, file.weights);
    runtime on;
    const std::vector<token_id> text{2, 5, 9, 11, 3, 8, 21, 34, 55, 89, 13, 1}, more{17, 42};
    const auto go_on = [&](auto& s) {
        std::vector<float> out;
        model.read(s, more, on, 1, [&](index_t, matrix_view<const float> h) { tests::append(out, h.data, h.rows * h.width); });
        return out;
    };
    auto fresh = model.start(), used = model.start();
    fresh.make_up_past(50);
    const auto expected = go_on(fresh);
    model.forward(used, text, on);
    used.make_up_past(50);
    CHECK(used.length == 50);
    CHECK(go_on(used) == expected);
    used.rewind(50); // a chunk of 12 has left room for what the next queries would see
    CHECK(go_on(used) == expected);
    CHECK_THROWS_WITH(fresh.rewind(20), Catch::Matchers::Contains("holds positions from"));
    used.make_up_past(0);
    CHECK(used.length == 0);
    auto empty = model.start();
    CHECK(go_on(used) == go_on(empty));

    CHECK_THROWS_WITH(used.make_up_past(-1), "a made-up past: expected 0 or more positions, found -1");
    const decoder<with<base, slot::prune<prune::random<std::ratio<1, 2>>>>> pruning(file.sizes, file.weights);
    auto pruned = pruning.start();
    CHECK_THROWS_WITH(pruned.make_up_past(5), "a made-up past: expected a model that prunes no tokens, found one that does");
}
