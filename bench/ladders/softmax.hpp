// The ladder of softmax: y_i = e^(x_i − m) / Σ_j e^(x_j − m) with m = max x, one row. Without m, e^x would overflow beyond x = 88.
#pragma once

#include "rung.hpp"

#include <loupe/kernel/elementwise.hpp>

#include <algorithm>
#include <cmath>
#include <span>

namespace ladders::softmax {

struct operands {
    std::span<const float> x;
    std::span<float> y;
};

/// The formula, word for word: every exponential twice, once for the sum and once for the quotient.
inline void naive(const operands& o) {
    const float largest = *std::max_element(o.x.begin(), o.x.end());
    float sum = 0;
    for (const float x : o.x) sum += std::exp(x - largest);
    for (std::size_t i = 0; i < o.x.size(); ++i) o.y[i] = std::exp(o.x[i] - largest) / sum;
}

/// Every exponential once: it is kept where the result will stand.
inline void one_exponential(const operands& o) {
    const float largest = *std::max_element(o.x.begin(), o.x.end());
    float sum = 0;
    for (std::size_t i = 0; i < o.x.size(); ++i) sum += o.y[i] = std::exp(o.x[i] - largest);
    for (float& y : o.y) y /= sum;
}

/// An exponential as arithmetic, no call of a function: 2^k · polynomial(rest), in every lane of a register.
inline void library(const operands& o) {
    std::copy(o.x.begin(), o.x.end(), o.y.begin());
    loupe::kernel::softmax(o.y);
}

inline constexpr rung<operands> rungs[] = {{"01_naive", naive}, {"02_one_exponential", one_exponential}, {"03_lanes_library", library}};

} // namespace ladders::softmax
