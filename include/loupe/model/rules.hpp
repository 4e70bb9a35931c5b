// Making models: compose<> from all parts, with<> by exchanging some. A model that breaks a rule does not compile, and the compiler's
// message names the rule with its numbers, e.g. "rule::more_experts_used_than_there_are<200, 128> does not satisfy sound". The same rules
// are applied to sizes read from files, in model/check.hpp.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/model/slots.hpp>

#include <array>
#include <span>

namespace loupe {

namespace rule {

/// with<> needs something to exchange.
struct nothing_is_exchanged {};
/// A part stands in one of the slots of namespace slot.
template <class T>
struct this_is_no_part_in_a_slot {};
/// An exchange that changes nothing would measure the model against itself.
template <class Binding>
struct part_is_already_there {};
/// Router, number of experts and dense branch reach the library's experts alone: elsewhere the exchange would change nothing.
template <class Binding>
struct part_is_for_models_with_experts {};
/// Where the model rotates every pair, its share of them is no change to rope::standard.
template <class Binding>
struct rope_rotates_every_pair_as_before {};
/// Which of two parts was meant?
template <class Part>
struct slot_is_filled_twice {};
/// compose<> takes one part for each slot.
template <class Part>
struct slot_is_empty {};

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
/// The rules call donor() while compiling.
template <class Sharing>
struct donor_is_not_constexpr {};
/// At least one block has keys and values.
template <index_t SharedBlocks, index_t Blocks>
struct every_block_shares_keys_and_values {};
/// Per-layer inputs need a per-layer width.
template <index_t PerLayerWidth>
struct per_layer_inputs_without_a_width {};
/// Experts need a number and a width.
template <index_t Experts, index_t ExpertWidth>
struct experts_without_number_or_width {};
/// The rules call count() while compiling.
template <class ExpertsUsed>
struct count_is_not_constexpr {};
/// router::none switches the experts off.
template <index_t Used>
struct fewer_experts_used_than_one {};
/// A router cannot choose more experts than there are.
template <index_t Used, index_t Experts>
struct more_experts_used_than_there_are {};
/// A block of a weight format does not cross the end of a row.
template <index_t BlockLength, index_t Width>
struct format_block_does_not_divide_width {};
/// Attention reads the keys and values of one head: a block of their format does not reach into the next.
template <index_t BlockLength, index_t HeadWidth>
struct kv_format_block_does_not_divide_head_width {};

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
    using used = bound_type<M, part::experts_used>;
    using weights = bound_type<M, part::weights>;
    constexpr index_t block_length = weights::enabled ? weights::format::length : 1;
    constexpr index_t kv_block = bound_type<M, part::kv_format>::length;
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
    } else if constexpr (!requires { typename constant<first_orphan<sharing>(C)>; }) {
        return donor_is_not_constexpr<sharing>{};
    } else if constexpr (first_orphan<sharing>(C) >= 0) {
        return shared_kv_block_has_no_donor_of_its_kind<first_orphan<sharing>(C)>{};
    } else if constexpr (bound_type<M, part::per_layer_input>::enabled && C.per_layer_width <= 0) {
        return per_layer_inputs_without_a_width<C.per_layer_width>{};
    } else if constexpr (ffn::has_experts && (C.experts <= 0 || C.expert_width <= 0)) {
        return experts_without_number_or_width<C.experts, C.expert_width>{};
    } else if constexpr (!requires { typename constant<used::count(C.experts_used)>; }) {
        return count_is_not_constexpr<used>{};
    } else if constexpr (ffn::has_experts && used::count(C.experts_used) <= 0) {
        return fewer_experts_used_than_one<used::count(C.experts_used)>{};
    } else if constexpr (ffn::has_experts && used::count(C.experts_used) > C.experts) {
        return more_experts_used_than_there_are<used::count(C.experts_used), C.experts>{};
    } else if constexpr (first_undivided(C, block_length) != 0) {
        return format_block_does_not_divide_width<block_length, first_undivided(C, block_length)>{};
    } else if constexpr (C.head_width_sliding % kv_block != 0) {
        return kv_format_block_does_not_divide_head_width<kv_block, C.head_width_sliding>{};
    } else if constexpr (C.head_width_full % kv_block != 0) {
        return kv_format_block_does_not_divide_head_width<kv_block, C.head_width_full>{};
    } else {
        return all_hold{};
    }
}

template <class M>
constexpr auto first_problem() {
    using sizes = bound_type<M, part::sizes>;
    if constexpr (std::same_as<sizes, sizes_of_file>) {
        return rule::all_hold{}; // checked when the file is opened
    } else {
        return first_problem<M, sizes::value>();
    }
}

template <class T>
concept is_binding = requires {
    typename T::part;
    typename T::type;
}
&&std::derived_from<T, binding<typename T::part, typename T::type>> && !std::same_as<T, binding<typename T::part, typename T::type>>;

// What is wrong with one binding, whichever model it is for.
template <class B>
constexpr auto problem_in_binding() {
    if constexpr (!is_binding<B>) {
        return rule::this_is_no_part_in_a_slot<B>{};
    } else if constexpr (!is::slot_name<typename B::part>) {
        return rule::this_is_no_name_of_a_slot<typename B::part>{};
    } else {
        return rule::all_hold{};
    }
}
template <class... Bindings>
using problem_in_bindings = typename first_broken<decltype(problem_in_binding<Bindings>())...>::type;

template <class Part, class... Bindings>
inline constexpr int times_filled = (0 + ... + std::same_as<Part, typename Bindings::part>);

