// The forward pass of a decoder over its kinds of blocks. What a composition says in numbers (ropes, scales, who shares keys with whom)
// reaches it as numbers, so that compositions with the same kinds of blocks share one stack.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/layer/block.hpp>
#include <loupe/model/check.hpp>
#include <loupe/model/sequence.hpp>

#include <memory>
#include <vector>

namespace loupe {

/// What a kind of block keeps in its cache, see kv_cache.
struct cache_plan {
    index_t sinks = 0, reach = 0;
};

/// A composition applied to sizes and weights, as numbers.
struct stack_plan {
    dimensions sizes;
    std::shared_ptr<const decoder_weights> weights;
    std::vector<attention_sizes> attention; ///< per block
    std::vector<float> scalar;              ///< per block
    std::vector<index_t> donor;             ///< per block: whose keys and values it reads; itself if it has its own
    cache_plan cache_sliding, cache_full;
    const format::info* kv_format = nullptr;
    rope_table rope_sliding, rope_full;
    float embedding_scale = 1;
    pruning_rule pruning{};
};

/// The plan of a composition for these sizes and weights. Refuses what does not fit, and says why.
inline stack_plan make_plan(const composition_numbers& m, dimensions d, std::shared_ptr<const decoder_weights> weights) {
    check_parts(m, d, *weights);
    stack_plan plan;
    const auto full = kinds_of_blocks(d);
    const index_t first_shared = d.first_shared();
    rope_sizes sliding = d.rope_sliding, global = d.rope_full;
    for (index_t i = 0; i < d.blocks(); ++i) {
        attention_sizes s;
        s.block = i;
        s.heads = d.heads;
        s.kv_heads = d[i].kv_heads;
        s.head_width = d[i].head_width;
        s.mask.window = d.window;
        s.score_scale = static_cast<float>(m.score_scale({d[i].head_width, d.score_scale}));
        s.cap = static_cast<float>(d.attention_cap);
        s.images_see_themselves = !d[i].full && d.images_see_themselves && m.images_see_themselves;
        plan.attention.push_back(s);
        plan.scalar.push_back(m.layer_scalar(weights->block[static_cast<std::size_t>(i)].scalar));
        plan.donor.push_back(m.donor(i, {full.get(), d.block.size()}, first_shared));
        (d[i].full ? global : sliding).head_width = d[i].head_width;
    }
    plan.cache_sliding = {0, m.reach_sliding({d.window})};
    const index_t reach = m.reach_full({d.window});
    const bool mask_is_tighter = m.kv_length == 0 || (reach != 0 && reach < m.kv_length);
    plan.cache_full = mask_is_tighter ? cache_plan{0, reach} : cache_plan{m.kv_sinks, m.kv_length};
    plan.kv_format = m.kv_format;
    plan.rope_sliding = m.rope_sliding(sliding);
    plan.rope_full = m.rope_full(global);
    plan.embedding_scale = static_cast<float>(m.embedding_scale(d.width, weights->embedding_precision));
    plan.pruning = m.pruning(d.first_full());
    plan.sizes = std::move(d);
    plan.weights = std::move(weights);
    return plan;
}

/// A block, whatever its kind.
template <class Probe>
class any_block {
  public:
    virtual ~any_block() = default;
    /// See block.
    virtual void run(context_of<Probe>& c, rope_table& rope, matrix_view<float> x, matrix_view<const float> per_layer,
                     kv_cache& cache) const = 0;
};

/// The code of a composition, of which the forward pass knows no more than this.
template <class Probe>
struct stack_parts {
    using make_block = std::unique_ptr<const any_block<Probe>>(const block_weights&, const attention_sizes&, index_t experts,
                                                               index_t experts_used, float scalar);
    make_block *sliding_own, *full_own, *sliding_shared, *full_shared;
    /// Null if there are none; see per_layer_inputs_layer.
    matrix_view<float> (*per_layer_inputs)(const decoder_weights&, const dimensions&, context_of<Probe>&, matrix_view<const float> x);
    void (*cap)(std::span<float> logits, float stored);
    bool prunes;      ///< any part does
    bool looks_ahead; ///< any mask does
};

/// The forward pass over blocks of any kinds.
template <class Probe>
class block_stack {
    stack_plan plan_;
    stack_parts<Probe> parts_;
    std::vector<std::unique_ptr<const any_block<Probe>>> blocks_;
    index_t last_whole_ = 0; ///< last block that needs every token: it writes keys, or its attention counts for pruning

