// Goldens of Gemma 3: gain stored minus one, query scale, two thetas, linear rope scaling.
#include "npy_compare.hpp"

#include <loupe/model/gemma3.hpp>

using namespace loupe;

TEST_CASE("gemma3-270m: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<gemma3::of_file>(tests::open(tests::data("gemma3-270m")), tests::read_golden(tests::data("gemma3-270m"), "ids", ""));
}
TEST_CASE("gemma3-270m: ref, chunked and step by step", "[golden][ref]") {
    tests::check_ref<gemma3::of_file>(tests::open(tests::data("gemma3-270m")), tests::read_golden(tests::data("gemma3-270m"), "ids", ""));
}

TEST_CASE("gemma3-27b: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<gemma3::of_file>(tests::open(tests::data("gemma3-27b")), tests::read_golden(tests::data("gemma3-27b"), "ids", ""));
}
TEST_CASE("gemma3-27b: ref, chunked and step by step", "[golden][ref]") {
    tests::check_ref<gemma3::of_file>(tests::open(tests::data("gemma3-27b")), tests::read_golden(tests::data("gemma3-27b"), "ids", ""));
}
