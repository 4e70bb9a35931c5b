// A model file or folder, opened: sizes, weights, tokenizer.
#pragma once

#include <loupe/io/binding.hpp>
#include <loupe/io/config_gguf.hpp>
#include <loupe/io/config_json.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/io/safetensors.hpp>
#include <loupe/io/tokenizer.hpp>

#include <filesystem>
#include <optional>

namespace loupe::io {

/// What a model file holds. Weights stay mapped.
struct checkpoint {
    std::string path;
    dimensions sizes;
    std::shared_ptr<const decoder_weights> weights;
    std::optional<io::tokenizer> tokenizer; ///< none if the file has no vocabulary

    /// The tokenizer; an error if the file has none.
    const io::tokenizer& text() const {
        if (!tokenizer) throw error(path + ": expected a tokenizer (tokenizer.json, or tokenizer.ggml keys in a GGUF file), found none");
        return *tokenizer;
    }
};

/// Only the tokenizer of a .gguf file or a folder: quick, whatever the model's size.
inline tokenizer open_tokenizer(const std::filesystem::path& path) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
        return tokenizer::from_folder(path, detail::is_there(path / "config.json") ? dimensions_from_config(path).vocabulary
                                                                                   : tokenizer::every_token);
    }
    const auto file = gguf::open(path);
    const tensor* const embedding = file.find("token_embd.weight");
    const bool has_rows = embedding != nullptr && !embedding->shape.empty();
    return tokenizer::from_gguf(file, has_rows ? embedding->shape.front() : tokenizer::every_token);
}

/// Opens a .gguf file or a folder with config.json, safetensors and tokenizer.json. Errors name file, key or tensor.
inline checkpoint open(const std::filesystem::path& path, executor& threads) {
    checkpoint c;
    c.path = path.string();
    std::error_code ignored;
    if (!detail::is_there(path))
        throw error(fmt::format("{}: expected a .gguf file or a folder with config.json, found nothing there", c.path));
    if (std::filesystem::is_directory(path, ignored)) {
        c.sizes = dimensions_from_config(path);
        const auto file = safetensors::open(path);
        std::string prefix;
        for (const char* candidate : {"model.language_model.", "model.", "language_model.model."}) {
            if (file.find(std::string(candidate) + "embed_tokens.weight") != nullptr) {
                prefix = candidate;
                break;
            }
        }
        if (prefix.empty())
            throw error(fmt::format(
                "{}: expected a tensor model.embed_tokens.weight or model.language_model.embed_tokens.weight, found neither", c.path));
        c.weights = bind_weights(file.tensors(), c.path, safetensors_names(prefix, c.sizes.family == "gemma3"), c.sizes, threads);
        if (detail::is_there(path / "tokenizer.json")) c.tokenizer = tokenizer::from_folder(path, c.sizes.vocabulary);
    } else {
        const auto file = gguf::open(path);
        c.sizes = dimensions_from_gguf(file);
        c.weights = bind_weights(file.tensors(), c.path, gguf_names(), c.sizes, threads);
        if (file.contains("tokenizer.ggml.model")) c.tokenizer = tokenizer::from_gguf(file, c.sizes.vocabulary);
        if (c.tokenizer) {
            for (const char* name : {"<|image|>", "<|audio|>", "<|video|>"}) {
                if (const auto id = c.tokenizer->find(name)) c.sizes.placeholders.push_back(*id);
            }
        }
    }
    return c;
}

} // namespace loupe::io
