// The same bits on one thread and two, in chunks of any size, after a rewind and with only some tokens wanted: the small trained models,
// and the reduced ones of E2B, E4B and 26B-A4B, which run on the same code. The golden tests hold every family to it at their own chunks,
// scripts/check_determinism.sh compares processes.
#include "data.hpp"

#include "open.hpp"
#include <loupe/check/model.hpp>
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/npy.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <atomic>

using namespace loupe;

namespace {

io::checkpoint open(const std::filesystem::path& path) {
    executor one;
    return tests::open(path, one);
}

template <is::model M>
verdict hold(const std::filesystem::path& model, const std::filesystem::path& ids) {
    const auto file = open(model);
    auto text = io::npy::read<token_id>(ids).values;
    text.resize(40, 3); // past every window, not past a minute under the sanitizers
    return check(decoder<M>(file.sizes, file.weights), text);
}

/// Adds what token 2 of a chunk attended to, to token 0: what comes later changes what the model says of this one.
struct leaking_probe {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::attn_output>;
    void operator()(at::attn_output, index_t block, index_t, matrix_view<float> x) {
        if (block == 2 && x.rows > 2) x[0][5] += x[2][5];
    }
};

/// Adds how often it was asked.
struct moody_cap {
    static inline std::atomic<unsigned> asked = 0;
    static float apply(float x, float) { return x + static_cast<float>(asked++); }
    static double apply(double x, double) { return x; }
};

/// h(t) = 0.9 h(t − 1) + id(t), with the states of all positions: of whichever sequence has read there last.
struct averaging {
    struct sequence_type {
        index_t length = 0;
        void rewind(index_t position) { length = position; }
    };
    struct numbers {
        index_t vocabulary = 100;
    };
    mutable std::vector<float> states{}, out{};

    sequence_type start() const { return {}; }
    numbers sizes() const { return {}; }
    matrix_view<const float> forward(sequence_type& s, std::span<const token_id> ids, runtime&, std::span<const std::int32_t>,
                                     std::span<const index_t> wanted) const {
        states.resize(100);
        out.clear();
        for (const token_id id : ids) {
            const auto p = static_cast<std::size_t>(s.length++);
            states[p] = (p > 0 ? 0.9F * states[p - 1] : 0) + static_cast<float>(id);
            out.push_back(states[p]);
        }
        for (std::size_t i = 0; i < wanted.size(); ++i) out[i] = out[static_cast<std::size_t>(wanted[i])];
        if (!wanted.empty()) out.resize(wanted.size());
        return {out.data(), std::ssize(out), 1};
    }
};

} // namespace

TEST_CASE("determinism: nano-e and the reduced E2B and E4B, as floats and quantised", "[determinism][check]") {
    const auto ids = tests::data("reference/nano-e/short_ids.npy");
    const auto expect = [](const verdict& v) { CHECK(v.text() == "model: holds (9 rules)"); };
    expect(hold<nano::e>(tests::example("models/nano-e"), ids));
    expect(hold<nano::e>(tests::example("models/nano-e/nano-e-Q4_K_M.gguf"), ids));
    using base = gemma4::per_layer_of_file;
    static_assert(std::same_as<stack_of<base>, stack_of<nano::e>>); // no code of its own
    expect(hold<base>(tests::data("gemma4-e2b"), tests::data("gemma4-e2b/ids.npy")));
    expect(hold<base>(tests::data("gemma4-e4b"), tests::data("gemma4-e4b/ids.npy")));
}

TEST_CASE("determinism: keys and values in a format", "[determinism][check]") {
    const auto ids = tests::data("reference/nano-e/short_ids.npy");
    const auto expect = [](const verdict& v) { CHECK(v.text() == "model: holds (9 rules)"); };
    expect(hold<with<nano::e, slot::kv_format<format::f16>>>(tests::example("models/nano-e"), ids));
    expect(hold<with<nano::e, slot::kv_format<format::q8_0>>>(tests::example("models/nano-e"), ids));
}

TEST_CASE("determinism: nano-a and the reduced 26B-A4B", "[determinism][check]") {
    const auto expect = [](const verdict& v) { CHECK(v.text() == "model: holds (9 rules)"); };
    expect(hold<nano::a>(tests::example("models/nano-a"), tests::data("reference/nano-a/short_ids.npy")));
    static_assert(std::same_as<stack_of<gemma4::experts_of_file>, stack_of<nano::a>>);
    expect(hold<gemma4::experts_of_file>(tests::data("gemma4-26b-a4b"), tests::data("gemma4-26b-a4b/ids.npy")));
}

TEST_CASE("determinism: logits that are not are caught", "[determinism][check]") {
    using moody = with<nano::e, slot::final_softcap<moody_cap>>;
    const verdict v = hold<moody>(tests::example("models/nano-e"), tests::data("reference/nano-e/short_ids.npy"));
    REQUIRE(v.broken().size() == 1);
    CHECK_THAT(v.broken()[0], Catch::Matchers::StartsWith("model: logit 0 of row 0 is "));
    CHECK_THAT(v.broken()[0], Catch::Matchers::EndsWith(" when computed again (1 token)"));
}

TEST_CASE("determinism: a model that keeps a sequence's states in itself is caught", "[determinism][check]") {
    const std::vector<token_id> ids{1, 5, 2, 6, 3};
    CHECK(check(averaging{}, ids).text() ==
          "model: row 0, value 0 is 5.9000001, and 6.80000019 with another sequence read in between (2 tokens)");
}

TEST_CASE("determinism: a model that is not is caught", "[determinism][check]") {
    using leaking = with<nano::e, slot::probe<leaking_probe>>;
    const verdict v = hold<leaking>(tests::example("models/nano-e"), tests::data("reference/nano-e/short_ids.npy"));
    REQUIRE(v.broken().size() == 3);
    CHECK_THAT(v.broken()[0], Catch::Matchers::EndsWith("with another last token (3 tokens)"));
    CHECK_THAT(v.broken()[1], Catch::Matchers::EndsWith("in chunks of 1 (3 tokens)"));
    CHECK_THAT(v.broken()[2], Catch::Matchers::EndsWith("after a rewind to 1 (3 tokens)"));
}
