// What golden tests share: stored tensors, runs of both paths that record every layer, and distances.
#pragma once

#include "data.hpp"

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/npy.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/rules.hpp>
#include <loupe/ref/decoder.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace tests {

using namespace loupe;

/// max |found − expected| / max |expected|; infinite if anything is not finite or the sizes differ.
template <class A, class B>
double distance(const std::vector<A>& found, const std::vector<B>& expected) {
    double difference = 0, largest = 0;
    bool finite = found.size() == expected.size() && !found.empty();
    for (std::size_t i = 0; finite && i < found.size(); ++i) {
        const auto f = static_cast<double>(found[i]), e = static_cast<double>(expected[i]);
        finite = std::isfinite(f) && std::isfinite(e);
        difference = std::max(difference, std::abs(f - e));
        largest = std::max(largest, std::abs(e));
    }
    return finite && largest > 0 ? difference / largest : INFINITY;
}

/// The residual stream [blocks + 1][tokens · width] and the logits [tokens · vocabulary] of one sequence.
template <class T>
struct outputs {
    std::vector<std::vector<T>> layers;
    std::vector<T> logits;
    bool operator==(const outputs&) const = default;
};

/// Distance of the worst layer, or of the logits if they are worse.
template <class A, class B>
double distance(const outputs<A>& found, const outputs<B>& expected) {
    double worst = distance(found.logits, expected.logits);
    if (found.layers.size() != expected.layers.size()) return INFINITY;
    for (std::size_t l = 0; l < found.layers.size(); ++l) worst = std::max(worst, distance(found.layers[l], expected.layers[l]));
    return worst;
}

/// Ids, image numbers and what a reference implementation makes of them.
struct golden {
    std::vector<token_id> ids;
    std::vector<std::int32_t> image_blocks; ///< empty: text only
    outputs<double> expected;

    index_t tokens() const { return static_cast<index_t>(ids.size()); }
};

/// FOLDER/IDS.npy, FOLDER/(PREFIX)layers.npy and -logits.npy; with prefix "image_" also the image blocks.
inline golden read_golden(const std::filesystem::path& folder, const std::string& ids, const std::string& prefix) {
    golden g;
    g.ids = io::npy::read<token_id>(folder / (ids + ".npy")).values;
    if (prefix == "image_") g.image_blocks = io::npy::read<std::int32_t>(folder / "image_blocks.npy").values;
    g.expected.logits = io::npy::read<double>(folder / (prefix + "logits.npy")).values;
    const auto layers = io::npy::read<double>(folder / (prefix + "layers.npy"));
    const auto count = static_cast<std::size_t>(layers.shape.at(0)), size = layers.values.size() / count;
    for (std::size_t l = 0; l < count; ++l) {
        const auto* first = layers.values.data() + l * size;
        g.expected.layers.emplace_back(first, first + size);
    }
    return g;
}

inline io::checkpoint open(const std::filesystem::path& folder) {
    executor one;
    return tests::open(folder, one);
}

/// Where chunks end: after `first` tokens, then after every `size` ones, later where an image would be cut.
inline std::vector<index_t> chunk_ends(index_t tokens, index_t first, index_t size, std::span<const std::int32_t> image_blocks = {}) {
    std::vector<index_t> ends;
    for (index_t end = std::min(first, tokens);; end = std::min(end + size, tokens)) {
        const auto at = static_cast<std::size_t>(end);
        const bool cuts = end < tokens && !image_blocks.empty() && image_blocks[at] >= 0 && image_blocks[at] == image_blocks[at - 1];
        if (!cuts) ends.push_back(end);
        if (end == tokens) return ends;
    }
}

/// One pass; chunks of 1, 7 and 16; one token at a time after a prefill of 20.
inline std::vector<std::vector<index_t>> ways_to_read(const golden& g) {
    const auto ends = [&](index_t first, index_t size) { return chunk_ends(g.tokens(), first, size, g.image_blocks); };
    return {{g.tokens()}, ends(1, 1), ends(7, 7), ends(16, 16), ends(20, 1)};
}

/// Chunk by chunk: calls read(ids, image blocks) for each.
template <class Read>
void for_chunks(const golden& g, const std::vector<index_t>& ends, Read&& read) {
    std::size_t first = 0;
    for (const index_t e : ends) {
        const auto count = static_cast<std::size_t>(e) - first;
        read(std::span(g.ids).subspan(first, count),
             g.image_blocks.empty() ? std::span<const std::int32_t>{} : std::span(g.image_blocks).subspan(first, count));
        first += count;
    }
}

template <class T>
void append(std::vector<T>& to, const T* from, index_t count) {
    to.insert(to.end(), from, from + count);
}

/// Keeps the scaled embedding and the residual stream after every block, of all chunks.
struct layer_recorder {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::embedding> || std::same_as<Place, at::residual>;
    std::vector<std::vector<float>> layers;

    void operator()(at::embedding, index_t, index_t, matrix_view<float> x) { keep(0, x); }
    void operator()(at::residual, index_t block, index_t, matrix_view<float> x) { keep(static_cast<std::size_t>(block) + 1, x); }

