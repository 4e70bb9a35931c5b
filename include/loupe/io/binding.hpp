// Strict binding of a file's tensors to the layers' weights: every tensor is used exactly once and has the shape that the sizes demand.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/format/floats.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/io/tensor.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/model/dimensions.hpp>

#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include <fmt/core.h>

namespace loupe::io {

/// The names of one file format for what the layers need. A name for a block contains "{}" where its number goes.
struct tensor_names {
    std::string embedding, head, final_norm;
    std::string per_layer_table, per_layer_projection, per_layer_norm;
    std::string input_norm, attention_norm, mlp_input_norm, mlp_norm, scalar;
    std::string q, k, v, o, q_norm, k_norm;
    std::string gate, up, down;
    std::string per_layer_gate, per_layer_out, per_layer_out_norm;
    std::string router, router_scale, expert_scale, expert_gate_up, expert_gate, expert_up, expert_down;
    std::string expert_input_norm, dense_norm, experts_norm;
    std::string rope_freqs;           ///< read with the sizes; only marked as used
    std::vector<std::string> foreign; ///< prefixes of tensors that belong to vision and audio
    float gain_offset = 0;            ///< added to every gain: 1 for Gemma 3 in safetensors, which stores γ − 1
};

inline tensor_names gguf_names() {
    tensor_names n;
    n.embedding = "token_embd.weight", n.head = "output.weight", n.final_norm = "output_norm.weight";
    n.per_layer_table = "per_layer_token_embd.weight", n.per_layer_projection = "per_layer_model_proj.weight";
    n.per_layer_norm = "per_layer_proj_norm.weight", n.rope_freqs = "rope_freqs.weight";
    n.input_norm = "blk.{}.attn_norm.weight", n.attention_norm = "blk.{}.post_attention_norm.weight";
    n.mlp_input_norm = "blk.{}.ffn_norm.weight", n.mlp_norm = "blk.{}.post_ffw_norm.weight", n.scalar = "blk.{}.layer_output_scale.weight";
    n.q = "blk.{}.attn_q.weight", n.k = "blk.{}.attn_k.weight", n.v = "blk.{}.attn_v.weight", n.o = "blk.{}.attn_output.weight";
    n.q_norm = "blk.{}.attn_q_norm.weight", n.k_norm = "blk.{}.attn_k_norm.weight";
    n.gate = "blk.{}.ffn_gate.weight", n.up = "blk.{}.ffn_up.weight", n.down = "blk.{}.ffn_down.weight";
    n.per_layer_gate = "blk.{}.inp_gate.weight", n.per_layer_out = "blk.{}.proj.weight", n.per_layer_out_norm = "blk.{}.post_norm.weight";
    n.router = "blk.{}.ffn_gate_inp.weight", n.router_scale = "blk.{}.ffn_gate_inp.scale", n.expert_scale = "blk.{}.ffn_down_exps.scale";
    n.expert_gate_up = "blk.{}.ffn_gate_up_exps.weight", n.expert_gate = "blk.{}.ffn_gate_exps.weight";
    n.expert_up = "blk.{}.ffn_up_exps.weight", n.expert_down = "blk.{}.ffn_down_exps.weight";
    n.expert_input_norm = "blk.{}.pre_ffw_norm_2.weight", n.dense_norm = "blk.{}.post_ffw_norm_1.weight";
    n.experts_norm = "blk.{}.post_ffw_norm_2.weight";
    n.foreign = {"v.", "a.", "mm."};
    return n;
}

/// `prefix`: "model.", "model.language_model." or "language_model.model.".
inline tensor_names safetensors_names(const std::string& prefix, bool gemma3) {
    tensor_names n;
    const std::string block = prefix + "layers.{}.";
    n.embedding = prefix + "embed_tokens.weight", n.final_norm = prefix + "norm.weight";
    n.per_layer_table = prefix + "embed_tokens_per_layer.weight", n.per_layer_projection = prefix + "per_layer_model_projection.weight";
    n.per_layer_norm = prefix + "per_layer_projection_norm.weight";
    n.input_norm = block + "input_layernorm.weight", n.attention_norm = block + "post_attention_layernorm.weight";
    n.mlp_input_norm = block + "pre_feedforward_layernorm.weight", n.mlp_norm = block + "post_feedforward_layernorm.weight";
    n.scalar = block + "layer_scalar";
    n.q = block + "self_attn.q_proj.weight", n.k = block + "self_attn.k_proj.weight", n.v = block + "self_attn.v_proj.weight";
    n.o = block + "self_attn.o_proj.weight", n.q_norm = block + "self_attn.q_norm.weight", n.k_norm = block + "self_attn.k_norm.weight";
    n.gate = block + "mlp.gate_proj.weight", n.up = block + "mlp.up_proj.weight", n.down = block + "mlp.down_proj.weight";
    n.per_layer_gate = block + "per_layer_input_gate.weight", n.per_layer_out = block + "per_layer_projection.weight";
    n.per_layer_out_norm = block + "post_per_layer_input_norm.weight";
    n.router = block + "router.proj.weight", n.router_scale = block + "router.scale", n.expert_scale = block + "router.per_expert_scale";
    n.expert_gate_up = block + "experts.gate_up_proj", n.expert_down = block + "experts.down_proj";
    n.expert_input_norm = block + "pre_feedforward_layernorm_2.weight", n.dense_norm = block + "post_feedforward_layernorm_1.weight";
    n.experts_norm = block + "post_feedforward_layernorm_2.weight";
    n.foreign = {"model.vision_tower.", "model.embed_vision.",    "model.audio_tower.",           "model.embed_audio.",
                 "vision_tower.",       "multi_modal_projector.", "model.multi_modal_projector.", "model.vision_embedder."};
    n.head = prefix.starts_with("language_model.") ? "language_model.lm_head.weight" : "lm_head.weight"; // beside the model, not in it
    n.gain_offset = gemma3 ? 1.0F : 0.0F;
    return n;
}

namespace detail {

/// Takes tensors one by one and knows at the end which were not taken.
class binder {
    std::map<std::string, const tensor*, std::less<>> left_;
    std::string file_;
    const tensor_names& names_;

