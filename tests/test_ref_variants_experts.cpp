// Slots of a model with experts, exchanged one by one: routers, how many experts, the dense branch.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

TEST_CASE("routers, fast against ref", "[variants]") {
    const tests::baseline<nano::a> base("nano-a");
    base.check_exchange<slot::router<router::sigmoid>>();
    base.check_exchange<slot::router<router::uniform_weights>>();
    base.check_exchange<slot::router<router::random<5>>>();
    base.check_exchange<slot::router<router::none>>();
}

TEST_CASE("experts used and branches, fast against ref", "[variants]") {
    const tests::baseline<nano::a> base("nano-a");
    base.check_exchange<slot::experts_used<experts_used::exactly<1>>>();
    base.check_exchange<slot::experts_used<experts_used::exactly<16>>>();
    base.check_exchange<slot::dense_branch<dense_branch::off>>();
    base.check_exchange<slot::activation<activation::silu>>();
    base.check_exchange<slot::post_norms<norm::none>>();
}

TEST_CASE("routers that differ in a factor alone give the same logits: the norm behind the experts cancels it", "[variants]") {
    const tests::baseline<nano::a> base("nano-a");
    const auto check = [&]<class Router>(std::type_identity<Router>) {
        using M = with<nano::a, slot::router<Router>>;
        const ref::decoder<M, double> slow(base.file.sizes, base.file.weights);
        CHECK(tests::distance(base.out.logits, tests::run_ref(slow, base.text, {40}).logits) <= 1e-4);
        runtime on;
        const decoder<tests::recorded<M>> fast(base.file.sizes, base.file.weights);
        CHECK(tests::distance(tests::run_fast<stack_of<tests::recorded<M>>>(fast, base.text, {40}, on).logits, base.out.logits) <= 1e-4);
    };
    check(std::type_identity<router::top_k_softmax>{});
    check(std::type_identity<router::softmax_top_k_without_normalising>{});
}

TEST_CASE("a model without value projections refuses to be run with them", "[variants]") {
    const tests::baseline<nano::a> base("nano-a");
    using M = with<nano::a, slot::value_full<value::projected>>;
    CHECK_THROWS_AS(decoder<M>(base.file.sizes, base.file.weights), error);
    CHECK_THROWS_AS((ref::decoder<M, double>(base.file.sizes, base.file.weights)), error);
}
