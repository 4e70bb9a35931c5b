// Attention behind a long context: by tiles, by spans that threads share, and query by query for those who look, against double. Traps: a
// maximum that comes late, a span in which a query sees nothing, keys of a ring, what a probe writes must count.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/layer/attention.hpp>
#include <loupe/policy/softcap.hpp>

#include <cmath>
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

    long_context(index_t n, index_t t, index_t D, index_t reach) : length(n), tokens(t), width(D), cache(kv_heads * D, 0, reach), ids(t) {
        std::mt19937 random(static_cast<unsigned>(n));
        std::normal_distribution<float> normal(0, 1);
        const auto fill = [&](std::vector<float>& v, index_t count) {
            for (index_t i = 0; i < count; ++i) v.push_back(normal(random));
        };
        fill(queries, t * heads * D), fill(keys, n * kv_heads * D), fill(values, n * kv_heads * D);
        for (index_t i = 0; i < kv_heads * D; ++i) keys[(n - 70) * kv_heads * D + i] *= 5; // a maximum that comes late
        for (index_t p = 0; p < n; ++p) {
            if (p < n - t) cache.make_room(p, 1);
            if (p == n - t) cache.make_room(p, t);
            std::copy_n(keys.data() + p * kv_heads * D, kv_heads * D, cache.key(p));
            std::copy_n(values.data() + p * kv_heads * D, kv_heads * D, cache.value(p));
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

TEST_CASE("attention: a query that sees nothing gives zeros", "[attention]") {
    kernel::attention_sums sums, later;
    sums.start(1, 5), later.start(1, 5);
    sums.merge(later);
    std::vector<float> out(5, 7.0F);
    sums.finish(0, out);
    CHECK(out == std::vector<float>(5, 0.0F));
}
