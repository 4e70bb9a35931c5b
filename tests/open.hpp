// Opens models for the tests. Compiled once: reading files costs a test more to compile than what it tests.
#pragma once

#include <loupe/io/checkpoint.hpp>

#include <filesystem>

namespace tests {

/// io::open.
loupe::io::checkpoint open(const std::filesystem::path& path, loupe::executor& threads);
/// The small trained models, opened once.
const loupe::io::checkpoint& nano_e();
const loupe::io::checkpoint& nano_a();

} // namespace tests
