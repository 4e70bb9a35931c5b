// y = x · Wᵀ for weights in any format.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/compat/streaming.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/core/shared_tasks.hpp>
#include <loupe/core/view.hpp>
#include <loupe/format/registry.hpp>
#include <loupe/kernel/activation_rows.hpp>
#include <loupe/kernel/dot_tile.hpp>

#include <algorithm>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace loupe::kernel {

/// Some bundles of strips of a packed matrix, `apart` bytes from each to the next. The strips of a bundle lie interleaved, a few columns of
/// each in turn: one stream of bytes, for all of which activations are fetched once.
struct strip_set {
    const std::byte* first;
    index_t count, apart;
    index_t bundle = 1; ///< strips of each

    /// Their number, which must not exceed Most; a constant where that is 1.
    template <int Most>
    int count_up_to() const {
        return Most == 1 ? 1 : static_cast<int>(count);
    }
    /// f(a set of at most `Most` of them, the number of its first), for all.
    template <int Most>
    void for_each_of(auto&& f) const {
        for (index_t i = 0; i < count; i += Most) f(strip_set{first + i * apart, std::min<index_t>(Most, count - i), apart, bundle}, i);
    }
};

/// f.operator()<N>(t) for the N tokens from t on of a tile, all of its `tokens`, as many at once as the registers of Isa hold sums for.
template <class Isa>
inline void for_tokens_at_once(index_t tokens, auto&& f) {
    constexpr int most = Isa::rows >= 16 ? 8 : 4;
    if (tokens == 1) return f.template operator()<1>(0);
    if (tokens == 2) return f.template operator()<2>(0);
    for (index_t t = 0; t < tokens; t += most) tokens == 4 ? f.template operator()<4>(t) : f.template operator()<most>(t);
}

/// A sum of y, of which the columns before `first` have been added.
template <class Isa>
inline typename Isa::floats sum_so_far(const float* y, index_t first) {
    return first == 0 ? Isa::zero() : Isa::load_float(reinterpret_cast<const std::byte*>(y));
}

/// Products with the matrices of one format, laid out for them in strips of `rows` rows; see kernel/packed.hpp.
struct packed_products {
    index_t rows;
    activation_form x_form; ///< what x becomes, see activation_rows; form_of() where there are tiles
    index_t (*strip_bytes)(index_t width);
    /// Writes a bundle of so many strips, of `count` rows of the file's blocks; the rows that lack become zeros.
    void (*pack)(const std::byte* blocks, index_t row_bytes, index_t count, index_t width, std::byte* bundle, index_t strips);
    /// y[i · y_apart + t · stride + r] for the tokens of a tile and all rows of bundles i.
    void (*multiply)(const strip_set& strips, const std::byte* x, index_t tokens, index_t width, float* y, index_t stride, index_t y_apart);
    index_t bundle;  ///< strips that are best interleaved, at most
    index_t streams; ///< bundles that are best read side by side
    /// The same for a whole tile by a strip in the form that suits many tokens, from `expand_from` of them on. expand() writes that form of
    /// all strips of some bundles; null: it is the strip itself.
    index_t expand_from;
    index_t columns_at_once; ///< that all tokens pass over before the next, so that a tile of them stays in the first-level cache
    index_t strips_at_once;  ///< that a tile of tokens passes over once it is there, at most
    index_t (*expanded_bytes)(index_t width); ///< of a strip
    void (*expand)(const strip_set& strips, index_t width, std::byte* to) = nullptr;
    /// The product with columns [first, last) of `width`, which are all that the expanded strip holds, for a tile of tokens: adds to what
    /// y[t · stride + r] has of those before; y is complete with the last.
    void (*multiply_expanded)(const std::byte* strip, const std::byte* x, index_t first, index_t last, index_t width, float* y,
                              index_t stride);
    /// Columns [0, width) of a strip as tiles of bfloat16 (simd::tiles) for products of many tokens, with 2 KB between a term of a weight
    /// and the next, and between the last and the next 32 columns; null: there are none.
    void (*put_tiles)(const std::byte* strip, index_t width, std::byte* to) = nullptr;
    int tile_terms = 1; ///< bfloat16 whose sum is a weight: one, into which it is rounded, or as many as hold all its bits

