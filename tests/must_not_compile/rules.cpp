// Models that break a rule: the message names the rule and the numbers.
#include <loupe/model/nano.hpp>

using namespace loupe;

/// A card with one number changed.
template <class Card, auto Member, auto Value>
struct but {
    static constexpr card value = [] {
        card c = Card::value;
        c.*Member = Value;
        return c;
    }();
};
template <auto Member, auto Value>
using e_sizes = slot::sizes<but<nano::e_card, Member, Value>>;
template <auto Member, auto Value>
using a_sizes = slot::sizes<but<nano::a_card, Member, Value>>;

/// A format with blocks of that many values.
template <index_t Length>
struct blocks {
    static constexpr std::uint32_t id = 2000;
    static constexpr std::string_view name = "BLOCKS";
    static constexpr index_t length = Length, bytes = Length;
    static void decode(const std::byte* block, float* out) noexcept;
    static void encode(const float* in, std::byte* block) noexcept;
};

// Sizes.
using size_1 = with<nano::e, e_sizes<&card::blocks, 10>>;       // 10 -> 0, says: a_size_is_not_positive<0, 256, 4, 128, 256, 2048>
using size_2 = with<nano::e, e_sizes<&card::width, 256>>;       // 256 -> 0, says: a_size_is_not_positive<10, 0, 4, 128, 256, 2048>
using size_3 = with<nano::e, e_sizes<&card::vocabulary, 2048>>; // 2048 -> 0, says: a_size_is_not_positive<10, 256, 4, 128, 256, 0>
using window = with<nano::e, e_sizes<&card::window, 32>>;       // 32 -> 0, says: sliding_window_is_empty<0>

// Heads.
using heads_1 = with<nano::e, e_sizes<&card::kv_heads_sliding, 2>>;    // 2 -> 3, says: query_heads_do_not_divide_by_kv_heads<4, 3>
using heads_2 = with<nano::e, e_sizes<&card::kv_heads_full, 1>>;       // 1 -> 8, says: query_heads_do_not_divide_by_kv_heads<4, 8>
using heads_3 = with<nano::e, e_sizes<&card::head_width_sliding, 64>>; // 64 -> 63, says: rope_on_an_odd_head_width<63>
using heads_4 = with<nano::e, e_sizes<&card::head_width_full, 128>>;   // 128 -> 127, says: rope_on_an_odd_head_width<127>

// Keys and values.
struct last_two {
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        if (block < first_shared) return block;
        return is_full[static_cast<std::size_t>(block)] ? first_shared - 1 : first_shared - 2; // 2 -> 1
    }
};
using keys_1 = with<nano::e, slot::kv_sharing<last_two>>;          // says: shared_kv_block_has_no_donor_of_its_kind<5>
using keys_2 = with<nano::e, e_sizes<&card::kv_shared_blocks, 5>>; // 5 -> 6, says: shared_kv_block_has_no_donor_of_its_kind<4>
using keys_3 = with<nano::e, e_sizes<&card::kv_shared_blocks, 5>>; // 5 -> 10, says: every_block_shares_keys_and_values<10, 10>

// Per-layer inputs, experts.
using inputs_1 = with<nano::e, e_sizes<&card::per_layer_width, 32>>;      // 32 -> 0, says: per_layer_inputs_without_a_width<0>
using inputs_2 = with<gemma4::e2b, slot::sizes<gemma4::e4b_card>>;        // e4b_card -> b12_card, says: per_layer_inputs_without_a_width<0>
using experts_1 = with<nano::a, a_sizes<&card::experts, 16>>;             // 16 -> 0, says: experts_without_number_or_width<0, 96>
using experts_2 = with<nano::a, a_sizes<&card::expert_width, 96>>;        // 96 -> 0, says: experts_without_number_or_width<16, 0>
using experts_3 = with<nano::e, slot::feed_forward<feed_forward::gated>>; // gated -> experts, says: experts_without_number_or_width<0, 0>
using experts_4 = with<nano::a, a_sizes<&card::experts_used, 16>>;        // 16 -> 17, says: more_experts_used_than_there_are<17, 16>
using experts_5 = with<nano::a, slot::experts_used<experts_used::exactly<2>>>; // 2 -> 200, says: more_experts_used_than_there_are<200, 16>
using experts_6 = with<nano::a, a_sizes<&card::experts_used, 1>>;              // 1 -> 0, says: fewer_experts_used_than_one<0>

// Formats.
using format_1 =
    with<nano::a, slot::weights<weights::requantized<blocks<32>>>>; // 32 -> 64, says: format_block_does_not_divide_width<64, 96>
using format_2 = with<nano::e, slot::weights<weights::requantized<blocks<32>>>>; // 32 -> 256, says: does_not_divide_width<256, 32>

using format_3 = with<nano::e, slot::kv_format<blocks<64>>>; // 64 -> 128, says: kv_format_block_does_not_divide_head_width<128, 64>

// Numbers of policies.
using count = experts_used::exactly<2>;                          // 2 -> 0, says: positive
using cache_1 = kv::window<8>;                                   // 8 -> 0, says: positive
using cache_2 = kv::sink_window<4, 28>;                          // 28 -> 0, says: positive
using chunk = mask::chunked<8>;                                  // 8 -> 0, says: positive
using cap = softcap::fixed<30>;                                  // 30 -> 0, says: positive
using rotated = rope::proportional<std::ratio<1, 4>>;            // 1 -> 5, says: T::num <= T::den
using stretched = rope::stretched<rope::none, std::ratio<8>>;    // 8 -> 0, says: positive
using no_rope = rope::stretched<rope::none, std::ratio<8>>;      // none -> share_of_model, says: frequency
using pruned_1 = prune::random<std::ratio<1, 2>>;                // 1 -> 2, says: T::num < T::den
using pruned_2 = prune::received_attention<std::ratio<1, 2>, 3>; // 3 -> 0, says: begins_behind_block_0
using half = std::ratio<1, 2>;
using warmer = scale::times<half>; // half -> int, says: T::num
