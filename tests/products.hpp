// Products with packed weights. Compiled once, in products.cpp: they are most of what a test takes to compile that has them made.
#pragma once

#include <loupe/kernel/packed.hpp>

extern template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8>(const loupe::format::info&);
#if defined(LOUPE_HAS_AMX)
extern template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8, true>(const loupe::format::info&);
#endif
