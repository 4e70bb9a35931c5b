#include "products.hpp"

#include <loupe/ref/matrix.hpp>

template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8>(const loupe::format::info&);
#if defined(LOUPE_HAS_AMX)
template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8, true>(const loupe::format::info&);
#endif
// Those of ref, which are most of the time that a whole model takes: optimised here, for tests that are not.
template loupe::ref::matrix<double> loupe::ref::linear<double>(const loupe::ref::matrix<double>&, const loupe::kernel::weight_view&);
template double loupe::ref::dot<double>(std::span<const double>, std::span<const double>);
