// Weights of any integer format, laid out for integer products: strips of as many rows as a register has lanes. A bundle of strips is one
// stream of bytes, 256 columns of each in turn. Before many tokens some columns of a few strips are expanded to bytes and float scales,
// once, which is alike for all formats; a few tokens read them as they are.
//
// A strip is a sequence of spans (the formats' blocks). A span holds the scales of the block, then for every 32 columns a chunk: the planes
// of the codes and the scales of its groups. Sixteen scales of 6 bits stand before the chunks instead, four registers of them in three. A
// plane of b bits holds the 8 quads (4 columns of every row) of a chunk in b registers: quad q lies in register q mod b, at bit b · (q / b)
// of every byte. Codes of 5 and 6 bits are two planes. Those of 3 bits are one of three registers: quad q < 6 in register q mod 3, at bit
// 3 · (q / 3); of quads 6 and 7 two bits above those of the first and second register, and the third bit in the third.
#pragma once

#include <loupe/core/compat/int8.hpp>
#include <loupe/core/compat/prefetch.hpp>
#include <loupe/format/integer.hpp>
#include <loupe/kernel/matmul.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

namespace loupe::kernel {

namespace detail {

template <class Isa, int N>
struct floats_of {
    typename Isa::floats at[N];
};
template <class Isa>
struct floats_of<Isa, 0> {};

/// Of levels up to here the sums of sixteens are what Isa::dot_words() makes: integers that are weighed before they become floats.
/// `groups`: scales of 32 columns, 1 or 2.
constexpr int largest_of_words(int groups) { return groups == 1 ? 16 : 32; }

} // namespace detail

/// 32 columns of a strip: levels as bytes, none above Largest, to which a power of two may have been Added; scales of one group or two. The
/// same for all formats that are alike in this.
template <class Isa, int Groups, bool HasMinimum, int Largest, unsigned Added>
struct integer_chunk {
    static constexpr unsigned added = Added;
    typename Isa::bytes w[8];
    typename Isa::floats scale[Groups];
    [[no_unique_address]] detail::floats_of<Isa, HasMinimum ? Groups : 0> minimum;

    /// Adds the products with 32 columns of Tokens tokens to their sums.
    template <int Tokens>
    __attribute__((always_inline)) void add_to(typename Isa::floats* sum, const quantized_chunk* x) const {
        constexpr int together = std::min(Tokens, sums_are_words ? Isa::words_together : Isa::tokens_together);
#pragma GCC unroll 8
        for (int t = 0; t < Tokens; t += together) {
            typename Isa::ints low[together], high[together];
            dot(low, high, x + t);
#pragma GCC unroll 8
            for (int i = 0; i < together; ++i) sum[t + i] = weigh(sum[t + i], low[i], high[i], x[t + i]);
        }
    }

    /// The weights themselves, rounded to bfloat16: a tile of simd::tiles.
    void put_tile(std::byte* to) const requires(Isa::rows == simd::tile_rows) { put_quads(to, std::make_index_sequence<8>{}); }

    /// packed_products::multiply_expanded for chunks [first, last) of `chunks`.
    template <int Tokens>
    LOUPE_ORDERED_FOR_REGISTERS static void multiply(const integer_chunk* strip, const quantized_chunk* x, index_t first, index_t last,
                                                     index_t chunks, float* y, index_t stride) {
        typename Isa::floats sum[Tokens];
#pragma GCC unroll 8
        for (int t = 0; t < Tokens; ++t) sum[t] = sum_so_far<Isa>(y + t * stride, first);
        const quantized_chunk* const rows = x;
        x += Tokens + first * Tokens;
        for (index_t c = first; c < last; ++c, ++strip, x += Tokens) strip->template add_to<Tokens>(sum, x);
        if (last == chunks) {
#pragma GCC unroll 8
            for (int t = 0; t < Tokens; ++t) sum[t] = Isa::times(sum[t], Isa::all(rows[t].scale[0]));
        }
#pragma GCC unroll 8
        for (int t = 0; t < Tokens; ++t) Isa::store(y + t * stride, sum[t]);
    }

