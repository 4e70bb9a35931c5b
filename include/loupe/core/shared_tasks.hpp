// Tasks that threads share out so that each stays where it is: a part of neighbours for each of them.
#pragma once

#include <loupe/core/executor.hpp>
#include <loupe/core/types.hpp>

#include <atomic>
#include <deque>

namespace loupe {

/// Numbers of tasks in as many parts as threads are to work on them. A thread takes the tasks of its part in order, so that what they read
/// is one stream, and then those that are left of others' (affinity scheduling: Markatos and LeBlanc 1994).
class shared_tasks {
    struct part {
        alignas(64) std::atomic<index_t> next; // on a cache line of its own: threads do not meet before the end
        index_t end;
        part(index_t first, index_t last) : next(first), end(last) {}
    };
    std::deque<part> parts_; // which stay where they are
    index_t count_ = 0;

  public:
    void clear() { parts_.clear(), count_ = 0; }

    /// The tasks up to `end`, from where the part before ended; nothing if there are none.
    void add_part(index_t end) {
        if (end > count_) parts_.emplace_back(count_, end), count_ = end;
    }

    /// Calls body(i) for all tasks, once each; afterwards none is left. The first exception of a body is thrown again in the caller, as by
    /// executor::for_ranges; its thread does no more, others go on.
    template <class Body>
    void run(executor& threads, Body&& body) {
        const index_t size = std::ssize(parts_);
        threads.for_ranges(size, 1, [&](index_t first, index_t last) {
            for (; first < last; ++first) {
                for (index_t other = 0; other < size; ++other) {
                    part& from = parts_[static_cast<std::size_t>((first + other) % size)];
                    for (index_t i; (i = from.next.fetch_add(1, std::memory_order_relaxed)) < from.end;) body(i);
                }
            }
        });
    }
};

} // namespace loupe
