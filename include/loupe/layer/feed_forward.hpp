// The gated feed-forward layer, and routed experts beside it.
#pragma once

#include <loupe/layer/context.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/policy/router.hpp>

#include <vector>

namespace loupe {

/// y = W_down (act(W_gate x) ⊙ W_up x)                                        (Shazeer 2002.05202; transformers, Gemma4TextMLP)
template <class Activation, class Probe>
struct feed_forward_layer {
    const feed_forward_weights* weights;
    index_t block = 0;

    /// x, out: [tokens, width].
    [[gnu::noinline]] void operator()(context_of<Probe>& c, matrix_view<const float> x, matrix_view<float> out) const {
        const auto gate = c.memory.gate.take(x.rows, weights->gate.rows), up = c.memory.up.take(x.rows, weights->up.rows);
        kernel::matmul({{weights->gate, x, gate}, {weights->up, x, up}}, c.threads);
        c.threads.for_ranges(x.rows, 8, [&](index_t first, index_t last) {
            for (index_t t = first; t < last; ++t) kernel::gate<Activation>(gate[t], up[t]);
        });
        if constexpr (Probe::template watches<at::mlp_hidden>) c.probe(at::mlp_hidden{}, block, c.position_of(0), gate);
        kernel::matmul(weights->down, gate, out, c.threads);
        if constexpr (Probe::template watches<at::mlp_output>) c.probe(at::mlp_output{}, block, c.position_of(0), out);
    }
};

/// Σ_e w_e · scale_e · expert_e(u) over the experts a router chose, expert_e being a gated feed-forward layer.
///
///   scores = W_r · (rms(r) ⊙ router_scale · width^(−1/2)), r the residual stream, u = norm_2(r)     (transformers, Gemma4TextRouter,
///   -Experts)
template <class Router, class ExpertsUsed, class Activation, class Probe>
struct experts_layer {
    const expert_weights* weights;
    index_t block = 0;
    index_t experts = 0;
    index_t stored_experts_used = 0;

    /// residual, out: [tokens, width].
    [[gnu::noinline]] void operator()(context_of<Probe>& c, matrix_view<const float> residual, matrix_view<float> out) const {
        const index_t tokens = residual.rows, width = residual.width;
        if constexpr (!Router::uses_experts) {
            std::fill_n(out.data, tokens * width, 0.0F);
        } else {
            const index_t used = ExpertsUsed::count(stored_experts_used);
            const auto u = c.memory.normed.take(tokens, width);
            norm_rows<norm::rms>(c.threads, residual, weights->router_scale, c.epsilon, u);
            const float root = 1.0F / std::sqrt(static_cast<float>(width));
            for (index_t t = 0; t < tokens; ++t) kernel::scale(u[t], root);
            const auto scores = c.memory.router_scores.take(tokens, experts);
            kernel::matmul(weights->router, u, scores, c.threads);
            if constexpr (Probe::template watches<at::router_scores>) c.probe(at::router_scores{}, block, c.position_of(0), scores);

            std::vector<choice<float>> chosen(static_cast<std::size_t>(tokens * used));
            for (index_t t = 0; t < tokens; ++t) {
                Router::route(scores[t], std::span(chosen).subspan(static_cast<std::size_t>(t * used), static_cast<std::size_t>(used)),
                              route_place{block, c.position_of(t)});
            }

            norm_rows<norm::rms>(c.threads, residual, weights->input_norm, c.epsilon, u);
            std::vector<index_t> row; // per choice, of `results`
            const auto results = run_experts(c, chosen, used, u, row);

            c.threads.for_ranges(tokens, 8, [&](index_t first, index_t last) {
                for (index_t t = first; t < last; ++t) {
                    std::fill_n(out[t].data(), width, 0.0F);
                    for (index_t i = 0; i < used; ++i) {
                        const auto number = static_cast<std::size_t>(t * used + i);
                        const auto& one = chosen[number];
                        const float weight = one.weight * weights->expert_scale[static_cast<std::size_t>(one.expert)];
                        kernel::add(out[t], results[row[number]], weight);
                    }
                }
            });
        }
        if constexpr (Probe::template watches<at::expert_output>) c.probe(at::expert_output{}, block, c.position_of(0), out);
    }

