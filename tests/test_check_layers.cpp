// Every layer of the library keeps the contract that check<>() holds a user's own against.
#include <loupe/check/layer.hpp>
#include <loupe/core/compat/catch2.hpp>
#include <loupe/policy/softcap.hpp>

using namespace loupe;

namespace {

void holds(const verdict& v) {
    INFO(v);
    CHECK(v.ok());
}

template <class Mask, class Kv = kv::full, class Norm = norm::rms, bool ValueFromKey = false, bool OwnsKv = true, bool Prunes = false>
using attention = attention_layer<Mask, Kv, Norm, Norm, norm::rms_without_gain, softcap::stored, ValueFromKey, OwnsKv, Prunes, probe::none>;
template <class Router>
using routed = experts_layer<Router, experts_used::stored, activation::gelu_tanh, probe::none>;
using dense = dense_sublayer<activation::gelu_tanh, norm::rms, probe::none>;
using both = experts_sublayer<router::softmax_top_k, experts_used::stored, true, activation::gelu_tanh, norm::rms, probe::none>;

} // namespace

TEST_CASE("check: attention of the library holds", "[check]") {
    holds(check<attention<mask::causal>>());
    holds(check<attention<mask::sliding<>>>());
    holds(check<attention<mask::sliding<>>>({.reach = 4})); // from a ring
    holds(check<attention<mask::causal, kv::window<3>>>({.reach = 3}));
    holds(check<attention<mask::causal, kv::full, norm::none, true>>());
    holds(check<attention<mask::sliding<>, kv::full, norm::rms, false, false>>()); // keys of another block
    holds(check<attention<mask::bidirectional<>>>({.causal = false}));
}

TEST_CASE("check: feed-forward layers and experts of the library hold", "[check]") {
    holds(check<feed_forward_layer<activation::gelu_tanh, probe::none>>());
    holds(check<feed_forward_layer<activation::relu2, probe::none>>());
    holds(check<routed<router::softmax_top_k>>());
    holds(check<routed<router::random<>>>());
    holds(check<routed<router::none>>());
    holds(check<dense>());
    holds(check<both>());
}

TEST_CASE("check: whole blocks of the library hold", "[check]") {
    holds(check<block<attention<mask::sliding<>>, dense, norm::rms, true>>({.reach = 4}));
    holds(check<block<attention<mask::causal, kv::full, norm::rms, false, false>, dense, norm::rms, true>>());
    holds(check<block<attention<mask::causal, kv::full, norm::rms, true>, both, norm::none, false>>());
}

TEST_CASE("check: a layer as a function holds", "[check]") {
    holds(check(
        "copy",
        [](context&, matrix_view<const float> x, matrix_view<float> out) {
            for (index_t t = 0; t < x.rows; ++t) std::copy_n(x[t].data(), x.width, out[t].data());
        },
        5));
    // one with a state: the sum of all rows so far
    std::vector<std::vector<float>> sums;
    holds(check(
        "sum of the past",
        [&](context& c, matrix_view<const float> x, matrix_view<float> out) {
            sums.resize(static_cast<std::size_t>(c.position) + 1, std::vector<float>(static_cast<std::size_t>(x.width)));
            for (index_t t = 0; t < x.rows; ++t) {
                auto next = sums.back();
                for (std::size_t i = 0; i < next.size(); ++i) next[i] += x[t][i];
                std::copy(next.begin(), next.end(), out[t].begin());
                sums.push_back(std::move(next));
            }
        },
        4));
    // one that keeps the last row only (a token shift), and says that it cannot go back
    std::vector<float> last(4);
    index_t next = 0;
    holds(check(
        "token shift",
        [&](context& c, matrix_view<const float> x, matrix_view<float> out) {
            if (c.position == 0) {
                std::ranges::fill(last, 0.0F);
            } else if (c.position != next) {
                throw error("token shift: expected position " + std::to_string(next) + ", found " + std::to_string(c.position));
            }
            for (index_t t = 0; t < x.rows; ++t) {
                for (std::size_t i = 0; i < last.size(); ++i) out[t][i] = (x[t][i] + std::exchange(last[i], x[t][i])) / 2;
            }
            next = c.position + x.rows;
        },
        4));
}
