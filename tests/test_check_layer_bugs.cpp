// check<>() catches bugs in layers: one bug each, and what is said of it, down to the smallest input that shows it. The layers are written
// as a student would, in plain loops.
#include <loupe/check/layer.hpp>
#include <loupe/core/compat/catch2.hpp>
#include <loupe/core/error.hpp>

#include <thread>

using namespace loupe;

namespace {

enum bug {
    right,
    forgets_last_row,
    writes_a_row_more,
    adds_to_output,
    overwrites_input,
    reads_old_scratch,
    overflows,
    draws,
    counts_threads,
    looks_ahead,
    counts_from_chunk,
    remembers_reading,
    ignores_ring,
    first_key_head_only,
    counts_wanted_rows,
    ids_by_row,
    table_of_full_blocks,
    keeps_first_value,
    pairs_from_the_end,
    shares_scratch,
    shares_member,
    sums_as_they_come,
    forgets_to_rescale,
    first_64_keys_only
};

/// All that is said of a layer. Computed values, which the instruction set rounds, count as #.
void layer_breaks(const verdict& v, const std::string& what) {
    CHECK_FALSE(v);
    std::string text, word;
    for (const char c : v.text() + " ") {
        const bool in_number = std::string_view("0123456789.e-+").find(c) != std::string_view::npos;
        if (in_number) word += c;
        if (in_number) continue;
        text += word.find_first_of("0123456789") != std::string::npos && word.find('.') != std::string::npos ? "#" : word;
        word.clear();
        text += c;
    }
    text.pop_back();
    CHECK(text == what);
}

/// W_down (silu(W_gate x) ⊙ W_up x).
template <int Bug>
struct my_feed_forward {
    const feed_forward_weights* weights;
    index_t block = 0;

    void operator()(context& c, matrix_view<const float> x, matrix_view<float> out) const {
        auto& place = Bug == overwrites_input ? c.memory.normed : c.memory.gate;
        const auto gate = place.take(x.rows, weights->gate.rows), up = c.memory.up.take(x.rows, weights->up.rows);
        const auto y = Bug == adds_to_output ? c.memory.second.take(x.rows, x.width) : out;
        kernel::matmul(weights->gate, x, gate, c.threads);
        if (Bug != reads_old_scratch || x.width < 3) kernel::matmul(weights->up, x, up, c.threads);
        for (index_t t = 0; t < x.rows; ++t) {
            for (index_t i = 0; i < gate.width; ++i) {
                const float g = gate[t][i];
                gate[t][i] = Bug == overflows ? g * std::exp(150 * g) / (1 + std::exp(150 * g)) : g / (1 + std::exp(-g));
                gate[t][i] *= up[t][i];
            }
        }
        kernel::matmul(weights->down, gate, y, c.threads);
        for (index_t t = 0; Bug == adds_to_output && t < x.rows; ++t) kernel::add(out[t], y[t]);
        if (Bug == forgets_last_row && x.rows > 2) std::ranges::fill(out[x.rows - 1], NAN);
        if (Bug == writes_a_row_more) out[x.rows][0] = 0;
        static float calls = 0;
        if (Bug == draws) out[0][0] += calls++;
        for (index_t t = 0; Bug == counts_threads && t < x.rows; ++t) out[t][0] += static_cast<float>(c.threads.size());
    }
};

/// x as it is, in place.
template <int Bug>
struct in_place {
    in_place(const block_weights&, index_t, index_t, index_t) {}

    void operator()(context& c, matrix_view<float> x) const {
        for (index_t t = x.rows - 1; t >= 0; --t) {
            for (index_t i = 0; i < x.width; ++i) {
                if (Bug == looks_ahead && t + 1 < x.rows) x[t][i] += 0.5F * x[t + 1][i];
                if (Bug == counts_from_chunk) x[t][i] += static_cast<float>(t);
                if (Bug == ids_by_row) x[t][i] += static_cast<float>(c.ids[static_cast<std::size_t>(t)]);
                if (Bug == counts_wanted_rows) x[t][i] += static_cast<float>(c.position + t);
            }
        }
    }
};

/// Attention to the last four keys, without norms; keys and values of its own.
template <int Bug>
struct my_attention {
    static constexpr bool owns_kv = true;
    const attention_weights* weights;
    attention_sizes sizes;
    mutable std::vector<float> first{}; ///< value of position 0, of whichever sequence began last

