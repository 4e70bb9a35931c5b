// Rewrites weight matrices as slot::weights says, and counts their bytes.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/error.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/layer/weights.hpp>
#include <loupe/model/dimensions.hpp>
#include <loupe/policy/weights.hpp>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace loupe::io {

namespace detail {

/// Calls f(matrix, name) for every matrix of a decoder; tied and merged ones come more than once.
template <class Weights, class F>
void for_each_matrix(Weights& w, F&& f) {
    f(w.embedding, "embedding");
    f(w.head, "head");
    f(w.per_layer_table, "per-layer table");
    f(w.per_layer_projection, "per-layer projection");
    for (auto& b : w.block) {
        f(b.attention.q, "query projection"), f(b.attention.k, "key projection"), f(b.attention.v, "value projection");
        f(b.attention.o, "output projection");
        f(b.mlp.gate, "gate"), f(b.mlp.up, "up"), f(b.mlp.down, "down");
        f(b.experts.router, "router");
        f(b.experts.gate.all, "expert gate"), f(b.experts.up.all, "expert up"), f(b.experts.down.all, "expert down");
        f(b.per_layer.gate, "per-layer gate"), f(b.per_layer.projection, "per-layer output");
    }
}

/// Lays matrices out for the products that `products_for` knows for their formats. Not the router, whose choices are discrete; not
/// tables, whose rows are read one at a time; not experts whose matrices do not begin at a strip. Where they begin at no bundle, bundles
/// are smaller.
inline void pack_matrices(decoder_weights& w, const kernel::packed_products* (*products_for)(const format::info&), executor& threads) {
    std::map<std::pair<const std::byte*, index_t>, std::shared_ptr<const std::byte>> done; // tied and merged matrices are packed once
    arena memory;
    // `beginnings`: rows at which a bundle must begin, since slices of the matrix do
    const auto pack = [&](weight_matrix& m, std::initializer_list<index_t> beginnings = {}) {
        const kernel::packed_products* products = m.exists() ? products_for(*m.format) : nullptr;
        if (products == nullptr) return;
        kernel::weight_view view = kernel::for_products(m, *products);
        const auto fits = [&](index_t row) { return row % (view.bundle * products->rows) == 0; };
        while (view.bundle > 1 && !std::ranges::all_of(beginnings, fits)) view.bundle /= 2;
        if (!std::ranges::all_of(beginnings, fits)) return;
        auto& packed = done[{m.data, view.bundle}];
        if (!packed) {
            const auto fresh = memory.take(static_cast<std::size_t>(kernel::packed_bytes(view)));
            kernel::pack(view, fresh.get(), threads);
            packed = fresh;
            forget(m.owner, m.data, m.bytes());
        }
        view.packed = packed.get();
        static_cast<kernel::weight_view&>(m) = view;
        m.owner_of_packed = packed;
    };
    const auto pack_experts = [&](expert_matrices& e) { pack(e.all, {e.rows_each, e.stride, e.offset}); };
    pack(w.head);
    pack(w.per_layer_projection);
    for (block_weights& b : w.block) {
        for (weight_matrix* m : {&b.attention.q, &b.attention.k, &b.attention.v, &b.attention.o, &b.mlp.gate, &b.mlp.up, &b.mlp.down,
                                 &b.per_layer.gate, &b.per_layer.projection}) {
            pack(*m);
        }
        for (expert_matrices* e : {&b.experts.gate, &b.experts.up, &b.experts.down}) pack_experts(*e);
    }
}

/// Stores matrices anew as a policy says.
template <class Policy>
void requantize_matrices(decoder_weights& w, executor& threads) {
    const format::info& target = format::info_of<typename Policy::format>();
    std::map<const std::byte*, std::shared_ptr<std::vector<std::byte>>> done;
    for_each_matrix(w, [&](weight_matrix& m, const char* name) {
        const std::string_view kind = name;
        if (!m.exists() || kind == "router" || kind == "per-layer projection") return;
        if (m.width % target.length != 0) {
            throw error(fmt::format("requantise to {}: expected rows of a multiple of {} weights, found {} in a matrix ({})", target.name,
                                    target.length, m.width, name));
        }
        auto& bytes = done[m.data];
        if (!bytes) {
            bytes = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(m.rows * target.row_bytes(m.width)));
            threads.for_ranges(m.rows, 64, [&](index_t first, index_t last) {
                std::vector<float> row(static_cast<std::size_t>(m.width));
                for (index_t r = first; r < last; ++r) {
                    m.decode_row(r, row.data());
                    Policy::prepare(std::span<float>(row));
                    target.encode_row(row.data(), bytes->data() + r * target.row_bytes(m.width), m.width);
                }
            });
        }
        m.format = &target;
        m.data = bytes->data();
        m.owner = bytes;
        m.products = nullptr; // what was packed is what the weights were
        m.packed = nullptr;
        m.bundle = 1;
        m.owner_of_packed.reset();
    });
}

} // namespace detail

