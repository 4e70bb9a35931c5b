// Reports of made-up results: everything is in them, nothing is too wide, nothing is unescaped.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/lab/report_html.hpp>
#include <loupe/lab/report_json.hpp>
#include <loupe/lab/report_text.hpp>

#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

using namespace loupe;
using namespace loupe::lab;

namespace {

const double nan_value = std::numeric_limits<double>::quiet_NaN();

variant_result variant(const std::string& id, double change) {
    variant_result v;
    v.id = id;
    v.explanation = id == "stock" ? "as trained" : "what " + id + " stands for";
    v.difference = id == "stock" ? "" : "blocks[0].attention.mask: sliding<32> -> sliding<16>";
    v.tokens = 12345;
    v.perplexity = {4 * (1 + change), 3.9 * (1 + change), 4.1 * (1 + change)};
    v.mean_nll = {std::log(v.perplexity.value), std::log(v.perplexity.low), std::log(v.perplexity.high)};
    v.perplexity_change = {change, change - 0.01, change + 0.01};
    v.mean_kl = {std::abs(change), std::abs(change) * 0.9, std::abs(change) * 1.1};
    v.top1_agreement = {0.875, 0.87, 0.88};
    v.top1_accuracy = 0.625;
    v.bits_per_byte = 0.75;
    v.bytes = 12400000;
    v.tokens_per_second = 1500;
    return v;
}

void add_task(variant_result& v, const std::string& kind, double accuracy, double change, double half_width) {
    task_result t;
    t.kind = kind;
    t.spans = 200;
    t.spans_right = static_cast<index_t>(200 * accuracy);
    t.tokens = 600;
    t.tokens_right = 450;
    t.mean_nll = 0.5;
    t.accuracy = {accuracy, accuracy - 0.03, accuracy + 0.03};
    t.accuracy_change = {change, change - half_width, change + half_width};
    t.flips = 17;
    t.documents = 150, t.changed_documents = 12;
    v.tasks.push_back(t);
}

report made_up() {
    report r;
    r.model = "toy";
    r.file = "models/toy.gguf";
    r.text = "story.txt";
    r.tasks = "story.jsonl";
    r.documents = 40;
    r.context = 512;
    r.threads = 2;
    r.machine = "some processor with a name so long that it has to be wrapped, compiler 1.2.3, -O3 and a few more flags than fit";
    r.seconds = 12.5;
    for (const auto& [id, change] : std::vector<std::pair<std::string, double>>{{"stock", 0},
                                                                                {"no-layer-scalar", 22.5},
                                                                                {"window-16", 0.06},
                                                                                {"router-sigmoid", -0.02},
                                                                                {"an-id-of-thirty-two-characters-x", 1.5},
                                                                                {"same", 0}}) {
        r.variants.push_back(variant(id, change));
        add_task(r.variants.back(), "place", 0.65 - (id == "window-16" ? 0.25 : 0), id == "window-16" ? -0.25 : 0, 0.02);
        add_task(r.variants.back(), "sums", 0.97, 0, 0.02);
    }
    return r;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t widest(const std::string& text) {
    std::size_t most = 0;
    for (const std::string& line : lines_of(text)) most = std::max(most, lab::detail::width_of(line));
    return most;
}

/// The first line that begins with `start`; empty if there is none.
std::string line_of(const std::string& text, const std::string& start) {
    for (const std::string& line : lines_of(text)) {
        if (line.rfind(start, 0) == 0) return line;
    }
    return {};
}

/// Every element that is opened is closed, in order. Enough of a parser for a page that is written like XML.
std::string unbalanced(const std::string& html) {
    std::vector<std::string> open;
    for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
        const std::size_t end = html.find('>', at);
        if (end == std::string::npos) return "unclosed <";
        const std::string tag = html.substr(at + 1, end - at - 1);
        if (tag.empty() || tag[0] == '!' || tag.back() == '/') continue;
        if (tag[0] == '/') {
            if (open.empty() || open.back() != tag.substr(1)) return tag + " at byte " + std::to_string(at);
            open.pop_back();
        } else {
            open.push_back(tag.substr(0, tag.find_first_of(" \n")));
        }
    }
    return open.empty() ? "" : open.back() + " stays open";
}

} // namespace

