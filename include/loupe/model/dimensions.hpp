// Sizes of a model: as a constant table (card), and as what a decoder works with (dimensions), from a card or from a file.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>
#include <loupe/policy/rope.hpp>

#include <array>
#include <concepts>
#include <string>
#include <vector>

namespace loupe {

/// The numbers of a model card. Every block but the full ones is a sliding one; block i is full if i % period == period − 1.
struct card {
    const char* name = "";
    const char* family = "gemma4"; ///< or "gemma3"
    index_t vocabulary = 262144;
    index_t blocks = 0;
    index_t period = 1; ///< 5: four sliding blocks, one full
    index_t width = 0;
    index_t heads = 0;
    index_t kv_heads_sliding = 0;
    index_t kv_heads_full = 0;
    index_t head_width_sliding = 256;
    index_t head_width_full = 256;
    index_t mlp_width = 0;
    index_t window = 0;
    index_t per_layer_width = 0;  ///< 0: no per-layer inputs
    index_t kv_shared_blocks = 0; ///< blocks at the end that read another block's keys and values
    index_t experts = 0;
    index_t experts_used = 0;
    index_t expert_width = 0;
    index_t context = 0; ///< positions that the model was made for; nothing refuses more
    double theta_sliding = 10000;
    double theta_full = 1000000;
    double rope_share_full = 1;  ///< rotated share of the pairs
    double rope_factor_full = 1; ///< position interpolation
    double score_scale = 1;      ///< factor on q·k
    double attention_cap = 0;    ///< 0: none
    double final_cap = 0;        ///< 0: none
    double epsilon = 1e-6;

    constexpr bool is_full(index_t block) const { return block % period == period - 1; }
};

/// Sizes that only the file knows.
struct sizes_of_file {};

namespace detail {

struct any_card {
    static constexpr card value{};
};

} // namespace detail

namespace is {

/// A type with a constant `value` of type card.
template <class T>
concept card_type = requires {
    { T::value } -> std::same_as<const card&>;
    typename constant<T::value.blocks>;
};

/// A card, or `sizes_of_file`.
template <class T>
concept sizes = card_type<std::conditional_t<std::same_as<T, sizes_of_file>, detail::any_card, T>>;

} // namespace is

/// Sizes of one block.
struct block_dimensions {
    bool full = false;      ///< full attention; otherwise sliding
    bool shares_kv = false; ///< the model stores no keys and values of its own for it
    index_t head_width = 0;
    index_t kv_heads = 0;
    index_t mlp_width = 0;
};

/// Sizes of a whole decoder. Names are those of `card`.
struct dimensions {
    std::string family; ///< "gemma4" or "gemma3"
    index_t vocabulary = 0;
    index_t width = 0;
    index_t heads = 0;
    index_t window = 0;
    index_t per_layer_width = 0;
    index_t experts = 0;
    index_t experts_used = 0;
    index_t expert_width = 0;
    index_t context = 0;       ///< positions that the model was made for; nothing refuses more
    rope_sizes rope_sliding{}; ///< head_width is filled in per block
    rope_sizes rope_full{};
    double score_scale = 1;
    double attention_cap = 0;
    double final_cap = 0;
    double epsilon = 1e-6;
    bool images_see_themselves = false;   ///< mode "vision" of use_bidirectional_attention
    bool value_from_key = false;          ///< K = V on full blocks
    std::vector<token_id> placeholders{}; ///< ids of image and audio tokens: their per-layer input comes from row 0
    std::vector<block_dimensions> block{};

    index_t blocks() const { return static_cast<index_t>(block.size()); }
    const block_dimensions& operator[](index_t i) const { return block[static_cast<std::size_t>(i)]; }
    /// First block that stores no keys and values; blocks() if all do.
    index_t first_shared() const {
        index_t first = blocks();
        while (first > 0 && (*this)[first - 1].shares_kv) --first;
        return first;
    }
    /// First full block; blocks() if there is none.
    index_t first_full() const {
        index_t first = 0;
        while (first < blocks() && !(*this)[first].full) ++first;
        return first;
    }
};

} // namespace loupe
