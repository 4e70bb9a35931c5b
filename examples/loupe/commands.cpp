#include "commands.hpp"

#include <loupe/io/npy.hpp>
#include <loupe/lab/ablate.hpp>
#include <loupe/lab/report_html.hpp>
#include <loupe/lab/report_json.hpp>
#include <loupe/lab/report_text.hpp>

#include <charconv>
#include <cstdio>
#include <cstring>

namespace program {

using namespace loupe;

namespace {

/// Writes a whole file, or nothing: a failure (full disk, missing folder) names the path.
void write_file(const std::string& path, const std::string& text) {
    if (path == "-") {
        fmt::print("{}", text);
        return;
    }
    std::FILE* out = std::fopen(path.c_str(), "wb");
    const auto fail = [&] { throw output_error(fmt::format("{}: expected to write {} bytes, found: {}", path, text.size(), std::strerror(errno))); };
    if (out == nullptr) fail();
    const bool written = std::fwrite(text.data(), 1, text.size(), out) == text.size() && std::fflush(out) == 0;
    const int reason = errno;
    const bool closed = std::fclose(out) == 0;
    if (!written || !closed) {
        errno = written ? errno : reason;
        fail();
    }
}

/// A result file that cannot be written should be known before an hour's work, not after it.
void check_writable(const std::string& path) {
    if (path.empty() || path == "-") return;
    std::FILE* out = std::fopen(path.c_str(), "ab");
    if (out == nullptr) throw output_error(fmt::format("{}: expected a file that can be written, found: {}", path, std::strerror(errno)));
    std::fclose(out);
}

template <class T>
T integer(std::string_view text, const char* what) {
    T value{};
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || end != text.data() + text.size()) throw error(fmt::format("{}: expected an integer, found \"{}\"", what, text));
    return value;
}

std::vector<std::string_view> split(std::string_view text, char by) {
    std::vector<std::string_view> parts;
    for (;;) {
        const auto at = text.find(by);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}


std::vector<token_id> parse_ids(const std::string& text) {
    std::vector<token_id> ids;
    for (const auto part : split(text, ',')) ids.push_back(integer<token_id>(part, "--ids"));
    return ids;
}

/// "5:11,18:32" → for every position the number of its image, or −1.
std::vector<std::int32_t> parse_image_blocks(const std::string& text, index_t tokens) {
    if (text.empty()) return {};
    std::vector<std::int32_t> blocks(static_cast<std::size_t>(tokens), -1);
    std::int32_t number = 0;
    index_t last_end = 0;
    for (const auto part : split(text, ',')) {
        const auto ends = split(part, ':');
        if (ends.size() != 2) throw error(fmt::format("--image-blocks: expected BEGIN:END, found \"{}\"", part));
        const auto begin = integer<index_t>(ends[0], "--image-blocks"), end = integer<index_t>(ends[1], "--image-blocks");
        if (begin < last_end || end <= begin || end > tokens) {
            throw error(fmt::format("--image-blocks: expected rising ranges within the {} tokens, found {}", tokens, part));
        }
        std::fill(blocks.begin() + begin, blocks.begin() + end, number++);
        last_end = end;
    }
    return blocks;
}

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

/// What `score` says of the stock model.
nlohmann::ordered_json score_json(const lab::variant_result& v, double standard_error, const lab::report& r) {
    nlohmann::ordered_json j;
    if (!r.text.empty()) {
        j = {{"text", r.text}, {"context", r.context}, {"tokens", v.tokens}, {"documents", r.documents}, {"mean_nll", v.mean_nll.value},
             {"standard_error", std::isfinite(standard_error) ? nlohmann::ordered_json(standard_error) : nullptr}, {"perplexity", v.perplexity.value},
             {"bits_per_byte", v.bits_per_byte}, {"top1_accuracy", v.top1_accuracy}, {"tokens_per_second", v.tokens_per_second}};
    }
    if (!r.tasks.empty()) {
        for (const auto& t : v.tasks) {
            j["tasks"][t.kind] = {{"spans", t.spans}, {"spans_right", t.spans_right}, {"tokens", t.tokens}, {"tokens_right", t.tokens_right}, {"mean_nll", t.mean_nll}};
        }
    }
    return j;
}

} // namespace

family family_of(const dimensions& d, const std::string& path) {
    if (d.family == "gemma3") return gemma3();
    if (d.experts > 0 && d.per_layer_width == 0) return gemma4_experts();
    if (d.per_layer_width > 0 && d.experts == 0 && !d.value_from_key) return gemma4_per_layer();
    if (d.per_layer_width == 0 && d.experts == 0) return gemma4_dense();
    throw error(fmt::format("{}: this program holds no composition with per-layer inputs and {}; compose one with the library", path,
                            d.experts > 0 ? "experts" : "K = V"));
}

void describe(const describe_options& o) {
    executor threads(0);
    const auto file = io::open(o.model, threads);
    fmt::print("{}", family_of(file.sizes, file.path).describe(file, o.json));
}

void tokenize(const tokenize_options& o) {
    executor threads(0);
    const auto file = io::open(o.model, threads);
    const std::string text = o.has_text ? o.text : lab::read_text(o.file);
    const auto& tokens = file.text();
    auto pieces = tokens.pieces(text);
    if (o.bos) pieces.insert(pieces.begin(), io::piece{tokens.bos(), 0, 0});
    if (o.json) {
        nlohmann::json ids = nlohmann::json::array();
        for (const auto& p : pieces) ids.push_back(p.id);
        fmt::print("{}\n", ids.dump());
        return;
    }
    for (const auto& p : pieces) fmt::print("{:>7}  {}\n", p.id, nlohmann::json(std::string(tokens.text(p.id))).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void logits(const logits_options& o) {
    const auto ids = parse_ids(o.ids);
    const auto images = parse_image_blocks(o.image_blocks, static_cast<index_t>(ids.size()));
    executor threads(o.threads);
    const auto file = io::open(o.model, threads);
    const index_t tokens = static_cast<index_t>(ids.size()), vocabulary = file.sizes.vocabulary, width = file.sizes.width;
    check_ids(ids, vocabulary);
    const auto model = family_of(file.sizes, file.path).open(file, o.threads, true);
    io::npy_writer out(o.out, {tokens, vocabulary});
    const auto layers = static_cast<std::size_t>(file.sizes.blocks()) + 1;
    std::vector<std::vector<float>> streams(layers);
    aligned_vector<float> rows;
    model->read(ids, o.chunk, [&](index_t, matrix_view<const float> hidden) {
        const auto& recorded = model->recorded();
        for (std::size_t l = 0; l < layers; ++l) streams[l].insert(streams[l].end(), recorded[l].begin(), recorded[l].end());
        constexpr index_t batch = 64; // logits of a large vocabulary take a megabyte a token
        for (index_t first = 0; first < hidden.rows; first += batch) {
            const index_t n = std::min(batch, hidden.rows - first);
            rows.resize(static_cast<std::size_t>(n * vocabulary));
            model->logits(hidden.slice(first, n), {rows.data(), n, vocabulary});
            out.write(rows);
        }
    }, images);
    out.close();
    if (!o.layers.empty()) {
        io::npy_writer residual(o.layers, {static_cast<index_t>(layers), tokens, width});
        for (const auto& l : streams) residual.write(l);
        residual.close();
    }
}

void score(const score_options& o) {
    check_writable(o.json == "-" ? "" : o.json);
    executor threads(o.threads);
    const auto file = io::open(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    std::optional<lab::corpus> text;
    std::optional<lab::task_set> tasks;
    if (!o.text.empty()) text = lab::cut_text(file.text(), lab::read_text(o.text), file_name(o.text), o.context);
    if (!o.tasks.empty()) tasks = lab::encode_tasks(file.text(), o.tasks);
    const std::vector<lab::subject> stock{family.variants.front().make(file, threads)};
    const auto start = std::chrono::steady_clock::now();
    const auto figures = lab::measure(stock, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    const double seconds = lab::detail::seconds_since(start);
    const auto r = lab::summarise(stock, figures, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    const auto& v = r.variants.front();
    const double standard_error = text ? lab::standard_error(*text, figures.front()) : 0;
    if (o.json == "-") {
        fmt::print("{}\n", score_json(v, standard_error, r).dump(2));
        return;
    }
    if (text) {
        fmt::print("{}: {} tokens in segments of {}, {} documents\n", r.text, v.tokens, r.context, r.documents);
        fmt::print("  nats per token   {:.5f} ± {:.5f} (standard error, clustered by document)\n", v.mean_nll.value, standard_error);
        fmt::print("  perplexity       {:.4f} [{:.4f}, {:.4f}] (95 %)\n", v.perplexity.value, v.perplexity.low, v.perplexity.high);
        fmt::print("  bits per byte    {:.4f}\n  top-1 accuracy   {:.2f} %\n  tokens/s         {:.0f}\n", v.bits_per_byte, 100 * v.top1_accuracy, v.tokens_per_second);
    }
    if (tasks) {
        fmt::print("{}\n  {:<12} {:>6} {:>7} {:>9} {:>8} {:>9}\n", r.tasks, "kind", "spans", "right", "accuracy", "tokens", "nats");
        for (const auto& t : v.tasks) {
            fmt::print("  {:<12} {:>6} {:>7} {:>7.1f} % {:>8} {:>9.4f}\n", t.kind, t.spans, t.spans_right, 100 * t.accuracy.value, t.tokens, t.mean_nll);
        }
    }
    fmt::print(stderr, "{:.1f} s on {} thread{}, {}\n", seconds, threads.size(), threads.size() == 1 ? "" : "s", r.machine);
    if (!o.json.empty()) write_file(o.json, score_json(v, standard_error, r).dump(2) + "\n");
}

void ablate(const ablate_options& o) {
    check_writable(o.json);
    check_writable(o.html);
    executor threads(o.threads);
    const auto file = io::open(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    std::vector<lab::subject> subjects{family.variants.front().make(file, threads)};
    if (o.variants.empty()) {
        for (std::size_t i = 1; i < family.variants.size(); ++i) {
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
            if (!found->applies(file.sizes)) throw error(fmt::format("--variants: {} would change nothing in this model, or needs what it lacks", id));
            subjects.push_back(found->make(file, threads));
        }
    }
    std::optional<lab::corpus> text;
    std::optional<lab::task_set> tasks;
    if (!o.text.empty()) text = lab::cut_text(file.text(), lab::read_text(o.text), file_name(o.text), o.context);
    if (!o.tasks.empty()) tasks = lab::encode_tasks(file.text(), o.tasks);
    auto report = lab::ablate(subjects, text ? &*text : nullptr, tasks ? &*tasks : nullptr, threads.size());
    report.model = family.name;
    report.file = o.model;
    if (o.json != "-") fmt::print("{}", lab::text_report(report));
    if (!o.json.empty()) write_file(o.json, lab::json_report(report).dump(2) + "\n");
    if (!o.html.empty()) {
        write_file(o.html, lab::html_report(report));
        fmt::print(stderr, "wrote {}\n", o.html);
    }
}

void variants(const variants_options& o) {
    executor threads(0);
    const auto file = io::open(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    fmt::print("{}\n", family.name);
    for (const variant& v : family.variants) {
        fmt::print("  {:<26} {}{}\n", v.id, v.explanation, v.applies(file.sizes) ? "" : " (not for this model)");
    }
}

} // namespace program
