// Every layer on random data with odd sizes: the fast path's error against double is at most twice that of a naive float implementation,
// plus a few units in the last place of the largest value.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/layer/block.hpp>
#include <loupe/policy/softcap.hpp>
#include <loupe/ref/attention.hpp>
#include <loupe/ref/experts.hpp>
#include <loupe/ref/per_layer_input.hpp>

#include <cmath>
#include <memory>
#include <random>

using namespace loupe;

namespace {

std::vector<float> random_values(index_t count, float scale, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = normal(random);
    return values;
}

weight_matrix matrix_of(std::vector<float> values, index_t rows, index_t width) {
    const auto owner = std::make_shared<const std::vector<float>>(std::move(values));
    weight_matrix m;
    m.format = &format::info_of<format::f32>();
    m.data = reinterpret_cast<const std::byte*>(owner->data());
    m.rows = rows;
    m.width = width;
    m.owner = owner;
    return m;
}
/// Values that leave a row of `width` normal values at their size.
weight_matrix random_matrix(index_t rows, index_t width, unsigned seed) {
    return matrix_of(random_values(rows * width, 1 / std::sqrt(static_cast<float>(width)), seed), rows, width);
}

template <class T>
ref::matrix<T> as_matrix(const std::vector<float>& values, index_t width) {
    auto x = ref::zeros<T>(static_cast<index_t>(values.size()) / width, width);
    std::copy(values.begin(), values.end(), x.begin());
    return x;
}

/// `exact` in double and `naive` in float are ref/'s; `units` counts roundings at the largest value that both may make differently.
void check_error(matrix_view<const float> fast, const ref::matrix<float>& naive, const ref::matrix<double>& exact, double units = 4) {
    REQUIRE(fast.rows == ref::rows(exact));
    REQUIRE(fast.width == ref::width(exact));
    double of_fast = 0, of_naive = 0, largest = 0;
    for (index_t r = 0; r < fast.rows; ++r) {
        for (index_t i = 0; i < fast.width; ++i) {
            const double e = exact(r, i);
            REQUIRE(std::isfinite(e));
            REQUIRE(std::isfinite(fast[r][static_cast<std::size_t>(i)]));
            of_fast = std::max(of_fast, std::abs(static_cast<double>(fast[r][static_cast<std::size_t>(i)]) - e));
            of_naive = std::max(of_naive, std::abs(static_cast<double>(naive(r, i)) - e));
            largest = std::max(largest, std::abs(e));
        }
    }
    INFO("error " << of_fast << ", naive " << of_naive << ", largest value " << largest);
    CHECK(largest > 0);
    CHECK(of_fast <= 2 * of_naive + units * 0x1p-24 * largest);
}

/// A chunk from `position` on, for layers that stand alone.
struct chunk {
    executor threads{2};
    workspace memory;
    rope_table none;
    std::vector<token_id> ids;
    context c;

