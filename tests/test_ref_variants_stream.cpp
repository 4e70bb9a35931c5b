// Slots of the rest of a block, exchanged one by one: activations, norms behind branches, per-layer inputs, the cap of the logits.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

TEST_CASE("activations, post norms, per-layer inputs and caps, fast against ref", "[variants]") {
    const tests::baseline<nano::e> base("nano-e");
    base.check_exchange<slot::activation<activation::silu>>();
    base.check_exchange<slot::activation<activation::relu2>>();
    base.check_exchange<slot::post_norms<norm::none>>();
    base.check_exchange<slot::post_norms<norm::rms_without_gain>>();
    base.check_exchange<slot::per_layer_input<per_layer_input::off>>();
    base.check_exchange<slot::per_layer_input<per_layer_input::context_only>>();
    base.check_exchange<slot::final_softcap<softcap::none>>();
    base.check_exchange<slot::final_softcap<softcap::fixed<5>>>();
}
