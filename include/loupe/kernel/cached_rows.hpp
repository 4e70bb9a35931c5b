// Keys or values of one head as a cache holds them, and how kernels come to read floats.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/types.hpp>
#include <loupe/core/view.hpp>
#include <loupe/format/floats.hpp>
#include <loupe/format/registry.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace loupe::kernel {

/// Rows in some format: row r begins `r · stride` bytes behind `first`.
struct cached_rows {
    const std::byte* first;
    index_t stride;
    const format::info* format;

    static cached_rows of(matrix_view<const float> rows) {
        return {reinterpret_cast<const std::byte*>(rows.data), rows.stride * index_t{sizeof(float)}, &format::info_of<format::f32>()};
    }
    bool are_floats() const { return format == &format::info_of<format::f32>(); }
    /// The first values of row r, as many as fit.
    void read(index_t r, std::span<float> to) const { format->decode_row(first + r * stride, to.data(), static_cast<index_t>(to.size())); }
};

/// Cached rows that follow each other and are about to be read: asked for a few cache lines at a time, beside other work. They are often in
/// memory: one token's because all weights have passed by since the last one, a prompt's because they are many.
class coming_rows {
    std::uintptr_t next_ = 0;
    index_t lines_ = 0, left_ = 0, work_ = 1;

  public:
    coming_rows() = default;
    /// Rows [row, row + count), beside work of so many products. There may be fewer: what does not exist may be asked for.
    coming_rows(const cached_rows& cached, index_t row, index_t count, index_t products)
        : next_(reinterpret_cast<std::uintptr_t>(cached.first) + static_cast<std::uintptr_t>(row * cached.stride)),
          lines_((static_cast<index_t>(next_ % 64) + count * cached.stride + 63) / 64), left_(lines_),
          work_(std::max<index_t>(1, products)) {}

    /// The lines to ask for beside a step of so many of the products: rounded up, so that hardly any is left at the end.
    index_t lines_beside(index_t products) const { return (products * lines_ + work_ - 1) / work_; }
    /// Asks for the next `lines`.
    __attribute__((always_inline)) void ask(index_t lines) {
        if (left_ <= 0) return;
        for (left_ -= lines; lines > 0; --lines, next_ += 64) __builtin_prefetch(reinterpret_cast<const void*>(next_), 0, 2);
    }
};

/// Rows of floats: number r of `rows` begins at first + rows[r] · stride.
struct float_rows {
    const float* first;
    index_t stride;
    std::span<const index_t> rows;
};

/// Makes floats of rows for kernels: of floats where they lie, of others decoded, so few at a time that they stay in the nearest cache
/// until they have been used.
class row_reader {
    scratch<float> memory_;
    std::vector<index_t> in_order_; ///< 0, 1, 2 …

  public:
    /// Rows that fill half of a first-level cache, from eight to 64.
    static std::size_t few(index_t width) {
        return static_cast<std::size_t>(std::clamp<index_t>(4096 / std::max<index_t>(1, width) / 8 * 8, 8, 64));
    }

    /// Calls use(rows, j) with `width` values of the listed rows from the j-th on, at most so many at once, until all had their turn.
    template <class Use>
    void for_pieces(const cached_rows& cached, index_t width, std::span<const index_t> rows, Use&& use, std::size_t floats_at_once,
                    std::size_t decoded_at_once) {
        const std::size_t most = cached.are_floats() ? floats_at_once : decoded_at_once;
        for (std::size_t j = 0; j < rows.size(); j += most) {
            use(some(cached, width, rows.subspan(j, std::min(most, rows.size() - j))), static_cast<index_t>(j));
        }
    }

  private:
    float_rows some(const cached_rows& cached, index_t width, std::span<const index_t> rows) {
        if (cached.are_floats()) return {reinterpret_cast<const float*>(cached.first), cached.stride / index_t{sizeof(float)}, rows};
        while (in_order_.size() < rows.size()) in_order_.push_back(static_cast<index_t>(in_order_.size()));
        const auto decoded = memory_.take(static_cast<index_t>(rows.size()), width);
        for (std::size_t j = 0; j < rows.size(); ++j) cached.read(rows[j], decoded[static_cast<index_t>(j)]);
        return {decoded.data, width, std::span<const index_t>(in_order_).first(rows.size())};
    }
};

} // namespace loupe::kernel
