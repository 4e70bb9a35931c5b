// Two small trained decoders that come with the project: the structures of E2B and of 26B-A4B at sizes that run anywhere.
#pragma once

#include <loupe/model/gemma4.hpp>

namespace loupe::nano {

struct e_card {
    static constexpr card value{.name = "nano-e",
                                .vocabulary = 2048,
                                .blocks = 10,
                                .period = 5,
                                .width = 256,
                                .heads = 4,
                                .kv_heads_sliding = 1,
                                .kv_heads_full = 1,
                                .head_width_sliding = 64,
                                .head_width_full = 128,
                                .mlp_width = 256,
                                .window = 32,
                                .per_layer_width = 32,
                                .kv_shared_blocks = 5,
                                .context = 4096,
                                .theta_full = 100000,
                                .rope_share_full = 0.25,
                                .final_cap = 30};
};

struct a_card {
    static constexpr card value{.name = "nano-a",
                                .vocabulary = 2048,
                                .blocks = 6,
                                .period = 3,
                                .width = 256,
                                .heads = 4,
                                .kv_heads_sliding = 2,
                                .kv_heads_full = 1,
                                .head_width_sliding = 64,
                                .head_width_full = 128,
                                .mlp_width = 192,
                                .window = 32,
                                .experts = 16,
                                .experts_used = 4,
                                .expert_width = 96,
                                .context = 4096,
                                .theta_full = 100000,
                                .rope_share_full = 0.25,
                                .final_cap = 30};
};

/// The parts of E2B.
using e = with<gemma4::e2b, slot::sizes<e_card>>;
/// The parts of 26B-A4B.
using a = with<gemma4::a4b, slot::sizes<a_card>>;

} // namespace loupe::nano
