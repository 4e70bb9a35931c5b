// Makes GGUF files of any size and mix of formats, with random weights: to measure speed and memory of a model that is not at hand, and to
// see whether it fits. Everything but the values is as in a real file: sizes, names, keys, a vocabulary of the full size.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/format/random.hpp>
#include <loupe/io/binding.hpp>
#include <loupe/io/gguf_writer.hpp>
#include <loupe/io/vocabulary.hpp>
#include <loupe/model/describe.hpp>
#include <loupe/model/gemma3.hpp>
#include <loupe/model/gemma4.hpp>

#include <array>
#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace loupe::io {

// ---- sizes

/// A released model by the name that a user gives it.
struct model_variant {
    std::string_view name;
    dimensions (*sizes)();
};

inline constexpr std::array<model_variant, 10> model_variants{{{"e2b", &dimensions_of<gemma4::e2b>},
                                                               {"e4b", &dimensions_of<gemma4::e4b>},
                                                               {"12b", &dimensions_of<gemma4::b12>},
                                                               {"26b-a4b", &dimensions_of<gemma4::a4b>},
                                                               {"31b", &dimensions_of<gemma4::b31>},
                                                               {"gemma3-270m", &dimensions_of<gemma3::m270>},
                                                               {"gemma3-1b", &dimensions_of<gemma3::b1>},
                                                               {"gemma3-4b", &dimensions_of<gemma3::b4>},
                                                               {"gemma3-12b", &dimensions_of<gemma3::b12>},
                                                               {"gemma3-27b", &dimensions_of<gemma3::b27>}}};

/// Sizes of a variant. @throws loupe::error that lists the names.
inline dimensions sizes_of_variant(std::string_view name) {
    std::string names;
    for (const model_variant& v : model_variants) {
        if (v.name == name) return v.sizes();
        names += (names.empty() ? "" : ", ") + std::string(v.name);
    }
    throw error(fmt::format("variant: expected one of {}, found {}", names, detail::name_text(name)));
}

/// The same model with fewer blocks: the pattern of full and sliding ones stays, and about the same share of them shares keys and values.
/// Those that do not are whole periods, so that the last two are a sliding and a full one.
inline dimensions with_blocks(const dimensions& d, index_t blocks) {
    const index_t period = d.first_full() + 1, own_stored = d.first_shared();
    if (blocks < period || blocks > d.blocks())
        throw error(fmt::format("blocks: expected {} to {} ({} for each full one), found {}", period, d.blocks(), period, blocks));
    index_t own = blocks;
    if (own_stored < d.blocks()) {
        const double share = static_cast<double>(own_stored) / static_cast<double>(d.blocks());
        own = std::max<index_t>(1, std::lround(share * static_cast<double>(blocks) / static_cast<double>(period))) * period;
        own = std::min(own, blocks / period * period);
    }
    dimensions out = d;
    out.block.clear();
    for (index_t i = 0; i < blocks; ++i) out.block.push_back(d[i < own ? i % period : own_stored + i % period]);
    return out;
}

// ---- formats

namespace detail {

/// Whether `text` matches `pattern`, in which a * stands for any characters.
inline bool matches(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern.front() != '*') return !text.empty() && text.front() == pattern.front() && matches(pattern.substr(1), text.substr(1));
    for (std::size_t i = 0; i <= text.size(); ++i)
        if (matches(pattern.substr(1), text.substr(i))) return true;
    return false;
}

/// What a mix needs to know of a matrix.
enum class matrix_role { other, embedding, value, down, router, per_layer_projection };

} // namespace detail

/// A format for every matrix, from a text "MIX[,PATTERN=FORMAT]…".
///
/// MIX is a format for all matrices, or q4_k_m or q5_k_m: embedding tables and half of the value and down projections (the outer quarter of
/// the blocks and every third between) in Q6_K, the rest in Q4_K or Q5_K, as llama.cpp's quantiser mixes them. Like there the router stays
/// F32 and the per-layer model projection BF16, and where a format's block does not divide the width, Q4_0 stands in for Q2_K and Q3_K,
/// Q5_0 for Q4_K, Q5_1 for Q5_K, Q8_0 for Q6_K, IQ4_NL for IQ4_XS, and F16 for what does not fit either.
///
/// PATTERN is a part of the tensor's name between dots, in which * stands for anything: ffn_down, blk.3, attn_*. The last that fits counts.
class format_mix {
    struct exception {
        std::string pattern;
        const format::info* format;
    };
    const format::info *all_ = nullptr, *more_ = nullptr; ///< more_: for matrices that get more bits, or null
    std::vector<exception> exceptions_;

