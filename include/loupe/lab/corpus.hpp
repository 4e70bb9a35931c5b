// Texts and tasks as token sequences that a model is measured on.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/io/tokenizer.hpp>
#include <loupe/lab/tasks.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

namespace loupe::lab {

/// A stretch of a text: BOS, then tokens that are each predicted once.
struct segment {
    std::vector<token_id> ids;     ///< BOS first
    std::vector<index_t> document; ///< of every token but BOS
    index_t first = 0;             ///< number of the first token in the whole text
};

/// A text cut into segments without overlap.
struct corpus {
    std::string name;
    index_t bytes = 0;
    index_t tokens = 0; ///< without BOS
    index_t documents = 0;
    index_t context = 0;
    std::vector<segment> segments;
};

/// Reads a whole file; an error if there is none or it is empty.
inline std::string read_text(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::error_code ignored;
    if (!in || std::filesystem::is_directory(path, ignored))
        throw error(fmt::format("{}: expected a text file, found none that can be read", path.string()));
    std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (text.empty()) throw error(fmt::format("{}: expected a text, found an empty file", path.string()));
    return text;
}

namespace detail {

/// The byte at which each document of a text begins: 0, and every line behind blank ones, those at the head apart. A line of nothing but
/// spaces, tabs and a carriage return is blank.
inline std::vector<index_t> begins_of_documents(std::string_view text) {
    std::vector<index_t> begins{0};
    bool any = false, blank = false; // any line with something on it so far; the last one was blank
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        if (text.substr(at, end - at).find_first_not_of(" \t\r") == std::string_view::npos) {
            blank = true;
        } else {
            if (any && blank) begins.push_back(static_cast<index_t>(at));
            any = true;
            blank = false;
        }
        at = end + 1;
    }
    return begins;
}

} // namespace detail

/// Cuts a text: every segment holds BOS and at most context − 1 tokens, the last one what is left. Documents (the clusters of all
/// intervals) are separated by blank lines; a text without blank lines has one document for each segment.
inline corpus cut_text(const io::tokenizer& tokens, const std::string& text, std::string name, index_t context) {
    if (context < 2) throw error(fmt::format("context: expected at least 2 tokens, found {}", context));
    corpus c;
    c.name = std::move(name);
    c.bytes = static_cast<index_t>(text.size());
    c.context = context;
    std::vector<io::piece> pieces;
    try {
        pieces = tokens.pieces(text);
    } catch (const error& e) {
        throw error(c.name + ": " + e.what());
    }
    c.tokens = static_cast<index_t>(pieces.size());
    if (c.tokens == 0) throw error(c.name + ": expected at least one token, found none");

    const auto begins = detail::begins_of_documents(text);
    const bool by_segment = begins.size() < 2;
    for (index_t first = 0; first < c.tokens; first += context - 1) {
        segment s;
        s.first = first;
        s.ids.push_back(tokens.bos());
        for (index_t i = first; i < std::min(c.tokens, first + context - 1); ++i) {
            const io::piece& p = pieces[static_cast<std::size_t>(i)];
            s.ids.push_back(p.id);
            const auto next = std::upper_bound(begins.begin(), begins.end(), p.begin);
            s.document.push_back(by_segment ? static_cast<index_t>(c.segments.size()) : next - begins.begin() - 1);
        }
        c.segments.push_back(std::move(s));
    }
    c.documents = by_segment ? static_cast<index_t>(c.segments.size()) : static_cast<index_t>(begins.size());
    return c;
}

/// One task as tokens.
struct task_item {
    index_t kind = 0;
    std::vector<token_id> ids; ///< BOS first, at most 512 in all
    std::vector<index_t> span; ///< of every token but BOS: number of the answer it belongs to, or −1
    index_t spans = 0;
};

/// All tasks of a file.
struct task_set {
    std::string name;
    std::vector<std::string> kinds; ///< sorted
    std::vector<task_item> items;
};

/// Reads tasks and encodes their texts.
inline task_set encode_tasks(const io::tokenizer& tokens, const std::filesystem::path& path, index_t longest = 512) {
    task_set set;
    set.name = path.filename().string();
    const std::vector<task> tasks = read_tasks(path);
    for (const task& t : tasks) set.kinds.push_back(t.kind);
    std::sort(set.kinds.begin(), set.kinds.end());
    set.kinds.erase(std::unique(set.kinds.begin(), set.kinds.end()), set.kinds.end());
    for (const task& t : tasks) {
        task_item item;
        item.kind = std::lower_bound(set.kinds.begin(), set.kinds.end(), t.kind) - set.kinds.begin();
        item.ids.push_back(tokens.bos());
        std::vector<std::pair<index_t, index_t>> ranges;
        for (const io::piece& p : tokens.pieces(t.text)) {
            item.ids.push_back(p.id);
            ranges.emplace_back(p.begin, p.end);
        }
        item.span = span_of_tokens(t, ranges);
        item.spans = static_cast<index_t>(t.spans.size());
        if (static_cast<index_t>(item.ids.size()) > longest) {
            throw error(
                fmt::format("{}: expected texts of at most {} tokens with BOS, found one of {}", set.name, longest, item.ids.size()));
        }
        set.items.push_back(std::move(item));
    }
    return set;
}

} // namespace loupe::lab
