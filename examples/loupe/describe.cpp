#include "commands.hpp"
#include "files.hpp"

#include <loupe/lab/corpus.hpp>

namespace program {

using namespace loupe;

void describe(const describe_options& o) {
    executor threads(0);
    const auto file = open_model(o.model, threads);
    fmt::print("{}", family_of(file.sizes, file.path).describe(file, o.json));
}

void tokenize(const tokenize_options& o) {
    const auto tokens = open_tokenizer(o.model);
    const std::string text = o.has_text ? o.text : lab::read_text(o.file);
    auto pieces = tokens.pieces(text);
    if (o.bos) pieces.insert(pieces.begin(), io::piece{tokens.bos(), 0, 0});
    if (o.json) {
        nlohmann::json ids = nlohmann::json::array();
        for (const auto& p : pieces) ids.push_back(p.id);
        fmt::print("{}\n", ids.dump());
        return;
    }
    for (const auto& p : pieces)
        fmt::print("{:>7}  {}\n", p.id,
                   nlohmann::json(std::string(tokens.text(p.id))).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void variants(const variants_options& o) {
    executor threads(0);
    const auto file = open_model(o.model, threads);
    const auto family = family_of(file.sizes, file.path);
    fmt::print("{}\n", family.name);
    for (const variant& v : family.variants) {
        fmt::print("  {:<26} {}{}\n", v.id, v.explanation,
                   !v.applies(file.sizes) ? " (not for this model)"
                   : v.on_request         ? " (only when named)"
                                          : "");
    }
}

} // namespace program
