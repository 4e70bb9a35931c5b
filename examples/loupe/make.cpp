#include "commands.hpp"

#include <loupe/io/make.hpp>

#include <chrono>
#include <map>

namespace program {

using namespace loupe;

void make(const make_options& o) {
    const auto start = std::chrono::steady_clock::now();
    dimensions d = io::sizes_of_variant(o.variant);
    if (o.blocks > 0) d = io::with_blocks(d, o.blocks);
    if (o.vocabulary > 0) d.vocabulary = o.vocabulary;
    const auto made = io::make_model(o.out, d, io::format_mix(o.types), o.seed, fmt::format("{} with random weights", o.variant));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::map<std::string_view, std::pair<index_t, index_t>> formats; // tensors and bytes
    index_t bytes = 0;
    for (const auto& t : made) {
        auto& [tensors, of_format] = formats[t.format->name];
        ++tensors;
        of_format += t.bytes();
        bytes += t.bytes();
    }
    for (const auto& [name, f] : formats)
        fmt::print("{:<8}{:>5} tensors {:>10.1f} MB\n", name, f.first, static_cast<double>(f.second) * 1e-6);
    const double megabytes = static_cast<double>(bytes) * 1e-6;
    fmt::print("{:<8}{:>5} tensors {:>10.1f} MB\n", "all", made.size(), megabytes);
    fmt::print(stderr, "wrote {} in {:.1f} s, {:.0f} MB/s\n", o.out, seconds, megabytes / seconds);
}

} // namespace program
