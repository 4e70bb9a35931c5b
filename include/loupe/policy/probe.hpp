// Values of slot::probe: code that reads or changes activations at typed places. A place that is not watched costs nothing.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>
#include <loupe/core/view.hpp>

#include <concepts>

namespace loupe {

/// The places, in the order in which a token passes them. Each names the shape of what a probe is given there.
namespace at {
struct embedding {};        ///< [tokens, width], scaled
struct per_layer_inputs {}; ///< [tokens, blocks · per-layer width], combined; block 0
struct attn_input {};       ///< [tokens, width], after the block's first norm
struct q {};                ///< [tokens, heads · head width], after norm and rope
struct k {};                ///< [tokens, key heads · head width], after norm and rope
struct v {};                ///< [tokens, key heads · head width], after norm
struct attn_scores {};      ///< [heads, visible keys] of one query, scaled and capped
struct attn_probs {};       ///< [heads, visible keys] of one query
struct attn_mix {};         ///< [tokens, heads · head width], before the output projection
struct attn_output {};      ///< [tokens, width], before the post norm
struct mlp_hidden {};       ///< [tokens, mlp width], act(gate) ⊙ up of the dense branch
struct mlp_output {};       ///< [tokens, width], before any norm
struct router_scores {};    ///< [tokens, experts]
struct expert_hidden {};    ///< [tokens of one expert, expert width]
struct expert_output {};    ///< [tokens, width], weighted sum of the experts, before its norm
struct per_layer_gate {};   ///< [tokens, per-layer width], act(gate) ⊙ per-layer input
struct residual {};         ///< [tokens, width], after the block
struct final_norm {};       ///< [tokens, width]; block = number of blocks
struct logits {};           ///< [tokens, vocabulary], capped; block = number of blocks

using all = type_list<embedding, per_layer_inputs, attn_input, q, k, v, attn_scores, attn_probs, attn_mix, attn_output, mlp_hidden,
                      mlp_output, router_scores, expert_hidden, expert_output, per_layer_gate, residual, final_norm, logits>;
} // namespace at

namespace rule {

/// A probe can be called at every place that it watches.
template <class Place>
struct probe_cannot_be_called_at {};

} // namespace rule

namespace detail {

template <class P, class Place>
constexpr auto problem_at() {
    if constexpr (!P::template watches<Place> || std::invocable<P&, Place, index_t, index_t, matrix_view<float>>) {
        return rule::all_hold{};
    } else {
        return rule::probe_cannot_be_called_at<Place>{};
    }
}

template <class P>
struct calls {
    template <class... Places>
    static auto at_all(type_list<Places...>) -> typename first_broken<decltype(problem_at<P, Places>())...>::type;
    using problem = decltype(at_all(at::all{}));
};

} // namespace detail

namespace is {

/// `P::template watches<Place>` is a constant; for every watched place `probe(Place{}, block, position, values)` is called with the
/// position of the first row (for attn_scores and attn_probs: of the query) and may read and write `values`. Calls come from one thread at
/// a time.
template <class P>
concept probe = std::default_initializable<P> && requires {
    { P::template watches<at::residual> } -> flag;
    typename constant<P::template watches<at::residual>>;
} && sound<typename detail::calls<P>::problem>;

} // namespace is

namespace probe {

/// Watches nothing.
struct none {
    template <class Place>
    static constexpr bool watches = false;
};

} // namespace probe

} // namespace loupe
