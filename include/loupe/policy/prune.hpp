// Values of slot::prune: which tokens later blocks no longer see.
//
// Pruning is causal and final: after each query the tokens seen so far are cut down to the budget, the lowest score going first; a token
// that was dropped stays dropped for all later queries, in all blocks from `first_block` on, for every block that shares its keys. The
// newest tokens are kept whatever their score: a token just read has not been attended to yet, and dropping it at once hurts more than
// anything else.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>

#include <concepts>
#include <cstdint>
#include <ratio>

namespace loupe {

namespace is {

/// `T::enabled`; `T::recent` (at least 1): how many of the newest tokens are never dropped; `T::first_block(first_full_block)`: the first
/// block that does without the dropped tokens; `T::budget(tokens)`: how many of that many tokens are kept; `T::score(key, received,
/// queries)`: what the token at position `key` is worth after it has `received` that much attention (sum of probabilities over the heads of
/// all blocks before `first_block`) from `queries` queries: its own and the later ones. What earlier queries give it, where images or a
/// mask let them look ahead, does not count.
template <class T>
concept pruning = requires(index_t n, double received) {
    { T::enabled } -> flag;
    typename constant<T::enabled>;
    { T::recent } -> whole;
    { T::first_block(n) } -> whole;
    { T::budget(n) } -> whole;
    { T::score(n, received, n) } -> std::convertible_to<double>;
};

} // namespace is

namespace prune {

/// Pruning starts behind the model's first full block.
inline constexpr index_t after_first_full_block = -1;

/// The share that is dropped lies between 0 and 1.
template <class T>
concept dropped_share = is::ratio<T> &&(T::num > 0) && (T::num < T::den);

/// Block 0 has no block before it that could score the tokens.
template <index_t Block>
concept begins_behind_block_0 = (Block != 0) && (Block >= after_first_full_block);

namespace detail {

template <class Ratio, index_t FirstBlock, index_t Recent>
struct budgeted {
    static constexpr bool enabled = true;
    static constexpr index_t recent = Recent;
    static constexpr index_t first_block(index_t first_full_block) {
        return FirstBlock == after_first_full_block ? first_full_block + 1 : FirstBlock;
    }
    /// ⌈(1 − ratio) · tokens⌉
    static constexpr index_t budget(index_t tokens) { return ((Ratio::den - Ratio::num) * tokens + Ratio::den - 1) / Ratio::den; }
};

} // namespace detail

/// No token is dropped.
struct none {
    static constexpr bool enabled = false;
    static constexpr index_t recent = 1;
    static constexpr index_t first_block(index_t) { return 0; }
    static constexpr index_t budget(index_t tokens) { return tokens; }
    static constexpr double score(index_t, double, index_t) { return 0; }
};

/// Drops the share Ratio of the tokens that received least attention per query (after H2O, Zhang et al. 2306.14048, and FastV, Chen et al.
/// 2403.06764).
template <dropped_share Ratio, index_t FirstBlock = after_first_full_block, index_t Recent = 16>
requires begins_behind_block_0<FirstBlock> && is::positive<Recent>
struct received_attention : detail::budgeted<Ratio, FirstBlock, Recent> {
    static constexpr double score(index_t, double received, index_t queries) { return received / static_cast<double>(queries); }
};

/// Drops the same number of tokens, drawn at random: the control for any other score.
template <dropped_share Ratio, index_t FirstBlock = after_first_full_block, index_t Recent = 16, std::uint64_t Seed = 0>
requires begins_behind_block_0<FirstBlock> && is::positive<Recent>
struct random : detail::budgeted<Ratio, FirstBlock, Recent> {
    static constexpr double score(index_t key, double, index_t) {
        std::uint64_t z = (Seed + 1) * 0x9e3779b97f4a7c15ULL + static_cast<std::uint64_t>(key) * 0xd1342543de82ef95ULL;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL; // the finaliser of SplitMix64
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return static_cast<double>((z ^ (z >> 31)) >> 11);
    }
};

} // namespace prune

} // namespace loupe
