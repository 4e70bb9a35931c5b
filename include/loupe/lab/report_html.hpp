// A report as one self-contained web page: no scripts, nothing loaded from elsewhere, light and dark.
#pragma once

#include <loupe/core/types.hpp>
#include <loupe/lab/report_text.hpp>
#include <loupe/lab/result.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loupe::lab {

namespace detail {

/// Text as HTML, also within quoted attributes. Bytes that are not UTF-8 become U+FFFD, control characters too.
inline std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : repaired_utf8(text)) {
        switch (c) {
        case '&':
            result += "&amp;";
            break;
        case '<':
            result += "&lt;";
            break;
        case '>':
            result += "&gt;";
            break;
        case '"':
            result += "&quot;";
            break;
        case '\'':
            result += "&#39;";
            break;
        default:
            if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
                result += "\xEF\xBF\xBD";
            } else {
                result += c;
            }
        }
    }
    return result;
}

/// A number as print has it: "-3.0" -> "−3.0", "8.0e-05" -> "8.0·10⁻⁵", "1e+06" -> "10⁶".
inline std::string with_minus(std::string text) {
    static constexpr const char* raised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    if (const std::size_t e = text.find('e'); e != std::string::npos && e + 2 < text.size() && (text[e + 1] == '-' || text[e + 1] == '+')) {
        std::string power = text[e + 1] == '-' ? "⁻" : "";
        for (std::size_t i = std::min(text.find_first_not_of('0', e + 2), text.size() - 1); i < text.size(); ++i) {
            if (text[i] >= '0' && text[i] <= '9') power += raised[text[i] - '0'];
        }
        std::string mantissa = text.substr(0, e);
        if (mantissa == "1" || mantissa == "-1" || mantissa == "+1") {
            mantissa.pop_back();
        } else {
            mantissa += "·";
        }
        text = mantissa + "10" + power;
    }
    if (!text.empty() && text.front() == '-') text.replace(0, 1, "−");
    return text;
}

/// A grouped number that no line break tears apart (U+202F, a narrow no-break space).
inline std::string unbroken(index_t value) { return grouped(value, "\xE2\x80\xAF"); }

inline const char* html_style() {
    return R"css(
:root {
  --paper: #fdfdfb; --ink: #1b1d21; --soft: #5d636c; --faint: #8b919a; --rule: #dcdcd6; --hair: #e6e6df; --band: #f5f5f0;
  --worse: 184 66 30; --better: 14 116 130; --even: 118 124 133; --link: #0e7482;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14161a; --ink: #e6e6e2; --soft: #a2a7af; --faint: #7a808a; --rule: #363a41; --hair: #2a2e34; --band: #1b1e23;
    --worse: 240 125 84; --better: 76 190 204; --even: 140 146 156; --link: #4cbecc;
  }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 Charter, "Bitstream Charter", "Source Serif 4", Cambria, Georgia, serif; }
