// Text to tokens and back: the vocabularies of Gemma 1 to 4, from a GGUF file or a folder with tokenizer.json.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/io/utf8.hpp>
#include <loupe/io/vocabulary.hpp>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace loupe::io {

/// A token of a text: its id, and the bytes [begin, end) of the original text that it stands for.
struct piece {
    token_id id;
    index_t begin;
    index_t end;

    friend bool operator==(const piece&, const piece&) = default;
};

/// Control tokens spelled out in a text: matched (trusted text), or plain text (what a user typed).
enum class control_text { match, ignore };

// ---- the merge engine

/// A symbol of a text while it is merged. Leaves are characters; merging appends parts behind them, so that a part never changes.
struct merge_part {
    token_id symbol = -1;                      ///< −1: a character that occurs in no token
    std::int32_t text_begin = 0, text_end = 0; ///< in the normalised text
    std::int32_t begin = 0, end = 0;           ///< in the original text
    std::int32_t previous = -1, next = -1;     ///< neighbours; −1: none
    std::int32_t left = -1, right = -1;        ///< what it was merged from; −1: a leaf
    bool alive = true;
};

/// A merge that is possible: the lower `order` goes first.
struct merge_choice {
    std::uint32_t order;
    token_id symbol;
};

namespace detail {

struct merge_candidate {
    std::uint32_t order;
    std::int32_t begin; // of the left part: the leftmost goes first among equals
    std::int32_t left, right;
    token_id symbol;

    friend bool operator<(const merge_candidate& a, const merge_candidate& b) { // the greatest is on top of the heap
        return a.order != b.order ? a.order > b.order : a.begin > b.begin;
    }
};

} // namespace detail

/// Merges neighbours until none can be merged: always the pair of the lowest order, the leftmost among equals.
/// n log n: a heap of pairs and a linked list. `find(left part, right part)` gives a std::optional<merge_choice>.
/// `parts` holds the leaves in order; returns the index of the first part of the result, which is linked by `next` (−1: no parts).
template <class Find>
std::int32_t merge(std::vector<merge_part>& parts, std::vector<detail::merge_candidate>& heap, Find&& find) {
    const auto count = static_cast<std::int32_t>(parts.size());
    if (count == 0) return -1;
    const auto at = [&](std::int32_t i) -> merge_part& { return parts[static_cast<std::size_t>(i)]; };
    heap.clear();
    const auto candidate = [&](std::int32_t left, std::int32_t right) -> bool {
        const std::optional<merge_choice> choice = find(std::as_const(at(left)), std::as_const(at(right)));
        if (choice) heap.push_back({choice->order, at(left).text_begin, left, right, choice->symbol});
        return choice.has_value();
    };
    for (std::int32_t i = 0; i < count; ++i) {
        at(i).previous = i - 1;
        at(i).next = i + 1 < count ? i + 1 : -1;
    }
    for (std::int32_t i = 0; i + 1 < count; ++i) candidate(i, i + 1);
    std::make_heap(heap.begin(), heap.end());
    std::int32_t head = 0;
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end());
        const detail::merge_candidate best = heap.back();
        heap.pop_back();
        if (!at(best.left).alive || !at(best.right).alive) continue;
        const auto made = static_cast<std::int32_t>(parts.size());
        merge_part& left = at(best.left);
        merge_part& right = at(best.right);
        left.alive = right.alive = false;
        parts.push_back({best.symbol, left.text_begin, right.text_end, left.begin, right.end, left.previous, right.next, best.left,
                         best.right, true}); // ends the life of the references
        const std::int32_t previous = at(made).previous, next = at(made).next;
        if (previous >= 0) {
            at(previous).next = made;
            if (candidate(previous, made)) std::push_heap(heap.begin(), heap.end());
        } else {
            head = made;
        }
        if (next >= 0) {
            at(next).previous = made;
            if (candidate(made, next)) std::push_heap(heap.begin(), heap.end());
        }
    }
    return head;
}