    bool owns_kv(index_t block) const { return plan_.donor[static_cast<std::size_t>(block)] == block; }

  public:
    using probe_type = Probe;
    using sequence_type = sequence<Probe>;

    block_stack(stack_plan plan, stack_parts<Probe> parts) : plan_(std::move(plan)), parts_(parts) {
        const dimensions& d = plan_.sizes;
        for (index_t i = 0; i < d.blocks(); ++i) {
            const auto n = static_cast<std::size_t>(i);
            auto* const make =
                d[i].full ? (owns_kv(i) ? parts_.full_own : parts_.full_shared) : (owns_kv(i) ? parts_.sliding_own : parts_.sliding_shared);
            blocks_.push_back(make(plan_.weights->block[n], plan_.attention[n], d.experts, d.experts_used, plan_.scalar[n]));
            if (owns_kv(i) || (parts_.prunes && i < plan_.pruning.first_block)) last_whole_ = i;
        }
    }
    block_stack(const block_stack&) = delete; // layers point into the plan
    block_stack& operator=(const block_stack&) = delete;

    const dimensions& sizes() const { return plan_.sizes; }
    const decoder_weights& weights() const { return *plan_.weights; }

    /// An empty sequence.
    sequence_type start() const {
        sequence_type s;
        const dimensions& d = plan_.sizes;
        for (index_t i = 0; i < d.blocks(); ++i) {
            const cache_plan& keeps = d[i].full ? plan_.cache_full : plan_.cache_sliding;
            if (owns_kv(i)) {
                s.caches.emplace_back(d[i].kv_heads, d[i].head_width, keeps.sinks, keeps.reach, *plan_.kv_format);
            } else {
                s.caches.emplace_back();
            }
        }
        s.rope_sliding = plan_.rope_sliding;
        s.rope_full = plan_.rope_full;
        s.prunes = parts_.prunes;
        return s;
    }

    /// Reads the next tokens in one pass and returns hidden states after the final norm, valid until the runtime's next use: [tokens,
    /// width], or [wanted, width] for the tokens (rising numbers in the chunk) in `wanted`. Blocks that have no keys of their own then only
    /// see those tokens. `image_blocks` (empty, or one number per token: −1 for text, else the image) must hold every image whole.
    matrix_view<const float> forward(sequence_type& s, std::span<const token_id> ids, runtime& run_on,
                                     std::span<const std::int32_t> image_blocks = {}, std::span<const index_t> wanted = {}) const {
        const dimensions& d = plan_.sizes;
        const auto tokens = static_cast<index_t>(ids.size());
        check_ids(ids, d.vocabulary);
        if (parts_.looks_ahead && s.length != 0) throw error("a mask that looks ahead needs the whole sequence in one pass");
        std::vector<index_t> image_end;
        if (!image_blocks.empty() && d.images_see_themselves) image_end = ends_of_images(image_blocks, tokens, s.length);

        s.rope_sliding.fill(s.length, tokens);
        s.rope_full.fill(s.length, tokens);
        workspace& memory = run_on.memory;
        auto c = watched_by(s.probe, {run_on.threads, memory, s.length, tokens, ids, image_end, s.rope_sliding, s.rope_full,
                                      static_cast<float>(d.epsilon)});

        auto x = memory.residual.take(tokens, d.width);
        c.threads.for_ranges(tokens, 16, [&](index_t first, index_t last) {
            for (index_t t = first; t < last; ++t) {
                plan_.weights->embedding.decode_row(ids[static_cast<std::size_t>(t)], x[t].data());
                kernel::scale(x[t], plan_.embedding_scale);
            }
        });
        if constexpr (Probe::template watches<at::embedding>) c.probe(at::embedding{}, 0, c.position, x);
        matrix_view<float> per_layer;
        if (parts_.per_layer_inputs != nullptr) per_layer = parts_.per_layer_inputs(*plan_.weights, d, c, x);

        pruning_state pruning = s.pruning; // the sequence's own goes on when the pass has ended: one that throws may be tried again
        for (index_t i = 0; i < d.blocks(); ++i) {
            run_block(s, pruning, c, i, x, per_layer);
            if (i == last_whole_ && !wanted.empty()) { // only what is asked for goes on
                c.wanted = wanted;
                c.tokens = static_cast<index_t>(wanted.size());
                keep_rows(x, wanted);
                if (parts_.per_layer_inputs != nullptr) keep_rows(per_layer, wanted);
            }
        }
        const auto out = memory.normed.take(c.tokens, d.width);
        norm_rows<norm::rms>(c.threads, x, plan_.weights->final_norm, c.epsilon, out);
        if constexpr (Probe::template watches<at::final_norm>) c.probe(at::final_norm{}, d.blocks(), c.position_of(0), out);
        s.pruning = std::move(pruning);
        s.length += tokens;
        return out;
    }

