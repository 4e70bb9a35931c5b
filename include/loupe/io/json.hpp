// JSON files as trees.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/io/utf8.hpp>

#include <filesystem>
#include <string>
#include <string_view>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace loupe::io::detail {

/// A JSON file, which is never waited for: a device or a pipe under its name is refused.
/// Errors: unreadable, malformed, nested deeper than 64 (a parser's destructor would use up the stack).
inline nlohmann::json read_json(const std::filesystem::path& path) {
    const mapped_file file = mapped_file::open(path);
    const std::string_view text(reinterpret_cast<const char*>(file.data()), static_cast<std::size_t>(file.size()));
    constexpr int most = 64;
    int depth = 0;
    bool inside = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (inside) {
            if (c == '\\')
                ++i;
            else if (c == '"')
                inside = false;
        } else if (c == '"') {
            inside = true;
        } else if (c == '[' || c == '{') {
            if (++depth > most)
                throw error(fmt::format("{}: expected JSON nested at most {} deep, found more at byte offset {}", path.string(), most, i));
        } else if (c == ']' || c == '}') {
            --depth;
        }
    }
    try {
        return nlohmann::json::parse(text);
    } catch (const nlohmann::json::exception& e) {
        std::string message = e.what();
        throw error(fmt::format("{}: expected JSON, found: {}", path.string(), take_utf8(message, true)));
    }
}

} // namespace loupe::io::detail
