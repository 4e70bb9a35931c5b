// Values of slot::activation: what the gate of a feed-forward layer goes through.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>

namespace loupe {

namespace is {

/// `T::apply(x)` for float and double. A member that also takes a batch of floats (`T::apply(simd::floats)`) is used where there is one.
template <class T>
concept activation = requires(float x, double y) {
    { T::apply(x) } -> std::convertible_to<float>;
    { T::apply(y) } -> std::same_as<double>;
};

} // namespace is

namespace activation {

namespace detail {

/// A constant as a number, or as a batch of that number.
template <class T>
constexpr T constant(double value) {
    if constexpr (std::floating_point<T>) {
        return static_cast<T>(value);
    } else {
        return T(static_cast<typename T::value_type>(value));
    }
}

} // namespace detail

/// 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks & Gimpel 1606.08415; "gelu_pytorch_tanh"), written as x·σ(2z), which is the same.
struct gelu_tanh {
    template <class T>
    static T apply(const T& x) {
        using std::exp; // for numbers; batches find theirs by their type
        const T z =
            x * (detail::constant<T>(1.5957691216057308) + detail::constant<T>(0.07135481627260025) * x * x); // 2·√(2/π)·(1, 0.044715)
        return x / (detail::constant<T>(1) + exp(-z));
    }
};

/// x·σ(x) (Swish, Ramachandran et al. 1710.05941).
struct silu {
    template <class T>
    static T apply(const T& x) {
        using std::exp;
        return x / (detail::constant<T>(1) + exp(-x));
    }
};

/// max(x, 0)² (Primer, So et al. 2109.08668).
struct relu2 {
    template <class T>
    static T apply(const T& x) {
        using std::max;
        return x * max(x, detail::constant<T>(0)); // NaN stays, whichever operand a maximum gives then
    }
};

} // namespace activation

} // namespace loupe
