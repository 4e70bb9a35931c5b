// Values of slot::kv: what the cache of the full blocks keeps. And of slot::kv_sharing: whose keys and values the last blocks read.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>

#include <concepts>
#include <span>

namespace loupe {

namespace is {

/// A cache that keeps the first `T::sinks` positions and the last `T::length` ones (the query's own included); length 0 keeps all.
template <class T>
concept kv_policy = requires {
    { T::sinks } -> whole;
    typename constant<T::sinks>;
    { T::length } -> whole;
    typename constant<T::length>;
};

/// `T::donor(block, is_full, first_shared)`: the block whose keys and values this block reads; the block itself if it has its own.
/// `is_full` tells the kind of every block, blocks from `first_shared` on may have no key and value tensors. Must be constexpr: the
/// rules of a composition call it.
template <class T>
concept kv_sharing = requires(index_t block, std::span<const bool> is_full, index_t first_shared) {
    { T::donor(block, is_full, first_shared) } -> whole;
};

} // namespace is

namespace kv {

/// Everything is kept.
struct full {
    static constexpr index_t sinks = 0, length = 0;
};

/// The last Window positions, the query's own included.
template <index_t Window>
requires is::positive<Window>
struct window {
    static constexpr index_t sinks = 0, length = Window;
};

/// The first Sinks positions and the last Window ones (StreamingLLM, Xiao et al. 2309.17453), at their original positions.
template <index_t Sinks, index_t Window>
requires is::not_negative<Sinks> && is::positive<Window>
struct sink_window {
    static constexpr index_t sinks = Sinks, length = Window;
};

/// Whether a policy keeps `key` for `query`.
template <class Kv>
constexpr bool keeps(index_t query, index_t key) {
    return Kv::length == 0 || key < Kv::sinks || key > query - Kv::length;
}

} // namespace kv

namespace kv_sharing {

/// No donor of the right kind exists.
inline constexpr index_t no_donor = -1;

/// Blocks from `first_shared` on read the keys and values of the last block of their kind before it (Gemma 3n, Gemma 4 E2B and E4B).
struct last_of_kind {
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        if (block < first_shared) return block;
        for (index_t i = first_shared - 1; i >= 0; --i) {
            if (is_full[static_cast<std::size_t>(i)] == is_full[static_cast<std::size_t>(block)]) return i;
        }
        return no_donor;
    }
};

/// Every block has its own keys and values; only for checkpoints that hold them.
struct none {
    static constexpr index_t donor(index_t block, std::span<const bool>, index_t) { return block; }
};

} // namespace kv_sharing

} // namespace loupe