namespace detail {

/// (left symbol, right symbol) → what they merge into. Open addressing: half a million entries in one block of memory.
class merge_table {
  public:
    void reserve(std::size_t count) {
        std::size_t size = 16;
        while (size < count * 2) size *= 2;
        slots_.assign(size, {});
    }
    /// The first entry of a pair stays. Space for it must be reserved. False if more than `most_steps` others are in its way, which no
    /// accident does (half a million pairs: about 70): then the pairs were chosen to make every search long.
    bool insert(token_id left, token_id right, merge_choice choice) {
        const std::size_t at = place(key(left, right));
        if (at == nowhere) return false;
        if (slots_[at].key == empty) slots_[at] = {key(left, right), choice};
        return true;
    }
    std::optional<merge_choice> find(token_id left, token_id right) const {
        if (slots_.empty() || left < 0 || right < 0) return std::nullopt;
        const std::size_t at = place(key(left, right));
        if (at == nowhere || slots_[at].key == empty) return std::nullopt;
        return slots_[at].choice;
    }

  private:
    static constexpr std::uint64_t empty = ~std::uint64_t{0}; // symbols are not negative
    static constexpr std::size_t most_steps = 1000, nowhere = ~std::size_t{0};
    struct slot {
        std::uint64_t key = empty;
        merge_choice choice{};
    };
    static std::uint64_t key(token_id left, token_id right) {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
    }
    /// Where a key is, or the empty slot where it would be.
    std::size_t place(std::uint64_t k) const {
        const std::uint64_t h = (k ^ k >> 31) * 0x9E3779B97F4A7C15U;
        std::size_t i = static_cast<std::size_t>(h ^ h >> 29);
        for (std::size_t step = 0; step <= most_steps; ++step, ++i)
            if (const std::size_t at = i & (slots_.size() - 1); slots_[at].key == empty || slots_[at].key == k) return at;
        return nowhere;
    }
    std::vector<slot> slots_;
};

} // namespace detail

// ---- the tokenizer

/// Text to tokens and back. Immutable, so threads may share it; copies share the texts.
class tokenizer {
  public:
    /// `rows` of the functions below: of the embedding. What was added to the vocabulary beyond them is left out, an ordinary piece there
    /// is an error.
    static constexpr index_t every_token = std::numeric_limits<token_id>::max();
    /// From a GGUF file of tokenizer model `llama` (Gemma 1 to 3) or `gemma4`. Errors: missing keys, sizes that differ, ids out of range.
    static tokenizer from_gguf(const gguf& file, index_t rows = every_token);
    /// From tokenizer.json in `folder`; ids of bos and eos from tokenizer_config.json, generation_config.json and config.json if they are
    /// there. Errors: unreadable files, JSON that is no BPE vocabulary of this kind, ids out of range or given twice.
    static tokenizer from_folder(const std::filesystem::path& folder, index_t rows = every_token);
    /// From a vocabulary in memory. Errors as above.
    explicit tokenizer(vocabulary v);

    /// The tokens of `text` with their places, in order and without gaps; no BOS. Error if `text` is not valid UTF-8.
    std::vector<piece> pieces(std::string_view text, control_text control = control_text::match) const;
    /// The ids of `pieces`.
    std::vector<token_id> encode(std::string_view text, control_text control = control_text::match) const {
        const std::vector<piece> all = pieces(text, control);
        std::vector<token_id> ids(all.size());
        std::transform(all.begin(), all.end(), ids.begin(), [](const piece& p) { return p.id; });
        return ids;
    }
    /// The text of some tokens: ▁ is a space, control tokens are nothing, bytes that form no character are U+FFFD. Always valid UTF-8.
    std::string decode(std::span<const token_id> ids) const {
        std::string bytes;
        for (const token_id id : ids) append_bytes(id, bytes);
        return take_utf8(bytes, true);
    }
    /// Appends the bytes that a token stands for, which may be a part of a character. Error if there is no such id.
    void append_bytes(token_id id, std::string& bytes) const;

