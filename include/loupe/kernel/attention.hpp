// Attention of the query heads that share one key head: over a list of cache rows with the weights kept, or block by block without.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/view.hpp>
#include <loupe/kernel/cached_rows.hpp>
#include <loupe/kernel/dot_tile.hpp>
#include <loupe/kernel/elementwise.hpp>

#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace loupe::kernel {

namespace detail {

template <int M>
inline void score_heads(const float* q, index_t q_stride, const float* keys, index_t key_stride, std::span<const index_t> rows,
                        index_t width, matrix_view<float> scores, index_t head) {
    std::array<const float*, M> qs;
    for (int m = 0; m < M; ++m) qs[m] = q + (head + m) * q_stride;
    const auto n = static_cast<index_t>(rows.size());
    const auto run = [&]<int N>(index_t j) {
        std::array<const float*, N> ks;
        for (int i = 0; i < N; ++i) ks[i] = keys + rows[j + i] * key_stride;
        dot_tile<M, N>(qs, ks, width, scores.data + head * scores.stride + j, scores.stride);
    };
    index_t j = 0;
    for (; j + tile_w <= n; j += tile_w) run.template operator()<tile_w>(j);
    for (; j < n; ++j) run.template operator()<1>(j);
}

} // namespace detail

/// scores[h, j] = q[h] · key[rows[j]] for all heads h; q is [heads, width], a cache row r begins at keys + r · key_stride.
inline void attention_scores(matrix_view<const float> q, const float* keys, index_t key_stride, std::span<const index_t> rows,
                             matrix_view<float> scores) {
    index_t h = 0;
    for (; h + 4 <= q.rows; h += 4) detail::score_heads<4>(q.data, q.stride, keys, key_stride, rows, q.width, scores, h);
    for (; h + 2 <= q.rows; h += 2) detail::score_heads<2>(q.data, q.stride, keys, key_stride, rows, q.width, scores, h);
    for (; h < q.rows; ++h) detail::score_heads<1>(q.data, q.stride, keys, key_stride, rows, q.width, scores, h);
}

/// out[h] = Σ_j probs[h, j] · value[rows[j]], summed in the order of j.
inline void attention_mix(matrix_view<const float> probs, const float* values, index_t value_stride, std::span<const index_t> rows,
                          matrix_view<float> out) {
    using simd::floats;
    constexpr index_t columns = 4; // batches of a value row held in registers
    for (index_t h = 0; h < out.rows; ++h) {
        const float* p = probs.data + h * probs.stride;
        float* y = out.data + h * out.stride;
        index_t d = 0;
        for (; d + columns * simd::width <= out.width; d += columns * simd::width) {
            std::array<floats, columns> sum;
            sum.fill(floats(0.0F));
            for (std::size_t j = 0; j < rows.size(); ++j) {
                const floats weight(p[j]);
                const float* v = values + rows[j] * value_stride + d;
#pragma GCC unroll 8
                for (index_t c = 0; c < columns; ++c) sum[c] = xsimd::fma(weight, floats::load_unaligned(v + c * simd::width), sum[c]);
            }
#pragma GCC unroll 8
            for (index_t c = 0; c < columns; ++c) sum[c].store_unaligned(y + d + c * simd::width);
        }
        for (; d + simd::width <= out.width; d += simd::width) {
            floats sum(0.0F);
            for (std::size_t j = 0; j < rows.size(); ++j) {
                sum = xsimd::fma(floats(p[j]), floats::load_unaligned(values + rows[j] * value_stride + d), sum);
            }
            sum.store_unaligned(y + d);
        }
        for (; d < out.width; ++d) {
            float sum = 0;
            for (std::size_t j = 0; j < rows.size(); ++j) sum += p[j] * values[rows[j] * value_stride + d];
            y[d] = sum;
        }
    }
}

/// Positions of keys that are looked at together. A block begins at a multiple of this position, whatever the chunk: so do its sums.
inline constexpr index_t key_block = 64;
/// Positions whose sums are kept apart: what threads share when one query looks back far.
inline constexpr index_t key_span = 1024;

