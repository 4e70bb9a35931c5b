// Rotary embedding (Su et al. 2104.09864; p-RoPE: Barbero et al. 2410.06205; transformers, apply_rotary_pos_emb).
//
//   φ = position · ω_i,  ω_i from the slot's policy, zero for a pair that does not rotate
//   y_i       = x_i · cos φ − x_{i+D/2} · sin φ
//   y_{i+D/2} = x_{i+D/2} · cos φ + x_i · sin φ                                     for 0 ≤ i < D/2: half-split, never interleaved
#pragma once

#include <loupe/policy/rope.hpp>
#include <loupe/ref/matrix.hpp>

#include <cmath>

namespace loupe::ref {

/// Every head of x, [tokens, heads · D], turned; row t is at position `first` + t. D = sizes.head_width. Angles are double for any T: a
/// float product of position and frequency is off by 0.01 at position 262 144.
template <class Rope, class T>
matrix<T> rotated(matrix<T> x, index_t first, const rope_sizes& sizes) {
    const index_t D = sizes.head_width, half = D / 2;
    for (index_t i = 0; i < half; ++i) {
        const double frequency = Rope::frequency(i, sizes);
        for (index_t t = 0; t < rows(x); ++t) {
            const double angle = static_cast<double>(first + t) * frequency;
            const T c = static_cast<T>(std::cos(angle)), s = static_cast<T>(std::sin(angle));
            for (index_t head = 0; head < width(x); head += D) {
                const T low = x(t, head + i), high = x(t, head + i + half);
                x(t, head + i) = low * c - high * s;
                x(t, head + i + half) = high * c + low * s;
            }
        }
    }
    return x;
}

} // namespace loupe::ref
