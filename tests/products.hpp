// Products with packed weights, and those of ref. Compiled once and optimised, in products.cpp: the first are most of what a test takes to
// compile that has them made, the others most of the time that a whole model takes to run.
#pragma once

#include <loupe/kernel/packed.hpp>
#include <loupe/ref/matrix.hpp>

extern template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8>(const loupe::format::info&);
#if defined(LOUPE_HAS_AMX)
extern template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8, true>(const loupe::format::info&);
#endif
extern template loupe::ref::matrix<double> loupe::ref::linear<double>(const loupe::ref::matrix<double>&, const loupe::kernel::weight_view&);
extern template double loupe::ref::dot<double>(std::span<const double>, std::span<const double>);
