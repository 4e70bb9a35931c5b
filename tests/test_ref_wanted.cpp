// Reading a chunk for some of its tokens only gives the bits that reading it for all of them gives.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

namespace {

template <is::model M>
void check_wanted(const char* name) {
    const auto file = tests::open(tests::example(("models/" + std::string(name)).c_str()));
    const auto ids = io::npy::read<token_id>(tests::data("reference") / name / "short_ids.npy").values;
    const decoder<M> model(file.sizes, file.weights);
    const index_t width = file.sizes.width;
    for (const index_t threads : {1, 2}) {
        runtime on(threads);
        auto all = model.start(), some = model.start();
        std::size_t first = 0;
        for (const std::size_t last : {std::size_t{5}, std::size_t{40}, ids.size()}) {
            const auto chunk = std::span(ids).subspan(first, last - first);
            const auto h = model.forward(all, chunk, on);
            const std::vector<float> expected(h.data, h.data + h.rows * width);
            const std::vector<index_t> wanted{0, 3, static_cast<index_t>(chunk.size()) - 1};
            const auto found = model.forward(some, chunk, on, {}, wanted);
            INFO(threads << " threads, tokens " << first << " to " << last);
            REQUIRE(found.rows == 3);
            for (index_t r = 0; r < 3; ++r) {
                CHECK(std::equal(found[r].begin(), found[r].end(), expected.begin() + wanted[static_cast<std::size_t>(r)] * width));
            }
            first = last;
        }
    }
}

} // namespace

TEST_CASE("wanted tokens: shared keys and values, per-layer inputs", "[wanted]") { check_wanted<nano::e>("nano-e"); }
TEST_CASE("wanted tokens: experts", "[wanted]") { check_wanted<nano::a>("nano-a"); }
TEST_CASE("wanted tokens: a random router draws by position", "[wanted]") {
    check_wanted<with<nano::a, slot::router<router::random<3>>>>("nano-a");
}
TEST_CASE("wanted tokens: pruned behind the first full block", "[wanted][prune]") {
    check_wanted<with<nano::e, slot::prune<prune::received_attention<std::ratio<1, 2>, prune::after_first_full_block, 4>>>>("nano-e");
}
TEST_CASE("wanted tokens: pruned behind a block that has no keys of its own", "[wanted][prune]") {
    check_wanted<with<nano::e, slot::prune<prune::received_attention<std::ratio<1, 2>, 7, 4>>>>("nano-e");
}
