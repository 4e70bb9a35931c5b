// What the concepts of policies are made of. Each is so small that a compiler's message about it says all there is to say.
#pragma once

#include <loupe/core/types.hpp>

#include <type_traits>

namespace loupe {

/// Exists only if Value is a constant: how concepts ask whether a member is one.
template <auto Value>
struct constant {};

namespace rule {

/// No rule is broken.
struct all_hold {};

} // namespace rule

namespace detail {

template <class Rule>
inline constexpr bool is_sound = false;
template <>
inline constexpr bool is_sound<rule::all_hold> = true;

// The first of several rules that is broken.
template <class... Rules>
struct first_broken {
    using type = rule::all_hold;
};
template <class Rule, class... Rest>
struct first_broken<Rule, Rest...> {
    using type = Rule;
};
template <class... Rest>
struct first_broken<rule::all_hold, Rest...> : first_broken<Rest...> {};

} // namespace detail

namespace is {

/// Satisfied by rule::all_hold alone: whatever else stands here is the rule that was broken.
template <class BrokenRule>
concept sound = detail::is_sound<BrokenRule>;

/// A number above 0.
template <index_t N>
concept positive = (N > 0);

/// A number that is not below 0.
template <index_t N>
concept not_negative = (N >= 0);

/// What a bool member of a policy is. Nothing that converts to one: a function's name does.
template <class T>
concept flag = std::is_same_v < std::remove_cvref_t<T>,
bool > ;

/// What an integer member of a policy is. Nothing that converts to one: 0.5 does, and gives 0.
template <class T>
concept whole = std::is_integral_v<std::remove_cvref_t<T>> && !flag<T>;

/// A std::ratio.
template <class T>
concept ratio = requires {
    { T::num } -> whole;
    { T::den } -> whole;
};

} // namespace is

} // namespace loupe