  private:
    /// Every choice's expert on its token; `row` becomes the row of the result that belongs to each choice. Tokens of one expert lie side
    /// by side, so that its weights are read once, and all experts make one loop. An expert with one token reads it where it lies: if all
    /// have the same one, it is prepared once for all.
    matrix_view<const float> run_experts(context_of<Probe>& c, std::span<const choice<float>> chosen, index_t used,
                                         matrix_view<const float> u, std::vector<index_t>& row) const {
        const auto n = static_cast<index_t>(chosen.size());
        const index_t hidden = weights->gate.rows_each;
        // Row r of what is computed is of token token_of[r]; expert e has the rows [begin[e], begin[e + 1]).
        std::vector<index_t> begin(static_cast<std::size_t>(experts + 1)), token_of(chosen.size());
        for (const auto& one : chosen) ++begin[static_cast<std::size_t>(one.expert + 1)];
        for (std::size_t e = 0; e < static_cast<std::size_t>(experts); ++e) begin[e + 1] += begin[e];
        std::vector<index_t> next(begin);
        row.resize(chosen.size());
        for (index_t i = 0; i < n; ++i) {
            row[i] = next[chosen[i].expert]++;
            token_of[row[i]] = i / used;
        }

        const auto in = c.memory.expert_in.take(n, u.width), gate = c.memory.gate.take(n, hidden), up = c.memory.up.take(n, hidden),
                   out = c.memory.expert_out.take(n, u.width);
        std::vector<kernel::product> products;
        const auto each_expert = [&](auto&& body) {
            for (index_t e = 0; e < experts; ++e) {
                if (begin[e + 1] > begin[e]) body(e, begin[e], begin[e + 1] - begin[e]);
            }
        };
        each_expert([&](index_t e, index_t first, index_t count) {
            matrix_view<const float> x = u.slice(token_of[first], 1);
            if (count > 1) {
                for (index_t r = first; r < first + count; ++r) std::copy_n(u[token_of[r]].data(), u.width, in[r].data());
                x = in.slice(first, count);
            }
            products.push_back({weights->gate[e], x, gate.slice(first, count)});
            products.push_back({weights->up[e], x, up.slice(first, count)});
        });
        kernel::matmul(products, c.threads);
        c.threads.for_ranges(n, 8, [&](index_t first, index_t last) {
            for (index_t r = first; r < last; ++r) kernel::gate<Activation>(gate[r], up[r]);
        });
        products.clear();
        each_expert([&](index_t e, index_t first, index_t count) {
            if constexpr (Probe::template watches<at::expert_hidden>) {
                c.probe(at::expert_hidden{}, block, c.position_of(token_of[first]), gate.slice(first, count));
            }
            products.push_back({weights->down[e], gate.slice(first, count), out.slice(first, count)});
        });
        kernel::matmul(products, c.threads);
        return out;
    }
};

/// x += post(feed_forward(rms(x)))
template <class Activation, class PostNorm, class Probe>
struct dense_sublayer {
    const block_weights* weights;
    feed_forward_layer<Activation, Probe> dense;

    dense_sublayer(const block_weights& w, index_t block, index_t, index_t) : weights(&w), dense{&w.mlp, block} {}

    /// x: [tokens, width], changed in place.
    [[gnu::noinline]] void operator()(context_of<Probe>& c, matrix_view<float> x) const {
        const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
        norm_rows<norm::rms>(c.threads, x, weights->mlp_input_norm, c.epsilon, a);
        dense(c, a, b);
        add_normed<PostNorm>(c.threads, x, b, weights->mlp_norm, c.epsilon);
    }
};

/// x += post(post_1(feed_forward(rms(x))) + post_2(experts(x)))              (two branches, each under a norm of its own, joined under a
/// third)
template <class Router, class ExpertsUsed, bool DenseBranch, class Activation, class PostNorm, class Probe>
struct experts_sublayer {
    const block_weights* weights;
    feed_forward_layer<Activation, Probe> dense;
    experts_layer<Router, ExpertsUsed, Activation, Probe> routed;

    experts_sublayer(const block_weights& w, index_t block, index_t experts, index_t used)
        : weights(&w), dense{&w.mlp, block}, routed{&w.experts, block, experts, used} {}

    /// x: [tokens, width], changed in place.
    [[gnu::noinline]] void operator()(context_of<Probe>& c, matrix_view<float> x) const {
        const auto sum = c.memory.second.take(x.rows, x.width);
        routed(c, x, sum);
        norm_rows<PostNorm>(c.threads, sum, weights->experts.experts_norm, c.epsilon, sum);
        if constexpr (DenseBranch) {
            const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
            norm_rows<norm::rms>(c.threads, x, weights->mlp_input_norm, c.epsilon, a);
            dense(c, a, b);
            add_normed<PostNorm>(c.threads, sum, b, weights->experts.dense_norm, c.epsilon);
        }
        add_normed<PostNorm>(c.threads, x, sum, weights->mlp_norm, c.epsilon);
    }
};

} // namespace loupe
