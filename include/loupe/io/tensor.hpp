// A tensor as it lies in a file.
#pragma once

#include <loupe/core/types.hpp>
#include <loupe/format/registry.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace loupe::io {

/// A named tensor, in a mapped file or in memory. The bytes stay where they are; `owner` keeps them.
struct tensor {
    std::string name;
    const format::info* format = nullptr; ///< how the values are stored; never null
    std::vector<index_t> shape;           ///< outermost dimension first (the last one is contiguous); may be empty for a scalar
    const std::byte* data = nullptr;
    index_t bytes = 0;
    std::string file; ///< for messages
    std::shared_ptr<const void> owner;

    /// Number of values.
    index_t count() const {
        index_t n = 1;
        for (const index_t d : shape) n *= d;
        return n;
    }
};

/// "[2048, 256]"
inline std::string shape_text(const std::vector<index_t>& shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i != 0 ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

} // namespace loupe::io
