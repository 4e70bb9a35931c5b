// Compositions: exchanging parts, telling models apart, and the rules that a model must fulfil. That a broken model does not compile is
// asked here without a compiler's error: by what with<> is satisfied with.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/gemma3.hpp>
#include <loupe/model/nano.hpp>

using namespace loupe;

namespace {

/// `with<M, Bindings…>` is well-formed.
template <class M, class... Bindings>
concept can_exchange = requires {
    typename std::type_identity<with<M, Bindings...>>;
};

/// The slot takes such a part.
template <class T>
concept takes_rope = requires {
    typename slot::rope_full<T>;
};
template <class T>
concept takes_mask = requires {
    typename slot::mask_sliding<T>;
};
template <class T>
concept takes_norm = requires {
    typename slot::v_norm<T>;
};
template <class T>
concept takes_router = requires {
    typename slot::router<T>;
};
template <class T>
concept takes_activation = requires {
    typename slot::activation<T>;
};
template <class T>
concept takes_softcap = requires {
    typename slot::final_softcap<T>;
};
template <class T>
concept takes_weights = requires {
    typename slot::weights<T>;
};
template <class T>
concept takes_probe = requires {
    typename slot::probe<T>;
};
template <class T>
concept takes_sizes = requires {
    typename slot::sizes<T>;
};
template <class T>
concept takes_sharing = requires {
    typename slot::kv_sharing<T>;
};
template <class T>
concept takes_pruning = requires {
    typename slot::prune<T>;
};

/// Experts with a sublayer of one's own.
struct own_experts : feed_forward::experts {
    template <class Activation, class PostNorm, class Probe>
    using sublayer = void;
};

/// E2B's card with one number changed.
template <auto Member, auto Value>
struct e2b_but {
    static constexpr card value = [] {
        card c = gemma4::e2b_card::value;
        c.*Member = Value;
        return c;
    }();
};
template <auto Member, auto Value>
struct a4b_but {
    static constexpr card value = [] {
        card c = gemma4::a4b_card::value;
        c.*Member = Value;
        return c;
    }();
};

template <auto Member, auto Value>
using problem_of_e2b = detail::problem_with<gemma4::e2b, slot::sizes<e2b_but<Member, Value>>>;
template <auto Member, auto Value>
using problem_of_a4b = detail::problem_with<gemma4::a4b, slot::sizes<a4b_but<Member, Value>>>;

/// A user's format with blocks of 256.
struct wide_blocks {
    static constexpr std::uint32_t id = 2000;
    static constexpr std::string_view name = "WIDE";
    static constexpr index_t length = 256, bytes = 256;
    static void decode(const std::byte* block, float* out) noexcept {
        for (index_t i = 0; i < length; ++i) out[i] = static_cast<float>(static_cast<signed char>(block[i]));
    }
    static void encode(const float* in, std::byte* block) noexcept {
        for (index_t i = 0; i < length; ++i) block[i] = static_cast<std::byte>(static_cast<signed char>(in[i]));
    }
};

/// A donor that no sliding block has.
struct only_full_gives {
    static constexpr index_t donor(index_t block, std::span<const bool> is_full, index_t first_shared) {
        return block < first_shared || is_full[static_cast<std::size_t>(block)] ? block : kv_sharing::no_donor;
    }
};

/// A donor that reads another's keys itself.
struct chain {
    static constexpr index_t donor(index_t block, std::span<const bool>, index_t first_shared) {
        return block < first_shared ? block : block == first_shared ? block - 2 : block - 1;
    }
};

struct all_of_it {
    static constexpr index_t count(index_t) { return 1000; }
};

/// A slot that no model has.
struct my_part {
    [[maybe_unused]] static constexpr std::string_view name = "my_part";
};
struct my_slot : binding<my_part, int> {};

struct nothing {};
struct half_a_mask { // no looks_ahead
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t, index_t, mask_sizes) { return true; }
};
struct mask_of_ints { // sees must be a bool, and nothing that converts to one
    [[maybe_unused]] static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr int sees(index_t, index_t, mask_sizes) { return 1; }
};
struct float_only { // the reference needs double too
    static float apply(float x, float) { return x; }
    static float apply(float x) = delete;
};

} // namespace

