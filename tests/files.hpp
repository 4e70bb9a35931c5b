// What the tests of files and of refusals share.
#pragma once

#include <loupe/core/compat/catch2.hpp>
#include <loupe/core/error.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include <unistd.h>

namespace tests {

/// A temporary folder that goes away with the object; named by process, since CTest runs tests side by side.
class folder {
    std::filesystem::path path_;

  public:
    folder() {
        static int count = 0;
        do {
            path_ = std::filesystem::temp_directory_path() / ("loupe_test_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
        } while (!std::filesystem::create_directory(path_)); // one that a killed process left is passed over
    }
    folder(const folder&) = delete;
    folder& operator=(const folder&) = delete;
    ~folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
    const std::filesystem::path& path() const { return path_; }
};

/// Whole files.
inline void save(const std::filesystem::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
inline std::string load(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// The message of the loupe::error that action() ends with; empty if it ends well.
std::string refusal(const auto& action) {
    try {
        static_cast<void>(action());
        return "";
    } catch (const loupe::error& e) {
        return e.what();
    }
}

/// Whether the text holds the part; for assertions, which then show both.
inline bool contains(std::string_view text, std::string_view part) {
    if (text.find(part) != std::string_view::npos) return true;
    UNSCOPED_INFO("found: " << text << " -- expected: " << part);
    return false;
}

} // namespace tests
