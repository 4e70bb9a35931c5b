// Files in memory. The linker's --wrap sends the library's calls of open, fstat, mmap, munmap and close here.
#include "fuzz.hpp"

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern "C" {
int __real_open(const char* path, int flags, ...);
int __real_fstat(int file, struct stat* status);
int __real_close(int file);
void* __real_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset);
int __real_munmap(void* base, std::size_t size);
}

namespace {

struct file {
    std::string path;
    std::string_view bytes;
    void* mapping = nullptr; ///< a file is mapped once at a time
};

constexpr std::array names{
    "x.gguf",        "x-00001-of-00002.gguf", "x-00002-of-00002.gguf", "x.npy",          "model.safetensors",     "a.safetensors",
    "b.safetensors", "x.index.json",          "config.json",           "tokenizer.json", "tokenizer_config.json", "generation_config.json"};
constexpr int first_descriptor = 1 << 20;

// The folder with an empty file of every name, so that questions whether they exist have their answer.
struct folder_of_names {
    std::filesystem::path path;
    std::array<file, names.size()> files;
    int stream = -1;

    folder_of_names() {
        std::string pattern = (std::filesystem::temp_directory_path() / "loupe-fuzz-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path = pattern;
        for (std::size_t i = 0; i < names.size(); ++i) {
            files[i].path = (path / names[i]).string();
            std::ofstream(files[i].path).flush();
        }
        stream = ::memfd_create("loupe-fuzz", MFD_CLOEXEC);
        if (stream < 0) std::abort();
    }
    folder_of_names(const folder_of_names&) = delete;
    folder_of_names& operator=(const folder_of_names&) = delete;
    ~folder_of_names() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
};

folder_of_names& all() {
    static folder_of_names instance;
    return instance;
}

// A comparison that the fuzzer does not learn words from.
__attribute__((no_sanitize("coverage"))) bool same(const std::string& ours, const char* path) {
    std::size_t i = 0;
    while (i < ours.size() && ours[i] == path[i]) ++i; // stops at the path's end
    return i == ours.size() && path[i] == '\0';
}

bool is_ours(int descriptor) { return descriptor >= first_descriptor && descriptor < first_descriptor + static_cast<int>(names.size()); }
file& of(int descriptor) { return all().files[static_cast<std::size_t>(descriptor - first_descriptor)]; }

} // namespace

extern "C" int __wrap_open(const char* path, int flags, ...) {
    for (std::size_t i = 0; i < names.size(); ++i)
        if (same(all().files[i].path, path)) return first_descriptor + static_cast<int>(i);
    std::va_list rest;
    va_start(rest, flags);
    const int mode = (flags & O_CREAT) != 0 ? va_arg(rest, int) : 0;
    va_end(rest);
    return __real_open(path, flags, mode);
}

extern "C" int __wrap_fstat(int descriptor, struct stat* status) {
    if (!is_ours(descriptor)) return __real_fstat(descriptor, status);
    *status = {};
    status->st_mode = S_IFREG;
    status->st_size = static_cast<off_t>(of(descriptor).bytes.size());
    return 0;
}

extern "C" int __wrap_close(int descriptor) { return is_ours(descriptor) ? 0 : __real_close(descriptor); }

extern "C" void* __wrap_mmap(void* at, std::size_t size, int protection, int flags, int descriptor, off_t offset) {
    if (!is_ours(descriptor)) return __real_mmap(at, size, protection, flags, descriptor, offset);
    file& f = of(descriptor);
    if (f.mapping != nullptr || size != f.bytes.size() || offset != 0) std::abort();
    f.mapping = std::malloc(size);
    return std::memcpy(f.mapping, f.bytes.data(), size);
}

extern "C" int __wrap_munmap(void* base, std::size_t size) {
    for (file& f : all().files)
        if (f.mapping == base) {
            std::free(base);
            f.mapping = nullptr;
            return 0;
        }
    return __real_munmap(base, size);
}

namespace fuzz {

const std::filesystem::path& folder() { return all().path; }

std::filesystem::path put(std::string_view name, std::string_view bytes) {
    for (std::size_t i = 0; i < names.size(); ++i)
        if (names[i] == name) {
            all().files[i].bytes = bytes;
            return all().files[i].path;
        }
    std::abort();
}

std::filesystem::path stream(std::string_view bytes) {
    const int file = all().stream;
    if (::ftruncate(file, 0) != 0 || ::pwrite(file, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) std::abort();
    return "/proc/self/fd/" + std::to_string(file);
}

} // namespace fuzz