TEST_CASE("composition: with<> exchanges the parts named and no others", "[composition]") {
    using nope = with<gemma4::e2b, slot::rope_full<rope::none>>;
    static_assert(std::same_as<part_of<nope, part::rope_full>, rope::none>);
    static_assert(std::same_as<part_of<nope, part::rope_sliding>, rope::standard>);
    static_assert(differs_only_in<gemma4::e2b, nope, part::rope_full>);
    static_assert(!differs_only_in<gemma4::e2b, nope, part::rope_sliding>);
    static_assert(!differs_only_in<gemma4::e2b, nope>);
    static_assert(!differs_only_in<gemma4::e2b, nope, part::rope_full, part::kv>);
    static_assert(differs_only_in<gemma4::e2b, gemma4::e2b>);
    // and back again: the same type, not one that only looks the same
    static_assert(std::same_as<with<nope, slot::rope_full<rope::proportional<>>>, gemma4::e2b>);
    CHECK(diff<gemma4::e2b, nope>() == "rope_full: rope::proportional<> → rope::none");
    CHECK(diff<gemma4::e2b, gemma4::e2b>().empty());
}

TEST_CASE("composition: the order of exchanges does not matter", "[composition]") {
    using a = with<gemma4::e2b, slot::rope_full<rope::none>, slot::kv<kv::sink_window<4, 1020>>, slot::activation<activation::silu>>;
    using b = with<gemma4::e2b, slot::activation<activation::silu>, slot::rope_full<rope::none>, slot::kv<kv::sink_window<4, 1020>>>;
    using c =
        with<with<with<gemma4::e2b, slot::kv<kv::sink_window<4, 1020>>>, slot::activation<activation::silu>>, slot::rope_full<rope::none>>;
    static_assert(std::same_as<a, b> && std::same_as<b, c>);
    static_assert(differs_only_in<gemma4::e2b, a, part::kv, part::rope_full, part::activation>);
    const std::string text = diff<gemma4::e2b, a>();
    CHECK(text == "rope_full: rope::proportional<> → rope::none\nkv: kv::full → kv::sink_window<4, 1020>\nactivation: "
                  "activation::gelu_tanh → activation::silu");
}

TEST_CASE("composition: a model's type is short, and nobody writes another for the same parts", "[composition]") {
    static_assert(std::same_as<nano::e, composition<slot::sizes<nano::e_card>>>);
    static_assert(std::same_as<with<nano::e, slot::v_norm<norm::none>, slot::rope_full<rope::none>>,
                               composition<slot::sizes<nano::e_card>, slot::rope_full<rope::none>, slot::v_norm<norm::none>>>);
    static_assert(!is::model<composition<>> && !is::model<composition<slot::rope_full<rope::none>>>);                         // no sizes
    static_assert(!is::model<composition<slot::sizes<nano::e_card>, slot::kv<kv::full>>>);                                    // usual
    static_assert(!is::model<composition<slot::sizes<nano::e_card>, slot::v_norm<norm::none>, slot::rope_full<rope::none>>>); // order
    static_assert(
        std::same_as<
            gemma4::b12,
            compose<slot::sizes<gemma4::b12_card>, slot::executor<threading::pool>, slot::probe<probe::none>,
                    slot::weights<weights::as_stored>, slot::final_softcap<softcap::stored>, slot::layer_scalar<layer_scalar::stored>,
                    slot::post_norms<norm::rms>, slot::dense_branch<dense_branch::on>, slot::experts_used<experts_used::stored>,
                    slot::router<router::softmax_top_k>, slot::feed_forward<feed_forward::gated>, slot::activation<activation::gelu_tanh>,
                    slot::prune<prune::none>, slot::kv_format<format::f32>, slot::kv<kv::full>, slot::kv_sharing<kv_sharing::last_of_kind>,
                    slot::value_full<value::key>, slot::v_norm<norm::rms_without_gain>, slot::k_norm<norm::rms>, slot::q_norm<norm::rms>,
                    slot::attention_softcap<softcap::none>, slot::score_scale<scale::stored>, slot::image_mask<image_mask::within_image>,
                    slot::mask_full<mask::causal>, slot::mask_sliding<mask::sliding<>>, slot::rope_full<rope::proportional<>>,
                    slot::rope_sliding<rope::standard>, slot::per_layer_input<per_layer_input::off>,
                    slot::embedding_scale<scale::sqrt_width>>>);
    SUCCEED();
}

