// Slots that say which keys a query sees, exchanged one by one: masks and caches that forget.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

TEST_CASE("masks, fast against ref", "[variants]") {
    const tests::baseline<nano::e> base("nano-e");
    base.check_exchange<slot::mask_full<mask::sliding<5>>>();
    base.check_exchange<slot::mask_full<mask::chunked<8>>>();
    base.check_exchange<slot::mask_sliding<mask::chunked<8>>>();
    base.check_exchange<slot::mask_full<mask::bidirectional<>>>();
    base.check_exchange<slot::mask_sliding<mask::bidirectional<3>>>();
}

TEST_CASE("caches that forget, fast against ref", "[variants]") {
    const tests::baseline<nano::e> base("nano-e");
    base.check_exchange<slot::kv<kv::window<9>>>();
    base.check_exchange<slot::kv<kv::sink_window<3, 6>>>();
}
