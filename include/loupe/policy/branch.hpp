// Values of the slots that switch a branch: slot::per_layer_input, slot::dense_branch, slot::value_full, slot::feed_forward.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>
#include <loupe/policy/activation.hpp>
#include <loupe/policy/norm.hpp>
#include <loupe/policy/probe.hpp>

#include <concepts>

namespace loupe {

namespace is {

/// `T::enabled`, and `T::combine(context, token)`: how the two halves of a per-layer input are joined, for float and double.
template <class T>
concept per_layer_input = requires(float x, double y) {
    { T::enabled } -> flag;
    typename constant<T::enabled>;
    { T::combine(x, x) } -> std::convertible_to<float>;
    { T::combine(y, y) } -> std::same_as<double>;
};

/// `T::enabled`: whether the dense branch beside the experts contributes.
template <class T>
concept dense_branch = requires {
    { T::enabled } -> flag;
    typename constant<T::enabled>;
};

/// `T::from_key`: whether values are the key projection instead of a projection of their own.
template <class T>
concept value_source = requires {
    { T::from_key } -> flag;
    typename constant<T::from_key>;
};

/// `T::has_experts`, and `T::width(stored, shares_kv)`: hidden width of a block's dense part.
template <class T>
concept feed_forward = requires(index_t width, bool shares_kv) {
    { T::has_experts } -> flag;
    typename constant<T::has_experts>;
    { T::width(width, shares_kv) } -> whole;
};

/// A feed-forward part that brings its own sublayer, `T::template sublayer<Activation, PostNorm, Probe>`: made as
/// `sublayer(block_weights, block, experts, experts_used)`, called as `sublayer(context_of<Probe>&, x)` on the residual stream x [tokens,
/// width], which it changes in place. Constant, and a token's row may only depend on that row.
template <class T>
concept own_sublayer = feed_forward<T> && requires {
    typename T::template sublayer<activation::gelu_tanh, norm::rms, probe::none>;
};

} // namespace is

namespace per_layer_input {

/// No per-layer inputs: the sublayer adds nothing.
struct off {
    static constexpr bool enabled = false;
    template <class T>
    static constexpr T combine(T, T) {
        return T{0};
    }
};

/// (context + token)/√2 (Gemma 3n, Gemma 4 E2B and E4B).
struct on {
    static constexpr bool enabled = true;
    template <class T>
    static constexpr T combine(T context, T token) {
        return (context + token) * static_cast<T>(0.70710678118654752440);
    }
};

/// The projection of the embedding alone, without the table's row and without 1/√2 (what the reference does when it is given no ids).
struct context_only {
    static constexpr bool enabled = true;
    template <class T>
    static constexpr T combine(T context, T) {
        return context;
    }
};

} // namespace per_layer_input

namespace dense_branch {

struct on {
    static constexpr bool enabled = true;
};
/// The branch's output before its norm is zero.
struct off {
    static constexpr bool enabled = false;
};

} // namespace dense_branch

namespace value {

/// A projection of its own.
struct projected {
    static constexpr bool from_key = false;
};
/// K = V: the key projection before its norm and rotation (full blocks of 12B, 26B-A4B and 31B).
struct key {
    static constexpr bool from_key = true;
};

} // namespace value

namespace feed_forward {

/// W_down (act(W_gate x) ⊙ W_up x) (Shazeer 2002.05202).
struct gated {
    static constexpr bool has_experts = false;
    static constexpr index_t width(index_t stored, bool) { return stored; }
};

/// The same, twice as wide in blocks that share keys and values (E2B).
struct gated_double_wide {
    static constexpr bool has_experts = false;
    static constexpr index_t width(index_t stored, bool shares_kv) { return shares_kv ? 2 * stored : stored; }
};

/// A dense gated layer beside routed experts, each branch with its own norms (26B-A4B).
struct experts {
    static constexpr bool has_experts = true;
    static constexpr index_t width(index_t stored, bool) { return stored; }
};

} // namespace feed_forward

} // namespace loupe