  private:
    template <std::size_t... Quads>
    __attribute__((always_inline)) void put_quads(std::byte* to, std::index_sequence<Quads...>) const {
        (put_quad<Quads>(to + Quads * 128), ...);
    }
    template <std::size_t Quad>
    __attribute__((always_inline)) void put_quad(std::byte* to) const {
        constexpr std::size_t group = Groups == 1 ? 0 : Quad / 4;
        const auto levels = Isa::template plus<-static_cast<int>(Added)>(w[Quad]);
        const auto value = [&](auto level) __attribute__((always_inline)) {
            if constexpr (HasMinimum)
                return Isa::fma(level, scale[group], minimum.at[group]);
            else
                return Isa::times(level, scale[group]);
        };
        Isa::store(to, Isa::bfloats(value(Isa::template column<0>(levels)), value(Isa::template column<1>(levels))));
        Isa::store(to + 64, Isa::bfloats(value(Isa::template column<2>(levels)), value(Isa::template column<3>(levels))));
    }

    static constexpr bool sums_are_words = Largest <= detail::largest_of_words(Groups);

    /// low[t] and high[t] = the sums of token t's products with the two sixteens.
    template <int Tokens>
    __attribute__((always_inline)) void dot(typename Isa::ints (&low)[Tokens], typename Isa::ints (&high)[Tokens],
                                            const quantized_chunk* x) const {
#pragma GCC unroll 8
        for (int t = 0; t < Tokens; ++t) low[t] = start_of(0, x[t]), high[t] = start_of(1, x[t]);
        static_assert(offsetof(quantized_chunk, q) == 0);
        constexpr index_t apart = sizeof(quantized_chunk);
        const auto* const q = reinterpret_cast<const std::uint8_t*>(x);
        if constexpr (sums_are_words)
            Isa::template dot_words<Tokens>(low, high, w, q, apart);
        else
            Isa::template dot<Tokens>(low, high, w, q, apart);
    }

    /// sum + the two sixteens' sums, each times the activations' factor, the weights' scale, and what the minimum adds.
    __attribute__((always_inline)) typename Isa::floats weigh(typename Isa::floats sum, const typename Isa::ints& low,
                                                              const typename Isa::ints& high, const quantized_chunk& x) const {
        // What does not wait for the products goes first.
        if constexpr (HasMinimum && Groups == 1) sum = Isa::fma(minimum.at[0], Isa::all(x.both), sum);
        if constexpr (HasMinimum && Groups == 2) {
            sum = Isa::fma(minimum.at[0], Isa::all(x.mass[0]), sum);
            sum = Isa::fma(minimum.at[1], Isa::all(x.mass[1]), sum);
        }
        if constexpr (Groups == 1) {
            if constexpr (sums_are_words) {
                sum = Isa::fma(Isa::weigh(low, high, x.factor), scale[0], sum);
            } else {
                const auto of_low = Isa::times(Isa::to_floats(low), Isa::all(x.scale[0]));
                sum = Isa::fma(Isa::fma(Isa::to_floats(high), Isa::all(x.scale[1]), of_low), scale[0], sum);
            }
        } else {
            sum = Isa::fma(weigh_one<0>(low, x), scale[0], sum);
            sum = Isa::fma(weigh_one<1>(high, x), scale[1], sum);
        }
        return sum;
    }
    template <std::size_t Half>
    __attribute__((always_inline)) typename Isa::floats weigh_one(const typename Isa::ints& sum, const quantized_chunk& x) const {
        if constexpr (sums_are_words)
            return Isa::weigh(sum, x.factor[Half]);
        else
            return Isa::times(Isa::to_floats(sum), Isa::all(x.scale[Half])); // rounds once: the same float
    }

    /// What a sum of 16 products begins with.
    __attribute__((always_inline)) static typename Isa::ints start_of(std::size_t half, const quantized_chunk& x) {
        if constexpr (Added == 0)
            return Isa::all(0);
        else
            return Isa::template start<Added>(x.start[half]);
    }
};

/// How format F lies in memory for the instructions of Isa, and the product with it.
template <class Isa, is::integer_format F>
struct packing {
    using form = format::integer_form<F>;
    static constexpr index_t rows = Isa::rows;
    static constexpr index_t span = F::length; ///< columns under one set of scales
    static constexpr int low_bits = form::bits >= 4 && form::bits < 8 ? 4 : form::bits;
    static constexpr int high_bits = form::bits - low_bits;
    static constexpr index_t groups = span / form::group;
    static constexpr int chunk_groups = 32 / form::group;
    using kind = format::scale_kind;
    static constexpr bool scales_are_words = form::scales == kind::half || form::scales == kind::bfloat;
    static constexpr bool is_super = !scales_are_words && form::scales != kind::e4m3;
    static constexpr bool scales_are_signed_sixes = form::scales == kind::super_signed_6,
                          scales_are_sixes = scales_are_signed_sixes || form::scales == kind::super_6;
    static_assert(!scales_are_sixes || groups * (form::has_minimum ? 2 : 1) == 16);
    static constexpr bool minimum_apart = form::has_minimum && form::scales != kind::super_nibbles;

