// Attention behind a long context: by tiles, by spans that threads share, and query by query for those who look, against double. Traps: a
// maximum that comes late, a span in which a query sees nothing, keys of a ring, what a probe writes must count.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/layer/attention.hpp>
#include <loupe/policy/softcap.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace loupe;

namespace {

constexpr index_t kv_heads = 2, group = 3, heads = kv_heads * group;

/// A cache of `length` positions and queries of the last `tokens` of them.
struct long_context {
    index_t length, tokens, width;
    kv_cache cache;
    std::vector<float> queries, keys, values;
    workspace memory;
    rope_table none;
    std::vector<token_id> ids;

    /// With `rounded` a cache of floats holds what one of that format would give back.
    long_context(index_t n, index_t t, index_t D, index_t reach, const format::info& format = format::info_of<format::f32>(),
                 bool rounded = false)
        : length(n), tokens(t), width(D), cache(kv_heads, D, 0, reach, rounded ? format::info_of<format::f32>() : format), ids(t) {
        std::mt19937 random(static_cast<unsigned>(n));
        std::normal_distribution<float> normal(0, 1);
        const auto fill = [&](std::vector<float>& v, index_t count) {
            for (index_t i = 0; i < count; ++i) v.push_back(normal(random));
        };
        fill(queries, t * heads * D), fill(keys, n * kv_heads * D), fill(values, n * kv_heads * D);
        const index_t late = std::max<index_t>(0, n - 70) * kv_heads * D;
        for (index_t i = 0; i < kv_heads * D; ++i) keys[late + i] *= 5; // a maximum that comes late
        for (index_t p = 0; p < n; ++p) {
            if (p < n - t) cache.make_room(p, 1);
            if (p == n - t) cache.make_room(p, t);
            const auto held = [&](std::vector<float>& of) {
                const auto row = std::span(of).subspan(static_cast<std::size_t>(p * kv_heads * D), static_cast<std::size_t>(kv_heads * D));
                std::vector<std::byte> blocks(static_cast<std::size_t>(format.row_bytes(kv_heads * D)));
                if (rounded) format.encode_row(row.data(), blocks.data(), kv_heads * D);
                if (rounded) format.decode_row(blocks.data(), row.data(), kv_heads * D);
                return row;
            };
            cache.write(p, held(keys), held(values));
        }
    }
    context chunk(executor& threads) { return {threads, memory, length - tokens, tokens, ids, {}, none, none, 1e-6F}; }
    matrix_view<const float> q() const { return {queries.data(), tokens, heads * width}; }

