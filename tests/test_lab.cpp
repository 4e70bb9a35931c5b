// The lab's measuring, on sessions that are told what to say and on nano-e: what a variant that computes nonsense is said to have done.
#include "open.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/lab/lab.hpp>
#include <loupe/model/nano.hpp>

using namespace loupe;

namespace {

/// A model of four tokens whose logits are `step` times the token's number, whatever it reads.
class told final : public lab::session {
    float step_;
    std::vector<float> hidden_;

  public:
    explicit told(float step) : step_(step) {}
    matrix_view<const float> hidden(std::span<const token_id>, std::span<const index_t> wanted, runtime&) override {
        hidden_.assign(wanted.size(), 0.0F);
        return {hidden_.data(), std::ssize(wanted), 1};
    }
    void logits(matrix_view<const float>, runtime&, matrix_view<float> out) override {
        for (index_t r = 0; r < out.rows; ++r) {
            for (index_t i = 0; i < out.width; ++i) out[r][i] = step_ * static_cast<float>(i);
        }
    }
};

lab::subject told_subject(std::string id, float step) {
    lab::subject s;
    s.id = std::move(id);
    s.width = 1;
    s.vocabulary = 4;
    s.open = [step] { return std::make_unique<told>(step); };
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