main { max-width: 1120px; margin: 0 auto; padding: 56px 32px 96px; }
h1 { font-size: 34px; line-height: 1.2; font-weight: 600; letter-spacing: -.01em; margin: 0 0 10px; }
h2 { font-size: 21px; line-height: 1.3; font-weight: 600; margin: 60px 0 6px; }
p { margin: 0 0 14px; max-width: 44em; }
p.lead { font-size: 18px; margin-bottom: 28px; }
p.note { color: var(--soft); font-size: 14.5px; line-height: 1.5; margin-bottom: 16px; }
.facts, table, svg, .heat, .id { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
.id, pre, svg .name { font-family: ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px 28px; margin: 0; padding: 16px 0; border-top: 1px solid var(--ink); border-bottom: 1px solid var(--rule); font-size: 13.5px; line-height: 1.4; }
.facts div { min-width: 0; }
.facts .wide { grid-column: 1 / -1; }
.facts dt { color: var(--soft); font-size: 12px; }
.facts dd { margin: 1px 0 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; line-height: 1.35; font-variant-numeric: tabular-nums lining-nums; width: 100%; }
th { font-weight: 500; color: var(--soft); font-size: 12px; text-align: right; vertical-align: bottom; padding: 6px 0 6px 16px; border-bottom: 1px solid var(--ink); white-space: nowrap; }
th small { display: block; font-size: 11px; color: var(--faint); font-weight: 400; }
td { text-align: right; padding: 4.5px 0 4.5px 16px; border-bottom: 1px solid var(--hair); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.id { font-size: 12.5px; }
td.range { color: var(--soft); padding-left: 12px; }
td.range + td.range { padding-left: 8px; }
td.worse { color: rgb(var(--worse)); } td.better { color: rgb(var(--better)); }
tr.stock td { background: var(--band); font-weight: 600; }
tbody tr:hover td { background: var(--band); }
.heat { border-collapse: separate; border-spacing: 2px; width: auto; min-width: 60%; margin-left: -2px; }
.heat th { border: 0; padding: 4px 8px; text-align: center; }
.heat td { border: 0; padding: 4px 10px; text-align: center; min-width: 66px; border-radius: 2px; }
.heat th:first-child, .heat td:first-child { text-align: left; padding-left: 0; padding-right: 18px; }
.heat td.w, .heat tbody tr:hover td.w { background: rgb(var(--worse) / var(--a)); }
.heat td.b, .heat tbody tr:hover td.b { background: rgb(var(--better) / var(--a)); }
.heat td.e, .heat tbody tr:hover td.e { background: var(--band); }
.heat td.sure { font-weight: 700; }
.heat td.none { color: var(--faint); }
.key { display: flex; flex-wrap: wrap; gap: 6px 22px; font: 12.5px/1.4 ui-sans-serif, system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; color: var(--soft); margin: 0 0 10px; padding: 0; list-style: none; }
.key svg { vertical-align: -2px; margin-right: 6px; }
svg { display: block; } .key svg { display: inline-block; }
svg text { fill: var(--soft); font-size: 12px; }
svg .head { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg .name { fill: var(--ink); font-size: 12.5px; }
svg .tick { font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--rule); } svg .minor { stroke: var(--hair); stroke-opacity: .5; } svg .zero { stroke: var(--faint); }
svg .band { fill: var(--band); }
svg g.worse { color: rgb(var(--worse)); } svg g.better { color: rgb(var(--better)); } svg g.even { color: rgb(var(--even)); } svg g.kl { color: var(--ink); }
svg .bar { stroke: currentColor; stroke-width: 2; stroke-linecap: round; }
svg .dot { fill: currentColor; stroke: currentColor; stroke-width: 1.6; }
svg .open { fill: var(--paper); }
.what { margin: 18px 0 0; }
.what div { display: grid; grid-template-columns: minmax(200px, 26%) 1fr; gap: 4px 24px; padding: 10px 0; border-top: 1px solid var(--hair); }
.what dt { font-size: 13px; line-height: 1.6; overflow-wrap: anywhere; }
.what dd { margin: 0; min-width: 0; font-size: 15px; line-height: 1.5; }
pre { margin: 4px 0 0; font-size: 12px; line-height: 1.5; color: var(--soft); white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 64px; padding-top: 12px; border-top: 1px solid var(--rule); color: var(--faint); font-size: 13px; }
@media (max-width: 720px) { main { padding: 28px 16px 56px; } h1 { font-size: 27px; } .what div { grid-template-columns: 1fr; } }
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; } tr, .what div { break-inside: avoid; } }
)css";
}

/// A horizontal axis. Changes of perplexity run from tenths of a percent to thousands: asinh is linear near zero and logarithmic
/// beyond, and knows both signs. Divergences are positive and get a plain logarithm.
struct html_axis {
    bool logarithmic = false;
    double bend = 1; ///< where asinh goes over from linear to logarithmic, in the axis' unit
    double low = 0;  ///< of the axis, in its unit
    double high = 1;
    double left = 0; ///< in pixels
    double right = 1;
    std::vector<double> ticks;
    std::vector<double> minor;

