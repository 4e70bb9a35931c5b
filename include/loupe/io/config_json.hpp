// Sizes of a model from config.json (transformers' Gemma4TextConfig and Gemma3TextConfig, both spellings of Gemma 4).
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/io/json.hpp>
#include <loupe/model/check.hpp>
#include <loupe/model/dimensions.hpp>

#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace loupe::io {

namespace detail {

/// A JSON object whose fields are read with their type, range and default; every error names file and field.
class config_fields {
    const nlohmann::json& object_;
    std::string file_;

    const nlohmann::json* at(const std::string& name) const {
        const auto found = object_.find(name);
        return found == object_.end() || found->is_null() ? nullptr : &*found;
    }
    [[noreturn]] void refuse(const std::string& name, const std::string& expected, const nlohmann::json& found) const {
        std::string text = found.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
        if (text.size() > 80) text = text.substr(0, 80) + "…";
        throw error(fmt::format("{}: {}: expected {}, found {}", file_, name, expected, text));
    }

  public:
    config_fields(const nlohmann::json& object, std::string file) : object_(object), file_(std::move(file)) {
        if (!object.is_object()) throw error(file_ + ": expected a JSON object");
    }

    const std::string& file() const { return file_; }
    bool has(const std::string& name) const { return at(name) != nullptr; }
    bool is(const std::string& name, const char* text) const { return has(name) && *at(name) == text; }

