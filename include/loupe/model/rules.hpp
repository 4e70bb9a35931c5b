// What a composition must fulfil. A model that breaks a rule does not compile, and the compiler's message names the rule with its numbers,
// e.g. "broken_rule<rule::more_experts_used_than_there_are<200, 128>>". The same rules are applied to sizes read from files, in
// model/check.hpp.
#pragma once

#include <loupe/model/slots.hpp>

#include <array>
#include <span>

namespace loupe {

namespace rule {

/// No rule is broken.
struct all_hold {};

/// Blocks, width, heads, head widths, feed-forward width and vocabulary are positive.
template <index_t Blocks, index_t Width, index_t Heads, index_t HeadWidth, index_t MlpWidth, index_t Vocabulary>
struct a_size_is_not_positive {};
/// Every key head serves the same number of query heads.
template <index_t QueryHeads, index_t KvHeads>
struct query_heads_do_not_divide_by_kv_heads {};
/// A rotary embedding pairs dimension i with i + D/2.
template <index_t HeadWidth>
struct rope_on_an_odd_head_width {};
/// A sliding window holds at least the query's own key.
template <index_t Window>
struct sliding_window_is_empty {};
/// A block without keys of its own reads those of an earlier block of its kind that has some.
template <index_t Block>
struct shared_kv_block_has_no_donor_of_its_kind {};
/// At least one block has keys and values.
template <index_t SharedBlocks, index_t Blocks>
struct every_block_shares_keys_and_values {};
/// Per-layer inputs need a per-layer width.
template <index_t PerLayerWidth>
struct per_layer_inputs_without_a_width {};
/// Experts need a number and a width.
template <index_t Experts, index_t ExpertWidth>
struct experts_without_number_or_width {};
/// A router cannot choose more experts than there are.
template <index_t Used, index_t Experts>
struct more_experts_used_than_there_are {};
/// A block of a weight format does not cross the end of a row.
template <index_t BlockLength, index_t Width>
struct format_block_does_not_divide_width {};

} // namespace rule

namespace detail {

/// First block without a donor, or −1.
template <class Sharing>
constexpr index_t first_orphan(const card& c) {
    constexpr index_t most = 1024;
    std::array<bool, most> full{};
    const index_t blocks = c.blocks < most ? c.blocks : most;
    for (index_t i = 0; i < blocks; ++i) full[static_cast<std::size_t>(i)] = c.is_full(i);
    const auto donor_of = [&](index_t i) {
        return Sharing::donor(i, std::span<const bool>(full.data(), static_cast<std::size_t>(blocks)), c.blocks - c.kv_shared_blocks);
    };
    for (index_t i = 0; i < blocks; ++i) {
        const index_t donor = donor_of(i);
        if (donor == i) continue;
        if (donor < 0 || donor > i || c.is_full(donor) != c.is_full(i) || donor_of(donor) != donor) return i;
    }
    return -1;
}

/// First of the widths of rows that a format's block does not divide, or 0.
constexpr index_t first_undivided(const card& c, index_t block_length) {
    for (const index_t width :
         {c.width, c.mlp_width, c.heads * c.head_width_sliding, c.heads * c.head_width_full, c.expert_width, c.per_layer_width}) {
        if (width % block_length != 0) return width;
    }
    return 0;
}

/// The first rule that M breaks, as a type.
template <class M, const card& C>
constexpr auto first_problem() {
    using namespace rule;
    using sharing = bound_type<M, part::kv_sharing>;
    using ffn = bound_type<M, part::feed_forward>;
    using weights = bound_type<M, part::weights>;
    constexpr index_t block_length = weights::enabled ? weights::format::length : 1;
    if constexpr (C.blocks <= 0 || C.width <= 0 || C.heads <= 0 || C.head_width_sliding <= 0 || C.head_width_full <= 0 ||
                  C.mlp_width <= 0 || C.vocabulary <= 0 || C.period <= 0) {
        return a_size_is_not_positive<C.blocks, C.width, C.heads, C.head_width_full, C.mlp_width, C.vocabulary>{};
    } else if constexpr (C.kv_heads_sliding <= 0 || C.heads % C.kv_heads_sliding != 0) {
        return query_heads_do_not_divide_by_kv_heads<C.heads, C.kv_heads_sliding>{};
    } else if constexpr (C.kv_heads_full <= 0 || C.heads % C.kv_heads_full != 0) {
        return query_heads_do_not_divide_by_kv_heads<C.heads, C.kv_heads_full>{};
    } else if constexpr (C.head_width_sliding % 2 != 0 && !std::same_as<bound_type<M, part::rope_sliding>, rope::none>) {
        return rope_on_an_odd_head_width<C.head_width_sliding>{};
    } else if constexpr (C.head_width_full % 2 != 0 && !std::same_as<bound_type<M, part::rope_full>, rope::none>) {
        return rope_on_an_odd_head_width<C.head_width_full>{};
    } else if constexpr (C.window <= 0) {
        return sliding_window_is_empty<C.window>{};
    } else if constexpr (C.kv_shared_blocks < 0 || C.kv_shared_blocks >= C.blocks) {
        return every_block_shares_keys_and_values<C.kv_shared_blocks, C.blocks>{};
    } else if constexpr (first_orphan<sharing>(C) >= 0) {
        return shared_kv_block_has_no_donor_of_its_kind<first_orphan<sharing>(C)>{};
    } else if constexpr (bound_type<M, part::per_layer_input>::enabled && C.per_layer_width <= 0) {
        return per_layer_inputs_without_a_width<C.per_layer_width>{};
    } else if constexpr (ffn::has_experts && (C.experts <= 0 || C.expert_width <= 0)) {
        return experts_without_number_or_width<C.experts, C.expert_width>{};
    } else if constexpr (ffn::has_experts && bound_type<M, part::experts_used>::count(C.experts_used) > C.experts) {
        return more_experts_used_than_there_are<bound_type<M, part::experts_used>::count(C.experts_used), C.experts>{};
    } else if constexpr (first_undivided(C, block_length) != 0) {
        return format_block_does_not_divide_width<block_length, first_undivided(C, block_length)>{};
    } else {
        return all_hold{};
    }
}

template <class M>
struct problem {
    static constexpr auto find() {
        using sizes = bound_type<M, part::sizes>;
        if constexpr (std::same_as<sizes, sizes_of_file>) {
            return rule::all_hold{}; // checked when the file is opened
        } else {
            return first_problem<M, sizes::value>();
        }
    }
    using type = decltype(find());
};

template <class M, class... Bindings>
using problem_with = typename problem<typename replace_all<M, Bindings...>::type>::type;

} // namespace detail

namespace is {

/// Satisfied by rule::all_hold alone: whatever else stands here is the rule that was broken.
template <class BrokenRule>
concept sound = std::same_as<BrokenRule, rule::all_hold>;

} // namespace is

/// A model from its parts, one binding for each slot.
template <is::slot_binding... Bindings>
requires is::sound<detail::problem_with<composition<Bindings...>>>
using compose = composition<Bindings...>;

/// Model M with one or more parts exchanged. Does not compile if a slot does not exist, a part is already there, or the result breaks a
/// rule.
template <is::model M, is::slot_binding... Bindings>
requires(sizeof...(Bindings) > 0) && (is::slot_of<Bindings, M> && ...) &&
    (is::exchange_in<Bindings, M> && ...) && is::sound<detail::problem_with<M, Bindings...>> using with =
    typename detail::replace_all<M, Bindings...>::type;

} // namespace loupe