    template <class Sees>
    double exact(index_t t, index_t h, index_t d, float scale, Sees&& sees) const {
        const float* query = queries.data() + (t * heads + h) * width;
        const index_t g = h / group;
        double largest = -1e300, sum = 0, y = 0;
        std::vector<double> scores;
        for (index_t p = 0; p < length; ++p) {
            double s = 0;
            for (index_t i = 0; i < width; ++i) {
                s += static_cast<double>(query[i]) * static_cast<double>(keys[(p * kv_heads + g) * width + i]);
            }
            scores.push_back(s * static_cast<double>(scale));
            if (sees(length - tokens + t, p)) largest = std::max(largest, scores.back());
        }
        for (index_t p = 0; p < length; ++p) {
            if (!sees(length - tokens + t, p)) continue;
            const double w = std::exp(scores[p] - largest);
            sum += w, y += w * static_cast<double>(values[(p * kv_heads + g) * width + d]);
        }
        return y / sum;
    }
};

struct looks {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::attn_scores> || std::same_as<Place, at::attn_probs>;
    index_t calls = 0;
    template <class Place>
    void operator()(Place, index_t, index_t, matrix_view<float>) {
        ++calls;
    }
};
struct first_key_only : looks {
    template <class Place>
    void operator()(Place, index_t, index_t, matrix_view<float> x) {
        if constexpr (std::same_as<Place, at::attn_probs>) {
            for (index_t h = 0; h < x.rows; ++h) {
                std::fill(x[h].begin(), x[h].end(), 0.0F);
                x[h][0] = 1;
            }
        }
    }
};

/// What `probe` makes of all queries, or what attention with pruning does.
template <class Mask, bool Prunes = false, class Probe = probe::none>
std::vector<float> attended(long_context& all, const attention_sizes& sizes, index_t threads, Probe probe = {}) {
    executor on(threads);
    auto c = watched_by(probe, all.chunk(on));
    std::vector<float> out(static_cast<std::size_t>(all.tokens * heads * all.width), NAN);
    attend<Mask, kv::full, softcap::none, Prunes, Probe>(c, sizes, all.q(), all.cache, {out.data(), all.tokens, heads * all.width});
    return out;
}

/// A cache in a format gives the bits of a cache of floats that holds what the format makes of them, to all who read it.
template <class Mask, class Format>
void check_format(index_t length, index_t tokens, index_t width, index_t window) {
    INFO(Format::name << ": " << length << " positions, " << tokens << " queries, width " << width << ", window " << window);
    const format::info& format = format::info_of<Format>();
    long_context found(length, tokens, width, Mask::reach({window}), format),
        expected(length, tokens, width, Mask::reach({window}), format, true), exact(length, tokens, width, Mask::reach({window}));
    const attention_sizes sizes{0, heads, kv_heads, width, {window}, 0.3F, 0, false};
    const auto alone = attended<Mask>(found, sizes, 1);
    CHECK(alone == attended<Mask>(expected, sizes, 1));
    CHECK(alone != attended<Mask>(exact, sizes, 1));
    CHECK(alone == attended<Mask>(found, sizes, 16));
    CHECK(alone == attended<Mask>(found, sizes, 1, looks{}));
    CHECK((attended<Mask, true>(found, sizes, 1) == attended<Mask, true>(expected, sizes, 1)));
    CHECK(attended<Mask>(found, sizes, 1, first_key_only{}) == attended<Mask>(expected, sizes, 1, first_key_only{}));
    CHECK(found.cache.bytes() * format::f32::bytes * Format::length == exact.cache.bytes() * Format::bytes);
}

template <class Mask>
void check(index_t length, index_t tokens, index_t width, index_t window) {
    INFO(length << " positions, " << tokens << " queries, width " << width << ", window " << window);
    long_context all(length, tokens, width, Mask::reach({window}));
    const attention_sizes sizes{0, heads, kv_heads, width, {window}, 0.3F, 0, false};
    const auto run = [&]<class Probe>(Probe& probe, index_t threads) {
        executor on(threads);
        auto c = watched_by(probe, all.chunk(on));
        std::vector<float> out(static_cast<std::size_t>(tokens * heads * width), NAN);
        attend<Mask, kv::full, softcap::none, false, Probe>(c, sizes, all.q(), all.cache, {out.data(), tokens, heads * width});
        return out;
    };
    probe::none nobody;
    const auto alone = run(nobody, 1);
    for (const index_t threads : {2, 3, 16}) CHECK(run(nobody, threads) == alone); // 16: more threads than tiles, so spans
    looks observer;
    CHECK(run(observer, 2) == alone);
    CHECK(observer.calls == 2 * tokens);

    double worst = 0;
    for (index_t t = 0; t < tokens; t += 3) {
        for (index_t h = 0; h < heads; ++h) {
            for (index_t d = 0; d < width; d += 7) {
                const double e = all.exact(t, h, d, sizes.score_scale, [&](index_t q, index_t k) { return Mask::sees(q, k, {window}); });
                worst = std::max(worst, std::abs(e - static_cast<double>(alone[(t * heads + h) * width + d])));
            }
        }
    }
    // Scores reach 40: a rounding there is 40 · 2⁻²⁴ of a weight; values are below 5.
    CHECK(worst < 4 * 40 * 0x1p-24 * 5);

    first_key_only writer;
    const auto first = run(writer, 1);
    const index_t seen = std::max<index_t>(0, Mask::reach({window}) == 0 ? 0 : length - tokens - window + 1);
    CHECK(first[0] == all.values[seen * kv_heads * width]);
}

} // namespace

