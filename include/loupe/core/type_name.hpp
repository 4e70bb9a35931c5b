// Types as text, for descriptions and differences.
#pragma once

#include <string>
#include <string_view>

namespace loupe {

namespace detail {

template <class T>
constexpr std::string_view raw_type_name() {
    // g++: "… raw_type_name() [with T = X; std::string_view = …]", clang: "… raw_type_name() [T = X]"
    const std::string_view text = __PRETTY_FUNCTION__;
    const std::size_t begin = text.find("T = ") + 4;
    const std::size_t semicolon = text.find(';', begin);
    return text.substr(begin, (semicolon == std::string_view::npos ? text.size() - 1 : semicolon) - begin);
}

/// What a compiler calls a type, as its user writes it.
inline std::string written_name(std::string_view raw) {
    std::string text(raw);
    const auto drop = [&text](std::string_view what, std::string_view by) {
        for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) text.replace(at, what.size(), by);
    };
    drop("loupe::", "");
    drop("(anonymous namespace)::", "");
    drop("{anonymous}::", "");
    drop(" >", ">");
    return text;
}

} // namespace detail

/// The name of T as its user writes it inside namespace loupe: "rope::proportional<std::ratio<1, 4>>".
template <class T>
std::string type_name() {
    return detail::written_name(detail::raw_type_name<T>());
}

} // namespace loupe