    chunk(index_t position, index_t tokens, float epsilon = 1e-6F)
        : ids(static_cast<std::size_t>(tokens)), c{threads, memory, position, tokens, ids, {}, none, none, epsilon} {
        for (index_t t = 0; t < tokens; ++t) ids[static_cast<std::size_t>(t)] = static_cast<token_id>(t % 5);
    }
};

template <class Mask, bool ValueFromKey>
void check_attention(index_t heads, index_t kv_heads, index_t D, index_t window) {
    INFO(heads << " heads, " << kv_heads << " key heads of width " << D << ", window " << window);
    const index_t width = 37, tokens = 29, earlier = 14;
    attention_weights w{random_matrix(heads * D, width, 1),
                        random_matrix(kv_heads * D, width, 2),
                        random_matrix(kv_heads * D, width, 3),
                        random_matrix(width, heads * D, 4),
                        random_values(D, 1, 5),
                        random_values(D, 1, 6)};
    const auto x = random_values(tokens * width, 1, 7);
    const rope_sizes rope{D, 10000, 0.25, 1};
    using kind = rope::proportional<>;
    const float scale = 0.7F, cap = 20;

    const attention_layer<Mask, kv::full, norm::rms, norm::rms, norm::rms_without_gain, softcap::stored, ValueFromKey, true, false,
                          probe::none>
        layer{&w, {0, heads, kv_heads, D, {window}, scale, cap, false}};
    kv_cache cache(kv_heads, D, 0, Mask::reach({window}));
    auto table = rope_table::of<kind>(rope);
    std::vector<float> out(x.size());
    for (const auto& [first, count] :
         {std::pair{index_t{0}, earlier}, std::pair{earlier, tokens - earlier}}) { // the second chunk reads the first's cache
        chunk one(first, count);
        table.fill(first, count);
        layer(one.c, table, {x.data() + first * width, count, width}, cache, {out.data() + first * width, count, width});
    }

    const auto in = [&]<class T>(std::type_identity<T>) {
        const auto rows = as_matrix<T>(x, width);
        const ref::head_sizes sizes{heads, kv_heads, D};
        const auto past = ref::keys_and_values<kind, norm::rms, norm::rms_without_gain, T>(rows, w, sizes, rope, 0, ValueFromKey, T(1e-6F));
        const auto q = ref::queries<kind, norm::rms, T>(rows, w, sizes, rope, 0, T(1e-6F));
        const auto sees = [&](index_t query, index_t key) { return Mask::sees(query, key, {window}); };
        return ref::linear(ref::attend<softcap::stored, T>(q, past, sizes, 0, T(scale), T(cap), sees).mix, w.o);
    };
    // one rounding of a score of size `cap` is cap · 2⁻²⁴, and exp makes that the relative error of a weight
    check_error({out.data(), tokens, width}, in(std::type_identity<float>{}), in(std::type_identity<double>{}),
                4 + static_cast<double>(cap));
}

/// Whole numbers up to `largest`: sums of their products are exact while they stay below 2²⁴.
std::vector<float> whole_values(index_t count, int largest, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = static_cast<float>(static_cast<int>(random() % static_cast<unsigned>(2 * largest + 1)) - largest);
    return values;
}
weight_matrix whole_matrix(index_t rows, index_t width, unsigned seed) {
    return matrix_of(whole_values(rows * width, 400, seed), rows, width);
}

/// Keys and values without norm and rope, from whole numbers: float and double round the same ones. They reach thousands, so that every
/// format but F32 changes some.
template <class Format>
void check_cached_attention() {
    INFO(Format::name);
    using sliding = mask::sliding<>;
    const index_t heads = 4, kv_heads = 2, D = 64, width = 37, tokens = 29, earlier = 14, window = 9;
    attention_weights w{whole_matrix(heads * D, width, 1),
                        whole_matrix(kv_heads * D, width, 2),
                        whole_matrix(kv_heads * D, width, 3),
                        random_matrix(width, heads * D, 4),
                        {},
                        {}};
    const auto x = whole_values(tokens * width, 4, 7);
    const float scale = 3e-8F; // scores of a few units
    const attention_layer<sliding, kv::full, norm::none, norm::none, norm::none, softcap::none, false, true, false, probe::none> layer{
        &w, {0, heads, kv_heads, D, {window}, scale, 0, false}};
    kv_cache cache(kv_heads, D, 0, window, format::info_of<Format>());
    auto table = rope_table::of<rope::none>({D, 10000, 1, 1});
    std::vector<float> out(x.size());
    for (const auto& [first, count] : {std::pair{index_t{0}, earlier}, std::pair{earlier, tokens - earlier}}) {
        chunk one(first, count);
        table.fill(first, count);
        layer(one.c, table, {x.data() + first * width, count, width}, cache, {out.data() + first * width, count, width});
    }
    const auto in = [&]<class F, class T>(std::type_identity<F>, std::type_identity<T>) {
        const auto rows = as_matrix<T>(x, width);
        const ref::key_values<T> past{ref::cached<F>(ref::linear(rows, w.k)), ref::cached<F>(ref::linear(rows, w.v))};
        const auto sees = [&](index_t query, index_t key) { return sliding::sees(query, key, {window}); };
        const auto q = ref::linear(rows, w.q);
        return ref::linear(ref::attend<softcap::none, T>(q, past, {heads, kv_heads, D}, 0, T(scale), T(0), sees).mix, w.o);
    };
    using format = std::type_identity<Format>;
    const auto exact = in(format{}, std::type_identity<double>{});
    check_error({out.data(), tokens, width}, in(format{}, std::type_identity<float>{}), exact, 4 + 20); // scores below 20
    const auto floats = in(std::type_identity<loupe::format::f32>{}, std::type_identity<double>{});
    CHECK((exact == floats) == std::same_as<Format, loupe::format::f32>);
}

} // namespace

