#include "commands.hpp"
#include "files.hpp"
#include "reports.hpp"

#include <loupe/lab/ablate.hpp>

namespace program {

using namespace loupe;

namespace {

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

/// Text and tasks, those that are given.
template <class Options>
std::pair<std::optional<lab::corpus>, std::optional<lab::task_set>> read_inputs(const Options& o, const io::checkpoint& file) {
    std::pair<std::optional<lab::corpus>, std::optional<lab::task_set>> inputs;
    auto& [text, tasks] = inputs;
    if (!o.text.empty()) text = lab::cut_text(file.text(), lab::read_text(o.text), file_name(o.text), o.context);
    if (text) note_context(file.sizes, static_cast<index_t>(text->segments.front().ids.size())); // the longest
    if (!o.tasks.empty()) tasks = lab::encode_tasks(file.text(), o.tasks);
    return inputs;
}

} // namespace

void score(const score_options& o) {
    result_file json(o.json);
    executor threads(o.threads);
    const auto file = open_model(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    const auto [text, tasks] = read_inputs(o, file);
    const std::vector<lab::subject> stock{family.variants.front().make(file, threads)};
    const auto start = std::chrono::steady_clock::now();
    const auto figures = lab::measure(stock, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    const double seconds = lab::detail::seconds_since(start);
    const auto r = lab::summarise(stock, figures, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    const double standard_error = text ? lab::standard_error(*text, figures.front()) : 0;
    if (o.json == "-") return json.write(score_json(r, standard_error));
    fmt::print("{}", score_text(r, standard_error));
    fmt::print(stderr, "{:.1f} s on {} thread{}, {}\n", seconds, threads.size(), threads.size() == 1 ? "" : "s", r.machine);
    if (json.wanted()) json.write(score_json(r, standard_error));
}

void ablate(const ablate_options& o) {
    result_file json(o.json), html(o.html);
    executor threads(o.threads);
    const auto file = open_model(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    const auto [text, tasks] = read_inputs(o, file);
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
    auto report = lab::ablate(subjects, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    report.model = family.name_of(file.sizes);
    report.file = o.model;
    if (o.json != "-" && o.html != "-") fmt::print("{}", text_of(report));
    if (json.wanted()) json.write(json_of(report));
    if (html.wanted()) {
        html.write(html_of(report));
        if (o.html != "-") fmt::print(stderr, "wrote {}\n", o.html);
    }
}

} // namespace program
