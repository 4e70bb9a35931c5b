// What benchmarks work on: contents that no kernel minds. What is streamed, by the roof as by kernels, lies in the huge pages of
// loupe::aligned_vector, so that memory is measured and not the look-up of addresses.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/types.hpp>
#include <loupe/format/registry.hpp>

#include <algorithm>
#include <cstddef>
#include <random>

namespace bench {

using loupe::index_t;

inline std::size_t size(index_t n) { return static_cast<std::size_t>(n); }

/// Bytes of `values` floats.
inline index_t float_bytes(index_t values) { return values * static_cast<index_t>(sizeof(float)); }

/// n values, uniform in [−1, 1).
inline loupe::aligned_vector<float> random_floats(index_t n) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> draw(-1, 1);
    loupe::aligned_vector<float> values(size(n));
    for (float& v : values) v = draw(random);
    return values;
}

/// Rows of a format in random bytes: any bytes decode to numbers, and the arithmetic does not care which. Scales are kept finite by
/// clearing high bits.
inline loupe::aligned_vector<std::byte> random_blocks(const loupe::format::info& f, index_t rows, index_t width) {
    std::mt19937 random(1);
    loupe::aligned_vector<std::byte> bytes(size(rows * f.row_bytes(width)));
    const index_t count = std::ssize(bytes), drawn = std::min<index_t>(count, 1 << 20);
    std::generate_n(bytes.begin(), drawn, [&] { return static_cast<std::byte>(random() & 0x3f); });
    for (index_t i = drawn; i < count; ++i) bytes[size(i)] = bytes[size(i - drawn)];
    return bytes;
}

} // namespace bench
