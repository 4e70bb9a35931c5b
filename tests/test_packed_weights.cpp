// weights::packed: integer products in a whole model.
#include "data.hpp"

#include "open.hpp"
#include "products.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>
#include <loupe/policy/packed_weights.hpp>

using namespace loupe;

namespace {

using q8 = weights::requantized<format::q8_0>;

io::checkpoint open(const char* model) {
    executor threads(1);
    return tests::open(tests::example(model), threads);
}

std::vector<float> logits_of(const io::checkpoint& file, std::shared_ptr<const decoder_weights> weights, index_t chunk, index_t threads) {
    const decoder<nano::e> model(file.sizes, std::move(weights));
    runtime on(threads);
    auto sequence = model.start();
    std::vector<token_id> ids;
    for (token_id i = 0; i < 40; ++i) ids.push_back((i * 37 + 2) % 2048);
    std::vector<float> out(ids.size() * 2048);
    model.read(sequence, ids, on, chunk, [&](index_t first, matrix_view<const float> hidden) {
        model.logits(sequence, hidden, on, {out.data() + first * 2048, hidden.rows, 2048});
    });
    return out;
}

/// Root of the mean squared difference, relative to the spread of the first.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double mean = 0, squares = 0, difference = 0;
    for (const float v : a) mean += static_cast<double>(v) / static_cast<double>(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        squares += (static_cast<double>(a[i]) - mean) * (static_cast<double>(a[i]) - mean);
        difference += static_cast<double>(a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
    }
    return std::sqrt(difference / squares);
}

} // namespace

TEST_CASE("packed weights: rounding activations costs less than rounding weights to as many bits", "[packed]") {
    const auto file = open("models/nano-e");
    executor threads(1);
    const auto in_float = io::prepare_weights<q8>(file.weights, threads),
               in_integers = io::prepare_weights<weights::packed<q8>>(file.weights, threads);
    const auto stock = logits_of(file, file.weights, 0, 1), rounded = logits_of(file, in_float, 0, 1),
               packed = logits_of(file, in_integers, 0, 1);
    CHECK(packed != rounded);
    // Sixteen values under one scale on the one side, thirty-two on the other, 8 bits both.
    CHECK(distance(rounded, packed) < distance(stock, rounded));
}

// Where the machine has no tiles, it is what packed is.
TEST_CASE("packed weights: tiles are nearer to float than 8 bits are", "[packed][tiles]") {
    const auto file = open("models/nano-e");
    executor threads(2);
    const auto stock = logits_of(file, io::prepare_weights<q8>(file.weights, threads), 0, 1),
               packed = logits_of(file, io::prepare_weights<weights::packed<q8>>(file.weights, threads), 0, 1),
               tiled = logits_of(file, io::prepare_weights<weights::tiled<q8>>(file.weights, threads), 0, 1);
    if (simd::tiles_available())
        CHECK(distance(stock, tiled) < distance(stock, packed));
    else
        CHECK(tiled == packed);
    CHECK(logits_of(file, io::prepare_weights<weights::tiled<q8>>(file.weights, threads), 0, 2) == tiled);
}

TEST_CASE("packed weights: the same bits in chunks of any size and with any number of threads", "[packed][determinism]") {
    const auto file = open("models/nano-e");
    executor threads(2);
    const auto w = io::prepare_weights<weights::packed<q8>>(file.weights, threads);
    const auto once = logits_of(file, w, 0, 1);
    CHECK(logits_of(file, w, 1, 1) == once);
    CHECK(logits_of(file, w, 7, 2) == once);
    CHECK(logits_of(file, w, 0, 3) == once);
}

TEST_CASE("packed weights: what is packed, and what is not", "[packed]") {
    executor threads(2);
    const auto a = open("models/nano-a");
    const auto w = io::prepare_weights<weights::packed<q8>>(a.weights, threads);
    CHECK(w->head.packed != nullptr);
    CHECK(w->embedding.packed == nullptr); // rows are read one at a time
    CHECK(w->block[0].experts.router.packed == nullptr);
    const auto& gate = w->block[0].experts.gate;
    REQUIRE(gate.all.packed != nullptr);
    CHECK(gate[3].packed ==
          gate.all.packed + (3 * gate.stride + gate.offset) / gate.all.products->rows * gate.all.products->strip_bytes(gate.all.width));
    const auto stored = io::prepare_weights<weights::packed<>>(a.weights, threads);
    CHECK(stored->head.packed != nullptr);
    CHECK(stored->head.products == kernel::products_for(*a.weights->head.format));
    // What is packed is what the weights were: other weights are packed anew, or not at all.
    const auto anew = io::prepare_weights<weights::requantized<format::q4_0>>(w, threads);
    CHECK(anew->head.format == &format::info_of<format::q4_0>());
    CHECK(anew->head.packed == nullptr);
    CHECK(anew->head.products == nullptr);
    // Experts that do not begin at a strip stay in float.
    decoder_weights odd = *io::prepare_weights<q8>(a.weights, threads);
    odd.block[0].experts.gate.offset = 8;
    odd.block[0].experts.gate.rows_each = 24;
    const auto left = io::prepare_weights<weights::packed<>>(std::make_shared<const decoder_weights>(odd), threads);
    if (simd::int8::rows == 16) CHECK(left->block[0].experts.gate.all.packed == nullptr);
    CHECK(left->block[0].experts.down.all.packed != nullptr);
}

TEST_CASE("packed weights: strips are interleaved as long as every expert begins with a bundle", "[packed]") {
    executor threads(2);
    const auto a = open("models/nano-a");
    const auto w = io::prepare_weights<weights::packed<q8>>(a.weights, threads);
    const index_t most = w->head.products->bundle;
    CHECK(w->head.bundle == most);
    const auto bundle_with = [&](index_t rows_each) {
        decoder_weights other = *io::prepare_weights<q8>(a.weights, threads);
        other.block[0].experts.down.rows_each = rows_each;
        return io::prepare_weights<weights::packed<>>(std::make_shared<const decoder_weights>(other), threads)
            ->block[0]
            .experts.down.all.bundle;
    };
    const index_t rows = w->head.products->rows;
    REQUIRE(w->block[0].experts.down.stride % (4 * rows) == 0);
    CHECK(bundle_with(most * rows) == most);
    CHECK(bundle_with(rows) == 1);
    if (most == 4) CHECK(bundle_with(2 * rows) == 2);
}
