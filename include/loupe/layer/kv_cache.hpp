// Keys and values of one block for the positions that later queries may see.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/types.hpp>

#include <algorithm>
#include <span>

namespace loupe {

/// Rows of keys (after norm and rope) and of values (after norm), each [kv heads · D]. Either grows with the sequence, or keeps the first
/// `sinks` positions and a ring of the last ones: then position p ≥ sinks lies in row sinks + (p − sinks) mod ring.
class kv_cache {
    index_t width_ = 0, sinks_ = 0, reach_ = 0, ring_ = 0, rows_ = 0;
    index_t oldest_ = 0; ///< first position beyond the sinks that has not been overwritten; a rewind brings nothing back
    aligned_vector<float> keys_, values_;

    void resize(index_t rows) {
        rows_ = rows;
        keys_.resize(static_cast<std::size_t>(rows * width_));
        values_.resize(static_cast<std::size_t>(rows * width_));
    }

  public:
    kv_cache() = default;
    /// `reach`: positions that a query sees at most, its own included, beside the sinks; 0 for all.
    kv_cache(index_t width, index_t sinks, index_t reach) : width_(width), sinks_(reach == 0 ? 0 : sinks), reach_(reach) {}

    index_t width() const { return width_; }
    /// Row of a position that is held.
    index_t row(index_t position) const { return ring_ == 0 || position < sinks_ ? position : sinks_ + (position - sinks_) % ring_; }
    float* key(index_t position) { return keys_.data() + row(position) * width_; }
    float* value(index_t position) { return values_.data() + row(position) * width_; }
    void write(index_t position, std::span<const float> key_row, std::span<const float> value_row) {
        std::copy(key_row.begin(), key_row.end(), key(position));
        std::copy(value_row.begin(), value_row.end(), value(position));
    }
    const float* keys() const { return keys_.data(); }
    const float* values() const { return values_.data(); }
    index_t bytes() const { return 2 * rows_ * width_ * static_cast<index_t>(sizeof(float)); }

    /// Makes room for `count` positions after the first `length`, keeping what their queries may see.
    void make_room(index_t length, index_t count) {
        if (reach_ == 0) {
            if (length + count > rows_) resize(std::max(length + count, rows_ + rows_ / 2));
            return;
        }
        if (length == 0) oldest_ = 0;
        const index_t needed = reach_ - 1 + count;
        if (needed > ring_) enlarge(needed, length);
        oldest_ = std::max(oldest_, length + count - ring_);
    }

    /// Makes room for those of the first `length` ≥ 1 positions that would be held if they had been read one by one.
    void make_room_for_past(index_t length) {
        if (reach_ == 0) return make_room(0, length);
        make_room(0, 1);
        make_room(length - 1, 1);
    }

    /// The first position beyond the sinks that is still held.
    index_t oldest() const { return reach_ == 0 ? 0 : std::max(sinks_, oldest_); }
    /// Whether a position that has been read is held.
    bool holds(index_t position) const { return position < sinks_ || position >= oldest(); }
    /// Whether a query at `position` finds all it may see.
    bool can_rewind(index_t position) const { return reach_ == 0 || std::max(sinks_, position - reach_ + 1) >= oldest_; }

  private:
    /// A larger chunk than ever before: lays the held positions out anew in a larger ring.
    void enlarge(index_t ring, index_t length) {
        kv_cache larger(width_, sinks_, reach_);
        larger.ring_ = ring;
        larger.oldest_ = oldest_;
        larger.resize(sinks_ + ring);
        for (index_t p = 0; p < length; ++p) {
            if (p >= sinks_ && p < std::max(oldest_, length - ring)) continue;
            std::copy_n(key(p), width_, larger.key(p));
            std::copy_n(value(p), width_, larger.value(p));
        }
        *this = std::move(larger);
    }
};

} // namespace loupe