    static constexpr int largest_of_words = detail::largest_of_words(chunk_groups);
    /// Whether a product takes levels with their signs, see Isa::dot().
    static constexpr bool has_signed_levels = !Isa::wide_sums && form::largest > largest_of_words;
    /// What is added to a level elsewhere, to make it an unsigned byte: for formats without a table that makes the code.
    static constexpr unsigned added = has_signed_levels        ? 0
                                      : form::table == nullptr ? form::zero
                                      : Isa::wide_sums         ? 128
                                                               : static_cast<unsigned>(largest_of_words);
    static_assert(added == 0 || std::has_single_bit(added), "Isa::start() takes powers of two off");

    static constexpr index_t plane = 4 * rows; ///< bytes of one register
    static constexpr index_t scale_bytes = rows * (scales_are_words ? 2 : 1);
    static constexpr index_t header_bytes = (is_super ? rows * 2 * (form::has_minimum ? 2 : 1) : 0) + (scales_are_sixes ? 3 * plane : 0);
    static constexpr index_t group_stride =
        scale_bytes * (minimum_apart && !scales_are_sixes ? 2 : 1); ///< from a group's scale to the next
    static constexpr index_t to_minimum = !minimum_apart     ? 0
                                          : scales_are_sixes ? groups * scale_bytes
                                                             : scale_bytes; ///< from a scale to its minimum
    static constexpr index_t chunk_bytes = plane * form::bits + (scales_are_sixes ? 0 : chunk_groups * group_stride);
    static constexpr index_t span_bytes = header_bytes + span / 32 * chunk_bytes;

    /// Bytes of a strip of `width` columns.
    static constexpr index_t strip_bytes(index_t width) { return width / span * span_bytes; }

    /// Packs `count` rows of blocks, at most those of `strips`, which make a bundle; the rows that lack, of one strip, become zeros.
    static void pack(const std::byte* blocks, index_t row_bytes, index_t count, index_t width, std::byte* to, index_t strips) {
        std::array<format::integer_block, static_cast<std::size_t>(rows)> block;
        std::memset(block.data(), 0, sizeof block);
        for (index_t s = 0; s < strips; ++s) { // strip by strip: rows of all, read in turns, would take three times as long
            for (index_t k = 0, columns = 0; k < width; k += columns) {
                columns = columns_of_turn(strips, width - k);
                pack_strip(blocks + s * rows * row_bytes + k / span * F::bytes, row_bytes, std::min(rows, count - s * rows), columns,
                           block.data(), to + strips * strip_bytes(k) + s * strip_bytes(columns));
            }
        }
    }

    /// What 32 columns of a strip are for a product: unpacked on the way, and expanded, which is alike for as many formats as possible.
    static constexpr int small = chunk_groups == 2 && Isa::wide_sums ? 0 : largest_of_words; // whose sums are words
    static constexpr int largest = form::largest <= small ? small : 127;
    template <unsigned Added>
    using chunk_with = integer_chunk<Isa, chunk_groups, form::has_minimum, largest, Added>;
    using chunk = chunk_with<added>;
    using expanded_chunk = chunk_with<added == 0 ? 0 : Isa::wide_sums ? 128 : 32>;

