// The merge engine and the cut at special tokens against slow definitions, on random vocabularies.
#include "files.hpp"
#include "tokens.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/tokenizer.hpp>

#include <algorithm>
#include <ctime>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

using loupe::index_t;
using loupe::token_id;
using namespace loupe::io;

namespace {

std::vector<std::string> characters(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < text.size();) {
        const auto size = static_cast<std::size_t>(utf8_front(std::string_view(text).substr(i)).size);
        const std::string c = text.substr(i, size);
        out.push_back(c == " " ? tests::mark : c);
        i += size;
    }
    return out;
}

/// A symbol of the slow definitions, with its history.
struct node {
    std::string text;
    std::vector<node> from;
};

/// Merges by definition: of all neighbours that `order` allows the lowest, then the leftmost; quadratic.
std::vector<node> slow_merge(const std::string& text,
                             const std::function<std::optional<double>(const std::string&, const std::string&)>& order) {
    std::vector<node> nodes;
    for (const std::string& c : characters(text)) nodes.push_back({c, {}});
    for (;;) {
        std::optional<std::pair<double, std::size_t>> best;
        for (std::size_t i = 0; i + 1 < nodes.size(); ++i)
            if (const auto o = order(nodes[i].text, nodes[i + 1].text); o && (!best || *o < best->first)) best = {*o, i};
        if (!best) return nodes;
        node made{nodes[best->second].text + nodes[best->second + 1].text, {nodes[best->second], nodes[best->second + 1]}};
        nodes[best->second] = made;
        nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(best->second) + 1);
    }
}

/// Whether there is no tokenizer of this vocabulary, for a reason that says `part`.
bool refused(const vocabulary& v, const std::string& part) {
    return tests::contains(tests::refusal([&] { return tokenizer(v); }), part);
}

token_id add(vocabulary& v, const std::string& text, token_kind kind = token_kind::normal, float score = 0) {
    v.texts.push_back(text);
    v.kinds.push_back(kind);
    v.scores.push_back(score);
    return static_cast<token_id>(v.texts.size() - 1);
}

void add_bytes(vocabulary& v) {
    for (int b = 0; b < 256; ++b) add(v, fmt::format("<0x{:02X}>", b), token_kind::byte);
}

/// Ids of symbols by definition: a token's id, else its history, else bytes, else <unk>, neighbours of which are one.
std::vector<token_id> slow_ids(const vocabulary& v, const std::vector<node>& nodes) {
    std::map<std::string, token_id> ids;
    std::map<unsigned, token_id> bytes;
    std::optional<token_id> unknown;
    for (std::size_t i = 0; i < v.texts.size(); ++i) {
        const auto id = static_cast<token_id>(i);
        if (v.kinds[i] == token_kind::normal) ids.emplace(v.texts[i], id);
        if (v.kinds[i] == token_kind::byte) bytes.emplace(static_cast<unsigned>(std::stoi(v.texts[i].substr(3, 2), nullptr, 16)), id);
        if (v.kinds[i] == token_kind::unknown) unknown = id;
    }
    std::vector<token_id> out;
    const std::function<void(const node&)> emit = [&](const node& n) {
        if (const auto found = ids.find(n.text); found != ids.end()) {
            out.push_back(found->second);
        } else if (!n.from.empty()) {
            for (const node& f : n.from) emit(f);
        } else if (std::all_of(n.text.begin(), n.text.end(), [&](char c) { return bytes.count(static_cast<unsigned char>(c)) != 0; })) {
            for (const char c : n.text) out.push_back(bytes[static_cast<unsigned char>(c)]);
        } else if (out.empty() || out.back() != *unknown) {
            out.push_back(*unknown);
        }
    };
    for (const node& n : nodes) emit(n);
    return out;
}

std::string random_text(std::mt19937& random, const std::vector<std::string>& alphabet, unsigned most) {
    std::string out;
    for (auto n = random() % (most + 1); n > 0; --n) out += alphabet[random() % alphabet.size()];
    return out;
}

std::vector<token_id> ids_of(const std::vector<piece>& pieces) {
    std::vector<token_id> out;
    for (const piece& p : pieces) out.push_back(p.id);
    return out;
}

} // namespace

