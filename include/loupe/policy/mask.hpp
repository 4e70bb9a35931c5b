// Values of slot::mask_sliding and slot::mask_full: which keys a query may see. And of slot::image_mask: what image blocks add.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>

#include <concepts>

namespace loupe {

/// What a mask may depend on.
struct mask_sizes {
    index_t window = 0; ///< the model's sliding window: keys a query sees, its own included
};

namespace is {

/// `T::sees(query, key, sizes)` for absolute positions; `T::reach(sizes)`: how many positions, counted back from the query's own, it can
/// see at most (a cache forgets what lies further back), 0 if there is no bound; `T::looks_ahead`: whether a query may see keys after it,
/// which only works if the sequence is run in one piece.
template <class T>
concept mask = requires(index_t query, index_t key, mask_sizes sizes) {
    { T::sees(query, key, sizes) } -> flag;
    { T::reach(sizes) } -> whole;
    { T::looks_ahead } -> flag;
    typename constant<T::looks_ahead>;
};

/// `T::sees_block` says whether all tokens of an image see each other.
template <class T>
concept image_mask = requires {
    { T::sees_block } -> flag;
    typename constant<T::sees_block>;
};

} // namespace is

namespace mask {

/// A window of the model's own size.
inline constexpr index_t window_of_model = 0;

/// Every key up to the query.
struct causal {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query; }
};

/// The last Window keys, the query's own included: query − W < key ≤ query.
template <index_t Window = window_of_model>
requires is::not_negative<Window>
struct sliding {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes sizes) { return Window == window_of_model ? sizes.window : Window; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes sizes) { return key <= query && key > query - reach(sizes); }
};

/// Causal within chunks of Chunk positions, blind to earlier chunks (Llama 4's local layers).
template <index_t Chunk>
requires is::positive<Chunk>
struct chunked {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return Chunk; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query && key / Chunk == query / Chunk; }
};

/// Keys on both sides: all of them (Reach < 0), or those at most Reach positions away.
template <index_t Reach = -1>
struct bidirectional {
    static constexpr bool looks_ahead = true;
    static constexpr index_t reach(mask_sizes) { return Reach < 0 ? 0 : Reach + 1; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) {
        return Reach < 0 || (key <= query + Reach && key >= query - Reach);
    }
};

} // namespace mask

namespace image_mask {

/// Image tokens are masked like any others (E2B, E4B, and every full block).
struct causal {
    static constexpr bool sees_block = false;
};

/// In sliding blocks the tokens of one image also see each other, as far back as the window reaches
/// (mode "vision" of 12B, 26B-A4B and 31B; transformers, create_masks_for_vision_model). Only where the model's file asks for it.
struct within_image {
    static constexpr bool sees_block = true;
};

} // namespace image_mask

} // namespace loupe
