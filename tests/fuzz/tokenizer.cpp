// Vocabularies that files bring, from tokenizer.json and from GGUF keys, and any text under two vocabularies of our own.
#include "fuzz.hpp"

#include <loupe/io/chat.hpp>
#include <loupe/io/tokenizer.hpp>

namespace {

using loupe::token_id;
using namespace loupe::io;

constexpr std::string_view mark = loupe::io::detail::space_mark;

/// Pieces follow each other from the text's first byte to its last.
void check_pieces(const std::vector<piece>& pieces, std::string_view text) {
    loupe::index_t last = 0;
    for (const piece& p : pieces) {
        fuzz::require(p.begin == last && p.end >= p.begin, "pieces have no gaps");
        last = p.end;
    }
    fuzz::require(last == static_cast<loupe::index_t>(text.size()), "pieces end with the text");
}

/// Every id's text, and some texts' ids.
void exercise(const tokenizer& tokens) {
    std::vector<token_id> ids;
    for (token_id id = 0; id < tokens.size(); ++id) {
        fuzz::use(tokens.find(tokens.text(id)));
        fuzz::use(tokens.is_control(id));
        ids.push_back(id);
    }
    fuzz::require(!first_invalid(tokens.decode(ids)), "decoded text is UTF-8");
    for (const std::string_view text :
         {"aab ba\n\n\n  b\tab", "\xC3\xA9\xE2\x96\x81\xF0\x9F\x98\x80 <eos>a<bos>", "<|turn>a<turn|><html>aaaaaaaaab"})
        for (const control_text control : {control_text::match, control_text::ignore}) try {
                fuzz::use(tokens.encode(text, control).size());
            } catch (const loupe::error&) { // no token for a character
            }
}

/// All bytes, a few merges, and one token of every other kind.
vocabulary own_vocabulary(bool by_score) {
    vocabulary v;
    v.by_score = by_score;
    const auto add = [&](std::string text, token_kind kind) {
        v.scores.push_back(-static_cast<float>(v.texts.size()));
        v.texts.push_back(std::move(text));
        v.kinds.push_back(kind);
    };
    for (const char* control : {"<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>"}) add(control, token_kind::control);
    for (const char* seen : {"<|channel>", "<channel|>", "\n\n", "<a>", "<a><a>b"}) add(seen, token_kind::user_defined);
    for (unsigned byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), token_kind::byte);
    for (const char* piece : {"a", "b", "aa", "ab", "ba", "aab", "aaa", "aaaa", "\xC3\xA9",
                              "\xC3\xA9"
                              "a",
                              "\n", "<", ">", "a>"})
        add(piece, token_kind::normal);
    for (const char* piece : {"", "a", "\xE2\x96\x81"}) add(std::string(mark) + piece, token_kind::normal);
    add("aaab", token_kind::unused);
    for (const auto& [left, right] : std::initializer_list<std::pair<std::string, std::string>>{{"a", "a"},
                                                                                                {"a", "b"},
                                                                                                {"b", "a"},
                                                                                                {"aa", "b"},
                                                                                                {"a", "ab"},
                                                                                                {"aa", "aa"},
                                                                                                {"\xC3\xA9", "a"},
                                                                                                {std::string(mark), "a"},
                                                                                                {std::string(mark), std::string(mark)},
                                                                                                {"aaa", "b"},
                                                                                                {"aa", "a"},
                                                                                                {"a", ">"}})
        v.merges.emplace_back(left, right);
    return v;
}

std::string spaces_for_marks(std::string text) {
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; ++at) text.replace(at, mark.size(), " ");
    return text;
}

} // namespace

void fuzz::tokenizer(std::string_view input) {
    const auto files = parts(input);
    put("tokenizer.json", files[0]);
    put("tokenizer_config.json", part(files, 1, "{}"));
    put("generation_config.json", part(files, 2, "{}"));
    put("config.json", part(files, 3, "{}"));
    exercise(loupe::io::tokenizer::from_folder(folder()));
}

void fuzz::vocabulary(std::string_view input) { exercise(loupe::io::tokenizer::from_gguf(loupe::io::gguf::open(put("x.gguf", input)))); }

void fuzz::text(std::string_view input) {
    static const loupe::io::tokenizer by_rank(own_vocabulary(false)), by_score(own_vocabulary(true));
    if (input.empty()) return;
    const unsigned choice = static_cast<unsigned char>(input[0]);
    const loupe::io::tokenizer& tokens = (choice & 1) != 0 ? by_score : by_rank;
    input.remove_prefix(1);

    // Any ids: decoding at once and piece by piece gives the same.
    std::vector<token_id> ids;
    for (const char c : input)
        ids.push_back(static_cast<token_id>(static_cast<unsigned char>(c)) * static_cast<token_id>(tokens.size()) / 256);
    std::string streamed;
    stream_decoder decoder(tokens);
    for (const token_id id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    const std::string decoded = tokens.decode(ids);
    require(decoded == streamed, "a stream decodes as the whole");
    require(!first_invalid(decoded), "decoded text is UTF-8");

    // Any text: what comes back is what went in.
    const bool valid = !first_invalid(input);
    try {
        const auto pieces = tokens.pieces(input, (choice & 2) != 0 ? control_text::match : control_text::ignore);
        require(valid, "text that is not UTF-8 is refused");
        check_pieces(pieces, input);
        require(tokens.decode(tokens.encode(input, control_text::ignore)) == spaces_for_marks(std::string(input)), "text comes back");
    } catch (const loupe::error&) {
        require(!valid, "every UTF-8 text has tokens");
    }

    // Any conversation: as many turns as control tokens, whatever the texts say.
    std::vector<chat_turn> turns;
    for (const std::string_view part : parts(input))
        turns.push_back({(choice & 4) != 0 ? "user" : std::string(part.substr(0, 4)), std::string(part)});
    const auto prompt = chat_prompt(tokens, turns);
    require(std::count(prompt.begin(), prompt.end(), *tokens.find("<|turn>")) == static_cast<std::ptrdiff_t>(turns.size()) + 1,
            "no text forges a turn");
}
