// Weights in F32, F16 and BF16, laid out for products: strips of two registers of rows, column by column, so that one load serves as many
// rows as it has lanes and no sum goes across them. BF16 takes two columns at once, and products of bfloat16 where the target is faster by
// them.
#pragma once

#include <loupe/core/compat/int8.hpp>
#include <loupe/core/compat/prefetch.hpp>
#include <loupe/format/floats.hpp>
#include <loupe/kernel/matmul.hpp>

#include <concepts>
#include <cstring>
#include <limits>

namespace loupe::kernel {

/// One register of rows of one unit of columns of a format. add_to(sum, x, size): sum + the products with a token's unit of activations, of
/// a tile of `size` tokens. write(to, stride), where it makes a product faster to do so once for many tokens: the columns as floats.
template <class Isa, class F>
struct float_unit { // F32, F16
    static constexpr bool is_half = std::same_as<F, format::f16>;
    static constexpr index_t columns = 1;
    static constexpr activation_form x_form = activation_form::floats;
    typename Isa::floats w;
    static float_unit read(const std::byte* from) {
        if constexpr (is_half)
            return {Isa::load_half(from)};
        else
            return {Isa::load_float(from)};
    }
    void write(float* to, index_t) const requires is_half { Isa::store(to, w); }
    typename Isa::floats add_to(const typename Isa::floats& sum, const float* x, index_t) const { return Isa::fma(w, Isa::all(*x), sum); }
};

template <class Isa>
struct float_unit<Isa, format::bf16> {
    static constexpr index_t columns = 2;
    static constexpr activation_form x_form = activation_form::floats;
    typename Isa::floats first, second;
    static float_unit read(const std::byte* from) {
        const auto both = Isa::load(from);
        return {Isa::first_bfloat(both), Isa::second_bfloat(both)};
    }
    void write(float* to, index_t stride) const { Isa::store(to, first), Isa::store(to + stride, second); }
    typename Isa::floats add_to(const typename Isa::floats& sum, const float* x, index_t size) const {
        return Isa::fma(second, Isa::all(x[size]), Isa::fma(first, Isa::all(*x), sum));
    }
};

template <class Isa>
requires Isa::has_bfloat_products struct float_unit<Isa, format::bf16> {
    static constexpr index_t columns = 2;
    static constexpr activation_form x_form = activation_form::bfloats;
    typename Isa::bytes w;
    static float_unit read(const std::byte* from) { return {Isa::load(from)}; }
    typename Isa::floats add_to(const typename Isa::floats& sum, const std::uint32_t* x, index_t) const {
        return Isa::dot_bfloats(sum, w, *x);
    }
};

/// How format F (F32, F16, BF16) lies in memory for the instructions of Isa, and the product with it.
template <class Isa, class F>
struct float_packing {
    using unit = float_unit<Isa, F>;
    static constexpr index_t registers = 2, rows = registers * Isa::rows;
    static constexpr index_t unit_bytes = Isa::rows * unit::columns * F::bytes; ///< of one register

    static constexpr index_t units(index_t width) { return (width + unit::columns - 1) / unit::columns; }
    static constexpr index_t strip_bytes(index_t width) { return units(width) * registers * unit_bytes; }

    /// Packs `count` (at most `rows`) rows; the rows and columns that lack become zeros. A strip is a bundle.
    static void pack(const std::byte* blocks, index_t row_bytes, index_t count, index_t width, std::byte* to, index_t) {
        std::memset(to, 0, static_cast<std::size_t>(strip_bytes(width)));
        constexpr index_t columns = unit::columns, together = columns * F::bytes;
        for (index_t r = 0; r < count; ++r) {
            const std::byte* from = blocks + r * row_bytes;
            std::byte* out = to + r * together; // the registers of a unit lie side by side
            for (index_t u = 0; u < width / columns; ++u, from += together, out += registers * unit_bytes) {
                std::memcpy(out, from, static_cast<std::size_t>(together));
            }
            if (width % columns != 0) std::memcpy(out, from, static_cast<std::size_t>(width % columns * F::bytes));
        }
    }

