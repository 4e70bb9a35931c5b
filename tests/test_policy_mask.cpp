// Masks, image masks and caches against their definitions. Traps: a window of W holds the query's own key (W keys, not W + 1), image tokens
// see each other in sliding blocks only, and a cache forgets nothing that a mask still shows.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/layer/attention.hpp>
#include <loupe/model/check.hpp>
#include <loupe/policy/kv.hpp>
#include <loupe/policy/mask.hpp>

#include <vector>

using namespace loupe;

namespace {

template <class Mask>
std::vector<index_t> seen(index_t query, index_t length, mask_sizes sizes = {}) {
    std::vector<index_t> keys;
    for (index_t key = 0; key < length; ++key) {
        if (Mask::sees(query, key, sizes)) keys.push_back(key);
    }
    return keys;
}

std::vector<index_t> range(index_t first, index_t last) {
    std::vector<index_t> out;
    for (index_t i = first; i < last; ++i) out.push_back(i);
    return out;
}

/// The keys that attention would use, through a cache with all positions in it.
template <class Mask, class Kv>
std::vector<index_t> listed(index_t query, index_t end, mask_sizes sizes) {
    kv_cache cache(1, 1, 0, 0);
    cache.make_room(0, std::max(end, query + 1));
    visible_keys keys;
    list_visible(seen_by<Mask, Kv>(query, end, Mask::looks_ahead ? 0 : end, sizes), cache, nullptr, keys);
    CHECK(keys.rows == keys.positions); // such a cache holds position p in row p
    return keys.positions;
}

} // namespace

TEST_CASE("mask: the toy tables of the specification", "[policy]") {
    CHECK(seen<mask::sliding<>>(6, 20, {4}) == std::vector<index_t>{3, 4, 5, 6});
    CHECK(seen<mask::sliding<4>>(6, 20, {512}) == std::vector<index_t>{3, 4, 5, 6});
    CHECK(seen<mask::sliding<>>(2, 20, {4}) == std::vector<index_t>{0, 1, 2});
    CHECK(seen<mask::sliding<1>>(6, 20) == std::vector<index_t>{6});
    CHECK(seen<mask::causal>(4, 20) == range(0, 5));
    CHECK(seen<mask::chunked<4>>(6, 20) == std::vector<index_t>{4, 5, 6});
    CHECK(seen<mask::chunked<4>>(3, 20) == range(0, 4));
    CHECK(seen<mask::chunked<4>>(4, 20) == std::vector<index_t>{4});
    CHECK(seen<mask::bidirectional<>>(4, 9) == range(0, 9));
    CHECK(seen<mask::bidirectional<2>>(4, 9) == range(2, 7));
    CHECK(seen<mask::bidirectional<0>>(4, 9) == std::vector<index_t>{4});
}

TEST_CASE("mask: reach is never shorter than what is seen, and only masks that look ahead see ahead", "[policy]") {
    const auto check = []<class Mask>(std::type_identity<Mask>) {
        for (const index_t window : {1, 3, 8}) {
            const mask_sizes sizes{window};
            const index_t reach = Mask::reach(sizes);
            bool used = false;
            for (index_t q = 0; q < 40; ++q) {
                for (index_t k = 0; k < 40; ++k) {
                    if (!Mask::sees(q, k, sizes)) continue;
                    if (reach != 0 && q - k >= reach) FAIL("query " << q << " sees key " << k << " beyond a reach of " << reach);
                    if (k > q && !Mask::looks_ahead) FAIL("query " << q << " sees key " << k << " ahead");
                    used = used || q - k == reach - 1;
                }
                CHECK(Mask::sees(q, q, sizes));
            }
            if (reach != 0) CHECK(used); // as short as it can be
        }
    };
    check(std::type_identity<mask::causal>{});
    check(std::type_identity<mask::sliding<>>{});
    check(std::type_identity<mask::sliding<5>>{});
    check(std::type_identity<mask::chunked<5>>{});
    check(std::type_identity<mask::bidirectional<>>{});
    check(std::type_identity<mask::bidirectional<3>>{});
}

