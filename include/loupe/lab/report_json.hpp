// A report as JSON, for scripts.
#pragma once

#include <loupe/lab/report_text.hpp>
#include <loupe/lab/result.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

namespace loupe::lab {

namespace detail {

/// JSON has no NaN and no infinity; null stands for both.
inline nlohmann::ordered_json json_number(double value) {
    return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

inline void put_estimate(nlohmann::ordered_json& into, const std::string& name, const estimate& e) {
    into[name] = json_number(e.value);
    into[name + "_interval"] = nlohmann::ordered_json::array({json_number(e.low), json_number(e.high)});
}

inline nlohmann::ordered_json json_task(const task_result& t) {
    nlohmann::ordered_json result;
    result["spans"] = t.spans;
    result["spans_right"] = t.spans_right;
    result["tokens"] = t.tokens;
    result["tokens_right"] = t.tokens_right;
    result["mean_nll"] = json_number(t.mean_nll);
    put_estimate(result, "accuracy", t.accuracy);
    put_estimate(result, "accuracy_change", t.accuracy_change);
    result["flips"] = t.flips;
    result["documents"] = t.documents;
    result["changed_documents"] = t.changed_documents;
    return result;
}

inline nlohmann::ordered_json json_variant(const variant_result& v) {
    nlohmann::ordered_json result;
    result["explanation"] = repaired_utf8(v.explanation);
    result["difference"] = repaired_utf8(v.difference);
    result["tokens"] = v.tokens;
    if (v.tokens > 0) { // without a text there are no such figures, and a zero would claim that there are
        put_estimate(result, "mean_nll", v.mean_nll);
        put_estimate(result, "perplexity", v.perplexity);
        put_estimate(result, "perplexity_change", v.perplexity_change);
        put_estimate(result, "mean_kl", v.mean_kl);
        put_estimate(result, "top1_agreement", v.top1_agreement);
        result["top1_accuracy"] = json_number(v.top1_accuracy);
        result["bits_per_byte"] = json_number(v.bits_per_byte);
    } else {
        const estimate none{NAN, NAN, NAN};
        for (const char* name : {"mean_nll", "perplexity", "perplexity_change", "mean_kl", "top1_agreement"})
            put_estimate(result, name, none);
        result["top1_accuracy"] = nullptr;
        result["bits_per_byte"] = nullptr;
    }
    result["bytes"] = v.bytes;
    result["tokens_per_second"] = json_number(v.tokens_per_second);
    result["tasks"] = nlohmann::ordered_json::object();
    for (const task_result& t : v.tasks) result["tasks"][repaired_utf8(t.kind)] = json_task(t);
    return result;
}

} // namespace detail

/// An object from variant id to its figures, the stock model first, the others as given; what concerns the whole run is under
/// "_about" at the end. Figures are plain numbers, intervals stand beside them as `<name>_interval: [low, high]`; what could not be
/// had is null. Shares are in [0, 1], nats per token, bytes; `perplexity_change` is a ratio minus one.
inline nlohmann::ordered_json json_report(const report& r) {
    nlohmann::ordered_json result = nlohmann::ordered_json::object();
    for (const variant_result& v : r.variants) result[detail::repaired_utf8(v.id)] = detail::json_variant(v);
    result["_about"] = {{"model", detail::repaired_utf8(r.model)},
                        {"file", detail::repaired_utf8(r.file)},
                        {"text", detail::repaired_utf8(r.text)},
                        {"tasks", detail::repaired_utf8(r.tasks)},
                        {"documents", r.documents},
                        {"context", r.context},
                        {"threads", r.threads},
                        {"machine", detail::repaired_utf8(r.machine)},
                        {"seconds", detail::json_number(r.seconds)},
                        {"confidence", 0.95}};
    return result;
}

} // namespace loupe::lab
