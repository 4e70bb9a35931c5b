// Blocks of every weight format. The first byte chooses the format and the number of blocks comes from the size; the rest are the blocks.
#include "fuzz.hpp"

#include <loupe/format/formats.hpp>

#include <cstring>
#include <memory>

namespace {

using loupe::index_t;

// The values of blocks that fill a buffer of their own to its last byte, in a row that was filled with `fill` before.
std::vector<float> decoded(const loupe::format::info& format, std::string_view bytes, index_t count, float fill) {
    const std::unique_ptr<std::byte[]> blocks(new std::byte[bytes.size()]);
    std::memcpy(blocks.get(), bytes.data(), bytes.size());
    std::vector<float> values(static_cast<std::size_t>(count), fill);
    format.decode_row(blocks.get(), values.data(), count);
    return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

} // namespace

void fuzz::blocks(std::string_view input) {
    if (input.empty()) return;
    const auto& formats = loupe::format::infos();
    const loupe::format::info& format = *formats[static_cast<unsigned char>(input[0]) % formats.size()];
    input.remove_prefix(1);
    const index_t bytes = static_cast<index_t>(input.size()) / format.bytes * format.bytes, count = bytes / format.bytes * format.length;
    if (count == 0) return;
    input = input.substr(0, static_cast<std::size_t>(bytes));
    const std::vector<float> values = decoded(format, input, count, 1.0F);
    require(same_bits(values, decoded(format, input, count, -2.0F)), "every value is written");
    for (index_t i = 0; i < count; i += format.length) { // a row is its blocks
        const auto at = static_cast<std::size_t>(i);
        const std::vector<float> row(values.begin() + i, values.begin() + i + format.length);
        require(same_bits(row, decoded(format,
                                       input.substr(at / static_cast<std::size_t>(format.length) * static_cast<std::size_t>(format.bytes),
                                                    static_cast<std::size_t>(format.bytes)),
                                       format.length, 0)),
                "a block decodes alone as in a row");
    }
    if (format.encode_row == nullptr) return;
    // The same bytes as floats: any pattern may be encoded, NaN and infinities included.
    const index_t floats = bytes / 4 / format.length * format.length;
    std::vector<float> in(static_cast<std::size_t>(floats));
    if (floats == 0) return;
    std::memcpy(in.data(), input.data(), in.size() * sizeof(float));
    const auto size = static_cast<std::size_t>(format.row_bytes(floats));
    const std::unique_ptr<std::byte[]> out(new std::byte[size]);
    format.encode_row(in.data(), out.get(), floats);
    use(decoded(format, {reinterpret_cast<const char*>(out.get()), size}, floats, 0).size());
}
