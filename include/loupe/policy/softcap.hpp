// Values of slot::attention_softcap and slot::final_softcap.
#pragma once

#include <cmath>
#include <concepts>

namespace loupe {

namespace is {

/// `T::apply(x, stored)` for float and double; `stored` is the model's cap, 0 if it has none.
template <class T>
concept softcap = requires(float x, double y) {
    { T::apply(x, x) } -> std::same_as<float>;
    { T::apply(y, y) } -> std::same_as<double>;
};

} // namespace is

namespace softcap {

/// c · tanh(x / c) with the model's own c; nothing where the model has none (Gemma 2, section 2; Gemma 4: 30 on the logits).
struct stored {
    template <std::floating_point T>
    static T apply(T x, T cap) {
        return cap > 0 ? cap * std::tanh(x / cap) : x;
    }
};

/// c · tanh(x / c) with a c of one's own.
template <int Cap>
struct tanh {
    static_assert(Cap > 0, "a cap is positive");
    template <std::floating_point T>
    static T apply(T x, T) {
        return Cap * std::tanh(x / Cap);
    }
};

/// No cap.
struct none {
    template <std::floating_point T>
    static constexpr T apply(T x, T) {
        return x;
    }
};

} // namespace softcap

} // namespace loupe
