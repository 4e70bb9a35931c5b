// The gated feed-forward layer, and routed experts beside it.
#pragma once

#include <loupe/layer/context.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/policy/router.hpp>

#include <vector>

namespace loupe {

/// A gated feed-forward network and its rows: y = W_down h, h = act(W_gate x) ⊙ W_up x      (Shazeer 2002.05202; transformers,
/// Gemma4TextMLP and one expert of Gemma4TextExperts)
struct gated_network {
    kernel::weight_view gate, up, down;
    matrix_view<const float> x;      ///< [rows, width]
    matrix_view<float> hidden, up_x; ///< [rows, hidden width]: W_gate x and then h; W_up x
    matrix_view<float> y;            ///< [rows, width]
};

/// h of networks that do not depend on each other: all of W_gate and W_up make one loop.
template <class Activation>
[[gnu::noinline]] void find_hidden(executor& threads, std::span<const gated_network> networks) {
    thread_local std::vector<kernel::product> products;
    products.clear();
    index_t rows = 0;
    for (const auto& n : networks) {
        products.push_back({n.gate, n.x, n.hidden});
        products.push_back({n.up, n.x, n.up_x});
        rows += n.x.rows;
    }
    kernel::matmul(products, threads);
    threads.for_ranges(rows, 8, [&](index_t first, index_t last) {
        for (const auto& n : networks) { // rows are counted through all of them
            for (index_t r = std::max<index_t>(0, first); r < std::min(last, n.x.rows); ++r)
                kernel::gate<Activation>(n.hidden[r], n.up_x[r]);
            first -= n.x.rows, last -= n.x.rows;
        }
    });
}

/// y of networks whose h is there: all of W_down make one loop.
[[gnu::noinline]] inline void find_output(executor& threads, std::span<const gated_network> networks) {
    thread_local std::vector<kernel::product> products;
    products.clear();
    for (const auto& n : networks) products.push_back({n.down, n.hidden, n.y});
    kernel::matmul(products, threads);
}

/// y = W_down (act(W_gate x) ⊙ W_up x)
template <class Activation, class Probe>
struct feed_forward_layer {
    const feed_forward_weights* weights;
    index_t block = 0;

    /// x, out: [tokens, width].
    [[gnu::noinline]] void operator()(context_of<Probe>& c, matrix_view<const float> x, matrix_view<float> out) const {
        const gated_network all = network(c, x, out);
        find_hidden<Activation>(c.threads, {&all, 1});
        watch_hidden(c, all);
        find_output(c.threads, {&all, 1});
        watch_output(c, all);
    }

    // What the call is made of, for those who run the network beside others.

