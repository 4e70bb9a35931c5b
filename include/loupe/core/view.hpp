// Plain views: what kernels and layers hand to each other.
#pragma once

#include <loupe/core/types.hpp>

#include <span>
#include <type_traits>

namespace loupe {

/// Rows of contiguous values: shape [rows, width], row r begins at data + r * stride. Owns nothing.
template <class T>
struct matrix_view {
    T* data = nullptr;
    index_t rows = 0;
    index_t width = 0;
    index_t stride = 0;

    constexpr matrix_view() = default;
    constexpr matrix_view(T* d, index_t r, index_t w) : matrix_view(d, r, w, w) {}
    constexpr matrix_view(T* d, index_t r, index_t w, index_t s) : data(d), rows(r), width(w), stride(s) {}
    /// A view of mutable values is a view of constant ones.
    constexpr operator matrix_view<const T>() const requires(!std::is_const_v<T>) { return {data, rows, width, stride}; }

    /// Row r as a span of `width` values.
    constexpr std::span<T> operator[](index_t r) const { return {data + r * stride, static_cast<std::size_t>(width)}; }
    /// `count` rows from row `first` on.
    constexpr matrix_view slice(index_t first, index_t count) const { return {data + first * stride, count, width, stride}; }
    /// `count` columns from column `first` on, of every row.
    constexpr matrix_view columns(index_t first, index_t count) const { return {data + first, rows, count, stride}; }
};

} // namespace loupe
