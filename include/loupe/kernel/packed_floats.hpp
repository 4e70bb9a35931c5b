// Weights in F32, F16 and BF16, laid out for products: strips of two registers of rows, column by column, so that one load serves as many
// rows as it has lanes and no sum goes across them. BF16 takes two columns at once, and products of bfloat16 where the target has them.
#pragma once

#include <loupe/core/compat/int8.hpp>
#include <loupe/core/compat/prefetch.hpp>
#include <loupe/format/floats.hpp>
#include <loupe/kernel/matmul.hpp>

#include <concepts>
#include <cstring>

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

    /// Packs `count` (at most `rows`) rows; the rows and columns that lack become zeros.
    static void pack(const std::byte* blocks, index_t row_bytes, index_t count, index_t width, std::byte* to) {
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

    /// y[i · y_apart + t · stride + r] = row r of strip i · token t, for tokens [0, Tokens) of a tile of `size` and up to Streams strips.
    template <int Tokens, int Streams, class X>
    static void multiply(const strip_streams& strips, const X* x, index_t size, index_t width, float* y, index_t stride,
                         index_t y_apart = 0) {
        const int count = strips.at_most<Streams>();
        typename Isa::floats sum[Streams][registers][Tokens];
#pragma GCC unroll 16
        for (int i = 0; i < Streams * registers; ++i) {
#pragma GCC unroll 8
            for (int t = 0; t < Tokens; ++t) sum[i / registers][i % registers][t] = Isa::zero();
        }
        constexpr index_t values = unit::x_form == activation_form::floats ? unit::columns : 1; // of x to a unit
        const std::byte* at = strips.first;
        for (index_t u = 0; u < units(width); ++u, at += registers * unit_bytes, x += values * size) {
#pragma GCC unroll 1
            for (int i = 0; i < count; ++i) {
                const std::byte* const from = at + i * strips.apart;
                simd::prefetch_ahead<simd::ahead_near, Tokens == 1 ? simd::ahead_far : 0>(from, registers * unit_bytes);
#pragma GCC unroll 2
                for (int r = 0; r < registers; ++r) {
                    const unit w = unit::read(from + r * unit_bytes);
#pragma GCC unroll 8
                    for (int t = 0; t < Tokens; ++t) sum[i][r][t] = w.add_to(sum[i][r][t], x + t, size);
                }
            }
        }
        // Unrolled like the rest, or the sums would not be in registers.
#pragma GCC unroll 1
        for (int i = 0; i < count; ++i) {
#pragma GCC unroll 2
            for (int r = 0; r < registers; ++r) {
#pragma GCC unroll 8
                for (int t = 0; t < Tokens; ++t) Isa::store(y + i * y_apart + t * stride + r * Isa::rows, sum[i][r][t]);
            }
        }
    }

    /// multiply for the tokens of a whole tile of `size`, two or more, as many at a time as the registers hold sums for.
    template <class X>
    static void multiply_tile(const std::byte* strip, const X* x, index_t size, index_t width, float* y, index_t stride) {
        constexpr int most = Isa::rows >= 16 ? 8 : 4;
        const strip_streams one{strip, 1, 0};
        if (size >= most) {
            for (index_t t = 0; t < size; t += most) multiply<most, 1>(one, x + t, size, width, y + t * stride, stride);
        } else if (size == 4) {
            multiply<4, 1>(one, x, size, width, y, stride);
        } else {
            multiply<2, 1>(one, x, size, width, y, stride);
        }
    }

    /// bfloat16 that hold all bits of a weight.
    static constexpr int tile_parts = std::same_as<F, format::bf16> ? 1 : std::same_as<F, format::f16> ? 2 : 3;

    /// Columns [0, width), a multiple of 32, of a strip as tiles of 32 columns × 16 rows, see packed_products.
    static void put_tiles(const std::byte* strip, index_t width, std::byte* to) {
        static_assert(Isa::rows == simd::tile_rows);
        constexpr index_t step = registers * unit_bytes, pair = 2 / unit::columns * step;
        for (index_t k = 0; k < width; k += 2, strip += pair) {
            simd::prefetch_ahead<>(strip, pair);
            for (index_t i = 0; i < registers; ++i) {
                const std::byte* const from = strip + i * unit_bytes;
                std::byte* const at = to + (k / 32 * tile_parts * registers + i) * simd::tile_bytes + k / 2 % 16 * 64;
                if constexpr (tile_parts == 1)
                    std::memcpy(at, from, 64);
                else
                    put_parts(unit::read(from).w, unit::read(from + step).w, at);
            }
        }
    }
    /// The parts of two columns of 16 rows, see simd::to_bfloats.
    static void put_parts(typename Isa::floats first, typename Isa::floats second, std::byte* to) {
        for (int part = 0; part < tile_parts; ++part, to += registers * simd::tile_bytes) {
            const auto both = Isa::bfloats(first, second);
            Isa::store(to, both);
            first = Isa::fma(Isa::first_bfloat(both), Isa::all(-1.0F), first); // exact: what is left
            second = Isa::fma(Isa::second_bfloat(both), Isa::all(-1.0F), second);
        }
    }

    /// A strip as one of F32.
    static void expand(const std::byte* strip, index_t width, std::byte* to) {
        for (index_t u = 0; u < units(width); ++u, strip += registers * unit_bytes, to += unit::columns * rows * 4) {
            for (int i = 0; i < registers; ++i) {
                unit::read(strip + i * unit_bytes).write(reinterpret_cast<float*>(to) + i * Isa::rows, rows);
            }
        }
    }
};

namespace detail {

template <class Isa, class F, bool Tiled>
constexpr packed_products make_float_products() {
    using form = float_packing<Isa, F>;
    using expanded = float_packing<Isa, format::f32>;
    using value = std::conditional_t<form::unit::x_form == activation_form::floats, float, std::uint32_t>;
    packed_products out{
        .rows = form::rows,
        .x_form = form::unit::x_form,
        .strip_bytes = &form::strip_bytes,
        .pack = &form::pack,
        .multiply = [](const std::byte* strip, const std::byte* x, index_t tokens, index_t width, float* y,
                       index_t stride) { form::multiply_tile(strip, reinterpret_cast<const value*>(x), tokens, width, y, stride); },
        .multiply_one =
            [](const strip_streams& strips, const std::byte* x, index_t width, float* y, index_t y_apart) {
                form::template multiply<1, Isa::streams>(strips, reinterpret_cast<const value*>(x), 1, width, y, 0, y_apart);
            },
        .streams = Isa::streams};
    if constexpr (requires(const typename form::unit& u, float* to) { u.write(to, form::rows); }) {
        out.expanded_bytes = [](index_t width) { return expanded::strip_bytes(form::units(width) * form::unit::columns); };
        out.expand = &form::expand;
        out.multiply_expanded = [](const std::byte* strip, const std::byte* x, index_t width, float* y, index_t stride) {
            expanded::multiply_tile(strip, reinterpret_cast<const float*>(x), token_tile, form::units(width) * form::unit::columns, y,
                                    stride);
        };
    }
    if constexpr (Tiled) out.put_tiles = &form::put_tiles, out.tile_parts = form::tile_parts;
    return out;
}

} // namespace detail

} // namespace loupe::kernel