    gated_network network(context_of<Probe>& c, matrix_view<const float> x, matrix_view<float> out) const {
        const index_t hidden = weights->gate.rows;
        return {weights->gate, weights->up, weights->down, x, c.memory.gate.take(x.rows, hidden), c.memory.up.take(x.rows, hidden), out};
    }
    void watch_hidden(context_of<Probe>& c, const gated_network& n) const {
        if constexpr (Probe::template watches<at::mlp_hidden>) c.probe(at::mlp_hidden{}, block, c.position_of(0), n.hidden);
    }
    void watch_output(context_of<Probe>& c, const gated_network& n) const {
        if constexpr (Probe::template watches<at::mlp_output>) c.probe(at::mlp_output{}, block, c.position_of(0), n.y);
    }
};

/// Tokens on their way through the experts a router chose for them. Tokens of one expert lie side by side, so that its weights are read
/// once.
struct routed_tokens {
    index_t used = 0;                   ///< choices of each token
    std::vector<choice<float>> chosen;  ///< [tokens, used]
    std::vector<index_t> row;           ///< per choice: its row among those of all experts, which `result` has too
    std::vector<index_t> token;         ///< per row: whose it is
    matrix_view<const float> result;    ///< [rows, width]: what the experts make of their rows
    std::vector<gated_network> experts; ///< those that were chosen, in order
};

/// Σ_e w_e · scale_e · expert_e(u) over the experts a router chose, expert_e being a gated feed-forward network.
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
        const routed_tokens routed = route(c, residual);
        find_hidden<Activation>(c.threads, routed.experts);
        watch_hidden(c, routed);
        find_output(c.threads, routed.experts);
        sum(c, routed, out);
    }

    // What the call is made of, for those who run the experts beside another network.

    /// Every token's choices, and the networks to run for them.
    routed_tokens route(context_of<Probe>& c, matrix_view<const float> residual) const {
        routed_tokens routed;
        if constexpr (Router::uses_experts) {
            const index_t tokens = residual.rows, width = residual.width, used = ExpertsUsed::count(stored_experts_used);
            routed.used = used;
            const auto u = c.memory.expert_normed.take(tokens, width);
            norm_rows<norm::rms>(c.threads, residual, weights->router_scale, c.epsilon, u);
            const float root = 1.0F / std::sqrt(static_cast<float>(width));
            for (index_t t = 0; t < tokens; ++t) kernel::scale(u[t], root);
            const auto scores = c.memory.router_scores.take(tokens, experts);
            kernel::matmul(weights->router, u, scores, c.threads);
            if constexpr (Probe::template watches<at::router_scores>) c.probe(at::router_scores{}, block, c.position_of(0), scores);

            routed.chosen.resize(static_cast<std::size_t>(tokens * used));
            for (index_t t = 0; t < tokens; ++t) {
                Router::route(scores[t],
                              std::span(routed.chosen).subspan(static_cast<std::size_t>(t * used), static_cast<std::size_t>(used)),
                              route_place{block, c.position_of(t)});
            }
            norm_rows<norm::rms>(c.threads, residual, weights->input_norm, c.epsilon, u);
            gather(c, u, routed);
        }
        return routed;
    }
    void watch_hidden(context_of<Probe>& c, const routed_tokens& routed) const {
        if constexpr (Probe::template watches<at::expert_hidden>) {
            index_t row = 0;
            for (const gated_network& expert : routed.experts) {
                c.probe(at::expert_hidden{}, block, c.position_of(routed.token[row]), expert.hidden);
                row += expert.x.rows;
            }
        }
    }
    /// out: [tokens, width], the weighed sums of the experts' results.
    void sum(context_of<Probe>& c, const routed_tokens& routed, matrix_view<float> out) const {
        c.threads.for_ranges(out.rows, 8, [&](index_t first, index_t last) {
            for (index_t t = first; t < last; ++t) {
                std::fill_n(out[t].data(), out.width, 0.0F);
                for (index_t i = t * routed.used; i < (t + 1) * routed.used; ++i) {
                    const auto& one = routed.chosen[i];
                    const float weight = one.weight * weights->expert_scale[static_cast<std::size_t>(one.expert)];
                    kernel::add(out[t], routed.result[routed.row[i]], weight);
                }
            }
        });
        if constexpr (Probe::template watches<at::expert_output>) c.probe(at::expert_output{}, block, c.position_of(0), out);
    }

  private:
    /// Sorts the rows by expert. An expert with one token reads it where it lies: if all have the same one, it is prepared once for all.
    void gather(context_of<Probe>& c, matrix_view<const float> u, routed_tokens& routed) const {
        const auto n = static_cast<index_t>(routed.chosen.size());
        const index_t hidden = weights->gate.rows_each;
        std::vector<index_t> begin(static_cast<std::size_t>(experts + 1)); // expert e has the rows [begin[e], begin[e + 1])
        for (const auto& one : routed.chosen) ++begin[static_cast<std::size_t>(one.expert + 1)];
        for (std::size_t e = 0; e < static_cast<std::size_t>(experts); ++e) begin[e + 1] += begin[e];
        std::vector<index_t> next(begin);
        routed.row.resize(routed.chosen.size());
        routed.token.resize(routed.chosen.size());
        for (index_t i = 0; i < n; ++i) {
            routed.row[i] = next[routed.chosen[i].expert]++;
            routed.token[routed.row[i]] = i / routed.used;
        }

        const auto in = c.memory.expert_in.take(n, u.width), gate = c.memory.expert_gate.take(n, hidden),
                   up = c.memory.expert_up.take(n, hidden), out = c.memory.expert_out.take(n, u.width);
        routed.result = out;
        for (index_t e = 0; e < experts; ++e) {
            const index_t first = begin[e], count = begin[e + 1] - first;
            if (count == 0) continue;
            matrix_view<const float> x = u.slice(routed.token[first], 1);
            if (count > 1) {
                for (index_t r = first; r < first + count; ++r) std::copy_n(u[routed.token[r]].data(), u.width, in[r].data());
                x = in.slice(first, count);
            }
            routed.experts.push_back({weights->gate[e], weights->up[e], weights->down[e], x, gate.slice(first, count),
                                      up.slice(first, count), out.slice(first, count)});
        }
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
        const routed_tokens tokens = routed.route(c, x);
        std::vector<gated_network> networks(tokens.experts);
        if constexpr (DenseBranch) {
            const auto a = c.memory.normed.take(x.rows, x.width), b = c.memory.branch.take(x.rows, x.width);
            norm_rows<norm::rms>(c.threads, x, weights->mlp_input_norm, c.epsilon, a);
            networks.push_back(dense.network(c, a, b));
        }
        find_hidden<Activation>(c.threads, networks);
        routed.watch_hidden(c, tokens);
        if constexpr (DenseBranch) dense.watch_hidden(c, networks.back());
        find_output(c.threads, networks);
        routed.sum(c, tokens, sum);
        norm_rows<PostNorm>(c.threads, sum, weights->experts.experts_norm, c.epsilon, sum);
        if constexpr (DenseBranch) {
            dense.watch_output(c, networks.back());
            add_normed<PostNorm>(c.threads, sum, networks.back().y, weights->experts.dense_norm, c.epsilon);
        }
        add_normed<PostNorm>(c.threads, x, sum, weights->mlp_norm, c.epsilon);
    }
};

} // namespace loupe
