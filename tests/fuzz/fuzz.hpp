// What the fuzz targets share: files that exist only in memory, and checks.
//
// A target is a function from an input to nothing. Whatever the input, only loupe::error may leave it, memory stays within a small
// multiple of the input's size (entry.cpp), and the sanitizers have nothing to say.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string_view>
#include <vector>

namespace fuzz {

// The targets.
void blocks(std::string_view input);
void checkpoint(std::string_view input);
void config(std::string_view input);
void gguf(std::string_view input);
void npy(std::string_view input);
void safetensors(std::string_view input);
void tasks(std::string_view input);
void text(std::string_view input);
void tokenizer(std::string_view input);
void vocabulary(std::string_view input);

/// The folder in which put() places files. It exists; its files are empty for whoever does not map them.
const std::filesystem::path& folder();

/// From now until the end of this input, opening and mapping folder() / name gives `bytes`, which must stay where they are. Each mapping is
/// a copy of exactly that size on the heap, so that AddressSanitizer sees every read behind the end.
std::filesystem::path put(std::string_view name, std::string_view bytes);

/// A real file with these bytes, for what reads streams. The next call replaces it.
std::filesystem::path stream(std::string_view bytes);

/// One input that stands for several files: cut where the separator is.
inline constexpr std::string_view separator = "\n=FILE=\n";
inline std::vector<std::string_view> parts(std::string_view input) {
    std::vector<std::string_view> result;
    for (std::size_t end; (end = input.find(separator)) != std::string_view::npos; input.remove_prefix(end + separator.size()))
        result.push_back(input.substr(0, end));
    result.push_back(input);
    return result;
}

/// Part i of parts(), or `otherwise`.
inline std::string_view part(const std::vector<std::string_view>& all, std::size_t i, std::string_view otherwise) {
    return i < all.size() ? all[i] : otherwise;
}

/// What must hold for every input.
inline void require(bool holds, const char* what) {
    if (holds) return;
    std::cerr << "does not hold: " << what << '\n';
    std::abort();
}

/// Lets the compiler believe that a value is used.
template <class T>
void use(const T& value) {
    asm volatile("" : : "r"(&value) : "memory");
}

} // namespace fuzz
