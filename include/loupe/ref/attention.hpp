// Grouped-query attention (transformers, Gemma4TextAttention).
//
//   q = rope(norm(x·Wqᵀ)),  k = rope(norm(x·Wkᵀ)),  v = norm(x·Wvᵀ), or with K = V norm(x·Wkᵀ)
//   s[h, j] = softcap(scale · q[h] · k[⌊h·K/H⌋, j])         for the keys j that the query sees; H query heads, K key heads
//   y[h]    = Σ_j softmax(s[h])_j · v[⌊h·K/H⌋, j]
//   out     = concat_h y[h] · Woᵀ
#pragma once

#include <loupe/format/floats.hpp>
#include <loupe/ref/rms_norm.hpp>
#include <loupe/ref/rope.hpp>

#include <algorithm>
#include <concepts>

namespace loupe::ref {

/// H, K and D.
struct head_sizes {
    index_t heads = 0;    ///< H
    index_t kv_heads = 0; ///< K
    index_t width = 0;    ///< D
};

/// Keys (after norm and rope) and values (after norm) of all positions so far: [positions, kv heads · D] each. Nothing is ever forgotten
/// here; what a query sees is the masks' affair alone.
template <class T>
struct key_values {
    matrix<T> keys = zeros<T>(0, 0), values = zeros<T>(0, 0);
};

/// q of a chunk whose first token is at position `first`: x is [tokens, width], the result [tokens, heads · D].
template <class Rope, class QNorm, class T>
matrix<T> queries(const matrix<T>& x, const attention_weights& w, head_sizes sizes, const rope_sizes& rope, index_t first, T epsilon) {
    return rotated<Rope, T>(normed<QNorm, T>(linear(x, w.q), w.q_norm, epsilon, sizes.heads), first, rope);
}

/// k and v of a chunk: x is [tokens, width].
template <class Rope, class KNorm, class VNorm, class T>
key_values<T> keys_and_values(const matrix<T>& x, const attention_weights& w, head_sizes sizes, const rope_sizes& rope, index_t first,
                              bool value_from_key, T epsilon) {
    const matrix<T> k = linear(x, w.k);
    const matrix<T> v = value_from_key ? k : linear(x, w.v); // before norm and rope
    return {rotated<Rope, T>(normed<KNorm, T>(k, w.k_norm, epsilon, sizes.kv_heads), first, rope),
            normed<VNorm, T>(v, {}, epsilon, sizes.kv_heads)};
}

/// x as a cache of that format gives it back. One of floats gives x itself, in whatever precision it is.
template <class Format, class T>
matrix<T> cached(matrix<T> x) {
    if constexpr (!std::same_as<Format, format::f32>) {
        std::vector<std::byte> blocks(static_cast<std::size_t>(width(x) / Format::length * Format::bytes));
        for (index_t t = 0; t < rows(x); ++t) {
            std::vector<float> values(row(x, t).begin(), row(x, t).end());
            format::encode_row<Format>(values.data(), blocks.data(), width(x));
            format::decode_row<Format>(blocks.data(), values.data(), width(x));
            std::copy(values.begin(), values.end(), row(x, t).begin());
        }
    }
    return x;
}

/// In place; by subtraction of the maximum, so that no exponential overflows.
template <class T>
void softmax(std::span<T> s) {
    const T largest = *std::max_element(s.begin(), s.end());
    T sum = 0;
    for (T& x : s) sum += x = std::exp(x - largest);
    for (T& x : s) x /= sum;
}

/// What attention gives: the mix of values, and the probabilities summed over heads, which pruning looks at.
template <class T>
struct attended {
    matrix<T> mix;      ///< [tokens, heads · D], before the output projection
    matrix<T> received; ///< [tokens, positions]
};

/// q: [tokens, heads · D] from position `first` on; `past`: all positions, the chunk's included. sees(query, key) for absolute positions.
template <class SoftCap, class T, class Sees>
attended<T> attend(const matrix<T>& q, const key_values<T>& past, head_sizes sizes, index_t first, T scale, T cap, Sees&& sees) {
    const auto D = static_cast<std::size_t>(sizes.width);
    attended<T> out{zeros<T>(rows(q), width(q)), zeros<T>(rows(q), rows(past.keys))};
    for (index_t t = 0; t < rows(q); ++t) {
        std::vector<index_t> visible;
        for (index_t key = 0; key < rows(past.keys); ++key) {
            if (sees(first + t, key)) visible.push_back(key);
        }
        if (visible.empty()) continue;
        for (index_t h = 0; h < sizes.heads; ++h) {
            const auto at = static_cast<std::size_t>(h) * D, kv_at = static_cast<std::size_t>(h * sizes.kv_heads / sizes.heads) * D;
            const std::span<const T> query = row(q, t).subspan(at, D);
            std::vector<T> s;
            for (const index_t key : visible)
                s.push_back(SoftCap::apply(scale * dot<T>(query, row(past.keys, key).subspan(kv_at, D)), cap));
            softmax<T>(s);
            const std::span<T> y = row(out.mix, t).subspan(at, D);
            for (std::size_t j = 0; j < visible.size(); ++j) {
                const std::span<const T> value = row(past.values, visible[j]).subspan(kv_at, D);
                for (std::size_t i = 0; i < D; ++i) y[i] += s[j] * value[i];
                out.received(t, visible[j]) += s[j];
            }
        }
    }
    return out;
}

} // namespace loupe::ref
