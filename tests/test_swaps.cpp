// The exchanges that the docs show exchange what they say.
#include "../examples/swaps.hpp"

#include <loupe/core/compat/catch2.hpp>

using namespace loupe;

TEST_CASE("swaps of the docs", "[docs]") {
    using e = nano::e;
    using a = nano::a;
    static_assert(differs_only_in<e, swaps::unscaled, part::embedding_scale>);
    static_assert(differs_only_in<e, swaps::without_inputs, part::per_layer_input>);
    static_assert(differs_only_in<e, swaps::nope, part::rope_full> && differs_only_in<e, swaps::reversed, part::rope_full>);
    static_assert(differs_only_in<e, swaps::narrow, part::mask_sliding> && differs_only_in<e, swaps::all_sliding, part::mask_full>);
    static_assert(differs_only_in<gemma4::b12, swaps::images_like_text, part::image_mask>);
    static_assert(differs_only_in<e, swaps::flatter, part::score_scale>);
    static_assert(differs_only_in<e, swaps::uncapped, part::final_softcap>);
    static_assert(differs_only_in<e, swaps::capped_scores, part::attention_softcap>);
    static_assert(differs_only_in<e, swaps::raw_values, part::v_norm> && differs_only_in<e, swaps::no_gain, part::q_norm>);
    static_assert(differs_only_in<e, swaps::value_is_key, part::value_full>);
    static_assert(differs_only_in<e, swaps::other_donor, part::kv_sharing>);
    static_assert(differs_only_in<e, swaps::streaming, part::kv>);
    static_assert(differs_only_in<e, swaps::cache_of_bytes, part::kv_format>);
    static_assert(differs_only_in<e, swaps::half, part::prune> && differs_only_in<e, swaps::half_at_random, part::prune>);
    static_assert(differs_only_in<e, swaps::silu, part::activation>);
    static_assert(differs_only_in<a, swaps::two_experts, part::experts_used> && differs_only_in<a, swaps::any_experts, part::router>);
    static_assert(differs_only_in<a, swaps::routed_alone, part::dense_branch>);
    static_assert(differs_only_in<e, swaps::bare, part::post_norms>);
    static_assert(differs_only_in<e, swaps::unscaled_stream, part::layer_scalar>);
    static_assert(differs_only_in<e, swaps::four_bits, part::weights>);
    static_assert(differs_only_in<e, swaps::without_block_4, part::probe>);
    static_assert(differs_only_in<e, swaps::from_behind, part::executor> && differs_only_in<e, swaps::one_thread, part::executor>);

    // the donor that the cards show: blocks 5 to 8 slide, 9 is full; 0 is the first sliding block, 4 the first full one
    constexpr bool full[10] = {false, false, false, false, true, false, false, false, false, true};
    CHECK(swaps::first_of_kind::donor(3, full, 5) == 3);
    CHECK(swaps::first_of_kind::donor(7, full, 5) == 0);
    CHECK(swaps::first_of_kind::donor(9, full, 5) == 4);
}
