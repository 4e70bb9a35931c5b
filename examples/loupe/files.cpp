#include "files.hpp"

#include "family.hpp"
#include "kernels.hpp"

#include <loupe/io/requantize.hpp>
#include <loupe/policy/packed_weights.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace program {

using namespace loupe;

io::checkpoint open_model(const std::string& path, executor& threads, arithmetic products) {
    auto file = io::open(path, threads);
    if (products == arithmetic::int8) file.weights = io::prepare_weights<weights::tiled<>>(file.weights, threads);
    return file;
}

void note_context(const dimensions& sizes, index_t tokens) {
    if (tokens <= sizes.context) return;
    fmt::print(stderr, "note: up to {} tokens, the model was made for {}: what it says beyond them may mean little\n", tokens,
               sizes.context);
}

void write_file(const std::string& path, const std::string& text) {
    if (path == "-") {
        fmt::print("{}", text);
        return;
    }
    std::FILE* out = std::fopen(path.c_str(), "wb");
    const auto fail = [&] {
        throw output_error(fmt::format("{}: expected to write {} bytes, found: {}", path, text.size(), std::strerror(errno)));
    };
    if (out == nullptr) fail();
    const bool written = std::fwrite(text.data(), 1, text.size(), out) == text.size() && std::fflush(out) == 0;
    const int reason = errno;
    const bool closed = std::fclose(out) == 0;
    if (!written || !closed) {
        errno = written ? errno : reason;
        fail();
    }
}

void check_writable(const std::string& path) {
    if (path.empty() || path == "-") return;
    std::FILE* out = std::fopen(path.c_str(), "ab");
    if (out == nullptr) throw output_error(fmt::format("{}: expected a file that can be written, found: {}", path, std::strerror(errno)));
    std::fclose(out);
}

io::tokenizer open_tokenizer(const std::string& path) { return io::open_tokenizer(path); }

family family_of(const dimensions& d, const std::string& path) {
    const bool per_layer = d.per_layer_width > 0, experts = d.experts > 0;
    if (d.family == "gemma3") return gemma3();
    if (per_layer && !experts && !d.value_from_key) return gemma4_per_layer();
    if (!per_layer && experts && d.value_from_key) return gemma4_experts();
    if (!per_layer && !experts && d.value_from_key) return gemma4_dense();
    throw error(
        fmt::format("{}: this program holds no composition {} per-layer inputs, {} experts and {} K = V; the library can compose one", path,
                    per_layer ? "with" : "without", experts ? "with" : "without", d.value_from_key ? "with" : "without"));
}

} // namespace program