TEST_CASE("attention: spans of a long context give the bits of one thread, and of those who look", "[attention][determinism]") {
    check<mask::causal>(2600, 1, 20, 0);
    check<mask::causal>(2600, 19, 37, 0);
    check<mask::causal>(1024, 1, 64, 0);
    check<mask::causal>(1025, 8, 64, 0);
    check<mask::causal>(90, 40, 16, 0);
    check<mask::sliding<>>(2600, 19, 20, 1500);
    check<mask::sliding<>>(2050, 9, 33, 4); // the window crosses a span
}

TEST_CASE("attention: a cache in a format gives the bits of what it makes of keys and values", "[attention][determinism]") {
    const auto all = []<class Format>(std::type_identity<Format>) {
        check_format<mask::causal, Format>(1100, 1, 64, 0);
        check_format<mask::causal, Format>(90, 40, 32, 0);
        check_format<mask::sliding<>, Format>(1100, 19, 32, 40); // a ring: rows not in order
    };
    all(std::type_identity<format::bf16>{});
    all(std::type_identity<format::f16>{});
    all(std::type_identity<format::q8_0>{});
    check_format<mask::causal, format::f16>(100, 3, 37, 0); // no multiple of a vector
}

namespace {

/// Bytes of zero are no number in this format.
struct upside_down {
    static constexpr std::uint32_t id = 4000;
    static constexpr std::string_view name = "UPSIDE_DOWN";
    static constexpr index_t length = 1, bytes = 4;
    static void decode(const std::byte* block, float* out) noexcept {
        const auto bits = format::detail::load<std::uint32_t>(block);
        *out = bits == 0 ? NAN : std::bit_cast<float>(~bits);
    }
    static void encode(const float* in, std::byte* block) noexcept { format::detail::store(block, ~std::bit_cast<std::uint32_t>(*in)); }
};

} // namespace

TEST_CASE("attention: rows of a ring that nobody has written count for nothing, in any format", "[attention]") {
    constexpr index_t D = 16, window = 4, length = 130;
    const std::vector<float> row(static_cast<std::size_t>(kv_heads * D), 0.5F), queries(static_cast<std::size_t>(heads * D), 1.0F);
    kv_cache cache(kv_heads, D, 0, window, format::info_of<upside_down>());
    for (index_t p = 0; p < length - 1; ++p) cache.make_room(p, 1), cache.write(p, row, row);
    cache.make_room(length - 1, 60); // the ring grows: most of its rows are empty
    cache.write(length - 1, row, row);
    workspace memory;
    rope_table none;
    executor one(1);
    const std::vector<token_id> ids(1);
    context c{one, memory, length - 1, 1, ids, {}, none, none, 1e-6F};
    std::vector<float> out(queries.size());
    attend<mask::sliding<>, kv::full, softcap::none, false, probe::none>(c, {0, heads, kv_heads, D, {window}, 1, 0, false},
                                                                         {queries.data(), 1, heads * D}, cache, {out.data(), 1, heads * D});
    CHECK(out == std::vector<float>(out.size(), 0.5F)); // a mean of equal values
}

