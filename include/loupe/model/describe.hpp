// A model as something to print: the tree of its parts with shapes and parameter counts, as text and as JSON.
#pragma once

#include <loupe/core/type_name.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/model/check.hpp>
#include <loupe/model/rules.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace loupe {

/// A part of a model: what it is, its shape if it is one tensor, the parameters of it and all below, the policy that fills its slot.
struct part_node {
    std::string name;
    std::string shape;
    index_t parameters = 0;
    std::string policy;
    std::vector<part_node> children;
};

/// Sizes as a composition's card has them.
template <is::model M>
requires is::card_type<part_of<M, part::sizes>> dimensions dimensions_of() {
    constexpr card c = part_of<M, part::sizes>::value;
    dimensions d;
    d.family = c.family;
    d.vocabulary = c.vocabulary, d.width = c.width, d.heads = c.heads, d.window = c.window, d.per_layer_width = c.per_layer_width;
    d.experts = c.experts, d.experts_used = c.experts_used, d.expert_width = c.expert_width, d.context = c.context;
    d.rope_sliding = {0, c.theta_sliding, 1, 1};
    d.rope_full = {0, c.theta_full, c.rope_share_full, c.rope_factor_full};
    d.score_scale = c.score_scale, d.attention_cap = c.attention_cap, d.final_cap = c.final_cap, d.epsilon = c.epsilon;
    d.value_from_key = part_of<M, part::value_full>::from_key;
    d.images_see_themselves = part_of<M, part::image_mask>::sees_block;
    for (index_t i = 0; i < c.blocks; ++i) {
        const bool full = c.is_full(i), shared = i >= c.blocks - c.kv_shared_blocks;
        d.block.push_back({full, shared, full ? c.head_width_full : c.head_width_sliding, full ? c.kv_heads_full : c.kv_heads_sliding,
                           part_of<M, part::feed_forward>::width(c.mlp_width, shared)});
    }
    return d;
}

