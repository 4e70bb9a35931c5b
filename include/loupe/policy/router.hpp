// Values of slot::router and slot::experts_used: which experts a token goes to, and with what weight.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <span>

namespace loupe {

/// One expert chosen for a token. The expert's own stored scale multiplies `weight` afterwards.
template <class T>
struct choice {
    index_t expert = 0;
    T weight = 0;
};

/// Where a routing decision is made, for routers that draw.
struct route_place {
    index_t block = 0;
    index_t position = 0;
};

namespace is {

/// `T::route(scores, chosen, place)`: from one score per expert fill all of `chosen`; `scores` may be overwritten. For float and double.
/// `T::uses_experts` is false for a router that sends tokens nowhere.
template <class T>
concept router = requires(std::span<float> s, std::span<choice<float>> c, std::span<double> sd, std::span<choice<double>> cd,
                          route_place place) {
    { T::uses_experts } -> flag;
    typename constant<T::uses_experts>;
    T::route(s, c, place);
    T::route(sd, cd, place);
};

/// `T::count(stored)`: how many experts a token goes to, given the model's own number. Must be constexpr: the rules call it.
template <class T>
concept experts_used = requires(index_t stored) {
    { T::count(stored) } -> whole;
};

} // namespace is

namespace router {

namespace detail {

template <class T>
void softmax(std::span<T> x) {
    const T largest = *std::max_element(x.begin(), x.end());
    T sum = 0;
    for (T& v : x) sum += v = std::exp(v - largest);
    for (T& v : x) v /= sum;
}

/// The largest values in falling order, the lower index first among equals; their weights are the values themselves. `x` is used up.
template <class T>
void take_largest(std::span<T> x, std::span<choice<T>> chosen) {
    for (auto& c : chosen) {
        const auto best = std::max_element(x.begin(), x.end());
        c = {best - x.begin(), *best};
        *best = -std::numeric_limits<T>::infinity();
    }
}

/// Weights divided by their sum (by 1 if the sum is 0).
template <class T>
void normalise(std::span<choice<T>> chosen) {
    T sum = 0;
    for (const auto& c : chosen) sum += c.weight;
    if (sum == 0) sum = 1;
    for (auto& c : chosen) c.weight /= sum;
}

} // namespace detail

/// softmax over all experts → the k most likely → weights that sum to 1 (Gemma 4 26B-A4B).
struct softmax_top_k {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place) {
        detail::softmax(scores);
        detail::take_largest(scores, chosen);
        detail::normalise(chosen);
    }
};

/// softmax over all experts → the k most likely, their probabilities as they are.
struct softmax_top_k_without_normalising {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place) {
        detail::softmax(scores);
        detail::take_largest(scores, chosen);
    }
};

/// The k best raw scores → softmax over those (Mixtral). With renormalisation the same function as `softmax_top_k`, in another order of
/// rounding.
struct top_k_softmax {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place) {
        detail::take_largest(scores, chosen);
        const T largest = chosen.front().weight;
        for (auto& c : chosen) c.weight = std::exp(c.weight - largest);
        detail::normalise(chosen);
    }
};

/// sigmoid of every score → the k largest → divided by their sum (DeepSeek-V3 without its bias).
struct sigmoid {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place) {
        for (T& s : scores) s = 1 / (1 + std::exp(-s));
        detail::take_largest(scores, chosen);
        detail::normalise(chosen);
    }
};

/// The experts of `softmax_top_k`, each with weight 1/k.
struct uniform_weights {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place) {
        detail::take_largest(scores, chosen);
        for (auto& c : chosen) c.weight = T{1} / static_cast<T>(chosen.size());
    }
};

/// k different experts drawn for every block and position, each with weight 1/k: what is left when routing carries no information.
template <std::uint64_t Seed = 0>
struct random {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place place) {
        std::uint64_t state = Seed ^ (static_cast<std::uint64_t>(place.block) << 40) ^ static_cast<std::uint64_t>(place.position);
        for (T& s : scores) s = static_cast<T>(next(state) >> 11);
        detail::take_largest(scores, chosen);
        for (auto& c : chosen) c.weight = T{1} / static_cast<T>(chosen.size());
    }

  private:
    // SplitMix64 (Steele et al. 2014): every state gives a well-mixed number, so nearby positions draw independently.
    static std::uint64_t next(std::uint64_t& state) {
        state += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
};

/// No token goes to any expert: the branch gives zero.
struct none {
    static constexpr bool uses_experts = false;
    template <class T>
    static constexpr void route(std::span<T>, std::span<choice<T>>, route_place) {}
};

} // namespace router

namespace experts_used {

/// The model's own number.
struct stored {
    static constexpr index_t count(index_t stored) { return stored; }
};

/// A number of one's own; router::none switches the experts off.
template <index_t K>
requires is::positive<K>
struct exactly {
    static constexpr index_t count(index_t) { return K; }
};

} // namespace experts_used

} // namespace loupe
