// The exchanges that README.md and docs/ show: one or two for each family of slots. Compiled by tests/test_swaps.cpp.
#pragma once

#include <loupe/format/formats.hpp>
#include <loupe/model/nano.hpp>

#include <algorithm>
#include <vector>

namespace swaps {

using namespace loupe;

// [exchange]
using base = gemma4::e2b;
using no_rotation = with<base, slot::rope_full<rope::none>>; // one part exchanged
static_assert(differs_only_in<base, no_rotation, part::rope_full>);
// [/exchange]

// [embedding_scale]
using unscaled = with<nano::e, slot::embedding_scale<scale::one>>;
// [/embedding_scale]

// [per_layer_input]
using without_inputs = with<nano::e, slot::per_layer_input<per_layer_input::off>>;
// [/per_layer_input]

// [rope]
using nope = with<nano::e, slot::rope_full<rope::none>>;
using reversed = with<nano::e, slot::rope_full<rope::reversed<>>>;
// [/rope]

// [mask]
using narrow = with<nano::e, slot::mask_sliding<mask::sliding<16>>>;
using all_sliding = with<nano::e, slot::mask_full<mask::sliding<>>>;
// [/mask]

// [image_mask]
using images_like_text = with<gemma4::b12, slot::image_mask<image_mask::causal>>;
// [/image_mask]

// [score_scale]
using flatter = with<nano::e, slot::score_scale<scale::times<std::ratio<1, 2>>>>;
// [/score_scale]

// [softcap]
using uncapped = with<nano::e, slot::final_softcap<softcap::none>>;
using capped_scores = with<nano::e, slot::attention_softcap<softcap::fixed<5>>>;
// [/softcap]

// [norms]
using raw_values = with<nano::e, slot::v_norm<norm::none>>;
using no_gain = with<nano::e, slot::q_norm<norm::rms_without_gain>>;
// [/norms]

// [value_full]
using value_is_key = with<nano::e, slot::value_full<value::key>>;
// [/value_full]

// [kv_sharing]
struct first_of_kind { // satisfies is::kv_sharing: the first block of the kind gives, not the last
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        if (block < first_shared) return block;
        const bool kind = is_full[static_cast<std::size_t>(block)];
        return std::find(is_full.begin(), is_full.end(), kind) - is_full.begin();
    }
};
using other_donor = with<nano::e, slot::kv_sharing<first_of_kind>>;
// [/kv_sharing]

// [kv]
using streaming = with<nano::e, slot::kv<kv::sink_window<4, 60>>>;
// [/kv]

// [kv_format]
using cache_of_bytes = with<nano::e, slot::kv_format<format::q8_0>>;
// [/kv_format]

// [prune]
using half = with<nano::e, slot::prune<prune::received_attention<std::ratio<1, 2>>>>;
using half_at_random = with<nano::e, slot::prune<prune::random<std::ratio<1, 2>>>>;
// [/prune]

// [activation]
using silu = with<nano::e, slot::activation<activation::silu>>;
// [/activation]

// [feed_forward]
using twelve_with_experts = with<gemma4::b12, slot::sizes<gemma4::a4b_card>, slot::feed_forward<feed_forward::experts>>;
static_assert(std::same_as<twelve_with_experts, gemma4::a4b>);
// [/feed_forward]

// [experts]
using two_experts = with<nano::a, slot::experts_used<experts_used::exactly<2>>>;
using any_experts = with<nano::a, slot::router<router::random<>>>;
using routed_alone = with<nano::a, slot::dense_branch<dense_branch::off>>;
// [/experts]

// [post_norms]
using bare = with<nano::e, slot::post_norms<norm::none>>;
// [/post_norms]

// [layer_scalar]
using unscaled_stream = with<nano::e, slot::layer_scalar<layer_scalar::one>>;
// [/layer_scalar]

// [weights]
using four_bits = with<nano::e, slot::weights<weights::requantized<format::q4_0>>>;
// [/weights]

// [probe]
struct silence { // satisfies is::probe: nothing comes out of the attention of block 4, the first full one of nano-e
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::attn_mix>;
    void operator()(at::attn_mix, index_t block, index_t, matrix_view<float> mix) {
        if (block == 4) std::fill_n(mix.data, mix.rows * mix.width, 0.0F);
    }
};
using without_block_4 = with<nano::e, slot::probe<silence>>;
// [/probe]

// [executor]
struct backwards { // satisfies is::executor: one thread, from the last range to the first
    explicit backwards(index_t) {}
    static index_t size() { return 1; }
    void run(index_t count, index_t grain, loop_body body) {
        for (index_t first = (count - 1) / grain * grain; first >= 0; first -= grain) body(first, std::min(count, first + grain));
    }
};
using from_behind = with<nano::e, slot::executor<backwards>>;
using one_thread = with<nano::e, slot::executor<threading::serial>>;
// [/executor]

} // namespace swaps
