// Root-mean-square norm of one row.
#pragma once

#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/types.hpp>

#include <cmath>
#include <span>

namespace loupe::kernel {

/// out = x · (mean(x²) + ε)^(−1/2) ⊙ gain; an empty gain counts as ones. `out` may be `x`.
inline void rms_norm(std::span<const float> x, std::span<const float> gain, float epsilon, std::span<float> out) {
    using simd::floats;
    const auto n = static_cast<index_t>(x.size());
    floats squares(0.0F);
    index_t i = 0;
    for (; i + simd::width <= n; i += simd::width) {
        const floats v = floats::load_unaligned(x.data() + i);
        squares = xsimd::fma(v, v, squares);
    }
    float sum = simd::sum(squares);
    for (; i < n; ++i) sum = std::fma(x[i], x[i], sum);
    const float factor = 1.0F / std::sqrt(sum / static_cast<float>(n) + epsilon);
    i = 0;
    for (; i + simd::width <= n; i += simd::width) {
        floats v = floats::load_unaligned(x.data() + i) * floats(factor);
        if (!gain.empty()) v *= floats::load_unaligned(gain.data() + i);
        v.store_unaligned(out.data() + i);
    }
    for (; i < n; ++i) out[i] = x[i] * factor * (gain.empty() ? 1.0F : gain[i]);
}

} // namespace loupe::kernel
