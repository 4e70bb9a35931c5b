// Checks at run time: sizes read from a file against the rules of a composition and against its card, ids, image blocks. What holds a part
// of one's own against what the framework relies on, check<Part>(), is in check/check.hpp.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/model/dimensions.hpp>
#include <loupe/model/numbers.hpp>

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace loupe {

/// Every id lies in the vocabulary, and there is at least one.
inline void check_ids(std::span<const token_id> ids, index_t vocabulary) {
    if (ids.empty()) throw error("expected at least one token, found none");
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0 || ids[i] >= vocabulary) {
            throw error("token " + std::to_string(i) + ": expected an id between 0 and " + std::to_string(vocabulary - 1) + ", found " +
                        std::to_string(ids[i]));
        }
    }
}

/// For every token of a chunk that begins at `position`, one past the last position of its image, or 0.
inline std::vector<index_t> ends_of_images(std::span<const std::int32_t> image_blocks, index_t tokens, index_t position) {
    if (static_cast<index_t>(image_blocks.size()) != tokens) {
        throw error("image blocks: expected one number for each of " + std::to_string(tokens) + " tokens, found " +
                    std::to_string(image_blocks.size()));
    }
    std::vector<index_t> end(image_blocks.size(), 0);
    for (index_t t = tokens - 1; t >= 0; --t) {
        if (image_blocks[t] < 0) continue;
        const bool goes_on = t + 1 < tokens && image_blocks[t + 1] == image_blocks[t];
        end[static_cast<std::size_t>(t)] = goes_on ? end[static_cast<std::size_t>(t) + 1] : position + t + 1;
    }
    return end;
}

/// The rules of namespace rule on sizes read from a file; `what` names the file in messages.
inline void check_sizes(const dimensions& d, const std::string& what) {
    const auto refuse = [&](const std::string& message) { throw error(what + ": " + message); };
    const auto positive = [&](index_t value, const char* name) {
        if (value <= 0) refuse(std::string("expected a positive ") + name + ", found " + std::to_string(value));
    };
    positive(d.blocks(), "number of blocks");
    positive(d.width, "width");
    positive(d.heads, "number of heads");
    positive(d.vocabulary, "vocabulary");
    positive(d.window, "sliding window");
    if (!(d.epsilon > 0 && d.epsilon < 1)) refuse("expected a norm epsilon between 0 and 1, found " + std::to_string(d.epsilon));
    for (const rope_sizes* r : {&d.rope_sliding, &d.rope_full}) {
        if (!(std::isfinite(r->theta) && r->theta > 0)) refuse("expected a positive rope theta, found " + std::to_string(r->theta));
        if (!(std::isfinite(r->factor) && r->factor > 0)) refuse("expected a positive rope factor, found " + std::to_string(r->factor));
        if (!(r->share >= 0 && r->share <= 1)) refuse("expected a rotated share between 0 and 1, found " + std::to_string(r->share));
    }
    if (!std::isfinite(d.score_scale)) refuse("expected a finite score scale");
    if (!(std::isfinite(d.final_cap) && d.final_cap >= 0 && std::isfinite(d.attention_cap) && d.attention_cap >= 0)) {
        refuse("expected softcaps that are positive, or 0 for none");
    }
    index_t head_width_sliding = 0, head_width_full = 0;
    for (index_t i = 0; i < d.blocks(); ++i) {
        const auto& b = d[i];
        const std::string where = "block " + std::to_string(i) + ": ";
        if (b.head_width <= 0 || b.head_width % 2 != 0)
            refuse(where + "expected an even head width, found " + std::to_string(b.head_width));
        if (b.kv_heads <= 0 || d.heads % b.kv_heads != 0) {
            refuse(where + "expected a number of key heads that divides the " + std::to_string(d.heads) + " query heads, found " +
                   std::to_string(b.kv_heads));
        }
        if (b.mlp_width <= 0) refuse(where + "expected a positive feed-forward width, found " + std::to_string(b.mlp_width));
        index_t& seen = b.full ? head_width_full : head_width_sliding;
        if (seen != 0 && seen != b.head_width) {
            refuse(where + "expected head width " + std::to_string(seen) + " as in earlier blocks of its kind, found " +
                   std::to_string(b.head_width));
        }
        seen = b.head_width;
        if (i > 0 && d[i - 1].shares_kv && !b.shares_kv) refuse(where + "expected shared keys and values, as in the block before it");
    }
    if (d.experts > 0 && (d.expert_width <= 0 || d.experts_used <= 0 || d.experts_used > d.experts)) {
        refuse("expected between 1 and " + std::to_string(d.experts) + " experts used and a positive expert width, found " +
               std::to_string(d.experts_used) + " and " + std::to_string(d.expert_width));
    }
}

