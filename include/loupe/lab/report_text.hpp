// A report as text for the terminal, at most 100 columns wide; and what all reports share: order, numbers, UTF-8.
#pragma once

#include <loupe/core/types.hpp>
#include <loupe/lab/result.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loupe::lab {

namespace detail {

/// Replaces every byte that is not part of valid UTF-8 by U+FFFD. File names may hold anything, JSON and HTML may not.
inline std::string repaired_utf8(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = [&](std::size_t at) { return static_cast<unsigned>(static_cast<unsigned char>(text[at])); };
        const unsigned first = byte(i);
        const std::size_t length = first < 0x80                    ? 1
                                   : first >= 0xC2 && first < 0xE0 ? 2
                                   : first >= 0xE0 && first < 0xF0 ? 3
                                   : first >= 0xF0 && first < 0xF5 ? 4
                                                                   : 0;
        bool valid = length != 0 && i + length <= text.size();
        for (std::size_t k = 1; valid && k < length; ++k) valid = (byte(i + k) & 0xC0U) == 0x80U;
        if (valid && length > 2) { // overlong forms, surrogates, beyond U+10FFFF
            const unsigned second = byte(i + 1);
            valid = !(first == 0xE0 && second < 0xA0) && !(first == 0xED && second > 0x9F) && !(first == 0xF0 && second < 0x90) &&
                    !(first == 0xF4 && second > 0x8F);
        }
        if (valid) {
            result.append(text.substr(i, length));
            i += length;
        } else {
            result += "\xEF\xBF\xBD";
            ++i;
        }
    }
    return result;
}

/// Columns of a text without wide or combining characters: its code points.
inline std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

inline std::string pad_right(std::string_view text, std::size_t width) {
    const std::size_t has = width_of(text);
    return std::string(text) + std::string(width > has ? width - has : 0, ' ');
}

inline std::string pad_left(std::string_view text, std::size_t width) {
    const std::size_t has = width_of(text);
    return std::string(width > has ? width - has : 0, ' ') + std::string(text);
}

/// Breaks at blanks, and within a word only if it alone is too long (types in a diff are), then after a comma or bracket if there is
/// one. The first line begins with `first`, the others with `rest`. Line breaks of the text are kept.
inline std::string wrapped(std::string_view text, std::size_t width, std::string_view first, std::string_view rest) {
    std::string result;
    std::string_view lead = first;
    const auto put = [&](std::string_view line) {
        while (!line.empty() && line.back() == ' ') line.remove_suffix(1);
        if (line.empty()) return;
        result.append(lead).append(line).append("\n");
        lead = rest;
    };
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        for (;;) {
            const std::size_t room = std::max<std::size_t>(width - std::min(width, width_of(lead)), 8);
            if (width_of(line) <= room) break;
            std::size_t limit = 0; // bytes of the first `room` code points
            for (std::size_t points = 0; limit < line.size(); ++limit) {
                if ((static_cast<unsigned char>(line[limit]) & 0xC0U) != 0x80U && points++ == room) break;
            }
            std::size_t cut = line.rfind(' ', limit);
            if (cut == std::string_view::npos || line.find_first_not_of(' ') > cut) {
                const std::size_t after = line.substr(0, limit).find_last_of(",<>(){}[];/");
                cut = after == std::string_view::npos || after < limit / 2 ? limit : after + 1;
            }
            put(line.substr(0, cut));
            line.remove_prefix(cut);
            line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        }
        put(line);
    }
    return result;
}

inline bool has_interval(const estimate& e) { return std::isfinite(e.low) && std::isfinite(e.high); }

/// Zero lies outside of the interval. Without an interval nothing can be said, and the answer is no.
inline bool differs_from_zero(const estimate& e) { return has_interval(e) && (e.low > 0 || e.high < 0); }

/// `digits` significant digits without an exponent as long as that is readable; "n/a" for NaN.
inline std::string number_text(double value, int digits = 4) {
    if (std::isnan(value)) return "n/a";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    if (value == 0) return "0";
    const double size = std::abs(value);
    if (size >= 1e6 || size < 1e-3) return fmt::format("{:.1e}", value);
    const int decimals = std::max(0, digits - 1 - static_cast<int>(std::floor(std::log10(size))));
    return fmt::format("{:.{}f}", value, std::min(decimals, 4));
}

