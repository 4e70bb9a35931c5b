// Compositions: a model as a list of parts, each in a named slot; with<> exchanges parts, diff<> tells two models apart.
#pragma once

#include <loupe/core/type_name.hpp>
#include <loupe/core/types.hpp>

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

/// A list of bindings, one for each slot.
template <class... Bindings>
struct composition : Bindings... {};

namespace detail {

template <class Part, class T>
T bound_to(const binding<Part, T>*);

template <class M, class Part>
concept has_part = requires(const M* m) {
    bound_to<Part>(m);
};

template <class M, class Part>
using bound_type = decltype(bound_to<Part>(static_cast<const M*>(nullptr)));

template <class T>
struct is_composition : std::false_type {};
template <class... Bindings>
struct is_composition<composition<Bindings...>> : std::true_type {};

template <class T>
concept is_binding = requires {
    typename T::part;
    typename T::type;
}
&&std::derived_from<T, binding<typename T::part, typename T::type>>;

// Replaces one binding, keeping the order: two ways to the same parts give the same type.
template <class M, class B>
struct replace;
template <class... Bindings, class B>
struct replace<composition<Bindings...>, B> {
    using type = composition<std::conditional_t<std::same_as<typename Bindings::part, typename B::part>, B, Bindings>...>;
};

template <class M, class... Bs>
struct replace_all {
    using type = M;
};
template <class M, class B, class... Rest>
struct replace_all<M, B, Rest...> : replace_all<typename replace<M, B>::type, Rest...> {};

template <class M>
struct parts_of;
template <class... Bindings>
struct parts_of<composition<Bindings...>> {
    using type = type_list<typename Bindings::part...>;
};

} // namespace detail

namespace is {

/// A list of parts that make a model.
template <class T>
concept model = detail::is_composition<T>::value;

/// One of the slots of namespace slot with a part in it.
template <class T>
concept slot_binding = detail::is_binding<T>;

/// The model has such a slot.
template <class B, class M>
concept slot_of = detail::has_part<M, typename B::part>;

/// The part differs from the one the model already has.
template <class B, class M>
concept exchange_in = !std::same_as<detail::bound_type<M, typename B::part>, typename B::type>;

} // namespace is

/// The type that model M has in the slot named by Part.
template <is::model M, class Part>
requires detail::has_part<M, Part>
using part_of = detail::bound_type<M, Part>;

/// Whether two models have the same type in a slot.
template <is::model A, is::model B, class Part>
inline constexpr bool same_part = std::same_as<part_of<A, Part>, part_of<B, Part>>;

namespace detail {

template <class A, class B, class... Parts, class... Allowed>
constexpr bool differs_exactly_in(type_list<Parts...>, type_list<Allowed...>) {
    constexpr auto allowed = []<class Part>(std::type_identity<Part>) { return (std::same_as<Part, Allowed> || ...); };
    return ((same_part<A, B, Parts> != allowed(std::type_identity<Parts>{})) && ...);
}

inline void append_difference(std::string& text, std::string_view part, std::string_view raw_a, std::string_view raw_b) {
    if (!text.empty()) text += '\n';
    text.append(part) += ": " + written_name(raw_a) + " → " + written_name(raw_b);
}

} // namespace detail

/// True if A and B differ in every named slot and in no other: `differs_only_in<base, nope, part::rope_full>`.
template <is::model A, is::model B, class... Parts>
requires(detail::has_part<A, Parts>&&...) inline constexpr bool differs_only_in =
    detail::differs_exactly_in<A, B>(typename detail::parts_of<A>::type{}, type_list<Parts...>{});

/// What differs, as text: "rope_full: rope::proportional<…> → rope::none", one line for each slot; empty if nothing does.
template <is::model A, is::model B>
std::string diff() {
    std::string text;
    for_each_type(typename detail::parts_of<A>::type{}, [&text]<class Part>() {
        if constexpr (!same_part<A, B, Part>) {
            detail::append_difference(text, Part::name, detail::raw_type_name<part_of<A, Part>>(),
                                      detail::raw_type_name<part_of<B, Part>>());
        }
    });
    return text;
}

} // namespace loupe
