// GGUF files, version 2 and 3, little-endian, also in several parts (GGUF specification, sections container and split files).
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/io/tensor.hpp>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace loupe::io {

namespace detail {

/// Value types of GGUF's keys, by their number in files.
enum class gguf_type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

inline std::string_view gguf_type_name(gguf_type type) {
    constexpr std::string_view names[] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
    return names[static_cast<std::uint32_t>(type)];
}

/// Bytes of a value of fixed size; 0 for strings and arrays.
inline index_t gguf_type_bytes(gguf_type type) {
    constexpr index_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[static_cast<std::uint32_t>(type)];
}

inline bool gguf_is_integer(gguf_type type) {
    return type != gguf_type::f32 && type != gguf_type::f64 && type != gguf_type::string && type != gguf_type::array;
}

/// The name of a tensor type that exists but has no decoder here; empty for ids that mean nothing (any more).
inline std::string_view gguf_other_tensor_type(std::uint32_t id) {
    switch (id) {
    case 9:
        return "Q8_1";
    case 15:
        return "Q8_K";
    case 16:
        return "IQ2_XXS";
    case 17:
        return "IQ2_XS";
    case 18:
        return "IQ3_XXS";
    case 19:
        return "IQ1_S";
    case 21:
        return "IQ3_S";
    case 22:
        return "IQ2_S";
    case 24:
        return "I8";
    case 25:
        return "I16";
    case 26:
        return "I32";
    case 27:
        return "I64";
    case 28:
        return "F64";
    case 29:
        return "IQ1_M";
    case 34:
        return "TQ1_0";
    case 35:
        return "TQ2_0";
    case 41:
        return "Q1_0";
    case 42:
        return "Q2_0";
    default:
        return {};
    }
}

/// Reads a file from front to back. Every read is checked against the file's end, and every failure says where it happened.
class gguf_cursor {
    const std::byte* data_;
    index_t size_, at_ = 0;
    const std::string& path_;

  public:
    gguf_cursor(const mapped_file& file, const std::string& path) : data_(file.data()), size_(file.size()), path_(path) {}

    index_t position() const { return at_; }
    index_t rest() const { return size_ - at_; }

    [[noreturn]] void fail(index_t where, const std::string& what) const {
        throw error(fmt::format("{}: byte {}: {}", path_, where, what));
    }

    void need(index_t count, const char* what) const {
        if (count > rest()) fail(at_, fmt::format("expected {} ({} bytes), found {} bytes to the file's end", what, count, rest()));
    }

    template <class T>
    T read(const char* what) {
        need(sizeof(T), what);
        T value;
        std::memcpy(&value, data_ + at_, sizeof value);
        at_ += static_cast<index_t>(sizeof value);
        return value;
    }

    void skip(index_t count, const char* what) {
        need(count, what);
        at_ += count;
    }

    std::string_view string(index_t limit, const char* what) {
        const index_t where = at_;
        const auto length = read<std::uint64_t>(what);
        if (length > static_cast<std::uint64_t>(limit))
            fail(where, fmt::format("expected {} of at most {} bytes, found a length of {}", what, limit, length));
        const auto count = static_cast<index_t>(length);
        need(count, what);
        const std::string_view text(reinterpret_cast<const char*>(data_ + at_), length);
        at_ += count;
        return text;
    }
};

} // namespace detail

/// An opened GGUF file: its keys, and its tensors where they lie in the file.
///
/// Everything is checked by open(); what it returns points into the file and nowhere else. Numbers are found whatever integer type
/// a converter chose for them. Holes between tensors and a missing padding behind the last one are accepted; tensors that overlap are not:
/// whoever reads or copies all of them does work in proportion to the file.
class gguf {
    // Numbers stay in the file; texts are copied.
    struct value {
        std::string key;
        detail::gguf_type type{};
        detail::gguf_type element{}; ///< of an array
        index_t count = 0;           ///< elements of an array
        const std::byte* data = nullptr;
        std::string text;
        std::vector<std::string> texts;
    };

    std::deque<value> values_;
    std::map<std::string, std::size_t, std::less<>> index_; // ordered: no file can make it slow by colliding keys
    std::vector<tensor> tensors_;
    std::map<std::string, std::size_t, std::less<>> tensor_index_;
    std::shared_ptr<const void> owner_;

    static constexpr index_t longest_string = index_t{1} << 30, longest_array = index_t{1} << 30;
    static constexpr index_t longest_key = 65535, longest_name = 64, largest_alignment = index_t{1} << 31;
    static constexpr index_t most_entries = index_t{1} << 20; // keys or tensors: far more than any file has, and bounds the memory for them

    const value* at(std::string_view key) const {
        const auto found = index_.find(key);
        return found == index_.end() ? nullptr : &values_[found->second];
    }

    [[noreturn]] void key_error(std::string_view key, const std::string& what) const {
        throw error(fmt::format("{}: key {}: {}", path, detail::name_text(key), what));
    }

    template <class T>
    static T load(const std::byte* from) {
        return format::detail::load<T>(from);
    }

    index_t load_integer(std::string_view key, detail::gguf_type type, const std::byte* from) const {
        using enum detail::gguf_type;
        switch (type) {
        case i8:
            return load<std::int8_t>(from);
        case u16:
            return load<std::uint16_t>(from);
        case i16:
            return load<std::int16_t>(from);
        case u32:
            return load<std::uint32_t>(from);
        case i32:
            return load<std::int32_t>(from);
        case i64:
            return load<std::int64_t>(from);
        case u64: {
            const auto number = load<std::uint64_t>(from);
            if (number > static_cast<std::uint64_t>(std::numeric_limits<index_t>::max()))
                key_error(key, fmt::format("expected an integer below 2^63, found {}", number));
            return static_cast<index_t>(number);
        }
        default:
            return load<std::uint8_t>(from); // u8, boolean
        }
    }

    double load_number(detail::gguf_type type, const std::byte* from) const {
        using enum detail::gguf_type;
        if (type == f32) return static_cast<double>(load<float>(from));
        if (type == f64) return load<double>(from);
        if (type == u64) return static_cast<double>(load<std::uint64_t>(from));
        return static_cast<double>(load_integer({}, type, from));
    }

    static bool is_number(detail::gguf_type type) { return type != detail::gguf_type::string && type != detail::gguf_type::array; }

    /// What a key holds, for messages: "u32", "array of 3 f32".
    static std::string describe(const value& v) {
        if (v.type != detail::gguf_type::array) return std::string(detail::gguf_type_name(v.type));
        return fmt::format("array of {} {}", v.count, detail::gguf_type_name(v.element));
    }

    static detail::gguf_type read_type(detail::gguf_cursor& in, std::string_view key) {
        const index_t where = in.position();
        const auto number = in.read<std::uint32_t>("a value type");
        if (number > static_cast<std::uint32_t>(detail::gguf_type::f64))
            in.fail(where, fmt::format("key {}: expected a value type of 0 to 12, found {}", detail::name_text(key), number));
        return static_cast<detail::gguf_type>(number);
    }

    static void check_booleans(const detail::gguf_cursor& in, const value& v, index_t where, index_t count) {
        for (index_t i = 0; i < count; ++i)
            if (const auto b = static_cast<unsigned>(v.data[i]); b > 1)
                in.fail(where + i, fmt::format("key {}: expected a bool of 0 or 1, found {}", detail::name_text(v.key), b));
    }

    void read_key(detail::gguf_cursor& in, const mapped_file& file) {
        using detail::gguf_type;
        index_t where = in.position();
        value v;
        v.key = in.string(longest_key, "a key");
        if (v.key.empty()) in.fail(where, "expected a key, found an empty one");
        if (!index_.emplace(v.key, values_.size()).second)
            in.fail(where, fmt::format("key {}: found a second time", detail::name_text(v.key)));
        v.type = read_type(in, v.key);
        where = in.position();
        if (v.type == gguf_type::string) {
            v.text = in.string(longest_string, "a string");
        } else if (v.type != gguf_type::array) {
            v.data = file.data() + where;
            in.skip(detail::gguf_type_bytes(v.type), "a value");
            if (v.type == gguf_type::boolean) check_booleans(in, v, where, 1);
        } else {
            v.element = read_type(in, v.key);
            if (v.element == gguf_type::array)
                in.fail(where, fmt::format("key {}: arrays of arrays are not supported", detail::name_text(v.key)));
            where = in.position();
            const auto count = in.read<std::uint64_t>("an array's length");
            const index_t least = v.element == gguf_type::string ? 8 : detail::gguf_type_bytes(v.element);
            if (count > static_cast<std::uint64_t>(longest_array) || static_cast<index_t>(count) > in.rest() / least)
                in.fail(where, fmt::format("key {}: expected an array that fits into the {} bytes left, found {} elements of {}",
                                           detail::name_text(v.key), in.rest(), count, detail::gguf_type_name(v.element)));
            v.count = static_cast<index_t>(count);
            where = in.position();
            v.data = file.data() + where;
            if (v.element == gguf_type::string) {
                v.texts.reserve(static_cast<std::size_t>(v.count));
                for (index_t i = 0; i < v.count; ++i) v.texts.emplace_back(in.string(longest_string, "a string"));
            } else {
                in.skip(v.count * least, "an array");
                if (v.element == gguf_type::boolean) check_booleans(in, v, where, v.count);
            }
        }
        values_.push_back(std::move(v));
    }

    static std::uint64_t read_count(detail::gguf_cursor& in, const char* what, index_t least) {
        const index_t where = in.position();
        const auto count = in.read<std::uint64_t>(what);
        if (count > static_cast<std::uint64_t>(in.rest() / least))
            in.fail(where, fmt::format("expected a {} that fits into the {} bytes left, found {}", what, in.rest(), count));
        if (count > static_cast<std::uint64_t>(most_entries))
            in.fail(where, fmt::format("expected a {} of at most {}, found {}", what, most_entries, count));
        return count;
    }

    struct placed {
        std::size_t tensor;    // its number in tensors_
        index_t offset, where; // in the data; of the offset itself
    };

    // Appends a tensor that has no data yet.
    placed read_tensor(detail::gguf_cursor& in) {
        const index_t start = in.position();
        tensor& t = tensors_.emplace_back();
        t.name = in.string(longest_name, "a tensor's name");
        if (t.name.empty()) in.fail(start, "expected a tensor's name, found an empty one");
        const auto refuse = [&](index_t where, const std::string& what) {
            in.fail(where, fmt::format("tensor {}: {}", detail::name_text(t.name), what));
        };
        index_t where = in.position();
        const auto dimensions = in.read<std::uint32_t>("a number of dimensions");
        if (dimensions < 1 || dimensions > 4) refuse(where, fmt::format("expected 1 to 4 dimensions, found {}", dimensions));
        t.shape.resize(dimensions);
        for (std::uint32_t i = 0; i < dimensions; ++i) { // files begin with the contiguous dimension
            where = in.position();
            const auto n = in.read<std::uint64_t>("a dimension");
            if (n < 1 || n > static_cast<std::uint64_t>(std::numeric_limits<index_t>::max()))
                refuse(where, fmt::format("expected a dimension of 1 to 2^63 - 1, found {}", n));
            t.shape[dimensions - 1 - i] = static_cast<index_t>(n);
        }
        where = in.position();
        const auto id = in.read<std::uint32_t>("a tensor type");
        t.format = format::find(id);
        if (t.format == nullptr) {
            const auto name = detail::gguf_other_tensor_type(id);
            refuse(where, name.empty() ? fmt::format("type id {} is unknown or was removed from GGUF", id)
                                       : fmt::format("type {} (id {}) is not supported", name, id));
        }
        if (t.shape.back() % t.format->length != 0)
            refuse(where, fmt::format("expected rows of a multiple of {} values for {}, found {}", t.format->length, t.format->name,
                                      t.shape.back()));
        // Both the number of values and that of bytes must be an index_t.
        index_t count = 1;
        t.bytes = t.format->bytes;
        for (std::size_t i = 0; i < t.shape.size(); ++i) {
            const index_t n = t.shape[i], blocks = i + 1 == t.shape.size() ? n / t.format->length : n;
            if (__builtin_mul_overflow(count, n, &count) || __builtin_mul_overflow(t.bytes, blocks, &t.bytes))
                refuse(start, fmt::format("the size of shape {} overflows", shape_text(t.shape)));
        }
        where = in.position();
        const auto offset = in.read<std::uint64_t>("a tensor's offset");
        if (offset > static_cast<std::uint64_t>(std::numeric_limits<index_t>::max()))
            refuse(where, fmt::format("expected an offset in the file, found {}", offset));
        t.file = path;
        return {tensors_.size() - 1, static_cast<index_t>(offset), where};
    }

    // The name of part `number` (from 0) beside `first`, which ends in -00001-of-0000N.gguf; empty if a name does not end so.
    static std::filesystem::path part_path(const std::filesystem::path& any, index_t this_number, index_t number, index_t count) {
        const std::string name = any.filename().string(), ending = fmt::format("-{:05}-of-{:05}.gguf", this_number + 1, count);
        if (!name.ends_with(ending)) return {};
        return any.parent_path() / (name.substr(0, name.size() - ending.size()) + fmt::format("-{:05}-of-{:05}.gguf", number + 1, count));
    }

    // One file, without looking for other parts.
    static gguf open_part(const std::filesystem::path& file_path) {
        gguf result;
        result.path = file_path.string();
        const mapped_file file = mapped_file::open(file_path);
        result.owner_ = file.owner();
        detail::gguf_cursor in(file, result.path);

        in.need(4, "the letters GGUF");
        if (std::memcmp(file.data(), "GGUF", 4) != 0)
            in.fail(0,
                    fmt::format("expected the letters GGUF, found {}", detail::name_text({reinterpret_cast<const char*>(file.data()), 4})));
        in.skip(4, "the letters GGUF");
        result.version = in.read<std::uint32_t>("a version");
        if ((result.version & 0xffffU) == 0 && result.version != 0) in.fail(4, "the file is big-endian; expected little-endian");
        if (result.version != 2 && result.version != 3) in.fail(4, fmt::format("expected version 2 or 3, found {}", result.version));
        in.need(16, "two counts");
        // A key and its value take at least 13 bytes, a tensor's description 24.
        const auto tensor_count = read_count(in, "number of tensors", 24), key_count = read_count(in, "number of keys", 13);
        for (std::uint64_t i = 0; i < key_count; ++i) result.read_key(in, file);

        index_t alignment = 32;
        if (const value* v = result.at("general.alignment")) {
            if (!detail::gguf_is_integer(v->type) || v->type == detail::gguf_type::boolean)
                result.key_error(v->key, fmt::format("expected an integer, found {}", describe(*v)));
            alignment = result.load_integer(v->key, v->type, v->data);
            if (alignment < 8 || alignment > largest_alignment || (alignment & (alignment - 1)) != 0)
                result.key_error(v->key, fmt::format("expected a power of two from 8 to 2^31, found {}", alignment));
        }

        std::vector<placed> places;
        places.reserve(tensor_count);
        result.tensors_.reserve(tensor_count);
        for (std::uint64_t i = 0; i < tensor_count; ++i) places.push_back(result.read_tensor(in));
        const index_t data_start = (in.position() + alignment - 1) / alignment * alignment;
        for (const placed& p : places) {
            tensor& t = result.tensors_[p.tensor];
            if (p.offset % alignment != 0)
                result.refuse(in, p, fmt::format("expected an offset that is a multiple of {}, found {}", alignment, p.offset));
            const index_t room = file.size() - data_start;
            if (room < t.bytes || p.offset > room - t.bytes)
                result.refuse(in, p,
                              fmt::format("expected {} bytes at offset {} of the data at byte {}, found a file of {} bytes", t.bytes,
                                          p.offset, data_start, file.size()));
            if (!result.tensor_index_.emplace(t.name, p.tensor).second) result.refuse(in, p, "found a second time");
            t.data = file.data() + data_start + p.offset;
            t.owner = file.owner();
        }
        std::sort(places.begin(), places.end(), [](const placed& a, const placed& b) { return a.offset < b.offset; });
        for (std::size_t i = 1; i < places.size(); ++i) {
            const tensor& before = result.tensors_[places[i - 1].tensor];
            if (places[i].offset - places[i - 1].offset < before.bytes)
                result.refuse(in, places[i],
                              fmt::format("expected data of its own, found those of tensor {}", detail::name_text(before.name)));
        }
        return result;
    }

    [[noreturn]] void refuse(const detail::gguf_cursor& in, const placed& p, const std::string& what) const {
        in.fail(p.where, fmt::format("tensor {}: {}", detail::name_text(tensors_[p.tensor].name), what));
    }

    void add(tensor&& t) {
        if (!tensor_index_.emplace(t.name, tensors_.size()).second)
            throw error(fmt::format("{}: tensor {}: found a second time", t.file, detail::name_text(t.name)));
        tensors_.push_back(std::move(t));
    }

    index_t split_integer(std::string_view key, index_t otherwise) const {
        if (!contains(key)) return otherwise;
        const auto number = integer(key);
        if (!number || *number < 0 || *number > 0x7fffffff) key_error(key, "expected a small integer of at least 0");
        return *number;
    }

    gguf() = default;

  public:
    std::string path;          ///< as given to open()
    std::uint32_t version = 0; ///< 2 or 3

    /// Opens a file, and with part 1 of a split file all of its parts; keys are those of part 1.
    /// @throws loupe::error that says file, byte, tensor or key, what was expected and what was found.
    static gguf open(const std::filesystem::path& file_path) {
        gguf result = open_part(file_path);
        const index_t count = result.split_integer("split.count", 0), number = result.split_integer("split.no", 0);
        if (count <= 1) return result;
        if (count > 65535) result.key_error("split.count", fmt::format("expected at most 65535 parts, found {}", count));
        if (number >= count) result.key_error("split.no", fmt::format("expected a number below {}, found {}", count, number));
        if (number != 0) {
            const auto first = part_path(file_path, number, 0, count);
            throw error(fmt::format("{}: this is part {} of {}; open part 1 instead: {}", result.path, number + 1, count,
                                    first.empty() ? fmt::format("its name ends in -00001-of-{:05}.gguf", count) : first.string()));
        }
        for (index_t i = 1; i < count; ++i) {
            const auto next = part_path(file_path, 0, i, count);
            if (next.empty())
                throw error(fmt::format(
                    "{}: this is part 1 of {}, but its name does not end in -00001-of-{:05}.gguf, so the other parts cannot be found",
                    result.path, count, count));
            if (!detail::is_there(next))
                throw error(fmt::format("{}: part {} of {} is missing: {}", result.path, i + 1, count, next.string()));
            gguf part = open_part(next);
            if (const index_t n = part.split_integer("split.no", 0); n != i)
                part.key_error("split.no", fmt::format("expected {} in this part, found {}", i, n));
            if (const index_t n = part.split_integer("split.count", 0); n != count)
                part.key_error("split.count", fmt::format("expected {} as in part 1, found {}", count, n));
            for (tensor& t : part.tensors_) result.add(std::move(t));
        }
        const auto total = static_cast<index_t>(result.tensors_.size());
        if (const index_t n = result.split_integer("split.tensors.count", total); n != total)
            result.key_error("split.tensors.count", fmt::format("expected the {} tensors of all parts, found {}", total, n));
        return result;
    }

    /// All tensors in the order of the file, those of later parts behind those of earlier ones. Shapes are outermost first.
    /// Data are aligned to general.alignment at their beginning; blocks inside to nothing.
    const std::vector<tensor>& tensors() const { return tensors_; }

    /// The tensor of a name, or null.
    const tensor* find(std::string_view name) const {
        const auto found = tensor_index_.find(name);
        return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
    }

    /// All keys in the order of the file.
    std::vector<std::string> keys() const {
        std::vector<std::string> result;
        for (const value& v : values_) result.push_back(v.key);
        return result;
    }

    bool contains(std::string_view key) const { return at(key) != nullptr; }

    /// What a key holds, for messages: "u32", "array of 3 f32"; empty if there is no such key.
    std::string type_of(std::string_view key) const {
        const value* v = at(key);
        return v == nullptr ? std::string() : describe(*v);
    }

    /// An integer of any type, or a bool; nothing if the key is missing or holds something else.
    /// @throws loupe::error if the number does not fit.
    std::optional<index_t> integer(std::string_view key) const {
        const value* v = at(key);
        if (v == nullptr || !detail::gguf_is_integer(v->type)) return std::nullopt;
        return load_integer(key, v->type, v->data);
    }

    /// A number of any integer or float type; nothing if the key is missing or holds something else (a bool, too).
    std::optional<double> number(std::string_view key) const {
        const value* v = at(key);
        if (v == nullptr || !is_number(v->type) || v->type == detail::gguf_type::boolean) return std::nullopt;
        return load_number(v->type, v->data);
    }

    std::optional<bool> boolean(std::string_view key) const {
        const value* v = at(key);
        if (v == nullptr || v->type != detail::gguf_type::boolean) return std::nullopt;
        return static_cast<unsigned>(*v->data) != 0;
    }

    /// A string, or null.
    const std::string* text(std::string_view key) const {
        const value* v = at(key);
        return v == nullptr || v->type != detail::gguf_type::string ? nullptr : &v->text;
    }

    /// An array of strings, or null.
    const std::vector<std::string>* texts(std::string_view key) const {
        const value* v = at(key);
        return v == nullptr || v->type != detail::gguf_type::array || v->element != detail::gguf_type::string ? nullptr : &v->texts;
    }

    /// An array of any number type as floats; nothing if the key is missing or holds something else.
    std::optional<std::vector<float>> numbers(std::string_view key) const {
        const value* v = at(key);
        if (v == nullptr || v->type != detail::gguf_type::array || !is_number(v->element)) return std::nullopt;
        std::vector<float> result(static_cast<std::size_t>(v->count));
        const index_t step = detail::gguf_type_bytes(v->element);
        for (index_t i = 0; i < v->count; ++i)
            result[static_cast<std::size_t>(i)] = static_cast<float>(load_number(v->element, v->data + i * step));
        return result;
    }

    /// An array of any integer type or of bools; nothing if the key is missing or holds something else.
    std::optional<std::vector<index_t>> integers(std::string_view key) const {
        const value* v = at(key);
        if (v == nullptr || v->type != detail::gguf_type::array || !detail::gguf_is_integer(v->element)) return std::nullopt;
        std::vector<index_t> result(static_cast<std::size_t>(v->count));
        const index_t step = detail::gguf_type_bytes(v->element);
        for (index_t i = 0; i < v->count; ++i) result[static_cast<std::size_t>(i)] = load_integer(key, v->element, v->data + i * step);
        return result;
    }

    /// One integer for each layer: a scalar counts for all, an array must have `layers` elements.
    /// @throws loupe::error that names the key if it is missing, of another type, or of another length.
    std::vector<index_t> per_layer(std::string_view key, index_t layers) const {
        const value* v = at(key);
        if (v == nullptr) key_error(key, "is missing");
        if (const auto scalar = integer(key)) return std::vector<index_t>(static_cast<std::size_t>(layers), *scalar);
        auto array = integers(key);
        if (!array) key_error(key, fmt::format("expected an integer or an array of integers, found {}", describe(*v)));
        if (v->count != layers) key_error(key, fmt::format("expected {} elements, one for each layer, found {}", layers, v->count));
        return std::move(*array);
    }
};

} // namespace loupe::io