    /// What x becomes for a product of as many tokens.
    activation_form form_of(index_t tokens, index_t width) const {
        const bool tiled = put_tiles != nullptr && tokens >= simd::tile_rows && width > 0 && width % simd::tile_columns == 0;
        return !tiled ? x_form : simd::x_terms_for(tile_terms) == 1 ? activation_form::bfloat_tiles : activation_form::split_tiles;
    }
};

/// A weight matrix of shape [rows, width] in a file's format; rows follow each other without padding. Owns nothing.
struct weight_view {
    const format::info* format = nullptr;
    const std::byte* data = nullptr;
    index_t rows = 0;
    index_t width = 0;
    const packed_products* products = nullptr; ///< null: rows are decoded and multiplied in float
    const std::byte* packed = nullptr;         ///< the same weights laid out for `products`
    index_t bundle = 1; ///< strips of it that lie interleaved; those that are left are fewer, an incomplete one is alone

    index_t row_bytes() const { return format->row_bytes(width); }
    /// `count` rows from row `first` on; of a packed matrix, both are multiples of a bundle's rows.
    weight_view slice(index_t first, index_t count) const {
        return {format,   data + first * row_bytes(),
                count,    width,
                products, packed == nullptr ? nullptr : packed + first / products->rows * products->strip_bytes(width),
                bundle};
    }
    /// Row r as floats.
    void decode_row(index_t r, float* out) const { format->decode_row(data + r * row_bytes(), out, width); }
};

/// A matrix with the products that it is to be laid out for; `packed` comes of pack().
inline weight_view for_products(weight_view w, const packed_products& products) {
    w.products = &products, w.bundle = products.bundle;
    return w;
}

/// Strips of a matrix that is laid out for products with it; the last one may end beyond it.
inline index_t packed_strips(const weight_view& w) { return (w.rows + w.products->rows - 1) / w.products->rows; }
/// Their bytes.
inline index_t packed_bytes(const weight_view& w) { return packed_strips(w) * w.products->strip_bytes(w.width); }

/// Lays a matrix out for its products, in bundles of w.bundle strips: writes all packed_bytes() at `to`, which begin on a cache line.
inline void pack(const weight_view& w, std::byte* to, executor& threads) {
    const packed_products& products = *w.products;
    const index_t bytes = products.strip_bytes(w.width), strips = packed_strips(w), whole = w.rows / products.rows;
    if (bytes == 0) return;
    const auto pack_bundle = [&](index_t first, index_t size) {
        const index_t row = first * products.rows;
        products.pack(w.data + row * w.row_bytes(), w.row_bytes(), std::min(size * products.rows, w.rows - row), w.width,
                      to + first * bytes, size);
    };
    threads.for_ranges((whole + w.bundle - 1) / w.bundle, std::max<index_t>(1, 16 / w.bundle), [&](index_t first, index_t last) {
        for (index_t s = first * w.bundle; s < std::min(whole, last * w.bundle); s += w.bundle)
            pack_bundle(s, std::min(w.bundle, whole - s));
    });
    if (whole < strips) pack_bundle(whole, 1);
}
inline aligned_vector<std::byte> pack(const weight_view& w, executor& threads) {
    aligned_vector<std::byte> packed(static_cast<std::size_t>(packed_bytes(w)));
    pack(w, packed.data(), threads);
    return packed;
}