    /// packed_products::multiply for tokens [0, Tokens) of a tile of `size` and up to Isa::streams bundles.
    template <int Tokens>
    [[gnu::noinline]] LOUPE_ORDERED_FOR_REGISTERS static void multiply_tokens(const strip_set& bundles, const quantized_chunk* x,
                                                                              index_t size, index_t width, float* y, index_t stride,
                                                                              index_t y_apart) {
        struct sums {
            floats at[Isa::streams][Tokens];
        };
        sums of_strips[Isa::bundle] = {};
        const quantized_chunk* const row = x;
        x += size;
        for_turns(
            bundles, width, [&](index_t s, index_t k, const strip_set& strips, index_t columns) __attribute__((always_inline)) {
                sums sum = of_strips[s];
                for_chunks<Isa::streams>(
                    strips, columns,
                    [&](int i, index_t c, const std::byte* from, const std::byte* scales, const floats& d, const floats& dmin)
                        __attribute__((always_inline)) {
                            chunk w;
                            read(from, scales, d, dmin, w);
                            w.template add_to<Tokens>(sum.at[i], x + (k / 32 + c) * size);
                        });
                of_strips[s] = sum;
            });
        for (index_t s = 0; s < bundles.bundle; ++s) {
            for (int i = 0; i < bundles.count_up_to<Isa::streams>(); ++i) {
#pragma GCC unroll 8
                for (int t = 0; t < Tokens; ++t)
                    Isa::store(y + i * y_apart + s * rows + t * stride, Isa::times(of_strips[s].at[i][t], Isa::all(row[t].scale[0])));
            }
        }
    }

    /// packed_products::multiply.
    static void multiply(const strip_set& bundles, const quantized_chunk* x, index_t tokens, index_t width, float* y, index_t stride,
                         index_t y_apart) {
        bundles.for_each_of<Isa::streams>([&](const strip_set& some, index_t i) {
            for_tokens_at_once<Isa>(tokens, [&]<int Tokens>(index_t t) {
                multiply_tokens<Tokens>(some, x + t, tokens, width, y + i * y_apart + t * stride, stride, y_apart);
            });
        });
    }

    /// All strips as width / 32 chunks each, one behind the other.
    static void expand(const strip_set& bundles, index_t width, expanded_chunk* to) {
        const index_t chunks = width / 32, each = bundles.bundle * chunks;
        bundles.for_each_of<Isa::streams>([&](const strip_set& some, index_t first) {
            for_turns(some, width, [&](index_t s, index_t k, const strip_set& strips, index_t columns) {
                expanded_chunk* const out = to + first * each + s * chunks + k / 32;
                for_chunks<Isa::streams>(
                    strips, columns,
                    [&](int i, index_t c, const std::byte* from, const std::byte* scales, const floats& d, const floats& dmin)
                        __attribute__((always_inline)) { read(from, scales, d, dmin, out[i * each + c]); });
            });
        });
    }

    /// Columns [0, width) of a strip as tiles of 32, every second one of memory.
    static void put_tiles(const std::byte* strip, index_t width, std::byte* to) {
        for_chunks<1>(
            {strip, 1, 0}, width,
            [&](int, index_t c, const std::byte* from, const std::byte* scales, const floats& d, const floats& dmin)
                __attribute__((always_inline)) {
                    expanded_chunk w;
                    read(from, scales, d, dmin, w);
                    w.put_tile(to + c * 2 * simd::tile_bytes);
                });
    }

  private:
    using floats = typename Isa::floats;

    /// Of a bundle of several strips each has so many columns in its turn, all of one that is alone: what activations of a token fill is a
    /// fraction of the first-level cache, and a trip of the sums to memory is little beside it.
    static index_t columns_of_turn(index_t strips, index_t left) {
        static_assert(256 % span == 0);
        return strips == 1 ? left : std::min<index_t>(256, left);
    }
    /// f(s, k, where they lie, how many) for the columns from k on of a turn of strips s of the bundles.
    template <class Body>
    __attribute__((always_inline)) static void for_turns(const strip_set& bundles, index_t width, Body&& f) {
        const std::byte* at = bundles.first;
        for (index_t k = 0, columns = 0; k < width; k += columns) {
            columns = columns_of_turn(bundles.bundle, width - k);
            for (index_t s = 0; s < bundles.bundle; ++s, at += strip_bytes(columns))
                f(s, k, strip_set{at, bundles.count, bundles.apart}, columns);
        }
    }

