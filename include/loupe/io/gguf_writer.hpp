// Writes GGUF files of version 3 (GGUF specification, container), packed without holes as the reference reader demands.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/io/tensor.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace loupe::io {

namespace detail {

/// Bools, integers of 8 to 64 bits and floats: what GGUF can hold as one value.
template <class T>
concept gguf_scalar = (std::integral<T> || std::same_as<T, float> || std::same_as<T, double>)&&!std::same_as<T, char>;

template <gguf_scalar T>
constexpr gguf_type gguf_type_of() {
    if constexpr (std::same_as<T, bool>) return gguf_type::boolean;
    if constexpr (std::same_as<T, float>) return gguf_type::f32;
    if constexpr (std::same_as<T, double>) return gguf_type::f64;
    constexpr bool is_signed = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1) return is_signed ? gguf_type::i8 : gguf_type::u8;
    if constexpr (sizeof(T) == 2) return is_signed ? gguf_type::i16 : gguf_type::u16;
    if constexpr (sizeof(T) == 4) return is_signed ? gguf_type::i32 : gguf_type::u32;
    return is_signed ? gguf_type::i64 : gguf_type::u64;
}

} // namespace detail

/// Collects keys and tensors, then writes them. The C++ type of a value decides its type in the file.
class gguf_writer {
  public:
    /// Fills whole rows of a tensor, of which `first` is the first. Rows are counted over all outer dimensions.
    using row_source = std::function<void(index_t first, std::span<std::byte> rows)>;

  private:
    struct entry {
        std::string key, bytes; ///< bytes: type and value as they stand in the file
    };
    struct pending {
        std::string name;
        const format::info* format;
        std::vector<index_t> shape;
        std::vector<std::byte> owned;
        std::span<const std::byte> borrowed;
        row_source rows;
        index_t size = 0; ///< bytes, from shape and format
        std::span<const std::byte> bytes() const { return owned.empty() ? borrowed : std::span<const std::byte>(owned); }
    };

    index_t alignment_;
    std::vector<entry> entries_;
    std::vector<pending> tensors_;

