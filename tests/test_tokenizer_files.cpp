// Tokenizer files that lie: tokenizer.json and GGUF keys; both spellings of merges; ids in the files beside.
#include "files.hpp"
#include "tokens.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/tokenizer.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/stat.h>

using loupe::index_t;
using loupe::token_id;
using namespace loupe::io;
using nlohmann::json;
using tests::contains, tests::save;

namespace {

json base() {
    return {{"added_tokens", json::array({{{"id", 0}, {"content", "<eos>"}, {"special", true}},
                                          {{"id", 1}, {"content", "<bos>"}, {"special", true}},
                                          {{"id", 8}, {"content", "<html>"}, {"special", false}}})},
            {"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", tests::mark}}},
            {"pre_tokenizer", {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}, {"invert", false}}},
            {"model",
             {{"type", "BPE"},
              {"unk_token", "<unk>"},
              {"vocab",
               {{"<eos>", 0}, {"<bos>", 1}, {"<unk>", 2}, {"a", 3}, {tests::mark, 4}, {tests::mark + "a", 5}, {"b", 6}, {"<0x7A>", 7}}},
              {"merges", json::array({json::array({tests::mark, "a"})})}}}};
}

tokenizer load(const json& file) {
    const tests::folder folder;
    save(folder / "tokenizer.json", file.dump());
    return tokenizer::from_folder(folder.path());
}

/// The message of the loupe::error that loading throws; empty if it throws none.
std::string failure(const json& file) {
    return tests::refusal([&] { return load(file); });
}

std::string failure_of_text(const std::string& text) {
    const tests::folder folder;
    save(folder / "tokenizer.json", text);
    return tests::refusal([&] { return tokenizer::from_folder(folder.path()); });
}

/// Answers as gguf does.
struct keys {
    std::map<std::string, index_t, std::less<>> ints;
    std::map<std::string, bool, std::less<>> bools;
    std::map<std::string, std::string, std::less<>> strings;
    std::map<std::string, std::vector<std::string>, std::less<>> lists;
    std::map<std::string, std::vector<float>, std::less<>> floats;
    std::map<std::string, std::vector<index_t>, std::less<>> int_lists;

    template <class Map>
    static auto copy(const Map& map, std::string_view key) -> std::optional<typename Map::mapped_type> {
        const auto found = map.find(key);
        return found == map.end() ? std::nullopt : std::optional(found->second);
    }
    template <class Map>
    static auto pointer(const Map& map, std::string_view key) -> const typename Map::mapped_type* {
        const auto found = map.find(key);
        return found == map.end() ? nullptr : &found->second;
    }
    std::optional<index_t> integer(std::string_view key) const { return copy(ints, key); }
    std::optional<bool> boolean(std::string_view key) const { return copy(bools, key); }
    const std::string* text(std::string_view key) const { return pointer(strings, key); }
    const std::vector<std::string>* texts(std::string_view key) const { return pointer(lists, key); }
    std::optional<std::vector<float>> numbers(std::string_view key) const { return copy(floats, key); }
    std::optional<std::vector<index_t>> integers(std::string_view key) const { return copy(int_lists, key); }
    bool contains(std::string_view key) const {
        return ints.count(key) + bools.count(key) + strings.count(key) + lists.count(key) + floats.count(key) + int_lists.count(key) != 0;
    }
};

keys base_keys() {
    keys k;
    k.strings["tokenizer.ggml.model"] = "gemma4";
    k.lists["tokenizer.ggml.tokens"] = {"<eos>", "<bos>", "a", tests::mark, tests::mark + "a", "<0x7A>"};
    k.int_lists["tokenizer.ggml.token_type"] = {3, 3, 1, 1, 1, 6};
    k.lists["tokenizer.ggml.merges"] = {tests::mark + " a"};
    return k;
}

std::string failure(const keys& k) {
    return tests::refusal([&] { return tokenizer(detail::read_gguf_vocabulary(k, "test.gguf")); });
}

} // namespace

TEST_CASE("tokenizer.json: both spellings of merges, and added tokens that are not special are matched in any text", "[tokenizer]") {
    json file = base();
    const tokenizer pairs = load(file);
    CHECK(pairs.encode(" ab") == std::vector<token_id>{5, 6});
    CHECK(pairs.encode("a<html>", control_text::ignore) == std::vector<token_id>{3, 8});
    CHECK(pairs.decode(std::vector<token_id>{1, 3, 8}) == "a<html>");
    CHECK(pairs.is_control(2));
    file["model"]["merges"] = json::array({tests::mark + " a"});
    CHECK(load(file).encode(" ab") == std::vector<token_id>{5, 6});
    file["model"]["vocab"]["  "] = 9; // a piece that begins with a space: the split is at the first space behind index 0
    file["model"]["vocab"][" "] = 10;
    file["model"]["merges"] = json::array({tests::mark + " a", "   "});
    CHECK(load(file).encode(" ab") == std::vector<token_id>{5, 6});
    CHECK(load(file).size() == 11);
}