    /// A token's text as stored. Error if there is no such id.
    std::string_view text(token_id id) const { return (*texts_)[checked(id)]; }
    token_kind kind(token_id id) const { return kinds_[checked(id)]; }
    /// Number of ids.
    index_t size() const { return static_cast<index_t>(texts_->size()); }
    /// The token that begins every text. Error if the vocabulary has none.
    token_id bos() const {
        if (!bos_)
            throw error(fmt::format("{}: expected an id for the beginning of a text (bos), or a token <bos>; found neither", source_));
        return *bos_;
    }
    /// Control or unknown token; false for ids out of range.
    bool is_control(token_id id) const {
        return has(id) && (kinds_[place(id)] == token_kind::control || kinds_[place(id)] == token_kind::unknown);
    }
    /// Whether a generated token ends the answer; false for ids out of range.
    bool ends_generation(token_id id) const { return std::find(ends_.begin(), ends_.end(), id) != ends_.end(); }
    /// All ids for which ends_generation holds, ascending.
    const std::vector<token_id>& ends() const { return ends_; }
    /// Ids that must never be generated.
    const std::vector<token_id>& suppressed() const { return suppressed_; }
    /// Whether an answer begins with an empty thought, see chat_prompt().
    bool empty_thought() const { return empty_thought_; }
    /// The id of a token's exact text; control tokens go before ordinary pieces of the same text.
    std::optional<token_id> find(std::string_view text) const;

  private:
    struct special {
        std::string_view text;
        token_id id;
        bool always; // user-defined: also in text that is not trusted
    };
    struct cut { // a special token in a text
        index_t begin, end;
        token_id id;
    };
    static constexpr std::size_t longest_special = 1024; // bytes
    struct scratch {                                     // memory that the runs of a text share
        std::string text;
        std::vector<merge_part> parts;
        std::vector<detail::merge_candidate> heap;
        std::vector<std::int32_t> stack;
    };

    bool has(token_id id) const { return id >= 0 && id < size(); }
    static std::size_t place(token_id id) { return static_cast<std::size_t>(id); }
    std::size_t checked(token_id id) const {
        if (!has(id)) throw error(fmt::format("{}: expected a token id in 0…{}, found {}", source_, size() - 1, id));
        return place(id);
    }
    void index_texts(const vocabulary& v);
    void index_merges(const vocabulary& v);
    void index_scores(const vocabulary& v);
    void index_specials();
    std::optional<cut> special_at(std::string_view text, index_t begin, index_t limit, bool all) const;
    std::vector<cut> specials_in(std::string_view text, bool all) const;
    void segment(std::string_view text, index_t begin, index_t end, bool prefix, scratch& s, std::vector<piece>& out) const;
    void run(std::string_view text, index_t begin, index_t end, bool prefix, bool joins, scratch& s, std::vector<piece>& out) const;
    void emit(std::int32_t part, index_t base, bool joins, std::size_t first, scratch& s, std::vector<piece>& out) const;

    std::string source_;
    std::shared_ptr<const std::vector<std::string>> texts_; // shared, so that the views into it outlive copies
    std::vector<token_kind> kinds_;
    std::unordered_map<std::string_view, token_id> pieces_; // what merging may make; no control tokens, so that no text can forge one
    std::unordered_map<char32_t, token_id> characters_;     // as symbols; from size() on: characters without id that merges name
    std::array<token_id, 128> ascii_{};                     // the same for ASCII
    std::array<token_id, 256> bytes_{};                     // byte tokens; −1: none
    std::size_t longest_piece_ = 0;                         // bytes
    bool newlines_apart_ = false;                           // no piece mixes newlines and others, so a text may be cut between them
    bool by_score_ = false;
    bool space_prefix_ = false;
    bool empty_thought_ = false;
    std::vector<std::uint32_t> orders_;            // by_score: id → order of its score
    detail::merge_table merges_;                   // otherwise
    std::vector<special> specials_;                // sorted by text, then id
    std::array<std::size_t, 257> specials_from_{}; // first byte → begin in specials_
    std::optional<token_id> bos_, unknown_;
    std::vector<token_id> ends_, suppressed_;
};

/// Text from a stream of tokens. Never cuts a character: bytes wait until it is whole.
class stream_decoder {
  public:
    /// `tokens` must outlive this object.
    explicit stream_decoder(const tokenizer& tokens) : tokens_(&tokens) {}
    /// The text that is certain after one more token; may be empty. What is no UTF-8 is U+FFFD.
    std::string push(token_id id) {
        tokens_->append_bytes(id, pending_);
        return take_utf8(pending_, false);
    }
    /// What is left: U+FFFD for a character that never became whole. The decoder can be used again.
    std::string finish() { return take_utf8(pending_, true); }