TEST_CASE("composition: what the released models differ in", "[composition]") {
    static_assert(differs_only_in<gemma4::b12, gemma4::b31, part::sizes>);
    static_assert(differs_only_in<gemma4::b31, gemma4::a4b, part::sizes, part::feed_forward>);
    static_assert(differs_only_in<gemma4::e2b, gemma4::e4b, part::sizes, part::feed_forward>);
    static_assert(differs_only_in<gemma4::e4b, gemma4::b12, part::sizes, part::per_layer_input, part::value_full, part::image_mask>);
    static_assert(differs_only_in<gemma3::m270, gemma3::b27, part::sizes>);
    static_assert(differs_only_in<nano::e, gemma4::e2b, part::sizes>);
    static_assert(differs_only_in<nano::a, gemma4::a4b, part::sizes>);
    SUCCEED();
}

TEST_CASE("composition: an exchange that changes nothing does not compile", "[composition]") {
    static_assert(can_exchange<gemma4::e2b, slot::rope_full<rope::none>>);
    static_assert(!can_exchange<gemma4::e2b, slot::rope_full<rope::proportional<>>>);
    static_assert(!can_exchange<gemma4::e2b>);                                                   // no exchange at all
    static_assert(!can_exchange<gemma4::e2b, slot::rope_full<rope::none>, slot::kv<kv::full>>);  // one of two
    static_assert(!can_exchange<gemma4::e2b, slot::kv<kv::window<3>>, slot::kv<kv::window<4>>>); // which?
    SUCCEED();
}

TEST_CASE("composition: parts for experts do not go into models without", "[composition]") {
    using namespace rule;
    using sigmoid = slot::router<router::sigmoid>;
    using two = slot::experts_used<experts_used::exactly<2>>;
    using routed_alone = slot::dense_branch<dense_branch::off>;
    static_assert(can_exchange<gemma4::a4b, sigmoid> && can_exchange<gemma4::a4b, two> && can_exchange<gemma4::a4b, routed_alone>);
    static_assert(can_exchange<gemma4::experts_of_file, sigmoid>);
    static_assert(!can_exchange<gemma4::e2b, sigmoid> && !can_exchange<gemma4::e2b, two> && !can_exchange<gemma4::e2b, routed_alone>);
    static_assert(!can_exchange<gemma4::dense_of_file, sigmoid>);
    // The result is what counts: experts may come along, or go.
    using experts = slot::feed_forward<feed_forward::experts>;
    static_assert(can_exchange<gemma4::b12, sigmoid, slot::sizes<gemma4::a4b_card>, experts>);
    using gated = slot::feed_forward<feed_forward::gated>;
    static_assert(std::same_as<detail::problem_with<gemma4::a4b, sigmoid, gated>, part_is_for_models_with_experts<sigmoid>>);
    static_assert(can_exchange<with<gemma4::a4b, sigmoid>, gated>);
    static_assert(std::same_as<detail::problem_with<gemma4::a4b, routed_alone, slot::feed_forward<own_experts>>, // which is not asked
                               part_is_for_models_with_experts<routed_alone>>);
    SUCCEED();
}

