// The machine and the build, in one line: what every figure carries.
#pragma once

#include <loupe/core/compat/target.hpp>
#include <loupe/core/compat/tiles.hpp>

#include <fstream>
#include <string>

namespace loupe::lab {

/// "AMD EPYC 9B14, g++ 12.2.0 -O3, AVX-512 with VNNI and BF16".
inline std::string machine_text() {
    std::string processor = "unknown processor";
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("model name")) {
            processor = line.substr(line.find(':') + 2);
            break;
        }
    }
#if defined(__clang__)
    std::string compiler = "clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#else
    std::string compiler = "g++ " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#endif
#if defined(__OPTIMIZE__)
    compiler += " optimised";
#else
    compiler += " NOT OPTIMISED";
#endif
#if defined(LOUPE_HAS_AMX)
    const char* target = "AVX-512 with VNNI and BF16, AMX";
#elif defined(__AVX512VNNI__) && defined(__AVX512BF16__)
    const char* target = simd::is_intel_server ? "AVX-512 with VNNI, Intel"
                         : simd::is_zen_5      ? "AVX-512 with VNNI and BF16, Zen 5"
                                               : "AVX-512 with VNNI and BF16";
#elif defined(__AVX512F__)
    const char* target = "AVX-512";
#elif defined(__AVX2__)
    const char* target = "AVX2 and FMA";
#else
    const char* target = "baseline";
#endif
    return processor + ", " + compiler + ", " + target;
}

} // namespace loupe::lab
