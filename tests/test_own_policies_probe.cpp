// A probe of a user's own is given what policy/probe.hpp says (shapes, blocks, positions), and looking without touching changes no bit.
// That every place is on the path to the logits is in test_probe.cpp.
#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <map>

using namespace loupe;
using namespace tests;

namespace {

struct visit_record {
    index_t block, position, rows, width;
    bool operator==(const visit_record&) const = default;
};

/// Writes down where it was called and with what, and changes nothing.
struct recorder {
    template <class P>
    static constexpr bool watches = true;
    std::map<std::string, std::vector<visit_record>> visits;
    double sum = 0; // so that every value is read

    template <class Place>
    void operator()(Place, index_t block, index_t position, matrix_view<float> values) {
        visits[type_name<Place>()].push_back({block, position, values.rows, values.width});
        for (index_t r = 0; r < values.rows; ++r) {
            for (const float v : values[r]) sum += static_cast<double>(v);
        }
    }
};

/// Changes token 4 in block 3.
struct late {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::residual>;
    void operator()(at::residual, index_t block, index_t position, matrix_view<float> values) {
        if (block == 3) values[4 - position][0] += 1.0F;
    }
};

std::vector<token_id> some_ids() {
    std::vector<token_id> ids{2};
    for (token_id i = 1; i < 7; ++i) ids.push_back(300 + 37 * i);
    return ids;
}

template <is::model M>
std::map<std::string, std::vector<visit_record>> record(const io::checkpoint& file, std::span<const token_id> ids, index_t chunk,
                                                        std::span<const index_t> wanted = {}) {
    const decoder<with<M, slot::probe<recorder>>> model(file.sizes, file.weights);
    runtime on(1);
    auto s = model.start();
    std::vector<float> logits;
    const auto head = [&](index_t first, matrix_view<const float> hidden) {
        logits.resize(static_cast<std::size_t>(hidden.rows * file.sizes.vocabulary));
        model.logits(s, hidden, on, {logits.data(), hidden.rows, file.sizes.vocabulary}, first);
    };
    if (wanted.empty())
        model.read(s, ids, on, chunk, head);
    else
        head(0, model.forward(s, ids, on, {}, wanted));
    return s.probe.visits;
}

} // namespace

TEST_CASE("probe: shapes and positions", "[probe]") {
    const auto ids = some_ids(); // 7 of them
    for (const index_t chunk : {0, 3}) {
        INFO("chunks of " << chunk);
        auto seen = record<nano::e>(nano_e(), ids, chunk);
        auto experts = record<nano::a>(nano_a(), ids, chunk);
        CHECK(seen.size() + 3 == static_cast<std::size_t>(at::all::size));
        CHECK(experts.size() + 2 == static_cast<std::size_t>(at::all::size));
        // One call for each chunk and block, at the chunk's first position, rows being its tokens.
        const auto expect = [&](const auto& visits, const std::string& place, index_t block, index_t width) {
            std::vector<visit_record> wanted, found;
            for (index_t first = 0; first < 7; first += chunk == 0 ? 7 : chunk) {
                wanted.push_back({block, first, std::min<index_t>(chunk == 0 ? 7 : chunk, 7 - first), width});
            }
            for (const auto& v : visits.at(place)) {
                if (v.block == block) found.push_back(v);
            }
            INFO(place << ", block " << block);
            CHECK(found == wanted);
        };
        expect(seen, "at::embedding", 0, 256);
        expect(seen, "at::per_layer_inputs", 0, 320);
        for (index_t i = 0; i < 10; ++i) {
            const index_t d = i % 5 == 4 ? 128 : 64;
            expect(seen, "at::attn_input", i, 256);
            expect(seen, "at::q", i, 4 * d);
            if (i < 5) expect(seen, "at::k", i, d);
            if (i < 5) expect(seen, "at::v", i, d);
            expect(seen, "at::attn_mix", i, 4 * d);
            expect(seen, "at::attn_output", i, 256);
            expect(seen, "at::mlp_hidden", i, i < 5 ? 256 : 512);
            expect(seen, "at::mlp_output", i, 256);
            expect(seen, "at::per_layer_gate", i, 32);
            expect(seen, "at::residual", i, 256);
        }
        expect(seen, "at::final_norm", 10, 256);
        expect(seen, "at::logits", 10, 2048);
        for (index_t i = 0; i < 6; ++i) {
            expect(experts, "at::k", i, i % 3 == 2 ? 128 : 2 * 64);
            expect(experts, "at::router_scores", i, 16);
            expect(experts, "at::expert_output", i, 256);
        }
        // Scores and probabilities come query by query: [heads, visible keys].
        for (const char* place : {"at::attn_scores", "at::attn_probs"}) {
            std::map<index_t, std::vector<visit_record>> by_block;
            for (const auto& v : seen.at(place)) by_block[v.block].push_back(v);
            CHECK(by_block.size() == 10);
            for (const auto& [block, visits] : by_block) {
                REQUIRE(visits.size() == 7);
                for (index_t t = 0; t < 7; ++t) CHECK(visits[static_cast<std::size_t>(t)] == visit_record{block, t, 4, t + 1});
            }
        }
        // Every token goes to four experts: so many rows in all, and each call's position is one of the chunk.
        std::map<index_t, index_t> rows;
        for (const auto& v : experts.at("at::expert_hidden")) {
            CHECK(v.width == 96);
            CHECK((v.position >= 0 && v.position < 7));
            rows[v.block] += v.rows;
        }
        for (index_t i = 0; i < 6; ++i) CHECK(rows[i] == 4 * 7);
    }
}

