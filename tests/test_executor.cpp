// Executors: each computes every index once, throws in the caller what a body threw, refuses loops within loops, and changes no bit of a
// model. The library's, and one written outside of it. OpenMP's is in test_executor_open_mp.cpp.
#include "../examples/swaps.hpp"
#include "executors.hpp"

#include <loupe/core/shared_tasks.hpp>
#include <loupe/lab/lab.hpp>

#include <csignal>
#include <thread>

#include <pthread.h>
#include <unistd.h>

using namespace loupe;

namespace {

/// A thread that is kept from running, as the system keeps one whose processor others use: held in a signal's handler, five seconds at
/// most.
struct held_thread {
    static inline std::atomic<bool> held = false, released = false;

    static void hold(int) {
        held = true;
        for (int i = 0; i < 5000 && !released; ++i) ::usleep(1000);
        held = false;
    }
    explicit held_thread(pthread_t thread) {
        released = false;
        std::signal(SIGUSR1, hold);
        REQUIRE(::pthread_kill(thread, SIGUSR1) == 0);
        while (!held) std::this_thread::yield();
    }
    ~held_thread() {
        released = true;
        while (held) std::this_thread::yield();
        std::signal(SIGUSR1, SIG_DFL);
    }
};

/// Threads that are started for every loop, each for a part of its own. Says how often.
class fresh_threads {
    index_t size_;

  public:
    static inline std::atomic<index_t> loops = 0;

    explicit fresh_threads(index_t threads) : size_(threads) {}
    index_t size() const { return size_; }
    void run(index_t count, index_t grain, loop_body body) {
        ++loops;
        std::vector<std::thread> others;
        const index_t ranges = (count + grain - 1) / grain;
        for (index_t i = 0; i < size_; ++i) {
            const index_t first = ranges * i / size_ * grain, last = std::min(count, ranges * (i + 1) / size_ * grain);
            if (first < last) others.emplace_back([=] { body(first, last); });
        }
        for (auto& t : others) t.join();
    }
};

} // namespace

TEST_CASE("executor: pool", "[executor]") {
    tests::expect_an_executor<threading::pool>();
    CHECK(executor(3).size() == 3);
    CHECK(executor().size() == 1);
    CHECK(executor(0).size() == std::max<index_t>(1, static_cast<index_t>(std::thread::hardware_concurrency())));
    CHECK(executor(-1).size() == executor(0).size());
}

TEST_CASE("executor: a worker that does not come holds no loop up", "[executor]") {
    executor threads(2);
    const pthread_t caller = ::pthread_self();
    pthread_t worker{};
    const auto meet = [&] { // a loop in which both wait for each other
        std::atomic<bool> found = false;
        threads.for_ranges(2, 1, [&](index_t, index_t) {
            if (::pthread_equal(::pthread_self(), caller) == 0) {
                worker = ::pthread_self();
                found = true;
            }
            while (!found) std::this_thread::yield();
        });
    };
    meet();
    index_t sum = 0; // of one thread only
    {
        const held_thread held(worker);
        for (int loop = 0; loop < 100; ++loop) threads.for_ranges(8, 1, [&](index_t first, index_t) { sum += first; });
        CHECK(held_thread::held);
    }
    CHECK(sum == 100 * 28);
    meet(); // and comes back
}

TEST_CASE("shared tasks: every task once, those of a part in order until others take what is left", "[executor]") {
    const std::vector<index_t> ends{5, 5, 6, 106}; // the second is empty
    for (const index_t size : {1, 2, 3, 5}) {
        executor threads(size);
        shared_tasks shared;
        for (int again = 0; again < 200; ++again) {
            shared.clear();
            for (const index_t end : ends) shared.add_part(end);
            std::vector<int> times(106, 0);
            std::vector<index_t> seen; // by a single thread
            shared.run(threads, [&](index_t i) {
                ++times[static_cast<std::size_t>(i)]; // disjoint
                if (size == 1) seen.push_back(i);
            });
            if (!std::all_of(times.begin(), times.end(), [](int n) { return n == 1; })) FAIL("threads " << size << ", run " << again);
            if (!std::is_sorted(seen.begin(), seen.end())) FAIL("run " << again);
        }
    }
    shared_tasks none;
    executor one;
    none.run(one, [](index_t) { FAIL("no task"); });
}

TEST_CASE("shared tasks: what one thread is held up before, others take", "[executor]") {
    executor threads(2);
    shared_tasks shared;
    shared.add_part(50);
    shared.add_part(100);
    std::atomic<index_t> done = 0, at_end = 0;
    shared.run(threads, [&](index_t i) {
        for (int wait = 0; i == 0 && done < 99 && wait < 5000; ++wait) ::usleep(1000); // the other thread does what stands behind it
        if (i == 0) at_end = done.load();
        ++done;
    });
    CHECK(at_end == 99);
    CHECK(done == 100);
}