    /// packed_products::multiply for tokens [0, Tokens) of a tile of `size` and up to Streams strips, some units of each in turn. Strips
    /// and x begin with column `first` of those that y sums.
    template <int Tokens, int Streams, class X>
    [[gnu::noinline]] static void multiply_tokens(const strip_set& strips, const X* x, index_t size, index_t first, index_t width, float* y,
                                                  index_t stride, index_t y_apart) {
        constexpr index_t values = unit::x_form == activation_form::floats ? unit::columns : 1; // of x to a unit
        const int count = strips.count_up_to<Streams>();
        const index_t all = units(width), turn = Streams == 1 ? all : 4; // units that share a trip of the sums to memory
        constexpr simd::distance ahead{simd::floats_ahead.near, Streams == 1 ? 0 : simd::floats_ahead.far};
        sums<Tokens> of[Streams];
        for_each_sum(
            of, count, [&](typename Isa::floats & sum, int i, int r, int t) __attribute__((always_inline)) {
                sum = sum_so_far<Isa>(y + i * y_apart + t * stride + r * Isa::rows, first);
            });
        for (index_t begin = 0; begin < all; begin += turn) {
            const index_t end = std::min(all, begin + turn);
#pragma GCC unroll 1
            for (int i = 0; i < count; ++i) {
                sums<Tokens> sum = of[i];
                const std::byte* at = strips.first + i * strips.apart + begin * registers * unit_bytes;
                const X* values_of_x = x + begin * values * size;
                for (index_t u = begin; u < end; ++u, at += registers * unit_bytes, values_of_x += values * size) {
                    simd::prefetch_ahead<ahead>(at, registers * unit_bytes);
                    add_unit(sum, at, values_of_x, size);
                }
                of[i] = sum;
            }
        }
        for_each_sum(
            of, count, [&](const typename Isa::floats& sum, int i, int r, int t) __attribute__((always_inline)) {
                Isa::store(y + i * y_apart + t * stride + r * Isa::rows, sum);
            });
    }

    /// packed_products::multiply, of Streams strips at once.
    template <int Streams, class X>
    static void multiply(const strip_set& strips, const X* x, index_t tokens, index_t first, index_t width, float* y, index_t stride,
                         index_t y_apart) {
        strips.for_each_of<Streams>([&](const strip_set& some, index_t i) {
            for_tokens_at_once<Isa>(tokens, [&]<int Tokens>(index_t t) {
                multiply_tokens<Tokens, Streams>(some, x + t, tokens, first, width, y + i * y_apart + t * stride, stride, y_apart);
            });
        });
    }

    /// bfloat16 that hold all bits of a weight.
    static constexpr int tile_terms = std::same_as<F, format::bf16> ? 1 : std::same_as<F, format::f16> ? 2 : 3;

    /// Columns [0, width), a multiple of 32, of a strip as tiles of 32 columns × 16 rows, see packed_products.
    static void put_tiles(const std::byte* strip, index_t width, std::byte* to) {
        static_assert(Isa::rows == simd::tile_rows);
        constexpr index_t step = registers * unit_bytes, pair = 2 / unit::columns * step;
        for (index_t k = 0; k < width; k += 2, strip += pair) {
            simd::prefetch_ahead<simd::floats_ahead>(strip, pair);
            for (index_t i = 0; i < registers; ++i) {
                const std::byte* const from = strip + i * unit_bytes;
                std::byte* const at = to + (k / 32 * tile_terms * registers + i) * simd::tile_bytes + k / 2 % 16 * 64;
                if constexpr (tile_terms == 1)
                    std::memcpy(at, from, 64);
                else
                    put_terms(unit::read(from).w, unit::read(from + step).w, at);
            }
        }
    }
    /// The terms of two columns of 16 rows, see simd::to_bfloats.
    static void put_terms(typename Isa::floats first, typename Isa::floats second, std::byte* to) {
        for (int term = 0; term < tile_terms; ++term, to += registers * simd::tile_bytes) {
            const auto both = Isa::bfloats(first, second);
            Isa::store(to, both);
            first = Isa::fma(Isa::first_bfloat(both), Isa::all(-1.0F), first); // exact: what is left
            second = Isa::fma(Isa::second_bfloat(both), Isa::all(-1.0F), second);
        }
    }