    /// f(i, the chunk's number, its codes, its scales, its block's scales) for all chunks of strips i.
    template <int Streams, class Body>
    __attribute__((always_inline)) static void for_chunks(const strip_set& strips, index_t width, Body&& f) {
        const int count = strips.count_up_to<Streams>();
        const std::byte* at = strips.first;
        index_t chunk = 0;
        for (index_t s = 0; s < width / span; ++s) {
            floats d[Streams], dmin[Streams];
            alignas(64) std::byte numbers[Streams][scales_are_sixes ? 4 * plane : 1];
#pragma GCC unroll 1
            for (int i = 0; i < count; ++i) {
                const std::byte* header = at + i * strips.apart;
                d[i] = dmin[i] = Isa::zero();
                simd::prefetch_ahead<simd::integers_ahead>(header, header_bytes);
                if constexpr (is_super) {
                    d[i] = Isa::load_half(header);
                    header += 2 * rows;
                    if constexpr (form::has_minimum) {
                        dmin[i] = Isa::times(Isa::load_half(header), Isa::all(-1.0F)); // minima are subtracted
                        header += 2 * rows;
                    }
                }
                if constexpr (scales_are_sixes) get_sixes(header, numbers[i]);
            }
            at += header_bytes;
            for (index_t c = 0; c < span / 32; ++c, ++chunk, at += chunk_bytes) {
#pragma GCC unroll 1
                for (int i = 0; i < count; ++i) {
                    const std::byte* const from = at + i * strips.apart;
                    simd::prefetch_ahead<simd::integers_ahead>(from, chunk_bytes);
                    f(i, chunk, from, scales_are_sixes ? numbers[i] + c * chunk_groups * scale_bytes : from + form::bits * plane, d[i],
                      dmin[i]);
                }
            }
        }
    }

    template <class Chunk>
    __attribute__((always_inline)) static void read(const std::byte* from, const std::byte* scales, const floats& d, const floats& dmin,
                                                    Chunk& out) {
        levels<Chunk::added>(from, out.w, std::make_integer_sequence<int, 8>{});
        for (int g = 0; g < chunk_groups; ++g, scales += group_stride) {
            out.scale[g] = load_scale(scales, d);
            if constexpr (form::has_minimum) {
                out.minimum.at[g] = load_minimum(scales + to_minimum, dmin);
                if constexpr (form::zero != 0)
                    out.minimum.at[g] = Isa::fma(Isa::all(static_cast<float>(form::zero)), out.scale[g], out.minimum.at[g]);
            }
        }
    }

    template <unsigned Added, int... Quads>
    __attribute__((always_inline)) static void levels(const std::byte* from, typename Isa::bytes* w, std::integer_sequence<int, Quads...>) {
        ((w[Quads] = level<Added>(code<Quads>(from))), ...);
    }
    template <int Quad>
    static typename Isa::bytes code(const std::byte* from) {
        const auto low = Isa::load(from + (low_bits == 3 && Quad >= 6 ? Quad - 6 : Quad % low_bits) * plane);
        if constexpr (low_bits == 3 && Quad >= 6) {
            return Isa::template insert<Quad, 2, 1>(Isa::template field<6, 2>(low), Isa::load(from + 2 * plane));
        } else if constexpr (low_bits == 8) {
            return low;
        } else if constexpr (high_bits == 0) {
            return Isa::template field<low_bits*(Quad / low_bits), low_bits>(low);
        } else {
            const auto high = Isa::load(from + (low_bits + Quad % high_bits) * plane);
            return Isa::template insert<high_bits*(Quad / high_bits), low_bits, high_bits>(
                Isa::template field<low_bits*(Quad / low_bits), low_bits>(low), high);
        }
    }
    /// The level of a code, plus Added.
    template <unsigned Added>
    static typename Isa::bytes level(typename Isa::bytes code) {
        constexpr int more = static_cast<int>(Added) - form::zero;
        if constexpr (form::table != nullptr) {
            return Isa::look_up(table<Added>.data(), code);
        } else if constexpr (form::zero == 128 || more == 0) { // codes of 8 bits are stored as they are wanted
            return code;
        } else {
            return Isa::template plus<more>(code);
        }
    }
    template <unsigned Added>
    static constexpr auto table = [] {
        std::array<std::int8_t, 16> out{};
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int8_t>(form::table[i] + static_cast<int>(Added));
        return out;
    }();
    static typename Isa::floats load_scale(const std::byte* from, const typename Isa::floats& d) {
        if constexpr (form::scales == kind::half) return Isa::load_half(from);
        if constexpr (form::scales == kind::bfloat) return Isa::load_bfloat(from);
        if constexpr (form::scales == kind::e4m3) return Isa::load_e4m3(from, 0.5F);
        if constexpr (form::scales == kind::super_signed || scales_are_signed_sixes) return Isa::times(d, Isa::load_signed(from));
        if constexpr (form::scales == kind::super_6) return Isa::times(d, Isa::template load_field<0, 8>(from));
        if constexpr (form::scales == kind::super_nibbles) return Isa::times(d, Isa::template load_field<0, 4>(from));
    }
    static typename Isa::floats load_minimum(const std::byte* from, const typename Isa::floats& dmin) {
        if constexpr (form::scales == kind::half) return Isa::load_half(from);
        if constexpr (form::scales == kind::super_6) return Isa::times(dmin, Isa::template load_field<0, 8>(from));
        if constexpr (form::scales == kind::super_nibbles) return Isa::times(dmin, Isa::template load_field<4, 4>(from));
    }

