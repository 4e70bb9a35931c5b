// check<>() catches bugs: policies with one bug each, and what is said of them, down to the smallest input that shows it.
#include <loupe/check/check.hpp>
#include <loupe/core/compat/catch2.hpp>
#include <loupe/core/error.hpp>

#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <numeric>

using namespace loupe;

namespace {

/// The one thing that is said of a part that breaks one rule.
void breaks(const verdict& v, const std::string& what) {
    CHECK_FALSE(v);
    CHECK(v.text() == what);
}

// ---- masks

struct one_ahead {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query + 1; }
};
struct one_too_far {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes s) { return s.window; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes s) { return key <= query && query - key <= s.window; }
};
template <int Sinks, int Beyond>
struct last_64 { // and so many keys more than its reach says
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 64; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) {
        return key <= query && (query - key < 64 + Beyond || key < Sinks);
    }
};
struct reach_of_everything { // further back than a position can lie, and one ahead
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return std::numeric_limits<index_t>::max(); }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query + (query > 131072); }
};
struct throwing_mask {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static bool sees(index_t query, index_t key, mask_sizes sizes) {
        if (query == 17 && key == 2 && sizes.window == 8) throw error("no table for this query");
        return key <= query;
    }
};
struct throwing_reach {
    static constexpr bool looks_ahead = false;
    static index_t reach(mask_sizes sizes) {
        if (sizes.window == 2) throw error("no even window");
        return 0;
    }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query; }
};
struct reach_of_minus_one {
    static constexpr bool looks_ahead = true;
    static constexpr index_t reach(mask_sizes) { return -1; }
    static constexpr bool sees(index_t, index_t, mask_sizes) { return true; }
};
struct moody_mask {
    static constexpr bool looks_ahead = true;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static bool sees(index_t query, index_t key, mask_sizes) {
        static index_t asked = 0;
        return query + key == 3 && ++asked % 2 == 0;
    }
};

// ---- caches and sharing

struct minus_one_sink {
    static constexpr index_t sinks = -1, length = 4;
};
struct length_of_minus_one {
    static constexpr index_t sinks = 0, length = -1;
};
struct block_before { // which may have no keys either
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        if (block < first_shared) return block;
        return is_full[static_cast<std::size_t>(block)] == is_full[static_cast<std::size_t>(block - 1)] ? block - 1 : kv_sharing::no_donor;
    }
};
struct last_of_any_kind {
    static constexpr index_t donor(index_t block, std::span<const bool>, index_t first_shared) {
        return block < first_shared ? block : first_shared - 1;
    }
};
struct block_behind {
    static constexpr index_t donor(index_t block, std::span<const bool>, index_t first_shared) {
        return block < first_shared ? block : block + 1;
    }
};
struct one_back { // where there is none
    static constexpr index_t donor(index_t block, std::span<const bool>, index_t first_shared) {
        if (block == first_shared && block == 1) throw error("no block before");
        return block;
    }
};
struct not_constexpr {
    static index_t donor(index_t block, std::span<const bool>, index_t) { return block; }
};

// ---- numbers

