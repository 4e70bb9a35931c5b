// Parts of one's own that compute: a norm, a probe that changes what a layer gives, and a whole feed-forward sublayer.
#include <loupe/loupe.hpp>

#include <cstdio>
#include <numeric>

using namespace loupe;

// [norm]
struct layer_norm { // satisfies is::norm: as rms, but the mean is taken out first (Ba et al. 1607.06450)
    template <class T>
    static void apply(std::span<T> row, std::span<const T> gain, T epsilon) {
        const T mean = std::accumulate(row.begin(), row.end(), T{0}) / static_cast<T>(row.size());
        for (T& x : row) x -= mean;
        norm::rms::apply<T>(row, gain, epsilon);
    }
};
// [/norm]

// [probe]
template <index_t Kept>
struct keep_largest { // satisfies is::probe: of a token's hidden values in a feed-forward layer the Kept largest stay, the others become 0
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::mlp_hidden>;

    std::vector<float> sizes;

    void operator()(at::mlp_hidden, index_t, index_t, matrix_view<float> hidden) {
        if (hidden.width <= Kept) return;
        for (index_t t = 0; t < hidden.rows; ++t) {
            sizes.clear();
            for (const float x : hidden[t]) sizes.push_back(std::abs(x));
            std::nth_element(sizes.begin(), sizes.begin() + Kept - 1, sizes.end(), std::greater<>());
            for (float& x : hidden[t]) x = std::abs(x) < sizes[Kept - 1] ? 0.0F : x;
        }
    }
};
// [/probe]

// [sublayer]
struct ungated : feed_forward::gated_double_wide { // a feed-forward part that brings its own sublayer
    template <class Activation, class PostNorm, class Probe>
    struct sublayer { // x += post(W_down act(W_gate rms(x))), without the factor W_up x
        const block_weights* weights;

        sublayer(const block_weights& w, index_t /*block*/, index_t /*experts*/, index_t /*experts_used*/) : weights(&w) {}

        void operator()(context& c, matrix_view<float> x) const {
            const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
            const auto hidden = c.memory.gate.take(x.rows, weights->mlp.gate.rows);
            norm_rows<norm::rms>(c.threads, x, weights->mlp_input_norm, c.epsilon, a);
            kernel::matmul(weights->mlp.gate, a, hidden, c.threads);
            for (index_t t = 0; t < x.rows; ++t) {
                for (float& h : hidden[t]) h = Activation::apply(h);
            }
            kernel::matmul(weights->mlp.down, hidden, b, c.threads);
            add_normed<PostNorm>(c.threads, x, b, weights->mlp_norm, c.epsilon);
        }
    };
};
// [/sublayer]

// [variants]
using base = nano::e;
using centred = with<base, slot::post_norms<layer_norm>>;
using sparse = with<base, slot::probe<keep_largest<64>>>; // of 256, and of 512 where keys are shared
using plain = with<base, slot::feed_forward<ungated>>;
// [/variants]

int main() {
    // [check]
    const auto holds = check<ungated>();
    if (!holds) {
        std::puts(holds.text().c_str());
        return 1;
    }
    // [/check]
    // [ablate]
    executor threads(0);
    const auto file = io::open("examples/data/models/nano-e", threads);
    const auto stories = lab::read_text("examples/data/text/stories.txt").substr(0, 15000);
    const auto text = lab::cut_text(file.text(), stories, "15 kB of stories.txt", 512);
    const auto report = lab::ablate<base, centred, sparse, plain>(file, &text);
    std::fputs(lab::text_report(report).c_str(), stdout);
    // [/ablate]
}
