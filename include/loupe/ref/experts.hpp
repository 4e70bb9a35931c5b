// Routed experts (Gemma 4 26B-A4B; transformers, Gemma4TextRouter and Gemma4TextExperts).
//
//   scores = (rms(r) ⊙ router_scale · width^(−1/2)) · W_rᵀ              r: the residual stream itself, its norm has no gain of its own
//   (e, w_e) for k experts = route(scores)                             Gemma 4: softmax over all, the k largest, divided by their sum
//   y = Σ_e w_e · expert_scale_e · expert_e(u),  u = rms(r; γ)          γ: pre_feedforward_layernorm_2
#pragma once

#include <loupe/policy/router.hpp>
#include <loupe/ref/feed_forward.hpp>
#include <loupe/ref/rms_norm.hpp>

#include <cmath>

namespace loupe::ref {

/// r: [tokens, width] from position `first` on; the result has the same shape. `used`: k. Token by token, choice by choice.
template <class Router, class Activation, class T>
matrix<T> experts(const matrix<T>& r, const expert_weights& w, index_t used, index_t block, index_t first, T epsilon) {
    matrix<T> y = zeros<T>(rows(r), width(r));
    if constexpr (Router::uses_experts) {
        matrix<T> z = normed<norm::rms_without_gain, T>(r, {}, epsilon);
        for (index_t t = 0; t < rows(r); ++t) {
            for (index_t i = 0; i < width(r); ++i) z(t, i) *= static_cast<T>(w.router_scale[static_cast<std::size_t>(i)]);
        }
        z /= std::sqrt(static_cast<T>(width(r)));
        matrix<T> scores = linear(z, w.router);
        const matrix<T> u = normed<norm::rms, T>(r, w.input_norm, epsilon);
        for (index_t t = 0; t < rows(r); ++t) {
            std::vector<choice<T>> chosen(static_cast<std::size_t>(used));
            Router::route(row(scores, t), std::span<choice<T>>(chosen), route_place{block, first + t});
            matrix<T> token = zeros<T>(1, width(r));
            std::copy_n(row(u, t).begin(), width(r), token.begin());
            for (const choice<T>& one : chosen) {
                const T weight = one.weight * static_cast<T>(w.expert_scale[static_cast<std::size_t>(one.expert)]);
                const matrix<T> out = feed_forward<Activation, T>(token, w.gate[one.expert], w.up[one.expert], w.down[one.expert]);
                for (index_t i = 0; i < width(r); ++i) y(t, i) += weight * out(0, i);
            }
        }
    }
    return y;
}

} // namespace loupe::ref
