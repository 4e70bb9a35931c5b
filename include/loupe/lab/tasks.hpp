// Tasks: texts with marked answers, one JSON object a line.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace loupe::lab {

/// A text and the answers in it. Spans are byte offsets [begin, end) of the UTF-8 text, ascending, not empty, without overlap.
struct task {
    std::string kind;
    std::string text;
    std::vector<std::pair<index_t, index_t>> spans;
    std::string where; ///< "file:line", for messages
};

namespace detail {

/// Counts brackets outside of strings. The parser goes down by recursion in places, and a hostile line must not exhaust the stack.
inline bool nested_deeper_than(std::string_view json, int limit) {
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > limit) return true;
        } else if (c == ']' || c == '}') {
            --depth;
        }
    }
    return false;
}

inline const nlohmann::json& field(const nlohmann::json& object, const char* name, const std::string& where) {
    const auto it = object.find(name);
    if (it == object.end()) throw error(fmt::format("{}: the field \"{}\" is missing", where, name));
    return *it;
}

inline std::string text_field(const nlohmann::json& object, const char* name, const std::string& where) {
    const nlohmann::json& value = field(object, name, where);
    if (!value.is_string()) throw error(fmt::format("{}: \"{}\" must be a string, it is: {}", where, name, value.type_name()));
    std::string result = value.get<std::string>();
    if (result.empty()) throw error(fmt::format("{}: \"{}\" is empty", where, name));
    return result;
}

inline index_t offset_in(std::string_view text, const nlohmann::json& value, std::size_t span, const std::string& where) {
    if (!value.is_number_integer()) {
        throw error(fmt::format("{}: span {}: offsets must be integers, one is: {}", where, span, value.type_name()));
    }
    const bool too_large = value.is_number_unsigned() && value.get<std::uint64_t>() > text.size();
    if (too_large || value.get<std::int64_t>() < 0) {
        throw error(fmt::format("{}: span {}: offset {} is outside of the text's {} bytes", where, span, value.dump(), text.size()));
    }
    const auto offset = value.get<index_t>();
    const auto at = static_cast<std::size_t>(offset);
    // Most likely offsets were counted in characters, and then all of them are wrong.
    if (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) {
        throw error(fmt::format("{}: span {}: offset {} is inside a character (offsets count bytes)", where, span, offset));
    }
    return offset;
}

inline task parse_task(const std::string& line, const std::string& where) {
    if (nested_deeper_than(line, 16)) throw error(fmt::format("{}: JSON nested deeper than 16 levels", where));
    nlohmann::json object;
    try {
        object = nlohmann::json::parse(line);
    } catch (const nlohmann::json::exception& e) {
        throw error(fmt::format("{}: not valid JSON: {}", where, e.what()));
    }
    if (!object.is_object()) throw error(fmt::format("{}: a JSON object was expected, this is: {}", where, object.type_name()));

    task result;
    result.where = where;
    result.kind = text_field(object, "kind", where);
    result.text = text_field(object, "text", where);
    const nlohmann::json& spans = field(object, "spans", where);
    if (!spans.is_array()) throw error(fmt::format("{}: \"spans\" must be an array, it is: {}", where, spans.type_name()));
    if (spans.empty()) throw error(fmt::format("{}: \"spans\" is empty, so nothing would be measured", where));
    for (std::size_t i = 0; i < spans.size(); ++i) {
        if (!spans[i].is_array() || spans[i].size() != 2) {
            throw error(fmt::format("{}: span {} must be [begin, end]", where, i));
        }
        const index_t begin = offset_in(result.text, spans[i][0], i, where);
        const index_t end = offset_in(result.text, spans[i][1], i, where);
        if (begin >= end) throw error(fmt::format("{}: span {} [{}, {}) is empty", where, i, begin, end));
        if (!result.spans.empty() && begin < result.spans.back().second) {
            throw error(fmt::format("{}: span {} [{}, {}) begins before the end of the span before it, {}", where, i, begin, end,
                                    result.spans.back().second));
        }
        result.spans.emplace_back(begin, end);
    }
    return result;
}

} // namespace detail

/// Reads tasks from a file of JSON lines `{"kind": "sums", "text": "…", "spans": [[begin, end], …]}`. Blank lines are skipped and
/// further fields ignored. Throws `error` with file and line for every mistake, and if there is no task at all.
inline std::vector<task> read_tasks(const std::filesystem::path& file) {
    std::error_code ignored;
    if (std::filesystem::is_directory(file, ignored)) throw error(fmt::format("{}: is a folder, a file was expected", file.string()));
    std::ifstream in(file, std::ios::binary);
    if (!in) throw error(fmt::format("{}: cannot be opened", file.string()));
    std::vector<task> result;
    std::string line;
    for (index_t number = 1; std::getline(in, line); ++number) {
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        result.push_back(detail::parse_task(line, fmt::format("{}:{}", file.string(), number)));
    }
    if (in.bad()) throw error(fmt::format("{}: cannot be read to its end", file.string()));
    if (result.empty()) throw error(fmt::format("{}: holds no task", file.string()));
    return result;
}

/// For every token the number of the span it belongs to, or -1. `token_ranges` are byte ranges [begin, end) of the task's text; a
/// token without bytes (BOS) has an empty range and belongs nowhere. A token belongs to a span if it begins at or after begin - 1
/// and ends at or before end: the piece that carries the space before an answer counts. Of two adjacent spans the earlier one wins.
/// Throws `error` naming the task's line if a span gets no token.
inline std::vector<index_t> span_of_tokens(const task& t, std::span<const std::pair<index_t, index_t>> token_ranges) {
    std::vector<index_t> result(token_ranges.size(), -1);
    std::vector<bool> found(t.spans.size(), false);
    for (std::size_t i = 0; i < token_ranges.size(); ++i) {
        const auto [begin, end] = token_ranges[i];
        if (begin >= end) continue;
        // The first span that does not end before the token does; those behind it begin even later.
        const auto at = std::partition_point(t.spans.begin(), t.spans.end(), [end = end](const auto& s) { return s.second < end; });
        if (at == t.spans.end() || begin < at->first - 1) continue;
        result[i] = at - t.spans.begin();
        found[static_cast<std::size_t>(result[i])] = true;
    }
    for (std::size_t s = 0; s < found.size(); ++s) {
        if (found[s]) continue;
        throw error(fmt::format("{}: no token lies within span {} [{}, {}), so it cannot be judged", t.where, s, t.spans[s].first,
                                t.spans[s].second));
    }
    return result;
}

} // namespace loupe::lab
