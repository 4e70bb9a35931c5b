// What this machine can do at most, measured in the process that measures the kernels: one thread's arithmetic in floats and in
// 8-bit integers, and its reading of memory.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/compat/int8.hpp>
#include <loupe/core/compat/xsimd.hpp>

#include <algorithm>
#include <chrono>

namespace bench {

inline double seconds_of(auto&& f) {
    double best = 1e9;
    for (int i = 0; i < 7; ++i) {
        const auto start = std::chrono::steady_clock::now();
        f();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

/// Fused multiply-adds a second, times two: twelve independent chains, enough to hide the latency of any x86 core.
inline double float_roof() {
    using loupe::simd::floats;
    constexpr int chains = 12, rounds = 2'000'000;
    volatile float sink = 0;
    const double s = seconds_of([&] {
        floats sum[chains];
        for (int c = 0; c < chains; ++c) sum[c] = floats(static_cast<float>(c));
        const floats a(1.0000001F), b(1e-7F);
        for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
            for (int c = 0; c < chains; ++c) sum[c] = xsimd::fma(sum[c], a, b);
        }
        floats total(0.0F);
        for (int c = 0; c < chains; ++c) total += sum[c];
        sink = loupe::simd::sum(total);
    });
    return 2.0 * chains * rounds * loupe::simd::width / s;
}

/// Products and additions of 8-bit integers a second: twelve independent chains, each with activations of its own, so that no compiler can
/// take one chain for another.
inline double int8_roof() {
    using isa = loupe::simd::int8;
    constexpr int chains = 12, rounds = 500'000;
    std::byte memory[16 * isa::rows];
    std::uint8_t x[16 * chains];
    for (std::size_t i = 0; i < sizeof memory; ++i) memory[i] = static_cast<std::byte>(i * 37 % 16);
    for (std::size_t i = 0; i < sizeof x; ++i) x[i] = static_cast<std::uint8_t>(i * 53);
    volatile float sink = 0;
    const double s = seconds_of([&] {
        typename isa::bytes w[4];
        for (int q = 0; q < 4; ++q) w[q] = isa::load(memory + q * 4 * isa::rows);
        typename isa::ints sum[chains];
        for (std::int32_t c = 0; c < chains; ++c) sum[c] = isa::all(c);
        for (int i = 0; i < rounds; ++i) {
            asm volatile("" : : "r"(x) : "memory"); // the activations are read again
#pragma GCC unroll 12
            for (int c = 0; c < chains; ++c) sum[c] = isa::template dot<16>(sum[c], w, x + 16 * c);
        }
        float out[isa::rows];
        for (const auto& v : sum) {
            isa::store(out, isa::to_floats(v));
            sink = sink + out[0];
        }
    });
    return 2.0 * chains * rounds * 16 * isa::rows / s;
}

/// Bytes a second of a sum over 256 MB.
inline double read_roof() {
    using loupe::simd::floats;
    loupe::aligned_vector<float> memory(64 << 20, 1.0F);
    volatile float sink = 0;
    const double s = seconds_of([&] {
        floats sum[8];
        for (auto& v : sum) v = floats(0.0F);
        for (std::size_t i = 0; i < memory.size(); i += 8 * static_cast<std::size_t>(loupe::simd::width)) {
#pragma GCC unroll 8
            for (int c = 0; c < 8; ++c)
                sum[c] += floats::load_aligned(memory.data() + i + static_cast<std::size_t>(c * loupe::simd::width));
        }
        floats total(0.0F);
        for (const auto& v : sum) total += v;
        sink = loupe::simd::sum(total);
    });
    return static_cast<double>(memory.size() * sizeof(float)) / s;
}

} // namespace bench