/// Softmax-weighted sums of values for some rows of queries, block by block of keys, without ever holding all weights
/// (online softmax, Milakov & Gimelshein 1805.02867; FlashAttention, Dao et al. 2205.14135):
///
///   m' = max(m, max_j s_j),  l' = l e^(m − m') + Σ_j e^(s_j − m'),  y' = y e^(m − m') + Σ_j e^(s_j − m') v_j,  at the end y / l
///
/// A key that a row does not see changes none of its bits, so rows may be computed beside any others, while values are finite: its weight
/// is 0, and 0 · ∞ is no number.
class alignas(64) attention_sums { // threads work on neighbours
    index_t rows_ = 0, width_ = 0;
    std::vector<float> largest_, total_;
    scratch<float> queries_, sums_, scores_;
    row_reader reader_;
    coming_rows coming_; // asked for meanwhile

  public:
    /// The score of a key that is not seen.
    static constexpr float unseen = -std::numeric_limits<float>::infinity();

    /// No keys yet, for add_scored(): no queries.
    void start(index_t rows, index_t width) {
        rows_ = rows, width_ = width;
        largest_.assign(static_cast<std::size_t>(rows), unseen);
        total_.assign(static_cast<std::size_t>(rows), 0.0F);
        const auto sums = sums_.take(rows * width);
        std::fill(sums.begin(), sums.end(), 0.0F);
    }
    /// No keys yet; q[r] is row r's query, `width` values.
    void start(std::span<const float* const> q, index_t width) {
        start(std::ssize(q), width);
        float* const to = queries_.take(rows_ * width).data();
        for_rows<rows_of_query>(
            [&]<int M>(index_t r) { rows_in_turns<M>::pack(q.subspan(static_cast<std::size_t>(r), M), width, to + r * width); });
    }

    /// Keys of one block, for the queries of start(): key and value j, `width` values each, lie in row `rows[j]` of the cache, at most
    /// key_block of them; bit j of visible[r] says whether row r's query sees it. Scores are scaled, then go through `SoftCap`.
    template <class SoftCap>
    void add(const cached_rows& keys, const cached_rows& values, std::span<const index_t> rows, std::span<const std::uint64_t> visible,
             float scale, float cap) {
        const auto n = static_cast<index_t>(rows.size());
        const auto scores = scores_.take(rows_, key_block);
        coming_ = coming_rows(values, rows.front(), n, n * rows_ * width_);
        reader_.for_pieces(
            keys, width_, rows, [&](const float_rows& some, index_t j) { score(some, scores.data + j); }, rows.size(),
            row_reader::few(width_));
        for (index_t r = 0; r < rows_; ++r) {
            const std::span<float> row = scores[r];
            kernel::scale(row.first(static_cast<std::size_t>(n)), scale);
            kernel::softcap<SoftCap>(row.first(static_cast<std::size_t>(n)), cap);
            const std::uint64_t seen = visible[static_cast<std::size_t>(r)];
            if (seen != ~std::uint64_t{0}) {
                for (index_t j = 0; j < n; ++j) {
                    if ((seen >> j & 1) == 0) row[static_cast<std::size_t>(j)] = unseen;
                }
            }
            std::fill(row.begin() + n, row.end(), unseen);
        }
        coming_ = coming_rows(keys, rows.back() + 1, key_block, n * rows_ * width_);
        add_scored(scores, values, rows);
        coming_ = {};
    }

    /// The same for scores that are known, [rows, key_block], one row behind the other, `unseen` where a row does not see a key; they
    /// become weights. Any cache row will do for a key that no row sees.
    void add_scored(matrix_view<float> scores, const cached_rows& values, std::span<const index_t> rows) {
        for (index_t r = 0; r < rows_; ++r) weigh(r, scores[r]);
        const std::size_t floats_at_once = rows_ <= 4 ? 8 : rows.size(); // where memory sets the pace, in the order in which they come
        reader_.for_pieces(
            values, width_, rows, [&](const float_rows& some, index_t j) { mix(scores.data + j, some); }, floats_at_once,
            row_reader::few(width_));
    }

