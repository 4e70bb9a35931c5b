// NumPy's .npy files (NEP 1, format 1.0), little-endian and in C order.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>
#include <loupe/format/concept.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/io/tensor.hpp>

#include <bit>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace loupe::io {

namespace npy {

/// Values of a .npy file, in C order: the last dimension of `shape` is contiguous. An empty shape is one value.
template <class T>
struct array {
    std::vector<index_t> shape;
    std::vector<T> values;
};

namespace detail {

struct header {
    std::string type;
    std::vector<index_t> shape;
};

// The header is a Python dictionary with three keys in any order: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class header_reader {
    std::string_view text_;
    const std::string& path_;
    std::size_t at_ = 0;

    [[noreturn]] void fail(const char* expected) const {
        throw error(fmt::format("{}: byte {}: expected {} in the header", path_, 10 + at_, expected));
    }
    void blanks() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
    }
    bool take(char c) {
        blanks();
        if (at_ == text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }
    void expect(char c, const char* name) {
        if (!take(c)) fail(name);
    }
    std::string string() {
        blanks();
        if (at_ == text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) fail("a string");
        const std::size_t end = text_.find(text_[at_], at_ + 1);
        if (end == std::string_view::npos) fail("a string that ends");
        const std::string result(text_.substr(at_ + 1, end - at_ - 1));
        at_ = end + 1;
        return result;
    }
    index_t integer() {
        blanks();
        const std::size_t start = at_;
        index_t value = 0;
        for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
            if (__builtin_mul_overflow(value, index_t{10}, &value) || __builtin_add_overflow(value, index_t{text_[at_] - '0'}, &value))
                fail("a dimension below 2^63");
        if (at_ == start) fail("an integer");
        return value;
    }
    std::vector<index_t> tuple() {
        std::vector<index_t> result;
        expect('(', "a tuple");
        while (!take(')')) {
            if (result.size() == 32) fail("at most 32 dimensions");
            result.push_back(integer());
            if (!take(',')) {
                expect(')', "the tuple's end");
                break;
            }
        }
        return result;
    }

  public:
    header_reader(std::string_view text, const std::string& path) : text_(text), path_(path) {}

    header read() {
        header result;
        bool type = false, order = false, shape = false;
        expect('{', "a dictionary");
        while (!take('}')) {
            const std::string key = string();
            expect(':', "a colon");
            if (key == "descr" && !type) {
                blanks();
                if (at_ < text_.size() && text_[at_] == '[') fail("one type and not a structure");
                result.type = string();
                type = true;
            } else if (key == "fortran_order" && !order) {
                blanks();
                if (!text_.substr(at_).starts_with("False")) fail("fortran_order False (C order)");
                at_ += 5;
                order = true;
            } else if (key == "shape" && !shape) {
                result.shape = tuple();
                shape = true;
            } else {
                fail("each of descr, fortran_order and shape once");
            }
            if (!take(',')) {
                expect('}', "the dictionary's end");
                break;
            }
        }
        if (!type || !order || !shape) fail("descr, fortran_order and shape");
        blanks();
        if (at_ != text_.size()) fail("nothing after the dictionary");
        return result;
    }
};

template <class T, class Stored>
bool exactly(Stored from, T& to) {
    if constexpr (std::is_same_v<T, Stored>) {
        to = from;
        return true;
    } else if constexpr (std::is_floating_point_v<T>) {
        to = static_cast<T>(from);
        if constexpr (std::is_floating_point_v<Stored>)
            return static_cast<Stored>(to) == from || from != from; // a NaN stays one
        else
            return static_cast<double>(to) == static_cast<double>(from); // stored integers have at most 32 bits
    } else {
        // The bounds are powers of two, exact as doubles; a NaN fails the comparison.
        const double value = static_cast<double>(from), above = 2.0 * static_cast<double>(T{1} << (std::numeric_limits<T>::digits - 1));
        if (!(value >= static_cast<double>(std::numeric_limits<T>::min()) && value < above)) return false;
        to = static_cast<T>(from);
        return static_cast<double>(to) == value;
    }
}

template <class T, class Stored>
void convert(const std::byte* from, std::vector<T>& to, const std::string& path, std::string_view type) {
    for (std::size_t i = 0; i < to.size(); ++i) {
        const auto stored = format::detail::load<Stored>(from + i * sizeof(Stored));
        if (!exactly(stored, to[i]))
            throw error(fmt::format("{}: value {}: expected a value that fits the type asked for exactly, found {} of type {}", path, i,
                                    stored, type));
    }
}

} // namespace detail

