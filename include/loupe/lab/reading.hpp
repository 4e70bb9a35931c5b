// How fast memory can be read: the roof of whatever streams its operands, as the weights of a model do for every token.
#pragma once

#include <loupe/core/buffer.hpp>
#include <loupe/core/compat/xsimd.hpp>
#include <loupe/core/executor.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>

#include <unistd.h>

namespace loupe::lab {

/// The least of `times` runs, in seconds.
inline double seconds_of(auto&& f, int times = 7) {
    double best = 1e9;
    for (int i = 0; i < times; ++i) {
        const auto start = std::chrono::steady_clock::now();
        f();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

/// The sum of n floats, read in `Streams` places at once, each of them in steps of four batches and, if `Ahead` is not 0, fetched that many
/// bytes ahead.
template <int Streams, int Ahead>
inline float read(const float* from, index_t n) {
    using simd::floats;
    constexpr int batches = 4, step = batches * simd::width;
    const index_t each = n / Streams / step * step;
    floats sum[Streams * batches];
    for (auto& v : sum) v = floats(0.0F);
    for (index_t i = 0; i < each; i += step) {
#pragma GCC unroll 4
        for (int s = 0; s < Streams; ++s) {
            const float* const at = from + s * each + i;
            if constexpr (Ahead > 0) {
#pragma GCC unroll 4
                for (int line = 0; line < step * 4; line += 64) __builtin_prefetch(reinterpret_cast<const char*>(at) + Ahead + line);
            }
#pragma GCC unroll 4
            for (int b = 0; b < batches; ++b) sum[s * batches + b] += floats::load_aligned(at + b * simd::width);
        }
    }
    for (int i = 1; i < Streams * batches; ++i) sum[0] += sum[i];
    return simd::sum(sum[0]);
}

/// Bytes enough that a stream of them comes from memory: twice the last cache that the system tells of, 256 MB to 2 GB.
inline std::size_t beyond_caches() {
    constexpr std::size_t least = std::size_t{256} << 20, most = std::size_t{2} << 30;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE); // 0 or −1 where it is not known
    return cache > 0 ? std::clamp(2 * static_cast<std::size_t>(cache), least, most) : least;
#else
    return least;
#endif
}

/// Reading of memory, in every way in which a kernel may read its weights, of which the fastest counts.
class memory_reader {
    aligned_vector<float> values_ = aligned_vector<float>(beyond_caches() >> 22U << 20U, 1.0F); // whole pieces

    double seconds(executor& threads, float (*sum)(const float*, index_t), index_t piece) const {
        const index_t pieces = std::ssize(values_) / piece;
        return seconds_of(
            [&] {
                threads.for_ranges(pieces, 1, [&](index_t first, index_t last) {
                    for (; first < last; ++first) {
                        [[maybe_unused]] const volatile float used = sum(values_.data() + first * piece, piece);
                    }
                });
            },
            1);
    }

  public:
    /// Bytes a second.
    double rate(executor& threads) const {
        double best = 1e9;
        for (const auto sum : {&read<1, 0>, &read<4, 0>, &read<1, 1024>, &read<1, 4096>, &read<4, 512>}) {
            for (const index_t piece : {1 << 15, 1 << 20}) best = std::min(best, seconds(threads, sum, piece));
        }
        return static_cast<double>(values_.size() * sizeof(float)) / best;
    }
};

} // namespace loupe::lab