    /// The sums of later keys.
    void merge(const attention_sums& later) {
        for (index_t r = 0; r < rows_; ++r) {
            float &m = largest_[static_cast<std::size_t>(r)], &l = total_[static_cast<std::size_t>(r)];
            const float m2 = later.largest_[static_cast<std::size_t>(r)], l2 = later.total_[static_cast<std::size_t>(r)];
            if (l2 == 0) continue; // no key
            const float most = std::max(m, m2), mine = m == unseen ? 0.0F : std::exp(m - most), theirs = std::exp(m2 - most);
            const std::span<float> y = sums_.take(rows_, width_)[r];
            kernel::scale(y, mine);
            kernel::add(y, {later.sums_.data() + r * width_, static_cast<std::size_t>(width_)}, theirs);
            l = l * mine + l2 * theirs;
            m = most;
        }
    }

    /// y of row r; zeros if it saw no key.
    void finish(index_t r, std::span<float> out) const {
        const float l = total_[static_cast<std::size_t>(r)];
        std::copy_n(sums_.data() + r * width_, width_, out.data());
        kernel::scale(out, l == 0 ? 0.0F : 1 / l); // of NaN, NaN
    }

  private:
    template <int... Ms>
    using at_once = std::integer_sequence<int, Ms...>;
    using rows_of_query = std::conditional_t<(tile_x > 4), at_once<tile_x, 4, 2, 1>, at_once<tile_x, 2, 1>>;
    using rows_of_sums = std::conditional_t<(simd::width >= 16), at_once<8, 4, 2, 1>, at_once<4, 2, 1>>;
    /// f<M>(r) for all rows, M from r on at a time: as many as AtOnce begins with, then fewer; eight queries are four and four, not six and
    /// two.
    template <class AtOnce>
    void for_rows(auto&& f) const {
        index_t r = 0;
        [&]<int... Ms>(at_once<Ms...>) {
            const auto run = [&]<int M>() {
                for (; r + M <= rows_ && !(M == 6 && r + 8 == rows_); r += M) f.template operator()<M>(r);
            };
            (run.template operator()<Ms>(), ...);
        }
        (AtOnce{});
    }

    /// scores[r · key_block + j] = q[r] · key j.
    void score(const float_rows& keys, float* scores) {
        const auto count = static_cast<index_t>(keys.rows.size());
        for (index_t j = 0; j < count; j += tile_w) {
            for_rows<rows_of_query>([&]<int M>(index_t r) { score_rows<M>(r, keys, j, std::min<index_t>(tile_w, count - j), scores); });
        }
    }
    template <int M>
    void score_rows(index_t r, const float_rows& keys, index_t j, index_t count, float* scores) {
        const rows_in_turns<M> q{queries_.data() + r * width_};
        const index_t lines = coming_.lines_beside(tile_w * simd::width * M);
        coming_rows coming = coming_;
        const auto run = [&]<int N>(index_t at) {
            std::array<const float*, N> k;
            for (int i = 0; i < N; ++i) k[i] = keys.first + keys.rows[static_cast<std::size_t>(at + i)] * keys.stride;
            dot_rows<M, N>(
                q, k, width_, scores + r * key_block + at, key_block, [&]() __attribute__((always_inline)) { coming.ask(lines); });
        };
        if (count == tile_w) {
            run.template operator()<tile_w>(j);
        } else {
            for (index_t i = 0; i < count; ++i) run.template operator()<1>(j + i);
        }
        coming_ = coming;
    }

