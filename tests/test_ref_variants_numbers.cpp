// Slots that reach the layers as numbers, exchanged one by one: ropes and scales.
#include "npy_compare.hpp"

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