    void operator()(context& c, rope_table& rope, matrix_view<const float> x, kv_cache& cache, matrix_view<float> out) const {
        const index_t D = sizes.head_width, group = sizes.heads / sizes.kv_heads;
        const auto q = c.memory.q.take(x.rows, sizes.heads * D), mix = c.memory.mix.take(x.rows, sizes.heads * D);
        const auto k = c.memory.k.take(x.rows, sizes.kv_heads * D), v = c.memory.v.take(x.rows, sizes.kv_heads * D);
        kernel::matmul(weights->q, x, q, c.threads);
        kernel::matmul(weights->k, x, k, c.threads);
        kernel::matmul(weights->v, x, v, c.threads);
        if (c.position == 0) first.assign(v[0].begin(), v[0].end());
        for (index_t t = 0; Bug == keeps_first_value && t < x.rows; ++t) kernel::add(v[t], first);
        cache.make_room(c.position, x.rows);
        for (index_t t = 0; t < x.rows; ++t) {
            rope_table& table = Bug == table_of_full_blocks ? c.rope_full : rope;
            table.rotate(q[t], t), table.rotate(k[t], t);
            cache.write(c.position + t, k[t], v[t]);
        }
        for (index_t t = 0; t < x.rows; ++t) {
            const index_t query = c.position + t, first = std::max<index_t>(0, query - 3);
            for (index_t h = 0; h < sizes.heads; ++h) {
                const index_t g = Bug == first_key_head_only ? 0 : Bug == pairs_from_the_end ? sizes.kv_heads - 1 - h / group : h / group;
                const auto row = [&](index_t key) { return Bug == ignores_ring ? key % 4 : cache.row(key); };
                std::vector<float> held(static_cast<std::size_t>(D));
                float largest = -INFINITY, sum = 0;
                std::array<float, 4> score{};
                for (index_t key = first; key <= query; ++key) {
                    cache.keys(g).read(row(key), held);
                    float s = 0;
                    for (index_t i = 0; i < D; ++i) s += q[t][h * D + i] * held[i];
                    score[key - first] = s;
                    largest = std::max(largest, s);
                }
                for (index_t key = first; key <= query; ++key) sum += score[key - first] = std::exp(score[key - first] - largest);
                for (index_t i = 0; i < D; ++i) mix[t][h * D + i] = 0;
                for (index_t key = first; key <= query; ++key) {
                    cache.values(g).read(row(key), held);
                    for (index_t i = 0; i < D; ++i) mix[t][h * D + i] += score[key - first] / sum * held[i];
                }
            }
        }
        kernel::matmul(weights->o, mix, out, c.threads);
    }
};

/// Attention to all keys in blocks of 64, with one pass over them (online softmax).
template <int Bug>
struct attention_in_blocks {
    static constexpr bool owns_kv = true;
    const attention_weights* weights;
    attention_sizes sizes;

    void operator()(context& c, rope_table& rope, matrix_view<const float> x, kv_cache& cache, matrix_view<float> out) const {
        const index_t D = sizes.head_width, group = sizes.heads / sizes.kv_heads;
        const auto q = c.memory.q.take(x.rows, sizes.heads * D), mix = c.memory.mix.take(x.rows, sizes.heads * D);
        const auto k = c.memory.k.take(x.rows, sizes.kv_heads * D), v = c.memory.v.take(x.rows, sizes.kv_heads * D);
        kernel::matmul(weights->q, x, q, c.threads);
        kernel::matmul(weights->k, x, k, c.threads);
        kernel::matmul(weights->v, x, v, c.threads);
        cache.make_room(c.position, x.rows);
        for (index_t t = 0; t < x.rows; ++t) {
            rope.rotate(q[t], t), rope.rotate(k[t], t);
            cache.write(c.position + t, k[t], v[t]);
        }
        std::vector<float> held(static_cast<std::size_t>(D));
        for (index_t t = 0; t < x.rows; ++t) {
            const index_t keys = c.position + t + 1;
            for (index_t h = 0; h < sizes.heads; ++h) {
                const index_t head = h / group;
                float most = -INFINITY, total = 0;
                const std::span<float> sum = mix[t].subspan(static_cast<std::size_t>(h * D), static_cast<std::size_t>(D));
                std::ranges::fill(sum, 0.0F);
                for (index_t first = 0; first < (Bug == first_64_keys_only ? std::min<index_t>(keys, 64) : keys); first += 64) {
                    const index_t end = std::min(keys, first + 64);
                    std::vector<float> scores;
                    for (index_t key = first; key < end; ++key) {
                        cache.keys(head).read(cache.row(key), held);
                        float s = 0;
                        for (index_t i = 0; i < D; ++i) s += q[t][h * D + i] * held[static_cast<std::size_t>(i)];
                        scores.push_back(s);
                    }
                    const float largest = std::max(most, *std::ranges::max_element(scores));
                    const float earlier = Bug == forgets_to_rescale || first == 0 ? 1 : std::exp(most - largest);
                    most = largest, total *= earlier;
                    kernel::scale(sum, earlier);
                    for (index_t key = first; key < end; ++key) {
                        const float weight = std::exp(scores[static_cast<std::size_t>(key - first)] - most);
                        total += weight;
                        cache.values(head).read(cache.row(key), held);
                        for (std::size_t i = 0; i < held.size(); ++i) sum[i] += weight * held[i];
                    }
                }
                kernel::scale(sum, 1 / total);
            }
        }
        kernel::matmul(weights->o, mix, out, c.threads);
    }
};

/// Adds a norm, and divides by the root of a mean square, in loops of 64.
template <int Bug>
struct in_loops {
    mutable std::vector<float> row{};

