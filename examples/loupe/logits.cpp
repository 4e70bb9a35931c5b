#include "commands.hpp"
#include "files.hpp"

#include <loupe/io/npy.hpp>

#include <charconv>
#include <optional>

namespace program {

using namespace loupe;

namespace {

template <class T>
T integer(std::string_view text, const char* what) {
    T value{};
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || end != text.data() + text.size())
        throw error(fmt::format("{}: expected an integer, found \"{}\"", what, text));
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

} // namespace

void logits(const logits_options& o) {
    const auto ids = parse_ids(o.ids);
    const auto images = parse_image_blocks(o.image_blocks, static_cast<index_t>(ids.size()));
    executor threads(o.threads);
    const auto file = open_model(o.model, threads);
    const index_t tokens = static_cast<index_t>(ids.size()), vocabulary = file.sizes.vocabulary, width = file.sizes.width;
    check_ids(ids, vocabulary);
    note_context(file.sizes, tokens);
    const bool records = !o.layers.empty();
    const auto model = family_of(file.sizes, file.path).open(file, {.threads = o.threads, .records = records});
    const auto layers = static_cast<std::size_t>(file.sizes.blocks()) + 1;
    io::npy_writer out(o.out, {tokens, vocabulary});
    std::optional<io::npy_writer> residual; // made before the work, too
    if (records) residual.emplace(o.layers, std::vector{static_cast<index_t>(layers), tokens, width});
    std::vector<std::vector<float>> streams(records ? layers : 0);
    aligned_vector<float> rows;
    model->read(
        ids, o.chunk,
        [&](index_t, matrix_view<const float> hidden) {
            for (std::size_t l = 0; l < streams.size(); ++l) {
                const auto& recorded = model->recorded()[l];
                streams[l].insert(streams[l].end(), recorded.begin(), recorded.end());
            }
            constexpr index_t batch = 64; // logits of a large vocabulary take a megabyte a token
            for (index_t first = 0; first < hidden.rows; first += batch) {
                const index_t n = std::min(batch, hidden.rows - first);
                rows.resize(static_cast<std::size_t>(n * vocabulary));
                model->logits(hidden.slice(first, n), {rows.data(), n, vocabulary});
                out.write(rows);
            }
        },
        images);
    for (const auto& l : streams) residual->write(l);
    if (residual) residual->close();
    out.close();
}

} // namespace program