namespace detail {

inline std::string count_text(index_t n) {
    if (n >= 1'000'000'000) return fmt::format("{:.2f} B", static_cast<double>(n) * 1e-9);
    if (n >= 1'000'000) return fmt::format("{:.1f} M", static_cast<double>(n) * 1e-6);
    if (n >= 10'000) return fmt::format("{:.1f} k", static_cast<double>(n) * 1e-3);
    return fmt::format("{}", n);
}

/// "0–3, 5–8, 10"
inline std::string ranges_text(const std::vector<index_t>& sorted) {
    std::string text;
    for (std::size_t i = 0; i < sorted.size();) {
        std::size_t j = i;
        while (j + 1 < sorted.size() && sorted[j + 1] == sorted[j] + 1) ++j;
        text += (text.empty() ? "" : ", ") + std::to_string(sorted[i]) + (j > i ? "–" + std::to_string(sorted[j]) : "");
        i = j + 1;
    }
    return text;
}

inline part_node tensor_node(std::string name, std::vector<index_t> shape, std::string policy = "") {
    part_node n{std::move(name), "[", 1, std::move(policy), {}};
    for (std::size_t i = 0; i < shape.size(); ++i) {
        n.shape += (i != 0 ? ", " : "") + std::to_string(shape[i]);
        n.parameters *= shape[i];
    }
    n.shape += "]";
    return n;
}

inline part_node group_node(std::string name, std::string policy, std::vector<part_node> children) {
    part_node n{std::move(name), "", 0, std::move(policy), std::move(children)};
    for (const part_node& c : n.children) n.parameters += c.parameters;
    return n;
}

template <class M, class Part>
std::string policy_name() {
    return type_name<part_of<M, Part>>();
}

/// Keys and values of a block: whether the model stores projections for them, and whether its attention uses those, not a donor's keys.
struct kv_place {
    bool stored = false, own = false;
};

inline std::vector<kv_place> kv_places(const composition_numbers& m, const dimensions& d) {
    const auto full = kinds_of_blocks(d);
    std::vector<kv_place> places;
    for (index_t i = 0; i < d.blocks(); ++i) {
        const bool own = m.donor(i, {full.get(), d.block.size()}, d.first_shared()) == i;
        places.push_back({own || !d[i].shares_kv, own}); // a decoder refuses weights that lack what is its own
    }
    return places;
}

template <is::model M>
part_node attention_node(const dimensions& d, const block_dimensions& b, kv_place place) {
    const index_t q = d.heads * b.head_width, kv = b.kv_heads * b.head_width;
    const bool from_key = b.full && part_of<M, part::value_full>::from_key;
    const std::string unread = place.own ? "" : "not used";
    std::vector<part_node> parts;
    parts.push_back(tensor_node("query projection", {q, d.width}));
    if (place.stored) {
        parts.push_back(tensor_node("key projection", {kv, d.width}, unread));
        if (!(b.full && d.value_from_key)) parts.push_back(tensor_node("value projection", {kv, d.width}, from_key ? "not used" : unread));
    }
    parts.push_back(tensor_node("query norm", {b.head_width}, policy_name<M, part::q_norm>()));
    if (place.stored) parts.push_back(tensor_node("key norm", {b.head_width}, place.own ? policy_name<M, part::k_norm>() : unread));
    if (place.own) {
        parts.push_back({"values", "", 0, (from_key ? "the key projection, " : "") + policy_name<M, part::v_norm>(), {}});
    } else {
        parts.push_back({"keys and values", "", 0, "of an earlier block: " + policy_name<M, part::kv_sharing>(), {}});
    }
    parts.push_back({"rope", "", 0, b.full ? policy_name<M, part::rope_full>() : policy_name<M, part::rope_sliding>(), {}});
    parts.push_back({"mask", "", 0, b.full ? policy_name<M, part::mask_full>() : policy_name<M, part::mask_sliding>(), {}});
    std::string cache = b.full ? policy_name<M, part::kv>() : "";
    if (place.own) cache += (cache.empty() ? "" : ", ") + policy_name<M, part::kv_format>();
    if (!cache.empty()) parts.push_back({"cache", "", 0, cache, {}});
    parts.push_back({"score", "", 0, policy_name<M, part::score_scale>() + ", " + policy_name<M, part::attention_softcap>(), {}});
    parts.push_back(tensor_node("output projection", {d.width, q}));
    return group_node("attention",
                      fmt::format("{} heads of {}, {} key head{}", d.heads, b.head_width, b.kv_heads, b.kv_heads == 1 ? "" : "s"),
                      std::move(parts));
}

template <is::model M>
part_node block_node(const dimensions& d, const block_dimensions& b, kv_place place) {
    std::vector<part_node> parts;
    const std::string post = policy_name<M, part::post_norms>(), act = policy_name<M, part::activation>();
    parts.push_back(tensor_node("input norm", {d.width}));
    parts.push_back(attention_node<M>(d, b, place));
    parts.push_back(tensor_node("post-attention norm", {d.width}, post));
    parts.push_back(tensor_node("feed-forward input norm", {d.width}));
    parts.push_back(group_node("feed-forward", act,
                               {tensor_node("gate", {b.mlp_width, d.width}), tensor_node("up", {b.mlp_width, d.width}),
                                tensor_node("down", {d.width, b.mlp_width})}));
    if constexpr (part_of<M, part::feed_forward>::has_experts) {
        const index_t used = part_of<M, part::experts_used>::count(d.experts_used);
        parts.push_back(tensor_node("dense branch norm", {d.width},
                                    std::string(part_of<M, part::dense_branch>::enabled ? "" : "switched off, ") + post));
        parts.push_back(group_node("experts", fmt::format("{} of {}, {}, {}", used, d.experts, policy_name<M, part::router>(), act),
                                   {tensor_node("router", {d.experts, d.width}), tensor_node("router scale", {d.width}),
                                    tensor_node("expert scale", {d.experts}), tensor_node("input norm", {d.width}),
                                    tensor_node("gate and up", {d.experts, 2 * d.expert_width, d.width}),
                                    tensor_node("down", {d.experts, d.width, d.expert_width}), tensor_node("norm", {d.width}, post)}));
    }
    parts.push_back(tensor_node("post-feed-forward norm", {d.width}, post));
    if (d.per_layer_width > 0) {
        parts.push_back(group_node("per-layer input", policy_name<M, part::per_layer_input>(),
                                   {tensor_node("gate", {d.per_layer_width, d.width}),
                                    tensor_node("projection", {d.width, d.per_layer_width}), tensor_node("norm", {d.width})}));
    }
    if (d.family == "gemma4") parts.push_back(tensor_node("layer scalar", {1}, policy_name<M, part::layer_scalar>()));
    return group_node("", "", std::move(parts));
}

inline void print_node(const part_node& n, const std::string& indent, std::string& out) {
    std::string line = indent + n.name;
    const auto width = static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
    line += std::string(width < 34 ? 34 - width : 1, ' ');
    line += fmt::format("{:<20} {:>9}  {}", n.shape, n.parameters > 0 ? count_text(n.parameters) : "", n.policy);
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    for (const part_node& c : n.children) print_node(c, indent + "  ", out);
}

} // namespace detail

/// The tree of a composition at given sizes; `tied`: the head is the token embedding. Blocks of one kind stand once, with how often they
/// occur; counts are of all of them.
template <is::model M>
part_node tree_of(const dimensions& d, bool tied = true) {
    using namespace detail;
    std::vector<part_node> parts;
    parts.push_back(tensor_node("token embedding", {d.vocabulary, d.width}, policy_name<M, part::embedding_scale>()));
    if (d.per_layer_width > 0) {
        const index_t all = d.blocks() * d.per_layer_width;
        parts.push_back(group_node("per-layer inputs", policy_name<M, part::per_layer_input>(),
                                   {tensor_node("table", {d.vocabulary, all}), tensor_node("projection", {all, d.width}),
                                    tensor_node("norm", {d.per_layer_width})}));
    }
    const auto places = kv_places(numbers_of<M>, d);
    const auto place_of = [&](index_t i) { return places[static_cast<std::size_t>(i)]; };
    std::map<std::tuple<bool, bool, bool, index_t, index_t, index_t>, std::vector<index_t>> kinds;
    for (index_t i = 0; i < d.blocks(); ++i)
        kinds[{d[i].full, place_of(i).stored, place_of(i).own, d[i].head_width, d[i].kv_heads, d[i].mlp_width}].push_back(i);
    std::vector<std::vector<index_t>> groups;
    for (auto& [key, members] : kinds) groups.push_back(members);
    std::sort(groups.begin(), groups.end());
    for (const auto& members : groups) {
        const block_dimensions& b = d[members.front()];
        const kv_place place = place_of(members.front());
        part_node n = block_node<M>(d, b, place);
        n.name = fmt::format("{} × {} block", members.size(), b.full ? "full" : "sliding");
        n.policy = fmt::format("{}{}", ranges_text(members),
                               !place.own ? ", shared keys"
                               : b.full   ? ""
                                          : fmt::format(", window {}", d.window));
        n.parameters *= static_cast<index_t>(members.size());
        parts.push_back(std::move(n));
    }
    parts.push_back(tensor_node("final norm", {d.width}));
    const std::string cap = policy_name<M, part::final_softcap>();
    parts.push_back(tied ? part_node{"head", "", 0, "tied to the embedding, " + cap, {}}
                         : tensor_node("head", {d.vocabulary, d.width}, cap));
    parts.push_back({"threads", "", 0, policy_name<M, part::executor>(), {}});
    return group_node("decoder", fmt::format("{} blocks, width {}", d.blocks(), d.width), std::move(parts));
}

/// Tree as text, at most about 100 columns wide.
inline std::string to_text(const part_node& tree) {
    std::string out;
    detail::print_node(tree, "", out);
    return out;
}

/// Tree as JSON: name, shape, parameters, policy, children.
inline nlohmann::ordered_json to_json(const part_node& tree) {
    nlohmann::ordered_json j{{"name", tree.name}, {"shape", tree.shape}, {"parameters", tree.parameters}, {"policy", tree.policy}};
    j["children"] = nlohmann::ordered_json::array();
    for (const part_node& c : tree.children) j["children"].push_back(to_json(c));
    return j;
}

/// `describe<gemma4::e2b>()`: the tree of a composition that has a card.
template <is::model M>
requires is::card_type<part_of<M, part::sizes>> part_node describe() { return tree_of<M>(dimensions_of<M>()); }

namespace detail {

/// What distinguishes sizes from a card; empty if nothing does.
template <is::model M>
std::string card_mismatch(const dimensions& d) {
    try {
        check_card(d, part_of<M, part::sizes>::value, "sizes");
        check_widths(numbers_of<M>, d, "sizes");
        return "";
    } catch (const error& e) {
        const std::string text = e.what();
        return text.substr(text.find(": ") + 2);
    }
}

/// How a composition for the sizes of a file differs from a stock variant. What the file decides is none where it decides alike: widths,
/// which are compared as sizes, and whether images see themselves.
template <is::model M, is::model OfFile>
std::string parts_that_differ(const dimensions& d) {
    using part::feed_forward, part::image_mask, part::sizes;
    return d.images_see_themselves == part_of<M, image_mask>::sees_block ? diff<M, OfFile, sizes, feed_forward, image_mask>()
                                                                         : diff<M, OfFile, sizes, feed_forward>();
}

/// Bytes by format, each tensor once.
inline std::map<std::string, std::pair<index_t, index_t>> bytes_by_format(const decoder_weights& w) {
    std::map<std::string, std::pair<index_t, index_t>> out;
    std::vector<const std::byte*> seen;
    const auto take = [&](const weight_matrix& m) {
        if (!m.exists() || std::find(seen.begin(), seen.end(), m.data) != seen.end()) return;
        seen.push_back(m.data);
        auto& [count, bytes] = out[std::string(m.format->name)];
        ++count;
        bytes += m.bytes();
    };
    for (const weight_matrix* m : {&w.embedding, &w.head, &w.per_layer_table, &w.per_layer_projection}) take(*m);
    for (const block_weights& b : w.block) {
        for (const weight_matrix* m :
             {&b.attention.q, &b.attention.k, &b.attention.v, &b.attention.o, &b.mlp.gate, &b.mlp.up, &b.mlp.down, &b.experts.router,
              &b.experts.gate.all, &b.experts.up.all, &b.experts.down.all, &b.per_layer.gate, &b.per_layer.projection}) {
            take(*m);
        }
    }
    return out;
}

} // namespace detail

/// What a file holds, for a reader: tree, formats, and how it differs from the composition of `Cards` that is nearest.
template <is::model Base, is::model... Cards>
std::string describe_checkpoint(const dimensions& d, const decoder_weights& w, bool json) {
    std::string nearest, mismatch, parts;
    std::size_t fewest = std::string::npos;
    const auto consider = [&]<class M>() {
        const std::string m = detail::card_mismatch<M>(d);
        const auto differences = m.empty() ? 0 : static_cast<std::size_t>(std::count(m.begin(), m.end(), ',')) + 1;
        if (differences < fewest) {
            fewest = differences;
            nearest = part_of<M, part::sizes>::value.name;
            mismatch = m;
            parts = detail::parts_that_differ<M, Base>(d);
        }
    };
    (consider.template operator()<Cards>(), ...);
    const part_node tree = tree_of<Base>(d, w.head.data == w.embedding.data);
    const auto formats = detail::bytes_by_format(w);
    if (json) {
        nlohmann::ordered_json j{{"nearest", nearest}, {"differs_in", mismatch}, {"differs_in_parts", parts}, {"tree", to_json(tree)}};
        for (const auto& [name, v] : formats) j["formats"][name] = {{"tensors", v.first}, {"bytes", v.second}};
        return j.dump(2) + "\n";
    }
    std::string out = to_text(tree);
    out += "\nmatrices by format\n";
    for (const auto& [name, v] : formats) out += fmt::format("  {:<8} {:>5} tensors {:>14} bytes\n", name, v.first, v.second);
    out += mismatch.empty() ? fmt::format("\nsizes are those of {}\n", nearest)
                            : fmt::format("\nnearest stock variant: {}; {}\n", nearest, mismatch);
    if (!parts.empty()) out += fmt::format("parts that differ from it: {}\n", parts);
    return out;
}

} // namespace loupe
