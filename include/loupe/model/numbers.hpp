// What a composition says in numbers, and in functions from numbers to numbers. Checks and plans are made from these, so that their code is
// compiled once and not again for every composition.
#pragma once

#include <loupe/format/registry.hpp>
#include <loupe/layer/context.hpp>
#include <loupe/layer/pruning.hpp>
#include <loupe/model/slots.hpp>

#include <span>

namespace loupe {

/// The parts of a composition that are numbers. Functions are those of the parts, see the concepts of namespace `is`.
struct composition_numbers {
    const card* sizes = nullptr; ///< null: sizes of the file
    bool per_layer_input = false;
    bool has_experts = false;
    bool value_from_key = false;
    bool images_see_themselves = false;
    bool prunes = false;
    index_t kv_sinks = 0, kv_length = 0;
    const format::info* kv_format = nullptr;
    index_t (*mlp_width)(index_t stored, bool shares_kv) = nullptr;
    index_t (*experts_used)(index_t stored) = nullptr;
    index_t (*donor)(index_t block, std::span<const bool> is_full, index_t first_shared) = nullptr;
    index_t (*reach_sliding)(mask_sizes) = nullptr;
    index_t (*reach_full)(mask_sizes) = nullptr;
    double (*embedding_scale)(index_t width, table_precision) = nullptr;
    double (*score_scale)(score_sizes) = nullptr;
    float (*layer_scalar)(float stored) = nullptr;
    rope_table (*rope_sliding)(rope_sizes) = nullptr;
    rope_table (*rope_full)(rope_sizes) = nullptr;
    pruning_rule (*pruning)(index_t first_full_block) = nullptr;
};

namespace detail {

// A part's function under one signature: parts may return whatever converts. Templates of the part alone, shared by all that hold it.
template <class T>
index_t mlp_width(index_t stored, bool shares_kv) {
    return T::width(stored, shares_kv);
}
template <class T>
index_t experts_used(index_t stored) {
    return T::count(stored);
}
template <class T>
index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
    return T::donor(block, is_full, first_shared);
}
template <class T>
index_t reach(mask_sizes sizes) {
    return T::reach(sizes);
}
template <class T>
double embedding_scale(index_t width, table_precision precision) {
    return T::factor(width, precision);
}
template <class T>
double score_scale(score_sizes sizes) {
    return T::factor(sizes);
}
template <class T>
float layer_scalar(float stored) {
    return T::value(stored);
}

template <class Sizes>
constexpr const card* card_of() {
    if constexpr (is::card_type<Sizes>) {
        return &static_cast<const card&>(Sizes::value);
    } else {
        return nullptr;
    }
}

} // namespace detail

/// The numbers of composition M.
template <is::model M>
inline constexpr composition_numbers numbers_of{
    .sizes = detail::card_of<part_of<M, part::sizes>>(),
    .per_layer_input = part_of<M, part::per_layer_input>::enabled,
    .has_experts = part_of<M, part::feed_forward>::has_experts,
    .value_from_key = part_of<M, part::value_full>::from_key,
    .images_see_themselves = part_of<M, part::image_mask>::sees_block,
    .prunes = part_of<M, part::prune>::enabled,
    .kv_sinks = part_of<M, part::kv>::sinks,
    .kv_length = part_of<M, part::kv>::length,
    .kv_format = &format::info_of<part_of<M, part::kv_format>>(),
    .mlp_width = detail::mlp_width<part_of<M, part::feed_forward>>,
    .experts_used = detail::experts_used<part_of<M, part::experts_used>>,
    .donor = detail::donor<part_of<M, part::kv_sharing>>,
    .reach_sliding = detail::reach<part_of<M, part::mask_sliding>>,
    .reach_full = detail::reach<part_of<M, part::mask_full>>,
    .embedding_scale = detail::embedding_scale<part_of<M, part::embedding_scale>>,
    .score_scale = detail::score_scale<part_of<M, part::score_scale>>,
    .layer_scalar = detail::layer_scalar<part_of<M, part::layer_scalar>>,
    .rope_sliding = rope_table::of<part_of<M, part::rope_sliding>>,
    .rope_full = rope_table::of<part_of<M, part::rope_full>>,
    .pruning = pruning_rule::of<part_of<M, part::prune>>,
};

} // namespace loupe