    template <class T>
    static void put(std::string& to, T value) {
        to.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    static void put_type(std::string& to, detail::gguf_type type) { put(to, static_cast<std::uint32_t>(type)); }
    static void put_text(std::string& to, std::string_view text) {
        put(to, static_cast<std::uint64_t>(text.size()));
        to.append(text);
    }

    void set_bytes(std::string_view key, std::string bytes) {
        if (key.empty() || key.size() > 65535) throw error(fmt::format("GGUF key {}: expected 1 to 65535 bytes", detail::name_text(key)));
        if (key == "general.alignment") throw error("GGUF key general.alignment: is set by the writer's constructor");
        const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const entry& e) { return e.key == key; });
        if (found != entries_.end())
            found->bytes = std::move(bytes);
        else
            entries_.push_back({std::string(key), std::move(bytes)});
    }

    template <class Range>
    void set_range(std::string_view key, const Range& values, detail::gguf_type type) {
        std::string bytes;
        put_type(bytes, detail::gguf_type::array);
        put_type(bytes, type);
        put(bytes, static_cast<std::uint64_t>(values.size()));
        for (const auto& v : values)
            if constexpr (std::is_convertible_v<decltype(v), std::string_view>)
                put_text(bytes, v);
            else
                put(bytes, v);
        set_bytes(key, std::move(bytes));
    }

    index_t padding(index_t position) const { return (alignment_ - position % alignment_) % alignment_; }

    void add_tensor(pending t) {
        const auto refuse = [&](const std::string& what) {
            throw error(fmt::format("GGUF tensor {}: {}", detail::name_text(t.name), what));
        };
        if (t.name.empty() || t.name.size() > 63) refuse("expected a name of 1 to 63 bytes"); // the reference keeps 63 and a NUL
        if (t.shape.empty() || t.shape.size() > 4) refuse(fmt::format("expected 1 to 4 dimensions, found {}", t.shape.size()));
        for (const index_t n : t.shape)
            if (n < 1) refuse(fmt::format("expected dimensions of at least 1, found {}", shape_text(t.shape)));
        if (t.shape.back() % t.format->length != 0)
            refuse(
                fmt::format("expected rows of a multiple of {} values for {}, found {}", t.format->length, t.format->name, t.shape.back()));
        index_t bytes = t.format->bytes;
        for (std::size_t i = 0; i < t.shape.size(); ++i)
            if (__builtin_mul_overflow(bytes, i + 1 == t.shape.size() ? t.shape[i] / t.format->length : t.shape[i], &bytes))
                refuse(fmt::format("the size of shape {} overflows", shape_text(t.shape)));
        t.size = bytes;
        if (!t.rows && static_cast<index_t>(t.bytes().size()) != bytes)
            refuse(fmt::format("expected {} bytes for {} {}, found {}", bytes, t.format->name, shape_text(t.shape), t.bytes().size()));
        for (const pending& other : tensors_)
            if (other.name == t.name) refuse("added a second time");
        tensors_.push_back(std::move(t));
    }

  public:
    /// `alignment` of the tensors' data: a power of two of at least 8.
    explicit gguf_writer(index_t alignment = 32) : alignment_(alignment) {
        if (alignment < 8 || alignment > (index_t{1} << 31) || (alignment & (alignment - 1)) != 0)
            throw error(fmt::format("GGUF alignment: expected a power of two from 8 to 2^31, found {}", alignment));
    }

    /// Sets a key; a second value for the same key replaces the first.
    template <detail::gguf_scalar T>
    void set(std::string_view key, T value) {
        std::string bytes;
        put_type(bytes, detail::gguf_type_of<T>());
        put(bytes, value);
        set_bytes(key, std::move(bytes));
    }
    void set(std::string_view key, std::string_view text) {
        std::string bytes;
        put_type(bytes, detail::gguf_type::string);
        put_text(bytes, text);
        set_bytes(key, std::move(bytes));
    }
    void set(std::string_view key, const char* text) { set(key, std::string_view(text)); }
    void set(std::string_view key, const std::string& text) { set(key, std::string_view(text)); }
    template <detail::gguf_scalar T>
    void set(std::string_view key, std::span<const T> values) {
        set_range(key, values, detail::gguf_type_of<T>());
    }
    template <detail::gguf_scalar T>
    void set(std::string_view key, const std::vector<T>& values) {
        if constexpr (std::same_as<T, bool>)
            set_range(key, std::vector<std::uint8_t>(values.begin(), values.end()), detail::gguf_type::boolean);
        else
            set_range(key, values, detail::gguf_type_of<T>());
    }
    void set(std::string_view key, const std::vector<std::string>& texts) { set_range(key, texts, detail::gguf_type::string); }

    /// Adds a tensor, shape outermost first. These bytes must stay until write().
    void add(std::string name, const format::info& format, std::vector<index_t> shape, std::span<const std::byte> bytes) {
        add_tensor({std::move(name), &format, std::move(shape), {}, bytes, {}});
    }
    /// The same with bytes that the writer keeps.
    void add(std::string name, const format::info& format, std::vector<index_t> shape, std::vector<std::byte> bytes) {
        add_tensor({std::move(name), &format, std::move(shape), std::move(bytes), {}, {}});
    }
    /// The same with bytes that `rows` makes when they are written, a megabyte or one row at a time and in order: for what does not fit
    /// memory.
    void add(std::string name, const format::info& format, std::vector<index_t> shape, row_source rows) {
        if (!rows) throw error(fmt::format("GGUF tensor {}: expected a source of rows, found none", detail::name_text(name)));
        add_tensor({std::move(name), &format, std::move(shape), {}, {}, std::move(rows)});
    }
    /// Encodes values, and keeps the bytes. @throws loupe::error if the format has no encoder.
    void add(std::string name, const format::info& format, std::vector<index_t> shape, std::span<const float> values) {
        if (format.encode_row == nullptr)
            throw error(fmt::format("GGUF tensor {}: {} has no encoder", detail::name_text(name), format.name));
        if (static_cast<index_t>(values.size()) % format.length != 0)
            throw error(fmt::format("GGUF tensor {}: expected a multiple of {} values, found {}", detail::name_text(name), format.length,
                                    values.size()));
        std::vector<std::byte> bytes(static_cast<std::size_t>(format.row_bytes(static_cast<index_t>(values.size()))));
        format.encode_row(values.data(), bytes.data(), static_cast<index_t>(values.size()));
        add(std::move(name), format, std::move(shape), std::move(bytes));
    }

    /// Writes the file beside its target and renames it, so that a failure leaves no half file.
    /// @throws loupe::output_error if anything cannot be written.
    void write(const std::filesystem::path& path) const {
        const bool names_alignment = alignment_ != 32;
        std::string header = "GGUF";
        put(header, std::uint32_t{3});
        put(header, static_cast<std::uint64_t>(tensors_.size()));
        put(header, static_cast<std::uint64_t>(entries_.size() + (names_alignment ? 1 : 0)));
        if (names_alignment) {
            put_text(header, "general.alignment");
            put_type(header, detail::gguf_type::u32);
            put(header, static_cast<std::uint32_t>(alignment_));
        }
        for (const entry& e : entries_) {
            put_text(header, e.key);
            header += e.bytes;
        }
        index_t offset = 0;
        for (const pending& t : tensors_) {
            put_text(header, t.name);
            put(header, static_cast<std::uint32_t>(t.shape.size()));
            for (auto n = t.shape.rbegin(); n != t.shape.rend(); ++n) put(header, static_cast<std::uint64_t>(*n));
            put(header, t.format->id);
            put(header, static_cast<std::uint64_t>(offset));
            offset += t.size;
            offset += padding(offset);
        }
        const auto zeros = [](index_t count) { return std::vector<std::byte>(static_cast<std::size_t>(count)); };
        output_file file(path);
        file.write(header);
        file.write(zeros(padding(static_cast<index_t>(header.size()))));
        for (const pending& t : tensors_) {
            if (t.rows)
                write_rows(file, t);
            else
                file.write(t.bytes());
            file.write(zeros(padding(t.size))); // behind the last tensor too: the reference reads it
        }
        file.close();
    }

  private:
    static void write_rows(output_file& file, const pending& t) {
        const index_t row = t.format->row_bytes(t.shape.back()), count = t.size / row;
        const index_t most = std::min(count, std::max<index_t>(1, (index_t{1} << 20) / row));
        std::vector<std::byte> piece(static_cast<std::size_t>(most * row));
        for (index_t first = 0; first < count; first += most) {
            const auto rows = std::span(piece).first(static_cast<std::size_t>(std::min(most, count - first) * row));
            t.rows(first, rows);
            file.write(rows);
        }
    }
};

} // namespace loupe::io
