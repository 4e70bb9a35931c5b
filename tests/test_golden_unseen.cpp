// What the goldens hardly see, because a norm behind it cancels a scale, or not at all: each value itself, worked out by hand, in both
// paths.
#include "npy_compare.hpp"

#include <loupe/format/formats.hpp>
#include <loupe/model/nano.hpp>

using namespace loupe;
using tests::golden;

namespace {

weight_matrix make(index_t rows, index_t width, const std::vector<float>& values) {
    const auto owner = std::make_shared<const std::vector<float>>(values);
    weight_matrix m;
    m.format = &format::info_of<format::f32>();
    m.data = reinterpret_cast<const std::byte*>(owner->data());
    m.rows = rows;
    m.width = width;
    m.owner = owner;
    return m;
}

/// A chunk of `ids` for a layer that stands alone.
struct chunk {
    executor threads{1};
    workspace memory;
    rope_table none;
    std::vector<token_id> ids;
    context c;

    chunk(std::vector<token_id> tokens, float epsilon)
        : ids(std::move(tokens)), c{threads, memory, 0, static_cast<index_t>(ids.size()), ids, {}, none, none, epsilon} {}
};

/// Two values per block, one block: a projection that picks the first two values of four, ones as gains.
decoder_weights per_layer_weights_of(const std::vector<float>& table) {
    decoder_weights w;
    w.per_layer_projection = make(2, 4, {1, 0, 0, 0, 0, 1, 0, 0});
    w.per_layer_norm = {1, 1};
    w.per_layer_table = make(static_cast<index_t>(table.size()) / 2, 2, table);
    return w;
}

template <class PerLayerInput>
std::vector<float> fast_inputs(const decoder_weights& w, const std::vector<token_id>& ids, std::vector<float> x,
                               std::span<const token_id> placeholders, float epsilon) {
    chunk one(ids, epsilon);
    const per_layer_inputs_layer<PerLayerInput, probe::none> layer{&w, 2, placeholders};
    const auto out = layer(one.c, {x.data(), one.c.tokens, 4});
    return {out.data, out.data + out.rows * out.width};
}

template <class PerLayerInput>
std::vector<double> ref_inputs(const decoder_weights& w, const std::vector<token_id>& ids, const std::vector<float>& x,
                               std::span<const token_id> placeholders, double epsilon) {
    auto in = ref::zeros<double>(static_cast<index_t>(ids.size()), 4);
    std::copy(x.begin(), x.end(), in.begin());
    const auto out = ref::per_layer_inputs<PerLayerInput, double>(in, ids, w, 2, placeholders, epsilon);
    return {out.begin(), out.end()};
}

} // namespace

TEST_CASE("per-layer inputs: width^(-1/2) in the context, sqrt(P) on the table's row, 2^(-1/2) on their sum", "[golden][per_layer]") {
    // With epsilon 1 the norm does not cancel the context's scale: (3, 4)/√4 = (1.5, 2), mean square 3.125, so (1.5, 2)/√4.125.
    const auto w = per_layer_weights_of({0.5F, -0.25F});
    const double c0 = 1.5 / std::sqrt(4.125), c1 = 2 / std::sqrt(4.125), root = std::sqrt(2.0);
    const std::vector<double> both{(c0 + 0.5 * root) / root, (c1 - 0.25 * root) / root};
    CHECK(tests::distance(fast_inputs<per_layer_input::on>(w, {0}, {3, 4, 0, 0}, {}, 1), both) < 1e-6);
    CHECK(tests::distance(ref_inputs<per_layer_input::on>(w, {0}, {3, 4, 0, 0}, {}, 1), both) < 1e-14);
    const std::vector<double> context{c0, c1};
    CHECK(tests::distance(fast_inputs<per_layer_input::context_only>(w, {0}, {3, 4, 0, 0}, {}, 1), context) < 1e-6);
    CHECK(tests::distance(ref_inputs<per_layer_input::context_only>(w, {0}, {3, 4, 0, 0}, {}, 1), context) < 1e-14);
}

