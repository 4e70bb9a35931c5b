// Holds an executor against what kernels rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/threading.hpp>
#include <loupe/core/type_name.hpp>

#include <algorithm>
#include <chrono>
#include <deque>
#include <mutex>
#include <utility>

namespace loupe {

namespace detail {

/// A loop that writes down which ranges it was called for. A range takes so long that a run() which does not wait for it returns before.
class recorded_loop {
    std::mutex mutex_;
    std::vector<std::pair<index_t, index_t>> ranges_;

    static void call(void* self, index_t first, index_t last) noexcept {
        const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(20);
        while (std::chrono::steady_clock::now() < end) {
        }
        auto& l = *static_cast<recorded_loop*>(self);
        const std::lock_guard lock(l.mutex_);
        l.ranges_.emplace_back(first, last);
    }

  public:
    loop_body body() { return {call, this}; }

    /// What is wrong with the ranges so far.
    std::string problem(index_t count, index_t grain) {
        const std::lock_guard lock(mutex_);
        std::sort(ranges_.begin(), ranges_.end());
        index_t next = 0;
        for (const auto& [first, last] : ranges_) {
            const std::string range = say("[", first, ", ", last, ")");
            if (first < 0 || last > count || first >= last) return say("calls the body for ", range);
            if (first % grain != 0) return say("calls the body for ", range, ", which does not begin at a multiple of ", grain);
            if (first != next)
                return say(first < next ? "computes index " : "has not computed index ", std::min(first, next),
                           first < next ? " twice" : "");
            next = last;
        }
        return next == count ? std::string() : say("has not computed index ", next);
    }
};

} // namespace detail

/// On 1 to 3 threads: there is at least one; a loop computes every index once, in ranges that begin at multiples of the grain, and has done
/// so when run() returns; also in loops that follow at once.
template <is::executor Executor>
verdict check() {
    using detail::say;
    verdict v("executor " + type_name<Executor>());
    const auto on = [](index_t threads) { return say(" (", threads, threads == 1 ? " thread)" : " threads)"); };
    v.rule([&] {
        for (index_t threads = 1; threads <= 3; ++threads) {
            const Executor made(threads);
            const index_t size = made.size();
            if (size < 1) return say("size is ", size, ", expected at least 1") + on(threads);
        }
        return std::string();
    });
    v.rule([&] {
        for (index_t threads = 1; threads <= 3; ++threads) {
            std::deque<detail::recorded_loop> loops; // outlive the threads of one that does not wait
            Executor made(threads);
            for (const index_t count : {1, 2, 3, 5, 8, 33}) {
                for (const index_t grain : {1, 2, 3, 16}) {
                    detail::recorded_loop& loop = loops.emplace_back();
                    made.run(count, grain, loop.body());
                    const std::string what = loop.problem(count, grain);
                    if (!what.empty()) return say(what, " of ", count, ", grain ", grain) + on(threads);
                }
            }
        }
        return std::string();
    });
    return v;
}

} // namespace loupe