TEST_CASE("attention: a query's sums do not depend on how many are built beside it", "[attention][determinism]") {
    constexpr index_t keys = 100, most = 17;
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0, 1);
    std::vector<index_t> places(keys);
    for (index_t j = 0; j < keys; ++j) places[static_cast<std::size_t>(j)] = j;
    for (const index_t width : {5, 16, 20, 64, 200}) {
        std::vector<float> k(static_cast<std::size_t>(keys * width)), v(k.size()), q(static_cast<std::size_t>(most * width));
        for (auto* const all : {&k, &v, &q}) {
            for (float& x : *all) x = normal(random);
        }
        const auto held = [&](const std::vector<float>& of) { return kernel::cached_rows::of({of.data(), keys, width}); };
        const auto sums = [&](index_t first, index_t count) {
            std::vector<const float*> queries;
            for (index_t r = first; r < first + count; ++r) queries.push_back(q.data() + r * width);
            const std::vector<std::uint64_t> seen(queries.size(), ~std::uint64_t{0});
            kernel::attention_sums all;
            all.start(queries, width);
            for (const index_t block : {0, 64}) {
                const auto here = std::span(places).subspan(static_cast<std::size_t>(block)).first(block == 0 ? 64 : keys - 64);
                all.add<softcap::none>(held(k), held(v), here, seen, 0.3F, 0);
            }
            std::vector<float> out(static_cast<std::size_t>(count * width));
            for (index_t r = 0; r < count; ++r)
                all.finish(r, std::span(out).subspan(static_cast<std::size_t>(r * width), static_cast<std::size_t>(width)));
            return out;
        };
        std::vector<float> alone;
        for (index_t r = 0; r < most; ++r) {
            const auto one = sums(r, 1);
            alone.insert(alone.end(), one.begin(), one.end());
        }
        for (index_t count = 1; count <= most; ++count) {
            INFO(count << " queries, width " << width);
            CHECK(sums(0, count) == std::vector<float>(alone.begin(), alone.begin() + count * width));
        }
    }
}

TEST_CASE("attention: a weight that would be a denormal number is none", "[attention]") {
    const auto mixed = [](float score) { // of 0, whose score is 0, and of a value that shows the smallest weight
        constexpr index_t width = 16;
        std::vector<float> q(width, 0.0F), k(2 * width, 0.0F), v(2 * width, 0.0F), out(width);
        q[0] = 1, k[width] = score, v[width] = 3e38F;
        const float* const query = q.data();
        const auto held = [&](const std::vector<float>& of) { return kernel::cached_rows::of({of.data(), 2, width}); };
        kernel::attention_sums sums;
        sums.start({&query, 1}, width);
        sums.add<softcap::none>(held(k), held(v), std::vector<index_t>{0, 1}, std::vector{~std::uint64_t{0}}, 1, 0);
        sums.finish(0, out);
        return out[0];
    };
    CHECK(mixed(-87.5F) == 0); // e^−87.5 = 1e−38
    CHECK_THAT(mixed(-87.0F), Catch::Matchers::WithinRel(3e38 * std::exp(-87.0), 1e-5));
}

TEST_CASE("attention: a query that sees nothing gives zeros", "[attention]") {
    kernel::attention_sums sums, later;
    sums.start(1, 5), later.start(1, 5);
    sums.merge(later);
    std::vector<float> out(5, 7.0F);
    sums.finish(0, out);
    CHECK(out == std::vector<float>(5, 0.0F));
}

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// What the last of `length` positions mixes, of values that are all 1, if key `bad` is no number.
float mixed_beside(index_t length, index_t bad) {
    constexpr index_t D = 64;
    kv_cache cache(1, D, 0, 0);
    cache.make_room(0, length);
    const std::vector<float> key(D, 0.1F), no_key(D, not_a_number), value(D, 1.0F), query(D, 0.1F);
    for (index_t p = 0; p < length; ++p) cache.write(p, p == bad ? no_key : key, value);
    workspace memory;
    rope_table none;
    executor one(1);
    const std::vector<token_id> ids(1);
    context c{one, memory, length - 1, 1, ids, {}, none, none, 1e-6F};
    std::vector<float> out(D, 7.0F);
    attend<mask::causal, kv::full, softcap::none, false, probe::none>(c, {0, 1, 1, D, {0}, 1, 0, false}, {query.data(), 1, D}, cache,
                                                                      {out.data(), 1, D});
    return out[0];
}

