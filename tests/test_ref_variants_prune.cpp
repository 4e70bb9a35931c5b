// Tokens dropped for later blocks, fast against the slow definition in ref/.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

TEST_CASE("pruned tokens, fast against ref", "[variants][prune]") {
    const tests::baseline<nano::e> base("nano-e");
    base.check_exchange<slot::prune<prune::received_attention<std::ratio<1, 2>>>>();
    base.check_exchange<slot::prune<prune::received_attention<std::ratio<1, 4>, 2, 3>>>();
    base.check_exchange<slot::prune<prune::received_attention<std::ratio<2, 3>, 7, 1>>>();
    base.check_exchange<slot::prune<prune::random<std::ratio<1, 2>, prune::after_first_full_block, 4>>>();
}

TEST_CASE("pruned tokens in a model with experts, fast against ref", "[variants][prune]") {
    const tests::baseline<nano::a> base("nano-a");
    base.check_exchange<slot::prune<prune::received_attention<std::ratio<3, 4>, 1, 4>>>();
    base.check_exchange<slot::prune<prune::random<std::ratio<1, 4>, prune::after_first_full_block, 2, 7>>>();
}
