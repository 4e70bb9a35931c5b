// Values of slot::rope_sliding and slot::rope_full: the angular frequency of every pair of dimensions.
//
// A rotary embedding turns the pair (i, i + D/2) of a head of width D by position · ω_i, half-split as in all Gemmas. Which ω a policy
// gives is all that distinguishes them (Su et al. 2104.09864; p-RoPE: Barbero et al. 2410.06205).
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>

#include <cmath>
#include <concepts>
#include <ratio>

namespace loupe {

/// What a frequency may depend on: the head's width and what the model says of its rope.
struct rope_sizes {
    index_t head_width = 0;
    double theta = 10000.0;
    double share = 1.0;  ///< rotated share of the pairs ("partial_rotary_factor")
    double factor = 1.0; ///< position interpolation: divides every angle
};

namespace is {

/// `T::frequency(pair, sizes)` gives radians per position of pair 0 … head_width/2 − 1; zero leaves a pair as it is.
template <class T>
concept rope = requires(index_t pair, const rope_sizes& sizes) {
    { T::frequency(pair, sizes) } -> std::convertible_to<double>;
};

} // namespace is

namespace rope {

/// Marks "the share that the model's file or card gives".
struct share_of_model {};

/// A std::ratio between 0 and 1.
template <class T>
concept share = is::ratio<T> &&(T::num >= 0) && (T::num <= T::den);

/// The rotated share of the pairs: a share, or the model's own.
template <class T>
concept rotated_share = share<std::conditional_t<std::same_as<T, share_of_model>, std::ratio<1>, T>>;

namespace detail {

/// Number of rotated pairs: ⌊share · D / 2⌋.
template <rotated_share Share>
index_t rotated_pairs(const rope_sizes& sizes) {
    if constexpr (std::same_as<Share, share_of_model>) {
        return static_cast<index_t>(sizes.share * static_cast<double>(sizes.head_width) / 2.0);
    } else {
        return sizes.head_width * Share::num / (2 * Share::den);
    }
}

/// θ^(−2·pair/width), divided by the interpolation factor.
inline double power(index_t pair, index_t width, const rope_sizes& sizes) {
    return std::pow(sizes.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(width)) / sizes.factor;
}

} // namespace detail

/// Every pair rotates: ω_i = θ^(−2i/D).
struct standard {
    static double frequency(index_t pair, const rope_sizes& sizes) { return detail::power(pair, sizes.head_width, sizes); }
};

/// p-RoPE: the fastest share of the pairs rotates, exponents over the whole head width (Gemma 4's full blocks, share 1/4).
template <rotated_share Share = share_of_model>
struct proportional {
    static double frequency(index_t pair, const rope_sizes& sizes) {
        return pair < detail::rotated_pairs<Share>(sizes) ? detail::power(pair, sizes.head_width, sizes) : 0.0;
    }
};

/// The same number of pairs, but exponents over the rotated width only: θ^(−2i/(2n)), as GPT-J and x-transformers have it.
template <rotated_share Share = share_of_model>
struct partial {
    static double frequency(index_t pair, const rope_sizes& sizes) {
        const index_t pairs = detail::rotated_pairs<Share>(sizes);
        return pair < pairs ? detail::power(pair, 2 * pairs, sizes) : 0.0;
    }
};

/// The same number of pairs, but the slowest of θ^(−2i/D) instead of the fastest (the control of Barbero et al., Table 2).
template <rotated_share Share = share_of_model>
struct reversed {
    static double frequency(index_t pair, const rope_sizes& sizes) {
        return pair >= sizes.head_width / 2 - detail::rotated_pairs<Share>(sizes) ? detail::power(pair, sizes.head_width, sizes) : 0.0;
    }
};

/// No rotation at all (NoPE).
struct none {
    static constexpr double frequency(index_t, const rope_sizes&) { return 0.0; }
};

/// Position interpolation on top of another rope: every frequency divided by Factor (Chen et al. 2306.15595).
template <is::rope Rope, is::ratio Factor>
requires is::positive<Factor::num>
struct stretched {
    static double frequency(index_t pair, const rope_sizes& sizes) { return Rope::frequency(pair, sizes) * Factor::den / Factor::num; }
};

} // namespace rope

} // namespace loupe