TEST_CASE("probe: past the last own keys only the tokens that are wanted are seen, at their own positions", "[probe]") {
    const auto ids = some_ids();
    const std::vector<index_t> wanted{2, 5};
    const auto seen = record<nano::e>(nano_e(), ids, 0, wanted);
    for (const auto& v : seen.at("at::residual"))
        CHECK(v == (v.block < 5 ? visit_record{v.block, 0, 7, 256} : visit_record{v.block, 2, 2, 256}));
    CHECK(seen.at("at::final_norm").front() == visit_record{10, 2, 2, 256});
    std::vector<index_t> queries;
    for (const auto& v : seen.at("at::attn_scores")) {
        if (v.block == 9) queries.push_back(v.position);
    }
    CHECK(queries == wanted);
}

TEST_CASE("probe: looking changes no bit", "[probe]") {
    const auto check = [](const io::checkpoint& file, const auto& plain, const auto& watched) {
        runtime on(2);
        const auto ids = some_ids();
        auto a = plain.start();
        auto b = watched.start();
        std::vector<float> x(ids.size() * 2048), y(x.size());
        plain.logits(a, plain.forward(a, ids, on), on, {x.data(), 7, 2048});
        watched.logits(b, watched.forward(b, ids, on), on, {y.data(), 7, 2048});
        CHECK(x == y);
        CHECK(b.probe.sum != 0);
        CHECK(file.sizes.vocabulary == 2048);
    };
    check(nano_e(), decoder<nano::e>(nano_e().sizes, nano_e().weights),
          decoder<with<nano::e, slot::probe<recorder>>>(nano_e().sizes, nano_e().weights));
    check(nano_a(), decoder<nano::a>(nano_a().sizes, nano_a().weights),
          decoder<with<nano::a, slot::probe<recorder>>>(nano_a().sizes, nano_a().weights));
}

TEST_CASE("probe: a nudge of one token moves that token and those after it, none before", "[probe]") {
    const decoder<with<nano::e, slot::probe<late>>> model(nano_e().sizes, nano_e().weights);
    const decoder<nano::e> plain(nano_e().sizes, nano_e().weights);
    runtime on(1);
    const auto ids = some_ids();
    auto a = model.start();
    auto b = plain.start();
    const auto ha = model.forward(a, ids, on);
    const std::vector<float> touched(ha.data, ha.data + ha.rows * ha.width);
    const auto hb = plain.forward(b, ids, on);
    for (index_t t = 0; t < 7; ++t) {
        const bool same = std::equal(hb[t].begin(), hb[t].end(), touched.begin() + t * hb.width);
        CHECK(same == (t < 4));
    }
}