    index_t integer(const std::string& name, std::optional<index_t> otherwise, index_t lowest, index_t highest) const {
        const auto* value = at(name);
        if (value == nullptr) {
            if (!otherwise) throw error(fmt::format("{}: expected a field {}, found none", file_, name));
            return *otherwise;
        }
        const std::string range = fmt::format("an integer between {} and {}", lowest, highest);
        if (!value->is_number_integer() ||
            (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(highest)) ||
            value->get<index_t>() < lowest || value->get<index_t>() > highest) {
            refuse(name, range, *value);
        }
        return value->get<index_t>();
    }
    double number(const std::string& name, double otherwise) const {
        const auto* value = at(name);
        if (value == nullptr) return otherwise;
        if (!value->is_number() || !std::isfinite(value->get<double>())) refuse(name, "a number", *value);
        return value->get<double>();
    }
    bool boolean(const std::string& name, bool otherwise) const {
        const auto* value = at(name);
        if (value == nullptr) return otherwise;
        if (!value->is_boolean()) refuse(name, "true or false", *value);
        return value->get<bool>();
    }
    std::string text(const std::string& name, const std::string& otherwise) const {
        const auto* value = at(name);
        if (value == nullptr) return otherwise;
        if (!value->is_string()) refuse(name, "a string", *value);
        return value->get<std::string>();
    }
    std::optional<config_fields> object(const std::string& name) const {
        const auto* value = at(name);
        if (value == nullptr) return std::nullopt;
        if (!value->is_object()) refuse(name, "an object", *value);
        return config_fields(*value, file_ + ": " + name);
    }
    /// Which blocks are full, from a list of "sliding_attention" and "full_attention".
    std::optional<std::vector<bool>> layer_types(const std::string& name, index_t blocks) const {
        const auto* value = at(name);
        if (value == nullptr) return std::nullopt;
        if (!value->is_array() || static_cast<index_t>(value->size()) != blocks)
            refuse(name, fmt::format("a list of {} layer types", blocks), *value);
        std::vector<bool> full;
        for (const auto& type : *value) {
            if (type != "sliding_attention" && type != "full_attention") refuse(name, "\"sliding_attention\" or \"full_attention\"", type);
            full.push_back(type == "full_attention");
        }
        return full;
    }
    /// A value that this program can only work with if it is one of the given.
    void only(const std::string& name, std::initializer_list<nlohmann::json> accepted) const {
        const auto* value = at(name);
        if (value == nullptr) return;
        for (const auto& a : accepted) {
            if (*value == a) return;
        }
        refuse(name, accepted.begin()->dump() + " (nothing else is supported)", *value);
    }
};

inline rope_sizes rope_from_config(const std::optional<config_fields>& entry, rope_sizes sizes) {
    if (!entry) return sizes;
    const std::string type = entry->text("rope_type", entry->text("type", "default"));
    if (type != "default" && type != "proportional" && type != "linear") {
        throw error(fmt::format("{}: rope_type: expected default, proportional or linear, found {}", entry->file(), name_text(type)));
    }
    sizes.theta = entry->number("rope_theta", sizes.theta);
    sizes.factor = type == "default" ? 1.0 : entry->number("factor", 1.0);
    sizes.share = type == "proportional" ? entry->number("partial_rotary_factor", 1.0) : 1.0;
    return sizes;
}

inline constexpr index_t most_blocks = 1024, most_width = index_t{1} << 20, most_vocabulary = index_t{1} << 24;

/// Fields that both families spell alike.
inline dimensions common_from_config(const config_fields& c, index_t vocabulary, index_t width, index_t blocks, index_t context) {
    dimensions d;
    d.vocabulary = c.integer("vocab_size", vocabulary, 1, most_vocabulary);
    d.width = c.integer("hidden_size", width, 1, most_width);
    d.heads = c.integer("num_attention_heads", 8, 1, 4096);
    d.context = c.integer("max_position_embeddings", context, 1, index_t{1} << 40);
    d.epsilon = c.number("rms_norm_eps", 1e-6);
    d.final_cap = c.number("final_logit_softcapping", 0);
    d.block.resize(static_cast<std::size_t>(c.integer("num_hidden_layers", blocks, 1, most_blocks)));
    c.only("hidden_activation", {"gelu_pytorch_tanh"});
    c.only("attention_bias", {false});
    return d;
}

inline dimensions gemma4_from_config(const config_fields& c) {
    dimensions d = common_from_config(c, 262144, 2304, 30, 131072);
    d.family = "gemma4";
    const index_t blocks = d.blocks();
    d.window = c.integer("sliding_window", 512, 1, index_t{1} << 40);
    d.per_layer_width = c.integer("hidden_size_per_layer_input", 256, 0, most_width);
    d.value_from_key = c.boolean("attention_k_eq_v", false);
    c.only("use_bidirectional_attention", {nullptr, "vision", false});
    d.images_see_themselves = c.is("use_bidirectional_attention", "vision");
    if (c.boolean("enable_moe_block", false)) {
        d.experts = c.integer("num_experts", std::nullopt, 1, 65536);
        d.experts_used = c.integer("top_k_experts", std::nullopt, 1, 65536);
        d.expert_width = c.integer("moe_intermediate_size", std::nullopt, 1, most_width);
    }

    const index_t shared = c.integer("num_kv_shared_layers", 0, 0, blocks);
    const index_t mlp_width = c.integer("intermediate_size", 9216, 1, most_width);
    const bool double_wide = c.boolean("use_double_wide_mlp", false);
    const index_t head_width = c.integer("head_dim", 256, 1, 65536), kv_heads = c.integer("num_key_value_heads", 4, 1, 4096);
    const auto types = c.layer_types("layer_types", blocks);
    const auto overrides = c.object("per_layer_config"); // newer files; older ones have global_head_dim and num_global_key_value_heads
    const index_t full_head_width = overrides ? head_width : c.integer("global_head_dim", 512, 1, 65536);
    const index_t full_kv_heads = overrides || !d.value_from_key ? kv_heads : c.integer("num_global_key_value_heads", kv_heads, 1, 4096);
    for (index_t i = 0; i < blocks; ++i) {
        auto& b = d.block[static_cast<std::size_t>(i)];
        b.full = types ? (*types)[static_cast<std::size_t>(i)] : i % 6 == 5;
        if (i == blocks - 1) b.full = true; // the last block is full whatever the list says
        b.shares_kv = i >= blocks - shared;
        b.mlp_width = double_wide && b.shares_kv ? 2 * mlp_width : mlp_width;
        b.head_width = b.full ? full_head_width : head_width;
        b.kv_heads = b.full ? full_kv_heads : kv_heads;
        if (overrides) {
            if (const auto own = overrides->object(std::to_string(i))) {
                b.head_width = own->integer("head_dim", head_width, 1, 65536);
                b.kv_heads = own->integer("num_key_value_heads", kv_heads, 1, 4096);
            }
        }
    }
    const auto ropes = c.object("rope_parameters");
    d.rope_full = rope_from_config(ropes ? ropes->object("full_attention") : std::nullopt, {0, 1e6, 0.25, 1});
    d.rope_sliding = rope_from_config(ropes ? ropes->object("sliding_attention") : std::nullopt, {0, 1e4, 1, 1});
    return d;
}

inline dimensions gemma3_from_config(const config_fields& c) {
    dimensions d = common_from_config(c, 262208, 2304, 26, 131072);
    d.family = "gemma3";
    const index_t blocks = d.blocks();
    d.window = c.integer("sliding_window", 4096, 1, index_t{1} << 40);
    c.only("use_bidirectional_attention", {false, nullptr});
    c.only("attn_logit_softcapping", {nullptr});
    const double scalar = c.number("query_pre_attn_scalar", 256);
    if (!(scalar > 0)) throw error(fmt::format("{}: query_pre_attn_scalar: expected a positive number, found {}", c.file(), scalar));
    d.score_scale = 1 / std::sqrt(scalar);
    const index_t period = c.integer("sliding_window_pattern", c.integer("_sliding_window_pattern", 6, 1, most_blocks), 1, most_blocks);
    const auto types = c.layer_types("layer_types", blocks);
    for (index_t i = 0; i < blocks; ++i) {
        auto& b = d.block[static_cast<std::size_t>(i)];
        b.full = types ? (*types)[static_cast<std::size_t>(i)] : i % period == period - 1;
        b.head_width = c.integer("head_dim", 256, 1, 65536);
        b.kv_heads = c.integer("num_key_value_heads", 4, 1, 4096);
        b.mlp_width = c.integer("intermediate_size", 9216, 1, most_width);
    }
    if (const auto ropes = c.object("rope_parameters")) {
        d.rope_full = rope_from_config(ropes->object("full_attention"), {0, 1e6, 1, 1});
        d.rope_sliding = rope_from_config(ropes->object("sliding_attention"), {0, 1e4, 1, 1});
    } else { // older files
        d.rope_full = rope_from_config(c.object("rope_scaling"), {0, 1e6, 1, 1});
        d.rope_full.theta = c.number("rope_theta", 1e6);
        d.rope_sliding = {0, c.number("rope_local_base_freq", 1e4), 1, 1};
    }
    return d;
}

} // namespace detail