TEST_CASE("composition: the model's share of rotated pairs is no exchange where it is all of them", "[composition]") {
    using sliding = slot::rope_sliding<rope::proportional<>>;
    static_assert(std::same_as<detail::problem_with<gemma4::e2b, sliding>, rule::rope_rotates_every_pair_as_before<sliding>>);
    static_assert(!can_exchange<gemma4::e2b, slot::rope_sliding<rope::partial<>>>);
    static_assert(!can_exchange<gemma3::m270, slot::rope_full<rope::reversed<>>>);
    // A share of one's own is one, and so is the model's where there is less than all, or the sizes change with it.
    static_assert(can_exchange<gemma4::e2b, slot::rope_sliding<rope::proportional<std::ratio<1, 4>>>>);
    static_assert(can_exchange<gemma4::e2b, slot::rope_full<rope::standard>>);
    static_assert(can_exchange<with<gemma4::e2b, slot::rope_full<rope::standard>>, slot::rope_full<rope::partial<>>>);
    static_assert(can_exchange<gemma3::m270, slot::sizes<gemma4::b12_card>, slot::rope_full<rope::proportional<>>>);
    // What a file says is not known here.
    static_assert(can_exchange<gemma3::of_file, slot::rope_full<rope::proportional<>>>);
    SUCCEED();
}

TEST_CASE("composition: foreign slots and what is no model do not compile", "[composition]") {
    static_assert(!can_exchange<gemma4::e2b, my_slot>);
    static_assert(!can_exchange<gemma4::e2b, rope::none>); // a part without its slot
    static_assert(!can_exchange<gemma4::e2b, part::rope_full>);
    static_assert(!can_exchange<nothing, slot::rope_full<rope::none>>);
    static_assert(!can_exchange<gemma4::e2b, binding<part::rope_full, int>>); // what no slot has checked
    SUCCEED();
}

TEST_CASE("composition: slots take parts of their own kind alone", "[composition]") {
    static_assert(takes_rope<rope::none> && !takes_rope<mask::causal> && !takes_rope<nothing> && !takes_rope<int>);
    static_assert(takes_mask<mask::causal> && !takes_mask<half_a_mask> && !takes_mask<mask_of_ints> && !takes_mask<rope::none>);
    static_assert(takes_norm<norm::none> && !takes_norm<activation::silu> && !takes_norm<nothing>);
    static_assert(takes_router<router::sigmoid> && !takes_router<experts_used::stored>);
    static_assert(takes_activation<activation::silu> && !takes_activation<softcap::none> && !takes_activation<float_only>);
    static_assert(takes_softcap<softcap::none> && !takes_softcap<activation::silu>);
    static_assert(takes_weights<weights::as_stored> && !takes_weights<format::q8_0>);
    static_assert(takes_probe<probe::none> && !takes_probe<nothing>);
    static_assert(takes_sizes<sizes_of_file> && takes_sizes<gemma4::e2b_card> && !takes_sizes<card> && !takes_sizes<nothing>);
    static_assert(takes_sharing<kv_sharing::none> && !takes_sharing<kv::full>);
    static_assert(takes_pruning<prune::none> && !takes_pruning<kv::window<3>>);
    // formats without an encoder cannot be requantised to
    static_assert(is::encodable_format<format::q4_0> && !is::encodable_format<format::q4_k>);
    SUCCEED();
}

