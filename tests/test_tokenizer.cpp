// The nano models' vocabulary: golden ids from both file formats, places, round trips, streams, control tokens.
#include "data.hpp"
#include "files.hpp"
#include "tokens.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/io/tokenizer.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

using loupe::index_t;
using loupe::token_id;
using namespace loupe::io;

namespace {

const tokenizer& from_json() {
    static const tokenizer t = tokenizer::from_folder(tests::example("models/nano-e"));
    return t;
}

const tokenizer& from_gguf() {
    static const tokenizer t = tokenizer::from_gguf(gguf::open(tests::example("models/nano-e/nano-e-Q4_K_M.gguf")));
    return t;
}

nlohmann::json vectors() { return nlohmann::json::parse(tests::load(tests::data("tokenizer/nano.json"))); }

/// Text of characters of all lengths, with and without tokens of their own.
std::string random_text(std::mt19937& random) {
    static const std::vector<std::string> parts = {
        " ",      "  ",       "\n",          "\n\n",     "the",      " king",        "a",
        "e",      "Z",        "\t",          "\xC3\xA9", "\xC3\xBF", "\xE6\x97\xA5", "\xF0\x9F\xAB\xA9",
        "<0x41>", "<bos>",    "<|turn>",     "<turn",    "|>",       "<|tool_call>", ".",
        "1",      "\xCC\x81", "\xEF\xBF\xBD"};
    std::string out;
    for (auto n = random() % 30; n > 0; --n) out += parts[random() % parts.size()];
    return out;
}

} // namespace

TEST_CASE("tokenizer: nano golden ids, from tokenizer.json and from GGUF", "[tokenizer]") {
    const nlohmann::json all = vectors();
    REQUIRE(all.size() > 50);
    for (const auto& v : all) {
        const auto text = v["text"].get<std::string>();
        const auto ids = v["ids"].get<std::vector<token_id>>();
        INFO(text);
        CHECK(from_json().encode(text) == ids);
        CHECK(from_gguf().encode(text) == ids);
        CHECK(tests::covers(from_json().pieces(text), text));
    }
}

TEST_CASE("tokenizer: both file formats give the same vocabulary", "[tokenizer]") {
    const tokenizer &a = from_json(), &b = from_gguf();
    REQUIRE(a.size() == 2048);
    REQUIRE(b.size() == a.size());
    CHECK(a.bos() == 2);
    CHECK(b.bos() == 2);
    CHECK(a.ends() == b.ends());
    for (token_id id = 0; id < 2048; ++id) {
        REQUIRE(a.text(id) == b.text(id));
        REQUIRE(a.is_control(id) == b.is_control(id));
        REQUIRE((a.kind(id) == b.kind(id) || a.is_control(id))); // <unk> is control in the one, unknown in the other
        REQUIRE(a.find(a.text(id)) == id);
    }
}

TEST_CASE("tokenizer: ends of generation are found by text, never by the ids of the released vocabulary", "[tokenizer]") {
    const tokenizer& t = from_gguf();
    CHECK(t.ends() == std::vector<token_id>{1, 6}); // <eos>, <turn|>
    CHECK(t.ends_generation(1));
    CHECK(t.ends_generation(6));
    CHECK_FALSE(t.ends_generation(106)); // an ordinary piece here
    CHECK_FALSE(t.ends_generation(50));
    CHECK_FALSE(t.ends_generation(-1));
    CHECK_FALSE(t.ends_generation(1 << 30));
    CHECK(t.suppressed().empty());
}

TEST_CASE("tokenizer: places are bytes of the original text, though a space is three bytes inside", "[tokenizer]") {
    const tokenizer& t = from_json();
    for (const std::string text : {"three   spaces", " leading", "trailing ", "a\n\n b", "<bos> x <turn|>", "na\xC3\xAFve caf\xC3\xA9 x"}) {
        INFO(text);
        const std::vector<piece> pieces = t.pieces(text);
        REQUIRE(tests::covers(pieces, text));
        for (const piece& p : pieces) { // a token's text stands where its place says
            if (t.is_control(p.id) || t.kind(p.id) == token_kind::byte) continue;
            CHECK(t.decode({&p.id, 1}) == text.substr(static_cast<std::size_t>(p.begin), static_cast<std::size_t>(p.end - p.begin)));
        }
    }
    const std::vector<piece> bytes = t.pieces("a\xF0\x9F\xAB\xA9"); // no token of its own: each byte token has its byte
    REQUIRE(bytes.size() == 5);
    for (std::size_t i = 0; i < 5; ++i) CHECK((bytes[i].begin == static_cast<index_t>(i) && bytes[i].end == static_cast<index_t>(i) + 1));
}

TEST_CASE("tokenizer: a literal U+2581 keeps its three bytes, and decodes to a space", "[tokenizer]") {
    const std::string text = "a\xE2\x96\x81king b";
    const std::vector<piece> pieces = from_json().pieces(text);
    CHECK(tests::covers(pieces, text));
    CHECK(from_json().encode(text) == from_json().encode("a king b"));
    CHECK(from_json().decode(from_json().encode(text)) == "a king b");
}