TEST_CASE("merge: by rank equals the slow definition on random merges, with newlines, missing ids and repeated merges", "[tokenizer]") {
    std::mt19937 random(11);
    for (int trial = 0; trial < 300; ++trial) {
        const bool newline = trial % 2 == 0; // pieces that mix newlines and others forbid the cut at newlines
        std::vector<std::string> alphabet = {"a", "b", " "};
        if (trial % 3 == 0) alphabet.push_back("\xC3\xA9");
        vocabulary v;
        add(v, "<unk>", token_kind::unknown);
        if (trial % 4 != 0) add_bytes(v);
        std::vector<std::string> known = {"a", tests::mark, "\xC3\xA9"}; // b has no id, but may be merged
        if (newline) known.push_back("\n");
        for (const std::string& k : known) add(v, k);
        known.push_back("b");
        std::map<std::pair<std::string, std::string>, double> ranks;
        for (int m = 0; m < 25; ++m) {
            const std::string a = known[random() % known.size()], b = known[random() % known.size()];
            v.merges.emplace_back(a, b);
            if (random() % 5 == 0 && std::find(v.texts.begin(), v.texts.end(), a + b) == v.texts.end()) continue; // a result without id
            if (std::find(v.texts.begin(), v.texts.end(), a + b) == v.texts.end()) add(v, a + b);
            known.push_back(a + b);
        }
        for (std::size_t i = 0; i < v.merges.size(); ++i)
            if (std::find(v.texts.begin(), v.texts.end(), v.merges[i].first + v.merges[i].second) != v.texts.end())
                ranks.emplace(v.merges[i], static_cast<double>(i)); // the first of equal merges counts
        const tokenizer t(v);
        const auto order = [&](const std::string& a, const std::string& b) -> std::optional<double> {
            const auto found = ranks.find({a, b});
            return found == ranks.end() ? std::nullopt : std::optional(found->second);
        };
        alphabet.push_back("\n");
        alphabet.push_back("z"); // in no piece
        for (int n = 0; n < 30; ++n) {
            const std::string text = random_text(random, alphabet, 24);
            const std::vector<piece> pieces = t.pieces(text);
            INFO(text);
            REQUIRE(ids_of(pieces) == slow_ids(v, slow_merge(text, order)));
            REQUIRE(tests::covers(pieces, text));
        }
    }
}

TEST_CASE("merge: by score equals the slow definition, ties leftmost, unused pieces undone along their history", "[tokenizer]") {
    std::mt19937 random(12);
    int undone = 0;
    for (int trial = 0; trial < 300; ++trial) {
        const std::vector<std::string> alphabet = {"a", "b", " ", "\xC3\xA9", "\n"};
        vocabulary v;
        v.by_score = true;
        add(v, "<unk>", token_kind::unknown);
        if (trial % 4 != 0) add_bytes(v);
        std::map<std::string, double> scores; // of what may be merged
        std::set<std::string> unused;
        for (int m = 0; m < 40; ++m) {
            std::string text;
            for (const std::string& c : characters(random_text(random, alphabet, 4))) text += c;
            if (text.empty() || scores.count(text) != 0) continue;
            const float score = static_cast<float>(random() % 6) - 3.0F; // many ties
            const bool is_unused = random() % 4 == 0 && characters(text).size() > 1;
            add(v, text, is_unused ? token_kind::unused : token_kind::normal, score);
            scores[text] = score;
            if (is_unused) unused.insert(text);
        }
        const tokenizer t(v);
        const auto order = [&](const std::string& a, const std::string& b) -> std::optional<double> {
            const auto found = scores.find(a + b);
            return found == scores.end() ? std::nullopt : std::optional(-found->second);
        };
        for (int n = 0; n < 30; ++n) {
            const std::string text = random_text(random, alphabet, 24);
            const std::vector<node> nodes = slow_merge(text, order);
            for (const node& k : nodes) undone += static_cast<int>(unused.count(k.text));
            const std::vector<piece> pieces = t.pieces(text);
            INFO(text);
            REQUIRE(ids_of(pieces) == slow_ids(v, nodes));
            REQUIRE(tests::covers(pieces, text));
        }
    }
    CHECK(undone > 100);
}