    in_loops(const block_weights&, index_t, index_t, index_t) {}

    void operator()(context& c, matrix_view<float> x) const {
        const auto scratch = c.memory.normed.take(Bug == shares_scratch ? 1 : x.rows, x.width);
        row.resize(static_cast<std::size_t>(x.width));
        c.threads.for_ranges(x.rows, 64, [&](index_t first, index_t last) {
            for (index_t t = first; t < last; ++t) {
                const auto y = Bug == shares_member ? std::span(row) : scratch[Bug == shares_scratch ? 0 : t];
                std::copy_n(x[t].data(), x.width, y.data());
                norm::rms::apply<float>(y, {}, c.epsilon);
                if (Bug == shares_member) std::this_thread::yield(); // where the system may interrupt it, on one processor too
                kernel::add(x[t], y);
            }
        });
        for (index_t t = 0; Bug == sums_as_they_come && t < x.rows; ++t) {
            float sum = 0;
            c.threads.for_ranges(x.width, 64, [&](index_t first, index_t last) {
                for (index_t i = first; i < last; ++i) sum += x[t][i] * x[t][i];
            });
            kernel::scale(x[t], 1 / std::sqrt(sum / static_cast<float>(x.width) + c.epsilon));
        }
    }
};

} // namespace

TEST_CASE("check: a layer of one's own holds", "[check]") {
    CHECK(check<my_feed_forward<right>>().text() == "feed-forward my_feed_forward<0>: holds (9 rules)");
    CHECK(check<in_place<right>>().text() == "sublayer in_place<0>: holds (9 rules)");
    CHECK(check<my_attention<right>>().text() == "attention my_attention<0>: holds (12 rules)");
    CHECK(check<my_attention<right>>({.reach = 4}));
}

TEST_CASE("check: bugs in feed-forward layers", "[check]") {
    layer_breaks(check<my_feed_forward<forgets_last_row>>(),
                 "feed-forward my_feed_forward<1>: row 2, value 0 is nan (3 tokens, width 2, hidden width 1)");
    layer_breaks(check<my_feed_forward<writes_a_row_more>>(),
                 "feed-forward my_feed_forward<2>: writes beside its output (1 token, width 2, hidden width 1)");
    layer_breaks(check<my_feed_forward<adds_to_output>>(),
                 "feed-forward my_feed_forward<3>: row 0, value 0 is nan (1 token, width 2, hidden width 1)");
    layer_breaks(check<my_feed_forward<overwrites_input>>(),
                 "feed-forward my_feed_forward<4>: changes its input (1 token, width 2, hidden width 1)");
    layer_breaks(check<my_feed_forward<reads_old_scratch>>(),
                 "feed-forward my_feed_forward<5>: row 0, value 0 is nan (1 token, width 3, hidden width 2)");
    layer_breaks(check<my_feed_forward<overflows>>(),
                 "feed-forward my_feed_forward<6>: row 10, value 0 is nan (17 tokens, width 2, hidden width 1)");
    layer_breaks(check<my_feed_forward<draws>>(),
                 "feed-forward my_feed_forward<7>: row 0, value 0 is #, and # in a second run (1 token, width 2, hidden width 1)");
    layer_breaks(check<my_feed_forward<counts_threads>>(),
                 "feed-forward my_feed_forward<8>: row 0, value 0 is #, and # on two threads (1 token, width 2, hidden width 1)");
}

TEST_CASE("check: bugs in layers that know positions", "[check]") {
    layer_breaks(
        check<in_place<looks_ahead>>(),
        "sublayer in_place<9>: row 0, value 0 is #, and # when every other row is wanted (3 tokens, width 2, hidden width 1, 1 of 2 "
        "experts)\nsublayer in_place<9>: row 0, value 0 is #, and # with another last token (2 tokens, width 2, hidden width 1, 1 of 2 "
        "experts)\nsublayer in_place<9>: row 0, value 0 is #, and # in chunks of 1 (2 tokens, width 2, hidden width 1, 1 of 2 experts)");
    CHECK(check<in_place<right>>({.causal = false}));
    layer_breaks(
        check<in_place<counts_from_chunk>>(),
        "sublayer in_place<10>: row 0, value 0 is #, and # when every other row is wanted (2 tokens, width 2, hidden width 1, 1 of 2 "
        "experts)\nsublayer in_place<10>: row 1, value 0 is #, and # in chunks of 1 (2 tokens, width 2, hidden width 1, 1 of 2 experts)");
    layer_breaks(check<in_place<counts_wanted_rows>>(),
                 "sublayer in_place<14>: row 0, value 0 is #, and # when every other row is wanted (2 "
                 "tokens, width 2, hidden width 1, 1 of 2 experts)");
    layer_breaks(check<in_place<ids_by_row>>(),
                 "sublayer in_place<15>: row 0, value 0 is #, and # when every other row is wanted (2 tokens, width 2, hidden width 1, 1 "
                 "of 2 experts)");
}