TEST_CASE("mask: image tokens see each other, as far back as the window reaches", "[policy]") {
    // ids T T I I I T of the specification: `end` is one past the image for its tokens
    const std::vector<std::int32_t> blocks{-1, -1, 0, 0, 0, -1};
    const auto end = ends_of_images(blocks, 6, 0);
    CHECK(end == std::vector<index_t>{0, 0, 5, 5, 5, 0});
    const auto sees = [&](index_t query, index_t window) {
        return listed<mask::sliding<>, kv::full>(query, std::max(query + 1, end[static_cast<std::size_t>(query)]), {window});
    };
    for (index_t q = 2; q < 5; ++q) CHECK(sees(q, 100) == range(0, 5));
    CHECK(sees(5, 100) == range(0, 6));
    CHECK(sees(1, 100) == range(0, 2));
    CHECK(sees(3, 2) == std::vector<index_t>{2, 3, 4}); // behind, the window cuts; ahead, it does not
    // Full blocks do not use `end`: a plain lower triangle.
    for (index_t q = 0; q < 6; ++q) CHECK(listed<mask::causal, kv::full>(q, q + 1, {}) == range(0, q + 1));
}

TEST_CASE("mask: two images that touch, and an image inside a later chunk", "[policy]") {
    CHECK(ends_of_images(std::vector<std::int32_t>{0, 0, 1, 1, -1, 2}, 6, 0) == std::vector<index_t>{2, 2, 4, 4, 0, 6});
    CHECK(ends_of_images(std::vector<std::int32_t>{-1, 3, 3}, 3, 100) == std::vector<index_t>{0, 103, 103});
    CHECK_THROWS_AS(ends_of_images(std::vector<std::int32_t>{0, 0}, 3, 0), error);
}

TEST_CASE("kv: what a policy keeps", "[policy]") {
    const auto kept = []<class Kv>(std::type_identity<Kv>, index_t query) {
        std::vector<index_t> keys;
        for (index_t k = 0; k <= query; ++k) {
            if (kv::keeps<Kv>(query, k)) keys.push_back(k);
        }
        return keys;
    };
    CHECK(kept(std::type_identity<kv::full>{}, 9) == range(0, 10));
    CHECK(kept(std::type_identity<kv::window<3>>{}, 9) == std::vector<index_t>{7, 8, 9});
    CHECK(kept(std::type_identity<kv::window<3>>{}, 1) == std::vector<index_t>{0, 1});
    CHECK(kept(std::type_identity<kv::sink_window<2, 3>>{}, 9) == std::vector<index_t>{0, 1, 7, 8, 9});
    CHECK(kept(std::type_identity<kv::sink_window<2, 3>>{}, 3) == std::vector<index_t>{0, 1, 2, 3}); // sinks and window meet: nothing twice
    CHECK(kept(std::type_identity<kv::sink_window<0, 3>>{}, 9) == kept(std::type_identity<kv::window<3>>{}, 9));
}

TEST_CASE("kv: attention lists each key once and in order, whatever mask and cache policy meet", "[policy]") {
    const auto check = []<class Mask, class Kv>(std::type_identity<Mask>, std::type_identity<Kv>) {
        const mask_sizes sizes{7};
        for (index_t query = 0; query < 40; ++query) {
            std::vector<index_t> slow;
            for (index_t key = 0; key <= query; ++key) {
                if (Mask::sees(query, key, sizes) && kv::keeps<Kv>(query, key)) slow.push_back(key);
            }
            if (listed<Mask, Kv>(query, query + 1, sizes) != slow) FAIL("query " << query);
        }
    };
    const auto all = [&]<class Mask>(std::type_identity<Mask> m) {
        check(m, std::type_identity<kv::full>{});
        check(m, std::type_identity<kv::window<1>>{});
        check(m, std::type_identity<kv::window<9>>{});
        check(m, std::type_identity<kv::sink_window<4, 6>>{});
        check(m, std::type_identity<kv::sink_window<30, 3>>{});
        check(m, std::type_identity<kv::sink_window<0, 6>>{});
    };
    all(std::type_identity<mask::causal>{});
    all(std::type_identity<mask::sliding<>>{});
    all(std::type_identity<mask::sliding<12>>{});
    all(std::type_identity<mask::chunked<5>>{});
    SUCCEED();
}

