// A family: one structure of decoder with the sizes of whatever file is given, and the ablations that this binary holds for it.
#pragma once

#include <loupe/io/checkpoint.hpp>
#include <loupe/lab/session.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace program {

using loupe::index_t;

/// An ablation by name.
struct variant {
    std::string id;
    std::string explanation;
    std::string difference;
    std::function<bool(const loupe::dimensions&)> applies; ///< false where it would change nothing or cannot be had
    std::function<loupe::lab::subject(const loupe::io::checkpoint&, loupe::executor&)> make;
    bool on_request = false; ///< only run when named
};

/// The stock model of a file, one sequence at a time.
class engine {
  public:
    virtual ~engine() = default;
    /// Reads tokens; for every chunk calls sink(first, hidden) with hidden states [tokens, width].
    using sink = std::function<void(index_t first, loupe::matrix_view<const float> hidden)>;
    virtual void read(std::span<const loupe::token_id> ids, index_t chunk, const sink& to,
                      std::span<const std::int32_t> image_blocks = {}) = 0;
    /// Forgets all positions from `position` on.
    virtual void rewind(index_t position) = 0;
    /// See sequence.
    virtual void make_up_past(index_t positions) = 0;
    virtual void logits(loupe::matrix_view<const float> hidden, loupe::matrix_view<float> out) = 0;
    /// Embedding and residual after every block of the last chunk, [blocks + 1][tokens · width]; only of a recording engine.
    virtual const std::vector<std::vector<float>>& recorded() const = 0;
};

struct engine_options {
    index_t threads = 0;
    bool records = false; ///< keeps what engine::recorded gives
    const loupe::format::info* kv_format = &loupe::format::info_of<loupe::format::f32>();
};

struct family {
    std::string name;              ///< "gemma4, per-layer inputs (E2B, E4B)"
    std::vector<variant> variants; ///< the first is stock
    std::function<std::unique_ptr<engine>(const loupe::io::checkpoint&, const engine_options&)> open;
    /// Name of the stock variant with just these sizes; the family's own if there is none.
    std::function<std::string(const loupe::dimensions&)> name_of;
    /// Tree of parts; as JSON on request.
    std::function<std::string(const loupe::io::checkpoint&, bool json)> describe;
};

family gemma3();
family gemma4_dense();
family gemma4_experts();
family gemma4_per_layer();

/// The family that a file's sizes belong to. An error if this program holds none.
family family_of(const loupe::dimensions& sizes, const std::string& path);

} // namespace program
