// A decoder: a composition with weights. tokens → embedding (+ per-layer inputs) → blocks → final norm → head → logits.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/layer/attention.hpp>
#include <loupe/layer/feed_forward.hpp>
#include <loupe/layer/per_layer_input.hpp>
#include <loupe/model/check.hpp>
#include <loupe/model/sequence.hpp>
#include <loupe/model/slots.hpp>

#include <memory>
#include <optional>

namespace loupe {

/// One kind of block: sliding or full, with keys and values of its own or a donor's. A model holds at most four kinds, whatever its depth.
template <is::model M, bool Full, bool OwnsKv>
class block {
    template <class Part>
    using of = part_of<M, Part>;
    using probe_type = of<part::probe>;
    using mask_type = std::conditional_t<Full, of<part::mask_full>, of<part::mask_sliding>>;
    using kv_type = std::conditional_t<Full, of<part::kv>, kv::full>;
    using post_norm = of<part::post_norms>;
    using attention_type = attention<mask_type, kv_type, of<part::q_norm>, of<part::k_norm>, of<part::v_norm>, of<part::attention_softcap>,
                                     Full && of<part::value_full>::from_key, OwnsKv, of<part::prune>::enabled, probe_type>;
    using dense_type = feed_forward_layer<of<part::activation>, probe_type>;
    using experts_type = experts_layer<of<part::router>, of<part::experts_used>, of<part::activation>, probe_type>;

    const block_weights* weights_;
    index_t index_;
    attention_type attention_;
    dense_type dense_;
    experts_type experts_;
    per_layer_gate_layer<probe_type> per_layer_;
    float scalar_;

  public:
    block(const block_weights& w, const dimensions& d, index_t index)
        : weights_(&w), index_(index), attention_{&w.attention, attention_sizes_of(d, index)}, dense_{&w.mlp, index},
          experts_{&w.experts, index, d.experts, d.experts_used}, per_layer_{&w.per_layer, index},
          scalar_(of<part::layer_scalar>::value(w.scalar)) {}

    /// x: [tokens, width], the residual stream, changed in place; per_layer: [tokens, P] of this block, or empty.
    void operator()(context& c, matrix_view<float> x, matrix_view<const float> per_layer, kv_cache& cache, pruning_state* pruning, bool observe,
                    probe_type& probe) const {
        const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
        norm_rows<norm::rms>(c.threads, x, weights_->input_norm, c.epsilon, a);
        visit<at::attn_input>(probe, index_, c.position, a);
        attention_(c, Full ? c.rope_full : c.rope_sliding, a, cache, pruning, observe, probe, b);
        norm_rows<post_norm>(c.threads, b, weights_->attention_norm, c.epsilon, b);
        add_rows(x, b);

        if constexpr (of<part::feed_forward>::has_experts) {
            // Two branches, each with a norm of its own, joined under a third.
            const auto sum = c.memory.second.take(x.rows, x.width);
            experts_(c, x, probe, sum);
            norm_rows<post_norm>(c.threads, sum, weights_->experts.experts_norm, c.epsilon, sum);
            if constexpr (of<part::dense_branch>::enabled) {
                norm_rows<norm::rms>(c.threads, x, weights_->mlp_input_norm, c.epsilon, a);
                dense_(c, a, probe, b);
                visit<at::mlp_output>(probe, index_, c.position, b);
                norm_rows<post_norm>(c.threads, b, weights_->experts.dense_norm, c.epsilon, b);
                add_rows(sum, b);
            }
            norm_rows<post_norm>(c.threads, sum, weights_->mlp_norm, c.epsilon, sum);
            add_rows(x, sum);
        } else {
            norm_rows<norm::rms>(c.threads, x, weights_->mlp_input_norm, c.epsilon, a);
            dense_(c, a, probe, b);
            visit<at::mlp_output>(probe, index_, c.position, b);
            norm_rows<post_norm>(c.threads, b, weights_->mlp_norm, c.epsilon, b);
            add_rows(x, b);
        }

        if constexpr (of<part::per_layer_input>::enabled) per_layer_(c, x, per_layer, probe);
        if (scalar_ != 1.0F) {
            for (index_t t = 0; t < x.rows; ++t) kernel::scale(x[t], scalar_);
        }
        visit<at::residual>(probe, index_, c.position, x);
    }

    static attention_sizes attention_sizes_of(const dimensions& d, index_t index) {
        attention_sizes s;
        s.block = index;
        s.heads = d.heads;
        s.kv_heads = d[index].kv_heads;
        s.head_width = d[index].head_width;
        s.mask.window = d.window;
        s.score_scale = static_cast<float>(of<part::score_scale>::factor(score_sizes{d[index].head_width, d.score_scale}));
        s.cap = static_cast<float>(d.attention_cap);
        s.images_see_themselves = !Full && d.images_see_themselves && of<part::image_mask>::sees_block;
        return s;
    }
};

/// A model ready to run. Constant: all state lies in the sequence, so several sequences may run at once.
template <is::model M>
class decoder {
    template <class Part>
    using of = part_of<M, Part>;
    template <bool Full, bool OwnsKv>
    using block_of = block<M, Full, OwnsKv>;