    static const format::info& named(std::string_view name, std::string_view also) {
        if (const format::info* f = format::find(name)) return *f;
        std::string names(also);
        for (const format::info* f : format::infos()) names += (names.empty() ? "" : ", ") + std::string(f->name);
        throw error(fmt::format("types: expected one of {}; found {}", names, detail::name_text(name)));
    }

    static const format::info& fitting(const format::info& wanted, index_t width) {
        if (width % wanted.length == 0) return wanted;
        const format::info* smaller = &format::info_of<format::f16>();
        switch (wanted.id) {
        case format::q2_k::id:
        case format::q3_k::id:
            smaller = &format::info_of<format::q4_0>();
            break;
        case format::q4_k::id:
            smaller = &format::info_of<format::q5_0>();
            break;
        case format::q5_k::id:
            smaller = &format::info_of<format::q5_1>();
            break;
        case format::q6_k::id:
            smaller = &format::info_of<format::q8_0>();
            break;
        case format::iq4_xs::id:
            smaller = &format::info_of<format::iq4_nl>();
            break;
        default:
            break;
        }
        return fitting(*smaller, width);
    }

  public:
    explicit format_mix(std::string_view spec) {
        for (bool first = true; first || !spec.empty(); first = false) {
            const std::size_t comma = spec.find(',');
            const std::string_view part = spec.substr(0, comma);
            spec = comma == std::string_view::npos ? std::string_view() : spec.substr(comma + 1);
            const std::size_t equals = part.find('=');
            if (first) {
                const bool mixes = part == "q4_k_m" || part == "q5_k_m";
                all_ = &named(mixes ? part.substr(0, 4) : part, "q4_k_m, q5_k_m");
                if (mixes) more_ = &format::info_of<format::q6_k>();
            } else if (equals == std::string_view::npos || equals == 0) {
                throw error(fmt::format("types: expected PATTERN=FORMAT, such as ffn_down=q6_k, found {}", detail::name_text(part)));
            } else {
                exceptions_.push_back({std::string(part.substr(0, equals)), &named(part.substr(equals + 1), "")});
            }
        }
    }

    /// The format of a matrix, number `index` of `count` with its role.
    const format::info& format_of(std::string_view name, index_t width, detail::matrix_role role, index_t index, index_t count) const {
        using detail::matrix_role;
        const format::info* f = all_;
        if (role == matrix_role::router)
            f = &format::info_of<format::f32>();
        else if (role == matrix_role::per_layer_projection)
            f = &format::info_of<format::bf16>();
        else if (more_ != nullptr && role == matrix_role::embedding)
            f = more_;
        else if (more_ != nullptr && (role == matrix_role::value || role == matrix_role::down) &&
                 (index < count / 8 || index >= 7 * count / 8 || (index - count / 8) % 3 == 2))
            f = more_;
        for (const exception& e : exceptions_)
            if (fits(e.pattern, name)) f = e.format;
        return fitting(*f, width);
    }

    /// GGUF's general.file_type, by which llama.cpp names a file: the mix without its exceptions.
    std::uint32_t file_type() const {
        if (more_ != nullptr) return all_->id == format::q4_k::id ? 15 : 17;
        switch (all_->id) {
        case format::q5_0::id:
            return 8;
        case format::q5_1::id:
            return 9;
        case format::q8_0::id:
            return 7;
        case format::q3_k::id:
            return 11;
        case format::q4_k::id:
            return 14;
        case format::q5_k::id:
            return 16;
        case format::q6_k::id:
            return 18;
        case format::iq4_nl::id:
            return 25;
        case format::iq4_xs::id:
            return 30;
        case format::bf16::id:
            return 32;
        case format::mxfp4::id:
            return 38;
        case format::nvfp4::id:
            return 39;
        default:
            return all_->id; // F32, F16, Q4_0, Q4_1, Q2_K: the same number
        }
    }

