// Which tokens of a sequence have been dropped: the state behind slot::prune.
#pragma once

#include <loupe/core/types.hpp>
#include <loupe/core/view.hpp>

#include <limits>
#include <vector>

namespace loupe {

/// A pruning policy as functions, see is::pruning.
struct pruning_rule {
    index_t first_block = 0;
    index_t recent = 1;
    index_t (*budget)(index_t tokens) = nullptr;
    double (*score)(index_t key, double received, index_t queries) = nullptr;

    template <class Prune>
    static pruning_rule of(index_t first_full_block) {
        return {Prune::first_block(first_full_block), Prune::recent, [](index_t n) { return static_cast<index_t>(Prune::budget(n)); },
                [](index_t key, double received, index_t queries) { return static_cast<double>(Prune::score(key, received, queries)); }};
    }
};

/// For every position so far, the attention it received and the query at which it was dropped.
class pruning_state {
    static constexpr index_t never = std::numeric_limits<index_t>::max();
    std::vector<double> received_;
    std::vector<index_t> dropped_at_;
    index_t alive_ = 0;

  public:
    /// Whether the query still sees the key.
    bool sees(index_t query, index_t key) const { return key == query || dropped_at_[static_cast<std::size_t>(key)] > query; }

    /// Takes the next query's attention (one value for each of its keys 0 … query, summed over heads) and drops down to the budget.
    void advance(const pruning_rule& rule, index_t query, std::span<const float> attention) {
        received_.push_back(0);
        dropped_at_.push_back(never);
        ++alive_;
        for (std::size_t key = 0; key < attention.size(); ++key) received_[key] += attention[key];
        for (const index_t budget = std::max(rule.recent, rule.budget(query + 1)); alive_ > budget; --alive_) {
            double lowest = std::numeric_limits<double>::infinity();
            index_t worst = -1;
            for (index_t key = 0; key <= query - rule.recent; ++key) {
                if (dropped_at_[static_cast<std::size_t>(key)] != never) continue;
                const double score = rule.score(key, received_[static_cast<std::size_t>(key)], query - key + 1);
                if (worst < 0 || score < lowest) { // one goes even if no score is a finite number
                    lowest = score;
                    worst = key;
                }
            }
            dropped_at_[static_cast<std::size_t>(worst)] = query;
        }
    }
};

} // namespace loupe