  private:
    const tokenizer* tokens_;
    std::string pending_;
};

inline tokenizer::tokenizer(vocabulary v) {
    source_ = v.source.empty() ? std::string("vocabulary") : std::move(v.source);
    const std::size_t count = v.texts.size();
    if (count == 0) throw error(fmt::format("{}: expected a vocabulary, found no tokens", source_));
    if (count > static_cast<std::size_t>(std::numeric_limits<token_id>::max() / 2))
        throw error(fmt::format("{}: expected at most 2^30 tokens, found {}", source_, count));
    if (v.kinds.size() != count)
        throw error(fmt::format("{}: expected {} token types, one per token; found {}", source_, count, v.kinds.size()));
    if (v.by_score && v.scores.size() != count)
        throw error(fmt::format("{}: expected {} scores, one per token; found {}", source_, count, v.scores.size()));
    texts_ = std::make_shared<const std::vector<std::string>>(std::move(v.texts));
    kinds_ = std::move(v.kinds);
    by_score_ = v.by_score;
    space_prefix_ = v.space_prefix;
    empty_thought_ = v.empty_thought;
    // Some files give these the type of ordinary text.
    for (std::size_t i = 0; i < count; ++i)
        if ((kinds_[i] == token_kind::normal || kinds_[i] == token_kind::undefined) && ((*texts_)[i] == "<eos>" || (*texts_)[i] == "<bos>"))
            kinds_[i] = token_kind::control;
    index_texts(v);
    if (by_score_)
        index_scores(v);
    else
        index_merges(v);
    index_specials();

    const auto range = [&](token_id id, const char* what) {
        if (!has(id)) throw error(fmt::format("{}: {}: expected an id in 0…{}, found {}", source_, what, size() - 1, id));
        return id;
    };
    if (v.bos) bos_ = range(*v.bos, "id of bos");
    if (!bos_) bos_ = find("<bos>");
    if (v.unknown) unknown_ = range(*v.unknown, "id of unknown");
    if (!unknown_) {
        const auto kind = std::find(kinds_.begin(), kinds_.end(), token_kind::unknown);
        if (kind != kinds_.end()) unknown_ = static_cast<token_id>(kind - kinds_.begin());
    }
    // `</s>` is ordinary text in Gemma: a file that calls it an end is wrong if there is an <eos>.
    const bool has_eos = find("<eos>").has_value();
    for (const token_id id : v.ends)
        if (!(has_eos && text(range(id, "id of eos")) == "</s>")) ends_.push_back(range(id, "id of eos"));
    std::sort(ends_.begin(), ends_.end());
    ends_.erase(std::unique(ends_.begin(), ends_.end()), ends_.end());
    for (const token_id id : v.suppressed) suppressed_.push_back(range(id, "id of suppressed token"));
}

inline void tokenizer::index_texts(const vocabulary&) {
    const std::vector<std::string>& texts = *texts_;
    bytes_.fill(-1);
    ascii_.fill(-1);
    pieces_.reserve(texts.size());
    const auto plain = [](token_kind k) { return k == token_kind::normal || k == token_kind::undefined; };
    const auto add = [&](std::size_t i) {
        if (texts[i].empty() || !pieces_.emplace(texts[i], static_cast<token_id>(i)).second) return;
        // As many as half a dozen share a bucket by accident.
        if (pieces_.bucket_size(pieces_.bucket(texts[i])) > 100)
            throw error(fmt::format("{}: token {}: expected texts that a hash tells apart, found too many alike", source_, i));
    };
    for (std::size_t i = 0; i < texts.size(); ++i) // of equal texts the ordinary piece counts, then the lowest id
        if (plain(kinds_[i])) add(i);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (kinds_[i] > token_kind::byte)
            throw error(fmt::format("{}: token {}: expected a type in 0…6, found {}", source_, i, static_cast<int>(kinds_[i])));
        if (kinds_[i] == token_kind::user_defined || kinds_[i] == token_kind::unused) add(i);
        if (kinds_[i] == token_kind::byte) {
            const std::optional<unsigned char> byte = detail::byte_of_text(texts[i]);
            if (!byte)
                throw error(fmt::format("{}: token {}: expected a byte token <0xHH>, found {}", source_, i, detail::shown(texts[i])));
            if (bytes_[*byte] < 0) bytes_[*byte] = static_cast<token_id>(i);
        }
    }
    newlines_apart_ = true;
    for (const auto& [text, id] : pieces_) {
        longest_piece_ = std::max(longest_piece_, text.size());
        const auto newlines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
        if (newlines != 0 && newlines != text.size()) newlines_apart_ = false;
        const utf8_step step = utf8_front(text);
        if (step.state == utf8_state::valid && static_cast<std::size_t>(step.size) == text.size())
            characters_.emplace(code_point(text), id);
    }
}

