// The ladder of the rotary embedding, half-split: the pair (i, i + D/2) of every head is turned by position · base^(−2i/D).
#pragma once

#include "rung.hpp"

#include <loupe/core/view.hpp>
#include <loupe/kernel/elementwise.hpp>

#include <cmath>
#include <span>
#include <vector>

namespace ladders::rope {

struct operands {
    loupe::matrix_view<float> heads; ///< [heads, D], rotated in place
    index_t position;
    double base;
    std::span<const float> cosines, sines; ///< D/2 of each: the table of this position
};

/// The angle of pair i, in double: at position 100 000 a float knows it to a hundredth of a radian only.
inline double angle(const operands& o, index_t i) {
    return static_cast<double>(o.position) * std::pow(o.base, -2.0 * static_cast<double>(i) / static_cast<double>(o.heads.width));
}

inline void turn(float& low, float& high, float cosine, float sine) {
    const float a = low, b = high;
    low = a * cosine - b * sine;
    high = b * cosine + a * sine;
}

/// A power, a cosine and a sine for every pair of every head.
inline void naive(const operands& o) {
    const index_t half = o.heads.width / 2;
    for (index_t h = 0; h < o.heads.rows; ++h) {
        float* x = o.heads[h].data();
        for (index_t i = 0; i < half; ++i) {
            const double a = angle(o, i);
            turn(x[i], x[i + half], static_cast<float>(std::cos(a)), static_cast<float>(std::sin(a)));
        }
    }
}

/// All heads of a token turn by the same angles: they are computed once.
inline void once_a_token(const operands& o) {
    const index_t half = o.heads.width / 2;
    for (index_t i = 0; i < half; ++i) {
        const double a = angle(o, i);
        const auto cosine = static_cast<float>(std::cos(a)), sine = static_cast<float>(std::sin(a));
        for (index_t h = 0; h < o.heads.rows; ++h) turn(o.heads[h].data()[i], o.heads[h].data()[i + half], cosine, sine);
    }
}

/// Layers of one kind turn by the same angles too: cosines and sines come from a table that is filled once a token, here before the clock
/// starts.
inline void table(const operands& o) {
    const index_t half = o.heads.width / 2;
    for (index_t i = 0; i < half; ++i) {
        const auto at = static_cast<std::size_t>(i);
        for (index_t h = 0; h < o.heads.rows; ++h) {
            turn(o.heads[h].data()[i], o.heads[h].data()[i + half], o.cosines[at], o.sines[at]);
        }
    }
}

/// Head by head: memory is read in the order in which it lies, two runs of D/2 floats.
inline void head_by_head(const operands& o) {
    const index_t half = o.heads.width / 2;
    for (index_t h = 0; h < o.heads.rows; ++h) {
        float* x = o.heads[h].data();
        for (index_t i = 0; i < half; ++i) {
            const auto at = static_cast<std::size_t>(i);
            turn(x[i], x[i + half], o.cosines[at], o.sines[at]);
        }
    }
}

/// A batch of pairs at once: half-split pairs lie side by side with their neighbours, so no element changes its lane. Compilers see that in
/// the rung before too; here it does not depend on what they see.
inline void library(const operands& o) {
    for (index_t h = 0; h < o.heads.rows; ++h) loupe::kernel::rotate(o.heads[h], o.cosines, o.sines);
}

inline constexpr rung<operands> rungs[] = {{"01_naive", naive},
                                           {"02_once_a_token", once_a_token},
                                           {"03_table", table},
                                           {"04_head_by_head", head_by_head},
                                           {"05_lanes_library", library}};

} // namespace ladders::rope