/// Whether the file's sizes are those of the card; the message lists every size that is not.
inline void check_card(const dimensions& d, const card& c, const std::string& what) {
    std::string wrong;
    const auto same = [&](double found, double expected, const std::string& name) {
        if (found != expected) {
            const auto text = [](double v) {
                return v == std::floor(v) && std::abs(v) < 1e15 ? std::to_string(static_cast<index_t>(v)) : std::to_string(v);
            };
            wrong += (wrong.empty() ? "" : ", ") + name + ": expected " + text(expected) + ", found " + text(found);
        }
    };
    const auto n = [](index_t v) { return static_cast<double>(v); };
    same(n(d.blocks()), n(c.blocks), "blocks");
    same(n(d.vocabulary), n(c.vocabulary), "vocabulary");
    same(n(d.width), n(c.width), "width");
    same(n(d.heads), n(c.heads), "heads");
    same(n(d.window), n(c.window), "window");
    same(n(d.per_layer_width), n(c.per_layer_width), "per-layer width");
    same(n(d.experts), n(c.experts), "experts");
    if (c.experts > 0) {
        same(n(d.experts_used), n(c.experts_used), "experts used");
        same(n(d.expert_width), n(c.expert_width), "expert width");
    }
    same(d.rope_sliding.theta, c.theta_sliding, "theta of sliding blocks");
    same(d.rope_full.theta, c.theta_full, "theta of full blocks");
    same(d.rope_full.share, c.rope_share_full, "rotated share of full blocks");
    same(d.rope_full.factor, c.rope_factor_full, "rope factor of full blocks");
    same(d.final_cap, c.final_cap, "cap of the logits");
    same(d.attention_cap, c.attention_cap, "cap of scores");
    if (std::abs(d.score_scale - c.score_scale) > 1e-9) same(d.score_scale, c.score_scale, "score scale");
    same(n(d.blocks() - d.first_shared()), n(c.kv_shared_blocks), "blocks that share keys and values");
    for (index_t i = 0; i < std::min(d.blocks(), c.blocks); ++i) {
        if (d[i].full != c.is_full(i)) {
            same(d[i].full ? 1 : 0, c.is_full(i) ? 1 : 0, "full attention in block " + std::to_string(i));
            break;
        }
        same(n(d[i].head_width), n(c.is_full(i) ? c.head_width_full : c.head_width_sliding), "head width of block " + std::to_string(i));
        same(n(d[i].kv_heads), n(c.is_full(i) ? c.kv_heads_full : c.kv_heads_sliding), "key heads of block " + std::to_string(i));
        if (wrong.size() > 400) break;
    }
    if (!wrong.empty()) throw error(what + ": not a " + c.name + ": " + wrong);
}

/// The feed-forward width that a composition wants in every block, where it has a card.
inline void check_widths(const composition_numbers& m, const dimensions& d, const std::string& what) {
    if (m.sizes == nullptr) return;
    for (index_t i = 0; i < d.blocks(); ++i) {
        const index_t expected = m.mlp_width(m.sizes->mlp_width, i >= m.sizes->blocks - m.sizes->kv_shared_blocks);
        if (d[i].mlp_width != expected) {
            throw error(what + ": feed-forward width of block " + std::to_string(i) + ": expected " + std::to_string(expected) +
                        ", found " + std::to_string(d[i].mlp_width));
        }
    }
}

