// Runs subjects on texts and tasks, all of them on the same tokens, and keeps what each made of every token.
#pragma once

#include <loupe/kernel/elementwise.hpp>
#include <loupe/lab/corpus.hpp>
#include <loupe/lab/progress.hpp>
#include <loupe/lab/session.hpp>

#include <chrono>
#include <map>
#include <mutex>

namespace loupe::lab {

/// What a model made of one token.
struct token_figure {
    float nll = 0;       ///< nats
    float kl = 0;        ///< KL(first subject ‖ this one), nats
    bool right = false;  ///< the most likely token is the right one
    bool agrees = false; ///< the most likely token is the first subject's
};

/// Figures of one subject.
struct measured {
    std::vector<token_figure> text;               ///< one per token of the corpus
    std::vector<std::vector<token_figure>> tasks; ///< one per item, one per token but BOS; only tokens of answers are filled in
    double seconds = 0;                           ///< spent on the text, all threads together
    index_t threads = 1;                          ///< that read the text side by side: no more than it has segments
};

namespace detail {

/// Memory and sessions of one thread at work.
struct worker {
    std::map<executor (*)(index_t), runtime> runtimes; ///< subjects with the same executor share one, and its memory
    std::vector<runtime*> on;                          ///< of every subject
    std::vector<std::unique_ptr<session>> sessions;
    scratch<float> stock, other;
    std::vector<std::vector<float>> hidden; ///< of every subject, for the rows wanted
    std::vector<double> seconds;
};

/// Hands every thread a worker of its own.
class worker_pool {
    std::mutex mutex_;
    std::vector<std::unique_ptr<worker>> idle_;
    const std::vector<subject>& subjects_;

  public:
    explicit worker_pool(const std::vector<subject>& subjects) : subjects_(subjects) {}

    std::unique_ptr<worker> take() {
        {
            const std::lock_guard lock(mutex_);
            if (!idle_.empty()) {
                auto w = std::move(idle_.back());
                idle_.pop_back();
                return w;
            }
        }
        auto w = std::make_unique<worker>();
        for (const subject& s : subjects_) {
            w->on.push_back(&w->runtimes.try_emplace(s.threads, s.threads(1)).first->second);
            w->sessions.push_back(s.open());
        }
        w->hidden.resize(subjects_.size());
        w->seconds.resize(subjects_.size(), 0.0);
        return w;
    }
    void give_back(std::unique_ptr<worker> w) {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(w));
    }
    double seconds(std::size_t subject) const {
        double sum = 0;
        for (const auto& w : idle_) sum += w->seconds[subject];
        return sum;
    }
};

inline double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Runs every subject on `ids`; for each wanted row r (which predicts ids[r + 1]) calls keep(subject, index among rows, figure), and
/// tick(n) when n more rows of a subject are done. All models read the sequence first; then the heads go over it a few rows at a time, so
/// that logits of a large vocabulary never exist for all rows, and the first subject's are made once for all comparisons.
template <class Keep, class Tick>
void compare(const std::vector<subject>& subjects, worker& w, std::span<const token_id> ids, std::span<const index_t> rows, Keep&& keep,
             Tick&& tick) {
    const auto clock = [] { return std::chrono::steady_clock::now(); };
    const index_t width = subjects.front().width, vocabulary = subjects.front().vocabulary;
    for (std::size_t s = 0; s < subjects.size(); ++s) {
        const auto start = clock();
        const auto hidden = w.sessions[s]->hidden(ids, rows, *w.on[s]);
        w.hidden[s].assign(hidden.data, hidden.data + hidden.rows * hidden.width);
        w.seconds[s] += seconds_since(start);
    }
    const auto count = static_cast<index_t>(rows.size());
    const index_t batch = std::clamp<index_t>((index_t{1} << 24) / vocabulary, 16, 512);
    for (index_t first = 0; first < count; first += batch) {
        const index_t n = std::min(batch, count - first);
        const auto stock = w.stock.take(n, vocabulary), other = w.other.take(n, vocabulary);
        std::vector<double> stock_sum(static_cast<std::size_t>(n));
        std::vector<index_t> stock_best(static_cast<std::size_t>(n));
        for (std::size_t s = 0; s < subjects.size(); ++s) {
            const auto start = clock();
            const auto out = s == 0 ? stock : other;
            w.sessions[s]->logits({w.hidden[s].data() + first * width, n, width},
                                  rows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)), *w.on[s], out);
            w.seconds[s] += seconds_since(start);
            for (index_t r = 0; r < n; ++r) {
                const auto row = out[r];
                const token_id next = ids[static_cast<std::size_t>(rows[static_cast<std::size_t>(first + r)]) + 1];
                const double sum = kernel::log_sum_exp(row);
                const index_t best = std::max_element(row.begin(), row.end()) - row.begin();
                const auto n_r = static_cast<std::size_t>(r);
                if (s == 0) {
                    stock_sum[n_r] = sum;
                    stock_best[n_r] = best;
                }
                token_figure f;
                f.nll = static_cast<float>(sum - row[static_cast<std::size_t>(next)]);
                const double kl = s == 0 ? 0.0 : kernel::kl_divergence(stock[r], stock_sum[n_r], row, sum);
                f.kl = static_cast<float>(kl < 0 ? 0.0 : kl); // rounding may go below 0; NaN stays NaN
                f.right = best == next;
                f.agrees = best == stock_best[n_r];
                keep(s, first + r, f);
            }
            tick(n);
        }
    }
}

} // namespace detail

