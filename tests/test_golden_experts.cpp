// Goldens of 26B-A4B: experts beside the dense branch, widths that no block size divides, image blocks.
#include "npy_compare.hpp"

#include <loupe/model/gemma4.hpp>

using namespace loupe;

TEST_CASE("gemma4-26b-a4b: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<gemma4::experts_of_file>(tests::open(tests::data("gemma4-26b-a4b")),
                                               tests::read_golden(tests::data("gemma4-26b-a4b"), "ids", ""));
}
TEST_CASE("gemma4-26b-a4b: ref, chunked and step by step", "[golden][ref]") {
    tests::check_ref<gemma4::experts_of_file>(tests::open(tests::data("gemma4-26b-a4b")),
                                              tests::read_golden(tests::data("gemma4-26b-a4b"), "ids", ""));
}
TEST_CASE("gemma4-26b-a4b: image blocks see themselves in sliding blocks, fast path", "[golden]") {
    tests::check_fast<gemma4::experts_of_file>(tests::open(tests::data("gemma4-26b-a4b")),
                                               tests::read_golden(tests::data("gemma4-26b-a4b"), "ids", "image_"));
}
TEST_CASE("gemma4-26b-a4b: image blocks see themselves in sliding blocks, ref", "[golden][ref]") {
    tests::check_ref<gemma4::experts_of_file>(tests::open(tests::data("gemma4-26b-a4b")),
                                              tests::read_golden(tests::data("gemma4-26b-a4b"), "ids", "image_"));
}
