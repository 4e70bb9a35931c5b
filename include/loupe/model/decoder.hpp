// A decoder: a composition with sizes and weights, ready to run.
#pragma once

#include <loupe/model/runtime.hpp>
#include <loupe/model/slots.hpp>
#include <loupe/model/stack.hpp>

namespace loupe {

namespace detail {

/// The feed-forward sublayer of a block: the part's own, if it brings one, or else `Otherwise`.
template <class Part, class Activation, class PostNorm, class Probe, class Otherwise>
struct sublayer_of : std::type_identity<Otherwise> {};
template <is::own_sublayer Part, class Activation, class PostNorm, class Probe, class Otherwise>
struct sublayer_of<Part, Activation, PostNorm, Probe, Otherwise>
    : std::type_identity<typename Part::template sublayer<Activation, PostNorm, Probe>> {};

/// The types of a composition's blocks, and the stack of them.
template <is::model M>
struct kinds {
    template <class Part>
    using of = part_of<M, Part>;
    using probe = of<part::probe>;
    using attention_probe = probe_at<probe, at::q, at::k, at::v, at::attn_scores, at::attn_probs, at::attn_mix, at::attn_output>;
    using feed_forward_probe = probe_at<probe, at::mlp_hidden, at::mlp_output, at::router_scores, at::expert_hidden, at::expert_output>;
    static constexpr bool prunes = of<part::prune>::enabled;

    template <bool Full, bool OwnsKv>
    using attention =
        attention_layer<std::conditional_t<Full, of<part::mask_full>, of<part::mask_sliding>>,
                        std::conditional_t<Full, of<part::kv>, kv::full>, of<part::q_norm>, of<part::k_norm>, of<part::v_norm>,
                        of<part::attention_softcap>, Full && of<part::value_full>::from_key, OwnsKv, prunes, attention_probe>;
    using library_sublayer = std::conditional_t<of<part::feed_forward>::has_experts,
                                                experts_sublayer<of<part::router>, of<part::experts_used>, of<part::dense_branch>::enabled,
                                                                 of<part::activation>, of<part::post_norms>, feed_forward_probe>,
                                                dense_sublayer<of<part::activation>, of<part::post_norms>, feed_forward_probe>>;
    using feed_forward = // one's own may call the probe wherever it likes
        typename sublayer_of<of<part::feed_forward>, of<part::activation>, of<part::post_norms>, probe, library_sublayer>::type;
    template <bool Full, bool OwnsKv>
    using block_of = block<attention<Full, OwnsKv>, feed_forward, of<part::post_norms>, of<part::per_layer_input>::enabled, probe>;

    using stack_type =
        stack<block_of<false, true>, block_of<true, true>, block_of<false, false>, block_of<true, false>, of<part::per_layer_input>,
              of<part::final_softcap>, prunes, of<part::mask_sliding>::looks_ahead || of<part::mask_full>::looks_ahead, probe>;
};

} // namespace detail

/// The stack that runs composition M. Models that differ only in numbers have the same.
template <is::model M>
using stack_of = typename detail::kinds<M>::stack_type;

/// A model ready to run. Constant: all state lies in the sequence, so several sequences may run at once.
template <is::model M>
class decoder : public stack_of<M> {
  public:
    using model_type = M;

    /// Refuses dimensions or weights that lack what the composition needs, and says which.
    decoder(dimensions sizes, std::shared_ptr<const decoder_weights> weights)
        : stack_of<M>(make_plan(numbers_of<M>, std::move(sizes), std::move(weights))) {}
};

} // namespace loupe