TEST_CASE("the text report holds everything within 100 columns", "[report]") {
    const report r = made_up();
    const std::string text = text_report(r);
    INFO(text);
    CHECK(widest(text) <= 100);
    for (const variant_result& v : r.variants) CHECK(has(text, v.id));
    for (const char* part : {"toy", "models/toy.gguf", "story.txt, 12 345 tokens in 40 documents", "story.jsonl", "512 tokens",
                             "12.5 s on 2 threads", "place", "sums", "-> sliding<16>", "some processor"}) {
        INFO(part);
        CHECK(has(text, part));
    }
    CHECK_FALSE(has(text, "nan"));

    // stock first, then from the best to the worst
    const std::vector<std::string> ids{
        "\nstock ", "\nrouter-sigmoid ", "\nsame ", "\nwindow-16 ", "\nan-id-of-thirty-two-characters-x", "\nno-layer-scalar "};
    for (std::size_t i = 1; i < ids.size(); ++i) CHECK(text.find(ids[i - 1]) < text.find(ids[i]));

    const std::string row = line_of(text, "window-16 ");
    for (const char* part : {"4.240", "+6.00", "[", "+5.00", "+7.00]", "0.0600", "87.5", "1500", "12.4"}) CHECK(has(row, part));
    CHECK(has(line_of(text, "no-layer-scalar "), "+2250"));
}

TEST_CASE("the text report marks clear changes of accuracy only", "[report]") {
    const std::string text = text_report(made_up());
    const std::string tasks = text.substr(text.find("Answers fully right"));
    CHECK(has(line_of(tasks, "window-16"), "40.0*"));
    CHECK(has(line_of(tasks, "window-16"), "97.0 "));
    CHECK_FALSE(has(line_of(tasks, "stock"), "*"));
    CHECK_FALSE(has(line_of(tasks, "same"), "*"));
    CHECK(has(line_of(tasks, "same"), "34")); // flips of both kinds
}

TEST_CASE("a kind of task with few lines, or few that changed, gets no star", "[report]") {
    const auto tasks_of = [](index_t documents, index_t changed) {
        report r = made_up();
        for (variant_result& v : r.variants) {
            for (task_result& t : v.tasks) t.documents = documents, t.changed_documents = changed;
        }
        const std::string text = text_report(r);
        CHECK(has(html_report(r), "class=\"w sure\"") == (changed >= 6));
        CHECK(has(html_report(r), "Too few lines") == (documents < 5));
        return text.substr(text.find("Answers fully right"));
    };
    CHECK(has(line_of(tasks_of(150, 6), "window-16"), "40.0*"));
    CHECK_FALSE(has(tasks_of(150, 6), "Too few lines"));
    CHECK(has(line_of(tasks_of(150, 5), "window-16"), "40.0 "));
    CHECK(has(tasks_of(4, 4), "Too few lines (under five) for a reliable interval: place, sums."));
}

TEST_CASE("what could not be had prints as n/a and is null", "[report]") {
    report r = made_up();
    r.documents = 1;
    for (variant_result& v : r.variants) {
        for (estimate* e : {&v.mean_nll, &v.perplexity, &v.perplexity_change, &v.mean_kl, &v.top1_agreement}) e->low = e->high = nan_value;
        for (task_result& t : v.tasks) t.accuracy.low = t.accuracy.high = t.accuracy_change.low = t.accuracy_change.high = nan_value;
    }
    r.variants[1].perplexity_change.value = nan_value;
    r.variants[4].perplexity.value = std::numeric_limits<double>::infinity();
    const std::string text = text_report(r);
    INFO(text);
    CHECK(has(line_of(text, "window-16"), "n/a"));
    CHECK(has(line_of(text, "window-16"), "+6.00"));
    CHECK(has(text, "One document only"));
    CHECK(text.find("\nan-id-of-thirty-two") < text.find("\nno-layer-scalar")); // NaN stands last
    CHECK_FALSE(has(text, "nan"));
    CHECK_FALSE(has(text.substr(text.find("Answers fully right, ") + 60), "*  "));
    CHECK(widest(text) <= 100);

    const nlohmann::ordered_json json = nlohmann::ordered_json::parse(json_report(r).dump());
    CHECK(json["window-16"]["perplexity_change_interval"][0].is_null());
    CHECK(json["window-16"]["perplexity_change"].get<double>() == Approx(0.06));
    CHECK(json["no-layer-scalar"]["perplexity_change"].is_null());
    CHECK(json["an-id-of-thirty-two-characters-x"]["perplexity"].is_null());

    const std::string html = html_report(r);
    CHECK(unbalanced(html).empty());
    CHECK_FALSE(has(html, "nan"));
    CHECK_FALSE(has(html, "\"inf"));
    CHECK(has(html, "n/a"));
}

