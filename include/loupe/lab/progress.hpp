// How far a long run has come, on stderr.
#pragma once

#include <loupe/core/types.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <string>
#include <utility>

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace loupe::lab {

namespace detail {

/// "42 s", "3 min 05 s", "2 h 07 min".
inline std::string duration_text(double seconds) {
    if (!(seconds >= 0) || seconds > 1e9) return "?";
    const auto whole = static_cast<index_t>(seconds + 0.5);
    if (whole < 60) return fmt::format("{} s", whole);
    if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
    return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

} // namespace detail

/// On a terminal a bar on one line, redrawn at most ten times a second; elsewhere (a log file) plain lines, at most one every five
/// seconds, and a last one. Destroyed before all is done (an exception passes), it says where it stopped.
class progress {
  public:
    /// `total` is in whatever `advance` counts; zero or less means that it is unknown.
    progress(std::string label, index_t total, std::FILE* out = stderr)
        : label_(std::move(label)), total_(total), out_(out), start_(clock::now()), shown_(start_) {
#if __has_include(<unistd.h>)
        terminal_ = isatty(fileno(out)) == 1;
#endif
        if (terminal_) draw(false);
    }

    progress(const progress&) = delete;
    progress& operator=(const progress&) = delete;

    ~progress() {
        // A message that cannot be built or written is no reason to end the program.
        try {
            draw(true);
        } catch (...) {
            std::fflush(out_);
        }
    }

    /// `n` more are done. May be called from several threads.
    void advance(index_t n = 1) {
        const std::lock_guard lock(mutex_);
        done_ += n;
        const auto now = clock::now();
        if (now - shown_ < (terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000))) return;
        shown_ = now;
        draw(false);
    }

  private:
    using clock = std::chrono::steady_clock;

    void draw(bool last) const {
        const double seconds = std::chrono::duration<double>(clock::now() - start_).count();
        const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0.0;
        const bool known = total_ > 0;
        const double share = known ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0) : 0.0;
        // Rounding up to 100 % before the end would be a lie.
        const int percent = static_cast<int>(share * 100);

        std::string line;
        if (terminal_ && !last) {
            if (known) {
                constexpr std::size_t width = 24;
                const auto full = static_cast<std::size_t>(share * width);
                line = fmt::format("{} [{}{}] {:3} %  {:.0f}/s", label_, std::string(full, '#'), std::string(width - full, '.'), percent,
                                   rate);
                if (rate > 0) {
                    line +=
                        fmt::format("  {} left", detail::duration_text(static_cast<double>(std::max<index_t>(total_ - done_, 0)) / rate));
                }
            } else {
                line = fmt::format("{} {}  {:.0f}/s", label_, done_, rate);
            }
            fmt::print(out_, "\r{}\x1b[K", line); // erase what a longer line left
        } else {
            line = known ? fmt::format("{}: {} of {} ({} %), {:.0f}/s", label_, done_, total_, percent, rate)
                         : fmt::format("{}: {}, {:.0f}/s", label_, done_, rate);
            if (!last) {
                if (known && rate > 0) {
                    line +=
                        fmt::format(", {} left", detail::duration_text(static_cast<double>(std::max<index_t>(total_ - done_, 0)) / rate));
                }
            } else {
                line += fmt::format(", {} {}", known && done_ < total_ ? "stopped after" : "done in", detail::duration_text(seconds));
            }
            fmt::print(out_, "{}{}{}\n", terminal_ ? "\r" : "", line, terminal_ ? "\x1b[K" : "");
        }
        std::fflush(out_);
    }

    std::string label_;
    index_t total_;
    index_t done_ = 0;
    std::FILE* out_;
    bool terminal_ = false;
    clock::time_point start_;
    clock::time_point shown_;
    std::mutex mutex_;
};

} // namespace loupe::lab
