// What benchmarks work on: contents that no kernel minds. What is streamed, by the roof as by kernels, lies in the huge pages of
// loupe::aligned_vector, so that memory is measured and not the look-up of addresses.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/types.hpp>
#include <loupe/format/random.hpp>
#include <loupe/format/registry.hpp>

#include <algorithm>
#include <cstddef>
#include <random>

namespace bench {

using loupe::index_t;

inline std::size_t size(index_t n) { return static_cast<std::size_t>(n); }

/// Bytes of `values` floats.
inline index_t float_bytes(index_t values) { return values * static_cast<index_t>(sizeof(float)); }

/// n values, uniform in [−1, 1). No two calls give the same ones: the product of a query with a key that is its like would dwarf all
/// others, whose weights in a softmax would be denormal numbers or none.
inline loupe::aligned_vector<float> random_floats(index_t n) {
    static std::mt19937 random(1);
    std::uniform_real_distribution<float> draw(-1, 1);
    loupe::aligned_vector<float> values(size(n));
    for (float& v : values) v = draw(random);
    return values;
}

/// Rows of random weights, of a size that weights have: arithmetic with denormal numbers, which random bytes would hold, takes some
/// processors a hundred times as long.
inline loupe::aligned_vector<std::byte> random_blocks(const loupe::format::info& f, index_t rows, index_t width) {
    const loupe::format::random_rows row(f, 0.02, 1);
    const index_t bytes = f.row_bytes(width);
    loupe::aligned_vector<std::byte> blocks(size(rows * bytes));
    for (index_t r = 0; r < rows; ++r) row(r, blocks.data() + r * bytes, width);
    return blocks;
}

} // namespace bench
