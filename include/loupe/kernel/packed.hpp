// Which packed products there are: for every weight format, for the instructions of the target or of any other set.
#pragma once

#include <loupe/format/formats.hpp>
#include <loupe/kernel/packed_floats.hpp>
#include <loupe/kernel/packed_integers.hpp>

namespace loupe::kernel {

namespace detail {

template <class Isa, is::weight_format F>
constexpr packed_products make_packed() {
    if constexpr (is::integer_format<F>)
        return make_products<Isa, F>();
    else
        return make_float_products<Isa, F>();
}

template <class Isa, is::weight_format F>
inline constexpr packed_products products_with = make_packed<Isa, F>();

} // namespace detail

/// Products with matrices of a format of the library's (format::all); null for others.
template <class Isa = simd::int8>
const packed_products* products_for(const format::info& f) {
    const packed_products* found = nullptr;
    for_each_type(format::all{}, [&]<class F>() {
        if (f.id == F::id) found = &detail::products_with<Isa, F>;
    });
    return found;
}

} // namespace loupe::kernel
