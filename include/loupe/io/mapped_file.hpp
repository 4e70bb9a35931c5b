// Whole files: mapped for reading, and written so that a failure leaves nothing behind.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace loupe::io {

namespace detail {

/// A name out of a file, fit for a message: short, and without control characters.
inline std::string name_text(std::string_view name) {
    std::string text = "'";
    for (const char c : name.substr(0, 80)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f)
            text += fmt::format("\\x{:02x}", static_cast<unsigned>(byte));
        else
            text += c;
    }
    return text + (name.size() > 80 ? "...'" : "'");
}

inline std::string reason(int code) { return std::generic_category().message(code); }

/// Whether there is a file or folder of this name. Where that cannot be answered (a name out of a file may be too long), there is none.
inline bool is_there(const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
}

struct descriptor {
    int value;
    explicit descriptor(int v) : value(v) {}
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
        if (value >= 0) ::close(value);
    }
};

/// Ends a mapping. An owner of bytes that ends with it owns a mapping, see forget().
struct unmap {
    std::size_t size;
    void operator()(const void* base) const noexcept { ::munmap(const_cast<void*>(base), size); }
};

} // namespace detail

/// A file's bytes, mapped read-only; unmapped when the last copy of `owner()` is gone.
/// A file that another program shortens while it is mapped ends the process (POSIX, SIGBUS).
class mapped_file {
    std::shared_ptr<const void> base_;
    std::size_t size_;

    mapped_file(std::shared_ptr<const void> base, std::size_t size) : base_(std::move(base)), size_(size) {}

  public:
    /// @throws loupe::error if the file is missing, unreadable, empty, or no regular file.
    static mapped_file open(const std::filesystem::path& path) {
        // O_NONBLOCK: opening a pipe without a writer must fail below and not wait here.
        const detail::descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (file.value < 0) throw error(fmt::format("{}: cannot be opened: {}", path.string(), detail::reason(errno)));
        struct stat status {};
        if (::fstat(file.value, &status) != 0) throw error(fmt::format("{}: cannot be read: {}", path.string(), detail::reason(errno)));
        if (S_ISDIR(status.st_mode)) throw error(fmt::format("{}: expected a file, found a folder", path.string()));
        if (!S_ISREG(status.st_mode)) throw error(fmt::format("{}: expected a regular file, found a device or a pipe", path.string()));
        if (status.st_size == 0) throw error(fmt::format("{}: the file is empty", path.string()));
        const auto size = static_cast<std::size_t>(status.st_size);
        void* const base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
        if (base == MAP_FAILED) throw error(fmt::format("{}: cannot be mapped: {}", path.string(), detail::reason(errno)));
        return {std::shared_ptr<const void>(base, detail::unmap{size}), size};
    }

    const std::byte* data() const { return static_cast<const std::byte*>(base_.get()); }
    index_t size() const { return static_cast<index_t>(size_); }
    std::span<const std::byte> bytes() const { return {data(), size_}; }
    /// Keeps the mapping alive.
    const std::shared_ptr<const void>& owner() const { return base_; }
};

/// Gives back the memory of bytes of a mapped file, which are read from it again when they are wanted. Other bytes, which only memory has,
/// stay.
inline void forget(const std::shared_ptr<const void>& owner, const std::byte* bytes, index_t count) {
    if (std::get_deleter<detail::unmap>(owner) == nullptr) return;
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<std::uintptr_t>(bytes);
    const std::uintptr_t first = (begin + page - 1) / page * page, last = (begin + static_cast<std::uintptr_t>(count)) / page * page;
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED); // advice: a failure changes nothing
}

/// A file that appears as a whole or not at all: written without a name, or where the file system has no such files under another name
/// beside the target, and renamed by close(). So a process that is ended leaves nothing behind either. A target that exists and is no
/// regular file (a device, a pipe) is written to directly. Every failure is an output_error and removes what was written so far; so does a
/// destructor without close().
class output_file {
    std::filesystem::path target_, temporary_; ///< temporary_ is empty where the file has no name, or the target is written to directly
    int file_ = -1;
    bool nameless_ = false;
    std::vector<std::byte> pending_;

    [[noreturn]] void fail(const char* what, int code) {
        discard();
        throw output_error(fmt::format("{}: {}: {}", target_.string(), what, detail::reason(code)));
    }

    void discard() noexcept {
        if (file_ >= 0) ::close(file_);
        file_ = -1;
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        temporary_.clear();
    }

    /// Calls make(name) with names beside the target until one was free.
    template <class Make>
    void find_name(Make&& make) {
        for (int attempt = 0;; ++attempt) {
            std::filesystem::path name = target_;
            name += fmt::format(".{}-{}.part", ::getpid(), attempt);
            if (make(name.c_str()) >= 0) {
                temporary_ = name;
                return;
            }
            if (errno != EEXIST || attempt == 1000) fail("cannot be created", errno);
        }
    }

    static std::string link_to(int file) { return fmt::format("/proc/self/fd/{}", file); }

    /// Whether a file without a name was opened, and can be given one.
    bool open_nameless() {
#ifdef O_TMPFILE
        const auto folder = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
        file_ = ::open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
        if (file_ < 0) return false;
        if (::access(link_to(file_).c_str(), F_OK) == 0) return true;
        ::close(std::exchange(file_, -1));
#endif
        return false;
    }

    void put(const std::byte* from, std::size_t count) {
        while (count > 0) {
            const ssize_t written = ::write(file_, from, count);
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) fail("cannot be written", written < 0 ? errno : ENOSPC);
            from += written;
            count -= static_cast<std::size_t>(written);
        }
    }

    void flush() {
        put(pending_.data(), pending_.size());
        pending_.clear();
    }

  public:
    explicit output_file(const std::filesystem::path& path) : target_(path) {
        std::error_code ignored;
        const auto status = std::filesystem::status(path, ignored); // follows links, which a rename would replace
        if (std::filesystem::is_directory(status)) throw output_error(fmt::format("{}: expected a file, found a folder", path.string()));
        if (std::filesystem::exists(status)) {
            const auto resolved = std::filesystem::canonical(path, ignored);
            if (!ignored) target_ = resolved;
        }
        if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
            file_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
            if (file_ < 0) fail("cannot be opened for writing", errno);
            return;
        }
        nameless_ = open_nameless();
        if (!nameless_) find_name([&](const char* name) { return file_ = ::open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
    }
    output_file(const output_file&) = delete;
    output_file& operator=(const output_file&) = delete;
    ~output_file() { discard(); }

    void write(std::span<const std::byte> bytes) {
        if (file_ < 0) throw output_error(fmt::format("{}: written to after it was closed", target_.string()));
        constexpr std::size_t block = std::size_t{1} << 16;
        if (pending_.size() + bytes.size() > block) flush();
        if (bytes.size() >= block)
            put(bytes.data(), bytes.size());
        else
            pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    }
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

    /// Ends the file and gives it its name.
    void close() {
        if (file_ < 0) throw output_error(fmt::format("{}: closed twice", target_.string()));
        flush();
        if (std::exchange(nameless_, false))
            find_name([&](const char* name) { return ::linkat(AT_FDCWD, link_to(file_).c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW); });
        const int file = std::exchange(file_, -1);
        if (::close(file) != 0) fail("cannot be written", errno);
        if (!temporary_.empty() && ::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot be renamed to", errno);
        temporary_.clear();
    }
};

} // namespace loupe::io