  public:
    std::vector<const tensor*> taken;

    binder(const std::vector<tensor>& tensors, std::string file, const tensor_names& names) : file_(std::move(file)), names_(names) {
        for (const tensor& t : tensors) left_.emplace(t.name, &t);
    }

    bool has(const std::string& name) const { return !name.empty() && left_.contains(name); }

    const tensor& take(const std::string& name, const std::vector<index_t>& shape) {
        const auto found = left_.find(name);
        if (found == left_.end())
            throw error(fmt::format("{}: expected a tensor {} of shape {}, found none", file_, name, shape_text(shape)));
        const tensor& t = *found->second;
        if (without_leading_ones(t.shape) != without_leading_ones(shape)) { // GGUF may leave them out or spell out more
            throw error(fmt::format("{}: tensor {}: expected shape {}, found {}", t.file, name, shape_text(shape), shape_text(t.shape)));
        }
        taken.push_back(&t);
        left_.erase(found);
        return t;
    }

    weight_matrix matrix(const std::string& name, index_t rows, index_t width) { return as_matrix(take(name, {rows, width}), rows, width); }
    weight_matrix optional_matrix(const std::string& name, index_t rows, index_t width) {
        return has(name) ? matrix(name, rows, width) : weight_matrix{};
    }
    weight_matrix stack(const std::string& name, index_t count, index_t rows, index_t width) {
        return as_matrix(take(name, {count, rows, width}), count * rows, width);
    }
    std::vector<float> values(const std::string& name, index_t count) {
        const tensor& t = take(name, {count});
        std::vector<float> out(static_cast<std::size_t>(count));
        t.format->decode_row(t.data, out.data(), count);
        return out;
    }
    gain norm(const std::string& name, index_t width) {
        gain g = values(name, width);
        for (float& v : g) v += names_.gain_offset;
        return g;
    }

    void mark_used(const std::string& name) {
        if (!name.empty()) left_.erase(name);
    }