TEST_CASE("executor: a loop within another's body is refused, however short they are", "[executor]") {
    for (const index_t threads : {1, 2}) {
        executor run(threads);
        for (const index_t outer : {1, 100}) {
            for (const index_t inner : {1, 100}) {
                const auto nested = [&] {
                    run.for_ranges(outer, 10, [&](index_t, index_t) { run.for_ranges(inner, 10, [](index_t, index_t) {}); });
                };
                CHECK_THROWS_WITH(nested(), Contains("expected loops one after the other"));
            }
        }
        index_t sum = 0;
        run.for_ranges(5, 10, [&](index_t first, index_t last) { sum += last - first; }); // what was thrown ended the loop
        CHECK(sum == 5);
    }
}

TEST_CASE("executor: serial has one thread, whatever is asked for", "[executor]") {
    tests::expect_an_executor<threading::serial>();
    CHECK(executor::of<threading::serial>(8).size() == 1);
    CHECK(runtime_of<with<nano::e, slot::executor<threading::serial>>>(8).threads.size() == 1);
    CHECK(runtime_of<nano::e>(3).threads.size() == 3);
}

TEST_CASE("executor: one's own, from the last range to the first", "[executor][own]") {
    using swaps::backwards; // what depends on the order of ranges differs
    static_assert(is::executor<backwards> && !is::executor<executor>);
    tests::expect_an_executor<backwards>();
    std::vector<index_t> order;
    executor::of<backwards>(2).for_ranges(7, 3, [&](index_t first, index_t last) { order.insert(order.end(), {first, last}); });
    CHECK(order == std::vector<index_t>{6, 7, 3, 6, 0, 3});
}

TEST_CASE("executor: one's own, with threads", "[executor][own]") {
    fresh_threads::loops = 0;
    tests::expect_an_executor<fresh_threads>();
    CHECK(fresh_threads::loops > 1000); // it was asked
}

TEST_CASE("executor: the lab runs every model by its own", "[executor][own][lab]") {
    using own = with<nano::e, slot::executor<fresh_threads>>;
    const auto text =
        lab::cut_text(tests::nano_e().text(), "Mara had a red lamp.\n\nIlse had a silver kettle, a green book and a boat.", "text", 64);
    const auto loops_in = [&](const auto& run) {
        fresh_threads::loops = 0;
        run();
        return fresh_threads::loops.load();
    };
    lab::report r;
    CHECK(loops_in([&] { r = lab::ablate<own, nano::e>(tests::nano_e(), &text, nullptr, 2); }) > 0);
    CHECK(loops_in([&] { r = lab::ablate<nano::e, own>(tests::nano_e(), &text, nullptr, 2); }) > 0);
    CHECK(loops_in([&] { r = lab::ablate<nano::e, with<nano::e, slot::rope_full<rope::none>>>(tests::nano_e(), &text, nullptr, 2); }) == 0);
    r = lab::ablate<nano::e, own>(tests::nano_e(), &text, nullptr, 2);
    CHECK(r.variants.back().mean_kl.value == 0);
}

namespace {

/// One bug each.
struct no_threads {
    explicit no_threads(index_t) {}
    static index_t size() { return 0; }
    static void run(index_t count, index_t, loop_body body) { body(0, count); }
};
struct forgets_the_rest {
    explicit forgets_the_rest(index_t) {}
    static index_t size() { return 1; }
    static void run(index_t count, index_t grain, loop_body body) {
        for (index_t first = 0; first + grain <= count; first += grain) body(first, first + grain);
    }
};
struct overlaps {
    explicit overlaps(index_t) {}
    static index_t size() { return 1; }
    static void run(index_t count, index_t grain, loop_body body) {
        for (index_t first = 0; first < count; first += grain) body(first, std::min(count, first + grain + 1));
    }
};
struct halves {
    explicit halves(index_t) {}
    static index_t size() { return 2; }
    static void run(index_t count, index_t, loop_body body) {
        if (count > 1) body(0, count / 2);
        body(count / 2, count);
    }
};
/// The last range is still at work when run() returns.
struct does_not_wait {
    std::thread last{};

    explicit does_not_wait(index_t) {}
    does_not_wait(const does_not_wait&) = delete;
    ~does_not_wait() { join(); }
    static index_t size() { return 2; }
    void join() {
        if (last.joinable()) last.join();
    }
    void run(index_t count, index_t, loop_body body) {
        join();
        last = std::thread([=] { body(0, count); });
    }
};

} // namespace

TEST_CASE("executor: bugs are caught", "[executor][check]") {
    const auto breaks = [](const verdict& v, const std::string& what) { CHECK(v.text() == what); };
    breaks(check<no_threads>(), "executor no_threads: size is 0, expected at least 1 (1 thread)");
    breaks(check<forgets_the_rest>(), "executor forgets_the_rest: has not computed index 0 of 1, grain 2 (1 thread)");
    breaks(check<overlaps>(), "executor overlaps: computes index 1 twice of 2, grain 1 (1 thread)");
    breaks(check<halves>(), "executor halves: calls the body for [1, 2), which does not begin at a multiple of 2 of 2, grain 2 (1 thread)");
    CHECK_THAT(check<does_not_wait>().text(), Catch::Matchers::StartsWith("executor does_not_wait: has not computed index 0 of"));
    CHECK(check<swaps::backwards>().ok());
}
