// Safetensors: one file, or a folder of shards with an index, as Hugging Face lays checkpoints out.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/io/tensor.hpp>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace loupe::io {

namespace detail {

// Headers and indices are read as events and never become a tree: a tree would drop repeated names, and its depth and size would be
// the file's to choose. What is common to both readers:
class json_events : public nlohmann::json_sax<nlohmann::json> {
  protected:
    std::string where_;
    int depth_ = 0;

    explicit json_events(std::string where) : where_(std::move(where)) {}
    [[noreturn]] void fail(const std::string& what) const { throw error(fmt::format("{}: {}", where_, what)); }
    void enter() {
        if (++depth_ > 64) fail("the JSON is nested more than 64 levels deep");
    }

  public:
    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) override {
        fail(fmt::format("byte {} of the JSON: {}", position, e.what()));
    }
    bool binary(binary_t&) override { return false; }
};

struct safetensors_entry {
    std::string name, type;
    std::vector<index_t> shape;
    index_t begin = -1, end = -1;
    bool has_shape = false;
};

// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "value"}}
class safetensors_header final : public json_events {
    enum class field { none, type, shape, offsets };
    field field_ = field::none;
    bool metadata_ = false, has_type_ = false;
    index_t offsets_ = -1; // how many were read; -1 before the list
    std::set<std::string, std::less<>> names_;

    safetensors_entry& current() { return entries.back(); }
    std::string name() const {
        return entries.empty() || metadata_ ? std::string("the header") : "tensor " + name_text(entries.back().name);
    }
    [[noreturn]] void unexpected(const char* what) const {
        if (depth_ == 0) fail(fmt::format("expected an object, found {}", what));
        if (depth_ == 1) fail(fmt::format("tensor {}: expected an object, found {}", name_text(pending_), what));
        const char* wanted = metadata_                  ? "a string in __metadata__"
                             : field_ == field::type    ? "a string as dtype"
                             : field_ == field::shape   ? "a list of integers of at least 0 as shape"
                             : field_ == field::offsets ? "a list of two integers of at least 0 as data_offsets"
                                                        : "a field's name";
        fail(fmt::format("{}: expected {}, found {}", name(), wanted, what));
    }
    std::string pending_; // the last name at depth 1

  public:
    static constexpr std::size_t most_dimensions = 8;
    std::vector<safetensors_entry> entries;

    explicit safetensors_header(std::string where) : json_events(std::move(where)) {}

    bool null() override { unexpected("null"); }
    bool boolean(bool) override { unexpected("a bool"); }
    bool number_integer(number_integer_t) override { unexpected("a negative number"); }
    bool number_float(number_float_t, const string_t& text) override { unexpected(text.substr(0, 40).c_str()); }
    bool number_unsigned(number_unsigned_t n) override {
        if (depth_ != 3) unexpected("a number");
        if (n > static_cast<number_unsigned_t>(std::numeric_limits<index_t>::max())) unexpected("a number of 2^63 or more");
        const auto value = static_cast<index_t>(n);
        if (field_ == field::shape) {
            if (current().shape.size() == most_dimensions) fail(fmt::format("{}: expected at most {} dimensions", name(), most_dimensions));
            current().shape.push_back(value);
        } else {
            if (offsets_ >= 2) unexpected("a third number");
            (offsets_++ == 0 ? current().begin : current().end) = value;
        }
        return true;
    }
    bool string(string_t& text) override {
        if (depth_ != 2 || (!metadata_ && field_ != field::type)) unexpected("a string");
        if (!metadata_) {
            current().type = text;
            has_type_ = true;
        }
        return true;
    }
    bool start_object(std::size_t) override {
        if (depth_ >= 2) unexpected("an object");
        enter();
        if (depth_ == 2 && !metadata_) {
            entries.push_back({});
            entries.back().name = pending_;
            field_ = field::none;
            has_type_ = false;
            offsets_ = -1;
        }
        return true;
    }
    bool key(string_t& text) override {
        if (depth_ == 1) {
            metadata_ = text == "__metadata__";
            if (!names_.emplace(text).second) fail(fmt::format("tensor {}: found a second time", name_text(text)));
            if (text.empty()) fail("expected a tensor's name, found an empty one");
            pending_ = text;
        } else if (!metadata_) {
            field_ = text == "dtype" ? field::type : text == "shape" ? field::shape : text == "data_offsets" ? field::offsets : field::none;
            if (field_ == field::none) fail(fmt::format("{}: expected dtype, shape or data_offsets, found {}", name(), name_text(text)));
            if ((field_ == field::type && has_type_) || (field_ == field::shape && current().has_shape) ||
                (field_ == field::offsets && offsets_ >= 0))
                fail(fmt::format("{}: {} found a second time", name(), text));
        }
        return true;
    }
    bool end_object() override {
        if (depth_ == 2 && !metadata_ && (!has_type_ || !current().has_shape || offsets_ < 0))
            fail(fmt::format("{}: expected dtype, shape and data_offsets, found only some of them", name()));
        --depth_;
        return true;
    }
    bool start_array(std::size_t) override {
        if (depth_ != 2 || metadata_ || (field_ != field::shape && field_ != field::offsets)) unexpected("a list");
        enter();
        if (field_ == field::shape)
            current().has_shape = true;
        else
            offsets_ = 0;
        return true;
    }
    bool end_array() override {
        if (field_ == field::offsets && offsets_ != 2) fail(fmt::format("{}: expected two data_offsets, found {}", name(), offsets_));
        --depth_;
        return true;
    }
};

