// Opens models for the tests. Compiled once: reading files costs a test more to compile than what it tests.
#pragma once

#include <loupe/io/checkpoint.hpp>

#include <filesystem>

namespace tests {

/// io::open.
loupe::io::checkpoint open(const std::filesystem::path& path, loupe::executor& threads);

} // namespace tests
