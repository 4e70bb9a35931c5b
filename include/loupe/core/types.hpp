// The integer of all sizes and positions, and a list of types.
#pragma once

#include <cstdint>

namespace loupe {

/// Sizes, indices and token positions. Signed, so that differences of positions need no care.
using index_t = std::int64_t;

/// A token's number in the vocabulary.
using token_id = std::int32_t;

/// A list of types, and nothing else.
template <class... Ts>
struct type_list {
    static constexpr index_t size = sizeof...(Ts);
};

/// Calls `f.template operator()<T>()` for every T of the list, in order.
template <class... Ts, class F>
constexpr void for_each_type(type_list<Ts...>, F&& f) {
    (f.template operator()<Ts>(), ...);
}

} // namespace loupe
