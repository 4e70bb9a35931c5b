// Holds an activation against what feed-forward layers rely on.
#pragma once

#include <loupe/check/elementwise.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/activation.hpp>

namespace loupe {

/// Finite for every finite value; the same whenever asked, and in every lane of a batch where the activation takes batches; alike in float,
/// double and batches.
template <is::activation Activation>
verdict check() {
    verdict v("activation " + type_name<Activation>());
    constexpr bool batches = requires(simd::floats x) {
        { Activation::apply(x) } -> std::convertible_to<simd::floats>;
    };
    detail::hold_elementwise<batches>(v, [](const auto& x) { return Activation::apply(x); });
    return v;
}

} // namespace loupe