    double warp(double value) const { return logarithmic ? std::log10(std::max(value, 1e-300)) : std::asinh(value / (2 * bend)); }
    double at(double value) const {
        const double share = (warp(std::clamp(value, low, high)) - warp(low)) / (warp(high) - warp(low));
        return left + share * (right - left);
    }
};

/// Smallest power of ten at or above a positive value.
inline double decade_above(double value) { return std::pow(10.0, std::ceil(std::log10(value) - 1e-9)); }
inline double decade_below(double value) { return std::pow(10.0, std::floor(std::log10(value) + 1e-9)); }

/// 1-2-5 ladder at or above a positive value, so that an axis does not run a decade past its data.
inline double step_above(double value) {
    const double decade = decade_below(value);
    for (const double f : {1.0, 2.0, 3.0, 5.0, 10.0}) {
        if (f * decade >= value * (1 - 1e-9)) return f * decade;
    }
    return 10 * decade;
}

/// The axis of perplexity changes, in percent, zero always on it.
inline html_axis change_axis(const report& r, double left, double right) {
    html_axis axis;
    axis.left = left;
    axis.right = right;
    double least = 0;
    double most = 0;
    double finest = 1;
    for (const variant_result& v : r.variants) {
        const estimate& e = v.perplexity_change;
        for (const double share : {e.value, e.low, e.high}) {
            if (!std::isfinite(share)) continue;
            least = std::min(least, 100 * share);
            most = std::max(most, 100 * share);
        }
        const double size = std::abs(100 * e.value);
        if (std::isfinite(size) && size > 0) finest = std::min(finest, size);
    }
    axis.bend = std::clamp(decade_below(finest), 0.1, 1.0);
    axis.high = most > 0 ? step_above(std::max(most * 1.05, axis.bend)) : axis.bend;
    axis.low = least < 0 ? -step_above(std::max(-least * 1.05, axis.bend)) : -axis.bend / 2;
    axis.ticks.push_back(0);
    for (double t = axis.bend; t <= 1e12; t *= 10) {
        if (t <= axis.high * (1 + 1e-9)) axis.ticks.push_back(t);
        if (-t >= axis.low * (1 + 1e-9)) axis.ticks.push_back(-t);
        for (int k = 2; k <= 9; ++k) {
            if (k * t < axis.high) axis.minor.push_back(k * t);
            if (-k * t > axis.low) axis.minor.push_back(-k * t);
        }
        if (t > axis.high && -t < axis.low) break;
    }
    return axis;
}

/// The axis of divergences, nats on a logarithmic scale. What is zero or below lies on its left end.
inline html_axis divergence_axis(const report& r, double left, double right) {
    html_axis axis;
    axis.logarithmic = true;
    axis.left = left;
    axis.right = right;
    double least = 0;
    double most = 0;
    for (std::size_t i = 1; i < r.variants.size(); ++i) {
        const estimate& e = r.variants[i].mean_kl;
        for (const double nats : {e.value, e.low, e.high}) {
            if (!std::isfinite(nats) || nats < 1e-9) continue;
            least = least > 0 ? std::min(least, nats) : nats;
            most = std::max(most, nats);
        }
    }
    if (!(least > 0)) {
        least = 1e-3;
        most = 1;
    }
    axis.low = decade_below(least);
    axis.high = step_above(most * 1.05);
    if (axis.high < 10 * axis.low) axis.high = 10 * axis.low;
    for (double t = axis.low; t <= axis.high * (1 + 1e-9); t *= 10) {
        axis.ticks.push_back(t);
        for (int k = 2; k <= 9; ++k) {
            if (k * t < axis.high) axis.minor.push_back(k * t);
        }
    }
    return axis;
}

inline std::string tick_text(double value) {
    const double size = std::abs(value);
    if (size >= 1e5 || (size > 0 && size < 1e-4)) return with_minus(fmt::format("{:.0e}", value));
    if (size >= 1000)
        return (value < 0 ? "−" : "") + fmt::format("{} {:03}", static_cast<index_t>(size) / 1000, static_cast<index_t>(size) % 1000);
    return with_minus(fmt::format("{:g}", value));
}