TEST_CASE("composition: every rule is found, with its numbers", "[composition]") {
    using namespace rule;
    static_assert(std::same_as<detail::problem_with<gemma4::e2b, slot::rope_full<rope::none>>, all_hold>);
    static_assert(std::same_as<problem_of_e2b<&card::blocks, 0>, a_size_is_not_positive<0, 1536, 8, 512, 6144, 262144>>);
    static_assert(std::same_as<problem_of_e2b<&card::width, -1>, a_size_is_not_positive<35, -1, 8, 512, 6144, 262144>>);
    static_assert(std::same_as<problem_of_e2b<&card::vocabulary, 0>, a_size_is_not_positive<35, 1536, 8, 512, 6144, 0>>);
    static_assert(std::same_as<problem_of_e2b<&card::kv_heads_sliding, 3>, query_heads_do_not_divide_by_kv_heads<8, 3>>);
    static_assert(std::same_as<problem_of_e2b<&card::kv_heads_full, 0>, query_heads_do_not_divide_by_kv_heads<8, 0>>);
    static_assert(std::same_as<problem_of_e2b<&card::kv_heads_full, 16>, query_heads_do_not_divide_by_kv_heads<8, 16>>);
    static_assert(std::same_as<problem_of_e2b<&card::head_width_sliding, 255>, rope_on_an_odd_head_width<255>>);
    static_assert(std::same_as<problem_of_e2b<&card::head_width_full, 511>, rope_on_an_odd_head_width<511>>);
    static_assert(std::same_as<problem_of_e2b<&card::window, 0>, sliding_window_is_empty<0>>);
    static_assert(std::same_as<problem_of_e2b<&card::kv_shared_blocks, 35>, every_block_shares_keys_and_values<35, 35>>);
    // With 31 shared blocks the four that are left are all sliding: block 4, the first full one, has nobody to read from.
    static_assert(std::same_as<problem_of_e2b<&card::kv_shared_blocks, 31>, shared_kv_block_has_no_donor_of_its_kind<4>>);
    static_assert(std::same_as<problem_of_e2b<&card::kv_shared_blocks, 30>, all_hold>);
    static_assert(
        std::same_as<detail::problem_with<gemma4::e2b, slot::kv_sharing<only_full_gives>>, shared_kv_block_has_no_donor_of_its_kind<15>>);
    static_assert(std::same_as<detail::problem_with<gemma4::e2b, slot::kv_sharing<chain>>, shared_kv_block_has_no_donor_of_its_kind<16>>);
    static_assert(std::same_as<problem_of_e2b<&card::per_layer_width, 0>, per_layer_inputs_without_a_width<0>>);
    static_assert(std::same_as<problem_of_a4b<&card::experts, 0>, experts_without_number_or_width<0, 704>>);
    static_assert(std::same_as<problem_of_a4b<&card::expert_width, 0>, experts_without_number_or_width<128, 0>>);
    static_assert(std::same_as<problem_of_a4b<&card::experts_used, 0>, fewer_experts_used_than_one<0>>);
    static_assert(std::same_as<problem_of_a4b<&card::experts_used, 129>, more_experts_used_than_there_are<129, 128>>);
    static_assert(std::same_as<detail::problem_with<gemma4::a4b, slot::experts_used<experts_used::exactly<200>>>,
                               more_experts_used_than_there_are<200, 128>>);
    static_assert(
        std::same_as<detail::problem_with<gemma4::a4b, slot::experts_used<all_of_it>>, more_experts_used_than_there_are<1000, 128>>);
    static_assert(std::same_as<detail::problem_with<gemma4::a4b, slot::experts_used<experts_used::exactly<128>>>, all_hold>);
    SUCCEED();
}

TEST_CASE("composition: a format's blocks must divide every width", "[composition]") {
    using namespace rule;
    using wide = slot::weights<weights::requantized<wide_blocks>>;
    static_assert(std::same_as<detail::problem_with<gemma4::e2b, wide>, all_hold>); // 1536, 6144, 2048, 4096, 256
    static_assert(std::same_as<detail::problem_with<gemma4::a4b, wide>, format_block_does_not_divide_width<256, 2112>>);
    // 704, the experts' width, is the other one: with another dense branch it is the first
    static_assert(std::same_as<detail::problem_with<gemma4::a4b, slot::sizes<a4b_but<&card::mlp_width, 2048>>, wide>,
                               format_block_does_not_divide_width<256, 704>>);
    static_assert(std::same_as<detail::problem_with<gemma4::a4b, slot::weights<weights::requantized<format::q8_0>>>, all_hold>);
    static_assert(can_exchange<gemma4::e2b, wide> && !can_exchange<gemma4::a4b, wide>);
    static_assert(!can_exchange<nano::e, wide>); // per-layer width 32
    SUCCEED();
}

TEST_CASE("composition: blocks of keys and values must divide every head", "[composition]") {
    using namespace rule;
    using wide = slot::kv_format<wide_blocks>;
    static_assert(std::same_as<detail::problem_with<gemma4::e2b, wide>, all_hold>);
    static_assert(std::same_as<detail::problem_with<nano::e, wide>, kv_format_block_does_not_divide_head_width<256, 64>>);
    static_assert(std::same_as<detail::problem_with<gemma4::e2b, slot::sizes<e2b_but<&card::head_width_full, 128>>, wide>,
                               kv_format_block_does_not_divide_head_width<256, 128>>);
    static_assert(can_exchange<nano::e, slot::kv_format<format::q8_0>> && !can_exchange<nano::e, wide>);
    SUCCEED();
}