// Text-only Gemma 3: <image_soft_token> has the id behind the embedding's last row.
TEST_CASE("tokenizer.json: added tokens beyond the embedding are left out, ordinary ones are an error", "[tokenizer]") {
    const tests::folder folder;
    save(folder / "tokenizer.json", base().dump());
    save(folder / "generation_config.json", R"({"suppress_tokens": [2, 8]})");
    CHECK(tokenizer::from_folder(folder.path(), 9).size() == 9);
    const tokenizer fewer = tokenizer::from_folder(folder.path(), 8);
    CHECK(fewer.size() == 8);
    CHECK_FALSE(fewer.find("<html>").has_value());
    CHECK(fewer.encode("<html>") == std::vector<token_id>{2}); // text like any other, none of which is known here
    CHECK(fewer.suppressed() == std::vector<token_id>{2});
    CHECK(contains(tests::refusal([&] { return tokenizer::from_folder(folder.path(), 7); }), "at most 7 tokens"));
    keys k = base_keys();
    k.strings["tokenizer.ggml.model"] = "llama";
    k.floats["tokenizer.ggml.scores"] = {0, 0, -2, -1, -3, 0};
    k.int_lists["tokenizer.ggml.token_type"].back() = 3;
    vocabulary v = detail::read_gguf_vocabulary(k, "test.gguf");
    detail::leave_out_beyond(v, 5);
    CHECK(tokenizer(v).size() == 5);
    k.floats["tokenizer.ggml.scores"].pop_back(); // fewer than tokens: not made up, refused
    v = detail::read_gguf_vocabulary(k, "test.gguf");
    detail::leave_out_beyond(v, 5);
    CHECK(contains(tests::refusal([&] { return tokenizer(v); }), "scores"));
}

TEST_CASE("tokenizer: a special token that is no whole characters is refused, since it would cut one", "[tokenizer]") {
    keys k = base_keys();
    for (const char* text : {"\xC3", "\xA9", "a\xC3"}) {
        k.lists["tokenizer.ggml.tokens"][5] = text;
        for (const index_t kind : {2, 3, 4}) {
            k.int_lists["tokenizer.ggml.token_type"][5] = kind;
            CHECK(contains(failure(k), "token 5: expected a special token that is valid UTF-8"));
        }
    }
}

TEST_CASE("tokenizer: whether answers begin with an empty thought stands in the chat template", "[tokenizer]") {
    const std::string with = R"({{- '<|channel>thought\n<channel|>' -}})", without = R"({{- '<|channel>thought\n' + text -}})";
    const tests::folder folder;
    save(folder / "tokenizer.json", base().dump());
    const auto has = [&] { return tokenizer::from_folder(folder.path()).empty_thought(); };
    CHECK_FALSE(has());
    save(folder / "chat_template.jinja", without);
    CHECK_FALSE(has());
    save(folder / "chat_template.jinja", with);
    CHECK(has());
    std::filesystem::remove(folder / "chat_template.jinja");
    save(folder / "tokenizer_config.json", json{{"chat_template", with}}.dump());
    CHECK(has());
    save(folder / "tokenizer_config.json", json{{"chat_template", without}}.dump());
    CHECK_FALSE(has());
    save(folder / "chat_template.jinja", ""); // says nothing
    CHECK_FALSE(has());
    save(folder / "chat_template.jinja", with); // goes first
    CHECK(has());
    keys k = base_keys();
    CHECK_FALSE(detail::read_gguf_vocabulary(k, "test.gguf").empty_thought);
    k.strings["tokenizer.chat_template"] = with;
    CHECK(detail::read_gguf_vocabulary(k, "test.gguf").empty_thought);
}