namespace detail {

template <int M, int N>
inline void tile(matrix_view<const float> x, index_t t, const float* w, index_t stride, float* y, index_t y_stride) {
    std::array<const float*, M> xs;
    std::array<const float*, N> ws;
    for (int m = 0; m < M; ++m) xs[m] = x.data + (t + m) * x.stride;
    for (int n = 0; n < N; ++n) ws[n] = w + n * stride;
    dot_tile<M, N>(xs, ws, x.width, y, y_stride);
}

/// M rows of x from t on, against `rows` decoded weight rows that begin `stride` floats apart.
template <int M>
inline void tile_row(matrix_view<const float> x, index_t t, const float* w, index_t rows, index_t stride, float* y, index_t y_stride) {
    index_t n = 0;
    for (; n + tile_w <= rows; n += tile_w) tile<M, tile_w>(x, t, w + n * stride, stride, y + n, y_stride);
    for (; n < rows; ++n) tile<M, 1>(x, t, w + n * stride, stride, y + n, y_stride);
}

template <int... Ms>
inline void tile_rest(index_t tokens, std::integer_sequence<int, Ms...>, matrix_view<const float> x, index_t t, const float* w,
                      index_t rows, index_t stride, float* y, index_t y_stride) {
    (void)((tokens == Ms + 1 && (tile_row<Ms + 1>(x, t, w, rows, stride, y, y_stride), true)) || ...);
}

/// What one thread does at a time of one product: strips [first, last) of a packed matrix, and as many in each of the other streams, whose
/// strips begin `apart` behind those of the one before; or else rows.
struct task {
    std::size_t product;
    index_t first, last;
    index_t streams = 1, apart = 0;
};

/// Strips of a packed matrix against all tokens, for those of whole tiles by expanded strips if they are many.
class packed_multiplier {
    const weight_view& w_;
    const packed_products& with_ = *w_.products;
    const activation_rows& x_;
    matrix_view<float> y_;
    index_t bytes_ = with_.strip_bytes(w_.width);
    index_t tiled_ = y_.rows >= with_.expand_from ? y_.rows / token_tile * token_tile : 0; // tokens that see expanded strips

    index_t columns_ = std::min(w_.width, with_.columns_at_once);
    /// Strips whose expanded forms stay in the second-level cache until all tokens have passed over them, or one.
    index_t cached_ =
        std::clamp<index_t>((index_t{512} << 10) / std::max<index_t>(1, with_.expanded_bytes(columns_)), 1, with_.strips_at_once);

    /// Bundles of `size` strips from strip `first` on, every one `each` strips behind the one before.
    strip_set strips(index_t first, index_t count, index_t each, index_t size) const {
        return {w_.packed + first * bytes_, count, each * bytes_, size};
    }

    /// multiply_set for the tokens that see expanded strips, of bundles whose rows lie side by side in y, where sums wait between columns.
    void multiply_expanded(const strip_set& strips, float* y, index_t stride) const {
        index_t end = 0;
        do { // once if there are no columns: zeros
            const index_t k = std::exchange(end, std::min(w_.width, end + columns_));
            const strip_set block = expanded(strips, k, end);
            for (index_t t = 0; t < tiled_; t += token_tile) {
                for (index_t i = 0; i < block.count; ++i) {
                    ask_for_part(t + token_tile, k, end, i, block.count);
                    float* const out = y + t * stride + i * with_.rows;
                    with_.multiply_expanded(block.first + i * block.apart, x_.tile(t), k, end, w_.width, out, stride);
                }
            }
        } while (end < w_.width);
    }
    /// Columns [k, end) of all strips, one behind the other.
    strip_set expanded(const strip_set& strips, index_t k, index_t end) const {
        thread_local scratch<std::byte> memory;
        const strip_set block{strips.first + strips.bundle * with_.strip_bytes(k), strips.count, strips.apart, strips.bundle};
        if (with_.expand == nullptr) return block;
        const index_t count = strips.count * strips.bundle, each = with_.expanded_bytes(end - k);
        std::byte* const to = memory.take(count * each).data();
        with_.expand(block, end - k, to);
        return {to, count, each};
    }
    /// Asks for part i of `count` of the columns [k, end) of the tile at token t, if there is one: a step of many pages behind the one
    /// before, which a processor does not foresee.
    __attribute__((always_inline)) void ask_for_part(index_t t, index_t k, index_t end, index_t i, index_t count) const {
        if (t >= tiled_ || columns_ == w_.width) return;
        const index_t from = token_tile * x_.bytes(with_.x_form, k), bytes = token_tile * x_.bytes(with_.x_form, end) - from;
        simd::prefetch_lines(x_.tile(t) + from + bytes * i / count, bytes * (i + 1) / count - bytes * i / count);
    }

