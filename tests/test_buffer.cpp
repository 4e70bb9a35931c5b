// Memory: what an arena hands out.
#include <loupe/core/buffer.hpp>
#include <loupe/core/compat/catch2.hpp>

#include <cstdint>
#include <cstring>
#include <vector>

using namespace loupe;

TEST_CASE("arena: pieces begin on cache lines, do not overlap and outlive it", "[buffer]") {
    struct piece {
        std::shared_ptr<std::byte> memory;
        std::size_t bytes;
    };
    std::vector<piece> pieces;
    {
        arena from;
        pieces.push_back({from.take(0), 0});
        // small ones that fill more than one block of 64 MB, and some that have a block of their own
        for (std::size_t i = 0; i < 40; ++i) {
            const std::size_t bytes = i % 10 == 9 ? std::size_t{17} << 20U : (std::size_t{3} << 20U) + 7 * i + 1;
            pieces.push_back({from.take(bytes), bytes});
        }
    }
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        CHECK(reinterpret_cast<std::uintptr_t>(pieces[i].memory.get()) % 64 == 0);
        std::memset(pieces[i].memory.get(), static_cast<int>(i), pieces[i].bytes);
    }
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (pieces[i].bytes == 0) continue;
        CHECK(pieces[i].memory.get()[0] == static_cast<std::byte>(i));
        CHECK(pieces[i].memory.get()[pieces[i].bytes - 1] == static_cast<std::byte>(i));
    }
}