TEST_CASE("reports of fewer than five documents say that the intervals are not reliable", "[report]") {
    report r = made_up();
    for (const index_t documents : {2, 4}) {
        r.documents = documents;
        const std::string line = std::to_string(documents) + " documents only: too few for a reliable interval";
        CHECK(has(text_report(r), "\n" + line));
        CHECK(has(html_report(r), line));
        CHECK(widest(text_report(r)) <= 100);
    }
    r.documents = 5;
    CHECK_FALSE(has(text_report(r), "documents only"));
    CHECK_FALSE(has(html_report(r), "documents only"));
}

TEST_CASE("parts without data are left out", "[report]") {
    report r = made_up();
    r.text.clear();
    for (variant_result& v : r.variants) v.tokens = 0;
    std::string text = text_report(r);
    CHECK_FALSE(has(text, "Perplexity"));
    CHECK(has(text, "Answers fully right"));
    CHECK_FALSE(has(html_report(r), "erplexity is"));
    CHECK_FALSE(has(html_report(r), "<h2>Figures"));
    CHECK(unbalanced(html_report(r)).empty());
    CHECK(json_report(r)["stock"]["perplexity"].is_null());

    r = made_up();
    r.tasks.clear();
    for (variant_result& v : r.variants) v.tasks.clear();
    text = text_report(r);
    CHECK(has(text, "Perplexity"));
    CHECK_FALSE(has(text, "Answers fully right"));
    CHECK_FALSE(has(html_report(r), "Answers by kind"));
    CHECK(json_report(r)["stock"]["tasks"].empty());

    r.variants.resize(1);
    CHECK_FALSE(has(text_report(r), "What differs"));
    CHECK(has(text_report(r), "stock"));
    CHECK(unbalanced(html_report(r)).empty());
    r.variants.clear();
    CHECK(has(text_report(r), "No variant"));
    CHECK(unbalanced(html_report(r)).empty());
    CHECK(json_report(r).size() == 1);
}

TEST_CASE("many kinds, long ids and huge figures still fit", "[report]") {
    report r = made_up();
    r.variants.push_back(variant("an-id-that-is-much-longer-than-anyone-would-want-" + std::string(70, 'y'), 3.2e9));
    r.variants.back().difference = "blocks[3]: " + std::string(230, 'q') + " -> a<b<c<d, e>, f>, " + std::string(90, 'r');
    r.variants.back().tokens_per_second = 1234567;
    r.variants.back().bytes = 51'000'000'000;
    for (variant_result& v : r.variants) {
        v.mean_kl = {0.00012345, 0.00011, 0.00013};
        v.tasks.clear();
        for (int k = 10; k < 40; ++k) add_task(v, "kind-number-" + std::to_string(k), 0.5, 0.1, 0.05);
    }
    const std::string text = text_report(r);
    INFO(text);
    CHECK(widest(text) <= 100);
    for (int k = 10; k < 40; ++k) CHECK(has(text, "kind-number-" + std::to_string(k)));
    CHECK(has(text, "an-id-of-thirty-two-characters-x"));
    CHECK(unbalanced(html_report(r)).empty());
}

