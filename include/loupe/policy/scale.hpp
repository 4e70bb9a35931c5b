// Values of slot::embedding_scale, slot::score_scale, slot::layer_scalar: one number each.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/half.hpp>
#include <loupe/core/types.hpp>

#include <bit>
#include <cmath>
#include <concepts>
#include <ratio>

namespace loupe {

/// How the token embedding is stored: its scale is rounded to that precision (transformers, Gemma4TextScaledWordEmbedding).
enum class table_precision { float32, float16, bfloat16 };

/// What a score scale may depend on.
struct score_sizes {
    index_t head_width; ///< values in a head
    double stored;      ///< the model's own factor: 1 in Gemma 4, query_pre_attn_scalar^(-1/2) in Gemma 3
};

namespace is {

/// A factor on looked-up embedding rows: `T::factor(width, precision)` gives a double.
template <class T>
concept embedding_scale = requires(index_t width, table_precision precision) {
    { T::factor(width, precision) } -> std::convertible_to<double>;
};

/// A factor on attention scores: `T::factor(score_sizes)` gives a double.
template <class T>
concept score_scale = requires(score_sizes sizes) {
    { T::factor(sizes) } -> std::convertible_to<double>;
};

/// The number that multiplies the residual stream after a block: `T::value(stored)` gives a float.
template <class T>
concept layer_scalar = requires(float stored) {
    { T::value(stored) } -> std::convertible_to<float>;
};

} // namespace is

namespace scale {

/// √width, rounded to the precision of the embedding table (Gemma 1 to 4; a quantised table counts as float32).
struct sqrt_width {
    static double factor(index_t width, table_precision precision) {
        const auto root = static_cast<float>(std::sqrt(static_cast<double>(width)));
        switch (precision) {
        case table_precision::bfloat16:
            return bfloat16_to_float(float_to_bfloat16(root));
        case table_precision::float16:
            return half_to_float(float_to_half(root));
        case table_precision::float32:
            break;
        }
        return root;
    }
};

/// The scores' factor that the model was trained with.
struct stored {
    static constexpr double factor(score_sizes sizes) { return sizes.stored; }
};

/// The model's factor times a ratio: `scale::times<std::ratio<1, 2>>` halves every score.
template <is::ratio Ratio>
struct times {
    static constexpr double factor(score_sizes sizes) { return sizes.stored * Ratio::num / Ratio::den; }
};

/// 1/√head width (Vaswani et al. 2017, eq. 1), whatever the model was trained with.
struct inverse_sqrt_head_width {
    static double factor(score_sizes sizes) { return 1.0 / std::sqrt(static_cast<double>(sizes.head_width)); }
};

/// No scaling: of embeddings or of scores.
struct one {
    static constexpr double factor(index_t, table_precision) { return 1.0; }
    static constexpr double factor(score_sizes) { return 1.0; }
};

} // namespace scale

namespace layer_scalar {

/// As the checkpoint has it (Gemma 4); 1 where it has none (Gemma 3).
struct stored {
    static constexpr float value(float stored) { return stored; }
};

/// No scaling of the residual stream.
struct one {
    static constexpr float value(float) { return 1.0F; }
};

} // namespace layer_scalar

} // namespace loupe