    /// Scores of row r become weights e^(s − m'); what was summed so far is scaled to the new maximum. Weights that would be denormal
    /// numbers are 0: on Intel's processors each product with one takes as long as hundreds of others.
    void weigh(index_t r, std::span<float> row) {
        using simd::floats;
        static_assert(key_block % simd::width == 0);
        float &m = largest_[static_cast<std::size_t>(r)], &l = total_[static_cast<std::size_t>(r)];
        floats high(unseen);
        floats::batch_bool_type nothing(true);
        for (index_t j = 0; j < key_block; j += simd::width) {
            const floats s = floats::load_aligned(row.data() + j);
            nothing = nothing & (s == floats(unseen)); // not NaN, which a maximum may lose
            high = xsimd::max(high, s);
        }
        if (xsimd::all(nothing)) {
            std::fill(row.begin(), row.end(), 0.0F);
            return;
        }
        const float most = std::max(m, simd::largest(high));
        floats sum(0.0F);
        for (index_t j = 0; j < key_block; j += simd::width) {
            floats e = xsimd::exp(floats::load_aligned(row.data() + j) - floats(most));
            e = xsimd::select(e < floats(std::numeric_limits<float>::min()), floats(0.0F), e); // NaN stays
            e.store_aligned(row.data() + j);
            sum += e;
        }
        if (most != m) {
            const float earlier = m == unseen ? 0.0F : std::exp(m - most);
            kernel::scale(sums_.take(rows_, width_)[r], earlier);
            l *= earlier;
            m = most;
        }
        l += simd::sum(sum);
    }

    /// sums[r] += Σ_j weights[r · key_block + j] · value j, in the order of j.
    void mix(const float* weights, const float_rows& values) {
        float* const sums = sums_.take(rows_ * width_).data();
        for_rows<rows_of_sums>([&]<int M>(index_t r) { mix_rows<M>(weights + r * key_block, values, sums + r * width_); });
    }
    template <int M>
    void mix_rows(const float* weights, const float_rows& values, float* out) {
        constexpr int columns = M == 8 || simd::width < 16 ? 2 : 4; // registers: M · columns sums, a row's columns, one weight
        const index_t lines = coming_.lines_beside(columns * simd::width * M);
        index_t d = 0;
        for (; d + columns * simd::width <= width_; d += columns * simd::width) mix_columns<M, columns>(weights, values, d, out + d, lines);
        for (; d + simd::width <= width_; d += simd::width) mix_columns<M, 1>(weights, values, d, out + d, lines);
        for (; d < width_; ++d) {
            for (int m = 0; m < M; ++m) {
                float y = out[m * width_ + d];
                for (std::size_t j = 0; j < values.rows.size(); ++j) {
                    y = std::fma(weights[m * key_block + static_cast<index_t>(j)], values.first[values.rows[j] * values.stride + d], y);
                }
                out[m * width_ + d] = y;
            }
        }
    }
    template <int M, int Columns>
    __attribute__((always_inline)) void mix_columns(const float* weights, const float_rows& values, index_t d, float* out, index_t lines) {
        using simd::floats;
        std::array<std::array<floats, Columns>, M> y;
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
            for (int c = 0; c < Columns; ++c) y[m][c] = floats::load_unaligned(out + m * width_ + c * simd::width);
        }
        coming_rows coming = coming_;
        for (const index_t row : values.rows) {
            coming.ask(lines);
            const float* const v = values.first + row * values.stride + d;
            std::array<floats, Columns> x;
#pragma GCC unroll 8
            for (int c = 0; c < Columns; ++c) x[c] = floats::load_unaligned(v + c * simd::width);
#pragma GCC unroll 8
            for (int m = 0; m < M; ++m) {
                const floats weight(weights[m * key_block]);
#pragma GCC unroll 8
                for (int c = 0; c < Columns; ++c) y[m][c] = xsimd::fma(weight, x[c], y[m][c]);
            }
            ++weights;
        }
        coming_ = coming;
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
            for (int c = 0; c < Columns; ++c) y[m][c].store_unaligned(out + m * width_ + c * simd::width);
        }
    }
};

} // namespace loupe::kernel
