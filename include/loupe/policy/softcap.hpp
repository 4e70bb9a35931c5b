// Values of slot::attention_softcap and slot::final_softcap.
#pragma once

#include <loupe/core/concepts.hpp>

#include <cmath>
#include <concepts>

namespace loupe {

namespace is {

/// `T::apply(x, stored)` for float and double; `stored` is the model's cap, 0 if it has none. A member that also takes a batch of floats
/// (`T::apply(simd::floats, float)`) is used where there is one.
template <class T>
concept softcap = requires(float x, double y) {
    { T::apply(x, x) } -> std::convertible_to<float>;
    { T::apply(y, y) } -> std::same_as<double>;
};

} // namespace is

namespace softcap {

/// c · tanh(x / c) with the model's own c; nothing where the model has none (Gemma 2, section 2; Gemma 4: 30 on the logits).
struct stored {
    template <class T, std::floating_point Cap>
    static T apply(const T& x, Cap cap) {
        using std::tanh; // for numbers; batches find theirs by their type
        return cap > 0 ? T(tanh(x / T(cap)) * T(cap)) : x;
    }
};

/// c · tanh(x / c) with a c of one's own.
template <int Cap>
requires is::positive<Cap>
struct fixed {
    template <class T, std::floating_point Stored>
    static T apply(const T& x, Stored) {
        return stored::apply(x, static_cast<Stored>(Cap));
    }
};

/// No cap.
struct none {
    template <class T, std::floating_point Stored>
    static constexpr T apply(const T& x, Stored) {
        return x;
    }
};

} // namespace softcap

} // namespace loupe
