// The weights of a decoder as its layers use them: matrices stay in the file's format and memory, vectors are floats.
#pragma once

#include <loupe/kernel/matmul.hpp>
#include <loupe/policy/scale.hpp>

#include <memory>
#include <vector>

namespace loupe {

/// A matrix and what keeps its bytes alive. No rows: the model has no such matrix.
struct weight_matrix : kernel::weight_view {
    std::shared_ptr<const void> owner;
    std::shared_ptr<const void> owner_of_packed;

    bool exists() const { return rows > 0; }
    index_t bytes() const { return exists() ? rows * row_bytes() : 0; }
};

/// One matrix for each expert, all in one tensor: expert e has rows [e · stride + offset, … + rows_each).
struct expert_matrices {
    weight_matrix all;
    index_t rows_each = 0;
    index_t stride = 0;
    index_t offset = 0;

    kernel::weight_view operator[](index_t expert) const { return all.slice(expert * stride + offset, rows_each); }
};

/// A gain is empty where the model has no such norm.
using gain = std::vector<float>;

struct attention_weights {
    weight_matrix q, k, v, o; ///< [heads·D, width], [kv heads·D, width] twice, [width, heads·D]
    gain q_norm, k_norm;      ///< [D]
};

struct feed_forward_weights {
    weight_matrix gate, up, down; ///< [mlp width, width] twice, [width, mlp width]
};

struct expert_weights {
    weight_matrix router;                      ///< [experts, width]
    gain router_scale;                         ///< [width]
    std::vector<float> expert_scale;           ///< [experts]
    expert_matrices gate, up, down;            ///< per expert [expert width, width] twice, [width, expert width]
    gain input_norm, dense_norm, experts_norm; ///< pre_feedforward_layernorm_2, post_feedforward_layernorm_1 and _2
};

struct per_layer_weights {
    weight_matrix gate, projection; ///< [P, width], [width, P]
    gain norm;                      ///< [width]
};

struct block_weights {
    gain input_norm, attention_norm, mlp_input_norm, mlp_norm; ///< each [width]
    attention_weights attention;
    feed_forward_weights mlp;
    expert_weights experts;
    per_layer_weights per_layer;
    float scalar = 1;
};

struct decoder_weights {
    weight_matrix embedding;                                        ///< [vocabulary, width]
    table_precision embedding_precision = table_precision::float32; ///< of the file's table, also when it has been requantised since
    weight_matrix head;                                             ///< the same unless the model has a head of its own
    gain final_norm;                                                ///< [width]
    weight_matrix per_layer_table;                                  ///< [vocabulary, blocks·P]
    weight_matrix per_layer_projection;                             ///< [blocks·P, width]
    gain per_layer_norm;                                            ///< [P]
    std::vector<block_weights> block;
};

} // namespace loupe
