// Keys or values of one head as a cache holds them, and how kernels come to read floats.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/types.hpp>
#include <loupe/format/floats.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace loupe::kernel {

/// Row r begins `r · stride` bytes behind `first`.
struct cached_rows {
    const std::byte* first;
    index_t stride;
    void (*decode)(const std::byte* from, float* to, index_t count);
    bool floats; ///< they are floats already

    static cached_rows of(matrix_view<const float> rows) {
        return {reinterpret_cast<const std::byte*>(rows.data), rows.stride * index_t{sizeof(float)}, format::f32::decode_row, true};
    }
    /// The first values of row r, as many as fit.
    void read(index_t r, std::span<float> to) const { decode(first + r * stride, to.data(), static_cast<index_t>(to.size())); }
};

/// Rows of floats: number r of `rows` begins at first + rows[r] · stride.
struct float_rows {
    const float* first;
    index_t stride;
    std::span<const index_t> rows;
};

/// Makes floats of rows for kernels: floats where they lie and all at once, others decoded, so few at a time that they stay in the nearest
/// cache until they have been used.
class row_reader {
    scratch<float> memory_;
    std::vector<index_t> in_order_; ///< 0, 1, 2 …

  public:
    /// Calls use(rows, j) with `width` values of the listed rows from the j-th on, until all had their turn.
    template <class Use>
    void for_pieces(const cached_rows& cached, index_t width, std::span<const index_t> rows, Use&& use, std::size_t decoded_at_once = 16) {
        const std::size_t most = cached.floats ? rows.size() : decoded_at_once;
        for (std::size_t j = 0; j < rows.size(); j += most) {
            use(some(cached, width, rows.subspan(j, std::min(most, rows.size() - j))), static_cast<index_t>(j));
        }
    }

  private:
    float_rows some(const cached_rows& cached, index_t width, std::span<const index_t> rows) {
        if (cached.floats) return {reinterpret_cast<const float*>(cached.first), cached.stride / index_t{sizeof(float)}, rows};
        while (in_order_.size() < rows.size()) in_order_.push_back(static_cast<index_t>(in_order_.size()));
        const auto decoded = memory_.take(static_cast<index_t>(rows.size()), width);
        for (std::size_t j = 0; j < rows.size(); ++j) cached.read(rows[j], decoded[static_cast<index_t>(j)]);
        return {decoded.data, width, std::span<const index_t>(in_order_).first(rows.size())};
    }
};

} // namespace loupe::kernel