/// Measures all subjects (the first is the stock model) on a text and on tasks; either may be null. `threads` sequences run side by side,
/// by the first subject's executor, each on one thread of its subject's: so the figures do not depend on their number.
inline std::vector<measured> measure(const std::vector<subject>& subjects, const corpus* text, const task_set* tasks, index_t threads) {
    std::vector<measured> out(subjects.size());
    executor team = subjects.front().threads(threads);
    const auto passes = static_cast<index_t>(subjects.size());
    if (text != nullptr) {
        for (measured& m : out) m.text.resize(static_cast<std::size_t>(text->tokens));
        detail::worker_pool pool(subjects);
        progress bar("text", text->tokens * passes);
        team.for_ranges(static_cast<index_t>(text->segments.size()), 1, [&](index_t first, index_t last) {
            auto w = pool.take();
            for (index_t i = first; i < last; ++i) {
                const segment& s = text->segments[static_cast<std::size_t>(i)];
                std::vector<index_t> rows(s.document.size());
                for (std::size_t r = 0; r < rows.size(); ++r) rows[r] = static_cast<index_t>(r);
                detail::compare(
                    subjects, *w, s.ids, rows,
                    [&](std::size_t subject, index_t r, const token_figure& f) {
                        out[subject].text[static_cast<std::size_t>(s.first + r)] = f;
                    },
                    [&](index_t n) { bar.advance(n); });
            }
            pool.give_back(std::move(w));
        });
        for (std::size_t s = 0; s < subjects.size(); ++s) {
            out[s].seconds = pool.seconds(s);
            out[s].threads = std::min(team.size(), static_cast<index_t>(text->segments.size()));
        }
    }
    if (tasks != nullptr) {
        for (measured& m : out) m.tasks.resize(tasks->items.size());
        detail::worker_pool pool(subjects);
        progress bar("tasks", static_cast<index_t>(tasks->items.size()) * passes);
        team.for_ranges(static_cast<index_t>(tasks->items.size()), 4, [&](index_t first, index_t last) {
            auto w = pool.take();
            for (index_t i = first; i < last; ++i) {
                const task_item& item = tasks->items[static_cast<std::size_t>(i)];
                std::vector<index_t> rows;
                for (std::size_t t = 0; t < item.span.size(); ++t) {
                    if (item.span[t] >= 0) rows.push_back(static_cast<index_t>(t));
                }
                for (measured& m : out) m.tasks[static_cast<std::size_t>(i)].resize(item.span.size());
                detail::compare(
                    subjects, *w, item.ids, rows,
                    [&](std::size_t subject, index_t r, const token_figure& f) {
                        out[subject].tasks[static_cast<std::size_t>(i)][static_cast<std::size_t>(rows[static_cast<std::size_t>(r)])] = f;
                    },
                    [](index_t) {});
                bar.advance(passes);
            }
            pool.give_back(std::move(w));
        });
    }
    return out;
}

} // namespace loupe::lab
