#include "open.hpp"

namespace tests {

loupe::io::checkpoint open(const std::filesystem::path& path, loupe::executor& threads) { return loupe::io::open(path, threads); }

} // namespace tests
