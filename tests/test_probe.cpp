// Probes: every place is on the path to the logits, in every block; none sits on a path that has been fused away. What a probe is given is
// in test_own_policies_probe.cpp.
#include "data.hpp"

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <set>

using namespace loupe;

namespace {

/// Adds to the first value of every row, in one block or in all.
template <class Place>
struct nudge {
    template <class P>
    static constexpr bool watches = std::same_as<P, Place>;
    index_t only_block = -1;
    std::set<index_t> blocks;

    void operator()(Place, index_t block, index_t, matrix_view<float> values) {
        blocks.insert(block);
        if (only_block >= 0 && block != only_block) return;
        for (index_t r = 0; r < values.rows; ++r) values[r][0] += 1.0F;
    }
};

std::vector<token_id> some_ids() {
    std::vector<token_id> ids{2};
    for (token_id i = 1; i < 7; ++i) ids.push_back(300 + 37 * i);
    return ids;
}

struct run {
    std::vector<float> logits;
    std::set<index_t> blocks;
};

template <class Place, is::model Base>
run with_nudge(const io::checkpoint& file, index_t only_block) {
    using model_type = with<Base, slot::probe<nudge<Place>>>;
    static const decoder<model_type> model(file.sizes, file.weights);
    runtime on(1);
    auto s = model.start();
    s.probe.only_block = only_block;
    const auto ids = some_ids();
    const auto hidden = model.forward(s, ids, on);
    run r;
    r.logits.resize(ids.size() * static_cast<std::size_t>(file.sizes.vocabulary));
    model.logits(s, hidden, on, {r.logits.data(), static_cast<index_t>(ids.size()), file.sizes.vocabulary});
    r.blocks = s.probe.blocks;
    return r;
}

/// The place is visited in exactly these blocks, and a nudge in any one of them changes the logits. `nowhere`: a block number that never
/// occurs.
template <class Place, is::model Base>
void check_place(const io::checkpoint& file, const std::set<index_t>& blocks) {
    INFO(type_name<Place>());
    const run untouched = with_nudge<Place, Base>(file, 1000);
    CHECK(untouched.blocks == blocks);
    for (const index_t block : blocks) {
        INFO("block " << block);
        const run touched = with_nudge<Place, Base>(file, block);
        bool finite = true;
        for (const float v : touched.logits) finite = finite && std::isfinite(v);
        CHECK(finite);
        CHECK((touched.logits != untouched.logits));
    }
}

std::set<index_t> numbers(index_t first, index_t last) {
    std::set<index_t> out;
    for (index_t i = first; i < last; ++i) out.insert(i);
    return out;
}

} // namespace

// E2B's structure: 10 blocks, 4 and 9 full, 5 to 9 without keys and values of their own.

TEST_CASE("probe: every place of attention is on the path to the logits", "[probe]") {
    check_place<at::embedding, nano::e>(tests::nano_e(), {0});
    check_place<at::per_layer_inputs, nano::e>(tests::nano_e(), {0});
    check_place<at::attn_input, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::q, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::k, nano::e>(tests::nano_e(), numbers(0, 5));
    check_place<at::v, nano::e>(tests::nano_e(), numbers(0, 5));
    check_place<at::attn_scores, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::attn_probs, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::attn_mix, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::attn_output, nano::e>(tests::nano_e(), numbers(0, 10));
}

TEST_CASE("probe: every place behind attention is on the path to the logits", "[probe]") {
    check_place<at::mlp_hidden, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::mlp_output, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::per_layer_gate, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::residual, nano::e>(tests::nano_e(), numbers(0, 10));
    check_place<at::final_norm, nano::e>(tests::nano_e(), {10});
    check_place<at::logits, nano::e>(tests::nano_e(), {10});
}

TEST_CASE("probe: every place of experts is on the path to the logits", "[probe]") {
    check_place<at::router_scores, nano::a>(tests::nano_a(), numbers(0, 6));
    check_place<at::expert_hidden, nano::a>(tests::nano_a(), numbers(0, 6));
    check_place<at::expert_output, nano::a>(tests::nano_a(), numbers(0, 6));
    static_assert(at::all::size == 19, "a new place needs a line in these tests");
}
