// What this machine can do at most, measured in the process that measures the kernels: arithmetic in floats, 8-bit integers, BF16 and tiles
// of BF16, and reading of memory, with one thread and with all. Seconds are those of the clock on the wall, for roofs and kernels alike.
#pragma once

#include "memory.hpp"

#include <loupe/core/compat/int8.hpp>
#include <loupe/core/compat/tiles.hpp>
#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/executor.hpp>
#include <loupe/lab/reading.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

namespace bench {

using loupe::lab::seconds_of;

namespace detail {

/// Independent chains of operations: enough to hide the latency of any x86 core, few enough for the registers of AVX2.
inline constexpr int chains = 12;

/// Operations a second if each thread does `work` operations in one call of f.
inline double rate(loupe::executor& threads, double work, auto&& f) {
    const double seconds = seconds_of([&] {
        threads.for_ranges(threads.size(), 1, [&](index_t first, index_t last) {
            for (; first < last; ++first) f();
        });
    });
    return work * static_cast<double>(threads.size()) / seconds;
}

} // namespace detail

/// Fused multiply-adds a second, times two.
inline double float_roof(loupe::executor& threads) {
    using detail::chains;
    using loupe::simd::floats;
    constexpr int rounds = 2'000'000;
    return detail::rate(threads, 2.0 * chains * rounds * loupe::simd::width, [] {
        floats sum[chains];
        for (int c = 0; c < chains; ++c) sum[c] = floats(static_cast<float>(c));
        const floats a(1.0000001F), b(1e-7F);
        for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
            for (int c = 0; c < chains; ++c) sum[c] = xsimd::fma(sum[c], a, b);
        }
        floats total(0.0F);
        for (int c = 0; c < chains; ++c) total += sum[c];
        benchmark::DoNotOptimize(loupe::simd::sum(total));
    });
}

/// Products and additions of 8-bit integers a second: each chain has activations of its own, so that no compiler can take one for another.
inline double int8_roof(loupe::executor& threads) {
    using isa = loupe::simd::int8;
    constexpr int together = isa::words_together, chains = std::max(detail::chains, 2 * together);
    static_assert(chains % (2 * together) == 0);
    constexpr int rounds = 500'000;
    return detail::rate(threads, 2.0 * chains * rounds * 16 * isa::rows, [] {
        std::byte memory[32 * isa::rows];
        std::uint8_t x[16 * chains];
        for (std::size_t i = 0; i < sizeof memory; ++i) memory[i] = static_cast<std::byte>(i * 37 % 16);
        for (std::size_t i = 0; i < sizeof x; ++i) x[i] = static_cast<std::uint8_t>(i * 53);
        typename isa::bytes w[8];
        for (int q = 0; q < 8; ++q) w[q] = isa::load(memory + q * 4 * isa::rows);
        typename isa::ints sum[chains];
#pragma GCC unroll 16
        for (std::int32_t c = 0; c < chains; ++c) sum[c] = isa::all(c);
        for (int i = 0; i < rounds; ++i) {
            asm volatile("" : : "r"(x) : "memory"); // the activations are read again
#pragma GCC unroll 12
            for (int c = 0; c < chains; c += 2 * together)
                isa::template dot_words<together>(sum + c, sum + c + together, w, x + 16 * c, 32);
        }
        float out[isa::rows];
#pragma GCC unroll 16 // or the sums would not be in registers
        for (int c = 0; c < chains; ++c) {
            isa::store(out, isa::to_floats(sum[c]));
            benchmark::DoNotOptimize(out[0]);
        }
    });
}

/// Products and additions of BF16 in float a second; 0 where the machine has no instruction for them.
inline double bf16_roof([[maybe_unused]] loupe::executor& threads) {
#if defined(__AVX512BF16__)
    using detail::chains;
    constexpr int rounds = 1'000'000;
    return detail::rate(threads, 2.0 * chains * rounds * 32, [] {
        __m512 sum[chains];
        for (int c = 0; c < chains; ++c) sum[c] = _mm512_set1_ps(static_cast<float>(c));
        const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.5F), _mm512_set1_ps(0.5F));
        const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-7F), _mm512_set1_ps(-1e-7F));
        for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
            for (int c = 0; c < chains; ++c) sum[c] = _mm512_dpbf16_ps(sum[c], a, b);
        }
        for (const auto& v : sum) benchmark::DoNotOptimize(_mm512_reduce_add_ps(v));
    });
#else
    return 0;
#endif
}

/// The same in tiles, four at a time; 0 where the machine has none.
inline double tiles_roof(loupe::executor& threads) {
    if (!loupe::simd::tiles_available()) return 0;
    using loupe::simd::tiles, loupe::simd::tile_bytes;
    constexpr index_t steps = 8, rounds = 10'000; // both operands lie in the first-level cache
    return detail::rate(threads, 2.0 * 32 * 32 * 32 * steps * rounds, [] {
        loupe::aligned_vector<std::byte> x(size(2 * steps * tile_bytes)), w(size(2 * steps * tile_bytes));
        loupe::aligned_vector<float> y(32 * 32);
        const tiles::session session{};
        for (index_t i = 0; i < rounds; ++i) tiles::multiply<2, 2>(x.data(), steps * tile_bytes, w.data(), steps, y.data(), true);
        benchmark::DoNotOptimize(y.data());
    });
}

/// Bytes read from memory a second.
inline double reading_roof(loupe::executor& threads) {
    static const loupe::lab::memory_reader reader;
    return reader.rate(threads);
}

/// What may bound a kernel.
enum class roof { floats, int8, bf16, tiles, reading };

/// All of them, in operations and bytes a second.
class roofs {
    double rates_[5]{};

  public:
    roofs() = default;
    explicit roofs(loupe::executor& threads) {
        for (const roof r : {roof::floats, roof::int8, roof::bf16, roof::tiles, roof::reading})
            rates_[static_cast<int>(r)] = measure(r, threads);
    }
    double operator[](roof r) const { return rates_[static_cast<int>(r)]; }
    void set(roof r, double rate) { rates_[static_cast<int>(r)] = rate; }

    static double measure(roof r, loupe::executor& threads) {
        constexpr double (*measures[])(loupe::executor&) = {float_roof, int8_roof, bf16_roof, tiles_roof, reading_roof};
        return measures[static_cast<int>(r)](threads);
    }

    /// Names them in the benchmark's output. `beside`: "one thread".
    void put(const std::string& beside) const {
        const auto say = [&](const char* name, roof r, const char* unit) {
            if ((*this)[r] == 0) return; // the machine has none
            benchmark::AddCustomContext("roof, " + std::string(name) + ", " + beside, std::to_string((*this)[r] * 1e-9) + " " + unit);
        };
        say("float", roof::floats, "GFLOP/s");
        say("int8", roof::int8, "GOP/s");
        say("BF16", roof::bf16, "GFLOP/s");
        say("tiles of BF16", roof::tiles, "GFLOP/s");
        say("reading", roof::reading, "GB/s");
    }
};

} // namespace bench
