// Where the tests' data lies.
#pragma once

#include <filesystem>

namespace tests {

/// tests/data: golden tensors and vectors.
inline std::filesystem::path data(const char* name) { return std::filesystem::path(LOUPE_TEST_DATA) / name; }
/// examples/data: the small trained models and their texts.
inline std::filesystem::path example(const char* name) { return std::filesystem::path(LOUPE_EXAMPLE_DATA) / name; }

} // namespace tests
