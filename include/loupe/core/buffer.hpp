// Aligned storage for scratch memory and decoded weights.
#pragma once

#include <loupe/core/types.hpp>
#include <loupe/core/view.hpp>

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace loupe {

/// Gives memory whose first byte lies on a cache line. Large blocks ask for huge pages: a matrix is read from end to end, and looking up an
/// address every 4 kB costs a tenth of that and more.
template <class T>
struct cache_line_allocator {
    using value_type = T;
    static constexpr std::size_t huge_page = std::size_t{1} << 21U;

    static constexpr std::align_val_t alignment(std::size_t bytes) { return std::align_val_t{bytes >= 2 * huge_page ? huge_page : 64}; }

    cache_line_allocator() = default;
    template <class U>
    constexpr cache_line_allocator(const cache_line_allocator<U>&) noexcept {}

    T* allocate(std::size_t n) {
        const std::size_t bytes = n * sizeof(T);
        void* const p = ::operator new(bytes, alignment(bytes));
#if defined(__linux__)
        if (bytes >= 2 * huge_page) ::madvise(p, bytes / huge_page * huge_page, MADV_HUGEPAGE); // advice: a failure changes nothing
#endif
        return static_cast<T*>(p);
    }
    void deallocate(T* p, std::size_t n) noexcept { ::operator delete(p, alignment(n * sizeof(T))); }
    friend bool operator==(const cache_line_allocator&, const cache_line_allocator&) = default;
};

/// A vector that starts on a cache line.
template <class T>
using aligned_vector = std::vector<T, cache_line_allocator<T>>;

/// Memory for what is written once and read many times, piece by piece from large blocks: small pieces lie side by side in huge pages.
class arena {
    static constexpr std::size_t block = std::size_t{64} << 20U;

    std::shared_ptr<std::byte> now_;
    std::size_t left_ = 0;

    static std::shared_ptr<std::byte> allocate(std::size_t bytes) {
        using allocator = cache_line_allocator<std::byte>;
        return {allocator().allocate(bytes), [bytes](std::byte* p) { allocator().deallocate(p, bytes); }};
    }

  public:
    /// `bytes` that begin on a cache line, contents unspecified. They live as long as the pointer or a copy of it.
    std::shared_ptr<std::byte> take(std::size_t bytes) {
        if (bytes >= block / 4) return allocate(bytes);
        bytes = (bytes + 63) / 64 * 64;
        if (!now_ || left_ < bytes) now_ = allocate(block), left_ = block;
        std::byte* const piece = now_.get() + (block - left_);
        left_ -= bytes;
        return {now_, piece};
    }
};

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