TEST_CASE("per-layer inputs: placeholders of images read row 0 of the table, other tokens their own", "[golden][per_layer]") {
    const auto w = per_layer_weights_of({7, 8, 1, 2, 3, 4});
    const std::vector<float> x{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
    const std::vector<token_id> placeholders{9, 2};
    CHECK(fast_inputs<per_layer_input::on>(w, {0, 1, 2}, x, placeholders, 1e-6F) ==
          fast_inputs<per_layer_input::on>(w, {0, 1, 0}, x, {}, 1e-6F));
    CHECK(fast_inputs<per_layer_input::on>(w, {0, 1, 2}, x, placeholders, 1e-6F) !=
          fast_inputs<per_layer_input::on>(w, {0, 1, 2}, x, {}, 1e-6F));
    CHECK(ref_inputs<per_layer_input::on>(w, {0, 1, 2}, x, placeholders, 1e-6) ==
          ref_inputs<per_layer_input::on>(w, {0, 1, 0}, x, {}, 1e-6));
}

TEST_CASE("per-layer inputs: a decoder takes the placeholders of its dimensions, and only for the per-layer table", "[golden][per_layer]") {
    auto file = tests::open(tests::data("gemma4-e4b"));
    using M = gemma4::per_layer_of_file;
    golden g = tests::read_golden(tests::data("gemma4-e4b"), "ids", "");
    runtime on;
    const auto run = [&](const std::vector<token_id>& placeholders) {
        file.sizes.placeholders = placeholders;
        const decoder<tests::recorded<M>> fast(file.sizes, file.weights);
        const ref::decoder<M, double> slow(file.sizes, file.weights);
        const auto found = tests::run_fast<stack_of<tests::recorded<M>>>(fast, g, {g.tokens()}, on);
        CHECK(tests::distance(found, tests::run_ref(slow, g, {g.tokens()})) <= 5e-5);
        return found;
    };
    const auto without = run({}), with_one = run({g.ids[5]});
    CHECK(without.layers[0] == with_one.layers[0]);
    CHECK(tests::distance(without.layers[1], with_one.layers[1]) > 1e-3);
}

TEST_CASE("experts: the chosen weights are divided by their sum, each expert's own scale comes after", "[golden][experts]") {
    // Width 2, expert width 1, three experts that compute the same; the router's scores are log 6, log 3, log 1 times what the norm leaves
    // of 1.
    expert_weights w;
    const auto l = [](double p) { return static_cast<float>(std::log(p)); };
    w.router = make(3, 2, {l(6), 0, l(3), 0, 0, 0});
    w.router_scale = {std::sqrt(2.0F), 1}; // √2 · width^(−1/2) = 1
    w.expert_scale = {10, 20, 40};
    const auto stack = [](const std::vector<float>& values, index_t rows, index_t width) {
        return expert_matrices{make(3 * rows, width, values), rows, rows, 0};
    };
    w.gate = stack({1, 0, 1, 0, 1, 0}, 1, 2);
    w.up = stack({1, 0, 1, 0, 1, 0}, 1, 2);
    w.down = stack({1, -1, 1, -1, 1, -1}, 2, 1);
    w.input_norm = {2, 2}, w.dense_norm = {1, 1}, w.experts_norm = {1, 1};
    // x = (1, 1): its norm is (1, 1) up to epsilon, u = (2, 2), hidden = gelu(2)·2.
    const double hidden =
        2 * ref::gated<activation::gelu_tanh, double>(ref::matrix<double>({1, 1}, 2.0), ref::matrix<double>({1, 1}, 1.0))(0, 0);
    const auto check = [&]<class Router>(std::type_identity<Router>, double weight) {
        const std::vector<double> expected{weight * hidden, -weight * hidden};
        chunk one({0}, 1e-12F);
        std::vector<float> x{1, 1}, out(2);
        const experts_layer<Router, experts_used::stored, activation::gelu_tanh, probe::none> layer{&w, 0, 3, 2};
        layer(one.c, {x.data(), 1, 2}, {out.data(), 1, 2});
        CHECK(tests::distance(out, expected) < 1e-6);
        const auto slow = ref::experts<Router, activation::gelu_tanh, double>(ref::matrix<double>({1, 2}, 1.0), w, 2, 0, 0, 1e-12);
        CHECK(tests::distance(std::vector<double>(slow.begin(), slow.end()), expected) < 1e-6); // the scores are rounded to float
    };
    check(std::type_identity<router::softmax_top_k>{}, (6 * 10 + 3 * 20) / 9.0);
    check(std::type_identity<router::top_k_softmax>{}, (6 * 10 + 3 * 20) / 9.0);
    check(std::type_identity<router::softmax_top_k_without_normalising>{}, (6 * 10 + 3 * 20) / 10.0);
    check(std::type_identity<router::uniform_weights>{}, (10 + 20) / 2.0);
}

TEST_CASE("a head of its own is used for the logits and nowhere else", "[golden][head]") {
    const auto file = tests::open(tests::data("gemma4-12b"));
    using M = gemma4::dense_of_file;
    const golden g = tests::read_golden(tests::data("gemma4-12b"), "ids", "");
    auto untied = std::make_shared<decoder_weights>(*file.weights);
    const index_t rows = file.sizes.vocabulary, width = file.sizes.width;
    std::vector<float> turned(static_cast<std::size_t>(rows * width)); // the embedding's rows in reverse
    for (index_t r = 0; r < rows; ++r) file.weights->embedding.decode_row(rows - 1 - r, turned.data() + r * width);
    untied->head = make(rows, width, turned);
    auto expected = g.expected;
    for (auto row = expected.logits.begin(); row != expected.logits.end(); row += rows) std::reverse(row, row + rows);
    runtime on;
    const decoder<tests::recorded<M>> fast(file.sizes, untied);
    CHECK(tests::distance(tests::run_fast<stack_of<tests::recorded<M>>>(fast, g, {g.tokens()}, on), expected) <= 5e-5);
    const ref::decoder<M, double> slow(file.sizes, untied);
    CHECK(tests::distance(tests::run_ref(slow, g, {g.tokens()}), expected) <= 1e-6);
}

TEST_CASE("keys and values stored for blocks that share others' are not used, unless every block is to have its own",
          "[golden][kv_sharing]") {
    auto file = tests::open(tests::data("gemma4-e4b"));
    using M = gemma4::per_layer_of_file;
    using own = with<M, slot::kv_sharing<kv_sharing::none>>;
    const golden g = tests::read_golden(tests::data("gemma4-e4b"), "ids", "");
    CHECK_THROWS_AS(decoder<own>(file.sizes, file.weights), error); // there are none
    CHECK_THROWS_AS((ref::decoder<own, double>(file.sizes, file.weights)), error);
    auto full = std::make_shared<decoder_weights>(*file.weights);
    for (index_t i = file.sizes.first_shared(); i < file.sizes.blocks(); ++i) {
        index_t like = file.sizes.first_shared() - 1;
        while (file.sizes[like].full != file.sizes[i].full) --like;
        const auto& from = full->block[static_cast<std::size_t>(like)].attention;
        auto& to = full->block[static_cast<std::size_t>(i)].attention;
        to.k = from.k, to.v = from.v, to.k_norm = from.k_norm;
    }
    runtime on;
    const decoder<tests::recorded<M>> shared(file.sizes, full);
    CHECK(tests::distance(tests::run_fast<stack_of<tests::recorded<M>>>(shared, g, {g.tokens()}, on), g.expected) <= 5e-5);
    const decoder<tests::recorded<own>> fast(file.sizes, full);
    const ref::decoder<own, double> slow(file.sizes, full);
    const auto found = tests::run_fast<stack_of<tests::recorded<own>>>(fast, g, {g.tokens()}, on);
    CHECK(tests::distance(found, tests::run_ref(slow, g, {20, g.tokens()})) <= 5e-5);
    CHECK(tests::distance(found, g.expected) > 1e-3);
}
