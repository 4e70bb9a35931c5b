// Files in and out.
#pragma once

#include <loupe/io/checkpoint.hpp>
#include <loupe/io/mapped_file.hpp>

#include <memory>
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

/// A result: a file, standard output for "-", nothing without a name. Made before the work, since a place that cannot be written should be
/// known before an hour of it, not after. The file appears when it is written: of a command that fails nothing is left, and what was there
/// stays.
class result_file {
    std::string path_;
    std::unique_ptr<loupe::io::output_file> file_;

  public:
    explicit result_file(const std::string& path);
    bool wanted() const { return !path_.empty(); }
    /// Once. A failure (full disk) names the path.
    void write(const std::string& text);
};

} // namespace program