    struct place {
        bool full = false;
        bool owns_kv = true;
        index_t among_kind = 0; ///< index in the array of its kind
        index_t donor = 0;      ///< block whose cache it reads
    };

    dimensions dimensions_;
    std::shared_ptr<const decoder_weights> weights_;
    std::vector<block_of<false, true>> sliding_;
    std::vector<block_of<true, true>> full_;
    std::vector<block_of<false, false>> sliding_shared_;
    std::vector<block_of<true, false>> full_shared_;
    std::vector<place> pattern_;
    per_layer_inputs_layer<of<part::per_layer_input>, of<part::probe>> per_layer_inputs_{};
    float embedding_scale_ = 1;
    index_t prune_from_ = 0;

  public:
    using model_type = M;
    using probe_type = of<part::probe>;
    using sequence_type = sequence<probe_type>;

    /// Refuses dimensions or weights that lack what the composition needs; `check_parts` says which.
    decoder(dimensions sizes, std::shared_ptr<const decoder_weights> weights) : dimensions_(std::move(sizes)), weights_(std::move(weights)) {
        const dimensions& d = dimensions_;
        check_parts<M>(d, *weights_);
        std::unique_ptr<bool[]> full(new bool[static_cast<std::size_t>(d.blocks())]);
        for (index_t i = 0; i < d.blocks(); ++i) full[static_cast<std::size_t>(i)] = d[i].full;
        for (index_t i = 0; i < d.blocks(); ++i) {
            const index_t donor = of<part::kv_sharing>::donor(i, {full.get(), static_cast<std::size_t>(d.blocks())}, d.first_shared());
            const block_weights& w = weights_->block[static_cast<std::size_t>(i)];
            place p{d[i].full, donor == i, 0, donor};
            const auto put = [&](auto& kind) {
                p.among_kind = static_cast<index_t>(kind.size());
                kind.emplace_back(w, d, i);
            };
            if (p.full) p.owns_kv ? put(full_) : put(full_shared_);
            else p.owns_kv ? put(sliding_) : put(sliding_shared_);
            pattern_.push_back(p);
        }
        per_layer_inputs_ = {weights_.get(), d.per_layer_width, d.placeholders};
        const auto precision = weights_->embedding.format->id == 30  ? table_precision::bfloat16
                               : weights_->embedding.format->id == 1 ? table_precision::float16
                                                                     : table_precision::float32;
        embedding_scale_ = static_cast<float>(of<part::embedding_scale>::factor(d.width, precision));
        prune_from_ = of<part::prune>::first_block(d.first_full());
    }
    decoder(const decoder&) = delete; // blocks point into the weights' and the decoder's own memory
    decoder& operator=(const decoder&) = delete;

    const dimensions& sizes() const { return dimensions_; }
    const decoder_weights& weights() const { return *weights_; }

    /// An empty sequence.
    sequence_type start() const {
        sequence_type s;
        const dimensions& d = dimensions_;
        index_t width_sliding = 0, width_full = 0;
        for (index_t i = 0; i < d.blocks(); ++i) {
            (d[i].full ? width_full : width_sliding) = d[i].head_width;
            if (!pattern_[static_cast<std::size_t>(i)].owns_kv) {
                s.caches.emplace_back();
            } else if (d[i].full) {
                using kept = of<part::kv>;
                const index_t reach = of<part::mask_full>::reach({d.window});
                const bool mask_is_tighter = kept::length == 0 || (reach != 0 && reach < kept::length);
                s.caches.emplace_back(d[i].kv_heads * d[i].head_width, mask_is_tighter ? 0 : kept::sinks, mask_is_tighter ? reach : kept::length);
            } else {
                s.caches.emplace_back(d[i].kv_heads * d[i].head_width, 0, of<part::mask_sliding>::reach({d.window}));
            }
        }
        rope_sizes sliding = d.rope_sliding, full = d.rope_full;
        sliding.head_width = width_sliding;
        full.head_width = width_full;
        s.rope_sliding = rope_table::of<of<part::rope_sliding>>(sliding);
        s.rope_full = rope_table::of<of<part::rope_full>>(full);
        s.prunes = of<part::prune>::enabled;
        return s;
    }

