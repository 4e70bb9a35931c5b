// A user's own parts: a member that is missing because its name is mistyped, that has another type, or that is no constant. The message
// names the member.
#include <loupe/model/nano.hpp>

using namespace loupe;

using f32 = format::f32;
struct decode_only {
    static constexpr std::uint32_t id = 2000;
    static constexpr std::string_view name = "DECODE_ONLY";
    static constexpr index_t length = 1, bytes = 4;
    static void decode(const std::byte*, float*) noexcept;
};

struct my_rope {
    static double frequency(index_t pair, const rope_sizes&); // frequency -> frequencies
};
using rope_1 = with<nano::e, slot::rope_full<my_rope>>; // says: frequency\(

struct rope_of_cards {
    static double frequency(index_t pair, const rope_sizes&); // double -> card
};
using rope_2 = with<nano::e, slot::rope_sliding<rope_of_cards>>; // says: frequency\(

struct local_rope {
    static double frequency(index_t pair, const rope_sizes&); // static -> virtual
};
using rope_3 = with<nano::e, slot::rope_full<local_rope>>; // says: frequency\(

struct hidden_rope {
  public: // public -> private
    static double frequency(index_t pair, const rope_sizes&);
};
using rope_4 = with<nano::e, slot::rope_full<hidden_rope>>; // says: frequency\(

struct my_mask {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; } // reach -> range
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query; }
};
using mask_1 = with<nano::e, slot::mask_sliding<my_mask>>; // says: reach\(

struct graded_mask {
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t, index_t, mask_sizes) { return true; } // bool -> int
};
using mask_2 = with<nano::e, slot::mask_full<graded_mask>>; // says: sees\(

struct mask_with_number {
    static constexpr bool looks_ahead = false; // bool -> float
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t, index_t, mask_sizes) { return true; }
};
using mask_3 = with<nano::e, slot::mask_full<mask_with_number>>; // says: looks_ahead

struct my_scale {
    static double factor(score_sizes); // score_sizes -> rope_sizes
};
using scale_1 = with<nano::e, slot::score_scale<my_scale>>; // says: factor\(sizes\)

struct my_embedding_scale {
    static double factor(index_t, table_precision); // table_precision -> mask_sizes
};
using scale_2 = with<nano::e, slot::embedding_scale<my_embedding_scale>>; // says: factor\(width

struct my_activation {
    static float apply(float);
    static double apply(double); // double -> float
};
using activation_1 = with<nano::e, slot::activation<my_activation>>; // says: apply

struct my_cap {
    template <class T>
    static T apply(T, T); // apply -> cap
};
using cap_1 = with<nano::e, slot::final_softcap<my_cap>>; // says: apply

struct my_norm {
    template <class T>
    static void apply(std::span<T>, std::span<const T>, T); // apply -> norm
};
using norm_1 = with<nano::e, slot::q_norm<my_norm>>; // says: apply\(

struct double_less_norm {
    static void apply(std::span<float>, std::span<const float>, float);
    static void apply(std::span<double>, std::span<const double>, double); // apply -> apply_double
};
using norm_2 = with<nano::e, slot::post_norms<double_less_norm>>; // says: apply\(row_d

struct my_cache {
    static constexpr index_t sinks = 4, length = 28; // length -> window
};
using cache_1 = with<nano::e, slot::kv<my_cache>>; // says: length

struct half_a_cache {
    static constexpr index_t sinks = 0;
    static constexpr index_t length = 8; // index_t -> double
};
using cache_2 = with<nano::e, slot::kv<half_a_cache>>; // says: length

struct my_sharing {
    static constexpr index_t donor(index_t block, std::span<const bool>, index_t) { return block; } // constexpr -> inline
};
using sharing_1 = with<nano::e, slot::kv_sharing<my_sharing>>; // says: donor_is_not_constexpr<.*my_sharing

struct my_count {
    static constexpr index_t count(index_t) { return 2; } // constexpr -> inline
};
using count_1 = with<nano::a, slot::experts_used<my_count>>; // says: count_is_not_constexpr<.*my_count

struct my_router {
    static constexpr bool uses_experts = true;
    template <class T>
    static void route(std::span<T>, std::span<choice<T>>, route_place); // route_place -> mask_sizes
};
using router_1 = with<nano::a, slot::router<my_router>>; // says: route\(

struct my_branch {
    static constexpr bool enabled = false; // constexpr -> inline
};
using branch_1 = with<nano::a, slot::dense_branch<my_branch>>; // says: constant<T::enabled>

struct my_inputs {
    static constexpr bool enabled = true;
    static float combine(float, float);
    static double combine(double, double); // double -> float
};
using inputs_1 = with<nano::e, slot::per_layer_input<my_inputs>>; // says: combine

struct my_layer {
    static constexpr bool has_experts = false;
    static index_t width(index_t stored, bool shares_kv); // index_t -> float
};
using layer_1 = with<nano::e, slot::feed_forward<my_layer>>; // says: width\(

struct my_pruning {
    static constexpr bool enabled = true;
    static constexpr index_t recent = 4;
    static constexpr index_t first_block(index_t full) { return full + 1; }
    static constexpr index_t budget(index_t tokens) { return tokens / 2; } // budget -> budgets
    static constexpr double score(index_t, double received, index_t) { return received; }
};
using pruning_1 = with<nano::e, slot::prune<my_pruning>>; // says: budget\(

struct my_weights {
    static constexpr bool enabled = true;
    using format = f32; // f32 -> decode_only
    static void prepare(std::span<float>);
};
using weights_1 = with<nano::e, slot::weights<my_weights>>;                // says: encode
using weights_2 = with<nano::e, slot::weights<weights::requantized<f32>>>; // f32 -> decode_only, says: encode

struct my_probe {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::q>; // q -> k
    void operator()(at::q, index_t, index_t, matrix_view<float>) {}
};
using probe_1 = with<nano::e, slot::probe<my_probe>>; // says: probe_cannot_be_called_at<.*at::k>

struct my_card {
    static constexpr card value = nano::e_card::value; // constexpr -> inline
};
using card_1 = with<nano::e, slot::sizes<my_card>>; // says: T::value

struct my_threads {
    explicit my_threads(index_t);
    index_t size() const;
    void run(index_t count, index_t grain, loop_body body); // run -> start
};
using executor_1 = with<nano::e, slot::executor<my_threads>>; // says: run\(

struct threads_of_my_own_number {
    explicit threads_of_my_own_number(index_t); // index_t -> card
    index_t size() const;
    void run(index_t count, index_t grain, loop_body body);
};
using executor_2 = with<nano::e, slot::executor<threads_of_my_own_number>>; // says: constructible_from
using executor_3 = with<nano::e, slot::executor<threading::serial>>;        // serial -> open_mp, says: open_mp