/// Reads folder/config.json. Errors name the file and the field.
inline dimensions dimensions_from_config(const std::filesystem::path& folder) {
    const auto path = folder / "config.json";
    if (!detail::is_there(path)) throw error(fmt::format("{}: expected a config.json beside the weights, found none", folder.string()));
    const nlohmann::json json = detail::read_json(path);
    const detail::config_fields outer(json, path.string());
    const std::string type = outer.text("model_type", "");
    const auto nested = outer.object("text_config");
    const detail::config_fields& inner = nested ? *nested : outer;
    dimensions d;
    if (type == "gemma4" || type == "gemma4_text" || type == "gemma4_unified" || type == "gemma4_unified_text") {
        d = detail::gemma4_from_config(inner);
    } else if (type == "gemma3" || type == "gemma3_text") {
        d = detail::gemma3_from_config(inner);
    } else {
        throw error(fmt::format("{}: model_type: expected gemma4, gemma4_text, gemma4_unified, gemma3 or gemma3_text, found {}",
                                path.string(), detail::name_text(type)));
    }
    if (nested) {
        for (const char* name : {"image_token_id", "audio_token_id", "video_token_id"}) {
            if (outer.has(name))
                d.placeholders.push_back(static_cast<token_id>(outer.integer(name, std::nullopt, 0, detail::most_vocabulary)));
        }
    }
    check_sizes(d, path.string());
    return d;
}

} // namespace loupe::io
