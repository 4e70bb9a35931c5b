// Gemma 4: the five text decoders as their cards say (DeepMind's gemma/gm/nn/gemma4, transformers' models/gemma4).
#pragma once

#include <loupe/model/rules.hpp>

namespace loupe::gemma4 {

struct e2b_card {
    static constexpr card value{.name = "Gemma 4 E2B",
                                .blocks = 35,
                                .period = 5,
                                .width = 1536,
                                .heads = 8,
                                .kv_heads_sliding = 1,
                                .kv_heads_full = 1,
                                .head_width_sliding = 256,
                                .head_width_full = 512,
                                .mlp_width = 6144,
                                .window = 512,
                                .per_layer_width = 256,
                                .kv_shared_blocks = 20,
                                .context = 131072,
                                .rope_share_full = 0.25,
                                .final_cap = 30};
};

struct e4b_card {
    static constexpr card value{.name = "Gemma 4 E4B",
                                .blocks = 42,
                                .period = 6,
                                .width = 2560,
                                .heads = 8,
                                .kv_heads_sliding = 2,
                                .kv_heads_full = 2,
                                .head_width_sliding = 256,
                                .head_width_full = 512,
                                .mlp_width = 10240,
                                .window = 512,
                                .per_layer_width = 256,
                                .kv_shared_blocks = 18,
                                .context = 131072,
                                .rope_share_full = 0.25,
                                .final_cap = 30};
};

struct b12_card {
    static constexpr card value{.name = "Gemma 4 12B",
                                .blocks = 48,
                                .period = 6,
                                .width = 3840,
                                .heads = 16,
                                .kv_heads_sliding = 8,
                                .kv_heads_full = 1,
                                .head_width_sliding = 256,
                                .head_width_full = 512,
                                .mlp_width = 15360,
                                .window = 1024,
                                .context = 262144,
                                .rope_share_full = 0.25,
                                .final_cap = 30};
};

struct a4b_card {
    static constexpr card value{.name = "Gemma 4 26B-A4B",
                                .blocks = 30,
                                .period = 6,
                                .width = 2816,
                                .heads = 16,
                                .kv_heads_sliding = 8,
                                .kv_heads_full = 2,
                                .head_width_sliding = 256,
                                .head_width_full = 512,
                                .mlp_width = 2112,
                                .window = 1024,
                                .experts = 128,
                                .experts_used = 8,
                                .expert_width = 704,
                                .context = 262144,
                                .rope_share_full = 0.25,
                                .final_cap = 30};
};

struct b31_card {
    static constexpr card value{.name = "Gemma 4 31B",
                                .blocks = 60,
                                .period = 6,
                                .width = 5376,
                                .heads = 32,
                                .kv_heads_sliding = 16,
                                .kv_heads_full = 4,
                                .head_width_sliding = 256,
                                .head_width_full = 512,
                                .mlp_width = 21504,
                                .window = 1024,
                                .context = 262144,
                                .rope_share_full = 0.25,
                                .final_cap = 30};
};

/// 12B: what all Gemma 4 have, and K = V on full blocks.
using b12 =
    compose<slot::sizes<b12_card>, slot::embedding_scale<scale::sqrt_width>, slot::per_layer_input<per_layer_input::off>,
            slot::rope_sliding<rope::standard>, slot::rope_full<rope::proportional<>>, slot::mask_sliding<mask::sliding<>>,
            slot::mask_full<mask::causal>, slot::image_mask<image_mask::within_image>, slot::score_scale<scale::stored>,
            slot::attention_softcap<softcap::none>, slot::q_norm<norm::rms>, slot::k_norm<norm::rms>, slot::v_norm<norm::rms_without_gain>,
            slot::value_full<value::key>, slot::kv_sharing<kv_sharing::last_of_kind>, slot::kv<kv::full>, slot::kv_format<format::f32>,
            slot::prune<prune::none>, slot::activation<activation::gelu_tanh>, slot::feed_forward<feed_forward::gated>,
            slot::router<router::softmax_top_k>, slot::experts_used<experts_used::stored>, slot::dense_branch<dense_branch::on>,
            slot::post_norms<norm::rms>, slot::layer_scalar<layer_scalar::stored>, slot::final_softcap<softcap::stored>,
            slot::weights<weights::as_stored>, slot::probe<probe::none>, slot::executor<threading::pool>>;

/// 31B: the 12B's parts, larger.
using b31 = with<b12, slot::sizes<b31_card>>;

/// 26B-A4B: routed experts beside the dense branch.
using a4b = with<b12, slot::sizes<a4b_card>, slot::feed_forward<feed_forward::experts>>;

/// E4B: per-layer inputs, the last blocks share keys and values, K and V have projections of their own, images are masked like text.
using e4b = with<b12, slot::sizes<e4b_card>, slot::per_layer_input<per_layer_input::on>, slot::value_full<value::projected>,
                 slot::image_mask<image_mask::causal>>;

/// E2B: E4B's parts, smaller, and twice as wide a feed-forward layer where keys are shared.
using e2b = with<e4b, slot::sizes<e2b_card>, slot::feed_forward<feed_forward::gated_double_wide>>;

/// The three structures with whatever sizes a file has. Widths of every block come from the file, and it says whether images see
/// themselves.
using dense_of_file = with<b12, slot::sizes<sizes_of_file>>;
using experts_of_file = with<a4b, slot::sizes<sizes_of_file>>;
using per_layer_of_file = with<e4b, slot::sizes<sizes_of_file>, slot::image_mask<image_mask::within_image>>;

} // namespace loupe::gemma4
