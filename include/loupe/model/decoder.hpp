// A decoder: a composition with sizes and weights, ready to run.
#pragma once

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
    static constexpr bool prunes = of<part::prune>::enabled;

    template <bool Full, bool OwnsKv>
    using attention =
        attention_layer<std::conditional_t<Full, of<part::mask_full>, of<part::mask_sliding>>,
                        std::conditional_t<Full, of<part::kv>, kv::full>, of<part::q_norm>, of<part::k_norm>, of<part::v_norm>,
                        of<part::attention_softcap>, Full && of<part::value_full>::from_key, OwnsKv, prunes, probe>;
    using library_sublayer = std::conditional_t<of<part::feed_forward>::has_experts,
                                                experts_sublayer<of<part::router>, of<part::experts_used>, of<part::dense_branch>::enabled,
                                                                 of<part::activation>, of<part::post_norms>, probe>,
                                                dense_sublayer<of<part::activation>, of<part::post_norms>, probe>>;
    using feed_forward =
        typename sublayer_of<of<part::feed_forward>, of<part::activation>, of<part::post_norms>, probe, library_sublayer>::type;
    template <bool Full, bool OwnsKv>
    using block_of = block<attention<Full, OwnsKv>, feed_forward, of<part::post_norms>, of<part::per_layer_input>::enabled>;

    using stack_type =
        stack<block_of<false, true>, block_of<true, true>, block_of<false, false>, block_of<true, false>, of<part::per_layer_input>,
              of<part::final_softcap>, prunes, of<part::mask_sliding>::looks_ahead || of<part::mask_full>::looks_ahead, probe>;
};

/// What the composition says in numbers.
template <is::model M>
stack_plan plan_of(dimensions d, std::shared_ptr<const decoder_weights> weights) {
    stack_plan plan;
    check_parts<M>(d, *weights);
    const auto full = kinds_of_blocks(d);
    const index_t first_shared = d.first_shared();
    rope_sizes sliding = d.rope_sliding, global = d.rope_full;
    for (index_t i = 0; i < d.blocks(); ++i) {
        attention_sizes s;
        s.block = i;
        s.heads = d.heads;
        s.kv_heads = d[i].kv_heads;
        s.head_width = d[i].head_width;
        s.mask.window = d.window;
        s.score_scale = static_cast<float>(part_of<M, part::score_scale>::factor(score_sizes{d[i].head_width, d.score_scale}));
        s.cap = static_cast<float>(d.attention_cap);
        s.images_see_themselves = !d[i].full && d.images_see_themselves && part_of<M, part::image_mask>::sees_block;
        plan.attention.push_back(s);
        plan.scalar.push_back(part_of<M, part::layer_scalar>::value(weights->block[static_cast<std::size_t>(i)].scalar));
        plan.donor.push_back(part_of<M, part::kv_sharing>::donor(i, {full.get(), d.block.size()}, first_shared));
        (d[i].full ? global : sliding).head_width = d[i].head_width;
    }
    plan.cache_sliding = {0, part_of<M, part::mask_sliding>::reach({d.window})};
    const index_t reach = part_of<M, part::mask_full>::reach({d.window});
    using kept = part_of<M, part::kv>;
    const bool mask_is_tighter = kept::length == 0 || (reach != 0 && reach < kept::length);
    plan.cache_full = mask_is_tighter ? cache_plan{0, reach} : cache_plan{kept::sinks, kept::length};
    plan.rope_sliding = rope_table::of<part_of<M, part::rope_sliding>>(sliding);
    plan.rope_full = rope_table::of<part_of<M, part::rope_full>>(global);
    plan.embedding_scale = static_cast<float>(part_of<M, part::embedding_scale>::factor(d.width, weights->embedding_precision));
    plan.pruning = pruning_rule::of<part_of<M, part::prune>>(d.first_full());
    plan.sizes = std::move(d);
    plan.weights = std::move(weights);
    return plan;
}

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
        : stack_of<M>(detail::plan_of<M>(std::move(sizes), std::move(weights))) {}
};

} // namespace loupe
