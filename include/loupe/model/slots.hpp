// The slots of a decoder. `slot::x<T>` puts T into slot x and only takes a T of the right kind; `part::x` is the slot's name alone.
#pragma once

#include <loupe/model/composition.hpp>

namespace loupe::slot {

/// Sizes of the model: a card (a type with a constant `value` of type `card`), or `sizes_of_file`.
template <is::sizes T>
struct sizes : binding<part::sizes, T> {};
/// Factor on looked-up embedding rows.
template <is::embedding_scale T>
struct embedding_scale : binding<part::embedding_scale, T> {};
/// Per-layer inputs: on, off, context only.
template <is::per_layer_input T>
struct per_layer_input : binding<part::per_layer_input, T> {};
/// Rotary embedding of the sliding blocks.
template <is::rope T>
struct rope_sliding : binding<part::rope_sliding, T> {};
/// Rotary embedding of the full blocks.
template <is::rope T>
struct rope_full : binding<part::rope_full, T> {};
/// Which keys a query of a sliding block sees.
template <is::mask T>
struct mask_sliding : binding<part::mask_sliding, T> {};
/// Which keys a query of a full block sees.
template <is::mask T>
struct mask_full : binding<part::mask_full, T> {};
/// What image blocks add to the mask of sliding blocks.
template <is::image_mask T>
struct image_mask : binding<part::image_mask, T> {};
/// Factor on attention scores.
template <is::score_scale T>
struct score_scale : binding<part::score_scale, T> {};
/// Cap on attention scores.
template <is::softcap T>
struct attention_softcap : binding<part::attention_softcap, T> {};
/// Norm of every query head, before its rotation.
template <is::norm T>
struct q_norm : binding<part::q_norm, T> {};
/// Norm of every key head, before its rotation.
template <is::norm T>
struct k_norm : binding<part::k_norm, T> {};
/// Norm of every value head; the model stores no gain for it.
template <is::norm T>
struct v_norm : binding<part::v_norm, T> {};
/// Where the full blocks' values come from (K = V).
template <is::value_source T>
struct value_full : binding<part::value_full, T> {};
/// Whose keys and values the last blocks read.
template <is::kv_sharing T>
struct kv_sharing : binding<part::kv_sharing, T> {};
/// What the cache of the full blocks keeps.
template <is::kv_policy T>
struct kv : binding<part::kv, T> {};
/// In what format caches hold keys and values: any that can be encoded, whose blocks divide the head widths.
template <is::encodable_format T>
struct kv_format : binding<part::kv_format, T> {};
/// Which tokens later blocks no longer see.
template <is::pruning T>
struct prune : binding<part::prune, T> {};
/// Activation of feed-forward layers and experts (the gate of the per-layer inputs keeps gelu).
template <is::activation T>
struct activation : binding<part::activation, T> {};
/// Feed-forward layer: gated, double-wide where keys are shared, or a dense branch beside experts.
template <is::feed_forward T>
struct feed_forward : binding<part::feed_forward, T> {};
/// Which experts a token goes to.
template <is::router T>
struct router : binding<part::router, T> {};
/// How many experts a token goes to.
template <is::experts_used T>
struct experts_used : binding<part::experts_used, T> {};
/// The dense branch beside the experts.
template <is::dense_branch T>
struct dense_branch : binding<part::dense_branch, T> {};
/// Norms behind attention and feed-forward, before the residual is added.
template <is::norm T>
struct post_norms : binding<part::post_norms, T> {};
/// Number that multiplies the residual stream after a block.
template <is::layer_scalar T>
struct layer_scalar : binding<part::layer_scalar, T> {};
/// Cap on the logits.
template <is::softcap T>
struct final_softcap : binding<part::final_softcap, T> {};
/// What happens to the weight matrices at load.
template <is::weights T>
struct weights : binding<part::weights, T> {};
/// Code that reads or changes activations.
template <is::probe T>
struct probe : binding<part::probe, T> {};
/// What runs the loops of kernels and layers.
template <is::executor T>
struct executor : binding<part::executor, T> {};

} // namespace loupe::slot