inline void tokenizer::index_merges(const vocabulary& v) {
    if (v.merges.size() > std::numeric_limits<std::uint32_t>::max())
        throw error(fmt::format("{}: expected fewer than 2^32 merges, found {}", source_, v.merges.size()));
    token_id next = static_cast<token_id>(size());
    const auto symbol = [&](const std::string& part) -> token_id {
        if (const auto found = pieces_.find(part); found != pieces_.end()) return found->second;
        // A character may have no id and still be a part of pieces. Anything longer without id can never come into being.
        if (part.empty() || part.size() > 4) return -1;
        const utf8_step step = utf8_front(part);
        if (step.state != utf8_state::valid || static_cast<std::size_t>(step.size) != part.size()) return -1;
        const auto [place, fresh] = characters_.emplace(code_point(part), next);
        if (fresh) ++next;
        return place->second;
    };
    merges_.reserve(v.merges.size());
    std::string both;
    for (std::size_t i = 0; i < v.merges.size(); ++i) {
        const auto& [left, right] = v.merges[i];
        both.assign(left).append(right);
        const auto result = pieces_.find(both);
        if (left.empty() || right.empty() || result == pieces_.end()) continue;
        const token_id a = symbol(left), b = symbol(right);
        if (a >= 0 && b >= 0 && !merges_.insert(a, b, {static_cast<std::uint32_t>(i), result->second}))
            throw error(fmt::format("{}: merge {}: expected pairs that a hash tells apart, found too many alike", source_, i));
    }
    for (const auto& [c, id] : characters_)
        if (c < 128) ascii_[c] = id;
}

inline void tokenizer::index_scores(const vocabulary& v) {
    std::vector<float> sorted;
    sorted.reserve(pieces_.size());
    for (const auto& [text, id] : pieces_) {
        const float score = v.scores[place(id)];
        if (std::isnan(score)) throw error(fmt::format("{}: token {}: expected a score, found NaN", source_, id));
        sorted.push_back(score);
    }
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    orders_.assign(texts_->size(), 0);
    for (const auto& [text, id] : pieces_)
        orders_[place(id)] = static_cast<std::uint32_t>(
            std::lower_bound(sorted.begin(), sorted.end(), v.scores[place(id)], std::greater<>()) - sorted.begin());
    for (const auto& [c, id] : characters_)
        if (c < 128) ascii_[c] = id;
}

inline void tokenizer::index_specials() {
    for (std::size_t i = 0; i < texts_->size(); ++i) {
        const std::string& text = (*texts_)[i];
        const token_kind kind = kinds_[i];
        const auto id = static_cast<token_id>(i);
        if (text.empty()) continue;
        const bool looked_for = kind == token_kind::control || kind == token_kind::unknown || kind == token_kind::user_defined;
        if (looked_for && text.size() > longest_special) // they are tried at every byte of a text
            throw error(fmt::format("{}: token {}: expected a special token of at most {} bytes, found {}", source_, i, longest_special,
                                    text.size()));
        if (const auto bad = first_invalid(text); looked_for && bad) // found inside a character it would cut that
            throw error(fmt::format("{}: token {}: expected a special token that is valid UTF-8, found byte offset {} of {}", source_, i,
                                    *bad, detail::shown(text)));
        if (kind == token_kind::control || kind == token_kind::unknown) specials_.push_back({text, id, false});
        // Where an ordinary piece has the same text, the merges decide.
        if (kind == token_kind::user_defined && pieces_.at(text) == id) specials_.push_back({text, id, true});
    }
    std::sort(specials_.begin(), specials_.end(),
              [](const special& a, const special& b) { return a.text != b.text ? a.text < b.text : a.id < b.id; });
    for (const special& s : specials_)
        for (const std::string_view t : {"<eos>", "<turn|>", "<end_of_turn>", "<|tool_response>"})
            if (s.text == t) ends_.push_back(s.id);
    // Of neighbours with the same text only the first is ever found.
    specials_.erase(std::unique(specials_.begin(), specials_.end(),
                                [](const special& a, const special& b) { return a.text == b.text && a.always == b.always; }),
                    specials_.end());
    std::size_t i = 0;
    for (std::size_t byte = 0; byte < 256; ++byte) {
        specials_from_[byte] = i;
        while (i < specials_.size() && static_cast<unsigned char>(specials_[i].text[0]) == byte) ++i;
    }
    specials_from_[256] = i;
}

