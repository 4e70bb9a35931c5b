// The weight formats by number and by name, for files that choose them at run time.
#pragma once

#include <loupe/core/types.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace loupe::format {

/// What a file's type id means. `decode_row` and `encode_row` work on `count` values, a multiple of `length`.
struct info {
    std::uint32_t id;
    std::string_view name;
    index_t length; ///< values in a block
    index_t bytes;  ///< bytes of a block
    void (*decode_row)(const std::byte* blocks, float* values, index_t count);
    void (*encode_row)(const float* values, std::byte* blocks, index_t count); ///< null where the format has no encoder

    /// Bytes of a row of `width` values, a multiple of `length`.
    constexpr index_t row_bytes(index_t width) const { return width / length * bytes; }
};

} // namespace loupe::format
