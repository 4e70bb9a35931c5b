// What a file says of its vocabulary: tokens, merges or scores, special ids. From GGUF metadata, or from tokenizer.json.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/io/json.hpp>
#include <loupe/io/mapped_file.hpp>
#include <loupe/io/utf8.hpp>

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
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

namespace loupe::io {

/// What a token is for, numbered as in GGUF's `tokenizer.ggml.token_type`.
enum class token_kind : std::uint8_t { undefined, normal, unknown, control, user_defined, unused, byte };

/// A vocabulary as a file gives it; `tokenizer` checks it.
struct vocabulary {
    std::string source;                                      ///< file, for messages
    std::vector<std::string> texts;                          ///< id → text as stored
    std::vector<token_kind> kinds;                           ///< as many as texts
    bool by_score = false;                                   ///< merge by `scores` (SentencePiece), else by position in `merges`
    std::vector<float> scores;                               ///< as many as texts, if by_score; the highest is merged first
    std::vector<std::pair<std::string, std::string>> merges; ///< left and right part, most wanted first
    std::optional<token_id> bos, unknown;                    ///< absent: looked up as `<bos>` and by kind
    std::vector<token_id> ends;                              ///< ids that the file calls end of sequence or turn
    std::vector<token_id> suppressed;                        ///< ids that must never be generated
    bool space_prefix = false;                               ///< a space is put before the text (no Gemma wants that)
    bool empty_thought = false;                              ///< its chat template has answers begin with one, see chat_prompt()
};

namespace detail {

inline constexpr std::string_view space_mark = "\xE2\x96\x81"; // ▁, which stands for a space in tokens

/// `text` for a message: short, and printable.
inline std::string shown(std::string_view text) {
    std::string out = "\"";
    for (const char c : text.substr(0, 40)) {
        if (c == '\n')
            out += "\\n";
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
            out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        else
            out += c;
    }
    out += text.size() > 40 ? "…\"" : "\"";
    std::string clean = std::move(out);
    return take_utf8(clean, true);
}

/// The byte that `<0xHH>` stands for.
inline std::optional<unsigned char> byte_of_text(std::string_view text) {
    if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return std::nullopt;
    unsigned value = 0;
    for (const char c : text.substr(3, 2)) {
        if (c >= '0' && c <= '9')
            value = value * 16 + static_cast<unsigned>(c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + static_cast<unsigned>(c - 'A' + 10);
        else
            return std::nullopt;
    }
    return static_cast<unsigned char>(value);
}

/// Tokens that files mark as user-defined, so that they stay visible in output (gguf.md §7.6).
inline bool stays_visible(std::string_view text) {
    for (const std::string_view t :
         {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>"})
        if (t == text) return true;
    return false;
}

/// Whether a chat template has the model answer behind an empty thought where it is not to think, as those of 26B-A4B and 31B do.
inline bool has_empty_thought(std::string_view chat_template) {
    for (const std::string_view newline : {"\n", "\\n"}) // as it is, or as Jinja spells it
        if (chat_template.find(std::string("<|channel>thought").append(newline).append("<channel|>")) != std::string_view::npos)
            return true;
    return false;
}

/// "left right", split at the first space at index 1 or later (a piece holds no space: spaces are ▁).
inline std::pair<std::string, std::string> split_merge(const std::string& line, index_t number, const std::string& source) {
    const std::size_t space = line.find(' ', 1);
    if (line.empty() || space == std::string::npos || space + 1 == line.size())
        throw error(fmt::format("{}: merge {}: expected two pieces with a space between, found {}", source, number, shown(line)));
    return {line.substr(0, space), line.substr(space + 1)};
}

/// The keys tokenizer.ggml.*. `File` is gguf, or whatever answers the same questions.
template <class File>
vocabulary read_gguf_vocabulary(const File& file, std::string source) {
    vocabulary v;
    v.source = std::move(source);
    const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
    const auto present = [&](const auto& value, const std::string& name, const char* what) { // there, but of another type?
        if (!value && file.contains(name)) throw error(fmt::format("{}: {}: expected {}", v.source, name, what));
        return static_cast<bool>(value);
    };
    const std::string* model = file.text(key("model"));
    if (model == nullptr) throw error(fmt::format("{}: expected the key tokenizer.ggml.model, found none", v.source));
    if (*model != "llama" && *model != "gemma4")
        throw error(fmt::format("{}: tokenizer.ggml.model: expected llama or gemma4, found {}", v.source, shown(*model)));
    v.by_score = *model == "llama";
    const std::vector<std::string>* texts = file.texts(key("tokens"));
    if (texts == nullptr) throw error(fmt::format("{}: expected the strings tokenizer.ggml.tokens, found none", v.source));
    v.texts = *texts;
    if (const auto types = file.integers(key("token_type")); present(types, key("token_type"), "an array of integers")) {
        for (const index_t t : *types) {
            if (t < 0 || t > 6)
                throw error(fmt::format("{}: tokenizer.ggml.token_type: token {}: expected 0…6, found {}", v.source, v.kinds.size(), t));
            v.kinds.push_back(static_cast<token_kind>(t));
        }
    } else { // then the texts must do
        for (const std::string& t : v.texts) v.kinds.push_back(byte_of_text(t) ? token_kind::byte : token_kind::normal);
    }
    if (v.by_score) {
        const auto scores = file.numbers(key("scores"));
        if (!scores) throw error(fmt::format("{}: expected the numbers tokenizer.ggml.scores for model llama, found none", v.source));
        v.scores = *scores;
    } else {
        const std::vector<std::string>* merges = file.texts(key("merges"));
        if (merges == nullptr)
            throw error(fmt::format("{}: expected the strings tokenizer.ggml.merges for model gemma4, found none", v.source));
        v.merges.reserve(merges->size());
        for (const std::string& m : *merges) v.merges.push_back(split_merge(m, static_cast<index_t>(v.merges.size()), v.source));
    }
    const auto narrow = [&](const std::string& name, index_t id) {
        if (id < 0 || id >= static_cast<index_t>(v.texts.size()))
            throw error(
                fmt::format("{}: {}: expected an id in 0…{}, found {}", v.source, name, static_cast<index_t>(v.texts.size()) - 1, id));
        return static_cast<token_id>(id);
    };
    const auto id = [&](const char* name) -> std::optional<token_id> {
        const std::optional<index_t> found = file.integer(key(name));
        if (!present(found, key(name), "an integer") || *found == 0xFFFFFFFF || *found == -1) return std::nullopt; // −1: "none"
        return narrow(key(name), *found);
    };
    v.bos = id("bos_token_id");
    v.unknown = id("unknown_token_id");
    for (const char* name : {"eos_token_id", "eot_token_id"})
        if (const auto end = id(name)) v.ends.push_back(*end);
    const auto suppressed = file.integers(key("suppress_tokens"));
    if (present(suppressed, key("suppress_tokens"), "an array of integers"))
        for (const index_t s : *suppressed) v.suppressed.push_back(narrow(key("suppress_tokens"), s));
    if (const std::string* chat = file.text("tokenizer.chat_template")) v.empty_thought = has_empty_thought(*chat);
    v.space_prefix = v.by_score && file.boolean(key("add_space_prefix")).value_or(false);
    return v;
}

/// An id in a JSON file: an integer in [0, limit).
inline token_id json_id(const nlohmann::json& value, index_t limit, const std::string& where) {
    if (!value.is_number_integer()) throw error(fmt::format("{}: expected an id, found {}", where, value.type_name()));
    const bool large =
        value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<index_t>::max());
    if (large || value.get<index_t>() < 0 || value.get<index_t>() >= limit)
        throw error(fmt::format("{}: expected an id in 0…{}, found {}", where, limit - 1, value.dump()));
    return static_cast<token_id>(value.get<index_t>());
}

/// Whether a normalizer is nothing but ' ' → ▁.
inline bool replaces_spaces(const nlohmann::json& n) {
    if (!n.is_object()) return false;
    if (n.value("type", nlohmann::json()) == "Sequence") {
        const auto list = n.find("normalizers");
        return list != n.end() && list->is_array() && list->size() == 1 && replaces_spaces((*list)[0]);
    }
    return n.value("type", nlohmann::json()) == "Replace" && n.value("pattern", nlohmann::json()) == nlohmann::json{{"String", " "}} &&
           n.value("content", nlohmann::json()) == std::string(space_mark);
}

/// The vocabulary of a tokenizer.json (Hugging Face's `tokenizers`): a BPE model with ▁ for spaces and byte tokens.
inline vocabulary read_json_vocabulary(const nlohmann::json& file, std::string source) {
    using nlohmann::json;
    vocabulary v;
    v.source = std::move(source);
    const auto fail = [&](const std::string& what) -> error { return error(v.source + ": " + what); };
    const auto member = [](const json& object, const char* name) -> const json* {
        if (!object.is_object()) return nullptr;
        const auto found = object.find(name);
        return found == object.end() || found->is_null() ? nullptr : &*found;
    };
    const json* model = member(file, "model");
    if (model == nullptr) throw fail("expected a member model, found none");
    const json *type = member(*model, "type"), *texts = member(*model, "vocab"), *merges = member(*model, "merges");
    if (type != nullptr && *type != "BPE") throw fail(fmt::format("model.type: expected BPE, found {}", shown(type->dump(-1, ' ', true))));
    if (texts == nullptr || !texts->is_object()) throw fail("model.vocab: expected an object of texts and ids");
    if (merges == nullptr || !merges->is_array()) throw fail("model.merges: expected an array");
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (const json* affix = member(*model, name); affix != nullptr && *affix != "")
            throw fail(fmt::format("model.{}: expected none", name));
    if (const json* ignore = member(*model, "ignore_merges"); ignore != nullptr && *ignore != false)
        throw fail("model.ignore_merges: expected false");
    const json* normalizer = member(file, "normalizer");
    if (normalizer == nullptr || !replaces_spaces(*normalizer))
        throw fail("normalizer: expected the replacement of spaces by ▁ and nothing else");
    if (const json* split = member(file, "pre_tokenizer")) { // on spaces, of which none is left: does nothing
        const json* pattern = member(*split, "pattern");
        const json* kind = member(*split, "type");
        if (kind == nullptr || *kind != "Split" || pattern == nullptr || *pattern != json{{"String", " "}})
            throw fail("pre_tokenizer: expected none, or a split at spaces");
    }

    const json* added = member(file, "added_tokens");
    if (added != nullptr && !added->is_array()) throw fail("added_tokens: expected an array");
    const auto entries = static_cast<index_t>(texts->size() + (added != nullptr ? added->size() : 0));
    // Gaps are allowed (Gemma 3n has some), but memory is not taken on the word of an id.
    const index_t limit = std::min<index_t>(2 * entries + 1024, std::numeric_limits<token_id>::max() / 2);
    std::vector<bool> used;
    const auto place = [&](token_id id) -> std::size_t {
        const auto i = static_cast<std::size_t>(id);
        if (i >= v.texts.size()) {
            v.texts.resize(i + 1);
            v.kinds.resize(i + 1, token_kind::unused);
            used.resize(i + 1, false);
        }
        return i;
    };
    for (const auto& [text, id] : texts->items()) {
        const std::size_t i = place(json_id(id, limit, fmt::format("{}: model.vocab: {}", v.source, shown(text))));
        if (used[i])
            throw fail(fmt::format("model.vocab: expected each id once, found {} for {} and {}", i, shown(v.texts[i]), shown(text)));
        used[i] = true;
        v.texts[i] = text;
        v.kinds[i] = byte_of_text(text) ? token_kind::byte : token_kind::normal;
    }
    std::vector<bool> seen(static_cast<std::size_t>(limit), false);
    for (std::size_t n = 0; added != nullptr && n < added->size(); ++n) {
        const json& entry = (*added)[n];
        const std::string where = fmt::format("added_tokens[{}]", n);
        const json *content = member(entry, "content"), *number = member(entry, "id");
        if (content == nullptr || !content->is_string() || number == nullptr)
            throw fail(where + ": expected an object with id and content");
        const auto text = content->get<std::string>();
        const std::size_t i = place(json_id(*number, limit, fmt::format("{}: {}: {}", v.source, where, shown(text))));
        if (seen[i]) throw fail(fmt::format("{}: expected each id once, found {} again", where, i));
        seen[i] = true;
        const auto listed = texts->find(text);
        if (used[i] ? v.texts[i] != text : listed != texts->end())
            throw fail(fmt::format("{}: {} has id {}, which the vocabulary contradicts", where, shown(text), i));
        for (const char* name : {"single_word", "lstrip", "rstrip"})
            if (const json* option = member(entry, name); option != nullptr && *option != false)
                throw fail(fmt::format("{}: {}: expected {} = false", where, shown(text), name));
        const json* special = member(entry, "special");
        used[i] = true;
        v.texts[i] = text;
        v.kinds[i] = special != nullptr && *special == true && !stays_visible(text) ? token_kind::control : token_kind::user_defined;
    }
    if (v.texts.empty()) throw fail("model.vocab: expected tokens, found none");

    if (const json* unknown = member(*model, "unk_token")) {
        if (!unknown->is_string()) throw fail("model.unk_token: expected a text");
        const auto found = std::find(v.texts.begin(), v.texts.end(), unknown->get<std::string>());
        if (found == v.texts.end())
            throw fail(fmt::format("model.unk_token: {} is not in the vocabulary", shown(unknown->get<std::string>())));
        v.unknown = static_cast<token_id>(found - v.texts.begin());
        v.kinds[static_cast<std::size_t>(*v.unknown)] = token_kind::unknown;
    }
    v.merges.reserve(merges->size());
    for (const json& m : *merges) {
        const auto n = static_cast<index_t>(v.merges.size());
        if (m.is_string())
            v.merges.push_back(split_merge(m.get_ref<const std::string&>(), n, v.source));
        else if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string())
            v.merges.emplace_back(m[0].get_ref<const std::string&>(), m[1].get_ref<const std::string&>());
        else
            throw fail(fmt::format("model.merges[{}]: expected two pieces", n));
    }
    return v;
}

/// Leaves out what was added to a vocabulary beyond the first `rows` ids, as many as an embedding has rows: the tokenizer of the text-only
/// Gemma 3 models has an image token there. Such a token is text like any other then. Error: a piece of ordinary text beyond.
inline void leave_out_beyond(vocabulary& v, index_t rows) {
    const auto most = static_cast<std::size_t>(rows), count = v.texts.size();
    if (v.kinds.size() != count || (v.by_score && v.scores.size() != count)) return; // `tokenizer` refuses it
    for (std::size_t i = most; i < count; ++i) {
        const token_kind kind = v.kinds[i];
        if (kind != token_kind::control && kind != token_kind::user_defined && kind != token_kind::unused)
            throw error(fmt::format("{}: expected at most {} tokens, as many as the embedding has rows, and control or user-defined tokens "
                                    "beyond; found {} with id {}",
                                    v.source, rows, shown(v.texts[i]), i));
    }
    if (count <= most) return;
    v.texts.resize(most);
    v.kinds.resize(most);
    if (v.by_score) v.scores.resize(most);
    std::erase_if(v.suppressed, [&](token_id id) { return id >= rows; });
}

/// A token named in tokenizer_config.json: its text, or an object with the text as `content`.
inline std::optional<std::string> named_token(const nlohmann::json& config, const char* name) {
    if (!config.is_object() || !config.contains(name)) return std::nullopt;
    const nlohmann::json& value = config[name];
    if (value.is_string()) return value.get<std::string>();
    if (value.is_object() && value.contains("content") && value["content"].is_string()) return value["content"].get<std::string>();
    return std::nullopt;
}

/// Ids of bos and eos, and how chats look, in the files beside tokenizer.json. What generation_config.json says goes before config.json.
inline void read_files_beside(const std::filesystem::path& folder, vocabulary& v) {
    using nlohmann::json;
    const auto size = static_cast<index_t>(v.texts.size());
    const auto by_text = [&](const std::string& text) -> std::optional<token_id> {
        const auto found = std::find(v.texts.begin(), v.texts.end(), text);
        if (found == v.texts.end()) return std::nullopt;
        return static_cast<token_id>(found - v.texts.begin());
    };
    if (const auto path = folder / "tokenizer_config.json"; is_there(path)) {
        const json config = read_json(path);
        if (const auto chat = config.is_object() ? config.find("chat_template") : config.end(); chat != config.end() && chat->is_string())
            v.empty_thought = has_empty_thought(chat->get_ref<const std::string&>());
        if (const auto text = named_token(config, "bos_token")) v.bos = by_text(*text);
        if (const auto text = named_token(config, "eos_token"))
            if (const auto id = by_text(*text)) v.ends.push_back(*id);
    }
    std::error_code ignored;
    if (const auto path = folder / "chat_template.jinja"; // goes before what tokenizer_config.json says
        is_there(path) && std::filesystem::file_size(path, ignored) != 0) {
        const mapped_file chat = mapped_file::open(path);
        v.empty_thought = has_empty_thought({reinterpret_cast<const char*>(chat.data()), static_cast<std::size_t>(chat.size())});
    }
    for (const char* name : {"generation_config.json", "config.json"}) {
        const auto path = folder / name;
        if (!is_there(path)) continue;
        const json config = read_json(path);
        if (!config.is_object()) throw error(fmt::format("{}: expected an object", path.string()));
        const auto ids = [&](const json& object, const char* key) {
            std::vector<token_id> out;
            if (!object.contains(key) || object[key].is_null()) return out;
            const std::string where = fmt::format("{}: {}", path.string(), key);
            const json& value = object[key];
            if (value.is_array())
                for (const json& id : value) out.push_back(json_id(id, size, where));
            else
                out.push_back(json_id(value, size, where));
            return out;
        };
        for (const json* object : {&std::as_const(config), config.contains("text_config") ? &config["text_config"] : nullptr}) {
            if (object == nullptr || !object->is_object()) continue;
            if (const auto bos = ids(*object, "bos_token_id"); !v.bos && !bos.empty()) v.bos = bos.front();
            for (const token_id id : ids(*object, "eos_token_id")) v.ends.push_back(id);
            for (const token_id id : ids(*object, "suppress_tokens")) v.suppressed.push_back(id);
        }
    }
}

} // namespace detail

} // namespace loupe::io
