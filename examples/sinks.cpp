// How much attention do the first positions get? A probe at the attention probabilities of every full block counts it.
#include <loupe/loupe.hpp>

#include <cstdio>

using namespace loupe;

// [probe]
struct sink_counter { // satisfies is::probe
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::attn_probs>;

    index_t first = 4;                        // positions counted as sinks
    std::vector<double> on_sinks, on_uniform; // per block: attention they get, and what they would get if it were spread evenly
    std::vector<index_t> queries;

    void operator()(at::attn_probs, index_t block, index_t position, matrix_view<float> probs) {
        if (position < 64 || probs.width != position + 1)
            return; // only queries that see everything before them, and have seen a while of it
        const auto n = static_cast<std::size_t>(block);
        if (queries.size() <= n) on_sinks.resize(n + 1), on_uniform.resize(n + 1), queries.resize(n + 1);
        for (index_t h = 0; h < probs.rows; ++h) {
            for (index_t j = 0; j < first; ++j) on_sinks[n] += static_cast<double>(probs[h][j]) / static_cast<double>(probs.rows);
        }
        on_uniform[n] += static_cast<double>(first) / static_cast<double>(probs.width);
        ++queries[n];
    }
};
// [/probe]

template <is::model Base>
void count(const io::checkpoint& file, const lab::corpus& text) {
    // [count]
    const decoder<with<Base, slot::probe<sink_counter>>> model(file.sizes, file.weights);
    auto sequence = model.start();
    auto on = runtime_of<Base>(0);
    for (const auto& segment : text.segments) {
        sequence.rewind(0);
        model.forward(sequence, segment.ids, on);
    }
    // [/count]
    const auto& p = sequence.probe;
    for (std::size_t b = 0; b < p.queries.size(); ++b) {
        if (p.queries[b] == 0) continue;
        const auto n = static_cast<double>(p.queries[b]);
        std::printf("block %2zu: the first %td positions get %5.1f %% of the attention (%4.1f %% if it were spread evenly)\n", b, p.first,
                    100 * p.on_sinks[b] / n, 100 * p.on_uniform[b] / n);
    }
}

int main(int argc, char** argv) try {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
        return 2;
    }
    executor threads(0);
    const auto file = io::open(argv[1], threads);
    const auto text = lab::cut_text(file.text(), lab::read_text(argv[2]), argv[2], 512);
    if (file.sizes.family == "gemma3")
        count<gemma3::of_file>(file, text);
    else if (file.sizes.experts > 0)
        count<gemma4::experts_of_file>(file, text);
    else if (file.sizes.per_layer_width > 0)
        count<gemma4::per_layer_of_file>(file, text);
    else
        count<gemma4::dense_of_file>(file, text);
    return 0;
} catch (const error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
