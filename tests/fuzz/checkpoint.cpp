// Whole checkpoints: sizes, binding and tokenizer, from a GGUF file or from a folder.
#include "fuzz.hpp"

#include <loupe/io/checkpoint.hpp>

void fuzz::checkpoint(std::string_view input) {
    static loupe::executor threads(1);
    if (input.starts_with("GGUF")) {
        const auto opened = loupe::io::open(put("x.gguf", input), threads);
        require(static_cast<loupe::index_t>(opened.weights->block.size()) == opened.sizes.blocks(), "weights for every block");
        return;
    }
    const auto files = parts(input);
    put("config.json", files[0]);
    put("model.safetensors", part(files, 1, {}));
    put("tokenizer.json", part(files, 2, "{}"));
    put("tokenizer_config.json", part(files, 3, "{}"));
    put("generation_config.json", part(files, 4, "{}"));
    const auto opened = loupe::io::open(folder(), threads);
    require(static_cast<loupe::index_t>(opened.weights->block.size()) == opened.sizes.blocks(), "weights for every block");
}
