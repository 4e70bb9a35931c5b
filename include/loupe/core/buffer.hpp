// Aligned storage for scratch memory and decoded weights.
#pragma once

#include <loupe/core/types.hpp>
#include <loupe/core/view.hpp>

#include <cstddef>
#include <new>
#include <vector>

namespace loupe {

/// Gives memory whose first byte lies on a cache line.
template <class T>
struct cache_line_allocator {
    using value_type = T;
    static constexpr std::align_val_t alignment{64};

    cache_line_allocator() = default;
    template <class U>
    constexpr cache_line_allocator(const cache_line_allocator<U>&) noexcept {}

    T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), alignment)); }
    void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, alignment); }
    friend bool operator==(const cache_line_allocator&, const cache_line_allocator&) = default;
};

/// A vector that starts on a cache line.
template <class T>
using aligned_vector = std::vector<T, cache_line_allocator<T>>;

/// Scratch memory of one place in a layer: grows to the largest size ever asked for and is then reused, so a token allocates nothing.
template <class T>
class scratch {
    aligned_vector<T> storage_;

  public:
    /// `n` values, contents unspecified.
    std::span<T> take(index_t n) {
        if (static_cast<index_t>(storage_.size()) < n) storage_.resize(static_cast<std::size_t>(n));
        return {storage_.data(), static_cast<std::size_t>(n)};
    }
    /// What was taken last.
    const T* data() const { return storage_.data(); }
    /// A view of shape [rows, width], contents unspecified.
    matrix_view<T> take(index_t rows, index_t width) { return {take(rows * width).data(), rows, width}; }
};

} // namespace loupe