    /// @throws loupe::error if a pattern fits none of the names.
    void check_used(const std::vector<std::string>& matrices) const {
        for (const exception& e : exceptions_)
            if (std::none_of(matrices.begin(), matrices.end(), [&](const std::string& name) { return fits(e.pattern, name); }))
                throw error(
                    fmt::format("types: expected a part between dots of a matrix's name, such as ffn_down of {}; found {}, which fits none",
                                "blk.0.ffn_down.weight", detail::name_text(e.pattern)));
    }

  private:
    static bool fits(const std::string& pattern, std::string_view name) {
        return detail::matches("*." + pattern + ".*", fmt::format(".{}.", name));
    }
};

// ---- tensors

/// A tensor to be made. Values have this mean and standard deviation.
struct planned_tensor {
    std::string name;
    std::vector<index_t> shape; ///< outermost first
    const format::info* format;
    double mean, deviation;

    index_t rows() const {
        index_t n = 1;
        for (std::size_t i = 0; i + 1 < shape.size(); ++i) n *= shape[i];
        return n;
    }
    index_t bytes() const { return rows() * format->row_bytes(shape.back()); }
};

/// Every tensor of a model with GGUF's names, as `bind_weights` demands them. Matrices keep the size of what they multiply (deviation
/// 1/√width), gains are near 1, so that activations stay finite through any number of blocks. Blocks that share keys and values have none.
inline std::vector<planned_tensor> plan_tensors(const dimensions& d, const format_mix& mix) {
    using detail::matrix_role;
    const tensor_names n = gguf_names();
    const bool gemma4 = d.family == "gemma4";
    std::vector<planned_tensor> plan;
    std::vector<std::string> matrices;
    index_t block = 0, values = 0, value = 0;
    const auto has_values = [&](const block_dimensions& b) { return !b.shares_kv && !(b.full && d.value_from_key); };
    for (const auto& b : d.block) values += has_values(b) ? 1 : 0;
    const auto in_block = [&](const std::string& name) { return fmt::format(fmt::runtime(name), block); };
    const auto vector = [&](const std::string& name, index_t count, double mean = 1) {
        plan.push_back({in_block(name), {count}, &format::info_of<format::f32>(), mean, 0.05 * mean});
    };
    const auto matrix = [&](const std::string& name, std::vector<index_t> shape, matrix_role role = matrix_role::other,
                            index_t fan_in = 0) {
        const index_t width = shape.back();
        const bool is_value = role == matrix_role::value;
        std::string full = in_block(name);
        const auto& f = mix.format_of(full, width, role, is_value ? value++ : block, is_value ? values : d.blocks());
        matrices.push_back(full);
        plan.push_back({std::move(full), std::move(shape), &f, 0, 1 / std::sqrt(static_cast<double>(fan_in > 0 ? fan_in : width))});
    };

    const index_t D = d.width, P = d.per_layer_width;
    matrix(n.embedding, {d.vocabulary, D}, matrix_role::embedding);
    vector(n.final_norm, D);
    if (P > 0) {
        matrix(n.per_layer_table, {d.vocabulary, d.blocks() * P}, matrix_role::embedding, P);
        matrix(n.per_layer_projection, {d.blocks() * P, D}, matrix_role::per_layer_projection);
        vector(n.per_layer_norm, P);
    }
    for (; block < d.blocks(); ++block) {
        const block_dimensions& b = d[block];
        const index_t q = d.heads * b.head_width, kv = b.kv_heads * b.head_width;
        for (const std::string& norm : {n.input_norm, n.attention_norm, n.mlp_input_norm, n.mlp_norm}) vector(norm, D);
        if (gemma4) vector(n.scalar, 1, 0.75);
        matrix(n.q, {q, D});
        vector(n.q_norm, b.head_width);
        if (!b.shares_kv) {
            matrix(n.k, {kv, D});
            vector(n.k_norm, b.head_width);
            if (has_values(b)) matrix(n.v, {kv, D}, matrix_role::value);
        }
        matrix(n.o, {D, q});
        matrix(n.gate, {b.mlp_width, D});
        matrix(n.up, {b.mlp_width, D});
        matrix(n.down, {D, b.mlp_width}, matrix_role::down);
        if (d.experts > 0) {
            const index_t E = d.experts, F = d.expert_width;
            matrix(n.router, {E, D}, matrix_role::router);
            vector(n.router_scale, D, std::sqrt(static_cast<double>(D))); // undoes the router's 1/√D
            matrix(n.expert_gate_up, {E, 2 * F, D});
            matrix(n.expert_down, {E, D, F}, matrix_role::down);
            vector(n.expert_scale, E);
            for (const std::string& norm : {n.expert_input_norm, n.dense_norm, n.experts_norm}) vector(norm, D);
        }
        if (P > 0) {
            matrix(n.per_layer_gate, {P, D});
            matrix(n.per_layer_out, {D, P});
            vector(n.per_layer_out_norm, D);
        }
    }
    mix.check_used(matrices);
    return plan;
}

