// The currency of ref/: rows of values, and y = x · Wᵀ. Everything in ref/ is templated on T, float or double.
#pragma once

#include <loupe/core/compat/xtensor.hpp>
#include <loupe/layer/weights.hpp>

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace loupe::ref {

/// [rows, width]; one row for each token.
template <class T>
using matrix = xt::xtensor<T, 2>;

/// A matrix of zeros.
template <class T>
matrix<T> zeros(index_t rows, index_t width) {
    return matrix<T>(typename matrix<T>::shape_type{static_cast<std::size_t>(rows), static_cast<std::size_t>(width)}, T{0});
}

template <class T>
index_t rows(const matrix<T>& x) {
    return static_cast<index_t>(x.shape()[0]);
}

template <class T>
index_t width(const matrix<T>& x) {
    return static_cast<index_t>(x.shape()[1]);
}

/// Row r.
template <class T>
std::span<T> row(matrix<T>& x, index_t r) {
    return {x.data() + r * width(x), x.shape()[1]};
}
template <class T>
std::span<const T> row(const matrix<T>& x, index_t r) {
    return {x.data() + r * width(x), x.shape()[1]};
}

/// Σ_i a_i b_i, in the order of i and as T.
template <class T, class U = T>
T dot(std::span<const T> a, std::span<const std::type_identity_t<U>> b) {
    T sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * static_cast<T>(b[i]);
    return sum;
}

/// Row r of a stored matrix: decoded to float, which is exact, then as T.
template <class T>
std::vector<T> weight_row(const kernel::weight_view& w, index_t r) {
    std::vector<float> decoded(static_cast<std::size_t>(w.width));
    w.decode_row(r, decoded.data());
    return {decoded.begin(), decoded.end()};
}

/// y = x · Wᵀ: x is [tokens, width], W [rows, width], y [tokens, rows]. Weights are decoded to float, which is exact.
template <class T>
matrix<T> linear(const matrix<T>& x, const kernel::weight_view& w) {
    matrix<T> y = zeros<T>(rows(x), w.rows);
    std::vector<float> weights(static_cast<std::size_t>(w.width));
    for (index_t n = 0; n < w.rows; ++n) {
        w.decode_row(n, weights.data());
        for (index_t t = 0; t < rows(x); ++t) y(t, n) = dot<T, float>(row(x, t), weights);
    }
    return y;
}

/// The rows of `a`, then those of `b`.
template <class T>
matrix<T> stacked(const matrix<T>& a, const matrix<T>& b) {
    if (rows(a) == 0) return b;
    matrix<T> both = zeros<T>(rows(a) + rows(b), width(a));
    std::copy(a.begin(), a.end(), both.begin());
    std::copy(b.begin(), b.end(), both.begin() + rows(a) * width(a));
    return both;
}

/// `count` columns from column `first` on.
template <class T>
matrix<T> columns(const matrix<T>& x, index_t first, index_t count) {
    return xt::view(x, xt::all(), xt::range(first, first + count));
}

} // namespace loupe::ref