    /// Logits of rows of hidden states: out is [rows, vocabulary]; `position` is that of the first row (for a probe).
    void logits(sequence_type& s, matrix_view<const float> hidden, runtime& run_on, matrix_view<float> out, index_t position = 0) const {
        kernel::matmul(plan_.weights->head, hidden, out, run_on.threads);
        const auto cap = static_cast<float>(plan_.sizes.final_cap);
        run_on.threads.for_ranges(out.rows, 1, [&](index_t first, index_t last) {
            for (index_t r = first; r < last; ++r) parts_.cap(out[r], cap);
        });
        if constexpr (Probe::template watches<at::logits>) s.probe(at::logits{}, plan_.sizes.blocks(), position, out);
    }

    /// Reads `ids` in chunks of at most `chunk` tokens (0: all at once; longer where an image would be cut) and calls sink(first, hidden)
    /// for each: `first` counts from the beginning of `ids`, `hidden` is [tokens of the chunk, width].
    template <class Sink>
    void read(sequence_type& s, std::span<const token_id> ids, runtime& run_on, index_t chunk, Sink&& sink,
              std::span<const std::int32_t> image_blocks = {}) const {
        const auto n = static_cast<index_t>(ids.size());
        check_ids(ids, plan_.sizes.vocabulary);
        if (!image_blocks.empty() && static_cast<index_t>(image_blocks.size()) != n) {
            throw error("image blocks: expected one number for each of " + std::to_string(n) + " tokens, found " +
                        std::to_string(image_blocks.size()));
        }
        for (index_t first = 0; first < n;) {
            index_t last = parts_.looks_ahead || chunk <= 0 ? n : std::min(n, first + chunk);
            if (!image_blocks.empty()) {
                while (last < n && image_blocks[last] >= 0 && image_blocks[last] == image_blocks[last - 1]) ++last;
            }
            const auto from = static_cast<std::size_t>(first), count = static_cast<std::size_t>(last - first);
            sink(first,
                 forward(s, ids.subspan(from, count), run_on, image_blocks.empty() ? image_blocks : image_blocks.subspan(from, count)));
            first = last;
        }
    }

  private:
    static void keep_rows(matrix_view<float>& x, std::span<const index_t> rows) {
        for (std::size_t r = 0; r < rows.size(); ++r) {
            if (rows[r] != static_cast<index_t>(r)) std::copy_n(x[rows[r]].data(), x.width, x[static_cast<index_t>(r)].data());
        }
        x = x.slice(0, static_cast<index_t>(rows.size()));
    }

