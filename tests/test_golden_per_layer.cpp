// Goldens of E2B and E4B: per-layer inputs, shared keys and values.
#include "npy_compare.hpp"

#include <loupe/model/gemma4.hpp>

using namespace loupe;

TEST_CASE("gemma4-e2b: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<gemma4::per_layer_of_file>(tests::open(tests::data("gemma4-e2b")),
                                                 tests::read_golden(tests::data("gemma4-e2b"), "ids", ""));
}
TEST_CASE("gemma4-e2b: ref, chunked and step by step", "[golden][ref]") {
    tests::check_ref<gemma4::per_layer_of_file>(tests::open(tests::data("gemma4-e2b")),
                                                tests::read_golden(tests::data("gemma4-e2b"), "ids", ""));
}

TEST_CASE("gemma4-e4b: fast path, chunked and step by step", "[golden]") {
    tests::check_fast<gemma4::per_layer_of_file>(tests::open(tests::data("gemma4-e4b")),
                                                 tests::read_golden(tests::data("gemma4-e4b"), "ids", ""));
}
TEST_CASE("gemma4-e4b: ref, chunked and step by step", "[golden][ref]") {
    tests::check_ref<gemma4::per_layer_of_file>(tests::open(tests::data("gemma4-e4b")),
                                                tests::read_golden(tests::data("gemma4-e4b"), "ids", ""));
}