TEST_CASE("check: bugs in loops", "[check]") {
    CHECK(check<in_loops<right>>());
    layer_breaks(check<in_loops<shares_scratch>>(),
                 "sublayer in_loops<19>: two ranges of a loop over 150 with grain 64 write value 0 of memory.normed (150 tokens, width 2, "
                 "hidden width 1, 1 of 2 experts)");
    CHECK_THAT(check<in_loops<shares_member>>().text(), Catch::Matchers::Contains("on two threads that begin at once (150 tokens"));
    layer_breaks(
        check<in_loops<sums_as_they_come>>(),
        "sublayer in_loops<21>: row 0, value 0 is #, and # when the ranges of its loops are computed from the last to the first (3 "
        "tokens, width 160, hidden width 144, 3 of 8 experts)");
}

TEST_CASE("check: bugs in attention", "[check]") {
    CHECK(check<my_attention<ignores_ring>>()); // there is none
    layer_breaks(check<my_attention<ignores_ring>>({.reach = 4}),
                 "attention my_attention<12>: row 4, value 0 is #, and # in chunks of 1 (5 tokens, width 2, 1 head of 2 on 1)\nattention "
                 "my_attention<12>: row 0, value 0 is #, and # after a rewind to 4 (8 tokens, width 2, 1 head of 2 on 1)");
    layer_breaks(
        check<my_attention<first_key_head_only>>(),
        "attention my_attention<13>: row 0, value 0 is #, and # with the heads in another order (1 token, width 4, 2 heads of 4 on 2)");
    CHECK(check<my_attention<first_key_head_only>>({.heads_alike = false}));
    layer_breaks(check<my_attention<pairs_from_the_end>>(),
                 "attention my_attention<18>: row 0, value 0 is #, and # with the heads in another order (1 token, width 33, 6 heads of 16 "
                 "on 3)");
    layer_breaks(check<my_attention<keeps_first_value>>(),
                 "attention my_attention<17>: row 0, value 0 is #, and # with another sequence read in between (2 tokens, width 2, 1 head "
                 "of 2 on 1)");
    layer_breaks(check<my_attention<table_of_full_blocks>>(),
                 "attention my_attention<16>: row 1, value 0 is #, and # with other tables in rope_sliding and rope_full than the one "
                 "handed over (2 tokens, width 4, 2 heads of 4 on 2)");
}

TEST_CASE("check: bugs in attention to many keys", "[check]") {
    CHECK(check<attention_in_blocks<right>>());
    layer_breaks(
        check<attention_in_blocks<first_64_keys_only>>(),
        "attention attention_in_blocks<23>: row 149 does not depend on row 148, and row 35 of 36 does on row 34 (150 tokens, width "
        "2, 1 head of 2 on 1)");
    layer_breaks(
        check<attention_in_blocks<forgets_to_rescale>>(),
        "attention attention_in_blocks<22>: row 149, value 0 is #, and # with rows 5 and 70 in each other's place, and no rotation "
        "(150 tokens, width 4, 2 heads of 4 on 2)");
    CHECK(check<attention_in_blocks<forgets_to_rescale>>({.keys_alike = false}));
}

TEST_CASE("check: bugs in layers as functions", "[check]") {
    // a state that is cleared at position 0 and does not know of rewinds
    std::vector<float> sum(3);
    const auto running_sum = [&](context& c, matrix_view<const float> x, matrix_view<float> out) {
        if (c.position == 0) std::ranges::fill(sum, 0.0F);
        for (index_t t = 0; t < x.rows; ++t) {
            for (std::size_t i = 0; i < 3; ++i) out[t][i] = sum[i] += x[t][i];
        }
    };
    layer_breaks(check("running sum", running_sum, 3),
                 "layer running sum: row 0, value 0 is #, and # after a rewind to 1 (2 tokens, width 3)");
    const auto thrower = [&](context&, matrix_view<const float> x, matrix_view<float> out) {
        if (x.rows > 2) throw error("expected at most two tokens");
        for (index_t t = 0; t < x.rows; ++t) std::ranges::copy(x[t], out[t].begin());
    };
    layer_breaks(check("thrower", thrower, 3, {.causal = false}), "layer thrower: throws: expected at most two tokens (3 tokens, width 3)");
}