struct harmonic_rope {
    static double frequency(index_t pair, const rope_sizes&) { return 1.0 / static_cast<double>(pair); }
};
struct table_of_8 { // for heads of width 16
    static double frequency(index_t pair, const rope_sizes&) {
        constexpr std::array<double, 8> table{1, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005};
        return table.at(static_cast<std::size_t>(pair));
    }
};
struct overwriting_norm {
    template <class T>
    static void apply(std::span<T> row, std::span<const T>, T) {
        row.data()[row.size()] = 0;
    }
};
struct without_epsilon {
    template <class T>
    static void apply(std::span<T> row, std::span<const T>, T) {
        T largest = 0;
        for (const T x : row) largest = std::max(largest, std::abs(x));
        for (T& x : row) x /= largest;
    }
};
struct by_address {
    template <class T>
    static void apply(std::span<T> row, std::span<const T>, T) {
        if (std::same_as<T, float> && reinterpret_cast<std::uintptr_t>(row.data()) % 16 == 4) row.back() *= 1.0000002F;
    }
};
struct forgets_gain_in_float {
    template <class T>
    static void apply(std::span<T> row, std::span<const T> gain, T) {
        for (std::size_t i = 0; std::same_as<T, double> && i < gain.size(); ++i) row[i] *= gain[i];
    }
};
template <std::size_t Buffer>
struct with_buffer { // which is too small for some rows
    template <class T>
    static void apply(std::span<T> row, std::span<const T> gain, T epsilon) {
        std::array<T, Buffer> squares{};
        const std::span<T> held = row.first(std::min(Buffer, row.size()));
        for (std::size_t i = 0; i < held.size(); ++i) squares[i] = held[i] * held[i];
        const T mean = std::accumulate(squares.begin(), squares.end(), T(0)) / static_cast<T>(row.size());
        for (std::size_t i = 0; i < held.size(); ++i) held[i] *= (gain.empty() ? T(1) : gain[i]) / std::sqrt(mean + epsilon);
    }
};
struct norm_of_halves {
    template <class T>
    static void apply(std::span<T> row, std::span<const T>, T epsilon) {
        norm::rms::apply<T>(row.first(row.size() / 2), {}, epsilon);
        norm::rms::apply<T>(row.subspan(row.size() / 2), {}, epsilon);
    }
};
struct overflowing_silu {
    template <class T>
    static T apply(const T& x) {
        using std::exp;
        return x * exp(x) / (T(1.0F) + exp(x));
    }
};
struct wrong_in_double {
    static float apply(float x) { return x > 0 ? x : 0; }
    static double apply(double x) { return x > 0 ? x : -0.01 * x; }
};
struct minus_first_lane {
    static float apply(float x) { return x; }
    static double apply(double x) { return x; }
    static simd::floats apply(const simd::floats& x) {
        alignas(64) float lane[simd::width];
        x.store_aligned(lane);
        for (int i = 1; i < simd::width; ++i) lane[i] = lane[i] == 3 && lane[0] != 3 ? 4.0F : lane[i];
        return simd::floats::load_aligned(lane);
    }
};
struct cap_of_nothing { // c·tanh(x/c), also for models that have no c
    static float apply(float x, float cap) { return cap * std::tanh(x / cap); }
    static double apply(double x, double cap) { return cap * std::tanh(x / cap); }
};
struct cap_up_to_80 {
    static float apply(float x, float) { return x > 80 ? throw error("too large") : x; }
    static double apply(double x, double) { return x; }
};
struct root_of_scalar {
    static float value(float stored) { return std::sqrt(stored); }
};
struct inverse_stored {
    static double factor(score_sizes s) { return 1 / s.stored; }
};
struct share_of_token {
    static constexpr bool enabled = true;
    template <class T>
    static constexpr T combine(T context, T token) {
        return token / (context + token);
    }
};
struct quarter_wide {
    static constexpr bool has_experts = false;
    static constexpr index_t width(index_t stored, bool) { return stored / 4; }
};
template <int Bug>
struct own_sublayer_part : feed_forward::gated {
    enum { throws, takes_no_rows };
    template <class Activation, class PostNorm, class Probe>
    struct sublayer {
        sublayer(const block_weights&, index_t, index_t, index_t) {}
        void operator()(context&, matrix_view<float>) const requires(Bug == throws) { throw error("no rows"); }
    };
};

// ---- routers

