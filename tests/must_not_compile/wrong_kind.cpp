// A part of another kind, for every slot: the message names the member that the slot asks for and the part does not have.
#include <loupe/model/nano.hpp>

using namespace loupe;

using sizes = with<nano::e, slot::kv<kv::window<8>>>;                                     // kv -> sizes, says: T::value
using embedding_scale = with<nano::e, slot::score_scale<scale::inverse_sqrt_head_width>>; // score_scale -> embedding_scale, says: factor
using per_layer_input = with<nano::a, slot::dense_branch<dense_branch::off>>;             // dense_branch -> per_layer_input, says: combine
using rope_sliding = with<nano::e, slot::mask_sliding<mask::causal>>;                     // mask_sliding -> rope_sliding, says: frequency
using rope_full = with<nano::e, slot::v_norm<norm::none>>;                                // v_norm -> rope_full, says: frequency
using mask_sliding = with<nano::e, slot::rope_sliding<rope::none>>;                       // rope_sliding -> mask_sliding, says: sees
using mask_full = with<nano::e, slot::image_mask<image_mask::within_image>>;              // image_mask -> mask_full, says: sees
using image_mask_ = with<nano::e, slot::mask_full<mask::sliding<8>>>;                     // mask_full -> image_mask, says: sees_block
using score_scale = with<nano::e, slot::layer_scalar<layer_scalar::one>>;                 // layer_scalar -> score_scale, says: factor
using attention_softcap = with<nano::e, slot::activation<activation::silu>>;              // activation -> attention_softcap, says: apply
using q_norm = with<nano::e, slot::final_softcap<softcap::none>>;                         // final_softcap -> q_norm, says: apply
using k_norm = with<nano::e, slot::activation<activation::relu2>>;                        // activation -> k_norm, says: apply
using v_norm = with<nano::a, slot::router<router::none>>;                                 // router -> v_norm, says: apply
using value_full = with<nano::a, slot::dense_branch<dense_branch::off>>;                  // dense_branch -> value_full, says: from_key
using kv_sharing_ = with<nano::e, slot::kv<kv::window<8>>>;                               // kv -> kv_sharing, says: donor
using kv_ = with<nano::e, slot::kv_sharing<kv_sharing::none>>;                            // kv_sharing -> kv, says: sinks
using kv_format_ = with<nano::e, slot::kv<kv::window<8>>>;                                // kv -> kv_format, says: F::id
using prune_ = with<nano::a, slot::dense_branch<dense_branch::off>>;                      // dense_branch -> prune, says: recent
using activation_ = with<nano::e, slot::attention_softcap<softcap::fixed<9>>>;            // attention_softcap -> activation, says: apply
using feed_forward_ = with<nano::e, slot::activation<activation::silu>>;                  // activation -> feed_forward, says: has_experts
using router_ = with<nano::a, slot::experts_used<experts_used::exactly<2>>>;              // experts_used -> router, says: uses_experts
using experts_used_ = with<nano::a, slot::router<router::sigmoid>>;                       // router -> experts_used, says: count
using dense_branch_ = with<nano::e, slot::value_full<value::key>>;                        // value_full -> dense_branch, says: enabled
using post_norms = with<nano::e, slot::rope_full<rope::none>>;                            // rope_full -> post_norms, says: apply
using layer_scalar_ = with<nano::e, slot::score_scale<scale::one>>;                       // score_scale -> layer_scalar, says: T::value
using final_softcap = with<nano::e, slot::post_norms<norm::none>>;                        // post_norms -> final_softcap, says: apply
using weights_ = with<nano::e, slot::prune<prune::received_attention<std::ratio<1, 2>>>>; // prune -> weights, says: prepare
using probe_ = with<nano::e, slot::kv<kv::window<8>>>;                                    // kv -> probe, says: watches
using executor_ = with<nano::e, slot::kv_sharing<kv_sharing::none>>;                      // kv_sharing -> executor, says: size\(\)
