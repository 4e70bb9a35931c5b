// Holds a layer of one's own against what blocks and decoders rely on.
//
//   loupe::check<my_attention<…>>()       in the place of attention_layer, feed_forward_layer, experts_layer, a sublayer or a block
//   loupe::check("mine", f, width)        anything that can be called with (context&, x, out), x and out being [tokens, width]
#pragma once

#include <loupe/check/layer_harness.hpp>
#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/layer/block.hpp>

#include <concepts>
#include <memory>

namespace loupe {

namespace detail {

// One layer is all a stack needs; whoever exposes no probe type is called without a probe.
template <class L>
struct probe_of {
    using type = probe::none;
};
template <class L>
requires requires { typename L::probe_type; }
struct probe_of<L> {
    using type = typename L::probe_type;
};
template <class L>
using context_for = context_of<typename probe_of<L>::type>;

} // namespace detail

namespace is {

/// Made and called like feed_forward_layer.
template <class L>
concept feed_forward_layer = requires(const feed_forward_weights* w, detail::context_for<L>& c, matrix_view<const float> x,
                                      matrix_view<float> out) {
    {L{w, index_t{0}}(c, x, out)};
};

/// Made and called like experts_layer.
template <class L>
concept experts_layer = requires(const expert_weights* w, detail::context_for<L>& c, matrix_view<const float> x, matrix_view<float> out) {
    {L{w, index_t{0}, index_t{2}, index_t{1}}(c, x, out)};
};

/// Made and called like attention_layer.
template <class L>
concept attention_layer = requires(const attention_weights* w, attention_sizes sizes, detail::context_for<L>& c, rope_table& rope,
                                   matrix_view<const float> x, kv_cache& cache, matrix_view<float> out) {
    { L::owns_kv } -> std::convertible_to<bool>;
    {L{w, sizes}(c, rope, x, cache, out)};
};

/// Made and called like dense_sublayer and experts_sublayer: x is changed in place.
template <class L>
concept sublayer = requires(const block_weights& w, detail::context_for<L>& c, matrix_view<float> x) {
    {L(w, index_t{0}, index_t{2}, index_t{1})(c, x)};
};

/// Made and called like block: x is changed in place.
template <class L>
concept block_layer = requires(const block_weights& w, attention_sizes sizes, detail::context_for<L>& c, rope_table& rope,
                               matrix_view<float> x, matrix_view<const float> per_layer, kv_cache& cache) {
    { L::owns_kv } -> std::convertible_to<bool>;
    {L(w, sizes, index_t{2}, index_t{1}, 1.0F)(c, rope, x, per_layer, cache)};
};

/// Any of them.
template <class L>
concept layer = feed_forward_layer<L> || experts_layer<L> || attention_layer<L> || sublayer<L> || block_layer<L>;

/// Can be called with (context&, x, out).
template <class F>
concept row_function = std::invocable<const F&, context&, matrix_view<const float>, matrix_view<float>>;

} // namespace is

namespace detail {

/// What attention and blocks are given beside their rows.
struct attention_on_trial {
    weights_on_trial weights;
    attention_sizes sizes{};
    kv_cache empty; ///< as a sequence begins with it

    attention_on_trial(const layer_sizes& s, bool turned, index_t reach, bool owns_kv)
        : weights(s, turned), empty(s.kv_heads, s.head_width, 0, owns_kv ? reach : 0) {
        sizes.heads = s.heads, sizes.kv_heads = s.kv_heads, sizes.head_width = s.head_width;
        sizes.mask.window = 4;
        if (owns_kv) return;
        // The donor's keys and values, for all positions that the trials reach.
        constexpr index_t positions = 160;
        empty.make_room(0, positions);
        std::vector<float> key(static_cast<std::size_t>(empty.width())), value(key.size());
        for (index_t p = 0; p < positions; ++p) {
            for (index_t g = 0; g < s.kv_heads; ++g) {
                const index_t at = (turned ? (g + 1) % s.kv_heads : g) * s.head_width;
                numbers random(static_cast<std::uint64_t>(p * 64 + g));
                random.fill(std::span(key).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(s.head_width)));
                random.fill(std::span(value).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(s.head_width)));
            }
            empty.write(p, key, value);
        }
    }
};

} // namespace detail

