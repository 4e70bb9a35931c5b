#include "products.hpp"

template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8>(const loupe::format::info&);
#if defined(LOUPE_HAS_AMX)
template const loupe::kernel::packed_products* loupe::kernel::products_for<loupe::simd::int8, true>(const loupe::format::info&);
#endif
template loupe::ref::matrix<double> loupe::ref::linear<double>(const loupe::ref::matrix<double>&, const loupe::kernel::weight_view&);
template double loupe::ref::dot<double>(std::span<const double>, std::span<const double>);
