// Threads. Work is cut into ranges that do not depend on the number of threads' timing: 1 and 2 threads give the same bits.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/threading.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace loupe {

/// What runs the loops of kernels and layers: a value of slot::executor behind one type, so that kernels are compiled once for all of them.
/// The first exception of a loop's body is thrown again in the caller; ranges that have not begun by then are left out.
class executor {
    struct policy {
        virtual ~policy() = default;
        virtual index_t size() const = 0;
        virtual void run(index_t count, index_t grain, loop_body body) = 0;
    };
    template <is::executor Policy>
    struct policy_of final : policy {
        Policy made;

        explicit policy_of(index_t threads) : made(threads) {}
        index_t size() const override { return made.size(); }
        void run(index_t count, index_t grain, loop_body body) override { made.run(count, grain, body); }
    };

    /// One loop: calls its body, and keeps what is thrown.
    struct loop {
        void (*call)(void* body, index_t first, index_t last);
        void* body;
        std::atomic<bool> failed = false;
        std::exception_ptr failure{}; ///< written by whoever sets `failed`, read when the loop is over

        static void run(void* self, index_t first, index_t last) noexcept {
            loop& l = *static_cast<loop*>(self);
            if (l.failed.load(std::memory_order_relaxed)) return;
            try {
                l.call(l.body, first, last);
            } catch (...) {
                if (!l.failed.exchange(true)) l.failure = std::current_exception();
            }
        }
    };

    std::unique_ptr<policy> policy_;
    index_t size_;
    bool in_loop_ = false;

    explicit executor(std::unique_ptr<policy> made) : policy_(std::move(made)), size_(std::max<index_t>(1, policy_->size())) {}

    /// While a loop runs.
    struct mark {
        bool& set;
        explicit mark(bool& flag) : set(flag) {
            if (set) throw error("executor: expected loops one after the other, found one within another's body");
            set = true;
        }
        mark(const mark&) = delete;
        mark& operator=(const mark&) = delete;
        ~mark() { set = false; }
    };

  public:
    /// An executor as a value of slot::executor says. `threads` counts the calling thread; values below 1 mean one for each processor.
    template <is::executor Policy>
    static executor of(index_t threads) {
        if (threads < 1) threads = std::max<index_t>(1, static_cast<index_t>(std::thread::hardware_concurrency()));
        return executor(std::make_unique<policy_of<Policy>>(threads));
    }

    /// The usual one, threading::pool. With one thread it is a plain loop and starts nothing.
    explicit executor(index_t threads = 1) : executor(of<threading::pool>(threads)) {}

    /// Number of threads, the caller's included.
    index_t size() const { return size_; }

    /// Calls body(first, last) for disjoint ranges that cover [0, count); each begins at a multiple of `grain`. Calls must not nest: an
    /// error.
    template <class Body>
    void for_ranges(index_t count, index_t grain, Body&& body) {
        if (count <= 0) return;
        const mark running(in_loop_);
        if (count <= grain) return static_cast<void>(body(index_t{0}, count));
        using body_type = std::remove_reference_t<Body>;
        loop l{[](void* b, index_t first, index_t last) { (*static_cast<body_type*>(b))(first, last); },
               const_cast<void*>(static_cast<const void*>(&body))};
        policy_->run(count, grain, {loop::run, &l});
        if (l.failure) std::rethrow_exception(l.failure);
    }
};

namespace threading {

/// A loop is four plain members and the place of the next range. The caller writes them while its door is shut and nobody is inside: then
/// no worker reads them. It opens the door, works itself, shuts the door when no range is left, and waits for those who are inside, not for
/// workers that never came: one that the system keeps from running misses a loop, which did not need it. Number of the loop, door and those
/// inside are one atomic, so that a worker that has seen the door of an earlier loop does not get in. The caller's writes are seen through
/// its opening, what the bodies wrote through their leaving. No wake-up is lost: a sleeper tests its condition with the mutex held, and the
/// door opens under it, while the last to leave takes it between leaving and its call.
class pool::team {
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable start_, done_;
    loop_body body_;
    index_t count_ = 0, grain_ = 1;
    std::atomic<index_t> next_ = 0;
    static constexpr std::uint64_t one_inside = 1, inside = (std::uint64_t{1} << 24) - 1, open = std::uint64_t{1} << 24,
                                   one_loop = std::uint64_t{1} << 25;
    std::atomic<std::uint64_t> state_ = 0; ///< workers inside, whether they may enter, number of the loop
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
            const index_t first = next_.fetch_add(grain_);
            if (first >= count_) return;
            body_(first, std::min(first + grain_, count_));
        }
    }

    void worker() {
        std::uint64_t seen = 0;
        for (;;) {
            std::uint64_t state = 0;
            const auto called = [&] {
                state = state_;
                return stopping_ || ((state & open) != 0 && state / one_loop != seen);
            };
            if (!spin_until(called)) {
                std::unique_lock lock(mutex_);
                if (!called()) start_.wait(lock);
                continue; // the loop may be over already, and the next one near
            }
            if (stopping_) return;
            if (!state_.compare_exchange_weak(state, state + one_inside)) continue; // others enter or leave, or the door was shut
            seen = state / one_loop;
            work();
            if (((state_ -= one_inside) & (open | inside)) == 0) {
                const std::lock_guard lock(mutex_);
                done_.notify_one();
            }
        }
    }

    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        start_.notify_all();
        for (auto& t : threads_) t.join();
    }

  public:
    explicit team(index_t threads) {
        try {
            for (index_t i = 1; i < threads; ++i) threads_.emplace_back([this] { worker(); });
        } catch (const std::system_error& e) {
            stop();
            throw error("threads: expected to start " + std::to_string(threads - 1) + " beside the caller's, found that the system gives " +
                        std::to_string(threads_.size()) + ": " + e.code().message());
        } catch (...) {
            stop();
            throw;
        }
    }
    team(const team&) = delete;
    team& operator=(const team&) = delete;
    ~team() { stop(); }

    index_t size() const { return static_cast<index_t>(threads_.size()) + 1; }

    void run(index_t count, index_t grain, loop_body body) {
        if (threads_.empty()) return body(0, count);
        {
            const std::lock_guard lock(mutex_);
            body_ = body;
            count_ = count;
            grain_ = grain;
            next_ = 0;
            state_ = (state_ + one_loop) | open;
        }
        start_.notify_all();
        work();
        state_ &= ~open;
        const auto all_out = [&] { return (state_ & inside) == 0; };
        if (!spin_until(all_out)) {
            std::unique_lock lock(mutex_);
            done_.wait(lock, all_out);
        }
    }
};

inline pool::pool(index_t threads) : team_(new team(threads)) {}
inline pool::~pool() { delete team_; }
inline index_t pool::size() const { return team_->size(); }
inline void pool::run(index_t count, index_t grain, loop_body body) { team_->run(count, grain, body); }

} // namespace threading

} // namespace loupe