TEST_CASE("merge: an unused piece is undone to what it was made of, not to characters", "[tokenizer]") {
    vocabulary v;
    v.by_score = true;
    add_bytes(v);
    add(v, "a", token_kind::normal, -5);
    add(v, "b", token_kind::normal, -5);
    const token_id ab = add(v, "ab", token_kind::normal, -1);
    add(v, "abab", token_kind::unused, -2);
    const token_id longer = add(v, "ababb", token_kind::normal, -3); // reached through the unused piece
    const tokenizer t(v);
    CHECK(t.encode("abab") == std::vector<token_id>{ab, ab});
    CHECK(t.encode("ababb") == std::vector<token_id>{longer});
}

TEST_CASE("merge: a deep history is undone without recursion", "[tokenizer]") {
    vocabulary v;
    v.by_score = true;
    const token_id a = add(v, "a");
    std::string text = "a";
    for (int i = 0; i < 3000; ++i) add(v, text += 'a', token_kind::unused, static_cast<float>(i + 1)); // always grows on the left
    const tokenizer t(v);
    CHECK(t.encode(std::string(3001, 'a')) == std::vector<token_id>(3001, a));
}

TEST_CASE("tokenizer: merging never makes a control or byte token out of plain text", "[tokenizer]") {
    vocabulary v;
    add_bytes(v);
    const token_id control = add(v, "<x>", token_kind::control), less = add(v, "<"), x = add(v, "x>");
    const token_id c = add(v, "x"), greater = add(v, ">");
    v.merges = {{"x", ">"}, {"<", "x>"}, {"<", "x"}};
    const tokenizer t(v);
    CHECK(t.encode("<x>") == std::vector<token_id>{control});
    CHECK(t.encode("<x>", control_text::ignore) == std::vector<token_id>{less, x});
    CHECK(t.encode("x") == std::vector<token_id>{c});
    CHECK(t.encode(">") == std::vector<token_id>{greater});
    vocabulary s = v;
    s.by_score = true;
    CHECK(tokenizer(s).encode("<x>", control_text::ignore) == std::vector<token_id>{less, x});
}

TEST_CASE("tokenizer: special tokens are cut out longest first, by definition, where they overlap", "[tokenizer]") {
    std::mt19937 random(13);
    const std::vector<std::string> alphabet = {"a", "b", "c"};
    for (int trial = 0; trial < 400; ++trial) {
        vocabulary v;
        for (const std::string& c : alphabet) add(v, c);
        std::map<std::string, token_id> specials, user;
        for (auto n = 1 + random() % 6; n > 0; --n) {
            const std::string text = "a" + random_text(random, alphabet, 4);
            if (text.size() < 2 || specials.count(text) != 0) continue;
            const bool control = random() % 2 == 0;
            const token_id id = add(v, text, control ? token_kind::control : token_kind::user_defined);
            specials[text] = id;
            if (!control) user[text] = id;
        }
        const tokenizer t(v);
        for (int n = 0; n < 30; ++n) {
            const std::string text = random_text(random, alphabet, 20);
            for (const bool trusted : {true, false}) {
                const auto& match = trusted ? specials : user;
                std::vector<token_id> at(text.size(), -1); // ids at their first byte, −2 on the others
                for (std::size_t size = 8; size > 0; --size)
                    for (std::size_t i = 0; i + size <= text.size(); ++i) {
                        const auto found = match.find(text.substr(i, size));
                        if (found == match.end() ||
                            std::any_of(at.begin() + static_cast<std::ptrdiff_t>(i), at.begin() + static_cast<std::ptrdiff_t>(i + size),
                                        [](token_id id) { return id != -1; }))
                            continue;
                        for (std::size_t k = i; k < i + size; ++k) at[k] = -2;
                        at[i] = found->second;
                    }
                std::vector<token_id> expected;
                for (std::size_t i = 0; i < text.size(); ++i)
                    if (at[i] != -2) expected.push_back(at[i] >= 0 ? at[i] : static_cast<token_id>(text[i] - 'a'));
                INFO(text);
                REQUIRE(t.encode(text, trusted ? control_text::match : control_text::ignore) == expected);
            }
        }
    }
}

