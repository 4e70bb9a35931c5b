// What every executor is held to: shared by those that are always there and OpenMP's.
#pragma once

#include "data.hpp"
#include "own_policies.hpp"

#include <loupe/check/executor.hpp>
#include <loupe/core/compat/catch2.hpp>

#include <atomic>
#include <numeric>
#include <stdexcept>

namespace tests {

/// Every index once, whatever the count and the grain; and again in a loop that follows at once, thousands of times: a worker that is late
/// would compute an index of the loop before.
inline void expect_every_index_once(executor threads) {
    for (const index_t count : {0, 1, 2, 7, 64, 1000}) {
        for (const index_t grain : {1, 3, 64, 2000}) {
            std::vector<int> times(static_cast<std::size_t>(count), 0); // ranges are disjoint
            std::atomic<bool> aligned = true;
            threads.for_ranges(count, grain, [&](index_t first, index_t last) {
                if (first % grain != 0 || first >= last) aligned = false;
                for (index_t i = first; i < last; ++i) ++times[static_cast<std::size_t>(i)];
            });
            CHECK(aligned);
            CHECK(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }));
        }
    }
    std::vector<index_t> written(5, 0);
    bool right = true;
    for (index_t loop = 1; loop <= 5000; ++loop) {
        const index_t count = 2 + loop % 4;
        threads.for_ranges(count, 1, [&](index_t first, index_t last) {
            for (index_t i = first; i < last; ++i) written[static_cast<std::size_t>(i)] = loop * count + i;
        });
        for (index_t i = 0; i < count; ++i) right = right && written[static_cast<std::size_t>(i)] == loop * count + i;
    }
    CHECK(right);
}

/// The first exception arrives in the caller, ranges that have not begun are left out, and the next loop is as good as new.
inline void expect_exceptions_of_the_body(executor threads) {
    std::atomic<index_t> begun = 0;
    const auto fails = [&](index_t first, index_t) {
        ++begun;
        throw std::out_of_range(std::to_string(first));
    };
    CHECK_THROWS_AS(threads.for_ranges(1000, 1, fails), std::out_of_range);
    CHECK(begun >= 1);
    CHECK(begun <= threads.size());                                      // each was in its first range when the first of them threw
    CHECK_THROWS_AS(threads.for_ranges(3, 8, fails), std::out_of_range); // a single range
    std::atomic<index_t> sum = 0;
    threads.for_ranges(100, 3, [&](index_t first, index_t last) {
        for (index_t i = first; i < last; ++i) sum += i;
    });
    CHECK(sum == 4950);
}

/// A loop within another's body is an error, and not a deadlock.
inline void expect_no_loop_within_a_loop(executor threads) {
    const auto nest = [&] { threads.for_ranges(8, 1, [&](index_t, index_t) { threads.for_ranges(8, 1, [](index_t, index_t) {}); }); };
    CHECK_THROWS_WITH(nest(), "executor: expected loops one after the other, found one within another's body");
    index_t computed = 0;
    threads.for_ranges(4, 4, [&](index_t first, index_t last) { computed += last - first; });
    CHECK(computed == 4);
}

/// nano-e with that executor.
template <class T>
struct nano_e_on : std::type_identity<with<nano::e, slot::executor<T>>> {};
template <>
struct nano_e_on<threading::pool> : std::type_identity<nano::e> {};

/// Logits of nano-e, and hidden states of nano-e quantised, have the bits of the usual executor: on one thread and two, as a prompt and
/// token by token.
template <is::executor T>
void expect_the_same_bits() {
    using M = typename nano_e_on<T>::type;
    static_assert(std::same_as<stack_of<M>, stack_of<nano::e>>); // no code of its own
    CHECK(logits_of<M>(nano_e()) == stock_e());
    executor one(1);
    const auto file = tests::open(tests::example("models/nano-e/nano-e-Q4_K_M.gguf"), one);
    const auto ids = ids_of(nano_e());
    const auto hidden = [&](runtime on, index_t chunk) {
        const decoder<M> model(file.sizes, file.weights);
        auto s = model.start();
        std::vector<float> out;
        model.read(s, ids, on, chunk,
                   [&](index_t, matrix_view<const float> h) { out.insert(out.end(), h.data, h.data + h.rows * h.width); });
        return out;
    };
    const auto usual = hidden(runtime(1), 0);
    for (const index_t threads : {1, 2}) {
        for (const index_t chunk : {0, 1, 7}) CHECK(hidden(runtime_of<M>(threads), chunk) == usual);
    }
}

template <is::executor T>
void expect_an_executor() {
    INFO(type_name<T>());
    const verdict v = check<T>();
    INFO(v);
    CHECK(v.ok());
    for (const index_t threads : {1, 2, 5}) {
        INFO(threads << " threads");
        expect_every_index_once(executor::of<T>(threads));
        expect_exceptions_of_the_body(executor::of<T>(threads));
        expect_no_loop_within_a_loop(executor::of<T>(threads));
    }
    CHECK(executor::of<T>(0).size() >= 1); // one for each processor
    expect_the_same_bits<T>();
}

} // namespace tests
