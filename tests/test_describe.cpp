// Parameter counts and the printed tree. Traps: a tied head counts once, keys and values of blocks that share count not at all, routed
// experts do.
#include "data.hpp"

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/model/describe.hpp>
#include <loupe/model/gemma3.hpp>
#include <loupe/model/nano.hpp>

using namespace loupe;

namespace {

const part_node& child(const part_node& n, const std::string& name) {
    for (const part_node& c : n.children) {
        if (c.name == name) return c;
    }
    throw error("no part " + name + " in " + n.name);
}

/// Counts of leaves, each block kind as often as it occurs, equal those of the nodes above them.
void check_sums(const part_node& n) {
    if (n.children.empty()) return;
    index_t sum = 0;
    for (const part_node& c : n.children) {
        check_sums(c);
        sum += c.parameters;
    }
    INFO(n.name);
    if (n.parameters != sum) { // a kind of block: "28 × sliding block"
        CHECK(n.name.find(" × ") != std::string::npos);
        CHECK(n.parameters == sum * std::stoll(n.name));
    }
}

/// Values in all tensors that the layers use.
index_t count(const decoder_weights& w) {
    index_t n = 0;
    std::vector<const std::byte*> seen;
    const auto add = [&](const weight_matrix& m) {
        if (m.exists() && std::find(seen.begin(), seen.end(), m.data) == seen.end()) {
            seen.push_back(m.data);
            n += m.rows * m.width;
        }
    };
    const auto values = [&](const std::vector<float>& v) { n += static_cast<index_t>(v.size()); };
    for (const auto* m : {&w.embedding, &w.head, &w.per_layer_table, &w.per_layer_projection}) add(*m);
    values(w.final_norm), values(w.per_layer_norm);
    for (const auto& b : w.block) {
        for (const auto* m :
             {&b.attention.q, &b.attention.k, &b.attention.v, &b.attention.o, &b.mlp.gate, &b.mlp.up, &b.mlp.down, &b.experts.router,
              &b.experts.gate.all, &b.experts.up.all, &b.experts.down.all, &b.per_layer.gate, &b.per_layer.projection}) {
            add(*m);
        }
        for (const auto* v : {&b.input_norm, &b.attention_norm, &b.mlp_input_norm, &b.mlp_norm, &b.attention.q_norm, &b.attention.k_norm,
                              &b.experts.router_scale, &b.experts.expert_scale, &b.experts.input_norm, &b.experts.dense_norm,
                              &b.experts.experts_norm, &b.per_layer.norm}) {
            values(*v);
        }
        ++n; // the scalar
    }
    return n;
}

} // namespace

