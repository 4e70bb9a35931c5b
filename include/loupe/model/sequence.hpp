// The state of one sequence: what has been read so far. The model itself has none.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/layer/context.hpp>
#include <loupe/layer/kv_cache.hpp>
#include <loupe/layer/pruning.hpp>

#include <string>
#include <vector>

namespace loupe {

/// Caches and the probe of one sequence. Made by decoder::start().
template <class Probe>
struct sequence {
    index_t length = 0;           ///< positions read so far
    std::vector<kv_cache> caches; ///< one per block; empty for blocks that read a donor's
    pruning_state pruning;
    bool prunes = false;
    rope_table rope_sliding, rope_full;
    Probe probe{};

    /// Forgets everything from `position` on. An error if the caches no longer hold what a query there would see.
    void rewind(index_t position) {
        if (position < 0 || position > length) {
            throw error("rewind: expected a position between 0 and " + std::to_string(length) + ", found " + std::to_string(position));
        }
        if (position == length) return;
        if (prunes && position != 0) {
            throw error("rewind: the sequence has been pruned at " + std::to_string(length) +
                        " positions, what was dropped cannot come back");
        }
        for (std::size_t i = 0; i < caches.size(); ++i) {
            if (position != 0 && !caches[i].can_rewind(position)) {
                throw error("rewind: block " + std::to_string(i) + " holds positions from " + std::to_string(caches[i].oldest()) +
                            " on, a query at " + std::to_string(position) + " would need earlier ones");
            }
        }
        if (position == 0) pruning = {};
        length = position;
    }

    /// Bytes of all caches.
    index_t cache_bytes() const {
        index_t n = 0;
        for (const kv_cache& c : caches) n += c.bytes();
        return n;
    }
};

} // namespace loupe
