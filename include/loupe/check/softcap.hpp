// Holds a softcap against what attention and head rely on.
#pragma once

#include <loupe/check/elementwise.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/softcap.hpp>

namespace loupe {

/// Finite for every finite value, also for models without a cap (stored 0); the same whenever asked, and in every lane of a batch where the
/// softcap takes batches; alike in float, double and batches.
template <is::softcap SoftCap>
verdict check() {
    verdict v("softcap " + type_name<SoftCap>());
    constexpr bool batches = requires(simd::floats x) {
        { SoftCap::apply(x, 1.0F) } -> std::convertible_to<simd::floats>;
    };
    for (const double cap : {0.0, 1.0, 30.0}) {
        const auto apply = [cap]<class T>(const T& x) {
            if constexpr (std::same_as<T, double>) {
                return SoftCap::apply(x, cap);
            } else {
                return SoftCap::apply(x, static_cast<float>(cap));
            }
        };
        detail::hold_elementwise<batches>(v, apply, detail::say(" (stored cap ", cap, ")"));
    }
    return v;
}

} // namespace loupe
