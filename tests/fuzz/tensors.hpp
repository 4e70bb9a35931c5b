// Reading the values of tensors.
#pragma once

#include "fuzz.hpp"

#include <loupe/io/tensor.hpp>

#include <algorithm>

namespace fuzz {

/// Decodes all values, block by block.
inline void read_values(const std::vector<loupe::io::tensor>& tensors) {
    float values[256];
    for (const loupe::io::tensor& t : tensors) {
        require(t.format != nullptr && t.format->length <= 256, "a tensor has a format");
        require(t.count() / t.format->length * t.format->bytes == t.bytes, "a tensor has the bytes of its shape");
        for (loupe::index_t at = 0; at < t.bytes; at += t.format->bytes) t.format->decode_row(t.data + at, values, t.format->length);
        use(values);
    }
}

} // namespace fuzz
