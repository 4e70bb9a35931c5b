// What benchmarks work on. What is streamed, by the roof as by kernels, lies in pages of 2 MB where the system has them, so that memory is
// measured and not the look-up of addresses; and contents that no kernel minds.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/types.hpp>
#include <loupe/format/registry.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <new>
#include <random>
#include <vector>

namespace bench {

using loupe::index_t;

/// Gives memory that begins on a page of 2 MB, and asks for such pages.
template <class T>
struct huge_page_allocator {
    using value_type = T;
    static constexpr std::size_t page = std::size_t{2} << 20;

    huge_page_allocator() = default;
    template <class U>
    constexpr huge_page_allocator(const huge_page_allocator<U>&) noexcept {}

    T* allocate(std::size_t n) {
        const std::size_t bytes = (n * sizeof(T) + page - 1) / page * page;
        void* const p = ::operator new (bytes, std::align_val_t{page});
        madvise(p, bytes, MADV_HUGEPAGE); // a wish: without it the pages are small, for all alike
        return static_cast<T*>(p);
    }
    void deallocate(T* p, std::size_t) noexcept { ::operator delete (p, std::align_val_t{page}); }
    friend bool operator==(const huge_page_allocator&, const huge_page_allocator&) = default;
};

template <class T>
using memory = std::vector<T, huge_page_allocator<T>>;

inline std::size_t size(index_t n) { return static_cast<std::size_t>(n); }

/// Bytes of `values` floats.
inline index_t float_bytes(index_t values) { return values * static_cast<index_t>(sizeof(float)); }

/// n values, uniform in [−1, 1), where a layer's activations lie: in small pages.
inline loupe::aligned_vector<float> random_floats(index_t n) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> draw(-1, 1);
    loupe::aligned_vector<float> values(size(n));
    for (float& v : values) v = draw(random);
    return values;
}

/// Rows of a format in random bytes: any bytes decode to numbers, and the arithmetic does not care which. Scales are kept finite by
/// clearing high bits.
inline memory<std::byte> random_blocks(const loupe::format::info& f, index_t rows, index_t width) {
    std::mt19937 random(1);
    memory<std::byte> bytes(size(rows * f.row_bytes(width)));
    const index_t count = std::ssize(bytes), drawn = std::min<index_t>(count, 1 << 20);
    std::generate_n(bytes.begin(), drawn, [&] { return static_cast<std::byte>(random() & 0x3f); });
    for (index_t i = drawn; i < count; ++i) bytes[size(i)] = bytes[size(i - drawn)];
    return bytes;
}

} // namespace bench