    /// `count` rows of a strip, and of `block` those that lack.
    static void pack_strip(const std::byte* blocks, index_t row_bytes, index_t count, index_t width, format::integer_block* block,
                           std::byte* to) {
        for (index_t s = 0; s < width / span; ++s, to += span_bytes) {
            for (index_t r = 0; r < count; ++r) form::unpack(blocks + r * row_bytes + s * F::bytes, block[r]);
            put_header(block, to);
            for (index_t c = 0; c < span / 32; ++c) put_chunk(block, c, to + header_bytes + c * chunk_bytes);
        }
    }
    /// The scales of a block, for 16 or 8 rows.
    static void put_header(const format::integer_block* block, std::byte* out) {
        if constexpr (is_super) {
            out = put_words(block, out, [](const format::integer_block& b) { return b.d; });
            if constexpr (form::has_minimum) out = put_words(block, out, [](const format::integer_block& b) { return b.dmin; });
        }
        if constexpr (scales_are_sixes) put_sixes(block, out);
    }
    /// 32 columns: the planes of the codes, then the scales of their groups.
    static void put_chunk(const format::integer_block* block, index_t c, std::byte* out) {
        low_bits == 3 ? put_threes(block, c, out) : put_plane<low_bits, 0>(block, c, out);
        out += low_bits * plane;
        if constexpr (high_bits > 0) {
            put_plane<high_bits, low_bits>(block, c, out);
            out += high_bits * plane;
        }
        for (index_t g = c * chunk_groups; g < (c + 1) * chunk_groups && !scales_are_sixes; ++g) {
            if constexpr (scales_are_words) {
                out = put_words(block, out, [g](const format::integer_block& b) { return b.scale[g]; });
                if constexpr (minimum_apart) out = put_words(block, out, [g](const format::integer_block& b) { return b.minimum[g]; });
            } else {
                out = put_bytes(block, out, [g](const format::integer_block& b) { return b.factor[g]; });
                if constexpr (minimum_apart) out = put_bytes(block, out, [g](const format::integer_block& b) { return b.min_factor[g]; });
            }
        }
    }
    /// One number of each row; returns what follows.
    static std::byte* put_words(const format::integer_block* block, std::byte* to, auto&& of) {
        for (index_t r = 0; r < rows; ++r, to += 2) {
            const std::uint16_t value = of(block[r]);
            std::memcpy(to, &value, 2);
        }
        return to;
    }
    static std::byte* put_bytes(const format::integer_block* block, std::byte* to, auto&& of) {
        for (index_t r = 0; r < rows; ++r, ++to) *to = static_cast<std::byte>(of(block[r]));
        return to;
    }

    /// Number n of row r is byte (n mod 4) · rows + r of register n / 4; the fourth register's bits lie above the other three's, two by
    /// two.
    static void put_sixes(const format::integer_block* block, std::byte* to) {
        std::memset(to, 0, 3 * plane);
        for (index_t n = 0; n < 16; ++n) {
            for (index_t r = 0; r < rows; ++r) {
                const unsigned number =
                    n < groups ? block[r].factor[n] + (scales_are_signed_sixes ? 32U : 0U) : block[r].min_factor[n - groups];
                std::byte* const at = to + n % 4 * rows + r;
                if (n < 12) {
                    at[n / 4 * plane] |= static_cast<std::byte>(number & 63U);
                } else {
                    for (int i = 0; i < 3; ++i) at[i * plane] |= static_cast<std::byte>((number >> (2 * i) & 3U) << 6U);
                }
            }
        }
    }
    /// The numbers as bytes of the four registers, minus 32 if they are signed.
    __attribute__((always_inline)) static void get_sixes(const std::byte* from, std::byte* to) {
        const auto put = [&](int i, typename Isa::bytes v) {
            Isa::store(to + i * plane, scales_are_signed_sixes ? Isa::template plus<-32>(v) : v);
        };
        const auto a = Isa::load(from), b = Isa::load(from + plane), c = Isa::load(from + 2 * plane);
        put(0, Isa::template field<0, 6>(a));
        put(1, Isa::template field<0, 6>(b));
        put(2, Isa::template field<0, 6>(c));
        put(3, Isa::template insert<6, 4, 2>(Isa::template insert<6, 2, 2>(Isa::template field<6, 2>(a), b), c));
    }