inline std::string html_axis_lines(const html_axis& axis, double top, double bottom, bool signs) {
    std::string out;
    for (const double t : axis.minor) {
        out += fmt::format(R"(<line class="minor" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.0f}" y2="{2:.0f}"/>)", axis.at(t), top, bottom);
    }
    for (const double t : axis.ticks) {
        out += fmt::format(R"(<line class="{3}" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.0f}" y2="{2:.0f}"/>)", axis.at(t), top, bottom,
                           t == 0 ? "zero" : "grid");
    }
    // Labels that would run into each other are left out, those nearest to the first tick (zero) stay.
    std::vector<std::pair<double, double>> taken;
    for (const double t : axis.ticks) {
        const std::string label = (signs && t > 0 ? "+" : "") + tick_text(t);
        const double half = 3.4 * static_cast<double>(width_of(label)) + 4;
        const double x = axis.at(t);
        if (std::any_of(taken.begin(), taken.end(), [&](const auto& o) { return x - half < o.second && x + half > o.first; })) continue;
        taken.emplace_back(x - half, x + half);
        for (const double y : {top - 8, bottom + 18})
            out += fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.0f}" text-anchor="middle">{}</text>)", x, y, label);
    }
    return out + "\n";
}

/// One estimate: its interval as a bar, its value as a dot, hollow if the interval holds zero (or there is none). A bar that leaves
/// the axis ends at its edge.
inline std::string html_mark(const html_axis& axis, const estimate& e, double scale, double y, std::string_view group, bool filled,
                             std::string_view title) {
    std::string out = fmt::format(R"(<g class="{}"><title>{}</title>)", group, escaped(title));
    if (has_interval(e)) {
        out += fmt::format(R"(<line class="bar" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)", axis.at(scale * e.low),
                           axis.at(scale * e.high), y, y);
    }
    out +=
        fmt::format(R"(<circle class="dot{}" cx="{:.1f}" cy="{:.1f}" r="3.3"/></g>)", filled ? "" : " open", axis.at(scale * e.value), y);
    return out;
}

inline const char* change_class(const estimate& e) { return !differs_from_zero(e) ? "even" : e.value > 0 ? "worse" : "better"; }

inline std::string range_text(const std::string& low, const std::string& high) { return with_minus(low) + " … " + with_minus(high); }

inline std::string html_change_range(const estimate& e) {
    return has_interval(e) ? range_text(change_text(e.low), change_text(e.high)) : "n/a";
}
inline std::string html_kl_range(const estimate& e) {
    return has_interval(e) ? range_text(divergence_text(e.low), divergence_text(e.high)) : "n/a";
}