/// For every block whether it is a full one, as an array (which std::vector<bool> is not).
inline std::unique_ptr<bool[]> kinds_of_blocks(const dimensions& d) {
    std::unique_ptr<bool[]> full(new bool[d.block.size()]);
    for (std::size_t i = 0; i < d.block.size(); ++i) full[i] = d.block[i].full;
    return full;
}

/// Whether sizes and weights hold everything that the composition uses.
inline void check_parts(const composition_numbers& m, const dimensions& d, const decoder_weights& w) {
    const auto refuse = [](const std::string& message) { throw error("this composition does not fit the model: " + message); };
    if (m.sizes != nullptr) {
        check_card(d, *m.sizes, "this model");
        check_widths(m, d, "this model");
    }
    if (m.per_layer_input && !w.per_layer_table.exists()) refuse("it has per-layer inputs, the model has none");
    if (m.has_experts) {
        if (d.experts == 0) refuse("it has experts, the model has none");
        const index_t used = m.experts_used(d.experts_used);
        if (used < 1 || used > d.experts) {
            refuse("it uses " + std::to_string(used) + " experts, expected 1 to " + std::to_string(d.experts));
        }
    } else if (d.experts > 0) {
        refuse("the model has experts, it has none");
    }
    using named_reach = std::pair<const char*, index_t>;
    for (const auto& [slot, reach] :
         {named_reach{"mask_sliding", m.reach_sliding({d.window})}, named_reach{"mask_full", m.reach_full({d.window})}}) {
        if (reach < 0) refuse(std::string(slot) + " reaches back " + std::to_string(reach) + " positions, expected 0 (no bound) or more");
    }
    if (m.kv_sinks < 0 || m.kv_length < 0) {
        refuse("its cache keeps " + std::to_string(m.kv_sinks) + " first and " + std::to_string(m.kv_length) +
               " last positions, expected 0 or more");
    }
    const auto kinds = kinds_of_blocks(d);
    const auto donor_of = [&](index_t i) -> index_t { return m.donor(i, {kinds.get(), d.block.size()}, d.first_shared()); };
    for (index_t i = 0; i < d.blocks(); ++i) {
        const auto& b = w.block[static_cast<std::size_t>(i)].attention;
        const index_t donor = donor_of(i);
        const std::string where = "block " + std::to_string(i);
        if (donor < 0 || donor > i) refuse(where + " has no keys and values and no earlier block of its kind to read them from");
        if (donor != i) {
            if (d[donor].head_width != d[i].head_width || d[donor].kv_heads != d[i].kv_heads || d[donor].full != d[i].full) {
                refuse(where + " reads keys and values of block " + std::to_string(donor) + ", whose heads are others");
            }
            if (donor_of(donor) != donor) {
                refuse(where + " reads keys and values of block " + std::to_string(donor) + ", which has none of its own");
            }
            continue;
        }
        if (d[i].head_width % m.kv_format->length != 0) {
            refuse(where + " has heads of width " + std::to_string(d[i].head_width) + ", expected a multiple of " +
                   std::to_string(m.kv_format->length) + ", since it holds keys and values in blocks of " + std::string(m.kv_format->name));
        }
        if (!b.k.exists()) refuse(where + " needs a key projection, the model has none there");
        if (!(d[i].full && m.value_from_key) && !b.v.exists()) {
            refuse(where + " needs a value projection, the model has none there (K = V)");
        }
    }
    if (m.prunes) {
        const pruning_rule rule = m.pruning(d.first_full());
        const index_t from = rule.first_block;
        if (from < 1) refuse("it prunes from block " + std::to_string(from) + " on, which no block before it could score tokens for");
        if (from >= d.blocks()) {
            refuse("it prunes from block " + std::to_string(from) + " on, the model has " + std::to_string(d.blocks()) + " blocks");
        }
        if (rule.recent < 1) refuse("it prunes all but the newest " + std::to_string(rule.recent) + " tokens, expected at least 1");
    }
}

} // namespace loupe
