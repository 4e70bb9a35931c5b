// What tests of packed products share.
#pragma once

#include "products.hpp"

#include <limits>
#include <random>

/// n values of a normal distribution.
inline loupe::aligned_vector<float> random_floats(loupe::index_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> draw;
    loupe::aligned_vector<float> values(static_cast<std::size_t>(n));
    for (float& v : values) v = draw(random);
    return values;
}

/// A matrix of [rows, width] in blocks that lie elsewhere, with its packed form.
struct packed_view : loupe::kernel::weight_view {
    loupe::aligned_vector<std::byte> memory;

    packed_view(const loupe::format::info& f, const std::byte* data, loupe::index_t rows, loupe::index_t width,
                const loupe::kernel::packed_products& with)
        : packed_view(f, data, rows, width, with, with.bundle) {}
    packed_view(const loupe::format::info& f, const std::byte* data, loupe::index_t rows, loupe::index_t width,
                const loupe::kernel::packed_products& with, loupe::index_t strips_interleaved)
        : loupe::kernel::weight_view(loupe::kernel::for_products({&f, data, rows, width}, with)) {
        loupe::executor one(1);
        bundle = strips_interleaved;
        memory = loupe::kernel::pack(*this, one);
        packed = memory.data();
    }
    packed_view(const packed_view&) = delete;
    packed_view& operator=(const packed_view&) = delete;
};

/// x · Wᵀ, [tokens, rows], for x of [tokens, width].
inline loupe::aligned_vector<float> product(const loupe::kernel::weight_view& w, const loupe::aligned_vector<float>& x,
                                            loupe::index_t tokens, loupe::index_t threads = 1) {
    loupe::executor run(threads);
    loupe::aligned_vector<float> y(static_cast<std::size_t>(tokens * w.rows), std::numeric_limits<float>::quiet_NaN());
    loupe::kernel::matmul(w, {x.data(), tokens, w.width}, {y.data(), tokens, w.rows}, run);
    return y;
}
