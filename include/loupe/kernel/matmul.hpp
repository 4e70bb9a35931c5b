// y = x · Wᵀ for weights in any format.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/core/view.hpp>
#include <loupe/format/registry.hpp>
#include <loupe/kernel/dot_tile.hpp>
#include <loupe/kernel/quantized_rows.hpp>

#include <algorithm>
#include <utility>

namespace loupe::kernel {

/// Products of 8-bit integers with the matrices of one format, laid out for them in strips of `rows` rows; see kernel/packed.hpp.
struct integer_products {
    index_t rows;
    index_t (*strip_bytes)(index_t width);
    void (*pack)(const std::byte* blocks, index_t row_bytes, index_t count, index_t width, std::byte* strip);
    /// y[t · stride + r] for the 16, 4 or 1 tokens of a tile and all rows of a strip.
    void (*multiply)(const std::byte* strip, const quantized_chunk* x, index_t tokens, index_t width, float* y, index_t stride);
};

/// A weight matrix of shape [rows, width] in a file's format; rows follow each other without padding. Owns nothing.
struct weight_view {
    const format::info* format = nullptr;
    const std::byte* data = nullptr;
    index_t rows = 0;
    index_t width = 0;
    const integer_products* integers = nullptr; ///< null: products in float
    const std::byte* packed = nullptr;          ///< the same weights laid out for `integers`

    index_t row_bytes() const { return format->row_bytes(width); }
    /// `count` rows from row `first` on; of a packed matrix, both are multiples of a strip's rows.
    weight_view slice(index_t first, index_t count) const {
        return {format,   data + first * row_bytes(),
                count,    width,
                integers, packed == nullptr ? nullptr : packed + first / integers->rows * integers->strip_bytes(width)};
    }
    /// Row r as floats.
    void decode_row(index_t r, float* out) const { format->decode_row(data + r * row_bytes(), out, width); }
};

/// The matrix laid out for integer products with it.
inline aligned_vector<std::byte> pack(const weight_view& w, const integer_products& products, executor& threads) {
    const index_t strips = (w.rows + products.rows - 1) / products.rows, bytes = products.strip_bytes(w.width);
    aligned_vector<std::byte> packed(static_cast<std::size_t>(strips * bytes));
    threads.for_ranges(strips, 16, [&](index_t first, index_t last) {
        for (index_t s = first; s < last; ++s) {
            const index_t row = s * products.rows;
            products.pack(w.data + row * w.row_bytes(), w.row_bytes(), std::min(products.rows, w.rows - row), w.width,
                          packed.data() + s * bytes);
        }
    });
    return packed;
}

namespace detail {

template <int M, int N>
inline void tile(matrix_view<const float> x, index_t t, const float* w, index_t width, float* y, index_t y_stride) {
    std::array<const float*, M> xs;
    std::array<const float*, N> ws;
    for (int m = 0; m < M; ++m) xs[m] = x.data + (t + m) * x.stride;
    for (int n = 0; n < N; ++n) ws[n] = w + n * width;
    dot_tile<M, N>(xs, ws, width, y, y_stride);
}

/// `tokens` (at most tile_x) rows of x from t on, against `rows` decoded weight rows.
template <int M>
inline void tile_row(matrix_view<const float> x, index_t t, const float* w, index_t rows, index_t width, float* y, index_t y_stride) {
    index_t n = 0;
    for (; n + tile_w <= rows; n += tile_w) tile<M, tile_w>(x, t, w + n * width, width, y + n, y_stride);
    for (; n < rows; ++n) tile<M, 1>(x, t, w + n * width, width, y + n, y_stride);
}

template <int... Ms>
inline void tile_rest(index_t tokens, std::integer_sequence<int, Ms...>, matrix_view<const float> x, index_t t, const float* w,
                      index_t rows, index_t width, float* y, index_t y_stride) {
    (void)((tokens == Ms + 1 && (tile_row<Ms + 1>(x, t, w, rows, width, y, y_stride), true)) || ...);
}

/// The product with a packed matrix. Rows of x are rounded to 8 bits; a block of strips stays in the second-level cache while all tokens
/// pass over it.
inline void multiply_packed(const weight_view& w, matrix_view<const float> x, matrix_view<float> y, executor& threads) {
    thread_local quantized_rows rounded;
    rounded.fill(x, threads);
    const quantized_rows& from = rounded; // of this thread, whichever thread works on it
    const integer_products& with = *w.integers;
    const index_t bytes = with.strip_bytes(w.width), strips = (w.rows + with.rows - 1) / with.rows;
    const index_t block = std::clamp<index_t>(131072 / bytes, 1, std::max<index_t>(1, strips / (4 * threads.size())));
    threads.for_ranges(strips, block, [&](index_t begin, index_t end) {
        thread_local scratch<float> margin;
        for (; begin < end; begin += block) {
            const index_t last = std::min(end, begin + block);
            for (index_t t = 0; t < x.rows;) {
                const auto [first, tokens] = from.tile_of(t);
                for (index_t s = begin; s < last; ++s) {
                    const index_t row = s * with.rows, count = std::min(with.rows, w.rows - row);
                    float* const out = y.data + t * y.stride + row;
                    if (count == with.rows) {
                        with.multiply(w.packed + s * bytes, from.tile(first), tokens, w.width, out, y.stride);
                    } else { // a strip that ends beyond the matrix
                        float* const whole = margin.take(tokens * with.rows).data();
                        with.multiply(w.packed + s * bytes, from.tile(first), tokens, w.width, whole, with.rows);
                        for (index_t i = 0; i < tokens; ++i) std::copy_n(whole + i * with.rows, count, out + i * y.stride);
                    }
                }
                t = first + tokens;
            }
        }
    });
}

} // namespace detail

/// y[t, n] = Σ_k x[t, k] · w[n, k]; x is [tokens, width], y [tokens, rows]. Weight rows are decoded to float a panel at a time and used for
/// all tokens before the next panel. Every element of y is the same whatever the number of tokens and threads.
/// With a packed matrix the products are of 8-bit integers, otherwise of floats.
inline void matmul(const weight_view& w, matrix_view<const float> x, matrix_view<float> y, executor& threads) {
    if (w.packed != nullptr) return detail::multiply_packed(w, x, y, threads);
    // A panel stays in the second-level cache while all tokens pass over it.
    const index_t panel = std::clamp<index_t>(32768 / std::max<index_t>(1, w.width), 2 * tile_w, 64);
    // Floats are used where they lie, unless a file put them on an odd address.
    const bool in_place = w.format->id == 0 && reinterpret_cast<std::uintptr_t>(w.data) % alignof(float) == 0;
    threads.for_ranges(w.rows, panel, [&](index_t first, index_t last) {
        thread_local scratch<float> buffer;
        for (; first < last; first += panel) {
            const index_t rows = std::min(panel, last - first);
            const float* decoded = reinterpret_cast<const float*>(w.data + first * w.row_bytes());
            if (!in_place) {
                const std::span<float> out = buffer.take(rows * w.width);
                for (index_t r = 0; r < rows; ++r) w.decode_row(first + r, out.data() + r * w.width);
                decoded = out.data();
            }
            index_t t = 0;
            for (; t + tile_x <= x.rows; t += tile_x) {
                detail::tile_row<tile_x>(x, t, decoded, rows, w.width, y.data + t * y.stride + first, y.stride);
            }
            detail::tile_rest(x.rows - t, std::make_integer_sequence<int, tile_x - 1>{}, x, t, decoded, rows, w.width,
                              y.data + t * y.stride + first, y.stride);
        }
    });
}

} // namespace loupe::kernel
