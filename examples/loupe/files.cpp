#include "files.hpp"

#include "family.hpp"
#include "kernels.hpp"

#include <loupe/io/requantize.hpp>
#include <loupe/policy/packed_weights.hpp>

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

result_file::result_file(const std::string& path)
    : path_(path), file_(path.empty() || path == "-" ? nullptr : std::make_unique<io::output_file>(path)) {}

void result_file::write(const std::string& text) {
    if (file_ == nullptr) {
        fmt::print("{}", text);
        return;
    }
    file_->write(text);
    file_->close();
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