/// The largest scores, found one after the other; a score that has been taken is set to a number that is not small enough.
template <int Bug>
struct my_router {
    enum { takes_twice, forgets_last, divides_by_zero, remembers, favours_first, shrinks_in_float };
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place) {
        [[maybe_unused]] static index_t calls = 0;
        if (Bug == favours_first && scores.size() > 2) scores[0] += 100;
        const std::size_t count = chosen.size() - (Bug == forgets_last && chosen.size() > 1 ? 1 : 0);
        const T largest = *std::max_element(scores.begin(), scores.end()) + (Bug == divides_by_zero ? 200 : 0);
        T sum = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const auto best = std::max_element(scores.begin(), scores.end());
            chosen[i] = {best - scores.begin(), std::exp(*best - largest)};
            sum += chosen[i].weight;
            *best = Bug == takes_twice ? T(-3.5) : -std::numeric_limits<T>::infinity();
        }
        for (std::size_t i = 0; i < count; ++i) chosen[i].weight /= sum;
        if (Bug == remembers) chosen[0].weight += static_cast<T>(1e-6) * static_cast<T>(calls++ % 2);
        if (Bug == shrinks_in_float && std::same_as<T, float>) chosen[0].weight *= T(0.999);
    }
};
struct best_two_of_four_groups { // DeepSeek-V3
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T> scores, std::span<choice<T>> chosen, route_place place) {
        const std::size_t size = scores.size() / 4;
        if (scores.size() % 4 != 0) throw error("expected a number of experts that 4 divides");
        std::array<T, 4> best;
        for (std::size_t g = 0; g < 4; ++g) best[g] = std::ranges::max(scores.subspan(g * size, size));
        std::array<T, 4> order = best;
        std::ranges::sort(order);
        for (std::size_t g = 0; g < 4; ++g) {
            if (best[g] < order[2]) std::ranges::fill(scores.subspan(g * size, size), -std::numeric_limits<T>::infinity());
        }
        router::top_k_softmax::route(scores, chosen, place);
    }
};
struct none_used {
    static constexpr index_t count(index_t stored) { return stored / 2; }
};

// ---- pruning

struct half {
    static constexpr bool enabled = true;
    static constexpr index_t recent = 2;
    static constexpr index_t first_block(index_t first_full) { return first_full + 1; }
    static index_t budget(index_t tokens) { return tokens / 2; }
    static double score(index_t, double received, index_t) { return received; }
};
struct no_recent : half {
    static constexpr index_t recent = 0;
};
struct from_block_0 : half {
    static constexpr index_t first_block(index_t first_full) { return first_full; }
};
struct log_of_nothing : half {
    static double score(index_t, double received, index_t) { return received / received; }
};
struct changing_budget : half {
    static index_t budget(index_t) {
        static index_t asked = 0;
        return 3 + asked++ % 2;
    }
};

// ---- weights