    /// Strips as such of F32.
    static void expand(const strip_set& strips, index_t width, float* to) {
        for (index_t i = 0; i < strips.count; ++i) {
            const std::byte* from = strips.first + i * strips.apart;
            for (index_t u = 0; u < units(width); ++u, from += registers * unit_bytes, to += unit::columns * rows) {
                simd::prefetch_ahead<simd::floats_ahead>(from, registers * unit_bytes);
                for (int r = 0; r < registers; ++r) unit::read(from + r * unit_bytes).write(to + r * Isa::rows, rows);
            }
        }
    }

  private:
    template <int Tokens>
    struct sums {
        typename Isa::floats at[registers][Tokens];
    };
    /// f(the sum, i, r, t) for register r and token t of strips i. Unrolled like the rest, or the sums would not be in registers.
    template <int Tokens>
    __attribute__((always_inline)) static void for_each_sum(sums<Tokens>* of, int count, auto&& f) {
#pragma GCC unroll 1
        for (int i = 0; i < count; ++i) {
#pragma GCC unroll 2
            for (int r = 0; r < registers; ++r) {
#pragma GCC unroll 8
                for (int t = 0; t < Tokens; ++t) f(of[i].at[r][t], i, r, t);
            }
        }
    }
    template <int Tokens, class X>
    __attribute__((always_inline)) static void add_unit(sums<Tokens>& sum, const std::byte* from, const X* x, index_t size) {
#pragma GCC unroll 2
        for (int r = 0; r < registers; ++r) {
            const unit w = unit::read(from + r * unit_bytes);
#pragma GCC unroll 8
            for (int t = 0; t < Tokens; ++t) sum.at[r][t] = w.add_to(sum.at[r][t], x + t, size);
        }
    }
};

namespace detail {

template <class Isa, class F, bool Tiled>
constexpr packed_products make_float_products() {
    using form = float_packing<Isa, F>;
    constexpr bool expands = requires(const typename form::unit& u, float* to) { u.write(to, form::rows); };
    using expanded = std::conditional_t<expands, float_packing<Isa, format::f32>, form>;
    using value = std::conditional_t<form::unit::x_form == activation_form::floats, float, std::uint32_t>;
    packed_products out{
        .rows = form::rows,
        .x_form = form::unit::x_form,
        .strip_bytes = &form::strip_bytes,
        .pack = &form::pack,
        .multiply =
            [](const strip_set& strips, const std::byte* x, index_t tokens, index_t width, float* y, index_t stride, index_t y_apart) {
                form::template multiply<Isa::streams>(strips, reinterpret_cast<const value*>(x), tokens, 0, width, y, stride, y_apart);
            },
        .bundle = 1,
        .streams = Isa::streams,
        .expand_from = Isa::expand_from,
        // as floats they take so long that it is the second-level cache that has to feed them
        .columns_at_once = form::unit::x_form == activation_form::floats ? std::numeric_limits<index_t>::max() : 1024,
        .strips_at_once = 8, // more were no faster
        .expanded_bytes = [](index_t width) { return expanded::strip_bytes(form::units(width) * form::unit::columns); },
        .multiply_expanded =
            [](const std::byte* strip, const std::byte* x, index_t first, index_t last, index_t, float* y, index_t stride) {
                const value* const from =
                    reinterpret_cast<const value*>(x + token_tile * activation_rows::bytes(form::unit::x_form, first));
                expanded::template multiply<1>({strip, 1, 0}, from, token_tile, first, form::units(last - first) * form::unit::columns, y,
                                               stride, 0);
            }};
    if constexpr (expands) {
        out.expand = [](const strip_set& strips, index_t width, std::byte* to) {
            form::expand(strips, width, reinterpret_cast<float*>(to));
        };
    }
    if constexpr (Tiled) out.put_tiles = &form::put_tiles, out.tile_terms = form::tile_terms;
    return out;
}

} // namespace detail

} // namespace loupe::kernel
