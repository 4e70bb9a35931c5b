// A whole decoder, one formula after the other: the oracle for loupe::decoder. It decodes every weight anew and keeps every key: for small
// models.
//
//   x = embedding(ids)
//   every block:  x += post(attention(rms(x; γ_1)))
//                 x += post(feed_forward(rms(x; γ_2)))                                       or, with experts,
//                 x += post(post_1(feed_forward(rms(x; γ_2))) + post_2(experts(x)))
//                 x += per_layer_branch(x), where the model has per-layer inputs
//                 x *= scalar
//   logits = softcap(rms(x; γ) · Eᵀ)                                           (transformers, Gemma4TextModel, Gemma4TextDecoderLayer)
#pragma once

#include <loupe/model/check.hpp>
#include <loupe/model/slots.hpp>
#include <loupe/ref/attention.hpp>
#include <loupe/ref/embedding.hpp>
#include <loupe/ref/experts.hpp>
#include <loupe/ref/feed_forward.hpp>
#include <loupe/ref/per_layer_input.hpp>
#include <loupe/ref/pruning.hpp>

#include <memory>
#include <utility>

namespace loupe::ref {

/// What a forward pass gives for the tokens of its chunk.
template <class T>
struct result {
    xt::xtensor<T, 3> layers; ///< [blocks + 1, tokens, width]: the scaled embedding, then the residual stream after every block
    matrix<T> logits;         ///< [tokens, vocabulary]
};

/// Composition M in arithmetic T. Constant; what has been read lies in a state.
template <is::model M, class T = double>
class decoder {
    template <class Part>
    using of = part_of<M, Part>;

    static_assert(!is::own_sublayer<of<part::feed_forward>>, "the reference knows the library's sublayers, not one of your own");

    dimensions d_;
    std::shared_ptr<const decoder_weights> weights_;

  public:
    /// One sequence.
    struct state {
        index_t length = 0;               ///< positions read so far
        std::vector<key_values<T>> block; ///< keys and values of every block that has its own
        ref::pruning<of<part::prune>, T> pruning;
    };

    /// Refuses dimensions or weights that lack what the composition needs.
    decoder(dimensions sizes, std::shared_ptr<const decoder_weights> weights) : d_(std::move(sizes)), weights_(std::move(weights)) {
        check_parts(numbers_of<M>, d_, *weights_);
    }

    /// Reads the next tokens of a sequence. `image_blocks` is empty or has one number for each token: −1 for text, else the image; every
    /// image lies whole in one chunk.
    result<T> forward(state& s, std::span<const token_id> ids, std::span<const std::int32_t> image_blocks = {}) const {
        check_ids(ids, d_.vocabulary);
        if ((of<part::mask_sliding>::looks_ahead || of<part::mask_full>::looks_ahead) && s.length != 0) {
            throw error("a mask that looks ahead needs the whole sequence in one pass");
        }
        const auto tokens = static_cast<index_t>(ids.size());
        const chunk c{s.length, tokens, image_blocks};
        s.block.resize(d_.block.size());

        const auto factor = of<part::embedding_scale>::factor(d_.width, weights_->embedding_precision);
        matrix<T> x = embedding<T>(ids, weights_->embedding, static_cast<T>(factor));
        matrix<T> inputs = zeros<T>(0, 0);
        if constexpr (of<part::per_layer_input>::enabled) {
            inputs = per_layer_inputs<of<part::per_layer_input>, T>(x, ids, *weights_, d_.per_layer_width, d_.placeholders, epsilon());
        }

        result<T> out;
        out.layers.resize({d_.block.size() + 1, ids.size(), static_cast<std::size_t>(d_.width)});
        xt::view(out.layers, 0) = x;
        matrix<T> received = zeros<T>(tokens, s.length + tokens); // by every position, from all heads of the blocks before pruning
        for (index_t i = 0; i < d_.blocks(); ++i) {
            const block_weights& w = weights_->block[static_cast<std::size_t>(i)];
            if (of<part::prune>::enabled && i == first_pruned()) {
                for (index_t t = 0; t < tokens; ++t) s.pruning.advance(row(std::as_const(received), t));
            }
            x += normed<of<part::post_norms>, T>(attention(s, c, i, normed<norm::rms, T>(x, w.input_norm, epsilon()), received),
                                                 w.attention_norm, epsilon());
            x += normed<of<part::post_norms>, T>(feed_forward_branches(c, i, x), w.mlp_norm, epsilon());
            if constexpr (of<part::per_layer_input>::enabled) {
                x += per_layer_branch<T>(x, columns(inputs, i * d_.per_layer_width, d_.per_layer_width), w.per_layer, epsilon());
            }
            x *= static_cast<T>(of<part::layer_scalar>::value(w.scalar));
            xt::view(out.layers, i + 1) = x;
        }
        out.logits = ref::logits<of<part::final_softcap>, T>(x, *weights_, static_cast<T>(d_.final_cap), epsilon());
        s.length += tokens;
        return out;
    }

