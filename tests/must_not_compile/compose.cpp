// Compositions from scratch: a slot that is empty, filled twice, or none of the model's; a rule that is broken.
//
// A message repeats the parts that were written, which are 28 here and make up most of it: at most 40 lines.
#include <loupe/model/nano.hpp>

using namespace loupe;

struct my_part {
    static constexpr std::string_view name = "my_part";
};
template <class T>
struct my_slot : binding<my_part, T> {};

using slot::k_norm;
using slot::q_norm;

// clang-format off
using empty = compose<slot::sizes<nano::a_card>, slot::embedding_scale<scale::sqrt_width>, slot::per_layer_input<per_layer_input::off>, slot::rope_sliding<rope::standard>, slot::rope_full<rope::proportional<>>, slot::mask_sliding<mask::sliding<>>, slot::mask_full<mask::causal>, slot::image_mask<image_mask::within_image>, slot::score_scale<scale::stored>, slot::attention_softcap<softcap::none>, slot::q_norm<norm::rms>, k_norm<norm::rms>, slot::v_norm<norm::rms_without_gain>, slot::value_full<value::key>, slot::kv_sharing<kv_sharing::last_of_kind>, slot::kv<kv::full>, slot::kv_format<format::f32>, slot::prune<prune::none>, slot::activation<activation::gelu_tanh>, slot::feed_forward<feed_forward::gated>, slot::router<router::softmax_top_k>, slot::experts_used<experts_used::stored>, slot::dense_branch<dense_branch::on>, slot::post_norms<norm::rms>, slot::layer_scalar<layer_scalar::stored>, slot::final_softcap<softcap::stored>, slot::weights<weights::as_stored>, slot::probe<probe::none>, slot::executor<threading::pool>>; // k_norm -> q_norm, says: slot_is_empty<.*part::k_norm
using foreign = compose<slot::sizes<nano::a_card>, slot::embedding_scale<scale::sqrt_width>, slot::per_layer_input<per_layer_input::off>, slot::rope_sliding<rope::standard>, slot::rope_full<rope::proportional<>>, slot::mask_sliding<mask::sliding<>>, slot::mask_full<mask::causal>, slot::image_mask<image_mask::within_image>, slot::score_scale<scale::stored>, slot::attention_softcap<softcap::none>, slot::q_norm<norm::rms>, k_norm<norm::rms>, slot::v_norm<norm::rms_without_gain>, slot::value_full<value::key>, slot::kv_sharing<kv_sharing::last_of_kind>, slot::kv<kv::full>, slot::kv_format<format::f32>, slot::prune<prune::none>, slot::activation<activation::gelu_tanh>, slot::feed_forward<feed_forward::gated>, slot::router<router::softmax_top_k>, slot::experts_used<experts_used::stored>, slot::dense_branch<dense_branch::on>, slot::post_norms<norm::rms>, slot::layer_scalar<layer_scalar::stored>, slot::final_softcap<softcap::stored>, slot::weights<weights::as_stored>, slot::probe<probe::none>, slot::executor<threading::pool>>; // k_norm -> my_slot, says: this_is_no_name_of_a_slot
using unsound = compose<slot::sizes<nano::a_card>, slot::embedding_scale<scale::sqrt_width>, slot::per_layer_input<per_layer_input::off>, slot::rope_sliding<rope::standard>, slot::rope_full<rope::proportional<>>, slot::mask_sliding<mask::sliding<>>, slot::mask_full<mask::causal>, slot::image_mask<image_mask::within_image>, slot::score_scale<scale::stored>, slot::attention_softcap<softcap::none>, slot::q_norm<norm::rms>, k_norm<norm::rms>, slot::v_norm<norm::rms_without_gain>, slot::value_full<value::key>, slot::kv_sharing<kv_sharing::last_of_kind>, slot::kv<kv::full>, slot::kv_format<format::f32>, slot::prune<prune::none>, slot::activation<activation::gelu_tanh>, slot::feed_forward<feed_forward::gated>, slot::router<router::softmax_top_k>, slot::experts_used<experts_used::stored>, slot::dense_branch<dense_branch::on>, slot::post_norms<norm::rms>, slot::layer_scalar<layer_scalar::stored>, slot::final_softcap<softcap::stored>, slot::weights<weights::as_stored>, slot::probe<probe::none>, slot::executor<threading::pool>>; // off -> on, says: per_layer_inputs_without_a_width<0>