/// Reads float32, float64, int32 or uint8 and converts to T, which must hold every value exactly.
/// @throws loupe::error if the file is damaged, of another type or order, or a value does not fit.
template <class T>
array<T> read(const std::filesystem::path& path) {
    const std::string name = path.string();
    const mapped_file file = mapped_file::open(path);
    const std::string_view all(reinterpret_cast<const char*>(file.data()), static_cast<std::size_t>(file.size()));
    if (!all.starts_with("\x93NUMPY")) throw error(fmt::format("{}: byte 0: expected the beginning of a .npy file", name));
    if (all.size() < 10) throw error(fmt::format("{}: expected a header, found a file of {} bytes", name, all.size()));
    if (all[6] != 1 || all[7] != 0)
        throw error(fmt::format("{}: byte 6: expected version 1.0, found {}.{}", name, static_cast<unsigned char>(all[6]) + 0U,
                                static_cast<unsigned char>(all[7]) + 0U));
    const std::size_t length = format::detail::load<std::uint16_t>(file.data() + 8), start = 10 + length;
    if (all.size() < start)
        throw error(fmt::format("{}: byte 8: expected a header of {} bytes, found {} to the file's end", name, length, all.size() - 10));
    const detail::header header = detail::header_reader(all.substr(10, length), name).read();

    const index_t width = header.type == "<f4" || header.type == "<i4" ? 4 : header.type == "<f8" ? 8 : header.type == "|u1" ? 1 : 0;
    if (width == 0) throw error(fmt::format("{}: expected type <f4, <f8, <i4 or |u1, found {}", name, io::detail::name_text(header.type)));
    index_t count = 1, bytes = width;
    for (const index_t n : header.shape)
        if (__builtin_mul_overflow(count, n, &count))
            throw error(fmt::format("{}: the size of shape {} overflows", name, shape_text(header.shape)));
    if (__builtin_mul_overflow(bytes, count, &bytes) || bytes != file.size() - static_cast<index_t>(start))
        throw error(fmt::format("{}: expected {} values of {} bytes for shape {}, found {} bytes", name, count, width,
                                shape_text(header.shape), file.size() - static_cast<index_t>(start)));
    array<T> result{header.shape, std::vector<T>(static_cast<std::size_t>(count))};
    const std::byte* const data = file.data() + start;
    if (header.type == "<f4")
        detail::convert<T, float>(data, result.values, name, header.type);
    else if (header.type == "<f8")
        detail::convert<T, double>(data, result.values, name, header.type);
    else if (header.type == "<i4")
        detail::convert<T, std::int32_t>(data, result.values, name, header.type);
    else
        detail::convert<T, std::uint8_t>(data, result.values, name, header.type);
    return result;
}

} // namespace npy

/// Writes float32 values of a shape known in advance, piece by piece. The file appears with close(); without it, or after a failure,
/// nothing is left. @throws loupe::output_error if anything cannot be written.
class npy_writer {
    index_t left_;
    std::filesystem::path path_;
    output_file file_;

    static index_t count(const std::vector<index_t>& shape) {
        index_t n = 4;
        for (const index_t d : shape)
            if (d < 0 || __builtin_mul_overflow(n, d, &n))
                throw error(fmt::format("npy: shape {} is negative or overflows", shape_text(shape)));
        return n / 4;
    }

  public:
    npy_writer(const std::filesystem::path& path, const std::vector<index_t>& shape) : left_(count(shape)), path_(path), file_(path) {
        std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
        for (std::size_t i = 0; i < shape.size(); ++i)
            header += (i != 0 ? " " : "") + std::to_string(shape[i]) + (i + 1 < shape.size() || i == 0 ? "," : "");
        header += "), }";
        while ((10 + header.size() + 1) % 64 != 0) header += ' '; // NEP 1: the data begin at a multiple of 64
        header += '\n';
        if (header.size() > 65535) throw error(fmt::format("npy: {} dimensions are too many", shape.size()));
        const auto length = static_cast<std::uint16_t>(header.size());
        file_.write(std::string_view("\x93NUMPY\x01\x00", 8));
        file_.write(std::as_bytes(std::span(&length, 1)));
        file_.write(header);
    }

    /// Appends values. @throws loupe::error if they are more than the shape has.
    void write(std::span<const float> values) {
        const auto n = static_cast<index_t>(values.size());
        if (n > left_) throw error(fmt::format("{}: expected at most {} more values, found {}", path_.string(), left_, n));
        file_.write(std::as_bytes(values));
        left_ -= n;
    }

    /// Ends the file. @throws loupe::error if values are missing.
    void close() {
        if (left_ != 0) throw error(fmt::format("{}: closed while {} values are missing", path_.string(), left_));
        file_.close();
    }
};

} // namespace loupe::io