// {"metadata": anything, "weight_map": {"name": "file", ...}}
class safetensors_index final : public json_events {
    bool map_ = false; // inside weight_map
    std::string key_;

    bool scalar(const char* what) {
        if (depth_ == 0) fail(fmt::format("expected an object, found {}", what));
        if (map_)
            fail(depth_ == 1 ? fmt::format("weight_map: expected an object, found {}", what)
                             : fmt::format("tensor {}: expected the name of a file, found {}", name_text(key_), what));
        return true;
    }

  public:
    bool found = false;
    std::map<std::string, std::string> files; ///< by tensor

    explicit safetensors_index(std::string where) : json_events(std::move(where)) {}

    bool null() override { return scalar("null"); }
    bool boolean(bool) override { return scalar("a bool"); }
    bool number_integer(number_integer_t) override { return scalar("a number"); }
    bool number_unsigned(number_unsigned_t) override { return scalar("a number"); }
    bool number_float(number_float_t, const string_t&) override { return scalar("a number"); }
    bool string(string_t& text) override {
        if (!map_ || depth_ != 2) return scalar("a string");
        if (text.empty() || text == "." || text == ".." || text.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos)
            fail(fmt::format("tensor {}: expected the name of a file in the same folder, found {}", name_text(key_), name_text(text)));
        if (!files.emplace(key_, text).second) fail(fmt::format("tensor {}: found a second time", name_text(key_)));
        return true;
    }
    bool start_object(std::size_t) override {
        if (map_ && depth_ == 2) scalar("an object");
        enter();
        return true;
    }
    bool key(string_t& text) override {
        if (depth_ == 1) {
            map_ = text == "weight_map";
            if (map_ && found) fail("weight_map: found a second time");
            found = found || map_;
        }
        key_ = text;
        return true;
    }
    bool end_object() override {
        --depth_;
        return true;
    }
    bool start_array(std::size_t) override {
        if (map_ || depth_ == 0) scalar("a list");
        enter();
        return true;
    }
    bool end_array() override {
        --depth_;
        return true;
    }
};

} // namespace detail

/// An opened checkpoint: its tensors where they lie in the files.
///
/// Everything is checked by open(). F32, F16 and BF16 are read, any other dtype is refused. Data may begin at any byte: load values with
/// the format's decoder and not through pointers.
class safetensors {
    std::vector<tensor> tensors_;
    std::map<std::string, std::size_t, std::less<>> index_;

    static constexpr index_t longest_header = 100'000'000; // the limit of the reference implementation

    safetensors() = default;

    void add(tensor&& t) {
        index_.emplace(t.name, tensors_.size());
        tensors_.push_back(std::move(t));
    }

