// Root-mean-square norm (Zhang & Sennrich 1910.07467; transformers, Gemma4RMSNorm).
//
//   y_i = x_i · (mean_j x_j² + ε)^(−1/2) · γ_i        γ itself, not 1 + γ: Gemma 3's stored γ − 1 is brought into this form at load
#pragma once

#include <loupe/policy/norm.hpp>
#include <loupe/ref/matrix.hpp>

#include <cmath>
#include <concepts>

namespace loupe::ref {

/// One row in place; without a gain γ = 1.
template <class T>
void rms_norm(std::span<T> x, std::span<const T> gain, T epsilon) {
    const T mean_square = dot<T>(x, x) / static_cast<T>(x.size());
    const T factor = 1 / std::sqrt(mean_square + epsilon);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = x[i] * factor * (gain.empty() ? T{1} : gain[i]);
}

/// Every row of x, [tokens, heads · D], through the norm of a slot, head by head; gain: [D] or empty.
template <class Norm, class T>
matrix<T> normed(matrix<T> x, std::span<const float> stored_gain, T epsilon, index_t heads = 1) {
    const std::vector<T> gain(stored_gain.begin(), stored_gain.end());
    const auto head_width = static_cast<std::size_t>(width(x) / heads);
    for (index_t t = 0; t < rows(x); ++t) {
        for (std::size_t h = 0; h < static_cast<std::size_t>(heads); ++h) {
            const std::span<T> head = row(x, t).subspan(h * head_width, head_width);
            if constexpr (std::same_as<Norm, norm::rms>) {
                rms_norm<T>(head, gain, epsilon);
            } else if constexpr (std::same_as<Norm, norm::rms_without_gain>) {
                rms_norm<T>(head, {}, epsilon);
            } else {
                Norm::apply(head, std::span<const T>(gain), epsilon);
            }
        }
    }
    return x;
}

} // namespace loupe::ref
