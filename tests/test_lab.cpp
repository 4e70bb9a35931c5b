// The lab's measuring, on sessions that are told what to say and on nano-e: what is told to a probe, and what is
// said of a variant.
#include "open.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/lab/lab.hpp>
#include <loupe/model/nano.hpp>

using namespace loupe;

namespace {

/// A model of four tokens whose logits are `step` times the token's number, whatever it reads.
class told final : public lab::session {
    float step_;
    std::vector<index_t>* positions_; ///< where to note those that logits were asked for; may be null
    std::vector<float> hidden_;

  public:
    told(float step, std::vector<index_t>* positions) : step_(step), positions_(positions) {}
    matrix_view<const float> hidden(std::span<const token_id>, std::span<const index_t> wanted, runtime&) override {
        hidden_.assign(wanted.size(), 0.0F);
        return {hidden_.data(), std::ssize(wanted), 1};
    }
    void logits(matrix_view<const float>, std::span<const index_t> at, runtime&, matrix_view<float> out) override {
        if (positions_ != nullptr) positions_->insert(positions_->end(), at.begin(), at.end());
        for (index_t r = 0; r < out.rows; ++r) {
            for (index_t i = 0; i < out.width; ++i) out[r][i] = step_ * static_cast<float>(i);
        }
    }
};

lab::subject told_subject(std::string id, float step, std::vector<index_t>* positions = nullptr) {
    lab::subject s;
    s.id = std::move(id);
    s.width = 1;
    s.vocabulary = 4;
    s.open = [=] { return std::make_unique<told>(step, positions); };
    return s;
}

/// Segments of `length` tokens, each a document.
lab::corpus made_up_text(index_t segments, index_t length) {
    lab::corpus c;
    c.name = "made up";
    c.bytes = c.tokens = segments * length;
    c.documents = segments;
    c.context = length + 1;
    for (index_t i = 0; i < segments; ++i) {
        c.segments.push_back({std::vector<token_id>(static_cast<std::size_t>(length + 1), 1),
                              std::vector<index_t>(static_cast<std::size_t>(length), i), i * length});
    }
    return c;
}

/// Keeps what it is told.
struct visit {
    index_t block, position, rows;
    bool operator==(const visit&) const = default;
};
struct spy {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::residual> || std::same_as<Place, at::logits>;
    static inline std::vector<visit> blocks, heads;

    void operator()(at::residual, index_t block, index_t position, matrix_view<float> x) { blocks.push_back({block, position, x.rows}); }
    void operator()(at::logits, index_t block, index_t position, matrix_view<float> x) { heads.push_back({block, position, x.rows}); }
};
using watched = with<nano::e, slot::probe<spy>>;

/// Adds how many tokens it has seen.
struct counter {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::final_norm>;
    float seen = 0;

    void operator()(at::final_norm, index_t, index_t, matrix_view<float> x) {
        for (index_t t = 0; t < x.rows; ++t) x[t][0] += ++seen;
    }
};

} // namespace

TEST_CASE("lab: where a variant's logits are not numbers there is no KL either", "[lab]") {
    const auto text = made_up_text(6, 10);
    const auto r = lab::ablate({told_subject("stock", 0.5F), told_subject("same", 0.5F), told_subject("broken", NAN)}, &text, nullptr, 1);
    CHECK(std::isnan(r.variants[2].perplexity.value));
    CHECK(std::isnan(r.variants[2].mean_kl.value));
    CHECK(std::isnan(r.variants[2].mean_kl.low));
    CHECK(std::isnan(r.variants[2].mean_kl.high));
    // Of equal models rounding leaves next to nothing, and never less than nothing.
    CHECK(r.variants[1].mean_kl.value >= 0);
    CHECK(r.variants[1].mean_kl.value < 1e-6);
}

TEST_CASE("lab: a text of fewer segments than threads is read by so many threads as it has segments", "[lab]") {
    const std::vector<lab::subject> subjects{told_subject("stock", 0.5F)};
    const auto rate = [&](index_t segments, index_t threads) { // tokens per second, had reading taken 2 s
        const auto text = made_up_text(segments, 10);
        auto figures = lab::measure(subjects, &text, nullptr, threads);
        figures[0].seconds = 2;
        return lab::summarise(subjects, figures, &text, nullptr, threads).variants[0].tokens_per_second;
    };
    CHECK(rate(1, 1) == 5);
    CHECK(rate(1, 3) == 5);
    CHECK(rate(2, 3) == 10 * 2);
    CHECK(rate(8, 3) == 40 * 3);
    CHECK(rate(1, 0) == 5);
    const auto text = made_up_text(1, 10);
    CHECK(lab::ablate(subjects, &text, nullptr, 0).threads == executor(0).size());
}

TEST_CASE("lab: a variant's id is one line, and the report names the card", "[lab]") {
    using two = with<nano::e, slot::rope_full<rope::none>, slot::kv<kv::window<8>>>;
    const auto text = lab::cut_text(tests::nano_e().text(), "Mara had a red lamp.\n\nIlse had a silver kettle.", "text", 64);
    const auto r = lab::ablate<nano::e, two>(tests::nano_e(), &text, nullptr, 1);
    CHECK(r.variants[1].id == "rope_full: rope::proportional<> → rope::none, kv: kv::full → kv::window<8>");
    CHECK(r.variants[1].difference == "rope_full: rope::proportional<> → rope::none\nkv: kv::full → kv::window<8>");
    CHECK(r.model == "nano-e");
    CHECK(lab::detail::name_of_model<gemma4::per_layer_of_file>(tests::nano_e().sizes) == "gemma4");
}

TEST_CASE("lab: a session is told the positions of the tokens whose logits are asked for", "[lab]") {
    const auto text = made_up_text(1, 600); // heads go over 512 rows at a time
    std::vector<index_t> positions, all(600);
    lab::ablate({told_subject("stock", 0.5F, &positions)}, &text, nullptr, 1);
    std::iota(all.begin(), all.end(), index_t{0});
    CHECK(positions == all);
}

TEST_CASE("lab: a probe is told the positions of what it sees, whatever answers ask for", "[lab][probe]") {
    lab::task_set tasks{"made up", {"kind"}, {{0, {2, 300, 337, 374, 411, 448, 485}, {-1, 0, -1, 1, 1, -1}, 2}}};
    spy::blocks.clear();
    spy::heads.clear();
    const auto r = lab::ablate<nano::e, watched>(tests::nano_e(), nullptr, &tasks, 1);
    CHECK(spy::heads == std::vector<visit>{{10, 1, 1}, {10, 3, 2}});
    // Blocks that share keys too, which otherwise only see the tokens that are asked for.
    REQUIRE(spy::blocks.size() == 10);
    for (index_t i = 0; i < 10; ++i) CHECK(spy::blocks[static_cast<std::size_t>(i)] == visit{i, 0, 7});
    CHECK(r.variants[1].tasks[0].mean_nll == r.variants[0].tasks[0].mean_nll);
    CHECK(r.variants[1].tasks[0].documents == 1);
    CHECK(r.variants[1].tasks[0].changed_documents == 0);
}

TEST_CASE("lab: a probe that writes begins every text anew, whichever thread reads it", "[lab][probe]") {
    const auto text = made_up_text(4, 3); // of equal tokens
    const auto r = lab::ablate<nano::e, with<nano::e, slot::probe<counter>>>(tests::nano_e(), &text, nullptr, 1);
    const lab::estimate& kl = r.variants[1].mean_kl;
    CHECK(kl.value > 0);
    CHECK(kl.low == Approx(kl.high)); // every document says the same
}
