// Threads. Work is cut into ranges that do not depend on the number of threads' timing: 1 and 2 threads give the same bits.
#pragma once

#include <loupe/core/types.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace loupe {

/// A fixed set of threads that run one loop at a time. With one thread it is a plain loop and starts nothing. Between loops threads look
/// out for the next one a while before they sleep.
/// The first exception of a loop's body is thrown again in the caller.
class executor {
    struct job {
        void (*call)(void*, index_t, index_t) = nullptr;
        void* body = nullptr;
        index_t count = 0;
        index_t grain = 1;
        std::atomic<index_t> next{0};
    };

    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable start_, done_;
    job job_;
    std::atomic<std::uint64_t> generation_ = 0;
    std::atomic<std::size_t> running_ = 0;
    std::exception_ptr failure_;
    std::atomic<bool> stopping_ = false;

    // A token of a small model is a hundred loops of some 50 µs each: to fall asleep between them, and to be woken, would cost as much.
    static constexpr int patience = 4000; // some 50 µs
    template <class Condition>
    static bool spin_until(Condition&& met) {
        for (int i = 0; i < patience; ++i) {
            if (met()) return true;
            pause();
        }
        return false;
    }
    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }

    void work() {
        for (;;) {
            const index_t first = job_.next.fetch_add(job_.grain);
            if (first >= job_.count) return;
            try {
                job_.call(job_.body, first, std::min(first + job_.grain, job_.count));
            } catch (...) {
                const std::lock_guard lock(mutex_);
                if (!failure_) failure_ = std::current_exception();
                job_.next = job_.count;
            }
        }
    }

    void loop() {
        std::uint64_t seen = 0;
        for (;;) {
            const auto called = [&] { return stopping_ || generation_ != seen; };
            if (!spin_until(called)) {
                std::unique_lock lock(mutex_);
                start_.wait(lock, called);
            }
            if (stopping_) return;
            seen = generation_;
            work();
            if (--running_ == 0) {
                const std::lock_guard lock(mutex_);
                done_.notify_one();
            }
        }
    }

  public:
    /// `threads` counts the calling thread; values below 1 mean one for each processor.
    explicit executor(index_t threads = 1) {
        if (threads < 1) threads = std::max<index_t>(1, static_cast<index_t>(std::thread::hardware_concurrency()));
        for (index_t i = 1; i < threads; ++i) threads_.emplace_back([this] { loop(); });
    }
    executor(const executor&) = delete;
    executor& operator=(const executor&) = delete;
    ~executor() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        start_.notify_all();
        for (auto& t : threads_) t.join();
    }

    /// Number of threads, the caller's included.
    index_t size() const { return static_cast<index_t>(threads_.size()) + 1; }

    /// Calls body(first, last) for disjoint ranges of at most `grain` that cover [0, count). Calls must not nest.
    template <class Body>
    void for_ranges(index_t count, index_t grain, Body&& body) {
        if (count <= 0) return;
        if (threads_.empty() || count <= grain) return static_cast<void>(body(index_t{0}, count));
        using body_type = std::remove_reference_t<Body>;
        {
            const std::lock_guard lock(mutex_);
            job_.call = [](void* b, index_t first, index_t last) { (*static_cast<body_type*>(b))(first, last); };
            job_.body = const_cast<void*>(static_cast<const void*>(&body));
            job_.count = count;
            job_.grain = grain;
            job_.next = 0;
            running_ = threads_.size();
            failure_ = nullptr;
            ++generation_;
        }
        start_.notify_all();
        work();
        const auto all_done = [&] { return running_ == 0; };
        if (!spin_until(all_done)) {
            std::unique_lock lock(mutex_);
            done_.wait(lock, all_done);
        }
        if (failure_) std::rethrow_exception(failure_);
    }
};

} // namespace loupe
