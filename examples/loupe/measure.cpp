#include "commands.hpp"
#include "files.hpp"
#include "reports.hpp"

#include <loupe/lab/ablate.hpp>

namespace program {

using namespace loupe;

namespace {

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

} // namespace

void score(const score_options& o) {
    check_writable(o.json);
    executor threads(o.threads);
    const auto file = open_model(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    std::optional<lab::corpus> text;
    std::optional<lab::task_set> tasks;
    if (!o.text.empty()) text = lab::cut_text(file.text(), lab::read_text(o.text), file_name(o.text), o.context);
    if (text) note_context(file.sizes, static_cast<index_t>(text->segments.front().ids.size())); // the longest
    if (!o.tasks.empty()) tasks = lab::encode_tasks(file.text(), o.tasks);
    const std::vector<lab::subject> stock{family.variants.front().make(file, threads)};
    const auto start = std::chrono::steady_clock::now();
    const auto figures = lab::measure(stock, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    const double seconds = lab::detail::seconds_since(start);
    const auto r = lab::summarise(stock, figures, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    const double standard_error = text ? lab::standard_error(*text, figures.front()) : 0;
    if (o.json == "-") {
        fmt::print("{}", score_json(r, standard_error));
        return;
    }
    fmt::print("{}", score_text(r, standard_error));
    fmt::print(stderr, "{:.1f} s on {} thread{}, {}\n", seconds, threads.size(), threads.size() == 1 ? "" : "s", r.machine);
    if (!o.json.empty()) write_file(o.json, score_json(r, standard_error));
}

void ablate(const ablate_options& o) {
    check_writable(o.json);
    check_writable(o.html);
    executor threads(o.threads);
    const auto file = open_model(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    std::vector<lab::subject> subjects{family.variants.front().make(file, threads)};
    if (o.variants.empty()) {
        for (std::size_t i = 1; i < family.variants.size(); ++i) {
            if (family.variants[i].on_request) continue;
            if (!family.variants[i].applies(file.sizes)) {
                fmt::print(stderr, "left out: {} would change nothing in this model, or needs what it lacks\n", family.variants[i].id);
                continue;
            }
            try {
                subjects.push_back(family.variants[i].make(file, threads));
            } catch (const error& e) {
                fmt::print(stderr, "left out: {}: {}\n", family.variants[i].id, e.what());
            }
        }
    } else {
        for (const std::string& id : o.variants) {
            if (id == "stock") continue; // always there
            const auto found = std::find_if(family.variants.begin(), family.variants.end(), [&](const variant& v) { return v.id == id; });
            if (found == family.variants.end()) {
                throw error(fmt::format("--variants: expected ids of {} (see `loupe variants {}`), found {}", family.name, o.model, id));
            }
            if (!found->applies(file.sizes))
                throw error(fmt::format("--variants: {} would change nothing in this model, or needs what it lacks", id));
            subjects.push_back(found->make(file, threads));
        }
    }
    std::optional<lab::corpus> text;
    std::optional<lab::task_set> tasks;
    if (!o.text.empty()) text = lab::cut_text(file.text(), lab::read_text(o.text), file_name(o.text), o.context);
    if (text) note_context(file.sizes, static_cast<index_t>(text->segments.front().ids.size())); // the longest
    if (!o.tasks.empty()) tasks = lab::encode_tasks(file.text(), o.tasks);
    auto report = lab::ablate(subjects, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    report.model = family.name_of(file.sizes);
    report.file = o.model;
    if (o.json != "-") fmt::print("{}", text_of(report));
    if (!o.json.empty()) write_file(o.json, json_of(report));
    if (!o.html.empty()) {
        write_file(o.html, html_of(report));
        fmt::print(stderr, "wrote {}\n", o.html);
    }
}

} // namespace program