    /// Of token t, row r of bundle i: y[t · stride + i · apart + r].
    void multiply_set(const strip_set& strips, float* y, index_t stride, index_t apart) const {
        if (tiled_ > 0) multiply_expanded(strips, y, stride);
        for (index_t t = tiled_, tokens = 0; t < y_.rows; t += tokens) {
            tokens = x_.tile_of(t).second;
            with_.multiply(strips, x_.tile(t), tokens, w_.width, y + t * stride, stride, apart);
        }
    }

    /// Neighbours, as many as the second-level cache holds in their expanded form: activations are fetched once for all of them, and their
    /// results lie side by side.
    void multiply_neighbours(index_t first, index_t last) const {
        while (first < last) {
            const index_t size = std::min(w_.bundle, last - first), count = std::max<index_t>(1, std::min(cached_, last - first) / size);
            multiply_set(strips(first, count, size, size), y_.data + first * with_.rows, y_.stride, size * with_.rows);
            first += count * size;
        }
    }
    /// Streams, each from the task's first strip on and up to `last`.
    void multiply_streams(const task& t, index_t last) const {
        if (t.streams > 1) simd::prefetch_beginnings(w_.packed + t.first * bytes_, t.streams, t.apart * bytes_);
        for (index_t s = t.first, size = 0; s < last; s += size) {
            size = std::min(w_.bundle, last - s);
            multiply_set(strips(s, t.streams, t.apart, size), y_.data + s * with_.rows, y_.stride, t.apart * with_.rows);
        }
    }
    /// The last one, which ends beyond the matrix.
    void multiply_last(index_t s) const {
        thread_local scratch<float> margin;
        const index_t row = s * with_.rows, count = w_.rows - row;
        float* const out = margin.take(y_.rows * with_.rows).data();
        multiply_set(strips(s, 1, 0, 1), out, with_.rows, 0);
        for (index_t t = 0; t < y_.rows; ++t) std::copy_n(out + t * with_.rows, count, y_[t].data() + row);
    }

  public:
    packed_multiplier(const weight_view& w, const activation_rows& x, matrix_view<float> y) : w_(w), x_(x), y_(y) {}

