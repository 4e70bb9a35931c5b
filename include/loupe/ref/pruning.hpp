// Which tokens later blocks no longer see (policy/prune.hpp; after H2O, Zhang et al. 2306.14048).
//
//   for every query q in turn: alive ← alive ∪ {q}; received[k] += Σ over blocks before first_block and heads of p[q, k], k ≤ q
//   while |alive| > max(recent, budget(q + 1)): drop the k ∈ alive, k ≤ q − recent, with the least score(k, received[k], q − k + 1)
//   q and every later query no longer see what has been dropped, in blocks from first_block on
#pragma once

#include <loupe/ref/matrix.hpp>

#include <algorithm>
#include <set>

namespace loupe::ref {

/// The tokens of one sequence that each query left alive.
template <class Prune, class T>
class pruning {
    std::vector<T> received_;
    std::vector<std::set<index_t>> alive_; ///< after each query

  public:
    /// Keys after the query have not been judged yet.
    bool sees(index_t query, index_t key) const { return key > query || alive_[static_cast<std::size_t>(query)].contains(key); }

    /// The next query's attention: one value for each position, summed over heads and blocks. What it gives to keys ahead, where images
    /// or a mask let it see some, does not count.
    void advance(std::span<const T> attention) {
        const auto query = static_cast<index_t>(alive_.size());
        std::set<index_t> alive = alive_.empty() ? std::set<index_t>{} : alive_.back();
        alive.insert(query);
        received_.push_back(T{0});
        for (std::size_t key = 0; key < received_.size(); ++key) received_[key] += attention[key];
        const auto score = [&](index_t key) {
            return static_cast<double>(Prune::score(key, static_cast<double>(received_[static_cast<std::size_t>(key)]), query - key + 1));
        };
        const auto budget = std::max<index_t>(Prune::recent, Prune::budget(query + 1));
        while (static_cast<index_t>(alive.size()) > budget) {
            const auto old = alive.upper_bound(query - Prune::recent); // sorted by position: the older one goes first among equals
            alive.erase(std::min_element(alive.begin(), old, [&](index_t a, index_t b) { return score(a) < score(b); }));
        }
        alive_.push_back(std::move(alive));
    }
};

} // namespace loupe::ref
