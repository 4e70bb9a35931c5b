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
    rope_table rope_sliding, rope_full;
    float embedding_scale = 1;
    pruning_rule pruning{};
};

/// SlidingOwn … FullShared are the four kinds of block; Prunes and LooksAhead say whether any part does.
template <class SlidingOwn, class FullOwn, class SlidingShared, class FullShared, class PerLayerInput, class FinalSoftcap, bool Prunes,
          bool LooksAhead, class Probe>
class stack {
    struct place {
        bool full = false;
        bool owns_kv = true;
        index_t among_kind = 0; ///< index in the array of its kind
    };

    stack_plan plan_;
    std::vector<SlidingOwn> sliding_;
    std::vector<FullOwn> full_;
    std::vector<SlidingShared> sliding_shared_;
    std::vector<FullShared> full_shared_;
    std::vector<place> pattern_;
    per_layer_inputs_layer<PerLayerInput, Probe> per_layer_inputs_{};
    index_t last_whole_ = 0; ///< last block that needs every token: it writes keys, or its attention counts for pruning

  public:
    using probe_type = Probe;
    using sequence_type = sequence<Probe>;

    explicit stack(stack_plan plan) : plan_(std::move(plan)) {
        const dimensions& d = plan_.sizes;
        for (index_t i = 0; i < d.blocks(); ++i) {
            const auto n = static_cast<std::size_t>(i);
            place p{d[i].full, plan_.donor[n] == i, 0};
            const auto put = [&](auto& kind) {
                p.among_kind = static_cast<index_t>(kind.size());
                kind.emplace_back(plan_.weights->block[n], plan_.attention[n], d.experts, d.experts_used, plan_.scalar[n]);
            };
            if (p.full)
                p.owns_kv ? put(full_) : put(full_shared_);
            else
                p.owns_kv ? put(sliding_) : put(sliding_shared_);
            if (p.owns_kv || (Prunes && i < plan_.pruning.first_block)) last_whole_ = i;
            pattern_.push_back(p);
        }
        per_layer_inputs_ = {plan_.weights.get(), d.per_layer_width, d.placeholders};
    }
    stack(const stack&) = delete; // layers point into the plan
    stack& operator=(const stack&) = delete;

    const dimensions& sizes() const { return plan_.sizes; }
    const decoder_weights& weights() const { return *plan_.weights; }

    /// An empty sequence.
    sequence_type start() const {
        sequence_type s;
        const dimensions& d = plan_.sizes;
        for (index_t i = 0; i < d.blocks(); ++i) {
            const cache_plan& keeps = d[i].full ? plan_.cache_full : plan_.cache_sliding;
            if (pattern_[static_cast<std::size_t>(i)].owns_kv) {
                s.caches.emplace_back(d[i].kv_heads * d[i].head_width, keeps.sinks, keeps.reach);
            } else {
                s.caches.emplace_back();
            }
        }
        s.rope_sliding = plan_.rope_sliding;
        s.rope_full = plan_.rope_full;
        s.prunes = Prunes;
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
        if (LooksAhead && s.length != 0) throw error("a mask that looks ahead needs the whole sequence in one pass");
        std::vector<index_t> image_end;
        if (!image_blocks.empty() && d.images_see_themselves) image_end = ends_of_images(image_blocks, tokens, s.length);

        s.rope_sliding.fill(s.length, tokens);
        s.rope_full.fill(s.length, tokens);
        workspace& memory = run_on.memory;
        context c{run_on.threads, memory, s.length, tokens, ids, image_end, s.rope_sliding, s.rope_full, static_cast<float>(d.epsilon)};

        auto x = memory.residual.take(tokens, d.width);
        for (index_t t = 0; t < tokens; ++t) {
            plan_.weights->embedding.decode_row(ids[static_cast<std::size_t>(t)], x[t].data());
            kernel::scale(x[t], plan_.embedding_scale);
        }
        visit<at::embedding>(s.probe, 0, c.position, x);
        matrix_view<float> per_layer;
        if constexpr (PerLayerInput::enabled) per_layer = per_layer_inputs_(c, x, s.probe);

        for (index_t i = 0; i < d.blocks(); ++i) {
            run_block(s, c, i, x, per_layer);
            if (i == last_whole_ && !wanted.empty()) { // only what is asked for goes on
                c.wanted = wanted;
                c.tokens = static_cast<index_t>(wanted.size());
                keep_rows(x, wanted);
                if (PerLayerInput::enabled) keep_rows(per_layer, wanted);
            }
        }
        const auto out = memory.normed.take(c.tokens, d.width);
        norm_rows<norm::rms>(c.threads, x, plan_.weights->final_norm, c.epsilon, out);
        visit<at::final_norm>(s.probe, d.blocks(), c.position_of(0), out);
        s.length += tokens;
        return out;
    }

    /// Logits of rows of hidden states: out is [rows, vocabulary]; `position` is that of the first row (for a probe).
    void logits(sequence_type& s, matrix_view<const float> hidden, runtime& run_on, matrix_view<float> out, index_t position = 0) const {
        kernel::matmul(plan_.weights->head, hidden, out, run_on.threads);
        const auto cap = static_cast<float>(plan_.sizes.final_cap);
        run_on.threads.for_ranges(out.rows, 1, [&](index_t first, index_t last) {
            for (index_t r = first; r < last; ++r) kernel::softcap<FinalSoftcap>(out[r], cap);
        });
        visit<at::logits>(s.probe, plan_.sizes.blocks(), position, out);
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
            index_t last = LooksAhead || chunk <= 0 ? n : std::min(n, first + chunk);
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

    void run_block(sequence_type& s, context& c, index_t i, matrix_view<float> x, matrix_view<const float> per_layer) const {
        const auto n = static_cast<std::size_t>(i);
        const place& p = pattern_[n];
        kv_cache& cache = s.caches[static_cast<std::size_t>(plan_.donor[n])];
        const bool observe = Prunes && i < plan_.pruning.first_block;
        if (observe && i == 0) {
            const auto received = c.memory.received.take(c.tokens, c.position + c.tokens);
            std::fill_n(received.data, received.rows * received.width, 0.0F);
        }
        pruning_state* pruning = Prunes && i >= plan_.pruning.first_block ? &s.pruning : nullptr;
        matrix_view<const float> input;
        if constexpr (PerLayerInput::enabled) input = per_layer.columns(i * plan_.sizes.per_layer_width, plan_.sizes.per_layer_width);
        const auto run = [&](const auto& kind) {
            kind[static_cast<std::size_t>(p.among_kind)](c, p.full ? c.rope_full : c.rope_sliding, x, input, cache, pruning, observe,
                                                         s.probe);
        };
        if (p.full)
            p.owns_kv ? run(full_) : run(full_shared_);
        else
            p.owns_kv ? run(sliding_) : run(sliding_shared_);
        if (observe && i == plan_.pruning.first_block - 1) {
            const auto received = c.memory.received.take(c.tokens, c.position + c.tokens);
            for (index_t t = 0; t < c.tokens; ++t) {
                const index_t query = c.position + t;
                s.pruning.advance(plan_.pruning, query, received[t].first(static_cast<std::size_t>(query + 1)));
            }
        }
    }
};

} // namespace loupe