    void nothing_left() const {
        std::string extra;
        index_t count = 0;
        bool side_scales = false;
        for (const auto& [name, t] : left_) {
            bool foreign = false;
            for (const std::string& prefix : names_.foreign) foreign = foreign || name.starts_with(prefix);
            if (foreign) continue;
            const std::string matrix = name.substr(0, name.rfind('.')) + ".weight"; // NVFP4 has .scale and .input_scale beside it
            side_scales = side_scales || std::ranges::any_of(taken, [&](const tensor* of) { return of->name == matrix; });
            if (++count <= 5) extra += (extra.empty() ? "" : ", ") + name_text(name);
        }
        if (count > 0)
            throw error(fmt::format("{}: {} tensor{} that this model has no use for: {}{}{}", file_, count, count == 1 ? "" : "s", extra,
                                    count > 5 ? ", …" : "",
                                    side_scales ? " (tensors beside a matrix, such as NVFP4's scales, are not supported)" : ""));
    }

  private:
    static std::vector<index_t> without_leading_ones(std::vector<index_t> shape) {
        while (!shape.empty() && shape.front() == 1) shape.erase(shape.begin());
        return shape;
    }
    static weight_matrix as_matrix(const tensor& t, index_t rows, index_t width) {
        weight_matrix m;
        m.format = t.format;
        m.data = t.data;
        m.rows = rows;
        m.width = width;
        m.owner = t.owner;
        return m;
    }
};

/// Refuses tensors that hold a NaN or an infinity, or nothing but one value that makes them vanish (zero; −1 for a gain stored as γ − 1).
inline void check_values(const std::vector<const tensor*>& tensors, float gain_offset, executor& threads) {
    for (const tensor* t : tensors) {
        const index_t width = t->shape.empty() ? 1 : t->shape.back(), rows = width > 0 ? t->count() / width : 0;
        const float nothing = t->shape.size() == 1 && t->name.find("norm") != std::string::npos ? -gain_offset : 0.0F;
        std::atomic<bool> vanishes{true};
        threads.for_ranges(rows, std::max<index_t>(1, 65536 / std::max<index_t>(1, width)), [&](index_t first, index_t last) {
            thread_local std::vector<float> row;
            row.resize(static_cast<std::size_t>(width));
            for (index_t r = first; r < last; ++r) {
                const std::byte* const blocks = t->data + r * t->format->row_bytes(width);
                const bool finite = t->format->all_finite(blocks, width);
                if (finite && !vanishes) continue; // nothing more to see: most rows are never decoded
                t->format->decode_row(blocks, row.data(), width);
                if (!finite) {
                    index_t i = 0;
                    while (std::isfinite(row[static_cast<std::size_t>(i)])) ++i;
                    throw error(fmt::format("{}: tensor {}: expected finite values, found {} at row {}, column {}", t->file, t->name,
                                            row[static_cast<std::size_t>(i)], r, i));
                }
                if (std::any_of(row.begin(), row.end(), [&](float v) { return v != nothing; })) vanishes = false;
            }
        });
        if (vanishes) throw error(fmt::format("{}: tensor {}: expected weights, found nothing but {}", t->file, t->name, nothing));
        forget(t->owner, t->data, rows * t->format->row_bytes(width)); // or the whole file would be held beside what is packed of it
    }
}

inline void bind_experts(binder& b, const tensor_names& n, const dimensions& d, index_t block, expert_weights& e) {
    const auto in = [block](const std::string& name) { return fmt::format(fmt::runtime(name), block); };
    e.router = b.matrix(in(n.router), d.experts, d.width);
    e.router_scale = b.values(in(n.router_scale), d.width);
    e.expert_scale = b.values(in(n.expert_scale), d.experts);
    e.input_norm = b.norm(in(n.expert_input_norm), d.width);
    e.dense_norm = b.norm(in(n.dense_norm), d.width);
    e.experts_norm = b.norm(in(n.experts_norm), d.width);
    const index_t f = d.expert_width;
    if (n.expert_gate.empty() || b.has(in(n.expert_gate_up))) { // merged: gate rows first, then up rows
        const auto both = b.stack(in(n.expert_gate_up), d.experts, 2 * f, d.width);
        e.gate = {both, f, 2 * f, 0};
        e.up = {both, f, 2 * f, f};
    } else {
        e.gate = {b.stack(in(n.expert_gate), d.experts, f, d.width), f, f, 0};
        e.up = {b.stack(in(n.expert_up), d.experts, f, d.width), f, f, 0};
    }
    e.down = {b.stack(in(n.expert_down), d.experts, d.width, f), d.width, d.width, 0};
}

} // namespace detail

/// The weights of a decoder of these sizes. Errors name the tensor: missing, extra, misshapen, all zero, not finite.
inline std::shared_ptr<const decoder_weights> bind_weights(const std::vector<tensor>& tensors, const std::string& file,
                                                           const tensor_names& n, const dimensions& d, executor& threads) {
    detail::binder b(tensors, file, n);
    auto w = std::make_shared<decoder_weights>();
    const bool gemma4 = d.family == "gemma4";
    w->embedding = b.matrix(n.embedding, d.vocabulary, d.width);
    w->embedding_precision = w->embedding.format->id == format::bf16::id  ? table_precision::bfloat16
                             : w->embedding.format->id == format::f16::id ? table_precision::float16
                                                                          : table_precision::float32;
    w->head = b.has(n.head) ? b.matrix(n.head, d.vocabulary, d.width) : w->embedding;
    w->final_norm = b.norm(n.final_norm, d.width);
    const index_t P = d.per_layer_width;
    if (P > 0) {
        w->per_layer_table = b.matrix(n.per_layer_table, d.vocabulary, d.blocks() * P);
        w->per_layer_projection = b.matrix(n.per_layer_projection, d.blocks() * P, d.width);
        w->per_layer_norm = b.norm(n.per_layer_norm, P);
    }
    for (index_t i = 0; i < d.blocks(); ++i) {
        const auto in = [i](const std::string& name) { return fmt::format(fmt::runtime(name), i); };
        const block_dimensions& s = d[i];
        block_weights& block = w->block.emplace_back();
        block.input_norm = b.norm(in(n.input_norm), d.width);
        block.attention_norm = b.norm(in(n.attention_norm), d.width);
        block.mlp_input_norm = b.norm(in(n.mlp_input_norm), d.width);
        block.mlp_norm = b.norm(in(n.mlp_norm), d.width);
        if (gemma4) block.scalar = b.values(in(n.scalar), 1).front();

        attention_weights& a = block.attention;
        a.q = b.matrix(in(n.q), d.heads * s.head_width, d.width);
        a.o = b.matrix(in(n.o), d.width, d.heads * s.head_width);
        a.q_norm = b.norm(in(n.q_norm), s.head_width);
        const index_t kv = s.kv_heads * s.head_width;
        if (s.shares_kv) { // older files still hold what is no longer used
            a.k = b.optional_matrix(in(n.k), kv, d.width);
            a.v = b.optional_matrix(in(n.v), kv, d.width);
            if (b.has(in(n.k_norm))) a.k_norm = b.norm(in(n.k_norm), s.head_width);
        } else {
            a.k = b.matrix(in(n.k), kv, d.width);
            a.k_norm = b.norm(in(n.k_norm), s.head_width);
            if (!(s.full && d.value_from_key)) a.v = b.matrix(in(n.v), kv, d.width);
        }

        block.mlp.gate = b.matrix(in(n.gate), s.mlp_width, d.width);
        block.mlp.up = b.matrix(in(n.up), s.mlp_width, d.width);
        block.mlp.down = b.matrix(in(n.down), d.width, s.mlp_width);
        if (d.experts > 0) detail::bind_experts(b, n, d, i, block.experts);
        if (P > 0) {
            block.per_layer.gate = b.matrix(in(n.per_layer_gate), P, d.width);
            block.per_layer.projection = b.matrix(in(n.per_layer_out), d.width, P);
            block.per_layer.norm = b.norm(in(n.per_layer_out_norm), d.width);
        }
    }
    b.mark_used(n.rope_freqs);
    b.nothing_left();
    detail::check_values(b.taken, n.gain_offset, threads);
    return w;
}

} // namespace loupe::io
