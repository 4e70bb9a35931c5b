// Files in and out.
#pragma once

#include <loupe/io/checkpoint.hpp>

#include <string>

namespace program {

using loupe::index_t;

/// How matrices are multiplied: in float; or as weights::tiled does, in 8-bit integers where their format has them, and prompts by tiles of
/// BF16 where the machine has AMX.
enum class arithmetic { floats, int8 };

/// Opens a .gguf file or a folder with config.json.
loupe::io::checkpoint open_model(const std::string& path, loupe::executor& threads, arithmetic products = arithmetic::floats);

/// Says on stderr if a sequence of that many tokens goes past what the model was made for. That is no error: every position has its angles.
void note_context(const loupe::dimensions& sizes, index_t tokens);

/// Only the tokenizer of a model.
loupe::io::tokenizer open_tokenizer(const std::string& path);

/// Writes a whole file, or to standard output for "-". A failure (full disk, missing folder) names the path.
void write_file(const std::string& path, const std::string& text);

/// A result file that cannot be written should be known before an hour's work, not after it. Creates it if need be; "" and "-" are fine.
void check_writable(const std::string& path);

} // namespace program
