// What every layer needs for one chunk of tokens, and a norm over rows.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/core/view.hpp>
#include <loupe/kernel/elementwise.hpp>
#include <loupe/kernel/rms_norm.hpp>
#include <loupe/layer/pruning.hpp>
#include <loupe/policy/norm.hpp>
#include <loupe/policy/probe.hpp>
#include <loupe/policy/rope.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace loupe {

/// Scratch memory of a forward pass: one member for each place that needs some, reused from block to block.
struct workspace {
    scratch<float> residual, normed, branch, second;
    scratch<float> q, k, v, mix;
    scratch<float> gate, up;
    scratch<float> expert_normed, router_scores, expert_in, expert_gate, expert_up, expert_out;
    scratch<float> per_layer_inputs, per_layer_hidden;
    scratch<float> received; ///< [tokens, keys]: attention summed over heads, for pruning
};

/// What runs a model: threads and scratch memory. One runtime serves any number of sequences, one after the other.
struct runtime {
    executor threads;
    workspace memory{};

    /// `count` threads of the usual executor, the calling one included; values below 1 mean one for each processor. A model's own:
    /// runtime_of<M>(count).
    explicit runtime(index_t count = 1) : threads(count) {}
    explicit runtime(executor on) : threads(std::move(on)) {}
};

/// Cosines and sines of the angles of a chunk: [tokens, D/2] each. Empty for a rope that never rotates.
class rope_table {
    std::vector<double> frequencies_;
    scratch<float> cosines_, sines_;
    index_t half_ = 0;

  public:
    template <class Rope>
    static rope_table of(rope_sizes sizes) {
        rope_table table;
        table.half_ = sizes.head_width / 2;
        for (index_t i = 0; i < table.half_; ++i) table.frequencies_.push_back(Rope::frequency(i, sizes));
        if (std::all_of(table.frequencies_.begin(), table.frequencies_.end(), [](double f) { return f == 0; })) table.half_ = 0;
        return table;
    }

    /// Angles of positions [first, first + tokens), in double: float products of position and frequency are off by 0.01 at 262 144.
    void fill(index_t first, index_t tokens) {
        if (half_ == 0) return;
        const auto c = cosines_.take(tokens, half_), s = sines_.take(tokens, half_);
        for (index_t t = 0; t < tokens; ++t) {
            for (index_t i = 0; i < half_; ++i) {
                const double frequency = frequencies_[static_cast<std::size_t>(i)];
                const double angle = static_cast<double>(first + t) * frequency;
                c[t][i] = frequency == 0 ? 1.0F : static_cast<float>(std::cos(angle));
                s[t][i] = frequency == 0 ? 0.0F : static_cast<float>(std::sin(angle));
            }
        }
    }

    /// Rotates every head of the row of token t (counted from `first`).
    void rotate(std::span<float> heads, index_t t) const {
        if (half_ == 0) return;
        const auto n = static_cast<std::size_t>(half_);
        const std::span<const float> c{cosines_.data() + t * half_, n}, s{sines_.data() + t * half_, n};
        for (std::size_t h = 0; h < heads.size(); h += 2 * n) kernel::rotate(heads.subspan(h, 2 * n), c, s);
    }
};

/// One chunk on its way through the blocks.
struct context {
    executor& threads;
    workspace& memory;
    index_t position;              ///< of the chunk's first token
    index_t tokens;                ///< rows of the residual stream: the chunk's tokens, or those of them that are still wanted
    std::span<const token_id> ids; ///< of the whole chunk
    std::span<const index_t>
        image_end; ///< of the whole chunk: one past the last position of the image a token lies in, 0 for text; empty without images
    rope_table& rope_sliding;
    rope_table& rope_full;
    float epsilon;
    std::span<const index_t> wanted{}; ///< [tokens]: which tokens of the chunk the rows are; empty for all of them
    const pruning_state* pruning{};    ///< what was pruned; null before the first block that prunes
    matrix_view<float> received{};     ///< [tokens, keys]: attention is added here, which decides what is pruned; no rows: not asked for

    /// Number in the chunk, and position in the sequence, of the token in row t.
    index_t in_chunk(index_t t) const { return wanted.empty() ? t : wanted[static_cast<std::size_t>(t)]; }
    index_t position_of(index_t t) const { return position + in_chunk(t); }
};

/// The probe of a layer that calls it at these places only: `Probe` if it watches one of them, otherwise none. So a layer that is not
/// watched is the same type, and the same code, as without a probe.
template <class Probe, class... Places>
using probe_at = std::conditional_t<(Probe::template watches<Places> || ...), Probe, probe::none>;

/// A chunk on its way through blocks with a probe.
template <class Probe>
struct watched_context : context {
    Probe& probe;
};

/// What a layer with this probe is handed. One without a probe takes a plain context, whoever watches the layers around it.
template <class Probe>
using context_of = std::conditional_t<std::same_as<Probe, probe::none>, context, watched_context<Probe>>;

template <class Probe>
context_of<Probe> watched_by(Probe& probe, const context& c) {
    if constexpr (std::same_as<Probe, probe::none>) {
        return c;
    } else {
        return {c, probe};
    }
}

/// `heads` norms of equal width in a row, in place.
template <class Norm>
inline void norm_heads(std::span<float> row, std::span<const float> gain, float epsilon, index_t heads) {
    const std::size_t width = row.size() / static_cast<std::size_t>(heads);
    for (std::size_t h = 0; h < row.size(); h += width) Norm::apply(row.subspan(h, width), gain, epsilon);
}

/// out = Norm(x), row by row; `heads` norms of equal width in a row. `out` may be `x`.
template <class Norm>
inline void norm_rows(executor& threads, matrix_view<const float> x, std::span<const float> gain, float epsilon, matrix_view<float> out,
                      index_t heads = 1) {
    threads.for_ranges(x.rows, 16, [&](index_t first, index_t last) {
        for (index_t r = first; r < last; ++r) {
            if (out.data != x.data) std::copy_n(x[r].data(), x.width, out[r].data());
            norm_heads<Norm>(out[r], gain, epsilon, heads);
        }
    });
}

/// x += Norm(y), row by row; changes y.
template <class Norm>
inline void add_normed(executor& threads, matrix_view<float> x, matrix_view<float> y, std::span<const float> gain, float epsilon) {
    threads.for_ranges(x.rows, 16, [&](index_t first, index_t last) {
        for (index_t r = first; r < last; ++r) {
            Norm::apply(y[r], gain, epsilon);
            kernel::add(x[r], y[r]);
        }
    });
}

} // namespace loupe