inline std::optional<token_id> tokenizer::find(std::string_view text) const {
    const auto from =
        std::lower_bound(specials_.begin(), specials_.end(), text, [](const special& s, std::string_view t) { return s.text < t; });
    std::optional<token_id> found;
    for (auto s = from; s != specials_.end() && s->text == text; ++s)
        if (!found || !s->always) {
            found = s->id;
            if (!s->always) break;
        }
    if (found) return found;
    if (const auto p = pieces_.find(text); p != pieces_.end()) return p->second;
    if (const auto byte = detail::byte_of_text(text); byte && bytes_[*byte] >= 0) return bytes_[*byte];
    return std::nullopt;
}

inline void tokenizer::append_bytes(token_id id, std::string& bytes) const {
    const std::string& text = (*texts_)[checked(id)];
    switch (kinds_[place(id)]) {
    case token_kind::control:
    case token_kind::unknown:
        return;
    case token_kind::byte:
        bytes += static_cast<char>(*detail::byte_of_text(text));
        return;
    default:
        break;
    }
    std::size_t from = 0;
    for (std::size_t mark; (mark = text.find(detail::space_mark, from)) != std::string::npos; from = mark + detail::space_mark.size())
        bytes.append(text, from, mark - from).append(1, ' ');
    bytes.append(text, from, std::string::npos);
}

/// The longest special token at `begin` that is not longer than `limit`: a walk down the sorted texts, byte by byte.
inline std::optional<tokenizer::cut> tokenizer::special_at(std::string_view text, index_t begin, index_t limit, bool all) const {
    const auto at = static_cast<std::size_t>(begin);
    const auto first = static_cast<unsigned char>(text[at]);
    std::size_t low = specials_from_[first], high = specials_from_[first + 1U];
    std::optional<cut> best;
    const std::size_t most = std::min(text.size() - at, static_cast<std::size_t>(limit));
    for (std::size_t depth = 1; low < high && depth <= most; ++depth) {
        bool taken = false;
        for (; low < high && specials_[low].text.size() == depth; ++low)
            if (!taken && (all || specials_[low].always)) {
                best = cut{begin, begin + static_cast<index_t>(depth), specials_[low].id};
                taken = true;
            }
        if (depth == most) break;
        const auto c = static_cast<unsigned char>(text[at + depth]);
        const auto from = specials_.begin() + static_cast<std::ptrdiff_t>(low), to = specials_.begin() + static_cast<std::ptrdiff_t>(high);
        const auto l = std::partition_point(from, to, [&](const special& s) { return static_cast<unsigned char>(s.text[depth]) < c; });
        const auto h = std::partition_point(l, to, [&](const special& s) { return static_cast<unsigned char>(s.text[depth]) == c; });
        low = static_cast<std::size_t>(l - specials_.begin());
        high = static_cast<std::size_t>(h - specials_.begin());
    }
    return best;
}