TEST_CASE("wrapping keeps words, widths count code points", "[report]") {
    CHECK(lab::detail::wrapped("one two three", 8, "", "  ") == "one two\n  three\n");
    CHECK(lab::detail::wrapped("abcdefghijklmnop", 10, "", "") == "abcdefghij\nklmnop\n");
    CHECK(lab::detail::wrapped("ΔΔΔΔ ΔΔΔΔ ΔΔ", 9, "", "") == "ΔΔΔΔ ΔΔΔΔ\nΔΔ\n");
    CHECK(lab::detail::wrapped("", 10, "x", "y").empty());
    CHECK(lab::detail::pad_left("Δ%", 4) == "  Δ%");
    CHECK(lab::detail::pad_right("10⁶", 5) == "10⁶  ");
    CHECK(lab::detail::change_text(0.0041) == "+0.41");
    CHECK(lab::detail::change_text(-0.00001) == "0.00");
    CHECK(lab::detail::change_text(0.09999) == "+10.0");
    CHECK(lab::detail::change_text(-0.5) == "-50.0");
    CHECK(lab::detail::change_text(20.125) == "+2012");
    CHECK(lab::detail::grouped(1234567) == "1 234 567");
    CHECK(lab::detail::grouped(-123) == "-123");
    CHECK(lab::detail::grouped(100) == "100");
    CHECK(lab::detail::repaired_utf8("a\xFF\xC3\xA9\xED\xA0\x80") == "a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("the JSON report is an object from ids to plain numbers", "[report]") {
    report r = made_up();
    r.file = "models/\xFF.gguf"; // a file name may hold any byte, JSON may not
    const nlohmann::ordered_json json = nlohmann::ordered_json::parse(json_report(r).dump(2));
    std::vector<std::string> keys;
    for (const auto& [key, value] : json.items()) keys.push_back(key);
    CHECK(keys == std::vector<std::string>{"stock", "no-layer-scalar", "window-16", "router-sigmoid", "an-id-of-thirty-two-characters-x",
                                           "same", "_about"});
    const auto& v = json["window-16"];
    for (const char* name : {"mean_nll", "perplexity", "perplexity_change", "mean_kl", "top1_agreement"}) {
        INFO(name);
        CHECK(v[name].is_number());
        REQUIRE(v[std::string(name) + "_interval"].size() == 2);
        CHECK(v[std::string(name) + "_interval"][0].get<double>() <= v[name].get<double>());
        CHECK(v[std::string(name) + "_interval"][1].get<double>() >= v[name].get<double>());
    }
    CHECK(v["mean_nll"].get<double>() == r.variants[2].mean_nll.value); // exact through text
    CHECK(v["top1_accuracy"] == 0.625);
    CHECK(v["bits_per_byte"] == 0.75);
    CHECK(v["tokens"] == 12345);
    CHECK(v["bytes"] == 12400000);
    CHECK(v["tokens_per_second"] == 1500);
    CHECK(v["difference"] == r.variants[2].difference);
    const auto& t = v["tasks"]["place"];
    CHECK(t["spans"] == 200);
    CHECK(t["spans_right"] == 80);
    CHECK(t["tokens"] == 600);
    CHECK(t["tokens_right"] == 450);
    CHECK(t["mean_nll"] == 0.5);
    CHECK(t["accuracy"].get<double>() == Approx(0.4));
    CHECK(t["accuracy_interval"].size() == 2);
    CHECK(t["accuracy_change"] == -0.25);
    CHECK(t["accuracy_change_interval"][1].get<double>() == Approx(-0.23));
    CHECK(t["flips"] == 17);
    CHECK(json["_about"]["model"] == "toy");
    CHECK(json["_about"]["file"] == "models/\xEF\xBF\xBD.gguf");
    CHECK(json["_about"]["documents"] == 40);
    CHECK(json["_about"]["machine"] == r.machine);
}

TEST_CASE("the page is whole, self-contained and escaped", "[report]") {
    report r = made_up();
    r.model = "toy & <co>";
    r.variants.push_back(variant("<b>&\"id'", 0.3));
    r.variants.back().difference = "a<b> -> a<\"c\">";
    add_task(r.variants.back(), "<kind>", 0.5, 0.1, 0.05);
    const std::string html = html_report(r);
    CHECK(unbalanced(html) == "");
    for (const char* raw : {"<b>", "<kind>", "<co>", "a<\"c\">", "http://", "https://", "<script", "nan", "@import", "url("}) {
        INFO(raw);
        CHECK_FALSE(has(html, raw));
    }
    for (const char* part :
         {"&lt;b&gt;&amp;&quot;id&#39;", "&lt;kind&gt;", "toy &amp; &lt;co&gt;", "a&lt;b&gt; -&gt; a&lt;&quot;c&quot;&gt;", "<svg",
          "prefers-color-scheme: dark", "story.jsonl", "some processor"}) {
        INFO(part);
        CHECK(has(html, part));
    }
    for (std::size_t i = 0; i + 1 < r.variants.size(); ++i) CHECK(has(html, ">" + r.variants[i].id + "<"));
    CHECK(html.find(">router-sigmoid<") < html.find(">window-16<"));
}

TEST_CASE("axes hold all data, one percent and thousands apart from zero", "[report]") {
    const report r = made_up();
    const lab::detail::html_axis change = lab::detail::change_axis(r, 100, 500);
    const double zero = change.at(0);
    CHECK(change.at(1) - zero > 15);
    CHECK(change.at(2250) - change.at(150) > 50);
    CHECK(change.at(2250) < 500);
    CHECK(change.at(-3) > 100);
    CHECK(change.at(-3) < zero);
    const lab::detail::html_axis kl = lab::detail::divergence_axis(r, 0, 100);
    CHECK(kl.low <= 0.018);
    CHECK(kl.high >= 22.5);
    CHECK(kl.at(0) == Approx(0)); // a divergence of zero lies on the left end
    CHECK(kl.at(1) - kl.at(0.1) == Approx(kl.at(10) - kl.at(1)));
    CHECK(lab::detail::with_minus("-8.0e-05") == "−8.0·10⁻⁵");
    CHECK(lab::detail::with_minus("1e+06") == "10⁶");
    CHECK(lab::detail::with_minus("-inf") == "−inf");
}