/// One byte for each value, in steps of 1/64.
template <int Bug>
struct bytes8 {
    enum { right, decodes_too_much, encodes_too_much, forgets_last, other_rows, infinite, by_address };
    static constexpr std::uint32_t id = 3000;
    static constexpr std::string_view name = "BYTES8";
    static constexpr index_t length = 8, bytes = 8;
    static void decode(const std::byte* block, float* out) noexcept {
        for (index_t i = 0; i < length + (Bug == decodes_too_much ? 1 : 0); ++i) {
            out[i] = static_cast<float>(static_cast<signed char>(block[i])) / 64;
            if (Bug == infinite && out[i] > 1.9F) out[i] *= std::numeric_limits<float>::infinity();
            if (Bug == by_address && reinterpret_cast<std::uintptr_t>(block) % 2 != 0) out[i] += 1;
        }
    }
    static void encode(const float* in, std::byte* block) noexcept {
        for (index_t i = 0; i < length - (Bug == forgets_last ? 1 : 0); ++i) {
            block[i] = static_cast<std::byte>(static_cast<signed char>(std::clamp(in[i] * 64, -127.0F, 127.0F)));
        }
        if (Bug == encodes_too_much) block[length] = std::byte{0};
    }
    static void decode_row(const std::byte* blocks, float* values, index_t count) noexcept requires(Bug == other_rows) {
        for (index_t i = 0; i < count; ++i) values[i] = static_cast<float>(static_cast<unsigned char>(blocks[i])) / 64;
    }
};
/// Four bits for each value under one scale.
template <int Bug>
struct nibbles32 {
    enum { right, swaps, doubles, gives_nothing, scale_without_last };
    static constexpr std::uint32_t id = 3001;
    static constexpr std::string_view name = "NIBBLES32";
    static constexpr index_t length = 32, bytes = 20;
    static void decode(const std::byte* block, float* out) noexcept {
        float scale;
        std::memcpy(&scale, block, 4);
        for (index_t i = 0; i < length; ++i) {
            const int code = std::to_integer<int>(block[4 + i / 2]) >> 4 * (Bug == swaps ? 1 - i % 2 : i % 2) & 15;
            out[i] = static_cast<float>(code - 8) * scale * (Bug == gives_nothing ? 0.0F : Bug == doubles && i % 2 != 0 ? 2.0F : 1.0F);
        }
    }
    static void encode(const float* in, std::byte* block) noexcept {
        float largest = 0;
        for (index_t i = 0; i < length - (Bug == scale_without_last ? 1 : 0); ++i) largest = std::max(largest, std::abs(in[i]));
        const float scale = largest / 7;
        std::memcpy(block, &scale, 4);
        std::fill_n(block + 4, 16, std::byte{0});
        for (index_t i = 0; i < length; ++i) {
            const long code = scale > 0 ? std::clamp(std::lround(in[i] / scale), -8L, 7L) + 8 : 8;
            block[4 + i / 2] |= static_cast<std::byte>(code << 4 * (i % 2));
        }
    }
};
struct cuts_at_half { // the largest values
    static constexpr std::uint32_t id = 3002;
    static constexpr std::string_view name = "CUT";
    static constexpr index_t length = 1, bytes = 1;
    static void decode(const std::byte* block, float* out) noexcept { *out = static_cast<float>(static_cast<signed char>(*block)) / 512; }
    static void encode(const float* in, std::byte* block) noexcept {
        *block = static_cast<std::byte>(static_cast<signed char>(std::clamp(*in * 512, -127.0F, 127.0F)));
    }
};
struct unit_rows {
    static constexpr bool enabled = true;
    using format = bytes8<bytes8<0>::right>;
    static void prepare(std::span<float> row) {
        float squares = 0;
        for (const float x : row) squares += x * x;
        for (float& x : row) x /= std::sqrt(squares);
    }
};

// ---- probes

struct clears_next_row {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::residual>;
    void operator()(at::residual, index_t, index_t, matrix_view<float> x) { x.data[x.rows * x.width] = 0; }
};
struct doubles_block_2 {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::mlp_hidden>;
    void operator()(at::mlp_hidden, index_t block, index_t, matrix_view<float> x) {
        if (block == 2) x[x.rows - 1][0] *= 2;
    }
};
struct logs_probabilities {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::attn_probs>;
    void operator()(at::attn_probs, index_t, index_t, matrix_view<float> x) {
        for (float& p : x[0]) p = std::log(p - p);
    }
};
struct sharpens_probabilities { // right: they are what it expects
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::attn_probs>;
    void operator()(at::attn_probs, index_t, index_t, matrix_view<float> x) {
        for (index_t h = 0; h < x.rows; ++h) {
            float before = 0, sum = 0;
            for (float& p : x[h]) before += p, sum += p = std::pow(p, 1.5F);
            if (std::abs(before - 1) > 1e-6F) throw error("expected rows that sum to 1");
            for (float& p : x[h]) p /= sum;
        }
    }
};
struct pairs_of_6 {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::q>;
    void operator()(at::q, index_t, index_t, matrix_view<float> x) {
        if (x.width % 6 != 0) throw error("expected heads of width 6");
        x[0][x.width == 12 ? 12 : 0] = 0;
    }
};

} // namespace