/// Both figures in one drawing, rows shared: how much worse a variant is, and how far its predictions moved.
inline std::string html_plots(const report& r, const std::vector<std::size_t>& order) {
    std::size_t longest = 8;
    for (const variant_result& v : r.variants) longest = std::max(longest, width_of(repaired_utf8(v.id)));
    const double row = 23;
    const double top = 54;
    const double names = std::min(7.6 * static_cast<double>(longest), 420.0);
    const double panel = std::max((1056 - names - 24 - 48 - 24) / 2, 300.0);
    const double first = names + 24;
    const double second = first + panel + 48;
    const double width = second + panel + 24;
    const double bottom = top + row * static_cast<double>(order.size() - 1) + 4;
    const html_axis change = change_axis(r, first, first + panel);
    const html_axis kl = divergence_axis(r, second, second + panel);

    std::string out =
        fmt::format("<div class=\"scroll\"><svg width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" role=\"img\" "
                    "aria-label=\"Change of perplexity and mean KL divergence of every variant, with 95 % intervals\">\n",
                    width, bottom + 28);
    for (std::size_t n = 1; n < order.size(); n += 2) {
        out += fmt::format(R"(<rect class="band" x="0" y="{:.1f}" width="{:.0f}" height="{:.1f}"/>)",
                           top + 2 + row * static_cast<double>(n - 1), width, row);
    }
    out += fmt::format(R"(<text class="head" x="{:.1f}" y="18">Change of perplexity, %</text>)", first);
    out += fmt::format("<text class=\"head\" x=\"{:.1f}\" y=\"18\">Mean KL(stock ‖ variant), nats per token</text>\n", second);
    out += html_axis_lines(change, top, bottom, true) + html_axis_lines(kl, top, bottom, false);
    for (std::size_t n = 1; n < order.size(); ++n) {
        const variant_result& v = r.variants[order[n]];
        const double y = top + 2 + row * (static_cast<double>(n) - 0.5);
        out += fmt::format(R"(<text class="name" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>)", names + 4, y + 4, escaped(v.id));
        const estimate& d = v.perplexity_change;
        if (std::isfinite(d.value)) {
            out += html_mark(change, d, 100, y, change_class(d), differs_from_zero(d),
                             fmt::format("{}: {} %, 95 % interval {}", v.id, with_minus(change_text(d.value)), html_change_range(d)));
        } else {
            out += fmt::format(R"(<text x="{:.1f}" y="{:.1f}">not finite</text>)", first + 4, y + 4);
        }
        const estimate& k = v.mean_kl;
        if (std::isfinite(k.value)) {
            out += html_mark(kl, k, 1, y, "kl", k.value >= kl.low,
                             fmt::format("{}: {} nats per token, 95 % interval {}", v.id, divergence_text(k.value), html_kl_range(k)));
        } else {
            out += fmt::format(R"(<text x="{:.1f}" y="{:.1f}">not finite</text>)", second + 4, y + 4);
        }
        out += "\n";
    }
    return out + "</svg></div>\n";
}

inline std::string html_key() {
    std::string out = "<ul class=\"key\">";
    const auto item = [&](std::string_view group, bool filled, std::string_view text) {
        out += fmt::format(
            R"(<li><svg width="34" height="12" aria-hidden="true"><g class="{}"><line class="bar" x1="3" x2="31" y1="6" y2="6"/>)"
            R"(<circle class="dot{}" cx="17" cy="6" r="3.3"/></g></svg>{}</li>)",
            group, filled ? "" : " open", text);
    };
    item("worse", true, "worse than stock");
    item("better", true, "better than stock");
    item("even", false, "95 % interval holds zero, or none can be had");
    return out + "</ul>\n";
}

/// The two bounds in cells of their own, so that they stand under each other.
template <class Format>
std::string range_cells(const estimate& e, Format format, bool blank) {
    if (blank) return R"(<td></td><td></td>)";
    if (!has_interval(e)) return R"(<td class="range" colspan="2">n/a</td>)";
    return fmt::format(R"(<td class="range">{}</td><td class="range">{}</td>)", with_minus(format(e.low)), with_minus(format(e.high)));
}

inline std::string html_table(const report& r, const std::vector<std::size_t>& order) {
    std::string out =
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">variant</th><th scope=\"col\">perplexity</th>"
        "<th scope=\"col\">change, %</th><th scope=\"col\" colspan=\"2\">95 % interval</th><th scope=\"col\">KL, nats</th>"
        "<th scope=\"col\" colspan=\"2\">95 % interval</th><th scope=\"col\">same<small>top-1, %</small></th>"
        "<th scope=\"col\">right<small>top-1, %</small></th><th scope=\"col\">bits<small>per byte</small></th>"
        "<th scope=\"col\">tokens<small>per s</small></th><th scope=\"col\">weights<small>MB</small></th></tr></thead>\n<tbody>\n";
    for (const std::size_t i : order) {
        const variant_result& v = r.variants[i];
        const bool stock = i == 0;
        const estimate& d = v.perplexity_change;
        const char* tone = stock ? "even" : change_class(d);
        out += fmt::format(R"(<tr{}><td class="id">{}</td><td>{}</td><td class="{}">{}</td>{}<td>{}</td>{})",
                           stock ? " class=\"stock\"" : "", escaped(v.id), with_minus(number_text(v.perplexity.value)), tone,
                           stock ? "" : with_minus(change_text(d.value)), range_cells(d, change_text, stock),
                           stock ? "" : with_minus(divergence_text(v.mean_kl.value)), range_cells(v.mean_kl, divergence_text, stock));
        out +=
            fmt::format("<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", stock ? "" : share_text(v.top1_agreement.value),
                        share_text(v.top1_accuracy), std::isfinite(v.bits_per_byte) ? fmt::format("{:.3f}", v.bits_per_byte) : "n/a",
                        number_text(v.tokens_per_second, 3), number_text(static_cast<double>(v.bytes) / 1e6, 3));
    }
    return out + "</tbody></table></div>\n";
}

