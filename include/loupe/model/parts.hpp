// The names of a decoder's slots: `part::x` is the name of slot x.
//
// A model's type leaves out what is usual, which is what E2B has. Nothing depends on which part is the usual one: compose<> asks for all
// parts, and it only keeps the types short that compilers print.
#pragma once

#include <loupe/core/threading.hpp>
#include <loupe/format/floats.hpp>
#include <loupe/model/dimensions.hpp>
#include <loupe/policy/activation.hpp>
#include <loupe/policy/branch.hpp>
#include <loupe/policy/kv.hpp>
#include <loupe/policy/mask.hpp>
#include <loupe/policy/norm.hpp>
#include <loupe/policy/probe.hpp>
#include <loupe/policy/prune.hpp>
#include <loupe/policy/rope.hpp>
#include <loupe/policy/router.hpp>
#include <loupe/policy/scale.hpp>
#include <loupe/policy/softcap.hpp>
#include <loupe/policy/weights.hpp>

#include <string_view>

namespace loupe::part {

struct sizes {
    static constexpr std::string_view name = "sizes";
    using usual = void; // every model has its own
};
struct embedding_scale {
    static constexpr std::string_view name = "embedding_scale";
    using usual = loupe::scale::sqrt_width;
};
struct per_layer_input {
    static constexpr std::string_view name = "per_layer_input";
    using usual = loupe::per_layer_input::on;
};
struct rope_sliding {
    static constexpr std::string_view name = "rope_sliding";
    using usual = loupe::rope::standard;
};
struct rope_full {
    static constexpr std::string_view name = "rope_full";
    using usual = loupe::rope::proportional<>;
};
struct mask_sliding {
    static constexpr std::string_view name = "mask_sliding";
    using usual = loupe::mask::sliding<>;
};
struct mask_full {
    static constexpr std::string_view name = "mask_full";
    using usual = loupe::mask::causal;
};
struct image_mask {
    static constexpr std::string_view name = "image_mask";
    using usual = loupe::image_mask::causal;
};
struct score_scale {
    static constexpr std::string_view name = "score_scale";
    using usual = loupe::scale::stored;
};
struct attention_softcap {
    static constexpr std::string_view name = "attention_softcap";
    using usual = loupe::softcap::none;
};
struct q_norm {
    static constexpr std::string_view name = "q_norm";
    using usual = loupe::norm::rms;
};
struct k_norm {
    static constexpr std::string_view name = "k_norm";
    using usual = loupe::norm::rms;
};
struct v_norm {
    static constexpr std::string_view name = "v_norm";
    using usual = loupe::norm::rms_without_gain;
};
struct value_full {
    static constexpr std::string_view name = "value_full";
    using usual = loupe::value::projected;
};
struct kv_sharing {
    static constexpr std::string_view name = "kv_sharing";
    using usual = loupe::kv_sharing::last_of_kind;
};
struct kv {
    static constexpr std::string_view name = "kv";
    using usual = loupe::kv::full;
};
struct kv_format {
    static constexpr std::string_view name = "kv_format";
    using usual = loupe::format::f32;
};
struct prune {
    static constexpr std::string_view name = "prune";
    using usual = loupe::prune::none;
};
struct activation {
    static constexpr std::string_view name = "activation";
    using usual = loupe::activation::gelu_tanh;
};
struct feed_forward {
    static constexpr std::string_view name = "feed_forward";
    using usual = loupe::feed_forward::gated_double_wide;
};
struct router {
    static constexpr std::string_view name = "router";
    using usual = loupe::router::softmax_top_k;
};
struct experts_used {
    static constexpr std::string_view name = "experts_used";
    using usual = loupe::experts_used::stored;
};
struct dense_branch {
    static constexpr std::string_view name = "dense_branch";
    using usual = loupe::dense_branch::on;
};
struct post_norms {
    static constexpr std::string_view name = "post_norms";
    using usual = loupe::norm::rms;
};
struct layer_scalar {
    static constexpr std::string_view name = "layer_scalar";
    using usual = loupe::layer_scalar::stored;
};
struct final_softcap {
    static constexpr std::string_view name = "final_softcap";
    using usual = loupe::softcap::stored;
};
struct weights {
    static constexpr std::string_view name = "weights";
    using usual = loupe::weights::as_stored;
};
struct probe {
    static constexpr std::string_view name = "probe";
    using usual = loupe::probe::none;
};
struct executor {
    static constexpr std::string_view name = "executor";
    using usual = loupe::threading::pool;
};

/// All of them, in the order in which they are told.
using all = type_list<sizes, embedding_scale, per_layer_input, rope_sliding, rope_full, mask_sliding, mask_full, image_mask, score_scale,
                      attention_softcap, q_norm, k_norm, v_norm, value_full, kv_sharing, kv, kv_format, prune, activation, feed_forward,
                      router, experts_used, dense_branch, post_norms, layer_scalar, final_softcap, weights, probe, executor>;

} // namespace loupe::part