/// A share as a signed percentage, two decimals when small: "+0.41", "-12.3", "+2013".
inline std::string change_text(double share) {
    if (std::isnan(share)) return "n/a";
    if (std::isinf(share)) return share > 0 ? "+inf" : "-inf";
    const double percent = share * 100;
    const double size = std::abs(percent);
    if (size < 0.005) return "0.00";
    if (size >= 99999.5) return fmt::format("{:+.1e}", percent);
    return fmt::format("{:+.{}f}", percent, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

/// A share as a percentage with one decimal, or "n/a".
inline std::string share_text(double share) { return std::isfinite(share) ? fmt::format("{:.1f}", share * 100) : "n/a"; }

/// Nats of a divergence. Four decimals where they say something, an exponent below.
inline std::string divergence_text(double nats) {
    if (!std::isfinite(nats)) return std::isnan(nats) ? "n/a" : "inf";
    const double size = std::abs(nats);
    if (size == 0) return "0";
    if (size < 0.00095) return fmt::format("{:.1e}", nats);
    return fmt::format("{:.{}f}", nats, size < 0.99995 ? 4 : size < 9.9995 ? 3 : 2);
}

/// Positions in report::variants: the stock model, then from the best perplexity to the worst, what is not a number last. If no text
/// was scored the given order stays.
inline std::vector<std::size_t> reading_order(const report& r) {
    std::vector<std::size_t> order(r.variants.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (r.text.empty() || order.empty()) return order;
    const auto key = [&](std::size_t i) {
        const double change = r.variants[i].perplexity_change.value;
        return std::isnan(change) ? std::numeric_limits<double>::infinity() : change;
    };
    std::stable_sort(order.begin() + 1, order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    return order;
}

/// Kinds of all variants, sorted.
inline std::vector<std::string> kinds_of(const report& r) {
    std::set<std::string> kinds;
    for (const variant_result& v : r.variants) {
        for (const task_result& t : v.tasks) kinds.insert(t.kind);
    }
    return {kinds.begin(), kinds.end()};
}

/// What is to be said of the intervals of a text of so few documents; nothing of others.
inline std::string few_documents(index_t documents) {
    if (documents == 1) return "One document only: there is nothing to resample, hence no intervals.";
    if (documents < 1 || documents >= 5) return {};
    return fmt::format("{} documents only: too few for a reliable interval. Those shown are too narrow.", documents);
}

inline const task_result* find_kind(const variant_result& v, std::string_view kind) {
    const auto it = std::find_if(v.tasks.begin(), v.tasks.end(), [&](const task_result& t) { return t.kind == kind; });
    return it == v.tasks.end() ? nullptr : &*it;
}

/// A change of accuracy that is marked: zero lies outside of its interval, and at least six documents changed, since the sign test of five
/// that all point one way is no better than 2 · 2⁻⁵ = 0.06.
inline bool is_clear(const task_result& t) { return differs_from_zero(t.accuracy_change) && t.changed_documents >= 6; }

/// Names the kinds of tasks that too few lines hold; nothing if there are none.
inline std::string few_lines(const report& r) {
    std::string kinds;
    if (r.variants.empty()) return kinds;
    for (const task_result& t : r.variants.front().tasks) {
        if (t.documents < 5) kinds += (kinds.empty() ? "" : ", ") + repaired_utf8(t.kind);
    }
    return kinds.empty() ? kinds : "Too few lines (under five) for a reliable interval: " + kinds + ".";
}

/// Verdicts that differ from the stock model's, over all kinds.
inline index_t flips_of(const variant_result& v) {
    return std::accumulate(v.tasks.begin(), v.tasks.end(), index_t{0}, [](index_t sum, const task_result& t) { return sum + t.flips; });
}

/// 12345678 -> "12 345 678", or with another separator.
inline std::string grouped(index_t value, std::string_view separator = " ") {
    std::string digits = fmt::format("{}", value);
    for (index_t at = static_cast<index_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
        digits.insert(static_cast<std::size_t>(at), separator);
    }
    return digits;
}

/// Rows of cells, the first row being the head. Column 0 is flush left, the others flush right. An id too long for its column stands
/// alone on a line above its figures, so that it can still be copied whole.
inline std::string table(const std::vector<std::vector<std::string>>& rows, std::size_t width) {
    const std::size_t columns = rows.front().size();
    std::vector<std::size_t> widths(columns, 0);
    for (const auto& row : rows) {
        for (std::size_t c = 0; c < columns; ++c) widths[c] = std::max(widths[c], width_of(row[c]));
    }
    const std::size_t figures = std::accumulate(widths.begin() + 1, widths.end(), std::size_t{0});
    std::size_t gap = 2;
    if (widths[0] + figures + gap * (columns - 1) > width) gap = 1;
    const std::size_t taken = std::min(width, figures + gap * (columns - 1));
    widths[0] = std::min(widths[0], width - taken);
    std::string result;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        std::string line = pad_right(rows[r][0], widths[0]);
        if (width_of(rows[r][0]) > widths[0]) {
            result += wrapped(rows[r][0], width, "", "  ");
            line = std::string(widths[0], ' ');
        }
        for (std::size_t c = 1; c < columns; ++c) line += std::string(gap, ' ') + pad_left(rows[r][c], widths[c]);
        line.erase(line.find_last_not_of(' ') + 1);
        result += line + "\n";
        if (r == 0) {
            for (std::size_t i = 0; i < widths[0] + taken; ++i) result += "─";
            result += "\n";
        }
    }
    return result;
}

/// Makes the bounds of a column of intervals equally wide, so that they stand under each other; "n/a" where there are none.
inline std::vector<std::string> interval_column(const std::vector<std::pair<std::string, std::string>>& bounds) {
    std::size_t low = 0;
    std::size_t high = 0;
    for (const auto& b : bounds) {
        low = std::max(low, width_of(b.first));
        high = std::max(high, width_of(b.second));
    }
    std::vector<std::string> result;
    for (const auto& b : bounds) {
        result.push_back(b.first.empty() ? "n/a" : "[" + pad_left(b.first, low) + " " + pad_left(b.second, high) + "]");
    }
    return result;
}

inline std::string text_table_of_text(const report& r, const std::vector<std::size_t>& order, std::size_t width) {
    using bounds = std::pair<std::string, std::string>;
    std::vector<bounds> change;
    std::vector<bounds> kl;
    for (const std::size_t i : order) {
        const estimate& d = r.variants[i].perplexity_change;
        const estimate& k = r.variants[i].mean_kl;
        change.push_back(has_interval(d) ? bounds{change_text(d.low), change_text(d.high)} : bounds{});
        kl.push_back(has_interval(k) ? bounds{divergence_text(k.low), divergence_text(k.high)} : bounds{});
    }
    const std::vector<std::string> change_intervals = interval_column(change);
    const std::vector<std::string> kl_intervals = interval_column(kl);
    std::vector<std::vector<std::string>> rows{{"variant", "ppl", "Δ%", "95 %", "KL", "95 %", "top-1", "tok/s", "MB"}};
    for (std::size_t n = 0; n < order.size(); ++n) {
        const variant_result& v = r.variants[order[n]];
        const bool stock = order[n] == 0; // compared with itself: nothing to say
        rows.push_back({repaired_utf8(v.id), number_text(v.perplexity.value), stock ? "" : change_text(v.perplexity_change.value),
                        stock ? "" : change_intervals[n], stock ? "" : divergence_text(v.mean_kl.value), stock ? "" : kl_intervals[n],
                        stock ? "" : share_text(v.top1_agreement.value), number_text(v.tokens_per_second, 3),
                        number_text(static_cast<double>(v.bytes) / 1e6, 3)});
    }
    return table(rows, width);
}

inline std::string text_tables_of_tasks(const report& r, const std::vector<std::size_t>& order, std::size_t width) {
    const std::vector<std::string> kinds = kinds_of(r);
    std::size_t id_width = 7;
    for (const variant_result& v : r.variants) id_width = std::max(id_width, std::min<std::size_t>(width_of(repaired_utf8(v.id)), 40));
    std::string result;
    for (std::size_t from = 0; from < kinds.size();) {
        std::vector<std::string> head{"variant"};
        std::vector<std::string> counts{"  spans"};
        std::size_t used = id_width + 7; // the column of flips
        std::size_t to = from;
        for (; to < kinds.size(); ++to) {
            index_t spans = 0;
            for (const variant_result& v : r.variants) {
                if (const task_result* t = find_kind(v, kinds[to])) spans = std::max(spans, t->spans);
            }
            // "100.0*", and a star's place behind the name too, so that names stand above digits
            std::string name = repaired_utf8(kinds[to]);
            const std::size_t column = std::max<std::size_t>({6, width_of(name) + 1, grouped(spans).size() + 1});
            if (to > from && used + 2 + column > width) break;
            if (width_of(name) > 60) name = "…"; // never in earnest
            used += 2 + column;
            head.push_back(name + " ");
            counts.push_back(grouped(spans) + " ");
        }
        const bool last = to == kinds.size();
        if (last) {
            head.push_back("flips");
            counts.emplace_back();
        }
        std::vector<std::vector<std::string>> rows{head, counts};
        for (const std::size_t i : order) {
            const variant_result& v = r.variants[i];
            std::vector<std::string> row{repaired_utf8(v.id)};
            for (std::size_t k = from; k < to; ++k) {
                const task_result* t = find_kind(v, kinds[k]);
                row.push_back(t == nullptr ? "- " : share_text(t->accuracy.value) + (is_clear(*t) ? "*" : " "));
            }
            if (last) row.push_back(i == 0 ? "" : grouped(flips_of(v)));
            rows.push_back(std::move(row));
        }
        result += (from > 0 ? "\n" : "") + table(rows, width);
        from = to;
    }
    return result;
}

} // namespace detail

/// The report as text, every line at most 100 code points. Parts without data (no text, no tasks) are left out; a figure or interval
/// that could not be had prints as "n/a".
inline std::string text_report(const report& r) {
    using namespace detail;
    constexpr std::size_t width = 100;
    const std::vector<std::size_t> order = reading_order(r);
    const auto fact = [&](std::string_view name, std::string_view value) {
        return value.empty() ? std::string{} : wrapped(repaired_utf8(value), width, pad_right(name, 11), std::string(11, ' '));
    };

    std::string out;
    out += fact("model", r.model);
    out += fact("file", r.file);
    if (!r.text.empty()) {
        std::string text = r.text;
        if (!r.variants.empty()) text += fmt::format(", {} tokens", grouped(r.variants.front().tokens));
        out += fact("text", text + fmt::format(" in {} document{}", grouped(r.documents), r.documents == 1 ? "" : "s"));
    }
    out += fact("tasks", r.tasks);
    out += fact("context", r.context > 0 ? grouped(r.context) + " tokens" : "");
    out += fact("machine", r.machine);
    out += fact("took", fmt::format("{:.1f} s on {} thread{}", r.seconds, r.threads, r.threads == 1 ? "" : "s"));
    if (r.variants.empty()) return out + "\nNo variant was run.\n";

    const auto caption = [&](std::string_view text) { out += "\n" + wrapped(text, width, "", "") + "\n"; };
    if (!r.text.empty()) {
        caption("Perplexity: the stock model, then variants from the best to the worst. Δ% is the change of perplexity, KL the mean "
                "of KL(stock‖variant) in nats per token, each with its 95 % interval (paired bootstrap over documents); top-1 the % of "
                "tokens with the stock model's most likely next token; MB = 10⁶ bytes of weights.");
        out += text_table_of_text(r, order, width);
        if (const std::string few = few_documents(r.documents); !few.empty()) caption(few);
    }
    if (!kinds_of(r).empty()) {
        caption(
            "Answers fully right, in %, by kind of task. * marks a change against the stock model whose 95 % interval (paired, by "
            "document) excludes zero, if at least six lines changed; flips counts the answers whose verdict changed, either way, over all "
            "kinds.");
        out += text_tables_of_tasks(r, order, width);
        if (const std::string few = few_lines(r); !few.empty()) caption(few);
    }
    if (r.variants.size() > 1) {
        out += "\nWhat differs from the stock model\n";
        for (const std::size_t i : order) {
            if (i == 0) continue;
            const variant_result& v = r.variants[i];
            const std::string explanation = v.explanation.empty() ? "" : " — " + repaired_utf8(v.explanation);
            out += "\n" + wrapped(repaired_utf8(v.id) + explanation, width, "", "    ");
            for (std::string_view lines = v.difference; !lines.empty();) {
                const std::size_t end = std::min(lines.find('\n'), lines.size());
                out += wrapped(repaired_utf8(lines.substr(0, end)), width, "    ", "      ");
                lines.remove_prefix(std::min(end + 1, lines.size()));
            }
        }
    }
    return out;
}

} // namespace loupe::lab