/// Variants by kinds: the share of right answers, coloured by the change against the stock model.
inline std::string html_heat_map(const report& r, const std::vector<std::size_t>& order) {
    const std::vector<std::string> kinds = kinds_of(r);
    std::string out = "<div class=\"scroll\"><table class=\"heat\">\n<thead><tr><th scope=\"col\">variant</th>";
    for (const std::string& kind : kinds) {
        index_t spans = 0;
        for (const variant_result& v : r.variants) {
            if (const task_result* t = find_kind(v, kind)) spans = std::max(spans, t->spans);
        }
        out += fmt::format(R"(<th scope="col">{}<small>{} spans</small></th>)", escaped(kind), unbroken(spans));
    }
    out += "<th scope=\"col\">flips</th></tr></thead>\n<tbody>\n";
    for (const std::size_t i : order) {
        const variant_result& v = r.variants[i];
        const bool stock = i == 0;
        out += fmt::format(R"(<tr{}><td class="id">{}</td>)", stock ? " class=\"stock\"" : "", escaped(v.id));
        for (const std::string& kind : kinds) {
            const task_result* t = find_kind(v, kind);
            if (t == nullptr || !std::isfinite(t->accuracy.value)) {
                out += R"(<td class="none">–</td>)";
                continue;
            }
            const estimate& d = t->accuracy_change;
            if (stock || !(std::abs(d.value) >= 0.0005)) {
                out += fmt::format(R"(<td class="e">{}</td>)", share_text(t->accuracy.value));
                continue;
            }
            // The root lifts small changes above the paper; 0.62 keeps the figures readable on full losses.
            const double alpha = 0.06 + 0.56 * std::sqrt(std::min(std::abs(d.value), 1.0));
            out += fmt::format(R"(<td class="{}{}" style="--a:{:.2f}" title="{} points, 95 % interval {}; {} flips">{}</td>)",
                               d.value < 0 ? "w" : "b", is_clear(*t) ? " sure" : "", alpha, with_minus(change_text(d.value)),
                               html_change_range(d), unbroken(t->flips), share_text(t->accuracy.value));
        }
        out += fmt::format("<td class=\"none\">{}</td></tr>\n", stock ? "" : unbroken(flips_of(v)));
    }
    return out + "</tbody></table></div>\n";
}

} // namespace detail