    void multiply(const task& t) const {
        const index_t whole = std::min(t.last, w_.rows / with_.rows);
        tiled_ > 0 ? multiply_neighbours(t.first, whole) : multiply_streams(t, whole);
        if (whole < t.last) multiply_last(whole);
    }
};

/// Strips of a packed matrix against all tokens.
inline void multiply_packed(const weight_view& w, const activation_rows& x, matrix_view<float> y, const task& t) {
    if (y.rows > 0) packed_multiplier(w, x, y).multiply(t);
}

/// Strips [first, last) of a packed matrix against all tokens, by tiles, with weights of as many terms. 256 columns of two tiles of weights
/// (128 where they have several terms) stay in the first-level cache while all tokens pass over them, and so many columns of 512 tokens in
/// the second, with the sums of 512 tokens.
template <class Tiles, int Terms>
inline void multiply_tiles_of(const weight_view& w, const activation_rows& x, matrix_view<float> y, index_t first, index_t last) {
    thread_local scratch<std::byte> memory_of_tiles;
    thread_local scratch<float> memory_of_sums;
    constexpr index_t columns = Terms == 1 ? 256 : 128, most = 512, rows = simd::tile_rows, pair = 2 * rows;
    const packed_products& with = *w.products;
    const index_t strips = pair / with.rows, bytes = with.strip_bytes(w.width); // strips: to a pair of tiles
    const index_t begin = first * with.rows, end = std::min(w.rows, last * with.rows), pairs = (end - begin + pair - 1) / pair;
    std::byte* const tiles = memory_of_tiles.take(columns / simd::tile_columns * 2 * Terms * simd::tile_bytes).data();
    const bool streamed = y.rows * w.rows * index_t{sizeof(float)} > simd::streamed_beyond;
    const typename Tiles::session session{};
    for (index_t t = 0; t < y.rows; t += most) {
        const index_t tokens = std::min(most, y.rows - t), blocks = (tokens + rows - 1) / rows;
        const matrix_view<float> sums(memory_of_sums.take(pairs * blocks * rows * pair).data(), pairs * blocks * rows, pair);
        for (index_t k = 0; k < w.width; k += columns) {
            const index_t width = std::min(columns, w.width - k), steps = width / simd::tile_columns;
            for (index_t p = 0; p < pairs; ++p) {
                const index_t strip = first + p * strips, count = std::min(strips, last - strip);
                for (index_t i = 0; i < count; ++i)
                    with.put_tiles(w.packed + (strip + i) * bytes + with.strip_bytes(k), width, tiles + i * simd::tile_bytes);
                const auto multiply = [&]<int M, int N>(index_t block) {
                    const index_t column = k / simd::tile_columns * simd::x_terms_for(Terms) * simd::tile_bytes;
                    Tiles::template multiply<M, N, Terms>(x.tile(t + block * rows) + column, rows * x.row_bytes(), tiles, steps,
                                                          sums[(p * blocks + block) * rows].data(), k > 0);
                };
                constexpr int least = Terms == 1 ? 1 : 2; // tiles to a strip: those of floats are two wide
                const bool one = count * with.rows <= rows;
                for (index_t b = 0; b < blocks; b += 2) {
                    if (b + 1 < blocks)
                        one ? multiply.template operator()<2, least>(b) : multiply.template operator()<2, 2>(b);
                    else
                        one ? multiply.template operator()<1, least>(b) : multiply.template operator()<1, 2>(b);
                }
            }
        }
        for (index_t i = 0; i < tokens; ++i) { // whole rows: requests of the processor's own run ahead
            for (index_t p = 0; p < pairs; ++p) {
                const index_t row = begin + p * pair, count = std::min(pair, end - row);
                const float* const from = sums[p * blocks * rows + i].data();
                float* const to = y[t + i].data() + row;
                streamed ? simd::stream(from, count, to) : void(std::copy_n(from, count, to));
            }
        }
    }
    if (streamed) simd::finish_streaming();
}

/// The same with the terms that the format's weights have.
template <class Tiles>
inline void multiply_tiled(const weight_view& w, const activation_rows& x, matrix_view<float> y, index_t first, index_t last) {
    const int terms = w.products->tile_terms;
    const auto multiply = terms == 1 ? multiply_tiles_of<Tiles, 1> : terms == 2 ? multiply_tiles_of<Tiles, 2> : multiply_tiles_of<Tiles, 3>;
    multiply(w, x, y, first, last);
}

/// Rows [first, first + rows) decoded to float, a panel that stays in the second-level cache while all tokens pass over it.
inline void multiply_decoded(const weight_view& w, matrix_view<const float> x, matrix_view<float> y, index_t first, index_t rows) {
    thread_local scratch<float> buffer;
    // Few tokens take floats where they lie, unless a file put them on an odd address. Many are worth a copy whose rows do not begin a
    // multiple of 4 KB apart, where they would compete for the same lines of the first-level cache.
    const bool in_place = w.format->id == 0 && x.rows <= tile_x && reinterpret_cast<std::uintptr_t>(w.data) % alignof(float) == 0;
    const float* decoded = reinterpret_cast<const float*>(w.data + first * w.row_bytes());
    index_t stride = w.width;
    if (!in_place) {
        stride += 16; // a cache line
        const std::span<float> out = buffer.take(rows * stride);
        for (index_t r = 0; r < rows; ++r) w.decode_row(first + r, out.data() + r * stride);
        decoded = out.data();
    }
    index_t t = 0;
    for (; t + tile_x <= x.rows; t += tile_x) {
        tile_row<tile_x>(x, t, decoded, rows, stride, y.data + t * y.stride + first, y.stride);
    }
    tile_rest(x.rows - t, std::make_integer_sequence<int, tile_x - 1>{}, x, t, decoded, rows, stride, y.data + t * y.stride + first,
              y.stride);
}

} // namespace detail

/// y[t, n] = Σ_k x[t, k] · w[n, k]; x is [tokens, width], y [tokens, rows].
struct product {
    weight_view w;
    matrix_view<const float> x;
    matrix_view<float> y;
};