TEST_CASE("tokenizer.json: ids of bos and eos from the files beside it", "[tokenizer]") {
    const tests::folder folder;
    save(folder / "tokenizer.json", base().dump());
    CHECK(tokenizer::from_folder(folder.path()).ends() == std::vector<token_id>{0});
    save(folder / "config.json", R"({"eos_token_id": 3, "text_config": {"bos_token_id": 6, "eos_token_id": [4]}})");
    CHECK(tokenizer::from_folder(folder.path()).ends() == std::vector<token_id>{0, 3, 4});
    CHECK(tokenizer::from_folder(folder.path()).bos() == 6);
    save(folder / "generation_config.json", R"({"bos_token_id": 5, "eos_token_id": [0, 8], "suppress_tokens": [2]})");
    CHECK(tokenizer::from_folder(folder.path()).ends() == std::vector<token_id>{0, 3, 4, 8});
    CHECK(tokenizer::from_folder(folder.path()).bos() == 5);
    CHECK(tokenizer::from_folder(folder.path()).suppressed() == std::vector<token_id>{2});
    save(folder / "tokenizer_config.json", R"({"bos_token": {"content": "<bos>"}, "eos_token": "b"})");
    CHECK(tokenizer::from_folder(folder.path()).bos() == 1);
    CHECK(tokenizer::from_folder(folder.path()).ends_generation(6));
    for (const char* bad : {R"({"eos_token_id": 9})", R"({"eos_token_id": -1})", R"({"eos_token_id": "x"})", R"({"eos_token_id": [[1]]})",
                            R"({"suppress_tokens": [99]})", "[]", "{", ""}) {
        save(folder / "generation_config.json", bad);
        INFO(bad);
        CHECK_THROWS_AS(tokenizer::from_folder(folder.path()), loupe::error);
    }
}

TEST_CASE("tokenizer.json: the error says what is wrong and where", "[tokenizer]") {
    REQUIRE(failure(base()).empty());
    const auto with = [](const char* pointer, const json& value) {
        json file = base();
        file[json::json_pointer(pointer)] = value;
        return failure(file);
    };
    CHECK(contains(with("/model/vocab/a", -3), "-3"));
    CHECK(contains(with("/model/vocab/a", 4), "each id once"));
    CHECK(contains(with("/model/vocab/a", "3"), "found string"));
    CHECK(contains(with("/model/vocab/a", 3.5), "found number"));
    CHECK(contains(with("/model/vocab/a", nullptr), "found null"));
    CHECK(contains(with("/model/vocab/a", 2000000000), "2000000000")); // must not allocate by it
    CHECK(contains(with("/model/vocab/a", std::numeric_limits<std::uint64_t>::max()), "18446744073709551615"));
    CHECK(contains(with("/model/vocab/a", std::numeric_limits<std::int64_t>::min()), "-9223372036854775808"));
    CHECK(contains(with("/model/vocab", json::array({"a", "b"})), "model.vocab"));
    CHECK(contains(with("/model/vocab", json::object()), "is not in the vocabulary"));
    CHECK(contains(with("/model/merges", nullptr), "model.merges"));
    CHECK(contains(with("/model/merges/0", "nospace"), "merge 0"));
    CHECK(contains(with("/model/merges/0", ""), "merge 0"));
    CHECK(contains(with("/model/merges/0", "a "), "merge 0"));
    CHECK(contains(with("/model/merges/0", json::array({"a"})), "merges[0]"));
    CHECK(contains(with("/model/merges/0", json::array({"a", 1})), "merges[0]"));
    CHECK(contains(with("/model/merges/0", 7), "merges[0]"));
    CHECK(contains(with("/model/type", "Unigram"), "Unigram"));
    CHECK(contains(with("/model/unk_token", "<none>"), "<none>"));
    CHECK(contains(with("/model/unk_token", 4), "unk_token"));
    CHECK(contains(with("/model/ignore_merges", true), "ignore_merges"));
    CHECK(contains(with("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix"));
    CHECK(contains(with("/normalizer", nullptr), "normalizer"));
    CHECK(contains(with("/normalizer/content", "_"), "normalizer"));
    CHECK(contains(with("/normalizer", {{"type", "NFKC"}}), "normalizer"));
    CHECK(contains(with("/pre_tokenizer", {{"type", "ByteLevel"}}), "pre_tokenizer"));
    CHECK(contains(with("/pre_tokenizer", 5), "pre_tokenizer"));
    CHECK(contains(with("/added_tokens", 5), "added_tokens"));
    CHECK(contains(with("/added_tokens/0", 5), "added_tokens[0]"));
    CHECK(contains(with("/added_tokens/0/content", 5), "added_tokens[0]"));
    CHECK(contains(with("/added_tokens/0/id", 3), "contradicts"));        // the id of a
    CHECK(contains(with("/added_tokens/2/content", "a"), "contradicts")); // a at another id
    CHECK(contains(with("/added_tokens/2/id", 1), "once"));
    CHECK(contains(with("/added_tokens/2/id", 1 << 30), "added_tokens[2]"));
    CHECK(contains(with("/added_tokens/2/lstrip", true), "lstrip"));
    CHECK(contains(with("/model", 5), "vocab"));
    CHECK(contains(failure(json(5)), "model"));
    CHECK(contains(failure(json::array()), "model"));
    CHECK_FALSE(with("/model", nullptr).empty());
}

TEST_CASE("tokenizer.json: any member replaced by anything loads, or is a loupe::error", "[tokenizer]") {
    std::vector<json::json_pointer> places;
    const json flat = base().flatten();
    for (const auto& [pointer, value] : flat.items()) // every member, and all that it lies in
        for (json::json_pointer p(pointer); !p.empty(); p = p.parent_pointer()) places.push_back(p);
    const std::vector<json> values = {
        nullptr, true, -1, 3, 1.5, std::int64_t{1} << 40, "", "x", "<0x7A>", json::array(), json::object(), json::array({1, "a"})};
    int loaded = 0, refused = 0;
    for (const json::json_pointer& place : places)
        for (const json& value : values) {
            json file = base();
            file[place] = value;
            INFO(place.to_string() << " = " << value.dump());
            try {
                const tokenizer t(detail::read_json_vocabulary(file, "test"));
                t.encode("<bos> ab<html>");
                ++loaded;
            } catch (const loupe::error&) {
                ++refused;
            }
        }
    CHECK(loaded > 50);
    CHECK(refused > 200);
}

TEST_CASE("tokenizer.json: harmless differences load", "[tokenizer]") {
    json file = base();
    file["pre_tokenizer"] = nullptr;
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array({base()["normalizer"]})}};
    file["model"].erase("type");
    file["model"]["end_of_word_suffix"] = "";
    file["model"]["merges"].push_back(json::array({"a", "nothing"})); // no id: skipped
    file["added_tokens"][2]["id"] = 20;                               // ids may have gaps, as in Gemma 3n
    const tokenizer t = load(file);
    CHECK(t.size() == 21);
    CHECK(t.encode(" a<html>") == std::vector<token_id>{5, 20});
    CHECK(t.decode(std::vector<token_id>{12}).empty());
}