TEST_CASE("composition: a model that breaks a rule is no model", "[composition]") {
    static_assert(!can_exchange<gemma4::e2b, slot::sizes<e2b_but<&card::window, 0>>>);
    static_assert(!can_exchange<gemma4::e2b, slot::sizes<e2b_but<&card::head_width_full, 511>>>);
    static_assert(can_exchange<gemma4::e2b, slot::sizes<e2b_but<&card::window, 1>>>);
    // An odd head is fine where nothing rotates, and two exchanges are judged together.
    static_assert(can_exchange<gemma4::e2b, slot::sizes<e2b_but<&card::head_width_full, 511>>, slot::rope_full<rope::none>>);
    static_assert(!can_exchange<gemma4::e2b, slot::per_layer_input<per_layer_input::off>, slot::experts_used<experts_used::exactly<0x7fff>>,
                                slot::feed_forward<feed_forward::experts>>);
    static_assert(can_exchange<gemma4::b12, slot::sizes<gemma4::a4b_card>, slot::feed_forward<feed_forward::experts>>);
    static_assert(!can_exchange<gemma4::b12, slot::feed_forward<feed_forward::experts>>); // there are none
    static_assert(!can_exchange<gemma4::b12, slot::per_layer_input<per_layer_input::on>>);
    SUCCEED();
}

TEST_CASE("composition: models that differ in numbers share one stack", "[composition]") {
    using base = nano::e;
    const auto shares = []<class... B>(type_list<B...>) { return (std::same_as<stack_of<base>, stack_of<with<base, B>>> && ...); };
    static_assert(
        shares(type_list<slot::rope_full<rope::none>, slot::rope_full<rope::partial<>>, slot::rope_sliding<rope::none>,
                         slot::score_scale<scale::one>, slot::embedding_scale<scale::one>, slot::layer_scalar<layer_scalar::one>,
                         slot::kv_sharing<kv_sharing::none>, slot::weights<weights::requantized<format::q8_0>>, slot::sizes<sizes_of_file>,
                         slot::kv_format<format::bf16>, slot::kv_format<format::q8_0>, slot::image_mask<image_mask::within_image>,
                         slot::feed_forward<feed_forward::gated>, slot::executor<threading::serial>>{}));
    static_assert(std::same_as<stack_of<gemma4::e2b>, stack_of<nano::e>> && std::same_as<stack_of<gemma4::e2b>, stack_of<gemma4::e4b>>);
    const auto differs = []<class... B>(type_list<B...>) { return (!std::same_as<stack_of<base>, stack_of<with<base, B>>> && ...); };
    static_assert(differs(type_list<slot::mask_full<mask::sliding<>>, slot::kv<kv::window<3>>, slot::activation<activation::silu>,
                                    slot::v_norm<norm::none>, slot::post_norms<norm::none>, slot::final_softcap<softcap::none>,
                                    slot::per_layer_input<per_layer_input::off>, slot::prune<prune::random<std::ratio<1, 2>>>>{}));
    // Two prunings that differ in numbers and scores do too.
    static_assert(std::same_as<stack_of<with<base, slot::prune<prune::random<std::ratio<1, 2>>>>>,
                               stack_of<with<base, slot::prune<prune::received_attention<std::ratio<1, 4>>>>>>);
    SUCCEED();
}

TEST_CASE("composition: names are those that a user writes", "[composition]") {
    CHECK(type_name<rope::stretched<rope::proportional<>, std::ratio<2>>>().find("rope::stretched<rope::proportional<") == 0);
    CHECK(type_name<nothing>() == "nothing");
    CHECK(std::string(part::kv_sharing::name) == "kv_sharing");
    CHECK(diff<gemma4::a4b, with<gemma4::a4b, slot::experts_used<experts_used::exactly<2>>>>() ==
          "experts_used: experts_used::stored → experts_used::exactly<2>");
}
