// The weight formats by number and by name, for files that choose them at run time.
#pragma once

#include <loupe/format/concept.hpp>

namespace loupe::format {

/// What a file's type id means. Its functions work on `count` values, a multiple of `length`.
struct info {
    std::uint32_t id;
    std::string_view name;
    index_t length; ///< values in a block
    index_t bytes;  ///< bytes of a block
    void (*decode_row)(const std::byte* blocks, float* values, index_t count);
    void (*encode_row)(const float* values, std::byte* blocks, index_t count); ///< null where the format has no encoder
    bool (*all_finite)(const std::byte* blocks, index_t count);                ///< whether none of the values is a NaN or an infinity

    /// Bytes of a row of `width` values, a multiple of `length`.
    constexpr index_t row_bytes(index_t width) const { return width / length * bytes; }
};

namespace detail {

template <is::weight_format F>
constexpr info make_info() {
    info result{F::id, F::name, F::length, F::bytes, &decode_row<F>, nullptr, &all_finite<F>};
    if constexpr (is::encodable_format<F>) result.encode_row = &encode_row<F>;
    return result;
}

template <is::weight_format F>
inline constexpr info info_for = make_info<F>();

} // namespace detail

/// The run-time description of format F: one object for the whole program, so that pointers to it can be compared.
template <is::weight_format F>
constexpr const info& info_of() {
    return detail::info_for<F>;
}

} // namespace loupe::format
