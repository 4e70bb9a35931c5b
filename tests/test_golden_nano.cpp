// The small trained decoders against the reference implementation's float32 tensors.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

TEST_CASE("nano-e: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<nano::e>(tests::open(tests::example("models/nano-e")),
                               tests::read_golden(tests::data("reference/nano-e"), "short_ids", "short_"));
}
TEST_CASE("nano-a: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<nano::a>(tests::open(tests::example("models/nano-a")),
                               tests::read_golden(tests::data("reference/nano-a"), "short_ids", "short_"));
}
