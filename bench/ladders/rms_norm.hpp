// The ladder of the root-mean-square norm: out = x · (mean(x²) + ε)^(−1/2) ⊙ gain, one row.
#pragma once

#include "rung.hpp"

#include <loupe/kernel/rms_norm.hpp>

#include <cmath>
#include <span>

namespace ladders::rms_norm {

struct operands {
    std::span<const float> x, gain;
    float epsilon;
    std::span<float> out;
};

/// The formula, word for word: a division for every square, and a division and a root for every element.
inline void naive(const operands& o) {
    const auto n = static_cast<float>(o.x.size());
    float mean = 0;
    for (const float x : o.x) mean += x * x / n;
    for (std::size_t i = 0; i < o.x.size(); ++i) o.out[i] = o.x[i] / std::sqrt(mean + o.epsilon) * o.gain[i];
}

/// One division and one root for the whole row: a division takes as long as a dozen multiplications.
inline void one_division(const operands& o) {
    float sum = 0;
    for (const float x : o.x) sum += x * x;
    const float factor = 1 / std::sqrt(sum / static_cast<float>(o.x.size()) + o.epsilon);
    for (std::size_t i = 0; i < o.x.size(); ++i) o.out[i] = o.x[i] * factor * o.gain[i];
}

/// Four sums in turn: an addition waits for the one before it only if both go to the same sum.
inline void four_sums(const operands& o) {
    const std::size_t n = o.x.size();
    float sum[4] = {};
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (std::size_t c = 0; c < 4; ++c) sum[c] += o.x[i + c] * o.x[i + c];
    }
    for (; i < n; ++i) sum[0] += o.x[i] * o.x[i];
    const float total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    const float factor = 1 / std::sqrt(total / static_cast<float>(n) + o.epsilon);
    for (i = 0; i < n; ++i) o.out[i] = o.x[i] * factor * o.gain[i];
}

/// A sum in every lane of a register: one instruction squares and adds 8 or 16 elements.
inline void library(const operands& o) { loupe::kernel::rms_norm(o.x, o.gain, o.epsilon, o.out); }

inline constexpr rung<operands> rungs[] = {
    {"01_naive", naive}, {"02_one_division", one_division}, {"03_four_sums", four_sums}, {"04_lanes_library", library}};

} // namespace ladders::rms_norm
