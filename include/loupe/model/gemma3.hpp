// Gemma 3: the text decoders of Gemma 4's predecessor, for the checkpoints that fit everywhere (transformers' models/gemma3).
#pragma once

#include <loupe/model/gemma4.hpp>

namespace loupe::gemma3 {

struct m270_card {
    static constexpr card value{.name = "Gemma 3 270M",
                                .family = "gemma3",
                                .blocks = 18,
                                .period = 6,
                                .width = 640,
                                .heads = 4,
                                .kv_heads_sliding = 1,
                                .kv_heads_full = 1,
                                .mlp_width = 2048,
                                .window = 512,
                                .context = 32768,
                                .score_scale = 1.0 / 16};
};

struct b1_card {
    static constexpr card value{.name = "Gemma 3 1B",
                                .family = "gemma3",
                                .blocks = 26,
                                .period = 6,
                                .width = 1152,
                                .heads = 4,
                                .kv_heads_sliding = 1,
                                .kv_heads_full = 1,
                                .mlp_width = 6912,
                                .window = 512,
                                .context = 32768,
                                .score_scale = 1.0 / 16};
};

struct b4_card {
    static constexpr card value{.name = "Gemma 3 4B",
                                .family = "gemma3",
                                .blocks = 34,
                                .period = 6,
                                .width = 2560,
                                .heads = 8,
                                .kv_heads_sliding = 4,
                                .kv_heads_full = 4,
                                .mlp_width = 10240,
                                .window = 1024,
                                .context = 131072,
                                .rope_factor_full = 8,
                                .score_scale = 1.0 / 16};
};

struct b12_card {
    static constexpr card value{.name = "Gemma 3 12B",
                                .family = "gemma3",
                                .blocks = 48,
                                .period = 6,
                                .width = 3840,
                                .heads = 16,
                                .kv_heads_sliding = 8,
                                .kv_heads_full = 8,
                                .mlp_width = 15360,
                                .window = 1024,
                                .context = 131072,
                                .rope_factor_full = 8,
                                .score_scale = 1.0 / 16};
};

struct b27_card {
    static constexpr card value{.name = "Gemma 3 27B",
                                .family = "gemma3",
                                .blocks = 62,
                                .period = 6,
                                .width = 5376,
                                .heads = 32,
                                .kv_heads_sliding = 16,
                                .kv_heads_full = 16,
                                .head_width_sliding = 128,
                                .head_width_full = 128,
                                .mlp_width = 21504,
                                .window = 1024,
                                .context = 131072,
                                .rope_factor_full = 8,
                                .score_scale = 0.07715167498104596}; // 168^(−1/2), 168 = width / heads
};

/// 270M: a Gemma 4 block without norm of values, K = V and layer scalar; every pair of full blocks rotates; no cap on the logits.
using m270 = with<gemma4::b12, slot::sizes<m270_card>, slot::rope_full<rope::standard>, slot::v_norm<norm::none>,
                  slot::value_full<value::projected>, slot::image_mask<image_mask::causal>, slot::layer_scalar<layer_scalar::one>>;
using b1 = with<m270, slot::sizes<b1_card>>;
using b4 = with<m270, slot::sizes<b4_card>>;
using b12 = with<m270, slot::sizes<b12_card>>;
using b27 = with<m270, slot::sizes<b27_card>>;

/// The structure with whatever sizes a file has.
using of_file = with<m270, slot::sizes<sizes_of_file>>;

} // namespace loupe::gemma3