    static safetensors open_file(const std::filesystem::path& file_path) {
        safetensors result;
        result.path = file_path.string();
        const mapped_file file = mapped_file::open(file_path);
        const auto fail = [&](const std::string& what) { throw error(fmt::format("{}: {}", result.path, what)); };
        if (file.size() < 8) fail(fmt::format("byte 0: expected a header's length (8 bytes), found a file of {} bytes", file.size()));
        const auto length = format::detail::load<std::uint64_t>(file.data());
        if (length > static_cast<std::uint64_t>(file.size() - 8))
            fail(fmt::format("byte 0: expected a header that ends in the file of {} bytes, found a length of {}", file.size(), length));
        if (length > static_cast<std::uint64_t>(longest_header))
            fail(fmt::format("byte 0: expected a header of at most {} bytes, found {}", longest_header, length));
        const char* const text = reinterpret_cast<const char*>(file.data()) + 8;
        if (length < 2 || *text != '{') fail("byte 8: expected a JSON object");
        detail::safetensors_header header(result.path);
        nlohmann::json::sax_parse(text, text + length, &header);

        const index_t data_start = 8 + static_cast<index_t>(length), data_size = file.size() - data_start;
        std::sort(header.entries.begin(), header.entries.end(),
                  [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
        index_t expected = 0; // the data have neither holes nor overlaps, and end with the file
        for (detail::safetensors_entry& e : header.entries) {
            const auto refuse = [&](const std::string& what) { fail(fmt::format("tensor {}: {}", detail::name_text(e.name), what)); };
            tensor t;
            t.name = e.name;
            t.format = e.type == "F32"    ? &format::info_of<format::f32>()
                       : e.type == "F16"  ? &format::info_of<format::f16>()
                       : e.type == "BF16" ? &format::info_of<format::bf16>()
                                          : nullptr;
            if (t.format == nullptr) refuse(fmt::format("expected dtype F32, F16 or BF16, found {}", detail::name_text(e.type)));
            t.bytes = t.format->bytes;
            for (const index_t n : e.shape)
                if (__builtin_mul_overflow(t.bytes, n, &t.bytes))
                    refuse(fmt::format("the size of shape {} overflows", shape_text(e.shape)));
            if (e.end < e.begin || e.end > data_size)
                refuse(fmt::format("expected data_offsets in the {} bytes of data, found [{}, {}]", data_size, e.begin, e.end));
            if (e.end - e.begin != t.bytes)
                refuse(fmt::format("expected {} bytes for {} {}, found data_offsets [{}, {}]", t.bytes, e.type, shape_text(e.shape),
                                   e.begin, e.end));
            if (e.begin != expected)
                refuse(fmt::format("expected data that begin at {}, where those before end; found {}", expected, e.begin));
            expected = e.end;
            t.shape = std::move(e.shape);
            t.data = file.data() + data_start + e.begin;
            t.file = result.path;
            t.owner = file.owner();
            result.add(std::move(t));
        }
        if (expected != data_size) fail(fmt::format("expected {} bytes of data, found {}", expected, data_size));
        return result;
    }

    static safetensors open_sharded(const std::filesystem::path& index_path) {
        const mapped_file file = mapped_file::open(index_path);
        if (file.size() > longest_header)
            throw error(
                fmt::format("{}: expected an index of at most {} bytes, found {}", index_path.string(), longest_header, file.size()));
        detail::safetensors_index index(index_path.string());
        const char* const text = reinterpret_cast<const char*>(file.data());
        nlohmann::json::sax_parse(text, text + file.size(), &index);
        if (!index.found) throw error(fmt::format("{}: expected weight_map, found none", index_path.string()));

        safetensors result;
        std::map<std::string, safetensors> shards;
        for (const auto& [name, shard] : index.files) {
            auto opened = shards.find(shard);
            if (opened == shards.end()) {
                const auto shard_path = index_path.parent_path() / shard;
                if (!detail::is_there(shard_path))
                    throw error(fmt::format("{}: tensor {}: its file is missing: {}", index_path.string(), detail::name_text(name),
                                            shard_path.string()));
                opened = shards.emplace(shard, open_file(shard_path)).first;
            }
            const tensor* t = opened->second.find(name);
            if (t == nullptr)
                throw error(fmt::format("{}: tensor {}: expected in {}, but not found there", index_path.string(), detail::name_text(name),
                                        opened->second.path));
            result.add(tensor(*t));
        }
        return result;
    }

  public:
    std::string path; ///< as given to open()

    /// Opens a .safetensors file, an index (*.index.json), or a folder with model.safetensors or model.safetensors.index.json.
    /// Of shards, the tensors that the index names are there.
    /// @throws loupe::error that says file, tensor, what was expected and what was found.
    static safetensors open(const std::filesystem::path& given) {
        safetensors result;
        std::error_code ignored;
        if (std::filesystem::is_directory(given, ignored)) {
            const auto single = given / "model.safetensors", index = given / "model.safetensors.index.json";
            if (detail::is_there(single))
                result = open_file(single);
            else if (detail::is_there(index))
                result = open_sharded(index);
            else
                throw error(fmt::format("{}: expected model.safetensors or model.safetensors.index.json in this folder, found neither",
                                        given.string()));
        } else if (given.filename().string().ends_with(".index.json")) {
            result = open_sharded(given);
        } else {
            result = open_file(given);
        }
        result.path = given.string();
        return result;
    }

    /// All tensors: of one file in the order of their data, of several by name.
    const std::vector<tensor>& tensors() const { return tensors_; }

    /// The tensor of a name, or null.
    const tensor* find(std::string_view name) const {
        const auto found = index_.find(name);
        return found == index_.end() ? nullptr : &tensors_[found->second];
    }
};

} // namespace loupe::io