/// Takes key 0 away from all queries, and may look at what becomes of the weights.
template <bool Looks>
struct first_key_knocked_out {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::attn_scores> || (Looks && std::same_as<Place, at::attn_probs>);
    template <class Place>
    void operator()(Place, index_t, index_t, matrix_view<float> x) {
        for (index_t h = 0; h < x.rows && std::same_as<Place, at::attn_scores>; ++h) x[h][0] = kernel::attention_sums::unseen;
    }
};

/// Lets attention of the same kind read something else, whenever it is called.
struct reads_another : looks {
    index_t* left;
    template <class Place>
    void operator()(Place, index_t, index_t, matrix_view<float>) {
        if (--*left != 0) return;
        long_context other(2000, 1, 8, 0);
        attended<mask::causal>(other, {0, heads, kv_heads, 8, {0}, 0.3F, 0, false}, 1, reads_another{{}, left});
    }
};

} // namespace

TEST_CASE("attention: a key that is no number is not passed over, wherever it lies", "[attention]") {
    CHECK(mixed_beside(101, -1) == 1.0F);
    for (const index_t bad : {0, 3, 7, 8, 15, 31, 56, 59, 63, 64, 71, 99, 100}) {
        INFO("key " << bad);
        CHECK(std::isnan(mixed_beside(101, bad)));
        CHECK(std::isnan(mixed_beside(1200, bad))); // two spans
    }
    CHECK(std::isnan(mixed_beside(1, 0)));
}

TEST_CASE("attention: a query whose keys are all knocked out mixes nothing, whoever looks", "[attention]") {
    constexpr index_t D = 16, n = 3;
    long_context all(n, n, D, 0);
    const attention_sizes sizes{0, heads, kv_heads, D, {0}, 0.3F, 0, false};
    const auto check = [&]<class Probe, bool Prunes>(Probe probe, std::bool_constant<Prunes>) {
        executor one(1);
        auto c = watched_by(probe, all.chunk(one));
        std::vector<float> out(static_cast<std::size_t>(n * heads * D), 7.0F), received(static_cast<std::size_t>(n * n), 0.0F);
        if (Prunes) c.received = {received.data(), n, n};
        attend<mask::causal, kv::full, softcap::none, Prunes, Probe>(c, sizes, all.q(), all.cache, {out.data(), n, heads * D});
        for (index_t i = 0; i < heads * D; ++i) CHECK(out[static_cast<std::size_t>(i)] == 0.0F);
        CHECK(received[0] == 0.0F);
        if (Prunes) CHECK(received[4] == Approx(heads)); // what query 1 gives key 1
        return out;
    };
    const auto alone = check(first_key_knocked_out<false>{}, std::false_type{});
    CHECK(check(first_key_knocked_out<true>{}, std::false_type{}) == alone);
    CHECK(check(first_key_knocked_out<true>{}, std::true_type{}) == alone);
}

TEST_CASE("attention: a probe may let attention of the same kind read something else", "[attention]") {
    long_context all(70, 2, 16, 0);
    const attention_sizes sizes{0, heads, kv_heads, 16, {0}, 0.3F, 0, false};
    const auto alone = attended<mask::causal>(all, sizes, 1);
    for (index_t call = 1; call <= 4; ++call) { // scores and weights of two queries
        index_t left = call;
        CHECK(attended<mask::causal>(all, sizes, 1, reads_another{{}, &left}) == alone);
        CHECK(left < 0);
    }
}

TEST_CASE("attention: a window of any size holds a text", "[attention]") {
    constexpr index_t most = std::numeric_limits<index_t>::max(), D = 8;
    kv_cache cache(1, D, 0, mask::sliding<most>::reach({}));
    const std::vector<float> row(D, 1.0F);
    for (index_t p = 0; p < 100; p += 4) {
        cache.make_room(p, 4);
        for (index_t i = 0; i < 4; ++i) cache.write(p + i, row, row);
    }
    CHECK(cache.holds(0));
    CHECK(cache.bytes() < 1000 * D * 8);
}
