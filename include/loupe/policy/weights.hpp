// Values of slot::weights: what happens to the weight matrices before the first token.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>
#include <loupe/format/floats.hpp>

#include <concepts>
#include <span>

namespace loupe {

namespace is {

/// `T::enabled` says whether matrices are rewritten at all. If so, every row of every matrix (but the router's and the projection of the
/// per-layer inputs, as in llama.cpp's quantiser) is decoded, goes through `T::prepare(row)` and is stored as `T::format`.
/// A T that has `products(format)` also says with what integer products matrices are multiplied: see packed_weights.hpp.
template <class T>
concept weights = requires(std::span<float> row) {
    { T::enabled } -> flag;
    typename constant<T::enabled>;
    T::prepare(row);
    typename T::format;
}
&&encodable_format<typename T::format>;

} // namespace is

namespace weights {

/// In the format and with the values of the file.
struct as_stored {
    static constexpr bool enabled = false;
    using format = format::f32;
    static constexpr void prepare(std::span<float>) {}
};

/// Rounded once more, to another format: `weights::requantized<format::q4_0>`.
template <is::encodable_format Format>
struct requantized {
    static constexpr bool enabled = true;
    using format = Format;
    static constexpr void prepare(std::span<float>) {}
};

} // namespace weights

} // namespace loupe
