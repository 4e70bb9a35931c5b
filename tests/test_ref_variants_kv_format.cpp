// Keys and values rounded to a format, in whole models.
#include "npy_compare.hpp"

#include <loupe/model/nano.hpp>

using namespace loupe;

namespace {

/// The fast path agrees with ref/ in double, far closer than what the rounding does, and gives the same bits in chunks.
template <is::model Base, class Format>
void check(const tests::baseline<Base>& base) {
    using M = with<Base, slot::kv_format<Format>>;
    INFO((diff<Base, M>()));
    const decoder<tests::recorded<M>> fast(base.file.sizes, base.file.weights);
    const ref::decoder<M, double> slow(base.file.sizes, base.file.weights);
    const ref::decoder<Base, double> stock(base.file.sizes, base.file.weights);
    runtime on(2);
    const auto found = tests::run_fast<stack_of<tests::recorded<M>>>(fast, base.text, {40}, on);
    const auto expected = tests::run_ref(slow, base.text, {40});
    CHECK((found == tests::run_fast<stack_of<tests::recorded<M>>>(fast, base.text, tests::chunk_ends(40, 20, 3), on)));
    // The two paths' keys and values differ in the last bits of a float, so here and there one of hundreds falls to the code beside: by a
    // whole step of the format, while rounding moves all of them by up to half a one.
    const auto floats = tests::run_ref(stock, base.text, {40});
    const double of_rounding = tests::distance(floats.logits, expected.logits);
    CHECK(tests::distance(found.logits, expected.logits) <= 1e-4 + of_rounding / 8);
    CHECK(tests::distance(found.logits, floats.logits) >= of_rounding / 2);
}

} // namespace

TEST_CASE("formats of keys and values, fast against ref", "[variants]") {
    const tests::baseline<nano::e> e("nano-e");
    const tests::baseline<nano::a> a("nano-a");
    check<nano::e, format::bf16>(e);
    check<nano::e, format::f16>(e);
    check<nano::e, format::q8_0>(e);
    check<nano::a, format::q8_0>(a);
}
