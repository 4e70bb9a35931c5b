// Compositions: a model as a list of parts, each in a named slot; diff<> tells two models apart.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/core/types.hpp>
#include <loupe/model/parts.hpp>

#include <concepts>
#include <string>
#include <type_traits>

namespace loupe {

/// A part in its slot. Every slot::x<T> derives from binding<part::x, T>.
template <class Part, class T>
struct binding {
    using part = Part;
    using type = T;
};

namespace detail {

template <class Part, class Binding>
struct entry {};

} // namespace detail

/// A model. Made by compose<> and with<>: its bindings are those that are not the usual ones of their slots, in the order of part::all, so
/// that the same parts are the same type, whichever way one came to them, and its name is short.
template <class... Bindings>
struct composition : detail::entry<typename Bindings::part, Bindings>... {};

namespace rule {

/// The type is not the name of a slot, which stands in namespace part.
template <class T>
struct this_is_no_name_of_a_slot {};
/// Two models do not have the same part in this slot.
template <class Part>
struct they_also_differ_in {};
/// Two models have the same part in this slot.
template <class Part>
struct they_do_not_differ_in {};

} // namespace rule

namespace detail {

template <class Part, class B>
typename B::type bound_to(const entry<Part, B>*);
template <class Part>
typename Part::usual bound_to(...);

template <class M, class Part>
using bound_type = decltype(bound_to<Part>(static_cast<const M*>(nullptr)));

// Where a slot stands in part::all; the number of slots if T is not the name of one.
template <class T, class... Parts>
constexpr index_t position_in(type_list<Parts...>) {
    index_t i = 0;
    (void)((std::same_as<T, Parts> || (++i, false)) || ...);
    return i;
}
template <class T>
inline constexpr index_t rank_of = position_in<T>(part::all{});

template <class B>
inline constexpr bool is_usual = std::same_as<typename B::type, typename B::part::usual>;

// A composition written by hand counts only if it is what compose<> would have made: sizes, then what is unusual, in order.
template <class... Bindings>
constexpr bool is_normal() {
    index_t last = -1;
    [[maybe_unused]] const auto follows = [&last](index_t rank) { return rank > last && (last >= 0 || rank == 0) && (last = rank, true); };
    return sizeof...(Bindings) > 0 && ((follows(rank_of<typename Bindings::part>) && !is_usual<Bindings>)&&...);
}

template <class T>
inline constexpr bool is_composition = false;
template <class... Bindings>
inline constexpr bool is_composition<composition<Bindings...>> = is_normal<Bindings...>();

template <class T, class... Ts>
inline constexpr bool is_one_of = (std::same_as<T, Ts> || ...);

} // namespace detail

namespace is {

/// A list of parts that make a model.
template <class T>
concept model = detail::is_composition<T>;

/// The name of a slot: part::rope_full.
template <class T>
concept slot_name = detail::rank_of<T> < part::all::size;

} // namespace is

/// The type that model M has in the slot named by Part.
template <is::model M, is::slot_name Part>
using part_of = detail::bound_type<M, Part>;

/// Whether two models have the same type in a slot.
template <is::model A, is::model B, is::slot_name Part>
inline constexpr bool same_part = std::same_as<part_of<A, Part>, part_of<B, Part>>;

namespace detail {

template <class A, class B, class Part, bool Expected>
constexpr auto problem_in_slot() {
    if constexpr (same_part<A, B, Part> != Expected) {
        return rule::all_hold{};
    } else if constexpr (Expected) {
        return rule::they_do_not_differ_in<Part>{};
    } else {
        return rule::they_also_differ_in<Part>{};
    }
}

template <class T>
using problem_in_name = std::conditional_t<is::slot_name<T>, rule::all_hold, rule::this_is_no_name_of_a_slot<T>>;

// What is wrong with the claim that A and B differ in the named slots and in no other.
template <class A, class B, class... Named>
struct difference {
    template <class... Parts>
    static auto in(type_list<Parts...>) ->
        typename first_broken<problem_in_name<Named>..., decltype(problem_in_slot<A, B, Parts, is_one_of<Parts, Named...>>())...>::type;
    using problem = decltype(in(part::all{}));
};

inline void append_difference(std::string& text, std::string_view part, std::string_view raw_a, std::string_view raw_b) {
    if (!text.empty()) text += '\n';
    text.append(part) += ": " + written_name(raw_a) + " → " + written_name(raw_b);
}

} // namespace detail

/// Satisfied if A and B differ in every named slot and in no other: `differs_only_in<base, nope, part::rope_full>`.
template <class A, class B, class... Parts>
concept differs_only_in = is::model<A> && is::model<B> && is::sound<typename detail::difference<A, B, Parts...>::problem>;

/// What differs, as text: "rope_full: rope::proportional<…> → rope::none", one line for each slot but `Except`; empty if nothing does.
template <is::model A, is::model B, class... Except>
std::string diff() {
    std::string text;
    for_each_type(part::all{}, [&text]<class Part>() {
        if constexpr (!same_part<A, B, Part> && !detail::is_one_of<Part, Except...>) {
            detail::append_difference(text, Part::name, detail::raw_type_name<part_of<A, Part>>(),
                                      detail::raw_type_name<part_of<B, Part>>());
        }
    });
    return text;
}

} // namespace loupe