TEST_CASE("describe: parameter counts of the released models", "[describe]") { // section 1.1 of the specification
    CHECK(describe<gemma4::e2b>().parameters == 4'628'569'379);
    CHECK(describe<gemma4::e4b>().parameters == 7'463'013'418);
    CHECK(describe<gemma4::b12>().parameters == 11'907'350'320);
    CHECK(describe<gemma4::a4b>().parameters == 25'233'141'790);
    CHECK(describe<gemma4::b31>().parameters == 30'697'345'340);
}

TEST_CASE("describe: their parts", "[describe]") {
    const auto e2b = describe<gemma4::e2b>(), a4b = describe<gemma4::a4b>();
    CHECK(child(e2b, "token embedding").parameters == 402'653'184);
    CHECK(child(child(e2b, "per-layer inputs"), "table").parameters == 2'348'810'240);
    CHECK(child(describe<gemma4::e4b>(), "token embedding").parameters == 671'088'640);
    CHECK(child(child(describe<gemma4::e4b>(), "per-layer inputs"), "table").parameters == 2'818'572'288);
    index_t experts = 0;
    for (const part_node& n : a4b.children) {
        if (n.name.find(" block") == std::string::npos) continue;
        const auto& e = child(n, "experts");
        experts += std::stoll(n.name) * (child(e, "gate and up").parameters + child(e, "down").parameters);
    }
    CHECK(experts == 22'837'985'280);
    // active: without the 120 of 128 experts that a token does not go to
    CHECK(a4b.parameters - experts / 128 * 120 == 3'822'530'590);
    CHECK(child(e2b, "head").parameters == 0); // tied
}

TEST_CASE("describe: counts add up, in every model", "[describe]") {
    for (const part_node& tree :
         {describe<gemma4::e2b>(), describe<gemma4::e4b>(), describe<gemma4::b12>(), describe<gemma4::a4b>(), describe<gemma4::b31>(),
          describe<gemma3::m270>(), describe<gemma3::b27>(), describe<nano::e>(), describe<nano::a>()}) {
        check_sums(tree);
    }
}

TEST_CASE("describe: a card's counts are those of the file", "[describe]") {
    executor threads(1);
    const auto e = tests::open(tests::example("models/nano-e"), threads), a = tests::open(tests::example("models/nano-a"), threads);
    CHECK(describe<nano::e>().parameters == count(*e.weights));
    CHECK(describe<nano::a>().parameters == count(*a.weights));
    CHECK(tree_of<gemma4::per_layer_of_file>(e.sizes).parameters == count(*e.weights));
    CHECK(tree_of<gemma4::experts_of_file>(a.sizes).parameters == count(*a.weights));
}

TEST_CASE("describe: a head of its own counts", "[describe]") {
    executor threads(1);
    const auto e = tests::open(tests::example("models/nano-e"), threads);
    const std::string text = describe_checkpoint<gemma4::per_layer_of_file, gemma4::e2b, nano::e>(e.sizes, *e.weights, false);
    CHECK(text.find("tied to the embedding") != std::string::npos);
    auto own = *e.weights;
    const auto copy = std::make_shared<std::vector<std::byte>>(own.head.data, own.head.data + own.head.bytes());
    own.head.data = copy->data();
    own.head.owner = copy;
    const std::string other = describe_checkpoint<gemma4::per_layer_of_file, gemma4::e2b, nano::e>(e.sizes, own, false);
    CHECK(other.find("tied to the embedding") == std::string::npos);
}

TEST_CASE("describe: what is exchanged is named in the tree, and branches that are off are said to be", "[describe]") {
    const std::string stock = to_text(describe<gemma4::a4b>());
    CHECK((stock.find("rope::proportional<>") != std::string::npos));
    CHECK((stock.find("8 of 128, router::softmax_top_k") != std::string::npos));
    CHECK((stock.find("threading::pool") != std::string::npos));
    using changed = with<gemma4::a4b, slot::rope_full<rope::none>, slot::experts_used<experts_used::exactly<2>>,
                         slot::dense_branch<dense_branch::off>, slot::mask_full<mask::sliding<7>>, slot::executor<threading::serial>>;
    const std::string text = to_text(describe<changed>());
    CHECK(text.find("rope::none") != std::string::npos);
    CHECK(text.find("2 of 128") != std::string::npos);
    CHECK(text.find("switched off") != std::string::npos);
    CHECK(text.find("mask::sliding<7>") != std::string::npos);
    CHECK(text.find("threading::serial") != std::string::npos);
    CHECK(describe<changed>().parameters == describe<gemma4::a4b>().parameters);
    const auto json = to_json(describe<changed>());
    CHECK(json["parameters"] == 25'233'141'790);
    CHECK(json["children"].size() == 6); // embedding, two kinds of block, final norm, head, threads
}

namespace {

/// From block 12 on the keys and values of an earlier block are read.
struct shared_from_12 {
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t) {
        return kv_sharing::last_of_kind::donor(block, is_full, 12);
    }
};

} // namespace

TEST_CASE("describe: whose keys and values a block reads is the policy's affair, what is stored counts", "[describe]") {
    const auto own = describe<with<gemma4::e2b, slot::kv_sharing<kv_sharing::none>>>();
    check_sums(own);
    CHECK(to_text(own).find("of an earlier block") == std::string::npos);
    CHECK(to_text(own).find("shared keys") == std::string::npos);
    // Keys, values and a norm of keys for the 16 sliding and 4 full blocks that shared them.
    CHECK(own.parameters - describe<gemma4::e2b>().parameters == 16 * (2 * 256 * 1536 + 256) + 4 * (2 * 512 * 1536 + 512));

    const auto shared = describe<with<gemma4::b12, slot::kv_sharing<shared_from_12>>>();
    check_sums(shared);
    CHECK(shared.parameters == describe<gemma4::b12>().parameters);
    const std::string text = to_text(shared);
    CHECK((text.find("12–16, 18–22") != std::string::npos));
    CHECK(text.find("of an earlier block: shared_from_12") != std::string::npos);
    CHECK(text.find("not used") != std::string::npos);
    CHECK(to_text(describe<gemma4::b12>()).find("not used") == std::string::npos);
}

TEST_CASE("describe: the family is the card's, whatever a layer scalar is exchanged for", "[describe]") {
    using unscaled = with<gemma4::e2b, slot::layer_scalar<layer_scalar::one>>;
    CHECK(dimensions_of<unscaled>().family == "gemma4");
    CHECK(describe<unscaled>().parameters == describe<gemma4::e2b>().parameters);
    using stored = with<gemma3::m270, slot::layer_scalar<layer_scalar::stored>>; // which is 1 there
    CHECK(dimensions_of<stored>().family == "gemma3");
    CHECK(describe<stored>().parameters == describe<gemma3::m270>().parameters);
    for (const dimensions& d : {dimensions_of<gemma3::m270>(), dimensions_of<gemma3::b1>(), dimensions_of<gemma3::b4>(),
                                dimensions_of<gemma3::b12>(), dimensions_of<gemma3::b27>()}) {
        CHECK(d.family == "gemma3");
    }
}

TEST_CASE("describe: a projection of values that the file has counts, even where keys are taken for values", "[describe]") {
    const auto b12 = dimensions_of<gemma4::b12>();
    auto d = b12;
    d.value_from_key = false;
    const index_t more = tree_of<gemma4::dense_of_file>(d).parameters - tree_of<gemma4::dense_of_file>(b12).parameters;
    CHECK(more == 8 * 512 * 3840);
}

TEST_CASE("describe: a checkpoint is compared with the nearest card", "[describe]") {
    executor threads(1);
    const auto e = tests::open(tests::example("models/nano-e"), threads);
    using base = gemma4::per_layer_of_file;
    const std::string text = describe_checkpoint<base, gemma4::e2b, gemma4::e4b, nano::e>(e.sizes, *e.weights, false);
    CHECK(text.find("sizes are those of nano-e") != std::string::npos);
    CHECK(text.find("parts that differ") == std::string::npos); // what the file decides alike is no difference
    auto with_images = e.sizes;
    with_images.images_see_themselves = true;
    CHECK((describe_checkpoint<base, nano::e>(with_images, *e.weights, false).find("it: image_mask: image_mask::causal → ") !=
           std::string::npos));
    CHECK(text.find("BF16") != std::string::npos);
    const std::string far = describe_checkpoint<base, gemma4::e2b, gemma4::e4b>(e.sizes, *e.weights, false);
    CHECK((far.find("nearest stock variant: Gemma 4 E2B") != std::string::npos));
    CHECK((far.find("width: expected 1536, found 256") != std::string::npos));
    const auto json = nlohmann::json::parse(describe_checkpoint<base, gemma4::e2b, nano::e>(e.sizes, *e.weights, true));
    CHECK(json["nearest"] == "nano-e");
    CHECK(json["differs_in"] == "");
    CHECK(json["differs_in_parts"] == "");
    index_t bytes = 0;
    for (const auto& f : json["formats"]) bytes += f["bytes"].get<index_t>();
    CHECK(bytes > 12'000'000);
    CHECK(bytes < 12'336'236); // the file, header included
}

TEST_CASE("describe: dimensions of a card", "[describe]") {
    const auto d = dimensions_of<gemma4::e2b>();
    CHECK(d.blocks() == 35);
    CHECK(d.first_shared() == 15);
    CHECK(d.first_full() == 4);
    CHECK(d[14].mlp_width == 6144);
    CHECK(d[15].mlp_width == 12288);
    CHECK(d[34].full);
    CHECK(!d.value_from_key);
    CHECK(dimensions_of<gemma4::e4b>()[41].mlp_width == 10240);
    CHECK(dimensions_of<gemma4::b12>().value_from_key);
    CHECK(dimensions_of<gemma4::b12>().images_see_themselves);
    CHECK(!d.images_see_themselves);
    CHECK(dimensions_of<gemma3::b27>().score_scale == Approx(1 / std::sqrt(168.0)).epsilon(1e-15));
    CHECK(!dimensions_of<gemma3::m270>().value_from_key);
    // Each fits its own card, and no other.
    CHECK_NOTHROW(check_card(d, gemma4::e2b_card::value, "x"));
    CHECK_THROWS_AS(check_card(d, gemma4::e4b_card::value, "x"), error);
    for (const dimensions& each :
         {d, dimensions_of<gemma4::e4b>(), dimensions_of<gemma4::b12>(), dimensions_of<gemma4::a4b>(), dimensions_of<gemma4::b31>(),
          dimensions_of<gemma3::b1>(), dimensions_of<gemma3::b4>(), dimensions_of<gemma3::b12>(), dimensions_of<gemma3::b27>()}) {
        CHECK_NOTHROW(check_sizes(each, "x"));
    }
}
