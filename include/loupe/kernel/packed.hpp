// Which packed products there are: for every weight format, for the instructions of the target or of any other set.
#pragma once

#include <loupe/format/formats.hpp>
#include <loupe/kernel/packed_floats.hpp>
#include <loupe/kernel/packed_integers.hpp>

namespace loupe::kernel {

namespace detail {

template <class Isa, is::weight_format F, bool Tiled>
constexpr packed_products make_packed() {
    if constexpr (is::integer_format<F>)
        return make_products<Isa, F, Tiled>();
    else
        return make_float_products<Isa, F, Tiled>();
}

template <class Isa, is::weight_format F, bool Tiled>
inline constexpr packed_products products_with = make_packed<Isa, F, Tiled>();

} // namespace detail

/// Products with matrices of a format of the library's (format::all); null for others. Tiled: those of many tokens by simd::tiles.
template <class Isa = simd::int8, bool Tiled = false>
const packed_products* products_for(const format::info& f) {
    const packed_products* found = nullptr;
    for_each_type(format::all{}, [&]<class F>() {
        if (f.id == F::id) found = &detail::products_with<Isa, F, Tiled>;
    });
    return found;
}

/// products_for, by tiles where the machine has them.
inline const packed_products* fastest_products_for(const format::info& f) {
    if constexpr (simd::has_tiles) {
        if (simd::tiles_available()) return products_for<simd::int8, true>(f);
    }
    return products_for(f);
}

} // namespace loupe::kernel