    static void put_threes(const format::integer_block* block, index_t c, std::byte* to) {
        std::memset(to, 0, static_cast<std::size_t>(3 * plane));
        const auto put = [&](index_t at, std::uint32_t bits) {
            std::uint32_t there;
            std::memcpy(&there, to + at, sizeof there);
            there |= bits;
            std::memcpy(to + at, &there, sizeof there);
        };
        for (index_t q = 0; q < 8; ++q) {
            for (index_t r = 0; r < rows; ++r) {
                std::uint32_t quad;
                std::memcpy(&quad, block[r].code + 32 * c + 4 * q, sizeof quad);
                if (q < 6) {
                    put(q % 3 * plane + 4 * r, quad << (3 * (q / 3)));
                } else {
                    put((q - 6) * plane + 4 * r, (quad & 0x03030303U) << 6U);
                    put(2 * plane + 4 * r, (quad >> 2U & 0x01010101U) << q);
                }
            }
        }
    }
    template <int Bits, int From>
    static void put_plane(const format::integer_block* block, index_t c, std::byte* to) {
        constexpr std::uint32_t each_byte = 0x01010101, mask = ((1U << Bits) - 1) * each_byte;
        constexpr std::uint32_t flip = form::zero == 128 && added == 0 ? 128 * each_byte : 0;
        std::memset(to, 0, static_cast<std::size_t>(Bits * plane));
        for (int q = 0; q < 8; ++q) {
            std::byte* const at = to + q % Bits * plane;
            const int shift = Bits == 8 ? 0 : Bits * (q / Bits);
            for (index_t r = 0; r < rows; ++r) {
                std::uint32_t quad, there;
                std::memcpy(&quad, block[r].code + 32 * c + 4 * q, sizeof quad);
                std::memcpy(&there, at + 4 * r, sizeof there);
                there |= (((quad ^ flip) >> From) & mask) << shift;
                std::memcpy(at + 4 * r, &there, sizeof there);
            }
        }
    }
};

namespace detail {

inline const quantized_chunk* activations_of(const std::byte* x) { return reinterpret_cast<const quantized_chunk*>(x); }

template <class Isa, is::integer_format F, bool Tiled>
constexpr packed_products make_products() {
    using form = packing<Isa, F>;
    using chunk = typename form::expanded_chunk;
    const auto multiply = [](const strip_set& bundles, const std::byte* x, index_t tokens, index_t width, float* y, index_t stride,
                             index_t y_apart) { form::multiply(bundles, activations_of(x), tokens, width, y, stride, y_apart); };
    const auto expand = [](const strip_set& bundles, index_t width, std::byte* to) {
        form::expand(bundles, width, reinterpret_cast<chunk*>(to));
    };
    const auto multiply_expanded = [](const std::byte* strip, const std::byte* x, index_t first, index_t last, index_t width, float* y,
                                      index_t stride) {
        const auto* const chunks = reinterpret_cast<const chunk*>(strip);
        chunk::template multiply<token_tile>(chunks, activations_of(x), first / 32, last / 32, width / 32, y, stride);
    };
    packed_products out{.rows = Isa::rows,
                        .x_form = Isa::wide_sums ? activation_form::bytes : activation_form::bytes_for_words,
                        .strip_bytes = &form::strip_bytes,
                        .pack = &form::pack,
                        .multiply = multiply,
                        .bundle = Tiled ? 1 : Isa::bundle,
                        .streams = Isa::streams,
                        .expand_from = Isa::expand_from,
                        .columns_at_once = 8192 / Isa::rows,
                        .strips_at_once = 24, // 200 to 300 KB
                        .expanded_bytes = [](index_t width) { return width / 32 * static_cast<index_t>(sizeof(chunk)); },
                        .expand = expand,
                        .multiply_expanded = multiply_expanded};
    if constexpr (Tiled) out.put_tiles = &form::put_tiles;
    return out;
}

} // namespace detail

} // namespace loupe::kernel