namespace detail {

/// What a task costs for each byte of weights: to read it takes about as long as arithmetic with it for four tokens.
inline index_t cost_of_byte(const product& p) { return 4 + p.x.rows; }
inline index_t bytes_of(const weight_view& w) { return w.packed == nullptr ? w.rows * w.row_bytes() : packed_bytes(w); }

/// Rows of a task with a matrix that is decoded: a panel that stays in the second-level cache, a few for each thread, whole tiles.
inline index_t rows_of_task(const product& p, index_t threads) {
    const index_t floats = p.x.rows > tile_x ? 98304 : 32768; // more, if many tokens pass over them
    const index_t cached = std::clamp<index_t>(floats / std::max<index_t>(1, p.w.width) / tile_w * tile_w, 2 * tile_w, 64);
    return std::min(cached, std::max<index_t>(2 * tile_w, p.w.rows / (2 * threads) / tile_w * tile_w));
}

/// Strips of a task with a packed matrix that many tokens pass over, of a part with so many left to each of `threads`.
inline index_t strips_of_task(const product& p, index_t left, index_t threads) {
    const packed_products& with = *p.w.products;
    const bool tiled = is_tiled(with.form_of(p.x.rows, p.w.width));
    const index_t bytes = std::max<index_t>(1, with.strip_bytes(p.w.width));
    const index_t together = tiled ? 2 * simd::tile_rows / with.rows : p.w.bundle; // strips to a pair of tiles, or to a bundle
    const index_t least = tiled ? 2 * together : std::max<index_t>(1, 16384 / bytes);
    const index_t most = tiled ? 8 * together : std::max<index_t>(1, (index_t{4} << 20) / bytes);
    return (std::clamp(threads == 1 ? left : left / 2, least, most) + together - 1) / together * together;
}

/// Whether so few tokens see each weight that to read it is most of the work.
inline bool is_streamed(const product& p) {
    return p.w.packed != nullptr && !is_tiled(p.w.products->form_of(p.x.rows, p.w.width)) &&
           p.x.rows < std::max(token_tile, p.w.products->expand_from);
}

/// Strips of a part, of `count` that are left: about `wanted`, in streams of whole bundles.
inline index_t strips_of_part(const product& p, index_t wanted, index_t count) {
    const index_t together = p.w.bundle * p.w.products->streams;
    const index_t size = std::max(together, (wanted + together / 2) / together * together);
    return count - size < together ? count : size;
}

/// Strips [first, end) of product i as tasks, a part for one of `threads`: as many streams as are best read side by side, each as long as
/// the others, and of all of them half of what is left at a time. A task goes on where the one before has ended, for whoever takes both: to
/// begin anew takes as long as to read tens of kilobytes. The last step is two tasks.
inline void add_streams(std::size_t i, const product& p, index_t first, index_t end, index_t threads, std::vector<task>& tasks) {
    const packed_products& with = *p.w.products;
    const index_t whole = std::min(end, p.w.rows / with.rows);
    for (index_t streams = 0, apart = 0; first < whole; first += streams * apart) {
        const index_t size = std::min(p.w.bundle, whole - first), bundles = (whole - first) / size;
        streams = std::min(with.streams, bundles), apart = bundles / streams * size;
        const index_t step = std::max<index_t>(1, streams * size * with.strip_bytes(p.w.width)); // bytes
        const index_t least = 1 + 16384 / step, most = 1 + (index_t{4} << 20) / step;
        for (index_t s = 0, count = 0; s < apart; s += count * size) {
            const index_t from = first + s, left = (apart - s) / size;
            count = threads == 1 ? left : std::min(left, std::clamp(left / 2, least, most));
            const index_t some = count < left || threads == 1 ? streams : (streams + 1) / 2;
            for (index_t j = 0; j < streams; j += some)
                tasks.push_back({i, from + j * apart, from + j * apart + count * size, std::min(some, streams - j), apart});
        }
    }
    if (whole < end) tasks.push_back({i, whole, end});
}

/// Cuts products into tasks, a part of all work for each thread: of packed matrices half of what is left of the part at a time. These are
/// few, and small ones at last, so that all threads are done at the same time (factoring: Hummel, Schonberg and Flynn 1992).
inline void cut(std::span<const product> products, index_t threads, std::vector<task>& tasks, shared_tasks& shared) {
    index_t left = 0; // of what all cost
    for (const product& p : products) left += bytes_of(p.w) * cost_of_byte(p);
    index_t part = 0, part_left = left / threads;
    tasks.clear(), shared.clear();
    for (std::size_t i = 0; i < products.size(); ++i) {
        const product& p = products[i];
        const index_t count = p.w.packed == nullptr ? p.w.rows : packed_strips(p.w);
        const index_t cost = std::max<index_t>(1, bytes_of(p.w) / std::max<index_t>(1, count) * cost_of_byte(p)); // of a row or strip
        for (index_t first = 0, end = 0; first < count; first = end) {
            const index_t size = p.w.packed == nullptr ? rows_of_task(p, threads)
                                 : is_streamed(p)      ? strips_of_part(p, part_left / cost, count - first)
                                                       : strips_of_task(p, part_left / cost, threads);
            end = std::min(count, first + size);
            is_streamed(p) ? add_streams(i, p, first, end, threads, tasks) : tasks.push_back({i, first, end});
            left -= (end - first) * cost, part_left -= (end - first) * cost;
            if (part_left <= 0 && part + 1 < threads) {
                shared.add_part(std::ssize(tasks));
                part_left = left / (threads - ++part);
            }
        }
    }
    shared.add_part(std::ssize(tasks));
}

} // namespace detail