TEST_CASE("tokenizer.json: broken, deep and binary JSON are errors, not crashes", "[tokenizer]") {
    CHECK_FALSE(failure_of_text("").empty());
    CHECK_FALSE(failure_of_text("{\"model\":").empty());
    CHECK_FALSE(failure_of_text("{\"model\": \"\xFF\"}").empty());
    CHECK_FALSE(failure_of_text("nul").empty());
    CHECK(contains(failure_of_text(std::string(5000000, '[')), "nested"));
    CHECK(contains(failure_of_text("{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}"), "nested"));
    CHECK(
        contains(failure_of_text("{\"a\":" + std::string(63, '[') + std::string(63, ']') + "}"), "member model")); // deep enough to be read
    CHECK(contains(failure_of_text("{\"a\": \"\\\"[[[" + std::string(100, '[') + "\"}"), "member model")); // brackets in texts do not count
    const tests::folder folder;
    CHECK_THROWS_AS(tokenizer::from_folder(folder.path()), loupe::error);
    CHECK_THROWS_AS(tokenizer::from_folder(folder / "nothing"), loupe::error);
    save(folder / "tokenizer.json", "x");
    CHECK_THROWS_AS(tokenizer::from_folder(folder / "tokenizer.json"), loupe::error);
}

TEST_CASE("tokenizer.json and the files beside it: a folder or a pipe in their place is an error", "[tokenizer]") {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
        INFO(name);
        const tests::folder folder;
        save(folder / "tokenizer.json", base().dump());
        std::filesystem::remove(folder / name);
        std::filesystem::create_directory(folder / name);
        CHECK_THROWS_AS(tokenizer::from_folder(folder.path()), loupe::error);
        std::filesystem::remove(folder / name);
        REQUIRE(::mkfifo((folder / name).c_str(), 0600) == 0);
        CHECK_THROWS_AS(tokenizer::from_folder(folder.path()), loupe::error);
    }
}

