// A cache for which there is no more memory.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/layer/kv_cache.hpp>

#include <cstdlib>
#include <new>
#include <vector>

namespace {

/// Which of the coming allocations of aligned memory fails; negative: none.
thread_local int failing = -1;

} // namespace

void* operator new(std::size_t bytes, std::align_val_t alignment) {
    if (failing >= 0 && failing-- == 0) throw std::bad_alloc();
    const auto a = static_cast<std::size_t>(alignment);
    if (bytes > ~std::size_t{0} - a) throw std::bad_alloc();
    void* const p = std::aligned_alloc(a, (bytes + a - 1) / a * a);
    if (p == nullptr) throw std::bad_alloc();
    return p;
}
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using namespace loupe;

TEST_CASE("kv: without memory for keys or for values a cache stays what it was", "[policy]") {
    constexpr index_t heads = 2, D = 4;
    std::vector<float> row(heads * D), found(D);
    for (const int which : {0, 1}) { // keys, values
        INFO("allocation " << which);
        kv_cache cache(heads, D, 0, 0);
        const auto write = [&](index_t p) {
            for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(p * 100 + static_cast<index_t>(i));
            cache.write(p, row, row);
        };
        const auto holds = [&](index_t p) {
            for (index_t h = 0; h < heads; ++h) {
                for (const auto& rows : {cache.keys(h), cache.values(h)}) {
                    rows.read(cache.row(p), found);
                    for (index_t d = 0; d < D; ++d) REQUIRE(found[static_cast<std::size_t>(d)] == static_cast<float>(p * 100 + h * D + d));
                }
            }
        };
        cache.make_room(0, 4);
        for (index_t p = 0; p < 4; ++p) write(p);
        const index_t bytes = cache.bytes();
        failing = which;
        CHECK_THROWS_AS(cache.make_room(4, 1000), std::bad_alloc);
        failing = -1;
        CHECK(cache.bytes() == bytes);
        for (index_t p = 0; p < 4; ++p) holds(p);
        cache.make_room(4, 1); // less than what keys had found room for
        write(4);
        for (index_t p = 0; p < 5; ++p) holds(p);
    }
}