TEST_CASE("check: bugs in masks", "[check]") {
    breaks(check<one_ahead>(), "mask one_ahead: sees(query 0, key 1) is true but looks_ahead is false (window 1)");
    breaks(check<one_too_far>(), "mask one_too_far: sees(query 1, key 0) is true but reach is 1 (window 1)");
    CHECK(check<last_64<0, 0>>().ok());
    breaks(check<last_64<0, 1>>(), "mask last_64<0, 1>: sees(query 64, key 0) is true but reach is 64 (window 1)");
    breaks(check<last_64<4, 0>>(), "mask last_64<4, 0>: sees(query 64, key 0) is true but reach is 64 (window 1)");
    CHECK(check<mask::sliding<std::numeric_limits<index_t>::max()>>().ok());
    breaks(check<reach_of_everything>(),
           "mask reach_of_everything: sees(query 131073, key 131074) is true but looks_ahead is false (window 1)");
    breaks(check<throwing_mask>(), "mask throwing_mask: sees(query 17, key 2) throws: no table for this query (window 8)");
    breaks(check<throwing_reach>(), "mask throwing_reach: reach throws: no even window (window 2)");
    breaks(check<reach_of_minus_one>(),
           "mask reach_of_minus_one: reach is -1, expected 0 for no bound or a number of positions (window 1)");
    breaks(check<moody_mask>(), "mask moody_mask: sees(query 3, key 0) is true, and when asked again false (window 3)");
}

TEST_CASE("check: bugs in caches and sharing", "[check]") {
    breaks(check<minus_one_sink>(), "kv minus_one_sink: sinks is -1, expected 0 or more");
    breaks(check<length_of_minus_one>(), "kv length_of_minus_one: length is -1, expected 0 for everything or a number of positions");
    breaks(
        check<block_before>(),
        "kv_sharing block_before: donor(block 2) is 1, which has no keys of its own but reads those of 0 (blocks sss, shared from 1 on)");
    breaks(check<last_of_any_kind>(),
           "kv_sharing last_of_any_kind: donor(block 1) is 0, a block of the other kind (blocks Fs, shared from 1 on)");
    breaks(check<block_behind>(),
           "kv_sharing block_behind: donor(block 1) is 2, expected a block from 0 to 1, or -1 (blocks ss, shared from 1 on)");
    breaks(check<one_back>(), "kv_sharing one_back: donor(block 1) throws: no block before (blocks ss, shared from 1 on)");
    breaks(check<not_constexpr>(), "kv_sharing not_constexpr: donor is not constexpr, a composition's rules cannot call it");
}