/// Some products that do not depend on each other: q, k and v, gate and up, all experts. All their rows make one loop, and an x that
/// several products share is prepared once. With a packed matrix the products are what its layout is for, otherwise of floats. Every
/// element of y is the same whatever the number of threads and whatever other products stand beside, and, of products without tiles,
/// whatever the number of tokens.
inline void matmul(std::span<const product> products, executor& threads) {
    thread_local std::vector<activation_rows> storage;
    thread_local std::vector<std::size_t> source; // per product: whose prepared x it reads
    thread_local std::vector<detail::task> tasks;
    thread_local shared_tasks shared;
    if (storage.size() < products.size()) storage.resize(products.size());
    source.clear();
    for (std::size_t i = 0; i < products.size(); ++i) {
        const weight_view& w = products[i].w;
        const matrix_view<const float> x = products[i].x;
        std::size_t from = i;
        if (w.packed != nullptr) {
            const activation_form form = w.products->form_of(x.rows, x.width);
            for (std::size_t j = 0; j < i && from == i; ++j) {
                const product& other = products[j];
                if (other.w.packed != nullptr && other.x.data == x.data && other.x.rows == x.rows && other.x.width == x.width &&
                    (x.rows == 1 || other.x.stride == x.stride) && other.w.products->form_of(x.rows, x.width) == form) {
                    from = j;
                }
            }
            if (from == i) storage[i].fill(x, form, threads);
        }
        source.push_back(from);
    }
    detail::cut(products, threads.size(), tasks, shared);
    // what belongs to this thread, whichever thread works on it
    shared.run(threads, [&products, all = tasks.data(), xs = storage.data(), from = source.data()](index_t i) {
        const detail::task& task = all[i];
        const product& p = products[task.product];
        if (p.w.packed == nullptr) {
            detail::multiply_decoded(p.w, p.x, p.y, task.first, task.last - task.first);
        } else if (is_tiled(p.w.products->form_of(p.x.rows, p.x.width))) {
            const auto multiply =
                simd::tiles_available() ? detail::multiply_tiled<simd::tiles> : detail::multiply_tiled<simd::tiles_portable>;
            multiply(p.w, xs[from[task.product]], p.y, task.first, task.last);
        } else {
            detail::multiply_packed(p.w, xs[from[task.product]], p.y, task);
        }
    });
}
inline void matmul(std::initializer_list<product> products, executor& threads) {
    matmul(std::span<const product>(products.begin(), products.size()), threads);
}
inline void matmul(const weight_view& w, matrix_view<const float> x, matrix_view<float> y, executor& threads) {
    matmul({{w, x, y}}, threads);
}

} // namespace loupe::kernel