// ---- keys

namespace detail {

/// The first ids are those of the released vocabularies: special tokens, runs of newlines and of ▁, and one token for each byte.
inline constexpr index_t first_made_piece = 494, least_vocabulary = 600;

/// A vocabulary of special tokens, bytes, printable ASCII, and "words" of two to four letters (the first may be ▁) in order of the
/// alphabet: every text can be encoded, every id decoded, and the tables have the size of real ones.
inline void set_made_vocabulary(gguf_writer& w, index_t count, bool gemma4) {
    if (count < least_vocabulary)
        throw error(
            fmt::format("vocabulary: expected at least {} tokens (special ones, bytes, characters), found {}", least_vocabulary, count));
    std::vector<std::string> texts(static_cast<std::size_t>(count));
    std::vector<std::int32_t> kinds(texts.size(), static_cast<std::int32_t>(token_kind::normal));
    const auto put = [&](index_t id, std::string text, token_kind kind) {
        if (id >= count) return;
        texts[static_cast<std::size_t>(id)] = std::move(text);
        kinds[static_cast<std::size_t>(id)] = static_cast<std::int32_t>(kind);
    };
    using special = std::pair<index_t, const char*>;
    for (const auto& [id, text] : {special{0, "<pad>"}, {1, "<eos>"}, {2, "<bos>"}, {4, "<mask>"}}) put(id, text, token_kind::control);
    put(3, "<unk>", token_kind::unknown);
    if (gemma4) {
        for (const auto& [id, text] : {special{46, "<|tool>"},
                                       {47, "<tool|>"},
                                       {48, "<|tool_call>"},
                                       {49, "<tool_call|>"},
                                       {50, "<|tool_response>"},
                                       {51, "<tool_response|>"},
                                       {52, "<|\"|>"},
                                       {98, "<|think|>"},
                                       {100, "<|channel>"},
                                       {101, "<channel|>"},
                                       {105, "<|turn>"},
                                       {106, "<turn|>"},
                                       {255999, "<|image>"},
                                       {256000, "<|audio>"},
                                       {258880, "<|image|>"},
                                       {258881, "<|audio|>"},
                                       {258882, "<image|>"},
                                       {258883, "<audio|>"},
                                       {258884, "<|video|>"}})
            put(id, text, stays_visible(text) ? token_kind::user_defined : token_kind::control);
    } else {
        put(105, "<start_of_turn>", token_kind::control);
        put(106, "<end_of_turn>", token_kind::control);
    }
    const std::string mark(space_mark);
    std::vector<std::string> merges; // in the order of what they make; all ways to make it
    const auto add_run = [&](index_t id, const std::string& of, index_t length) {
        const auto run = [&](index_t n) {
            std::string text;
            for (index_t i = 0; i < n; ++i) text += of;
            return text;
        };
        put(id, run(length), token_kind::normal);
        for (index_t left = length - 1; left > 0; --left) merges.push_back(run(left) + " " + run(length - left));
    };
    for (index_t n = 1; n <= 31; ++n) add_run(106 + n, "\n", n);
    for (index_t n = 2; n <= 31; ++n) add_run(136 + n, mark, n);
    for (index_t byte = 0; byte < 256; ++byte) put(238 + byte, fmt::format("<0x{:02X}>", byte), token_kind::byte);
    for (index_t id = 0; id < first_made_piece; ++id)
        if (texts[static_cast<std::size_t>(id)].empty()) put(id, fmt::format("<unused{}>", id), token_kind::unused);

    index_t next = first_made_piece;
    put(next++, mark, token_kind::normal);
    for (char c = '!'; c <= '~'; ++c) put(next++, std::string(1, c), token_kind::normal);
    for (index_t length = 2; next < count; ++length) {
        std::vector<int> letter(static_cast<std::size_t>(length), 0); // letter 0 of 27 is ▁, which only stands in front
        std::fill(letter.begin() + 1, letter.end(), 1);
        for (bool more = true; more && next < count; ++next) {
            if (!texts[static_cast<std::size_t>(next)].empty()) continue; // a special token among the words
            std::string text;
            for (const int l : letter) text += l == 0 ? mark : std::string(1, static_cast<char>('a' + l - 1));
            const std::size_t first = letter[0] == 0 ? mark.size() : 1;
            merges.push_back(text.substr(0, text.size() - 1) + " " + text.substr(text.size() - 1));
            if (length > 2) merges.push_back(text.substr(0, first) + " " + text.substr(first));
            put(next, std::move(text), token_kind::normal);
            std::size_t i = letter.size();
            do {
                if (i == 0)
                    more = false;
                else if (++letter[--i] <= 26)
                    break;
                else
                    letter[i] = 1;
            } while (more);
        }
    }

    w.set("tokenizer.ggml.model", gemma4 ? "gemma4" : "llama");
    if (!gemma4) w.set("tokenizer.ggml.pre", "default");
    w.set("tokenizer.ggml.tokens", texts);
    w.set("tokenizer.ggml.token_type", kinds);
    if (gemma4) {
        w.set("tokenizer.ggml.merges", merges);
    } else {
        std::vector<float> scores(texts.size());
        for (std::size_t i = 0; i < scores.size(); ++i)
            scores[i] = kinds[i] == static_cast<std::int32_t>(token_kind::normal) ? -static_cast<float>(i) : -1000.0F;
        w.set("tokenizer.ggml.scores", scores);
    }
    const auto id = [&](const char* key, std::uint32_t value) { w.set(fmt::format("tokenizer.ggml.{}_token_id", key), value); };
    id("padding", 0), id("eos", 1), id("bos", 2), id("unknown", 3), id("eot", 106);
    w.set("tokenizer.ggml.add_bos_token", true);
    w.set("tokenizer.ggml.add_eos_token", false);
    w.set("tokenizer.ggml.add_space_prefix", false);
}

/// The keys that hold a model's sizes, those of `dimensions_from_gguf` and what llama.cpp asks for beside them.
inline void set_sizes(gguf_writer& w, const dimensions& d) {
    const bool gemma4 = d.family == "gemma4";
    const auto set = [&](const char* key, auto value) { w.set(fmt::format("{}.{}", d.family, key), value); };
    const auto integer = [&](const char* key, index_t value) { set(key, static_cast<std::uint32_t>(value)); };
    const auto number = [&](const char* key, double value) { set(key, static_cast<float>(value)); };
    const auto per_block = [&](const char* key, index_t block_dimensions::*member) { // one number, or an array where they differ
        std::vector<std::int32_t> values;
        for (const auto& b : d.block) values.push_back(static_cast<std::int32_t>(b.*member));
        if (std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end())
            integer(key, values.front());
        else
            set(key, values);
    };
    const index_t full = d.first_full(), head_width_full = d[full].head_width;
    index_t head_width_sliding = head_width_full;
    for (const auto& b : d.block)
        if (!b.full) head_width_sliding = b.head_width;
    integer("block_count", d.blocks());
    integer("context_length", d.context);
    integer("embedding_length", d.width);
    per_block("feed_forward_length", &block_dimensions::mlp_width);
    integer("attention.head_count", d.heads);
    per_block("attention.head_count_kv", &block_dimensions::kv_heads);
    integer("attention.key_length", head_width_full);
    integer("attention.value_length", head_width_full);
    integer("attention.sliding_window", d.window);
    number("attention.layer_norm_rms_epsilon", d.epsilon);
    number("rope.freq_base", d.rope_full.theta);
    number("rope.freq_base_swa", d.rope_sliding.theta);
    if (d.final_cap > 0) number("final_logit_softcapping", d.final_cap);
    if (!gemma4) { // blocks in the period of 6 that readers take for granted
        if (d.rope_full.factor != 1) {
            set("rope.scaling.type", "linear");
            number("rope.scaling.factor", d.rope_full.factor);
        }
        return;
    }
    std::vector<bool> sliding;
    for (const auto& b : d.block) sliding.push_back(!b.full);
    set("attention.sliding_window_pattern", sliding);
    integer("attention.key_length_swa", head_width_sliding);
    integer("attention.value_length_swa", head_width_sliding);
    integer("rope.dimension_count", head_width_full);
    integer("rope.dimension_count_swa", head_width_sliding);
    integer("attention.shared_kv_layers", d.blocks() - d.first_shared());
    integer("embedding_length_per_layer_input", d.per_layer_width);
    if (d.experts > 0) {
        integer("expert_count", d.experts);
        integer("expert_used_count", d.experts_used);
        integer("expert_feed_forward_length", d.expert_width);
    }
}

} // namespace detail