TEST_CASE("kv: the ring still holds every key that a query may see", "[policy]") {
    for (const index_t sinks : {0, 2, 5}) {
        for (const index_t reach : {1, 4, 7}) {
            for (const index_t chunk : {1, 3, 9}) {
                kv_cache cache(1, 1, sinks, reach);
                index_t length = 0;
                const auto read = [&](index_t n) {
                    cache.make_room(length, n);
                    for (index_t p = length; p < length + n; ++p) {
                        const float key = static_cast<float>(p), value = -key;
                        cache.write(p, {&key, 1}, {&value, 1});
                    }
                    for (index_t q = length; q < length + n; ++q) {
                        for (index_t k = 0; k <= q; ++k) {
                            if (k >= sinks && k <= q - reach) continue;
                            float key = 0, value = 0;
                            cache.keys(0).read(cache.row(k), {&key, 1}), cache.values(0).read(cache.row(k), {&value, 1});
                            if (key != static_cast<float>(k) || value != -key) {
                                FAIL("sinks " << sinks << ", reach " << reach << ", chunk " << chunk << ": query " << q << " has lost key "
                                              << k);
                            }
                        }
                    }
                    length += n;
                };
                for (int i = 0; i < 8; ++i) read(chunk);
                read(2 * chunk); // a larger chunk than before: the ring grows
                for (int i = 0; i < 4; ++i) read(1);
                CHECK(cache.bytes() <= 8 * (sinks + reach - 1 + 2 * chunk));
            }
        }
    }
}

TEST_CASE("kv: every head keeps its rows while the cache grows", "[policy]") {
    constexpr index_t heads = 3, D = 2;
    const auto value = [](index_t p, index_t h, index_t d) { return static_cast<float>((p * heads + h) * D + d); };
    for (const index_t reach : {0, 40}) {
        kv_cache cache(heads, D, 1, reach);
        std::vector<float> key(heads * D), negative(key.size()), found(D);
        for (index_t p = 0; p < 200; ++p) {
            cache.make_room(p, p == 100 ? 30 : 1); // a ring that grows is laid out anew
            for (std::size_t i = 0; i < key.size(); ++i) key[i] = value(p, 0, static_cast<index_t>(i)), negative[i] = -key[i];
            cache.write(p, key, negative);
            for (index_t held = 0; held <= p; ++held) {
                if (!cache.holds(held)) continue;
                for (index_t h = 0; h < heads; ++h) {
                    cache.keys(h).read(cache.row(held), found);
                    REQUIRE(found == std::vector<float>{value(held, h, 0), value(held, h, 1)});
                    cache.values(h).read(cache.row(held), found);
                    REQUIRE(found == std::vector<float>{-value(held, h, 0), -value(held, h, 1)});
                }
            }
        }
        CHECK_THROWS_WITH(cache.keys(heads), "kv_cache: expected a head from 0 to 2, found 3");
        CHECK_THROWS_WITH(cache.values(-1), "kv_cache: expected a head from 0 to 2, found -1");
    }
}

// A file may name any window, up to 2^40: the ring is as large as the text needs it.
TEST_CASE("kv: a window beyond the text takes memory for the text only", "[policy]") {
    kv_cache cache(1, 8, 0, index_t{1} << 40);
    std::vector<float> row(8);
    const auto read = [&](index_t first, index_t count) {
        cache.make_room(first, count);
        for (index_t p = first; p < first + count; ++p) {
            std::ranges::fill(row, static_cast<float>(p));
            cache.write(p, row, row);
        }
    };
    read(0, 100);
    for (index_t p = 100; p < 1000; ++p) read(p, 1);
    CHECK(cache.bytes() <= 2 * 4 * 8 * 1500);
    for (index_t p = 0; p < 1000; ++p) {
        cache.keys(0).read(cache.row(p), row);
        REQUIRE(row[7] == static_cast<float>(p));
    }
    cache.make_room(0, 1); // another sequence
    CHECK(cache.oldest() == 0);
    kv_cache past(1, 8, 2, index_t{1} << 40);
    past.make_room_for_past(300);
    const auto fill = [&](index_t p) {
        std::ranges::fill(row, static_cast<float>(p));
        past.write(p, row, row);
    };
    for (index_t p = 0; p < 300; ++p) fill(p);
    for (index_t p = 300; p < 500; ++p) past.make_room(p, 1), fill(p);
    CHECK(past.can_rewind(3));
    for (index_t p = 0; p < 500; ++p) {
        past.values(0).read(past.row(p), row);
        REQUIRE(row[0] == static_cast<float>(p));
    }
    kv_cache wide(1, index_t{1} << 28, 0, 0); // rows · bytes of a row would not fit 64 bits
    CHECK_THROWS_AS(wide.make_room(0, index_t{1} << 40), std::bad_alloc);
    kv_cache many(index_t{1} << 40, index_t{1} << 22, 0, 0); // nor would the bytes of all heads
    CHECK_THROWS_AS(many.make_room(0, 1), std::bad_alloc);
}
