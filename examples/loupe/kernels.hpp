// What a model spends its time in: products with packed weights, and the decoders of all formats. Compiled once, in kernels.cpp.
#pragma once

#include <loupe/format/formats.hpp>
#include <loupe/kernel/packed.hpp>

#include <string>

extern template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8>(const loupe::format::info&);
#if defined(LOUPE_HAS_AMX)
extern template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8, true>(const loupe::format::info&);
#endif

namespace program {

/// The format of a name that is known to be one, whatever its case.
const loupe::format::info& format_of(const std::string& name);

} // namespace program
