#include "reports.hpp"

#include <loupe/lab/report_html.hpp>
#include <loupe/lab/report_json.hpp>
#include <loupe/lab/report_text.hpp>

namespace program {

using namespace loupe;

std::string text_of(const lab::report& r) { return lab::text_report(r); }
std::string json_of(const lab::report& r) { return lab::json_report(r).dump(2) + "\n"; }
std::string html_of(const lab::report& r) { return lab::html_report(r); }

std::string score_text(const lab::report& r, double standard_error) {
    const auto& v = r.variants.front();
    std::string out;
    if (!r.text.empty()) {
        out += fmt::format("{}: {} tokens in segments of {}, {} documents\n", r.text, v.tokens, r.context, r.documents);
        out +=
            fmt::format("  nats per token   {:.5f} ± {:.5f} (standard error, clustered by document)\n", v.mean_nll.value, standard_error);
        out += fmt::format("  perplexity       {:.4f} [{:.4f}, {:.4f}] (95 %)\n", v.perplexity.value, v.perplexity.low, v.perplexity.high);
        out += fmt::format("  bits per byte    {:.4f}\n  top-1 accuracy   {:.2f} %\n  tokens/s         {:.0f}\n", v.bits_per_byte,
                           100 * v.top1_accuracy, v.tokens_per_second);
        if (const std::string few = lab::detail::few_documents(r.documents); !few.empty()) out += "  " + few + "\n";
    }
    if (!r.tasks.empty()) {
        out += fmt::format("{}\n  {:<12} {:>6} {:>7} {:>9} {:>8} {:>9}\n", r.tasks, "kind", "spans", "right", "accuracy", "tokens", "nats");
        for (const auto& t : v.tasks) {
            out += fmt::format("  {:<12} {:>6} {:>7} {:>7.1f} % {:>8} {:>9.4f}\n", t.kind, t.spans, t.spans_right, 100 * t.accuracy.value,
                               t.tokens, t.mean_nll);
        }
    }
    return out;
}

std::string score_json(const lab::report& r, double standard_error) {
    const auto& v = r.variants.front();
    nlohmann::ordered_json j;
    if (!r.text.empty()) {
        j = {{"text", r.text},
             {"context", r.context},
             {"tokens", v.tokens},
             {"documents", r.documents},
             {"nll_sum", v.mean_nll.value * static_cast<double>(v.tokens)},
             {"mean_nll", v.mean_nll.value},
             {"standard_error", std::isfinite(standard_error) ? nlohmann::ordered_json(standard_error) : nullptr},
             {"perplexity", v.perplexity.value},
             {"bits_per_byte", v.bits_per_byte},
             {"top1_accuracy", v.top1_accuracy},
             {"tokens_per_second", v.tokens_per_second}};
    }
    if (!r.tasks.empty()) {
        for (const auto& t : v.tasks) {
            j["tasks"][t.kind] = {{"spans", t.spans},
                                  {"spans_right", t.spans_right},
                                  {"tokens", t.tokens},
                                  {"tokens_right", t.tokens_right},
                                  {"mean_nll", t.mean_nll}};
        }
    }
    return j.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"; // names of files may hold any bytes
}

} // namespace program