template <class... Bindings>
using double_filling = typename first_broken<std::conditional_t<times_filled<typename Bindings::part, Bindings...> == 1, rule::all_hold,
                                                                rule::slot_is_filled_twice<typename Bindings::part>>...>::type;

// A list of bindings with one more, put in its place; a usual part needs none.
template <class B, class Before, class After>
struct insert;
template <class B, class... Before, class... After>
struct insert<B, type_list<Before...>, type_list<After...>> {
    using type = std::conditional_t<is_usual<B>, composition<Before..., After...>, composition<Before..., B, After...>>;
};
template <class B, class... Before, class Next, class... After>
requires(rank_of<typename Next::part> < rank_of<typename B::part>) struct insert<B, type_list<Before...>, type_list<Next, After...>>
    : insert<B, type_list<Before..., Next>, type_list<After...>> {
};
template <class B, class... Before, class Next, class... After>
requires std::same_as<typename Next::part, typename B::part>
struct insert<B, type_list<Before...>, type_list<Next, After...>> : insert<B, type_list<Before...>, type_list<After...>> {
};

template <class M, class... Bindings>
struct exchange {
    using type = M;
};
template <class... Old, class B, class... Rest>
struct exchange<composition<Old...>, B, Rest...> : exchange<typename insert<B, type_list<>, type_list<Old...>>::type, Rest...> {};

template <class T>
inline constexpr bool has_library_experts = T::has_experts && !is::own_sublayer<T>;
template <class Part>
inline constexpr bool is_for_experts = is_one_of<Part, part::router, part::experts_used, part::dense_branch>;

/// Whether that rope turns every pair at its own frequency, θ^(−2i/D): by its name, or because the card's share is all of them. Of files
/// nobody knows it here.
template <class Rope, class Sizes, class Part>
constexpr bool rotates_every_pair() {
    if constexpr (is::card_type<Sizes> && is_one_of<Rope, rope::proportional<>, rope::partial<>, rope::reversed<>>) {
        return std::same_as<Part, part::rope_sliding> || Sizes::value.rope_share_full == 1; // cards have no share of sliding blocks
    } else {
        return std::same_as<Rope, rope::standard>;
    }
}
template <class M, class Result, class Part>
constexpr bool rope_stays() {
    if constexpr (is_one_of<Part, part::rope_sliding, part::rope_full>) {
        return rotates_every_pair<bound_type<M, Part>, bound_type<M, part::sizes>, Part>() &&
               rotates_every_pair<bound_type<Result, Part>, bound_type<Result, part::sizes>, Part>();
    } else {
        return false;
    }
}

// What is wrong with an exchange by B, which makes Result of M.
template <class M, class Result, class B>
constexpr auto problem_in_result() {
    if constexpr (is_for_experts<typename B::part> && !has_library_experts<bound_type<Result, part::feed_forward>>) {
        return rule::part_is_for_models_with_experts<B>{};
    } else if constexpr (rope_stays<M, Result, typename B::part>()) {
        return rule::rope_rotates_every_pair_as_before<B>{};
    } else {
        return rule::all_hold{};
    }
}

template <class M, class... Bindings>
constexpr auto problem_of_exchange() {
    using no_binding = problem_in_bindings<Bindings...>;
    if constexpr (sizeof...(Bindings) == 0) {
        return rule::nothing_is_exchanged{};
    } else if constexpr (!is::sound<no_binding>) {
        return no_binding{};
    } else {
        using no_exchange =
            typename first_broken<double_filling<Bindings...>,
                                  std::conditional_t<std::same_as<bound_type<M, typename Bindings::part>, typename Bindings::type>,
                                                     rule::part_is_already_there<Bindings>, rule::all_hold>...>::type;
        if constexpr (!is::sound<no_exchange>) {
            return no_exchange{};
        } else {
            using result = typename exchange<M, Bindings...>::type;
            using no_effect = typename first_broken<decltype(problem_in_result<M, result, Bindings>())...>::type;
            if constexpr (!is::sound<no_effect>) {
                return no_effect{};
            } else {
                return first_problem<result>();
            }
        }
    }
}
template <class M, class... Bindings>
using problem_with = decltype(problem_of_exchange<M, Bindings...>());

template <class... Bindings, class... Parts>
constexpr auto first_empty(type_list<Parts...>) {
    return typename first_broken<
        std::conditional_t<times_filled<Parts, Bindings...> == 0, rule::slot_is_empty<Parts>, rule::all_hold>...>::type{};
}

template <class... Bindings>
constexpr auto problem_of_composition() {
    using no_binding = problem_in_bindings<Bindings...>;
    if constexpr (!is::sound<no_binding>) {
        return no_binding{};
    } else {
        using no_list = typename first_broken<decltype(first_empty<Bindings...>(part::all{})), double_filling<Bindings...>>::type;
        if constexpr (!is::sound<no_list>) {
            return no_list{};
        } else {
            return first_problem<typename exchange<composition<>, Bindings...>::type>();
        }
    }
}

} // namespace detail

/// A model from its parts, one for each slot, in any order.
template <class... Bindings>
requires is::sound<decltype(detail::problem_of_composition<Bindings...>())>
using compose = typename detail::exchange<composition<>, Bindings...>::type;

/// Model M with one or more parts exchanged. Does not compile if a slot does not exist, a part is already there or of no effect on this
/// model, or the result breaks a rule.
template <is::model M, class... Bindings>
requires is::sound<detail::problem_with<M, Bindings...>>
using with = typename detail::exchange<M, Bindings...>::type;

} // namespace loupe