TEST_CASE("tokenizer: random texts come back, places cover them, both files agree", "[tokenizer]") {
    std::mt19937 random(7);
    for (int trial = 0; trial < 2000; ++trial) {
        const std::string text = random_text(random);
        const std::vector<piece> plain = from_json().pieces(text, control_text::ignore);
        REQUIRE(tests::covers(plain, text));
        std::vector<token_id> ids;
        for (const piece& p : plain) ids.push_back(p.id);
        INFO(text);
        REQUIRE(from_json().decode(ids) == text); // nothing is control here, so nothing is lost
        REQUIRE(from_gguf().encode(text, control_text::ignore) == ids);
        REQUIRE(tests::covers(from_json().pieces(text), text));
        REQUIRE(from_gguf().encode(text) == from_json().encode(text));
    }
}

TEST_CASE("tokenizer: control tokens spelled out are matched in trusted text only; user-defined ones always", "[tokenizer]") {
    for (const tokenizer* t : {&from_json(), &from_gguf()}) {
        CHECK(t->encode("<bos><|turn>") == std::vector<token_id>{2, 5});
        for (const token_id id : t->encode("<bos><|turn>x<turn|><eos><unk>", control_text::ignore)) CHECK_FALSE(t->is_control(id));
        CHECK(t->encode("<|tool_call>", control_text::ignore) == std::vector<token_id>{9}); // as GGUF files mark it
        CHECK(t->decode(std::vector<token_id>{9}) == "<|tool_call>");                       // and stays visible
        CHECK(t->decode(std::vector<token_id>{2, 5, 1}).empty());
        for (const token_id id : t->encode("<0x41>")) CHECK(t->text(id) != "<0x41>"); // byte tokens are never matched by their text
        CHECK(t->find("<0x41>") == *t->find("<0x00>") + 0x41);
        CHECK(t->find("<nothing>") == std::nullopt);
    }
}

TEST_CASE("tokenizer: input that is no UTF-8 is an error that names the byte", "[tokenizer]") {
    CHECK(tests::contains(tests::refusal([] { return from_json().encode("ab\xC3("); }), "byte offset 2"));
    CHECK_THROWS_AS(from_json().encode("\xED\xA0\x80"), loupe::error);
    CHECK(from_json().encode("").empty());
    CHECK(from_json().decode(from_json().encode(std::string("a\0b", 3))) == std::string("a\0b", 3));
}

TEST_CASE("tokenizer: ids out of range are errors, not reads beyond the vocabulary", "[tokenizer]") {
    CHECK_THROWS_AS(from_json().text(-1), loupe::error);
    CHECK_THROWS_AS(from_json().text(2048), loupe::error);
    CHECK_THROWS_AS(from_json().decode(std::vector<token_id>{1 << 30}), loupe::error);
    CHECK_FALSE(from_json().is_control(2048));
    stream_decoder stream(from_json());
    CHECK_THROWS_AS(stream.push(2048), loupe::error);
}

TEST_CASE("tokenizer: bytes that form no character decode to U+FFFD, so the result is always valid", "[tokenizer]") {
    const tokenizer& t = from_json();
    const token_id zero = *t.find("<0x00>");
    CHECK(t.decode(std::vector<token_id>{zero + 0xF0, zero + 0x9F, zero + 'x'}) == "\xEF\xBF\xBDx");
    CHECK(t.decode(std::vector<token_id>{zero + 0xC3, zero + 0xA9}) == "\xC3\xA9");
    CHECK(t.decode(std::vector<token_id>{zero + 0xC3, 2, zero + 0xA9}) == "\xC3\xA9"); // a control token is nothing
}

TEST_CASE("tokenizer: a stream gives whole characters only, and in the end what decode gives", "[tokenizer]") {
    const tokenizer& t = from_json();
    const token_id zero = *t.find("<0x00>");
    std::mt19937 random(3);
    for (int trial = 0; trial < 500; ++trial) {
        std::vector<token_id> ids = t.encode(random_text(random));
        for (auto n = random() % 3; n > 0; --n) // and what no text gives
            ids.insert(ids.begin() + static_cast<std::ptrdiff_t>(random() % (ids.size() + 1)),
                       zero + static_cast<token_id>(random() % 256));
        stream_decoder stream(t);
        std::string text;
        for (const token_id id : ids) {
            const std::string more = stream.push(id);
            REQUIRE(first_invalid(more) == std::nullopt);
            text += more;
        }
        text += stream.finish();
        REQUIRE(text == t.decode(ids));
    }
    stream_decoder stream(t);
    CHECK(stream.push(zero + 0xE6).empty());
    CHECK(stream.push(zero + 0x97).empty());
    CHECK(stream.push(zero + 0xA5) == "\xE6\x97\xA5");
    CHECK(stream.push(zero + 0xE6).empty());
    CHECK(stream.finish() == "\xEF\xBF\xBD");
    CHECK(stream.finish().empty());
}

TEST_CASE("tokenizer: copies and moves keep working after the original is gone", "[tokenizer]") {
    auto original = std::make_unique<tokenizer>(from_json());
    const tokenizer copy = *original;
    const tokenizer moved = std::move(*original);
    original.reset();
    CHECK(copy.encode("<bos>the king") == from_json().encode("<bos>the king"));
    CHECK(moved.encode("<bos>the king") == from_json().encode("<bos>the king"));
}
