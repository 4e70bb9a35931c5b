// A value of slot::weights that changes the arithmetic of the products, not the weights. Apart from the others: it brings the kernels.
#pragma once

#include <loupe/kernel/packed.hpp>
#include <loupe/policy/weights.hpp>

namespace loupe::weights {

/// As Stored says, and products in integers: matrices of integer formats are laid out anew for products of 8-bit integers, and activations
/// are rounded to 8 bits in front of them, sixteen under one scale. Several times the speed of float products; what the rounding costs is
/// this slot's ablation. `weights::packed<>`, `weights::packed<weights::requantized<format::q4_0>>`.
template <is::weights Stored = as_stored>
struct packed : Stored {
    /// Null for formats that are no integers: their products stay in float.
    static const kernel::integer_products* products(const format::info& f) { return kernel::products_for(f); }
};

} // namespace loupe::weights
