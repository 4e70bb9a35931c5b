// The state of one sequence: what has been read so far. The model itself has none.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/random.hpp>
#include <loupe/layer/context.hpp>
#include <loupe/layer/kv_cache.hpp>
#include <loupe/layer/pruning.hpp>

#include <span>
#include <string>
#include <vector>

namespace loupe {

/// Keys and values that no text has: evenly spread, with mean 0 and mean square 1, as a norm without gain leaves them. They depend on the
/// seed, the block and the position alone.
struct made_up_rows {
    std::uint64_t seed = 1;

    void operator()(index_t block, index_t position, std::span<float> key, std::span<float> value) const {
        const std::uint64_t of_row = mixed(seed ^ mixed(static_cast<std::uint64_t>(block) << 40 | static_cast<std::uint64_t>(position)));
        constexpr float scale = 1.7320508F * 0x1p-31F; // √3 · [−1, 1)
        for (std::size_t i = 0; i < key.size(); ++i) {
            const std::uint64_t bits = mixed(of_row + i * 0x9e3779b97f4a7c15U);
            key[i] = static_cast<float>(static_cast<std::int32_t>(bits)) * scale;
            value[i] = static_cast<float>(static_cast<std::int32_t>(bits >> 32)) * scale;
        }
    }
};

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

    /// In place of what has been read: as if it had been `positions` tokens, with keys and values of made_up_rows{seed}. To measure how
    /// fast a model goes on at a depth that takes hours to read; what it says there means nothing. An error for models that prune, since
    /// nobody knows what they would have dropped.
    void make_up_past(index_t positions, std::uint64_t seed = 1) {
        if (positions < 0) throw error("a made-up past: expected 0 or more positions, found " + std::to_string(positions));
        if (prunes) throw error("a made-up past: expected a model that prunes no tokens, found one that does");
        rewind(0);
        std::vector<float> key, value;
        for (std::size_t i = 0; i < caches.size() && positions > 0; ++i) {
            kv_cache& c = caches[i];
            if (c.width() == 0) continue; // a donor's are read
            key.resize(static_cast<std::size_t>(c.width())), value.resize(key.size());
            c.make_room_for_past(positions);
            for (index_t p = 0; p < positions; ++p) {
                if (!c.holds(p)) continue;
                made_up_rows{seed}(static_cast<index_t>(i), p, key, value);
                c.write(p, key, value);
            }
        }
        length = positions;
    }

    /// Bytes of all caches.
    index_t cache_bytes() const {
        index_t n = 0;
        for (const kv_cache& c : caches) n += c.bytes();
        return n;
    }
};

} // namespace loupe
