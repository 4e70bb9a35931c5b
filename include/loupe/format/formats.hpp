// All weight formats, and how to find one by a file's type id or by name.
#pragma once

#include <loupe/format/blocks32.hpp>
#include <loupe/format/concept.hpp>
#include <loupe/format/floats.hpp>
#include <loupe/format/fp4.hpp>
#include <loupe/format/iq4.hpp>
#include <loupe/format/k_quants.hpp>
#include <loupe/format/registry.hpp>

#include <array>

namespace loupe::format {

/// Every weight format that files hold, by id.
using all = type_list<f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, bf16, mxfp4, nvfp4>;

namespace detail {

template <class List>
struct info_table;
template <class... Fs>
struct info_table<type_list<Fs...>> {
    static constexpr std::array<const info*, sizeof...(Fs)> entries{&info_for<Fs>...};
};

constexpr char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

constexpr bool equal_names(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (upper(a[i]) != upper(b[i])) return false;
    return true;
}

} // namespace detail

/// The descriptions of all formats, by id.
constexpr const auto& infos() { return detail::info_table<all>::entries; }

/// The format with a GGUF type id, or null.
constexpr const info* find(std::uint32_t id) {
    for (const info* f : infos())
        if (f->id == id) return f;
    return nullptr;
}

/// The format of a name ("Q4_K", "q4_k"), or null.
constexpr const info* find(std::string_view name) {
    for (const info* f : infos())
        if (detail::equal_names(f->name, name)) return f;
    return nullptr;
}

} // namespace loupe::format