  private:
    void keep(std::size_t layer, matrix_view<float> x) {
        layers.resize(std::max(layers.size(), layer + 1));
        append(layers[layer], x.data, x.rows * x.width);
    }
};

template <is::model M>
using recorded = with<M, slot::probe<layer_recorder>>;

/// The fast path of a recorded<M>.
template <class Stack>
outputs<float> run_fast(const Stack& model, const golden& g, const std::vector<index_t>& ends, runtime& on) {
    auto sequence = model.start();
    outputs<float> out;
    for_chunks(g, ends, [&](auto ids, auto image_blocks) {
        const auto hidden = model.forward(sequence, ids, on, image_blocks);
        std::vector<float> logits(static_cast<std::size_t>(hidden.rows * model.sizes().vocabulary));
        model.logits(sequence, hidden, on, {logits.data(), hidden.rows, model.sizes().vocabulary});
        append(out.logits, logits.data(), static_cast<index_t>(logits.size()));
    });
    out.layers = std::move(sequence.probe.layers);
    return out;
}

template <is::model M, class T>
outputs<T> run_ref(const ref::decoder<M, T>& model, const golden& g, const std::vector<index_t>& ends) {
    typename ref::decoder<M, T>::state state;
    outputs<T> out;
    for_chunks(g, ends, [&](auto ids, auto image_blocks) {
        const auto r = model.forward(state, ids, image_blocks);
        append(out.logits, r.logits.data(), static_cast<index_t>(r.logits.size()));
        out.layers.resize(r.layers.shape()[0]);
        const auto size = static_cast<index_t>(r.layers.size() / out.layers.size());
        for (std::size_t l = 0; l < out.layers.size(); ++l) append(out.layers[l], r.layers.data() + static_cast<index_t>(l) * size, size);
    });
    return out;
}

/// The fast path against stored tensors, to 5e-5 of each layer's largest value; the same bits however the sequence is cut and on 1 and 2
/// threads.
template <is::model M>
void check_fast(const io::checkpoint& file, const golden& g) {
    const decoder<recorded<M>> model(file.sizes, file.weights);
    outputs<float> first;
    for (const index_t threads : {1, 2}) {
        runtime on(threads);
        for (const auto& ends : ways_to_read(g)) {
            INFO(threads << " threads, " << ends.size() << " chunks, the first of " << ends.front());
            const auto found = run_fast<stack_of<recorded<M>>>(model, g, ends, on);
            CHECK(distance(found, g.expected) <= 5e-5);
            if (first.logits.empty()) first = found;
            CHECK((found == first));
        }
    }
}

/// ref/ in double against stored tensors, to 1e-6.
template <is::model M>
void check_ref(const io::checkpoint& file, const golden& g) {
    const ref::decoder<M, double> model(file.sizes, file.weights);
    for (const auto& ends : ways_to_read(g)) {
        INFO(ends.size() << " chunks, the first of " << ends.front());
        CHECK(distance(run_ref(model, g, ends), g.expected) <= 1e-6);
    }
}

/// The first tokens of a nano model's reference text, and what Base makes of them.
template <is::model Base>
struct baseline {
    io::checkpoint file;
    golden text;
    outputs<float> out;

    explicit baseline(const std::string& name) : file(open(example("models") / name)) {
        text.ids = io::npy::read<token_id>(data("reference") / name / "short_ids.npy").values;
        text.ids.resize(40);
        const decoder<recorded<Base>> model(file.sizes, file.weights);
        runtime on;
        out = run_fast<stack_of<recorded<Base>>>(model, text, {40}, on);
    }

    /// Base with one part exchanged: the fast path agrees with ref/ in double to 1e-4 of the largest logit, in one pass and in chunks, and
    /// the exchange changes the logits.
    template <class Slot>
    void check_exchange() const {
        using M = with<Base, Slot>;
        INFO((diff<Base, M>()));
        const decoder<recorded<M>> fast(file.sizes, file.weights);
        const ref::decoder<M, double> slow(file.sizes, file.weights);
        runtime on(2);
        const auto found = run_fast<stack_of<recorded<M>>>(fast, text, {40}, on);
        CHECK(distance(found.logits, run_ref(slow, text, {40}).logits) <= 1e-4);
        CHECK(distance(found.logits, out.logits) > 1e-3);
        if constexpr (!part_of<M, part::mask_sliding>::looks_ahead && !part_of<M, part::mask_full>::looks_ahead) {
            CHECK((run_fast<stack_of<recorded<M>>>(fast, text, chunk_ends(40, 20, 3), on) == found));
            CHECK(distance(found.logits, run_ref(slow, text, {17, 18, 40}).logits) <= 1e-4);
        } else {
            auto sequence = fast.start();
            fast.forward(sequence, std::span(text.ids).first(20), on);
            CHECK_THROWS_AS(fast.forward(sequence, std::span(text.ids).subspan(20), on), error);
        }
    }
};

} // namespace tests
