// A value of slot::weights that changes the arithmetic of the products, not the weights. Apart from the others: it brings the kernels.
#pragma once

#include <loupe/kernel/packed.hpp>
#include <loupe/policy/weights.hpp>

namespace loupe::weights {

/// As Stored says, and products with packed weights: matrices are laid out anew for the machine's widest products. Of integer formats these
/// are products of 8-bit integers, and activations are rounded to 8 bits in front of them, sixteen under one scale; of BF16, where the
/// machine is faster by them, products of bfloat16, to which activations are rounded; of F32 and F16 products of floats. Several times the
/// speed of decoding; what the rounding costs is this slot's ablation. `weights::packed<>`,
/// `weights::packed<weights::requantized<format::q4_0>>`.
template <is::weights Stored = as_stored>
struct packed : Stored {
    /// Null for a format that is not the library's: its rows are decoded.
    static const kernel::packed_products* products(const format::info& f) { return kernel::products_for(f); }
};

/// As packed, and where the machine has tiles of bfloat16 (AMX), sixteen tokens and more are multiplied by these: integer weights and
/// activations are rounded to bfloat16, which is nearer to float than 8 bits are; F32 and F16 become sums of bfloat16, as exact as floats.
/// Several times the speed of packed on a prompt, of F32 and F16 nearly twice; but a token's result then depends on whether fifteen others
/// stand beside it, in an expert's rows on whether they chose it too. Elsewhere the same as packed.
template <is::weights Stored = as_stored>
struct tiled : packed<Stored> {
    static const kernel::packed_products* products(const format::info& f) { return kernel::fastest_products_for(f); }
};

} // namespace loupe::weights
