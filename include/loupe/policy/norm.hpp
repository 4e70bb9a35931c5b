// Values of slot::q_norm, slot::k_norm, slot::v_norm and slot::post_norms: what is done to one row.
#pragma once

#include <loupe/core/types.hpp>

#include <cmath>
#include <concepts>
#include <span>

namespace loupe {

namespace kernel {
// Defined in kernel/rms_norm.hpp, which whoever runs a model includes; declared here so that composing one does not pay for xsimd.
inline void rms_norm(std::span<const float> x, std::span<const float> gain, float epsilon, std::span<float> out);
} // namespace kernel

namespace is {

/// `T::apply(row, gain, epsilon)` changes a row in place, for float and double; `gain` is empty where the model stores none.
template <class T>
concept norm = requires(std::span<float> row, std::span<const float> gain, std::span<double> row_d, std::span<const double> gain_d) {
    T::apply(row, gain, 1e-6F);
    T::apply(row_d, gain_d, 1e-6);
};

} // namespace is

namespace norm {

/// x · (mean(x²) + ε)^(−1/2) · γ, with γ where the model stores one (Zhang & Sennrich 1910.07467; γ itself, not 1 + γ).
struct rms {
    template <class T>
    static void apply(std::span<T> row, std::span<const T> gain, T epsilon) {
        if constexpr (std::same_as<T, float>) {
            kernel::rms_norm(row, gain, epsilon, row);
        } else {
            T squares = 0;
            for (const T x : row) squares += x * x;
            const T factor = 1 / std::sqrt(squares / static_cast<T>(row.size()) + epsilon);
            for (std::size_t i = 0; i < row.size(); ++i) row[i] *= factor * (gain.empty() ? T{1} : gain[i]);
        }
    }
};

/// The same without the stored γ.
struct rms_without_gain {
    template <class T>
    static void apply(std::span<T> row, std::span<const T>, T epsilon) {
        rms::apply<T>(row, {}, epsilon);
    }
};

/// The row as it is.
struct none {
    template <class T>
    static constexpr void apply(std::span<T>, std::span<const T>, T) {}
};

} // namespace norm

} // namespace loupe