TEST_CASE("tokenizer: runs of newlines that are user-defined tokens give the longest first, quickly", "[tokenizer]") {
    vocabulary v;
    add_bytes(v);
    const token_id one = add(v, "\n", token_kind::user_defined);
    std::string run = "\n";
    for (int n = 2; n <= 31; ++n) add(v, run += '\n', token_kind::user_defined);
    const tokenizer t(v);
    CHECK(t.encode(std::string(33, '\n')) == std::vector<token_id>{one + 30, one + 1});
    CHECK(t.encode(std::string(31 * 5000, '\n')) == std::vector<token_id>(5000, one + 30));
}

TEST_CASE("tokenizer: a control token given a hundred thousand times is looked for once", "[tokenizer]") {
    vocabulary v;
    const token_id first = add(v, "<eos>", token_kind::control);
    for (int i = 0; i < 100'000; ++i) add(v, "<eos>", token_kind::control);
    const tokenizer t(v);
    CHECK(t.ends().size() == 100'001);
    std::string text;
    for (int i = 0; i < 50'000; ++i) text += "<eos>";
    const std::clock_t start = std::clock();
    CHECK(t.encode(text) == std::vector<token_id>(50'000, first));
    CHECK(std::clock() - start < CLOCKS_PER_SEC); // one by one it would be five thousand million steps
}

TEST_CASE("tokenizer: special tokens have a length that may be tried at every byte of a text", "[tokenizer]") {
    for (const token_kind kind : {token_kind::control, token_kind::unknown, token_kind::user_defined}) {
        vocabulary v;
        add(v, std::string(1024, 'a'), kind);
        CHECK_NOTHROW(tokenizer(v));
        add(v, std::string(1025, 'a'), kind);
        CHECK(refused(v, "token 1: expected a special token of at most 1024 bytes, found 1025"));
    }
}

TEST_CASE("tokenizer: texts that were chosen to share a bucket are refused, others are not", "[tokenizer]") {
    constexpr std::size_t count = 2000;
    std::unordered_map<std::string_view, token_id> like_the_tokenizers;
    like_the_tokenizers.reserve(count);
    vocabulary v;
    std::vector<std::string> alike;
    for (int i = 0; alike.size() < 101; ++i) {
        const std::string text = std::to_string(i);
        if (like_the_tokenizers.bucket(text) == 0)
            alike.push_back(text);
        else if (v.texts.size() < count - 101)
            add(v, text);
    }
    const vocabulary harmless = v;
    for (const std::string& text : alike) add(v, text);
    REQUIRE(v.texts.size() == count);
    CHECK(refused(v, "expected texts that a hash tells apart"));
    CHECK_NOTHROW(tokenizer(harmless));
}

TEST_CASE("tokenizer: merges that were chosen to share a place are refused, and are never searched for long", "[tokenizer]") {
    // The table's hash, to be hostile with. 1500 merges lie in 4096 places.
    const auto place = [](std::uint64_t left, std::uint64_t right) {
        const std::uint64_t k = left << 32 | right, h = (k ^ k >> 31) * 0x9E3779B97F4A7C15U;
        return (h ^ h >> 29) & 4095U;
    };
    constexpr token_id parts = 3000;
    constexpr std::size_t merges = 1500;
    const auto made = [&](auto&& wanted) {
        vocabulary v;
        for (token_id i = 0; i < parts; ++i) add(v, "<" + std::to_string(i));
        for (token_id a = 0; a < parts && v.merges.size() < merges; ++a)
            for (token_id b = 0; b < parts && v.merges.size() < merges; ++b)
                if (wanted(place(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)))) {
                    v.merges.emplace_back(v.texts[static_cast<std::size_t>(a)], v.texts[static_cast<std::size_t>(b)]);
                    add(v, v.merges.back().first + v.merges.back().second);
                }
        REQUIRE(v.merges.size() == merges);
        return v;
    };
    CHECK(refused(made([](std::uint64_t at) { return at == 17; }), "merge 1001: expected pairs that a hash tells apart"));
    CHECK_NOTHROW(tokenizer(made([](std::uint64_t) { return true; })));
}

TEST_CASE("tokenizer: equal texts: the ordinary piece counts in merges, and is not cut out as user-defined", "[tokenizer]") {
    vocabulary v;
    const token_id user = add(v, "#", token_kind::user_defined), plain = add(v, "#"), two = add(v, "##"), again = add(v, "##");
    v.merges = {{"#", "#"}};
    const tokenizer t(v);
    CHECK(t.encode("###") == std::vector<token_id>{two, plain});
    CHECK(t.decode(std::vector<token_id>{user, again}) == "###");
}

TEST_CASE("tokenizer: without byte tokens a character is <unk>; without that it is an error with its place", "[tokenizer]") {
    vocabulary v;
    const token_id a = add(v, "a"), newline = add(v, "\n");
    CHECK_THROWS_AS(tokenizer(v).encode("az"), loupe::error);
    const token_id unknown = add(v, "<unk>", token_kind::unknown);
    CHECK(tokenizer(v).pieces("a\xC3\xA9za\n \n") ==
          std::vector<piece>{{a, 0, 1}, {unknown, 1, 4}, {a, 4, 5}, {newline, 5, 6}, {unknown, 6, 7}, {newline, 7, 8}});
    for (const std::string byte : {"<0xC3>", "<0x7A>"}) add(v, byte, token_kind::byte); // half of é, and z
    const std::vector<piece> pieces = tokenizer(v).pieces("z\xC3\xA9");
    REQUIRE(pieces.size() == 2);
    CHECK(tokenizer(v).text(pieces[0].id) == "<0x7A>");
    CHECK(pieces[1] == piece{unknown, 1, 3});
}

TEST_CASE("tokenizer: a space without a piece becomes the bytes of U+2581, and its place stays one byte", "[tokenizer]") {
    vocabulary v;
    add_bytes(v);
    CHECK(tokenizer(v).pieces("a b") == std::vector<piece>{{'a', 0, 1}, {0xE2, 1, 2}, {0x96, 2, 2}, {0x81, 2, 2}, {'b', 2, 3}});
}

TEST_CASE("tokenizer: a space prefix, if a file wants one, has an empty place", "[tokenizer]") {
    vocabulary v;
    v.by_score = v.space_prefix = true;
    add_bytes(v);
    const token_id a = add(v, tests::mark + "a", token_kind::normal, 1);
    add(v, "a");
    const token_id space = add(v, tests::mark);
    CHECK(tokenizer(v).pieces("a a") == std::vector<piece>{{a, 0, 1}, {a, 1, 3}});
    CHECK(tokenizer(v).pieces(" a") == std::vector<piece>{{space, 0, 0}, {a, 0, 2}});
}

TEST_CASE("tokenizer: ends of generation by text and by id; </s> is none where <eos> exists, whatever the file says", "[tokenizer]") {
    vocabulary v;
    const token_id old = add(v, "</s>"), a = add(v, "a");
    v.ends = {old};
    CHECK(tokenizer(v).ends() == std::vector<token_id>{old});
    const token_id eos = add(v, "<eos>"); // of normal type, as some files have it
    const token_id turn = add(v, "<turn|>", token_kind::control), response = add(v, "<|tool_response>", token_kind::user_defined);
    const token_id gemma3 = add(v, "<end_of_turn>"); // ordinary text
    const tokenizer t(v);
    CHECK(t.ends() == std::vector<token_id>{eos, turn, response});
    CHECK_FALSE(t.ends_generation(old));
    CHECK_FALSE(t.ends_generation(gemma3));
    CHECK(t.is_control(eos));
    v.ends.push_back(a);
    CHECK(tokenizer(v).ends_generation(a));
    CHECK_THROWS_AS(t.bos(), loupe::error);
    const token_id bos = add(v, "<bos>");
    CHECK(tokenizer(v).bos() == bos);
    v.bos = a; // what the file says goes first
    CHECK(tokenizer(v).bos() == a);
}

TEST_CASE("tokenizer: an empty token text is never matched and never merged", "[tokenizer]") {
    vocabulary v;
    add(v, "", token_kind::control);
    add(v, "", token_kind::user_defined);
    add(v, "");
    const token_id a = add(v, "a");
    v.merges = {{"", "a"}, {"a", ""}, {"", ""}};
    const tokenizer t(v);
    CHECK(t.encode("aa") == std::vector<token_id>{a, a});
    CHECK(t.find("") == std::nullopt);
}
