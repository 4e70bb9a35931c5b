// UTF-8: checking it, and cutting a stream of bytes only between characters.
#pragma once

#include <loupe/core/types.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace loupe::io {

enum class utf8_state { valid, invalid, cut };

/// What stands at the front of some bytes: a character of `size` bytes; `size` bytes that begin no character; or (`cut`) `size`
/// bytes that could begin one, with which the bytes end.
struct utf8_step {
    utf8_state state;
    index_t size;
};

/// The first step of `bytes` (not empty), by the table of well-formed sequences of the Unicode standard (table 3-7): no overlong
/// forms, no surrogates, nothing above U+10FFFF. An invalid step is the longest beginning of a character, at least one byte.
inline utf8_step utf8_front(std::string_view bytes) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    const unsigned lead = at(0);
    if (lead < 0x80) return {utf8_state::valid, 1};
    std::size_t size = 0;
    unsigned low = 0x80, high = 0xBF; // of the second byte
    if (lead >= 0xC2 && lead <= 0xDF) {
        size = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        size = 3;
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        size = 4;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
    } else {
        return {utf8_state::invalid, 1};
    }
    for (std::size_t i = 1; i < size; ++i) {
        if (i == bytes.size()) return {utf8_state::cut, static_cast<index_t>(i)};
        if (at(i) < low || at(i) > high) return {utf8_state::invalid, static_cast<index_t>(i)};
        low = 0x80;
        high = 0xBF;
    }
    return {utf8_state::valid, static_cast<index_t>(size)};
}

/// Offset of the first byte that belongs to no character, if there is one.
inline std::optional<index_t> first_invalid(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        if (static_cast<unsigned char>(text[i]) < 0x80) {
            ++i;
            continue;
        }
        const utf8_step step = utf8_front(text.substr(i));
        if (step.state != utf8_state::valid) return static_cast<index_t>(i);
        i += static_cast<std::size_t>(step.size);
    }
    return std::nullopt;
}

/// The code point of one valid character.
inline char32_t code_point(std::string_view character) {
    const auto at = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(character[i])); };
    switch (character.size()) {
    case 1:
        return at(0);
    case 2:
        return (at(0) & 0x1F) << 6 | (at(1) & 0x3F);
    case 3:
        return (at(0) & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F);
    default:
        return (at(0) & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F);
    }
}

/// Moves all whole characters from the front of `pending` into the result, U+FFFD in place of each invalid step. The beginning of a
/// character at the end stays in `pending`, unless this is the `last` call: then it is U+FFFD too.
inline std::string take_utf8(std::string& pending, bool last) {
    std::string out;
    out.reserve(pending.size());
    std::size_t i = 0;
    while (i < pending.size()) {
        const utf8_step step = utf8_front(std::string_view(pending).substr(i));
        const auto size = static_cast<std::size_t>(step.size);
        if (step.state == utf8_state::cut && !last) break;
        if (step.state == utf8_state::valid)
            out.append(pending, i, size);
        else
            out += "\xEF\xBF\xBD";
        i += size;
    }
    pending.erase(0, i);
    return out;
}

/// White space as Python's str.strip sees it: chat templates trim with that.
inline bool is_space(char32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/// `text` without white space at both ends. Invalid bytes are no white space.
inline std::string_view trim_space(std::string_view text) {
    while (!text.empty()) {
        const utf8_step step = utf8_front(text);
        const auto size = static_cast<std::size_t>(step.size);
        if (step.state != utf8_state::valid || !is_space(code_point(text.substr(0, size)))) break;
        text.remove_prefix(size);
    }
    while (!text.empty()) {
        std::size_t size = 1; // back over at most three continuation bytes
        while (size < std::min<std::size_t>(4, text.size()) && (static_cast<unsigned char>(text[text.size() - size]) & 0xC0) == 0x80)
            ++size;
        const std::string_view character = text.substr(text.size() - size);
        const utf8_step step = utf8_front(character);
        if (step.state != utf8_state::valid || static_cast<std::size_t>(step.size) != size || !is_space(code_point(character))) break;
        text.remove_suffix(size);
    }
    return text;
}

} // namespace loupe::io