    /// Reads the next tokens in one pass and returns the hidden states after the final norm, [tokens, width], valid until the runtime's next use.
    /// `image_blocks` (empty, or one number per token: −1 for text, else the image) must hold every image whole.
    matrix_view<const float> forward(sequence_type& s, std::span<const token_id> ids, runtime& run_on,
                                     std::span<const std::int32_t> image_blocks = {}) const {
        const dimensions& d = dimensions_;
        const auto tokens = static_cast<index_t>(ids.size());
        check_ids(ids, d.vocabulary);
        constexpr bool looks_ahead = of<part::mask_sliding>::looks_ahead || of<part::mask_full>::looks_ahead;
        if (looks_ahead && s.length != 0) throw error("a mask that looks ahead needs the whole sequence in one pass");
        std::vector<index_t> image_end;
        if (!image_blocks.empty() && d.images_see_themselves) image_end = ends_of_images(image_blocks, tokens, s.length);

        s.rope_sliding.fill(s.length, tokens);
        s.rope_full.fill(s.length, tokens);
        context c{run_on.threads, run_on.memory, s.length, tokens, ids, image_end, s.rope_sliding, s.rope_full, static_cast<float>(d.epsilon)};

        const auto x = run_on.memory.residual.take(tokens, d.width);
        for (index_t t = 0; t < tokens; ++t) {
            weights_->embedding.decode_row(ids[static_cast<std::size_t>(t)], x[t].data());
            kernel::scale(x[t], embedding_scale_);
        }
        visit<at::embedding>(s.probe, 0, c.position, x);
        matrix_view<float> per_layer;
        if constexpr (of<part::per_layer_input>::enabled) per_layer = per_layer_inputs_(c, x, s.probe);

        for (index_t i = 0; i < d.blocks(); ++i) {
            const place& p = pattern_[static_cast<std::size_t>(i)];
            kv_cache& cache = s.caches[static_cast<std::size_t>(p.donor)];
            bool observe = false;
            pruning_state* pruning = nullptr;
            if constexpr (of<part::prune>::enabled) {
                observe = i == prune_from_ - 1;
                if (i >= prune_from_) pruning = &s.pruning;
            }
            matrix_view<const float> input;
            if constexpr (of<part::per_layer_input>::enabled) input = per_layer.columns(i * d.per_layer_width, d.per_layer_width);
            const auto run = [&](const auto& kind) { kind[static_cast<std::size_t>(p.among_kind)](c, x, input, cache, pruning, observe, s.probe); };
            if (p.full) p.owns_kv ? run(full_) : run(full_shared_);
            else p.owns_kv ? run(sliding_) : run(sliding_shared_);
            if constexpr (of<part::prune>::enabled) {
                if (observe) {
                    const auto received = run_on.memory.received.take(tokens, s.length + tokens);
                    for (index_t t = 0; t < tokens; ++t) {
                        s.pruning.template advance<of<part::prune>>(s.length + t, received[t].first(static_cast<std::size_t>(s.length + t + 1)));
                    }
                }
            }
        }
        const auto out = run_on.memory.normed.take(tokens, d.width);
        norm_rows<norm::rms>(c.threads, x, weights_->final_norm, c.epsilon, out);
        visit<at::final_norm>(s.probe, d.blocks(), c.position, out);
        s.length += tokens;
        return out;
    }

    /// Logits of rows of hidden states: out is [rows, vocabulary]; `position` is that of the first row (for a probe).
    void logits(sequence_type& s, matrix_view<const float> hidden, runtime& run_on, matrix_view<float> out, index_t position = 0) const {
        executor& threads = run_on.threads;
        kernel::matmul(weights_->head, hidden, out, threads);
        const auto cap = static_cast<float>(dimensions_.final_cap);
        threads.for_ranges(out.rows, 1, [&](index_t first, index_t last) {
            for (index_t r = first; r < last; ++r) kernel::softcap<of<part::final_softcap>>(out[r], cap);
        });
        visit<at::logits>(s.probe, dimensions_.blocks(), position, out);
    }

    /// Reads `ids` in chunks of at most `chunk` tokens (longer where an image would be cut) and calls sink(first, hidden) for each:
    /// `first` counts from the beginning of `ids`, `hidden` is [tokens of the chunk, width].
    template <class Sink>
    void read(sequence_type& s, std::span<const token_id> ids, runtime& run_on, index_t chunk, Sink&& sink,
              std::span<const std::int32_t> image_blocks = {}) const {
        const auto n = static_cast<index_t>(ids.size());
        if (n == 0) throw error("expected at least one token, found none");
        if (!image_blocks.empty() && static_cast<index_t>(image_blocks.size()) != n) {
            throw error("image blocks: expected one number for each of " + std::to_string(n) + " tokens, found " +
                        std::to_string(image_blocks.size()));
        }
        constexpr bool whole = of<part::mask_sliding>::looks_ahead || of<part::mask_full>::looks_ahead;
        for (index_t first = 0; first < n;) {
            index_t last = whole || chunk <= 0 ? n : std::min(n, first + chunk);
            if (!image_blocks.empty()) {
                while (last < n && image_blocks[last] >= 0 && image_blocks[last] == image_blocks[last - 1]) ++last;
            }
            const auto count = static_cast<std::size_t>(last - first);
            const auto hidden = forward(s, ids.subspan(static_cast<std::size_t>(first), count), run_on,
                                        image_blocks.empty() ? image_blocks : image_blocks.subspan(static_cast<std::size_t>(first), count));
            sink(first, hidden);
            first = last;
        }
    }
};

} // namespace loupe