TEST_CASE("GGUF keys: the vocabulary of either model", "[tokenizer]") {
    keys k = base_keys();
    const tokenizer ranks(detail::read_gguf_vocabulary(k, "test.gguf"));
    CHECK(ranks.encode("<bos> az") == std::vector<token_id>{1, 4, 5});
    CHECK(ranks.bos() == 1);
    k.strings["tokenizer.ggml.model"] = "llama";
    k.floats["tokenizer.ggml.scores"] = {0, 0, -2, -1, -3, 0};
    k.ints["tokenizer.ggml.eot_token_id"] = 2;
    k.ints["tokenizer.ggml.eos_token_id"] = 0xFFFFFFFF; // "none"
    k.int_lists["tokenizer.ggml.suppress_tokens"] = {3};
    const tokenizer scores(detail::read_gguf_vocabulary(k, "test.gguf"));
    CHECK(scores.encode("<bos> az") == std::vector<token_id>{1, 4, 5});
    CHECK(scores.ends() == std::vector<token_id>{0, 2});
    CHECK(scores.suppressed() == std::vector<token_id>{3});
    k.int_lists.erase("tokenizer.ggml.token_type"); // then the texts must do
    const tokenizer untyped(detail::read_gguf_vocabulary(k, "test.gguf"));
    CHECK(untyped.encode("<bos> az") == std::vector<token_id>{1, 4, 5});
}

TEST_CASE("GGUF keys: what does not agree is an error", "[tokenizer]") {
    REQUIRE(failure(base_keys()).empty());
    const auto with = [](auto change) {
        keys k = base_keys();
        change(k);
        return failure(k);
    };
    const std::string t = "tokenizer.ggml.";
    CHECK(contains(with([&](keys& k) { k.strings.clear(); }), "tokenizer.ggml.model"));
    CHECK(contains(with([&](keys& k) { k.strings[t + "model"] = "gpt2"; }), "gpt2"));
    CHECK(contains(with([&](keys& k) { k.lists.erase(t + "tokens"); }), "tokenizer.ggml.tokens"));
    CHECK(contains(with([&](keys& k) { k.lists[t + "tokens"].clear(); }), "no tokens"));
    CHECK(contains(with([&](keys& k) { k.lists[t + "tokens"].pop_back(); }), "token types"));
    CHECK(contains(with([&](keys& k) { k.int_lists[t + "token_type"].push_back(1); }), "token types"));
    CHECK(contains(with([&](keys& k) { k.int_lists[t + "token_type"][2] = 7; }), "found 7"));
    CHECK(contains(with([&](keys& k) { k.int_lists[t + "token_type"][2] = -1; }), "found -1"));
    CHECK(contains(with([&](keys& k) { k.int_lists[t + "token_type"][2] = 6; }), "<0xHH>"));
    CHECK(contains(with([&](keys& k) {
                       k.int_lists.erase(t + "token_type");
                       k.strings[t + "token_type"] = "x";
                   }),
                   "array of integers"));
    CHECK(contains(with([&](keys& k) { k.lists.erase(t + "merges"); }), "merges"));
    CHECK(contains(with([&](keys& k) { k.lists[t + "merges"] = {tests::mark + "a"}; }), "merge 0"));
    CHECK(contains(with([&](keys& k) { k.strings[t + "model"] = "llama"; }), "scores"));
    CHECK(contains(with([&](keys& k) {
                       k.strings[t + "model"] = "llama";
                       k.floats[t + "scores"] = {1, 2};
                   }),
                   "6 scores"));
    CHECK(contains(with([&](keys& k) {
                       k.strings[t + "model"] = "llama";
                       k.floats[t + "scores"] = std::vector<float>(6, std::numeric_limits<float>::quiet_NaN());
                   }),
                   "NaN"));
    for (const char* name : {"bos_token_id", "eos_token_id", "eot_token_id", "unknown_token_id"}) {
        CHECK(contains(with([&](keys& k) { k.ints[t + name] = 6; }), name));
        CHECK(contains(with([&](keys& k) { k.ints[t + name] = index_t{1} << 40; }), name)); // not cut to 32 bits
        CHECK(contains(with([&](keys& k) { k.ints[t + name] = -2; }), name));
        CHECK(contains(with([&](keys& k) { k.strings[t + name] = "2"; }), name));
    }
    CHECK(contains(with([&](keys& k) { k.int_lists[t + "suppress_tokens"] = {-1}; }), "suppress_tokens"));
    CHECK(failure([&] {
              keys k = base_keys();
              k.lists[t + "tokens"][2] = "\xFF\xC3"; // no UTF-8: never met, never merged
              return k;
          }())
              .empty());
}
