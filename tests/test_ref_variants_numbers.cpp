// Slots that reach the layers as numbers, exchanged one by one: ropes and scales.
#include "npy_compare.hpp"

#include <loupe/io/requantize.hpp>
#include <loupe/model/nano.hpp>

using namespace loupe;

TEST_CASE("ropes, fast against ref", "[variants]") {
    const tests::baseline<nano::e> base("nano-e");
    base.check_exchange<slot::rope_full<rope::none>>();
    base.check_exchange<slot::rope_full<rope::standard>>();
    base.check_exchange<slot::rope_full<rope::partial<>>>();
    base.check_exchange<slot::rope_full<rope::reversed<>>>();
    base.check_exchange<slot::rope_full<rope::proportional<std::ratio<1, 2>>>>();
    base.check_exchange<slot::rope_full<rope::stretched<rope::proportional<>, std::ratio<2>>>>();
    base.check_exchange<slot::rope_sliding<rope::none>>();
    base.check_exchange<slot::rope_sliding<rope::partial<std::ratio<1, 4>>>>();
}

TEST_CASE("scales, fast against ref", "[variants]") {
    const tests::baseline<nano::e> base("nano-e");
    base.check_exchange<slot::score_scale<scale::times<std::ratio<1, 2>>>>();
    base.check_exchange<slot::score_scale<scale::inverse_sqrt_head_width>>();
    base.check_exchange<slot::layer_scalar<layer_scalar::one>>();
    base.check_exchange<slot::embedding_scale<scale::one>>();
}

TEST_CASE("the embedding's scale is rounded as the file's table is, whatever format the table has now", "[variants]") {
    const auto file = tests::open(tests::data("gemma4-31b")); // floats, √84 is none of bfloat16's
    const auto g = tests::read_golden(tests::data("gemma4-31b"), "ids", "");
    using base = gemma4::dense_of_file;
    const auto embedding_of = [&](std::shared_ptr<const decoder_weights> w) {
        const decoder<tests::recorded<base>> fast(file.sizes, w);
        const ref::decoder<base, double> slow(file.sizes, w);
        runtime on;
        const auto found = tests::run_fast<stack_of<tests::recorded<base>>>(fast, g, {g.tokens()}, on);
        CHECK(tests::distance(found.layers[0], tests::run_ref(slow, g, {g.tokens()}).layers[0]) <= 1e-6);
        return found.layers[0];
    };
    executor threads(1);
    embedding_of(io::prepare_weights<weights::requantized<format::bf16>>(file.weights, threads));
    auto rounded = std::make_shared<decoder_weights>(*file.weights); // as if bfloat16 had been made floats
    rounded->embedding_precision = table_precision::bfloat16;
    CHECK(tests::distance(embedding_of(rounded), embedding_of(file.weights)) > 1e-4);
}
