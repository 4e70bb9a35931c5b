// Holds the policies of branches against what decoders rely on. Those that are one bool (image_mask, dense_branch, value_source) have
// nothing to be held against.
#pragma once

#include <loupe/check/layer.hpp>
#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/branch.hpp>

#include <algorithm>

namespace loupe {

/// Finite for finite halves, the same whenever asked, and alike in float and double.
template <is::per_layer_input Input>
verdict check() {
    using detail::say;
    verdict v("per_layer_input " + type_name<Input>());
    v.rule([] {
        for (const float context : {0.0F, 1.0F, -1.0F, 1e-30F, 30.0F, 1e9F}) {
            for (const float token : {0.0F, 1.0F, -1.0F, 1e-30F, -30.0F, 1e9F}) {
                const auto single = static_cast<float>(Input::combine(context, token)),
                           again = static_cast<float>(Input::combine(context, token));
                const auto exact = static_cast<double>(Input::combine(static_cast<double>(context), static_cast<double>(token)));
                const std::string call = say("combine(", context, ", ", token, ") is ");
                if (!std::isfinite(single) || !std::isfinite(exact)) return say(call, single, " in float and ", exact, " in double");
                if (!detail::same_bits(single, again)) return say(call, single, ", and when asked again ", again);
                const double largest =
                    std::max({static_cast<double>(std::abs(context)), static_cast<double>(std::abs(token)), std::abs(exact)});
                if (std::abs(static_cast<double>(single) - exact) > 8 * 0x1p-24 * largest) {
                    return say(call, single, " in float and ", exact, " in double");
                }
            }
        }
        return std::string();
    });
    return v;
}

/// Widths are positive and the same whenever asked; a sublayer that the part brings is held as a layer.
template <is::feed_forward FeedForward>
verdict check(layer_trials trials = {}) {
    using detail::say;
    verdict v("feed_forward " + type_name<FeedForward>());
    v.rule([] {
        for (const index_t stored : {1, 2, 96, 6144, 21504}) {
            for (const bool shares : {false, true}) {
                const index_t width = FeedForward::width(stored, shares), again = FeedForward::width(stored, shares);
                const std::string call = say("width(stored ", stored, shares ? ", shares keys) is " : ", own keys) is ", width);
                if (width <= 0) return say(call, ", expected a positive one");
                if (width != again) return say(call, ", and when asked again ", again);
            }
        }
        return std::string();
    });
    if constexpr (is::own_sublayer<FeedForward>) {
        using own = typename FeedForward::template sublayer<activation::gelu_tanh, norm::rms, probe::none>;
        if constexpr (is::sublayer<own>) {
            v.add(check<own>(trials));
        } else {
            v.rule([] {
                return "its sublayer is not made as sublayer(block_weights, block, experts, experts_used) or not called as (context&, x)";
            });
        }
    } else {
        static_cast<void>(trials);
    }
    return v;
}

} // namespace loupe
