// Goldens of 12B and 31B: K = V on full blocks, image blocks.
#include "npy_compare.hpp"

#include <loupe/model/gemma4.hpp>

using namespace loupe;

TEST_CASE("gemma4-12b: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<gemma4::dense_of_file>(tests::open(tests::data("gemma4-12b")),
                                             tests::read_golden(tests::data("gemma4-12b"), "ids", ""));
}
TEST_CASE("gemma4-12b: ref, chunked and step by step", "[golden][ref]") {
    tests::check_ref<gemma4::dense_of_file>(tests::open(tests::data("gemma4-12b")),
                                            tests::read_golden(tests::data("gemma4-12b"), "ids", ""));
}
TEST_CASE("gemma4-12b: image blocks see themselves in sliding blocks, fast path", "[golden]") {
    tests::check_fast<gemma4::dense_of_file>(tests::open(tests::data("gemma4-12b")),
                                             tests::read_golden(tests::data("gemma4-12b"), "ids", "image_"));
}
TEST_CASE("gemma4-12b: image blocks see themselves in sliding blocks, ref", "[golden][ref]") {
    tests::check_ref<gemma4::dense_of_file>(tests::open(tests::data("gemma4-12b")),
                                            tests::read_golden(tests::data("gemma4-12b"), "ids", "image_"));
}

TEST_CASE("gemma4-31b: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<gemma4::dense_of_file>(tests::open(tests::data("gemma4-31b")),
                                             tests::read_golden(tests::data("gemma4-31b"), "ids", ""));
}
TEST_CASE("gemma4-31b: ref, chunked and step by step", "[golden][ref]") {
    tests::check_ref<gemma4::dense_of_file>(tests::open(tests::data("gemma4-31b")),
                                            tests::read_golden(tests::data("gemma4-31b"), "ids", ""));
}
TEST_CASE("gemma4-31b: image blocks see themselves in sliding blocks, fast path", "[golden]") {
    tests::check_fast<gemma4::dense_of_file>(tests::open(tests::data("gemma4-31b")),
                                             tests::read_golden(tests::data("gemma4-31b"), "ids", "image_"));
}
TEST_CASE("gemma4-31b: image blocks see themselves in sliding blocks, ref", "[golden][ref]") {
    tests::check_ref<gemma4::dense_of_file>(tests::open(tests::data("gemma4-31b")),
                                            tests::read_golden(tests::data("gemma4-31b"), "ids", "image_"));
}