/// The report as one HTML page. Every text of the report is escaped. Parts without data (no text, no tasks) are left out.
inline std::string html_report(const report& r) {
    using namespace detail;
    const std::vector<std::size_t> order = reading_order(r);
    const bool compared = r.variants.size() > 1;
    const std::string title = r.model.empty() ? "Ablation" : "Ablation of " + escaped(r.model);

    std::string out = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
    out += "<title>" + title + "</title>\n<style>" + html_style() + "</style>\n</head>\n<body>\n<main>\n<h1>" + title + "</h1>\n";
    if (r.variants.empty()) return out + "<p class=\"lead\">No variant was run.</p>\n</main>\n</body>\n</html>\n";

    const variant_result& stock = r.variants.front();
    const std::size_t others = r.variants.size() - 1;
    std::string lead = fmt::format("{} variant{} measured against the stock model", others, others == 1 ? "" : "s");
    if (others == 0) lead = "The stock model";
    if (!r.text.empty()) {
        lead += fmt::format(" on the same {} tokens. The stock model’s perplexity is {}", unbroken(stock.tokens),
                            number_text(stock.perplexity.value));
        if (has_interval(stock.perplexity)) {
            lead += fmt::format(" (95 % interval {})", range_text(number_text(stock.perplexity.low), number_text(stock.perplexity.high)));
        }
        if (compared) {
            const auto clear = [&](bool worse) {
                return std::count_if(r.variants.begin() + 1, r.variants.end(), [&](const variant_result& v) {
                    return differs_from_zero(v.perplexity_change) && (v.perplexity_change.value > 0) == worse;
                });
            };
            lead += fmt::format("; {} of the {} are clearly worse (95 % interval above zero), {} clearly better", clear(true), others,
                                clear(false));
        }
    }
    out += "<p class=\"lead\">" + lead + ".</p>\n<dl class=\"facts\">\n";
    const auto fact = [&](std::string_view name, const std::string& value, bool wide = false) {
        if (!value.empty())
            out += fmt::format("<div{}><dt>{}</dt><dd>{}</dd></div>\n", wide ? " class=\"wide\"" : "", name, escaped(value));
    };
    if (!r.text.empty()) fact("Text", fmt::format("{}, {} document{}", r.text, unbroken(r.documents), r.documents == 1 ? "" : "s"));
    fact("Tasks", r.tasks);
    fact("Context", r.context > 0 ? unbroken(r.context) + " tokens" : "");
    fact("Time", fmt::format("{:.1f} s on {} thread{}", r.seconds, r.threads, r.threads == 1 ? "" : "s"));
    fact("File", r.file, true);
    fact("Machine", r.machine, true);
    out += "</dl>\n";

    if (!r.text.empty() && compared) {
        out += "<h2>How far each variant is from stock</h2>\n<p class=\"note\">Ordered by perplexity. Bars are 95 % intervals of a paired "
               "bootstrap over documents. "
               "The left axis is linear around zero and logarithmic beyond, so that a percent and a thousand both read; the right one is "
               "logarithmic, hollow dots at its left end are zero or below it.</p>\n";
        out += html_key() + html_plots(r, order);
    }
    if (!r.text.empty()) {
        out += "<h2>Figures</h2>\n<p class=\"note\">Change is the ratio to the stock model’s perplexity minus one; "
               "KL the mean of KL(stock ‖ variant) per token; “same” the share of tokens with the stock model’s most likely next token, "
               "“right” with the text’s; MB are 10⁶ bytes of the weights a variant reads.";
        if (const std::string few = few_documents(r.documents); !few.empty()) out += " " + few;
        out += "</p>\n" + html_table(r, order);
    }
    if (!kinds_of(r).empty()) {
        out += "<h2>Answers by kind of task</h2>\n<p class=\"note\">Share of answers with every token right, in %. Colour is the change "
               "against the stock model, bold where its 95 % interval (paired, by document) excludes zero and at least six lines changed. "
               "Flips are answers whose verdict changed, either way, over all kinds.";
        if (const std::string few = few_lines(r); !few.empty()) out += " " + escaped(few);
        out += "</p>\n";
        out += html_heat_map(r, order);
    }
    if (compared) {
        out += "<h2>What differs from the stock model</h2>\n<dl class=\"what\">\n";
        for (const std::size_t i : order) {
            if (i == 0) continue;
            const variant_result& v = r.variants[i];
            out += "<div><dt class=\"id\">" + escaped(v.id) + "</dt><dd>" + escaped(v.explanation);
            if (!v.difference.empty()) out += "<pre>" + escaped(v.difference) + "</pre>";
            out += "</dd></div>\n";
        }
        out += "</dl>\n";
    }
    return out + "<footer>Made by Loupe.</footer>\n</main>\n</body>\n</html>\n";
}

} // namespace loupe::lab
