// libFuzzer's entry: `fuzz TARGET ...` runs one target, lets nothing but loupe::error pass, watches memory, and writes other numbers.
#include "fuzz.hpp"

#include <loupe/core/error.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include <sanitizer/allocator_interface.h>

namespace {

// Bytes on the heap at one time: at most `times` for every byte of the input (files are read into trees; a text is cut into parts of 40
// bytes), and a fixed part for tables (of 1024 blocks), streams and messages.
constexpr std::ptrdiff_t fixed_part = 64 * 1024;

struct target {
    const char* name;
    void (*run)(std::string_view input);
    std::ptrdiff_t times = 32;
};
constexpr target targets[] = {{"blocks", fuzz::blocks},
                              {"checkpoint", fuzz::checkpoint},
                              {"config", fuzz::config},
                              {"gguf", fuzz::gguf},
                              {"npy", fuzz::npy},
                              {"safetensors", fuzz::safetensors},
                              {"tasks", fuzz::tasks},
                              {"text", fuzz::text, 256},
                              {"tokenizer", fuzz::tokenizer},
                              {"vocabulary", fuzz::vocabulary}};
const target* chosen = nullptr;

std::ptrdiff_t live = 0, peak = 0;
std::ptrdiff_t most_seen = 0;

void allocated(const volatile void*, std::size_t size) { peak = std::max(peak, live += static_cast<std::ptrdiff_t>(size)); }
void released(const volatile void* block) {
    if (block != nullptr) live -= static_cast<std::ptrdiff_t>(__sanitizer_get_allocated_size(const_cast<const void*>(block)));
}

void check_memory(std::ptrdiff_t bytes, std::size_t size) {
    const auto input = static_cast<std::ptrdiff_t>(size);
    most_seen = std::max(most_seen, bytes);
    const std::ptrdiff_t most = fixed_part + chosen->times * input;
    if (bytes <= most) return;
    std::fprintf(stderr, "memory: expected at most %td bytes for an input of %td, found %td\n", most, input, bytes);
    std::abort();
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    if (*argc > 1)
        for (const target& t : targets)
            if (std::strcmp(t.name, (*argv)[1]) == 0) chosen = &t;
    if (chosen == nullptr) {
        std::fprintf(stderr, "fuzz: expected a target's name first, found %s\n", *argc > 1 ? (*argv)[1] : "nothing");
        std::exit(1);
    }
    std::copy(*argv + 2, *argv + *argc, *argv + 1); // libFuzzer need not know
    --*argc;
    fuzz::folder();
    try { // what is made once is made here
        chosen->run({});
    } catch (const loupe::error&) {
    }
    __sanitizer_install_malloc_and_free_hooks(allocated, released);
    std::atexit([] { std::fprintf(stderr, "memory: at most %td bytes\n", most_seen); });
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::ptrdiff_t before = peak = live;
    try {
        chosen->run({reinterpret_cast<const char*>(data), size});
    } catch (const loupe::error& e) {
        fuzz::require(*e.what() != '\0', "an error has a message");
        if (std::getenv("LOUPE_FUZZ_MESSAGES") != nullptr) std::fprintf(stderr, "refused: %s\n", e.what());
    }
    check_memory(peak - before, size);
    return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

// One time in four, a number that is spelled out becomes another: mutations of single bytes seldom leave JSON whole and its sizes wrong.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    static const char* const numbers[] = {
        "0",  "1",   "2",     "3",   "7", "64", "1000", "65536", "1000000000", "2147483648", "9223372036854775807", "18446744073709551615",
        "-1", "0.5", "1e999", "null"};
    std::minstd_rand random(seed);
    if (random() % 4 == 0) {
        constexpr const char* digits = "0123456789";
        std::string text(reinterpret_cast<const char*>(data), size);
        if (const std::size_t begin = text.find_first_of(digits, random() % (size + 1)); begin != std::string::npos) {
            text.replace(begin, text.find_first_not_of(digits, begin) - begin, numbers[random() % std::size(numbers)]);
            if (text.size() <= most) return std::memcpy(data, text.data(), text.size()), text.size();
        }
    }
    return LLVMFuzzerMutate(data, size, most);
}