  private:
    /// Where the tokens of a chunk lie.
    struct chunk {
        index_t first = 0, tokens = 0;
        std::span<const std::int32_t> image_blocks;

        /// Two positions of the chunk, and all between them, belong to one image.
        bool same_image(index_t a, index_t b) const {
            if (image_blocks.empty() || a < first) return false;
            const std::int32_t image = image_blocks[static_cast<std::size_t>(a - first)];
            for (index_t p = a; p <= b; ++p) {
                if (image < 0 || image_blocks[static_cast<std::size_t>(p - first)] != image) return false;
            }
            return true;
        }
    };

    T epsilon() const { return static_cast<T>(d_.epsilon); }
    index_t first_pruned() const { return of<part::prune>::first_block(d_.first_full()); }

    matrix<T> attention(state& s, const chunk& c, index_t i, const matrix<T>& x, matrix<T>& received) const {
        if (d_[i].full) return attention_of<of<part::rope_full>, of<part::mask_full>, of<part::kv>>(s, c, i, x, d_.rope_full, received);
        return attention_of<of<part::rope_sliding>, of<part::mask_sliding>, kv::full>(s, c, i, x, d_.rope_sliding, received);
    }

    template <class Rope, class Mask, class Kv>
    matrix<T> attention_of(state& s, const chunk& c, index_t i, const matrix<T>& x, rope_sizes rope, matrix<T>& received) const {
        const block_dimensions& b = d_[i];
        const attention_weights& w = weights_->block[static_cast<std::size_t>(i)].attention;
        const head_sizes sizes{d_.heads, b.kv_heads, b.head_width};
        rope.head_width = b.head_width;

        const auto full = kinds_of_blocks(d_);
        const index_t donor = of<part::kv_sharing>::donor(i, {full.get(), d_.block.size()}, d_.first_shared());
        if (donor == i) {
            key_values<T>& own = s.block[static_cast<std::size_t>(i)];
            const bool from_key = b.full && of<part::value_full>::from_key;
            const auto more = keys_and_values<Rope, of<part::k_norm>, of<part::v_norm>, T>(x, w, sizes, rope, c.first, from_key, epsilon());
            using kv_format = of<part::kv_format>;
            own = {stacked(own.keys, cached<kv_format>(more.keys)), stacked(own.values, cached<kv_format>(more.values))};
        }

        // Images only widen the masks of sliding blocks, and only ahead of the query: what lies behind is the mask's affair.
        const bool images = !b.full && d_.images_see_themselves && of<part::image_mask>::sees_block;
        const auto sees = [&](index_t query, index_t key) {
            if (!Mask::sees(query, key, mask_sizes{d_.window}) && !(images && key > query && c.same_image(query, key))) return false;
            if (of<part::prune>::enabled && i >= first_pruned() && !s.pruning.sees(query, key)) return false;
            return kv::keeps<Kv>(query, key);
        };
        const double scale = of<part::score_scale>::factor(score_sizes{b.head_width, d_.score_scale});
        const auto q = queries<Rope, of<part::q_norm>, T>(x, w, sizes, rope, c.first, epsilon());
        const auto y = attend<of<part::attention_softcap>, T>(q, s.block[static_cast<std::size_t>(donor)], sizes, c.first,
                                                              static_cast<T>(scale), static_cast<T>(d_.attention_cap), sees);
        if (i < first_pruned()) received += y.received;
        return linear(y.mix, w.o);
    }

    /// Everything between the residual stream and the last norm of the feed-forward sublayer.
    matrix<T> feed_forward_branches(const chunk& c, index_t i, const matrix<T>& x) const {
        const block_weights& w = weights_->block[static_cast<std::size_t>(i)];
        using activation = of<part::activation>;
        using post = of<part::post_norms>;
        const auto dense = [&] {
            return feed_forward<activation, T>(normed<norm::rms, T>(x, w.mlp_input_norm, epsilon()), w.mlp.gate, w.mlp.up, w.mlp.down);
        };
        if constexpr (!of<part::feed_forward>::has_experts) {
            return dense();
        } else {
            const index_t used = of<part::experts_used>::count(d_.experts_used);
            matrix<T> sum = normed<post, T>(experts<of<part::router>, activation, T>(x, w.experts, used, i, c.first, epsilon()),
                                            w.experts.experts_norm, epsilon());
            if constexpr (of<part::dense_branch>::enabled) sum += normed<post, T>(dense(), w.experts.dense_norm, epsilon());
            return sum;
        }
    }
};

} // namespace loupe::ref
