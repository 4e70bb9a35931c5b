// Values of slot::executor: who runs the ranges of a loop, and in what order. In core and not among the other policies, since the executor
// that all kernels take is made of one of them. The pool's own code is in core/executor.hpp: compositions only need to name it.
#pragma once

#include <loupe/core/types.hpp>

#include <concepts>

namespace loupe {

/// A loop, as a value of slot::executor sees it: body(first, last) computes one range. It may be called by any thread and does not throw:
/// what a kernel throws in there is kept, and thrown again when the loop is over.
struct loop_body {
    void (*call)(void* loop, index_t first, index_t last) noexcept = nullptr;
    void* loop = nullptr;

    void operator()(index_t first, index_t last) const noexcept { call(loop, first, last); }
};

namespace is {

/// `T(threads)` gets ready to work with that many threads, the caller's included; `size()` says how many it has. `run(count, grain, body)`
/// calls body(first, last) for disjoint ranges that cover [0, count), each of which begins at a multiple of `grain` and ends at one or at
/// `count`, in any order, and returns when all are done. Loops never overlap.
template <class T>
concept executor = requires(T threads, const T& made, index_t n, loop_body body) {
    { made.size() } -> std::convertible_to<index_t>;
    threads.run(n, n, body);
}
&&std::constructible_from<T, index_t>;

} // namespace is

namespace threading {

/// Threads that are started once and take ranges as they come. Between loops they look out for the next one a while before they sleep.
class pool {
    class team;
    team* team_; ///< owned; a smart pointer's header is a quarter of the time that a composition takes to compile

  public:
    explicit pool(index_t threads);
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;
    ~pool();
    index_t size() const;
    void run(index_t count, index_t grain, loop_body body);
};

/// The caller's thread alone, whatever number is asked for: to debug, or where another program owns the processors.
class serial {
  public:
    explicit serial(index_t) {}
    index_t size() const { return 1; }
    void run(index_t count, index_t, loop_body body) { body(0, count); }
};

#if defined(_OPENMP)
/// The threads of the OpenMP runtime, for programs whose other libraries use them too. Only where OpenMP is switched on (-fopenmp).
class open_mp {
    index_t size_;

  public:
    explicit open_mp(index_t threads) : size_(threads) {}
    index_t size() const { return size_; }
    void run(index_t count, index_t grain, loop_body body) {
        const index_t ranges = (count + grain - 1) / grain;
#pragma omp parallel for schedule(dynamic) num_threads(static_cast <int>(size_))
        for (index_t r = 0; r < ranges; ++r) body(r * grain, r + 1 < ranges ? (r + 1) * grain : count);
    }
};
#endif

} // namespace threading

} // namespace loupe