TEST_CASE("attention: keys and values in a format", "[ref]") {
    check_cached_attention<format::f32>();
    check_cached_attention<format::bf16>();
    check_cached_attention<format::f16>();
    check_cached_attention<format::q8_0>();
}

TEST_CASE("rms_norm: rows of any length, negative gains, values near zero", "[ref]") {
    for (const index_t width : {1, 2, 15, 16, 17, 33, 64, 127, 1536}) {
        for (const float scale : {1e-3F, 1.0F, 3e4F}) {
            INFO("width " << width << ", scale " << scale);
            const auto x = random_values(3 * width, scale, 11), gain = random_values(width, 100, 12);
            std::vector<float> out(x.size());
            executor threads;
            norm_rows<norm::rms>(threads, {x.data(), 3, width}, gain, 1e-6F, {out.data(), 3, width});
            check_error({out.data(), 3, width}, ref::normed<norm::rms, float>(as_matrix<float>(x, width), gain, 1e-6F),
                        ref::normed<norm::rms, double>(as_matrix<double>(x, width), gain, double(1e-6F)));
        }
    }
}

TEST_CASE("rotation: half-split pairs, whole and partial, at far positions", "[ref]") {
    const auto check = []<class Rope>(std::type_identity<Rope>, index_t D, index_t position) {
        INFO("width " << D << ", position " << position);
        const index_t tokens = 5, heads = 3;
        const auto x = random_values(tokens * heads * D, 1, 21);
        const rope_sizes sizes{D, 1000000, 0.25, 8};
        auto table = rope_table::of<Rope>(sizes);
        table.fill(position, tokens);
        auto out = x;
        for (index_t t = 0; t < tokens; ++t)
            table.rotate(std::span(out).subspan(static_cast<std::size_t>(t * heads * D), static_cast<std::size_t>(heads * D)), t);
        check_error({out.data(), tokens, heads * D}, ref::rotated<Rope, float>(as_matrix<float>(x, heads * D), position, sizes),
                    ref::rotated<Rope, double>(as_matrix<double>(x, heads * D), position, sizes));
    };
    for (const index_t D : {2, 6, 34, 64, 128}) {
        for (const index_t position : {0, 1, 262144}) {
            check(std::type_identity<rope::standard>{}, D, position);
            check(std::type_identity<rope::proportional<>>{}, D, position);
            check(std::type_identity<rope::none>{}, D, position);
        }
    }
}

TEST_CASE("attention: sliding, full, groups of 1, 2, 3, 4 and 8 heads, odd head widths", "[ref]") {
    for (const index_t group : {1, 2, 3, 4, 8}) {
        for (const index_t D : {10, 16, 34, 64}) {
            check_attention<mask::sliding<>, false>(2 * group, 2, D, 5);
            check_attention<mask::causal, true>(group, 1, D, 0);
        }
    }
    check_attention<mask::causal, false>(6, 3, 22, 0);
    check_attention<mask::sliding<>, false>(3, 3, 18, 1);
}

