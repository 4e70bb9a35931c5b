// Slots of attention, exchanged one by one: norms of heads, caps, where values come from.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

TEST_CASE("norms of heads, caps of scores and values from keys, fast against ref", "[variants]") {
    const tests::baseline<nano::e> base("nano-e");
    base.check_exchange<slot::q_norm<norm::none>>();
    base.check_exchange<slot::k_norm<norm::rms_without_gain>>();
    base.check_exchange<slot::v_norm<norm::none>>();
    base.check_exchange<slot::attention_softcap<softcap::fixed<2>>>();
    base.check_exchange<slot::value_full<value::key>>();
}