/// Writes a GGUF file with random weights for a model of these sizes, which need at least one full block. Values depend on the seed and a
/// tensor's name alone. Holds the vocabulary and a megabyte of weights in memory, whatever the file's size. Returns what it wrote.
/// @throws loupe::output_error if it cannot be written: then there is no file.
inline std::vector<planned_tensor> make_model(const std::filesystem::path& path, const dimensions& d, const format_mix& mix,
                                              std::uint64_t seed, std::string_view name) {
    check_sizes(d, "a model to be made");
    if (d.first_full() == d.blocks()) throw error("a model to be made: expected a block with full attention, found none");
    auto plan = plan_tensors(d, mix);
    gguf_writer w;
    w.set("general.architecture", d.family);
    w.set("general.type", "model");
    w.set("general.name", name);
    w.set("general.quantization_version", std::uint32_t{2});
    w.set("general.file_type", mix.file_type());
    detail::set_sizes(w, d);
    detail::set_made_vocabulary(w, d.vocabulary, d.family == "gemma4");
    for (const planned_tensor& t : plan) {
        std::uint64_t own_seed = mixed(seed + 1);
        for (const char c : t.name) own_seed = mixed(own_seed ^ static_cast<unsigned char>(c));
        const format::info* f = t.format;
        const index_t width = t.shape.back(), row = f->row_bytes(width);
        if (t.mean == 0) {
            w.add(t.name, *f, t.shape, [=, rows = format::random_rows(*f, t.deviation, own_seed)](index_t first, std::span<std::byte> out) {
                for (index_t i = 0; i < static_cast<index_t>(out.size()) / row; ++i) rows(first + i, out.data() + i * row, width);
            });
        } else {
            std::vector<float> values(static_cast<std::size_t>(width));
            format::random_rows(*f, t.deviation, own_seed)(0, std::as_writable_bytes(std::span(values)).data(), width);
            for (float& v : values) v += static_cast<float>(t.mean);
            w.add(t.name, *f, t.shape, std::span<const float>(values));
        }
    }
    if (d.family == "gemma4") { // what divides the angles of full blocks: the only trace of the share of pairs that rotate
        const index_t pairs = d[d.first_full()].head_width / 2;
        std::vector<float> divisors(static_cast<std::size_t>(pairs), 1e30F);
        std::fill_n(divisors.begin(), std::lround(d.rope_full.share * static_cast<double>(pairs)), 1.0F);
        w.add(gguf_names().rope_freqs, format::info_of<format::f32>(), {pairs}, std::span<const float>(divisors));
        plan.push_back({gguf_names().rope_freqs, {pairs}, &format::info_of<format::f32>(), 0, 0});
    }
    w.write(path);
    return plan;
}

} // namespace loupe::io
