// Paired comparison of variants with the stock model on the same tokens.
#pragma once

#include <loupe/lab/machine.hpp>
#include <loupe/lab/measure.hpp>
#include <loupe/lab/result.hpp>
#include <loupe/lab/statistics.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace loupe::lab {

namespace detail {

/// Sums of a figure over the tokens of each document.
template <class Figure>
std::vector<double> by_document(const corpus& text, const std::vector<token_figure>& tokens, Figure&& figure) {
    std::vector<double> sums(static_cast<std::size_t>(text.documents), 0.0);
    for (const segment& s : text.segments) {
        for (std::size_t i = 0; i < s.document.size(); ++i) {
            sums[static_cast<std::size_t>(s.document[i])] += static_cast<double>(figure(tokens[static_cast<std::size_t>(s.first) + i]));
        }
    }
    return sums;
}

inline void summarise_text(const corpus& text, const measured& stock, const measured& m, const bootstrap& draws, variant_result& out) {
    const auto count = by_document(text, m.text, [](const token_figure&) { return 1.0; });
    const auto nll = by_document(text, m.text, [](const token_figure& f) { return f.nll; });
    const auto stock_nll = by_document(text, stock.text, [](const token_figure& f) { return f.nll; });
    out.tokens = text.tokens;
    out.mean_nll = draws.ratio_of_sums(nll, count);
    out.perplexity = draws.exp_of_mean(nll, count);
    out.perplexity_change = draws.exp_of_mean_minus_one(paired_differences(nll, stock_nll), count);
    out.mean_kl = draws.ratio_of_sums(by_document(text, m.text, [](const token_figure& f) { return f.kl; }), count);
    out.top1_agreement = draws.ratio_of_sums(by_document(text, m.text, [](const token_figure& f) { return f.agrees ? 1.0 : 0.0; }), count);
    const auto tokens = static_cast<double>(text.tokens);
    out.top1_accuracy =
        static_cast<double>(std::count_if(m.text.begin(), m.text.end(), [](const token_figure& f) { return f.right; })) / tokens;
    out.bits_per_byte = std::accumulate(nll.begin(), nll.end(), 0.0) / std::log(2.0) / static_cast<double>(text.bytes);
    out.tokens_per_second = m.seconds > 0 ? tokens * static_cast<double>(m.threads) / m.seconds : 0;
}

/// Verdict on every answer of an item: all its tokens right.
inline std::vector<char> verdicts(const task_item& item, const std::vector<token_figure>& figures) {
    std::vector<char> right(static_cast<std::size_t>(item.spans), 1);
    for (std::size_t t = 0; t < item.span.size(); ++t) {
        if (item.span[t] >= 0 && !figures[t].right) right[static_cast<std::size_t>(item.span[t])] = 0;
    }
    return right;
}

inline void summarise_tasks(const task_set& tasks, const measured& stock, const measured& m, const bootstrap& draws, variant_result& out) {
    for (std::size_t k = 0; k < tasks.kinds.size(); ++k) {
        task_result r;
        r.kind = tasks.kinds[k];
        std::vector<double> spans(tasks.items.size(), 0.0), right(spans), change(spans);
        double nll = 0;
        for (std::size_t i = 0; i < tasks.items.size(); ++i) {
            const task_item& item = tasks.items[i];
            if (item.kind != static_cast<index_t>(k)) continue;
            const auto here = verdicts(item, m.tasks[i]), there = verdicts(item, stock.tasks[i]);
            spans[i] = static_cast<double>(item.spans);
            ++r.documents;
            for (std::size_t s = 0; s < here.size(); ++s) {
                right[i] += here[s];
                change[i] += here[s] - there[s];
                r.flips += here[s] != there[s] ? 1 : 0;
            }
            r.changed_documents += change[i] != 0 ? 1 : 0;
            r.spans += item.spans;
            for (std::size_t t = 0; t < item.span.size(); ++t) {
                if (item.span[t] < 0) continue;
                ++r.tokens;
                r.tokens_right += m.tasks[i][t].right ? 1 : 0;
                nll += static_cast<double>(m.tasks[i][t].nll);
            }
        }
        r.spans_right = static_cast<index_t>(std::accumulate(right.begin(), right.end(), 0.0));
        r.mean_nll = nll / static_cast<double>(r.tokens);
        r.accuracy = draws.ratio_of_sums(right, spans);
        r.accuracy_change = draws.ratio_of_sums(change, spans);
        out.tasks.push_back(std::move(r));
    }
}

} // namespace detail

/// Clustered standard error of the mean nats per token.
inline double standard_error(const corpus& text, const measured& m) {
    return standard_error_of_mean(detail::by_document(text, m.text, [](const token_figure& f) { return f.nll; }),
                                  detail::by_document(text, m.text, [](const token_figure&) { return 1.0; }));
}

/// What measured figures say of every subject. Intervals are 95 % percentile bootstrap intervals over documents, paired with the first
/// subject.
inline report summarise(const std::vector<subject>& subjects, const std::vector<measured>& figures, const corpus* text,
                        const task_set* tasks, index_t threads) {
    report r;
    r.threads = threads;
    r.machine = machine_text();
    if (text != nullptr) {
        r.text = text->name;
        r.documents = text->documents;
        r.context = text->context;
    }
    if (tasks != nullptr) r.tasks = tasks->name;
    const bootstrap text_draws(text != nullptr ? text->documents : 1);
    const bootstrap task_draws(tasks != nullptr ? static_cast<index_t>(tasks->items.size()) : 1);
    for (std::size_t s = 0; s < subjects.size(); ++s) {
        variant_result v;
        v.id = subjects[s].id;
        v.explanation = subjects[s].explanation;
        v.difference = subjects[s].difference;
        v.bytes = subjects[s].bytes;
        if (text != nullptr) detail::summarise_text(*text, figures.front(), figures[s], text_draws, v);
        if (tasks != nullptr) detail::summarise_tasks(*tasks, figures.front(), figures[s], task_draws, v);
        r.variants.push_back(std::move(v));
    }
    return r;
}

/// Measures subjects, the first of which is the stock model, on a text and on tasks (either may be null, not both), and compares them with
/// it (paired and clustered: Miller 2411.00640).
inline report ablate(const std::vector<subject>& subjects, const corpus* text, const task_set* tasks, index_t threads) {
    if (subjects.empty() || (text == nullptr && tasks == nullptr)) throw error("ablate: expected at least one model, and a text or tasks");
    threads = subjects.front().threads(threads).size(); // below 1: one for each processor
    const auto start = std::chrono::steady_clock::now();
    report r = summarise(subjects, measure(subjects, text, tasks, threads), text, tasks, threads);
    r.seconds = detail::seconds_since(start);
    return r;
}

} // namespace loupe::lab