    void run_block(sequence_type& s, pruning_state& pruning, context_of<Probe>& c, index_t i, matrix_view<float> x,
                   matrix_view<const float> per_layer) const {
        const auto n = static_cast<std::size_t>(i);
        const bool full = plan_.sizes[i].full;
        kv_cache& cache = s.caches[static_cast<std::size_t>(plan_.donor[n])];
        const bool observe = parts_.prunes && i < plan_.pruning.first_block;
        c.received = {};
        if (observe) {
            c.received = c.memory.received.take(c.tokens, c.position + c.tokens);
            if (i == 0) std::fill_n(c.received.data, c.received.rows * c.received.width, 0.0F);
        }
        c.pruning = parts_.prunes && !observe ? &pruning : nullptr;
        matrix_view<const float> input;
        if (per_layer.rows > 0) input = per_layer.columns(i * plan_.sizes.per_layer_width, plan_.sizes.per_layer_width);
        blocks_[n]->run(c, full ? c.rope_full : c.rope_sliding, x, input, cache);
        if (observe && i == plan_.pruning.first_block - 1) {
            for (index_t t = 0; t < c.tokens; ++t) {
                const index_t query = c.position + t;
                pruning.advance(plan_.pruning, query, c.received[t].first(static_cast<std::size_t>(query + 1)));
            }
        }
    }
};

namespace detail {

template <class Block>
class block_of_kind final : public any_block<typename Block::probe_type> {
    Block block_;

  public:
    using probe_type = typename Block::probe_type;

    block_of_kind(const block_weights& w, const attention_sizes& sizes, index_t experts, index_t experts_used, float scalar)
        : block_(w, sizes, experts, experts_used, scalar) {}
    void run(context_of<probe_type>& c, rope_table& rope, matrix_view<float> x, matrix_view<const float> per_layer,
             kv_cache& cache) const override {
        block_(c, rope, x, per_layer, cache);
    }
    static std::unique_ptr<const any_block<probe_type>> make(const block_weights& w, const attention_sizes& sizes, index_t experts,
                                                             index_t experts_used, float scalar) {
        return std::make_unique<const block_of_kind>(w, sizes, experts, experts_used, scalar);
    }
};

template <class PerLayerInput, class Probe>
matrix_view<float> per_layer_inputs(const decoder_weights& w, const dimensions& d, context_of<Probe>& c, matrix_view<const float> x) {
    return per_layer_inputs_layer<PerLayerInput, probe_at<Probe, at::per_layer_inputs>>{&w, d.per_layer_width, d.placeholders}(c, x);
}

template <class PerLayerInput, class Probe>
constexpr auto per_layer_inputs_of() -> decltype(stack_parts<Probe>::per_layer_inputs) {
    if constexpr (PerLayerInput::enabled) {
        return per_layer_inputs<PerLayerInput, Probe>;
    } else {
        return nullptr;
    }
}

} // namespace detail

/// SlidingOwn … FullShared are the four kinds of block; Prunes and LooksAhead say whether any part does.
template <class SlidingOwn, class FullOwn, class SlidingShared, class FullShared, class PerLayerInput, class FinalSoftcap, bool Prunes,
          bool LooksAhead, class Probe>
class stack : public block_stack<Probe> {
  public:
    explicit stack(stack_plan plan)
        : block_stack<Probe>(std::move(plan), {.sliding_own = detail::block_of_kind<SlidingOwn>::make,
                                               .full_own = detail::block_of_kind<FullOwn>::make,
                                               .sliding_shared = detail::block_of_kind<SlidingShared>::make,
                                               .full_shared = detail::block_of_kind<FullShared>::make,
                                               .per_layer_inputs = detail::per_layer_inputs_of<PerLayerInput, Probe>(),
                                               .cap = kernel::softcap<FinalSoftcap>,
                                               .prunes = Prunes,
                                               .looks_ahead = LooksAhead}) {}
};

} // namespace loupe
