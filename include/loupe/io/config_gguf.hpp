// Sizes of a model from the metadata of a GGUF file (architectures gemma4 and gemma3).
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/io/config_json.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/model/check.hpp>

namespace loupe::io {

namespace detail {

/// Keys below "ARCHITECTURE.", with range and default.
class gguf_keys {
    const gguf& file_;
    std::string prefix_;

  public:
    gguf_keys(const gguf& file, std::string architecture) : file_(file), prefix_(std::move(architecture) + ".") {}

    bool has(const std::string& name) const { return file_.contains(prefix_ + name); }
    index_t integer(const std::string& name, std::optional<index_t> otherwise, index_t lowest, index_t highest) const {
        const auto value = file_.integer(prefix_ + name);
        if (!value) refuse_if_there(name, "an integer");
        if (!value && !otherwise) throw error(fmt::format("{}: expected a key {}{}, found none", file_.path, prefix_, name));
        return in_range(name, value ? *value : *otherwise, lowest, highest);
    }
    double number(const std::string& name, double otherwise) const {
        const auto value = file_.number(prefix_ + name);
        if (!value) refuse_if_there(name, "a number");
        return value.value_or(otherwise);
    }
    const std::string* text(const std::string& name) const {
        const auto* value = file_.text(prefix_ + name);
        if (value == nullptr) refuse_if_there(name, "a string");
        return value;
    }
    std::vector<index_t> per_block(const std::string& name, index_t blocks, index_t lowest, index_t highest) const {
        auto values = file_.per_layer(prefix_ + name, blocks);
        for (const index_t v : values) in_range(name, v, lowest, highest);
        return values;
    }