/// Special tokens in a text, in order: the longest first wherever they overlap, the leftmost among equally long ones.
inline std::vector<tokenizer::cut> tokenizer::specials_in(std::string_view text, bool all) const {
    std::vector<cut> found;
    const auto size = static_cast<index_t>(text.size());
    bool overlap = false;
    for (index_t i = 0; i < size; ++i) {
        const auto c = static_cast<unsigned char>(text[static_cast<std::size_t>(i)]);
        if (specials_from_[c] == specials_from_[c + 1U]) continue;
        if (const std::optional<cut> s = special_at(text, i, size, all)) {
            overlap = overlap || (!found.empty() && found.back().end > i);
            found.push_back(*s);
        }
    }
    if (!overlap) return found;
    const auto later = [](const cut& a, const cut& b) {
        return a.end - a.begin != b.end - b.begin ? a.end - a.begin < b.end - b.begin : a.begin > b.begin;
    };
    std::priority_queue<cut, std::vector<cut>, decltype(later)> queue(later, std::move(found));
    std::map<index_t, cut> taken; // by begin
    while (!queue.empty()) {
        const cut best = queue.top();
        queue.pop();
        const auto next = taken.lower_bound(best.begin);
        if (next != taken.end() && next->first == best.begin) continue;
        if (next != taken.begin() && std::prev(next)->second.end > best.begin) continue;
        if (next != taken.end() && next->first < best.end) { // a longer one took its end: is there a shorter one here?
            if (const std::optional<cut> shorter = special_at(text, best.begin, next->first - best.begin, all)) queue.push(*shorter);
            continue;
        }
        taken.emplace_hint(next, best.begin, best);
    }
    found.clear();
    for (const auto& [begin, c] : taken) found.push_back(c);
    return found;
}

inline std::vector<piece> tokenizer::pieces(std::string_view text, control_text control) const {
    if (const std::optional<index_t> bad = first_invalid(text))
        throw error(fmt::format("text: expected valid UTF-8, found byte 0x{:02X} at byte offset {}",
                                static_cast<unsigned>(static_cast<unsigned char>(text[static_cast<std::size_t>(*bad)])), *bad));
    std::vector<piece> out;
    out.reserve(text.size() / 3 + 1);
    scratch s;
    index_t from = 0;
    for (const cut& c : specials_in(text, control == control_text::match)) {
        if (c.begin > from) segment(text, from, c.begin, space_prefix_, s, out);
        out.push_back({c.id, c.begin, c.end});
        from = c.end;
    }
    if (from < static_cast<index_t>(text.size())) segment(text, from, static_cast<index_t>(text.size()), space_prefix_, s, out);
    return out;
}

/// Text between special tokens. Where no piece mixes newlines and others, each run of either is merged alone: that bounds the work
/// and cannot change the result.
inline void tokenizer::segment(std::string_view text, index_t begin, index_t end, bool prefix, scratch& s, std::vector<piece>& out) const {
    const std::string_view all = text.substr(0, static_cast<std::size_t>(end));
    bool joins = false;
    while (begin < end) {
        std::size_t stop = all.size();
        if (newlines_apart_) {
            const auto from = static_cast<std::size_t>(begin);
            stop = std::min(all.size(), all[from] == '\n' ? all.find_first_not_of('\n', from) : all.find('\n', from));
        }
        run(text, begin, static_cast<index_t>(stop), prefix, joins, s, out);
        begin = static_cast<index_t>(stop);
        prefix = false;
        joins = true;
    }
}