/// A layer by its type, made of random weights at sizes from small to large. It writes all of its output and nothing else, into memory that
/// holds anything; finite rows stay finite, zeros, tiny and large ones too; the same bits each time, on one thread and two, in one piece
/// and in chunks of 1, 7, 16 and about 64, after a rewind, for some rows alone, and with another sequence read in between; attention
/// rotates by the table that it is handed; no row depends on a later one; the order of heads does not matter.
template <is::layer Layer>
verdict check(layer_trials trials = {}) {
    using kind = detail::kind_of_layer;
    using detail::layer_sizes;
    using probe_type = typename detail::probe_of<Layer>::type;
    kind k;
    std::string family;
    if constexpr (is::attention_layer<Layer>) {
        family = "attention ";
        k = {.sizes = kind::needs::heads, .takes_wanted = !Layer::owns_kv, .rotates = true};
        k.make = [reach = trials.reach](const layer_sizes& s, bool turned) {
            struct made {
                detail::attention_on_trial parts;
                const Layer layer{&parts.weights.block.attention, parts.sizes};
            };
            const std::shared_ptr<const made> all(new made{{s, turned, reach, Layer::owns_kv}}); // in place: it points into itself
            return [all] {
                const auto cache = std::make_shared<kv_cache>(all->parts.empty);
                const auto read = [all, cache](context& c, rope_table& rope, matrix_view<float> x, matrix_view<float> out) {
                    probe_type probe{};
                    auto watched = watched_by(probe, c);
                    all->layer(watched, rope, x, *cache, out);
                };
                return detail::layer_on_trial{read, [cache](index_t position) { return cache->can_rewind(position); }};
            };
        };
    } else if constexpr (is::block_layer<Layer>) {
        family = "block ";
        k = {.sizes = kind::needs::everything,
             .in_place = true,
             .takes_wanted = !Layer::owns_kv,
             .rotates = true,
             .x = &workspace::residual};
        k.make = [reach = trials.reach](const layer_sizes& s, bool turned) {
            struct made {
                detail::attention_on_trial parts;
                layer_sizes sizes;
                const Layer layer = Layer(parts.weights.block, parts.sizes, sizes.experts, sizes.used, 0.75F);
            };
            const std::shared_ptr<const made> all(new made{{s, turned, reach, Layer::owns_kv}, s});
            return [all] {
                const auto cache = std::make_shared<kv_cache>(all->parts.empty);
                const auto read = [all, cache](context& c, rope_table& rope, matrix_view<float> x, matrix_view<float>) {
                    probe_type probe{};
                    std::vector<float> inputs;
                    for (index_t t = 0; t < x.rows; ++t) {
                        detail::numbers random(static_cast<std::uint64_t>(c.position_of(t)));
                        for (index_t i = 0; i < all->sizes.per_layer; ++i) inputs.push_back(static_cast<float>(random()));
                    }
                    auto watched = watched_by(probe, c);
                    all->layer(watched, rope, x, {inputs.data(), x.rows, all->sizes.per_layer}, *cache);
                };
                return detail::layer_on_trial{read, [cache](index_t position) { return cache->can_rewind(position); }};
            };
        };
    } else {
        constexpr bool in_place = is::sublayer<Layer>, experts = is::experts_layer<Layer>;
        family = in_place ? "sublayer " : experts ? "experts " : "feed-forward ";
        k = {.sizes = in_place || experts ? kind::needs::experts : kind::needs::hidden, .in_place = in_place, .takes_wanted = true};
        if (in_place || experts) k.x = &workspace::residual;
        if (experts) k.out = &workspace::second;
        k.make = [](const layer_sizes& s, bool) {
            struct made {
                detail::weights_on_trial weights;
                layer_sizes sizes;
                const Layer layer = of(weights.block, sizes);

                static Layer of(const block_weights& w, const layer_sizes& sizes) {
                    if constexpr (in_place)
                        return Layer(w, 0, sizes.experts, sizes.used);
                    else if constexpr (experts)
                        return Layer{&w.experts, 0, sizes.experts, sizes.used};
                    else
                        return Layer{&w.mlp, 0};
                }
            };
            const std::shared_ptr<const made> all(new made{{s, false}, s});
            return [all] {
                return detail::layer_on_trial{[all](context& c, rope_table&, matrix_view<float> x, matrix_view<float> out) {
                    probe_type probe{};
                    auto watched = watched_by(probe, c);
                    if constexpr (in_place) {
                        static_cast<void>(out);
                        all->layer(watched, x);
                    } else {
                        all->layer(watched, x, out);
                    }
                }};
            };
        };
    }
    return detail::hold_layer(family + type_name<Layer>(), k, trials);
}

/// A layer as something that is called with (context&, x, out), x and out being [tokens, width]; it may keep state between calls, and
/// begins a new sequence when `context.position` is 0. Held against the same rules, at this width.
template <is::row_function Layer>
verdict check(std::string_view name, const Layer& layer, index_t width, layer_trials trials = {}) {
    detail::kind_of_layer k{.holds_sequences = false, .width = width};
    k.make = [&layer](const detail::layer_sizes&, bool) {
        return [&layer] {
            return detail::layer_on_trial{
                [&layer](context& c, rope_table&, matrix_view<float> x, matrix_view<float> out) { layer(c, x, out); }};
        };
    };
    return detail::hold_layer("layer " + std::string(name), k, trials);
}

} // namespace loupe