  private:
    /// A key of another type must not pass for one that is missing.
    void refuse_if_there(const std::string& name, const char* expected) const {
        if (!has(name)) return;
        throw error(fmt::format("{}: {}{}: expected {}, found {}", file_.path, prefix_, name, expected, file_.type_of(prefix_ + name)));
    }
    index_t in_range(const std::string& name, index_t value, index_t lowest, index_t highest) const {
        if (value < lowest || value > highest) {
            throw error(fmt::format("{}: {}{}: expected an integer between {} and {}, found {}", file_.path, prefix_, name, lowest, highest,
                                    value));
        }
        return value;
    }
};

/// rope_freqs.weight divides the angles: ones for the rotated pairs, then 1e30. It is the only trace of the rotated share.
inline double share_from_rope_freqs(const gguf& file, index_t head_width) {
    const tensor* t = file.find("rope_freqs.weight");
    if (t == nullptr) return 0.25;
    if (t->count() != head_width / 2) {
        throw error(fmt::format("{}: tensor rope_freqs.weight: expected {} values, found {}", file.path, head_width / 2, t->count()));
    }
    std::vector<float> values(static_cast<std::size_t>(t->count()));
    t->format->decode_row(t->data, values.data(), t->count());
    std::size_t rotated = 0;
    while (rotated < values.size() && values[rotated] == 1.0F) ++rotated;
    for (std::size_t i = rotated; i < values.size(); ++i) {
        if (!(values[i] >= 1e20F)) {
            throw error(fmt::format("{}: tensor rope_freqs.weight: expected ones and then 1e30, found {} at {}", file.path, values[i], i));
        }
    }
    return static_cast<double>(rotated) / static_cast<double>(values.size());
}

} // namespace detail

/// Reads the keys of gemma4 or gemma3. Errors name file and key.
inline dimensions dimensions_from_gguf(const gguf& file) {
    using detail::most_width;
    const std::string* architecture = file.text("general.architecture");
    if (architecture == nullptr) throw error(fmt::format("{}: expected a key general.architecture, found none", file.path));
    if (*architecture != "gemma4" && *architecture != "gemma3") {
        throw error(
            fmt::format("{}: general.architecture: expected gemma4 or gemma3, found {}", file.path, detail::name_text(*architecture)));
    }
    const bool gemma4 = *architecture == "gemma4";
    const detail::gguf_keys k(file, *architecture);
    dimensions d;
    d.family = *architecture;
    const index_t blocks = k.integer("block_count", std::nullopt, 1, detail::most_blocks);
    d.block.resize(static_cast<std::size_t>(blocks));
    d.width = k.integer("embedding_length", std::nullopt, 1, most_width);
    d.context = k.integer("context_length", 131072, 1, index_t{1} << 40);
    d.epsilon = k.number("attention.layer_norm_rms_epsilon", 1e-6);
    d.final_cap = k.number("final_logit_softcapping", 0);
    d.window = k.integer("attention.sliding_window", gemma4 ? 512 : 1024, 1, index_t{1} << 40);
    const auto* tokens = file.texts("tokenizer.ggml.tokens");
    const tensor* embedding = file.find("token_embd.weight");
    if (embedding == nullptr) throw error(fmt::format("{}: expected a tensor token_embd.weight, found none", file.path));
    d.vocabulary =
        k.integer("vocab_size", tokens != nullptr && !tokens->empty() ? static_cast<index_t>(tokens->size()) : embedding->shape.front(), 1,
                  detail::most_vocabulary);

    const auto heads = k.per_block("attention.head_count", blocks, 1, 4096);
    for (const index_t h : heads) {
        if (h != heads.front())
            throw error(
                fmt::format("{}: attention.head_count: expected one number for all blocks, found {} and {}", file.path, heads.front(), h));
    }
    d.heads = heads.front();
    const auto kv_heads = k.has("attention.head_count_kv") ? k.per_block("attention.head_count_kv", blocks, 1, 4096) : heads;
    const auto mlp = k.per_block("feed_forward_length", blocks, 1, most_width);
    const index_t head_width = k.integer("attention.key_length", d.width / d.heads, 1, 65536);
    const index_t head_width_sliding = k.integer("attention.key_length_swa", head_width, 1, 65536);
    const auto same_for_values = [&](const char* name, index_t expected) {
        const index_t found = k.integer(name, expected, 1, 65536);
        if (found != expected) throw error(fmt::format("{}: {}: expected {} as for keys, found {}", file.path, name, expected, found));
    };
    same_for_values("attention.value_length", head_width);
    same_for_values("attention.value_length_swa", head_width_sliding);
    const index_t shared = gemma4 ? k.integer("attention.shared_kv_layers", 0, 0, blocks) : 0;
    std::vector<index_t> sliding;
    if (k.has("attention.sliding_window_pattern")) {
        // a pattern per block, or in some files the period
        const auto period = file.integer(*architecture + ".attention.sliding_window_pattern");
        if (period && *period > 1) {
            for (index_t i = 0; i < blocks; ++i) sliding.push_back(i % *period != *period - 1);
        } else {
            sliding = k.per_block("attention.sliding_window_pattern", blocks, 0, 1);
        }
    } else {
        for (index_t i = 0; i < blocks; ++i) sliding.push_back(i % 6 != 5);
    }
    for (index_t i = 0; i < blocks; ++i) {
        const auto n = static_cast<std::size_t>(i);
        auto& b = d.block[n];
        b.full = sliding[n] == 0;
        b.shares_kv = i >= blocks - shared;
        b.head_width = b.full ? head_width : head_width_sliding;
        b.kv_heads = kv_heads[n];
        b.mlp_width = mlp[n];
        if (b.full && !b.shares_kv && file.find(fmt::format("blk.{}.attn_v.weight", i)) == nullptr) d.value_from_key = gemma4;
    }

    d.rope_full = {0, k.number("rope.freq_base", 1e6), 1, 1};
    d.rope_sliding = {0, k.number("rope.freq_base_swa", 1e4), 1, 1};
    if (gemma4) {
        d.rope_full.share = detail::share_from_rope_freqs(file, head_width);
        d.per_layer_width = k.integer("embedding_length_per_layer_input", 0, 0, most_width);
        d.experts = k.integer("expert_count", 0, 0, 65536);
        if (d.experts > 0) {
            d.experts_used = k.integer("expert_used_count", std::nullopt, 1, 65536);
            d.expert_width = k.integer("expert_feed_forward_length", std::nullopt, 1, most_width);
        }
        // No key says how images are masked: the models with K = V are those that let them see themselves.
        d.images_see_themselves = d.value_from_key;
    } else {
        if (const auto* type = k.text("rope.scaling.type"); type != nullptr && *type != "none") {
            if (*type != "linear")
                throw error(fmt::format("{}: gemma3.rope.scaling.type: expected linear, found {}", file.path, detail::name_text(*type)));
            d.rope_full.factor = k.number("rope.scaling.factor", 1);
        }
        // 27B scales by width / heads, all others by the head width; no key says so, the number of blocks does.
        d.score_scale = 1 / std::sqrt(static_cast<double>(blocks == 62 ? d.width / d.heads : head_width));
    }
    check_sizes(d, file.path);
    return d;
}

} // namespace loupe::io