/// Merges the characters of [begin, end) and appends the result. `joins`: an unknown token may continue the last one.
inline void tokenizer::run(std::string_view text, index_t begin, index_t end, bool prefix, bool joins, scratch& s,
                           std::vector<piece>& out) const {
    constexpr index_t most = index_t{1} << 28; // three bytes per space, and parts twice as many as characters, fit int32
    if (end - begin > most)
        throw error(fmt::format("text: expected at most {} bytes in one line, found {} at byte offset {}", most, end - begin, begin));
    s.text.clear();
    s.parts.clear();
    const auto leaf = [&](std::string_view character, std::int32_t from, std::int32_t to) {
        merge_part p;
        if (character.size() == 1) {
            p.symbol = ascii_[static_cast<unsigned char>(character[0])];
        } else if (const auto found = characters_.find(code_point(character)); found != characters_.end()) {
            p.symbol = found->second;
        }
        p.text_begin = static_cast<std::int32_t>(s.text.size());
        s.text += character;
        p.text_end = static_cast<std::int32_t>(s.text.size());
        p.begin = from;
        p.end = to;
        s.parts.push_back(p);
    };
    if (prefix) leaf(detail::space_mark, 0, 0);
    for (index_t i = begin; i < end;) {
        const auto at = static_cast<std::size_t>(i);
        const auto from = static_cast<std::int32_t>(i - begin);
        const auto size = static_cast<std::size_t>(utf8_front(text.substr(at)).size);
        leaf(text[at] == ' ' ? detail::space_mark : text.substr(at, size), from, from + static_cast<std::int32_t>(size));
        i += static_cast<index_t>(size);
    }
    std::int32_t head = -1;
    if (by_score_) {
        const std::string_view normal = s.text;
        head = merge(s.parts, s.heap, [&](const merge_part& a, const merge_part& b) -> std::optional<merge_choice> {
            const auto from = static_cast<std::size_t>(a.text_begin), size = static_cast<std::size_t>(b.text_end) - from;
            if (size > longest_piece_) return std::nullopt;
            const auto found = pieces_.find(normal.substr(from, size));
            if (found == pieces_.end()) return std::nullopt;
            return merge_choice{orders_[place(found->second)], found->second};
        });
    } else {
        head = merge(s.parts, s.heap, [&](const merge_part& a, const merge_part& b) { return merges_.find(a.symbol, b.symbol); });
    }
    const std::size_t first = out.size();
    for (std::int32_t p = head; p >= 0; p = s.parts[static_cast<std::size_t>(p)].next) emit(p, begin, joins, first, s, out);
}

/// Appends a part's tokens: its id; if it has none, those of what it was merged from; for a character its bytes; or <unk>.
inline void tokenizer::emit(std::int32_t part, index_t base, bool joins, std::size_t first, scratch& s, std::vector<piece>& out) const {
    s.stack.assign(1, part); // no recursion: a hostile vocabulary could make it deep
    while (!s.stack.empty()) {
        const merge_part& p = s.parts[static_cast<std::size_t>(s.stack.back())];
        s.stack.pop_back();
        const index_t begin = base + p.begin, end = base + p.end;
        // SentencePiece merges through unused pieces, but never emits them.
        if (has(p.symbol) && !(by_score_ && kinds_[place(p.symbol)] == token_kind::unused)) {
            out.push_back({p.symbol, begin, end});
            continue;
        }
        if (p.left >= 0) {
            s.stack.push_back(p.right);
            s.stack.push_back(p.left);
            continue;
        }
        const std::string_view bytes =
            std::string_view(s.text).substr(static_cast<std::size_t>(p.text_begin), static_cast<std::size_t>(p.text_end - p.text_begin));
        const bool all = std::all_of(bytes.begin(), bytes.end(), [&](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; });
        if (all) {
            for (std::size_t i = 0; i < bytes.size(); ++i) // a space has three bytes as ▁: the first one stands for it
                out.push_back({bytes_[static_cast<unsigned char>(bytes[i])], std::min(begin + static_cast<index_t>(i), end),
                               std::min(begin + static_cast<index_t>(i) + 1, end)});
            continue;
        }
        if (!unknown_)
            throw error(fmt::format("{}: no token for {} at byte offset {} of the text, and neither byte tokens nor <unk>", source_,
                                    detail::shown(bytes), begin));
        if ((joins || out.size() > first) && !out.empty() && out.back().id == *unknown_ && out.back().end == begin)
            out.back().end = end; // neighbouring unknown characters are one token
        else
            out.push_back({*unknown_, begin, end});
    }
}

// ---- files

inline tokenizer tokenizer::from_gguf(const gguf& file, index_t rows) {
    vocabulary v = detail::read_gguf_vocabulary(file, file.path);
    detail::leave_out_beyond(v, rows);
    return tokenizer(std::move(v));
}

inline tokenizer tokenizer::from_folder(const std::filesystem::path& folder, index_t rows) {
    const std::filesystem::path path = folder / "tokenizer.json";
    vocabulary v = detail::read_json_vocabulary(detail::read_json(path), path.string());
    detail::read_files_beside(folder, v);
    detail::leave_out_beyond(v, rows);
    return tokenizer(std::move(v));
}

} // namespace loupe::io