TEST_CASE("feed-forward: widths that no vector divides", "[ref]") {
    const auto check = []<class Activation>(std::type_identity<Activation>, index_t width, index_t hidden, index_t tokens) {
        INFO("width " << width << ", hidden " << hidden << ", tokens " << tokens);
        const feed_forward_weights w{random_matrix(hidden, width, 31), random_matrix(hidden, width, 32), random_matrix(width, hidden, 33)};
        const auto x = random_values(tokens * width, 3, 34);
        std::vector<float> out(x.size());
        chunk one(0, tokens);
        const feed_forward_layer<Activation, probe::none> layer{&w, 0};
        layer(one.c, {x.data(), tokens, width}, {out.data(), tokens, width});
        check_error({out.data(), tokens, width}, ref::feed_forward<Activation, float>(as_matrix<float>(x, width), w.gate, w.up, w.down),
                    ref::feed_forward<Activation, double>(as_matrix<double>(x, width), w.gate, w.up, w.down));
    };
    for (const index_t tokens : {1, 2, 7, 13}) {
        check(std::type_identity<activation::gelu_tanh>{}, 37, 101, tokens);
        check(std::type_identity<activation::silu>{}, 88, 66, tokens);
        check(std::type_identity<activation::relu2>{}, 1, 3, tokens);
    }
}

TEST_CASE("experts: router on the residual, several tokens for one expert", "[ref]") {
    const index_t width = 41, hidden = 22, count = 7, used = 3;
    expert_weights w;
    w.router = random_matrix(count, width, 41);
    w.router_scale = random_values(width, 6, 42);
    w.expert_scale = random_values(count, 1, 43);
    const auto both = random_matrix(count * 2 * hidden, width, 44);
    w.gate = {both, hidden, 2 * hidden, 0};
    w.up = {both, hidden, 2 * hidden, hidden};
    w.down = {random_matrix(count * width, hidden, 45), width, width, 0};
    w.input_norm = random_values(width, 1, 46);
    for (const index_t tokens : {1, 2, 19}) {
        INFO("tokens " << tokens);
        const auto x = random_values(tokens * width, 2, 47);
        std::vector<float> out(x.size());
        chunk one(5, tokens);
        const experts_layer<router::softmax_top_k, experts_used::stored, activation::gelu_tanh, probe::none> layer{&w, 2, count, used};
        layer(one.c, {x.data(), tokens, width}, {out.data(), tokens, width});
        using ref::experts;
        check_error(
            {out.data(), tokens, width},
            experts<router::softmax_top_k, activation::gelu_tanh, float>(as_matrix<float>(x, width), w, used, 2, 5, 1e-6F),
            experts<router::softmax_top_k, activation::gelu_tanh, double>(as_matrix<double>(x, width), w, used, 2, 5, double(1e-6F)));
    }
}

TEST_CASE("per-layer inputs: of all blocks, and what a block does with its own", "[ref]") {
    const index_t width = 45, P = 10, blocks = 3, tokens = 11;
    decoder_weights w;
    w.per_layer_projection = random_matrix(blocks * P, width, 51);
    w.per_layer_norm = random_values(P, 1, 52);
    w.per_layer_table = random_matrix(5, blocks * P, 53);
    const per_layer_weights block{random_matrix(P, width, 54), random_matrix(width, P, 55), random_values(width, 1, 56)};
    const std::vector<token_id> placeholders{3};
    const auto x = random_values(tokens * width, 4, 57);
    chunk one(0, tokens);
    const per_layer_inputs_layer<per_layer_input::on, probe::none> layer{&w, P, placeholders};
    const auto inputs = layer(one.c, {x.data(), tokens, width});
    const auto in = [&]<class T>(std::type_identity<T>) {
        return ref::per_layer_inputs<per_layer_input::on, T>(as_matrix<T>(x, width), one.ids, w, P, placeholders, T(1e-6F));
    };
    check_error(inputs, in(std::type_identity<float>{}), in(std::type_identity<double>{}));

    auto changed = x;
    const per_layer_gate_layer<probe::none> gate{&block, 1};
    gate(one.c, {changed.data(), tokens, width}, inputs.columns(P, P));
    const auto after = [&]<class T>(std::type_identity<T> t) {
        auto rows = as_matrix<T>(x, width);
        rows += ref::per_layer_branch<T>(rows, ref::columns<T>(in(t), P, P), block, T(1e-6F));
        return rows;
    };
    check_error({changed.data(), tokens, width}, after(std::type_identity<float>{}), after(std::type_identity<double>{}));
}
