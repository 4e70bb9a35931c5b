// Gated feed-forward layer (Shazeer 2002.05202; transformers, Gemma4TextMLP).
//
//   y = (act(x·W_gateᵀ) ⊙ x·W_upᵀ) · W_downᵀ
#pragma once

#include <loupe/policy/activation.hpp>
#include <loupe/ref/matrix.hpp>

namespace loupe::ref {

/// act(a) ⊙ b.
template <class Activation, class T>
matrix<T> gated(matrix<T> a, const matrix<T>& b) {
    for (T& value : a) value = Activation::apply(value);
    a *= b;
    return a;
}

/// x: [tokens, width]; gate and up: [mlp width, width], down: [width, mlp width].
template <class Activation, class T>
matrix<T> feed_forward(const matrix<T>& x, const kernel::weight_view& gate, const kernel::weight_view& up,
                       const kernel::weight_view& down) {
    return linear(gated<Activation, T>(linear(x, gate), linear(x, up)), down);
}

} // namespace loupe::ref
