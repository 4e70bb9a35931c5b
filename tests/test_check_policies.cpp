// Every policy of the library keeps the contract that check<>() holds a user's own against.
#include <loupe/check/check.hpp>
#include <loupe/core/compat/catch2.hpp>
#include <loupe/format/formats.hpp>

using namespace loupe;

namespace {

template <class... Parts>
void all_hold(type_list<Parts...>) {
    const auto one = [](const verdict& v) {
        INFO(v);
        CHECK(v.ok());
    };
    (one(check<Parts>()), ...);
}

} // namespace

TEST_CASE("check: masks, caches and sharing of the library hold", "[check]") {
    all_hold(type_list<mask::causal, mask::sliding<>, mask::sliding<1>, mask::sliding<5>, mask::chunked<4>, mask::bidirectional<>,
                       mask::bidirectional<0>, mask::bidirectional<3>>{});
    all_hold(type_list<kv::full, kv::window<1>, kv::window<9>, kv::sink_window<0, 3>, kv::sink_window<4, 6>, kv_sharing::last_of_kind,
                       kv_sharing::none>{});
}

TEST_CASE("check: ropes of the library hold", "[check]") {
    all_hold(type_list<rope::standard, rope::proportional<>, rope::proportional<std::ratio<1, 2>>, rope::partial<>, rope::reversed<>,
                       rope::none, rope::stretched<rope::standard, std::ratio<2>>>{});
}

TEST_CASE("check: norms, activations, softcaps and scales of the library hold", "[check]") {
    all_hold(type_list<norm::rms, norm::rms_without_gain, norm::none>{});
    all_hold(type_list<activation::gelu_tanh, activation::silu, activation::relu2>{});
    all_hold(type_list<softcap::none, softcap::stored, softcap::fixed<1>, softcap::fixed<50>>{});
    all_hold(type_list<scale::sqrt_width, scale::stored, scale::times<std::ratio<1, 2>>, scale::inverse_sqrt_head_width, scale::one,
                       layer_scalar::stored, layer_scalar::one>{});
}

TEST_CASE("check: routers and branches of the library hold", "[check]") {
    all_hold(type_list<router::softmax_top_k, router::softmax_top_k_without_normalising, router::top_k_softmax, router::sigmoid,
                       router::uniform_weights, router::random<>, router::random<7>, router::none, experts_used::stored,
                       experts_used::exactly<3>>{});
    all_hold(type_list<per_layer_input::on, per_layer_input::off, per_layer_input::context_only, feed_forward::gated,
                       feed_forward::gated_double_wide, feed_forward::experts>{});
}

TEST_CASE("check: pruning and the null probe of the library hold", "[check]") {
    all_hold(type_list<prune::none, prune::received_attention<std::ratio<1, 2>>, prune::received_attention<std::ratio<9, 10>, 1, 1>,
                       prune::random<std::ratio<1, 2>, prune::after_first_full_block, 4>>{});
    all_hold(type_list<probe::none>{});
}

TEST_CASE("check: every weight format that can be written holds", "[check]") {
    all_hold(type_list<weights::as_stored, weights::requantized<format::q4_0>>{});
    for_each_type(format::all{}, []<class Format>() {
        if constexpr (is::encodable_format<Format>) all_hold(type_list<Format>{});
    });
}
