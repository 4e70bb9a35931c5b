// Loops over one or two rows: gating, adding, scaling, rotating, softmax.
#pragma once

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <span>

namespace loupe::kernel {

/// x = f(batch of x, index of its first element), batch by batch. The rest goes through the same instructions, so an element's value does
/// not depend on where it stands.
template <class F>
inline void for_batches(std::span<float> x, F&& f) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    index_t i = 0;
    for (; i + simd::width <= n; i += simd::width) floats(f(floats::load_unaligned(x.data() + i), i)).store_unaligned(x.data() + i);
    if (i < n) {
        alignas(64) float rest[simd::width] = {};
        std::copy(x.begin() + i, x.end(), rest);
        floats(f(floats::load_aligned(rest), i)).store_aligned(rest);
        std::copy_n(rest, n - i, x.data() + i);
    }
}

/// x ⊙= y.
inline void multiply(std::span<float> x, std::span<const float> y) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    index_t i = 0;
    for (; i + simd::width <= n; i += simd::width) {
        (floats::load_unaligned(x.data() + i) * floats::load_unaligned(y.data() + i)).store_unaligned(x.data() + i);
    }
    for (; i < n; ++i) x[i] *= y[i];
}

/// x[i] = Activation(x[i]) · y[i]. Not inlined: a row is long, and g++ would lay out the exponential's many registers anew for every
/// caller.
template <class Activation>
[[gnu::noinline]] inline void gate(std::span<float> x, std::span<const float> y) {
    if constexpr (requires(simd::floats v) {
                      { Activation::apply(v) } -> std::convertible_to<simd::floats>;
                  }) {
        for_batches(x, [](const simd::floats& v, index_t) { return Activation::apply(v); });
        multiply(x, y);
    } else {
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(Activation::apply(x[i])) * y[i];
    }
}

/// x += factor · y.
inline void add(std::span<float> x, std::span<const float> y, float factor = 1.0F) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    index_t i = 0;
    for (; i + simd::width <= n; i += simd::width) {
        xsimd::fma(floats(factor), floats::load_unaligned(y.data() + i), floats::load_unaligned(x.data() + i))
            .store_unaligned(x.data() + i);
    }
    for (; i < n; ++i) x[i] = std::fma(factor, y[i], x[i]);
}

/// x *= factor.
inline void scale(std::span<float> x, float factor) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    index_t i = 0;
    for (; i + simd::width <= n; i += simd::width) (floats::load_unaligned(x.data() + i) * floats(factor)).store_unaligned(x.data() + i);
    for (; i < n; ++i) x[i] *= factor;
}

/// Rotates the pairs (i, i + D/2) of one head by the angles whose cosines and sines are given (D/2 of each).
inline void rotate(std::span<float> head, std::span<const float> cosines, std::span<const float> sines) {
    using simd::floats;
    const auto half = static_cast<index_t>(head.size() / 2);
    float* low = head.data();
    float* high = head.data() + half;
    index_t i = 0;
    for (; i + simd::width <= half; i += simd::width) {
        const floats a = floats::load_unaligned(low + i), b = floats::load_unaligned(high + i);
        const floats c = floats::load_unaligned(cosines.data() + i), s = floats::load_unaligned(sines.data() + i);
        xsimd::fms(a, c, b * s).store_unaligned(low + i);
        xsimd::fma(b, c, a * s).store_unaligned(high + i);
    }
    for (; i < half; ++i) {
        const float a = low[i], b = high[i];
        low[i] = std::fma(a, cosines[i], -(b * sines[i]));
        high[i] = std::fma(b, cosines[i], a * sines[i]);
    }
}

/// x[i] = SoftCap(x[i]).
template <class SoftCap>
inline void softcap(std::span<float> x, float cap) {
    if constexpr (requires(simd::floats v) {
                      { SoftCap::apply(v, cap) } -> std::convertible_to<simd::floats>;
                  }) {
        for_batches(x, [cap](const simd::floats& v, index_t) { return SoftCap::apply(v, cap); });
    } else {
        for (float& v : x) v = static_cast<float>(SoftCap::apply(v, cap));
    }
}

/// The largest of the values; −∞ of none.
inline float largest(std::span<const float> x) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    floats most(-std::numeric_limits<float>::infinity());
    index_t i = 0;
    for (; i + simd::width <= n; i += simd::width) most = xsimd::max(most, floats::load_unaligned(x.data() + i));
    float found = simd::largest(most);
    for (; i < n; ++i) found = std::max(found, x[i]);
    return found;
}

/// softmax in place, by subtraction of the maximum.
inline void softmax(std::span<float> x) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    const float largest = kernel::largest(x);
    floats lanes(0.0F);
    index_t i = 0;
    for (; i + simd::width <= n; i += simd::width) {
        const floats e = xsimd::exp(floats::load_unaligned(x.data() + i) - floats(largest));
        e.store_unaligned(x.data() + i);
        lanes += e;
    }
    float sum = simd::sum(lanes);
    for (; i < n; ++i) sum += x[i] = std::exp(x[i] - largest);
    scale(x, 1.0F / sum);
}

/// Scores of the keys that a query sees become its weights: zeros if all are −∞, as if it saw none.
inline void attention_weights(std::span<float> scores) {
    constexpr float unseen = -std::numeric_limits<float>::infinity();
    if (std::all_of(scores.begin(), scores.end(), [](float s) { return s == unseen; }))
        std::fill(scores.begin(), scores.end(), 0.0F);
    else
        softmax(scores);
}

/// log Σ exp(x), in double from float terms.
inline double log_sum_exp(std::span<const float> x) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    const float largest = kernel::largest(x);
    // Partial sums over stretches of a few thousand keep float's rounding away from the total.
    double sum = 0;
    for (index_t begin = 0; begin < n; begin += 1024) {
        const index_t end = std::min(n, begin + 1024);
        floats lanes(0.0F);
        index_t i = begin;
        for (; i + simd::width <= end; i += simd::width) {
            lanes += xsimd::exp(floats::load_unaligned(x.data() + i) - floats(largest));
        }
        sum += simd::sum(lanes);
        for (; i < end; ++i) sum += std::exp(x[i] - largest);
    }
    return static_cast<double>(largest) + std::log(sum);
}

/// Σ p (log p − log q) for p = softmax(a), q = softmax(b), given the log Σ exp of both, in nats. Where p is 0, nothing is added.
inline double kl_divergence(std::span<const float> a, double log_sum_a, std::span<const float> b, double log_sum_b) {
    using simd::floats;
    const auto n = static_cast<index_t>(a.size());
    const auto shift = static_cast<float>(log_sum_a);
    const auto difference = static_cast<float>(log_sum_b - log_sum_a);
    double sum = 0;
    for (index_t begin = 0; begin < n; begin += 1024) {
        const index_t end = std::min(n, begin + 1024);
        floats lanes(0.0F);
        index_t i = begin;
        for (; i + simd::width <= end; i += simd::width) {
            const floats x = floats::load_unaligned(a.data() + i), y = floats::load_unaligned(b.data() + i);
            const floats p = xsimd::exp(x - floats(shift));
            lanes += xsimd::select(p == floats(0.0F), floats(0.0F), p * (x - y + floats(difference)));
        }
        sum += simd::sum(lanes);
        for (; i < end; ++i) {
            const float p = std::exp(a[i] - shift);
            sum += p == 0 ? 0 : p * (a[i] - b[i] + difference);
        }
    }
    return sum;
}

} // namespace loupe::kernel