TEST_CASE("check: bugs in ropes, norms and functions of one value", "[check]") {
    breaks(check<harmonic_rope>(), "rope harmonic_rope: frequency of pair 0 is inf (head width 2, theta 10000, share 1, factor 1)");
    const std::string of_table = check<table_of_8>().text();
    CHECK(of_table.starts_with("rope table_of_8: frequency of pair 8 throws: "));
    CHECK(of_table.ends_with(" (head width 64, theta 10000, share 1, factor 1)"));
    CHECK(check<table_of_8>({.head_width = 16}).ok());
    breaks(check<overwriting_norm>(), "norm overwriting_norm: writes beside the row (values up to 1, width 1, no gain)");
    breaks(check<without_epsilon>(), "norm without_epsilon: value 0 becomes nan, float (zeros, width 1, no gain)");
    breaks(check<by_address>(), "norm by_address: value 0 becomes 0.133123145, and 0.133123174 with the row 1 places further in memory "
                                "(values up to 1, width 1, no gain)");
    breaks(
        check<forgets_gain_in_float>(),
        "norm forgets_gain_in_float: value 0 becomes 0.133123145 in float and -0.205834833 in double (values up to 1, width 1, with gain)");
    breaks(check<with_buffer<256>>(), "norm with_buffer<256>: value 0 becomes 2.42810867, and 0.957928408 with the row in reverse order "
                                      "(values up to 1, width 512, no gain)");
    breaks(check<norm_of_halves>(), "norm norm_of_halves: value 0 becomes -0.999999163, and -1.25565816 with the row in reverse order "
                                    "(values up to 1, width 3, no gain)");
    CHECK(check<norm_of_halves>({.values_alike = false}).ok());
    breaks(check<overflowing_silu>(), "activation overflowing_silu: apply(87) is inf in float");
    breaks(check<wrong_in_double>(), "activation wrong_in_double: apply(-0.25) is 0 in float and 0.0025 in double");
    breaks(check<minus_first_lane>(), "activation minus_first_lane: apply(3) is 3 in lane 0 of a batch and 4 in lane 1");
    breaks(check<cap_of_nothing>(), "softcap cap_of_nothing: apply(0) is nan in float (stored cap 0)");
    CHECK(check<cap_up_to_80>().broken().front() == "softcap cap_up_to_80: apply(87) throws: too large (stored cap 0)");
    breaks(check<root_of_scalar>(), "scale root_of_scalar: value(stored -1) is nan");
    breaks(check<inverse_stored>(), "scale inverse_stored: factor(head width 2, stored 0) is inf");
    breaks(check<share_of_token>(), "per_layer_input share_of_token: combine(0, 0) is nan in float and nan in double");
    breaks(check<quarter_wide>(), "feed_forward quarter_wide: width(stored 1, own keys) is 0, expected a positive one");
    using part = own_sublayer_part<0>;
    const verdict of_own = check<part>();
    REQUIRE_FALSE(of_own);
    CHECK(of_own.broken().front() == "sublayer own_sublayer_part<0>::sublayer<activation::gelu_tanh, norm::rms, probe::none>: throws: no "
                                     "rows (1 token, width 2, hidden width 1, 1 of 2 experts)");
    breaks(check<own_sublayer_part<part::takes_no_rows>>(),
           "feed_forward own_sublayer_part<1>: its sublayer is not made as sublayer(block_weights, block, experts, experts_used) or not "
           "called as (context&, x)");
}

TEST_CASE("check: bugs in routers", "[check]") {
    using r = my_router<-1>;
    CHECK(check<r>().text() == "router my_router<-1>: holds (5 rules)");
    breaks(check<my_router<r::takes_twice>>(), "router my_router<0>: choices 0 and 1 are both expert 1 (2 of 2 experts, scores up to 1e4)");
    breaks(check<my_router<r::forgets_last>>(), "router my_router<1>: choice 1 is expert -1 (2 of 2 experts, different scores)");
    breaks(check<my_router<r::divides_by_zero>>(), "router my_router<2>: choice 0 has weight nan (1 of 1 expert, different scores)");
    breaks(check<my_router<r::remembers>>(),
           "router my_router<3>: routes position 3 otherwise after it has routed position 4 (1 of 1 expert, different scores)");
    breaks(check<my_router<r::favours_first>>(), "router my_router<4>: chooses expert 0, and not expert 2 when the experts' order is "
                                                 "reversed (1 of 3 experts, different scores)");
    CHECK(check<my_router<r::favours_first>>({.experts_alike = false}).ok());
    breaks(check<my_router<r::shrinks_in_float>>(),
           "router my_router<5>: choice 0 has weight 0.999000013 in float and 1 in double (1 of 1 expert, different scores)");
    breaks(check<best_two_of_four_groups>(), "router best_two_of_four_groups: throws: expected a number of experts that 4 divides (1 of 1 "
                                             "expert, different scores)");
    CHECK(check<best_two_of_four_groups>({.experts = 128, .used = 8}).ok());
    CHECK(check<best_two_of_four_groups>({.experts = 512, .used = 8}).ok());
    CHECK_THROWS_WITH(check<r>({.experts = 4, .used = 8}), "expected at most 4 experts used on trial, found 8");
    breaks(check<none_used>(), "experts_used none_used: count(stored 1) is 0, expected at least 1");
}

