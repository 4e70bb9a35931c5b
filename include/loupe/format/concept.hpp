// What a weight format must offer to be used by matmul, loaders and tests.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/core/types.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace loupe::is {

/// A stored form of weights: blocks of `bytes` bytes that hold `length` values. `id` and `name` are those of GGUF.
/// `decode(block, out)` writes `length` values; the block needs no alignment. A format of integers may say where in a block its binary16
/// scales lie (`halves`): as long as these are finite, all values are.
template <class F>
concept weight_format = requires(const std::byte* block, float* out) {
    { F::id } -> std::convertible_to<std::uint32_t>;
    { F::name } -> std::convertible_to<std::string_view>;
    { F::length } -> whole;
    typename constant<F::length>;
    { F::bytes } -> whole;
    typename constant<F::bytes>;
    { F::decode(block, out) }
    noexcept;
};

/// A weight format that values can also be brought into: `encode(in, block)` reads `length` values.
template <class F>
concept encodable_format = weight_format<F> && requires(const float* in, std::byte* block) {
    { F::encode(in, block) }
    noexcept;
};

} // namespace loupe::is

namespace loupe::format {

/// Decodes `count` values, a multiple of F::length, from blocks that lie back to back.
template <is::weight_format F>
inline void decode_row(const std::byte* blocks, float* values, index_t count) {
    if constexpr (requires { F::decode_row(blocks, values, count); })
        F::decode_row(blocks, values, count);
    else
        for (index_t i = 0; i < count; i += F::length, blocks += F::bytes) F::decode(blocks, values + i);
}

/// Whether `count` values, a multiple of F::length, are finite.
template <is::weight_format F>
inline bool all_finite(const std::byte* blocks, index_t count) {
    bool finite = true;
    for (index_t i = 0; i < count; i += F::length, blocks += F::bytes) {
        if constexpr (requires { F::halves; }) {
            for (const index_t at : F::halves) {
                std::uint16_t half;
                __builtin_memcpy(&half, blocks + at, sizeof half);
                finite &= (half & 0x7c00U) != 0x7c00U;
            }
        } else {
            float value[F::length];
            F::decode(blocks, value);
            for (const float v : value) finite &= v - v == 0; // NaN for an infinity or a NaN
        }
    }
    return finite;
}

/// Encodes `count` values, a multiple of F::length, into blocks back to back.
template <is::encodable_format F>
inline void encode_row(const float* values, std::byte* blocks, index_t count) {
    if constexpr (requires { F::encode_row(values, blocks, count); })
        F::encode_row(values, blocks, count);
    else
        for (index_t i = 0; i < count; i += F::length, blocks += F::bytes) F::encode(values + i, blocks);
}

namespace detail {

// Loads for fields that are aligned to nothing. GGUF is little-endian, and so is every machine this is built for.
template <class T>
inline T load(const std::byte* from) noexcept {
    T value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

template <class T>
inline void store(std::byte* to, T value) noexcept {
    __builtin_memcpy(to, &value, sizeof value);
}

// Bytes copied into a local array: std::byte may alias the output, a local array cannot, so the loops behind it vectorise.
template <index_t N>
struct local_bytes {
    std::uint8_t at[N];
    explicit local_bytes(const std::byte* from) noexcept { __builtin_memcpy(at, from, N); }
    constexpr std::uint8_t operator[](index_t i) const noexcept { return at[i]; }
};

} // namespace detail

} // namespace loupe::format
