// Image blocks under other masks of sliding blocks: what lies ahead inside an image is seen, what lies behind is the mask's affair.
#include "npy_compare.hpp"

#include <loupe/model/gemma4.hpp>

using namespace loupe;

namespace {

template <class... Slots>
void check_images(bool images = true) {
    const auto file = tests::open(tests::data("gemma4-12b"));
    const auto g = tests::read_golden(tests::data("gemma4-12b"), "ids", images ? "image_" : "");
    using M = with<gemma4::dense_of_file, Slots...>;
    INFO((diff<gemma4::dense_of_file, M>()));
    const decoder<tests::recorded<M>> fast(file.sizes, file.weights);
    const ref::decoder<M, double> slow(file.sizes, file.weights);
    runtime on;
    const auto found = tests::run_fast<stack_of<tests::recorded<M>>>(fast, g, {g.tokens()}, on);
    CHECK(tests::distance(found, tests::run_ref(slow, g, {g.tokens()})) <= 5e-5);
    CHECK(tests::distance(found, g.expected) > 1e-3);
}

} // namespace

TEST_CASE("image blocks under a narrower window", "[variants][image]") { check_images<slot::mask_sliding<mask::sliding<3>>>(); }
TEST_CASE("image blocks that cross the chunks of a mask", "[variants][image]") { check_images<slot::mask_sliding<mask::chunked<4>>>(); }
TEST_CASE("image blocks longer than a mask looks ahead", "[variants][image]") {
    check_images<slot::mask_sliding<mask::bidirectional<2>>>();
}
TEST_CASE("image blocks masked like text", "[variants][image]") { check_images<slot::image_mask<image_mask::causal>>(); }

TEST_CASE("pruned tokens where queries look ahead: what they give to keys ahead does not count", "[variants][image][prune]") {
    using half = slot::prune<prune::received_attention<std::ratio<1, 2>, 1, 2>>;
    check_images<half>();
    check_images<half, slot::mask_sliding<mask::bidirectional<3>>>(false);
}
