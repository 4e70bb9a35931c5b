// Executors for trials: what is wrong with a loop's body shows with them, whatever the system makes of threads.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/layer/context.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace loupe::detail {

/// The members of workspace.
inline constexpr std::array<std::pair<const char*, scratch<float> workspace::*>, 19> places_of_workspace{{
    {"residual", &workspace::residual},
    {"normed", &workspace::normed},
    {"branch", &workspace::branch},
    {"second", &workspace::second},
    {"q", &workspace::q},
    {"k", &workspace::k},
    {"v", &workspace::v},
    {"mix", &workspace::mix},
    {"gate", &workspace::gate},
    {"up", &workspace::up},
    {"expert_normed", &workspace::expert_normed},
    {"router_scores", &workspace::router_scores},
    {"expert_in", &workspace::expert_in},
    {"expert_gate", &workspace::expert_gate},
    {"expert_up", &workspace::expert_up},
    {"expert_out", &workspace::expert_out},
    {"per_layer_inputs", &workspace::per_layer_inputs},
    {"per_layer_hidden", &workspace::per_layer_hidden},
    {"received", &workspace::received},
}};
static_assert(sizeof(workspace) == places_of_workspace.size() * sizeof(scratch<float>), "a member is not watched");

/// Which values of scratch memory the ranges of a loop change, as long as it lives: two that change the same one would do so at once on two
/// threads. One_by_one tells it of its loops.
class watched_memory {
    static constexpr std::size_t most = 2048; ///< values of each place, from its begin on
    workspace& memory_;
    std::vector<float> before_;
    std::vector<char> changed_;
    std::string problem_;

    const float* values(std::size_t place) const { return (memory_.*places_of_workspace[place].second).data(); }
    void copy(std::size_t place) { std::memcpy(before_.data() + place * most, values(place), most * sizeof(float)); }

  public:
    static inline thread_local watched_memory* now = nullptr;

    explicit watched_memory(workspace& memory) : memory_(memory), before_(places_of_workspace.size() * most), changed_(before_.size()) {
        for (const auto& [name, place] : places_of_workspace) (memory.*place).take(most);
        now = this;
    }
    watched_memory(const watched_memory&) = delete;
    ~watched_memory() { now = nullptr; }

    /// The first place that two ranges changed.
    const std::string& problem() const { return problem_; }

    void loop_begins() {
        for (std::size_t p = 0; p < places_of_workspace.size(); ++p) copy(p);
        std::fill(changed_.begin(), changed_.end(), '\0');
    }
    void range_ends(index_t count, index_t grain) {
        for (std::size_t p = 0; p < places_of_workspace.size(); ++p) {
            const float *const old = before_.data() + p * most, *const found = values(p);
            if (std::memcmp(old, found, most * sizeof(float)) == 0) continue;
            for (std::size_t i = 0; i < most; ++i) {
                if (same_bits(old[i], found[i])) continue;
                if (std::exchange(changed_[p * most + i], '\1') != 0 && problem_.empty()) {
                    problem_ = say("two ranges of a loop over ", count, " with grain ", grain, " write value ", i, " of memory.",
                                   places_of_workspace[p].first);
                }
            }
            copy(p);
        }
    }
};

/// A loop's ranges from the last to the first, in the caller's thread: what depends on their order shows, and, if it is watched, what two
/// of them write.
class one_by_one {
  public:
    explicit one_by_one(index_t) {}
    index_t size() const { return 2; }
    void run(index_t count, index_t grain, loop_body body) {
        watched_memory* const watched = watched_memory::now;
        if (watched != nullptr) watched->loop_begins();
        for (index_t first = (count - 1) / grain * grain; first >= 0; first -= grain) {
            body(first, std::min(first + grain, count));
            if (watched != nullptr) watched->range_ends(count, grain);
        }
    }
};

/// Two threads that meet before each pair of a loop's ranges, and begin with one each at once: what they share collides.
class side_by_side {
  public:
    static inline thread_local index_t pairs = 0, overlapping = 0; ///< of the caller's loops; both had begun when the first ended

    explicit side_by_side(index_t) {}
    index_t size() const { return 2; }
    void run(index_t count, index_t grain, loop_body body) {
        const index_t ranges = (count + grain - 1) / grain;
        std::atomic<index_t> arrived = 0, begun = 0, met = 0;
        const auto work = [&](index_t range) {
            for (; range < ranges; range += 2) {
                const index_t both = (range | 1) + 1; // how many have arrived, and begun, when this pair is at work
                if (both <= ranges) {
                    ++arrived;
                    for (index_t tries = 0; arrived < both; ++tries) {
                        if (tries > 1000) std::this_thread::yield();
                    }
                    ++begun;
                }
                body(range * grain, std::min((range + 1) * grain, count));
                if (both <= ranges && begun == both) ++met; // the first of them counts, and the second too
            }
        };
        std::thread other(work, 1);
        work(0);
        other.join();
        pairs += ranges / 2;
        overlapping += met - ranges / 2;
    }
};

} // namespace loupe::detail