TEST_CASE("check: bugs in pruning", "[check]") {
    CHECK(check<half>().ok());
    breaks(check<no_recent>(), "prune no_recent: recent is 0, expected at least 1: a query sees itself");
    breaks(check<from_block_0>(),
           "prune from_block_0: first_block(first full block 0) is 0, expected at least 1: an earlier block scores the tokens");
    breaks(check<log_of_nothing>(), "prune log_of_nothing: score(key 0, received 0, queries 1) is nan");
    breaks(check<changing_budget>(), "prune changing_budget: keeps 3 of 4 tokens, the budget says 4");
}

TEST_CASE("check: bugs in weights and their formats", "[check]") {
    using f = bytes8<0>;
    CHECK(check<f>().ok());
    breaks(check<bytes8<f::decodes_too_much>>(), "format bytes8<1>: decode writes beside its values (1 block, values up to 1)");
    breaks(check<bytes8<f::encodes_too_much>>(), "format bytes8<2>: encode writes beside the block (1 block, values up to 1)");
    breaks(check<bytes8<f::forgets_last>>(),
           "format bytes8<3>: encode leaves byte 7 as it was, or writes another each time (1 block, values up to 1)");
    breaks(check<bytes8<f::other_rows>>(), "format bytes8<4>: value 4 is 3.140625 by row and -0.859375 by block (1 block, values up to 1)");
    breaks(check<bytes8<f::infinite>>(), "format bytes8<5>: value 0, 2370.09253, comes back as inf (1 block, values up to 1e4)");
    breaks(check<bytes8<f::by_address>>(),
           "format bytes8<6>: value 0 is 0.234375, and 1.234375 from an odd address (1 block, values up to 1)");
    using n = nibbles32<0>;
    CHECK(check<n>().text() == "format nibbles32<0>: holds (2 rules)");
    breaks(
        check<nibbles32<n::swaps>>(),
        "format nibbles32<1>: value 0, 0.83531177, comes back as 0.130722031, expected at most 0.464675992 off (1 block, values up to 1)");
    breaks(
        check<nibbles32<n::doubles>>(),
        "format nibbles32<2>: value 5, 0.856287539, comes back as 1.8301084, expected at most 0.464675992 off (1 block, values up to 1)");
    breaks(check<nibbles32<n::gives_nothing>>(),
           "format nibbles32<3>: value 0, 0.83531177, comes back as 0, expected at most 0.464675992 off (1 block, values up to 1)");
    breaks(check<nibbles32<n::scale_without_last>>(), "format nibbles32<4>: value 31, 1 among zeros, comes back as 0");
    breaks(check<cuts_at_half>(), "format cuts_at_half: value 0, -0.773099303, comes back as -0.248046875, expected at most 0.39258949 off "
                                  "(3 blocks, values up to 1)");
    CHECK(check<cuts_at_half>({.error = 0.75}).ok());
    breaks(check<unit_rows>(), "weights unit_rows: prepare makes value 0 nan (width 1, zeros)");
}

TEST_CASE("check: bugs in probes", "[check]") {
    breaks(check<clears_next_row>(), "probe clears_next_row: writes beside the values in at::residual (block 0, 1 row, width 1)");
    CHECK(check<doubles_block_2>().ok());
    breaks(check<doubles_block_2>({.reads_only = true}),
           "probe doubles_block_2: changes row 0, value 0 in at::mlp_hidden (block 2, 1 row, width 1)");
    breaks(check<logs_probabilities>(),
           "probe logs_probabilities: makes row 0, value 0 not finite in at::attn_probs (block 0, 1 row, width 1)");
    CHECK(check<sharpens_probabilities>().ok());
    breaks(check<pairs_of_6>(), "probe pairs_of_6: throws: expected heads of width 6 in at::q (block 0, 1 row, width 1)");
    CHECK(check<pairs_of_6>({.widths = {6, 18}}).ok());
    breaks(check<pairs_of_6>({.widths = {6, 12}}), "probe pairs_of_6: writes beside the values in at::q (block 0, 1 row, width 12)");
}
