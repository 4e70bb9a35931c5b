// Keys and values of one block for the positions that later queries may see.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>
#include <loupe/format/floats.hpp>
#include <loupe/format/registry.hpp>
#include <loupe/kernel/cached_rows.hpp>

#include <algorithm>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <vector>

namespace loupe {

/// Rows of keys (after norm and rope) and of values (after norm), [kv heads, positions, D] in some format: what attention reads of a head
/// is one stream. Either grows with the sequence, or keeps the first `sinks` positions and a ring of the last ones: then position p ≥ sinks
/// lies in row sinks + (p − sinks) mod ring.
class kv_cache {
    /// Keys, or values. Of all heads as many rows as there is room for, of one behind those of another.
    class head_rows {
        aligned_vector<std::byte> bytes_;
        index_t rows_ = 0;

      public:
        std::byte* at(index_t head, index_t row, index_t row_bytes) { return bytes_.data() + (head * rows_ + row) * row_bytes; }
        const std::byte* first(index_t head, index_t row_bytes) const { return bytes_.data() + head * rows_ * row_bytes; }
        /// Room for more rows, in which the old ones stay what they are.
        void resize(index_t heads, index_t rows, index_t row_bytes) {
            head_rows more;
            more.bytes_.resize(static_cast<std::size_t>(heads * rows * row_bytes));
            more.rows_ = rows;
            const index_t kept = std::min(rows_, rows); // there may be more, if there was no memory for the others of keys and values
            for (index_t h = 0; h < heads; ++h) std::copy_n(first(h, row_bytes), kept * row_bytes, more.at(h, 0, row_bytes));
            *this = std::move(more);
        }
    };

    index_t heads_ = 0, head_width_ = 0, sinks_ = 0, reach_ = 0, ring_ = 0, largest_ring_ = 0, rows_ = 0;
    index_t oldest_ = 0; ///< first position beyond the sinks that has not been overwritten; a rewind brings nothing back
    static constexpr index_t endless = index_t{1} << 60; ///< a reach beyond any text, and far enough from overflow
    const format::info* format_ = &format::info_of<format::f32>();
    head_rows keys_, values_;

    index_t row_bytes() const { return format_->row_bytes(head_width_); } ///< of one head
    void resize(index_t rows) {
        if (rows > std::numeric_limits<index_t>::max() / std::max<index_t>(1, heads_) / std::max<index_t>(1, row_bytes()))
            throw std::bad_alloc();
        keys_.resize(heads_, rows, row_bytes());
        values_.resize(heads_, rows, row_bytes());
        rows_ = rows; // last: without memory for both, there are as many as before
    }

  public:
    kv_cache() = default;
    /// Of `heads` heads, each `head_width` values wide. `reach`: positions that a query sees at most, its own included, beside the sinks; 0
    /// for all. The format has an encoder, and its blocks divide D.
    kv_cache(index_t heads, index_t head_width, index_t sinks, index_t reach,
             const format::info& kv_format = format::info_of<format::f32>())
        : heads_(heads), head_width_(head_width), sinks_(reach == 0 ? 0 : sinks), reach_(std::min(reach, endless)), format_(&kv_format) {}

    index_t width() const { return heads_ * head_width_; }
    /// Row of a position that is held.
    index_t row(index_t position) const { return ring_ == 0 || position < sinks_ ? position : sinks_ + (position - sinks_) % ring_; }
    /// Brings key and value of a position, [heads · D] values each, into the cache's format.
    void write(index_t position, std::span<const float> key_row, std::span<const float> value_row) {
        const index_t to = row(position), bytes = row_bytes();
        for (index_t h = 0; h < heads_; ++h) {
            format_->encode_row(key_row.data() + h * head_width_, keys_.at(h, to, bytes), head_width_);
            format_->encode_row(value_row.data() + h * head_width_, values_.at(h, to, bytes), head_width_);
        }
    }
    /// Of one head, D values wide. An error if there is no such head.
    kernel::cached_rows keys(index_t head) const { return rows_of(keys_, head); }
    kernel::cached_rows values(index_t head) const { return rows_of(values_, head); }
    index_t bytes() const { return 2 * rows_ * heads_ * row_bytes(); }

    /// Makes room for `count` positions after the first `length`, keeping what their queries may see.
    void make_room(index_t length, index_t count) {
        if (reach_ == 0) {
            if (length + count > rows_) resize(std::max(length + count, rows_ + rows_ / 2));
            return;
        }
        if (length == 0) oldest_ = 0;
        const index_t largest = std::max(largest_ring_, reach_ - 1 + count);
        const index_t needed = std::min(largest, std::max<index_t>(1, length + count - sinks_)); // a window may exceed any text
        if (needed > ring_) enlarge(std::clamp(ring_ + ring_ / 2, needed, largest), length);
        largest_ring_ = largest;
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
    kernel::cached_rows rows_of(const head_rows& all, index_t head) const {
        if (head < 0 || head >= heads_)
            throw error("kv_cache: expected a head from 0 to " + std::to_string(heads_ - 1) + ", found " + std::to_string(head));
        return {all.first(head, row_bytes()), row_bytes(), format_};
    }

    /// More positions than ever before: lays those that are held out anew in a larger ring.
    void enlarge(index_t ring, index_t length) {
        kv_cache larger(heads_, head_width_, sinks_, reach_, *format_);
        larger.ring_ = ring;
        larger.oldest_ = oldest_;
        larger.resize(sinks_ + ring);
        // Rows that are not held have no weight, but a block of keys is read as a whole: zeros, whatever a format makes of empty bytes.
        const std::vector<float> zeros(static_cast<std::size_t>(width()));
        for (index_t p = 0; p < sinks_ + ring; ++p) larger.write(p, zeros, zeros);
        for (index_t p = 0; p < length; ++p) {
            if (p >= sinks_ && p < std::max(oldest_, length - ring)) continue;
            for (index_t h = 0; h < heads_; ++h) {
                std::copy_n(keys_.at(h, row(p), row_bytes()), row_bytes(), larger.keys_.at(h, larger.row(p), row_bytes()));
                std::copy_n(values_.at(h, row(p), row_bytes()), row_bytes(), larger.values_.at(h, larger.row(p), row_bytes()));
            }
        }
        *this = std::move(larger);
    }
};

} // namespace loupe