/// Weights as the policy wants them: the same object for weights::as_stored, otherwise a copy whose matrices are stored in the policy's
/// format (but router and per-layer projection), laid out for integer products, or both. An error names the matrix whose width the format's
/// blocks do not divide.
template <is::weights Policy>
std::shared_ptr<const decoder_weights> prepare_weights(std::shared_ptr<const decoder_weights> stored, executor& threads) {
    constexpr bool packs = requires(const format::info& f) { Policy::products(f); };
    if constexpr (!Policy::enabled && !packs) {
        return stored;
    } else {
        auto out = std::make_shared<decoder_weights>(*stored);
        if constexpr (Policy::enabled) detail::requantize_matrices<Policy>(*out, threads);
        if constexpr (packs) detail::pack_matrices(*out, &Policy::products, threads);
        return out;
    }
}
/// Bytes of all weights, each tensor counted once.
inline index_t bytes_of(const decoder_weights& w) {
    std::set<const std::byte*> seen;
    index_t bytes = 0;
    detail::for_each_matrix(w, [&](const weight_matrix& m, const char*) {
        if (m.exists() && seen.insert(m.data).second) bytes += m.bytes();
    });
    index_t values = static_cast<index_t>(w.final_norm.size() + w.per_layer_norm.size());
    for (const block_weights& b : w.block) {
        for (const gain* g : {&b.input_norm, &b.attention_norm, &b.mlp_input_norm, &b.mlp_norm, &b.attention.q_norm, &b.attention.k_norm,
                              &b.experts.router_scale, &b.experts.expert_scale, &b.experts.input_norm, &b.experts.dense_norm,
                              &b.experts.experts_norm, &b.per_layer.norm}) {
            values += static_cast<index_t>(g->size());
        }
        ++values; // the scalar
    }
    return bytes + values * static_cast<index_t>(sizeof(float));
}

/// Bytes of matrices, in the formats they are stored in, that one token reads: all but tables, of which it reads a row, and of a block's
/// experts those that it uses; not keys and values of blocks that share another's, which some files keep.
inline index_t bytes_per_token(const decoder_weights& w, const dimensions& sizes) {
    std::set<const std::byte*> seen;
    for (index_t i = 0; i < sizes.blocks(); ++i) {
        const attention_weights& a = w.block[static_cast<std::size_t>(i)].attention;
        if (sizes[i].shares_kv) seen.insert({a.k.data, a.v.data});
    }
    index_t bytes = 0;
    detail::for_each_matrix(w, [&](const weight_matrix& m, std::string_view name) {
        if (!m.exists() || name == "embedding" || name == "per-layer table" || !seen.insert(m.data).second) return;
        bytes += name.starts_with("expert ") ? m.bytes() / sizes.experts * sizes.experts_used : m.bytes();
    });
    return bytes;
}

} // namespace loupe::io
