#include "open.hpp"

#include "data.hpp"

namespace tests {

namespace {

loupe::io::checkpoint example_model(const char* name) {
    loupe::executor threads(1);
    return open(example(name), threads);
}

} // namespace

loupe::io::checkpoint open(const std::filesystem::path& path, loupe::executor& threads) { return loupe::io::open(path, threads); }

const loupe::io::checkpoint& nano_e() {
    static const auto file = example_model("models/nano-e");
    return file;
}
const loupe::io::checkpoint& nano_a() {
    static const auto file = example_model("models/nano-a");
    return file;
}

} // namespace tests
