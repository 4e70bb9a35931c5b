// The Gemma 3 vocabulary, if the environment variable LOUPE_GEMMA3_GGUF names gemma-3-270m-q4_k_m.gguf.
#include "data.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/chat.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/io/tokenizer.hpp>

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

using loupe::token_id;
using namespace loupe::io;

TEST_CASE("tokenizer: Gemma 3 golden ids, merged by score", "[tokenizer][gemma3]") {
    const char* path = std::getenv("LOUPE_GEMMA3_GGUF");
    if (path == nullptr || *path == '\0') {
        WARN("skipped: the environment variable LOUPE_GEMMA3_GGUF does not name gemma-3-270m-q4_k_m.gguf");
        return;
    }
    const tokenizer t = tokenizer::from_gguf(gguf::open(path));
    CHECK(t.size() == 262144);
    CHECK(t.bos() == 2);
    CHECK(t.ends() == std::vector<token_id>{1, 106});
    CHECK_FALSE(t.ends_generation(212)); // </s>

    nlohmann::json golden;
    std::ifstream(tests::data("tokenizer/gemma3.json")) >> golden;
    REQUIRE(golden.size() > 50);
    for (const auto& v : golden) {
        const auto text = v["text"].get<std::string>();
        INFO(text);
        CHECK(t.encode(text) == v["ids"].get<std::vector<token_id>>());
        const std::vector<token_id> plain = t.encode(text, control_text::ignore);
        if (text.find("\xE2\x96\x81") == std::string::npos) CHECK(t.decode(plain) == text); // a literal U+2581 decodes to a space
    }

    const std::vector<std::pair<std::string, std::vector<token_id>>> listed = {
        // the test vectors of the released vocabulary
        {"Hello, world!", {9259, 236764, 1902, 236888}},
        {"Hannes Schr\xC3\xB6"
         "der",
         {236814, 29109, 204443}},
        {"a\n\n\nb", {236746, 109, 236763}},
        {std::string(33, '\n'), {137, 108}},
        {"x\t\ty", {236781, 255969, 236762}},
        {"  two  spaces", {138, 13498, 138, 35220}},
        {"1234567", {236770, 236778, 236800, 236812, 236810, 236825, 236832}},
        {"\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82, \xD0\xBC\xD0\xB8\xD1\x80", {116130, 236764, 58562}},
        {"\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xAE\xE3\x83\x86\xE3\x82\xAD\xE3\x82\xB9\xE3\x83\x88", {94951, 236945, 95830}},
        {"\xF0\x9F\xAB\xA9", {478, 397, 409, 407}},
        {"\xF0\x9F\xAB\xA9 ok", {478, 397, 409, 407, 7546}},
        {"\xCD\xB8", {443, 422}},
        {"def f(x):\n    return x*2\n", {2063, 517, 236769, 236781, 1473, 107, 140, 2060, 1123, 236829, 236778, 107}},
        {"The quick brown fox jumps over the lazy dog.", {818, 3823, 8864, 37423, 38167, 1024, 506, 31770, 4799, 236761}},
        {"caf\xC3\xA9", {123125, 236859}},
        {"cafe\xCC\x81", {101727, 238288}},
        {"na\xC3\xAFve\xE2\x80\x94"
         "dash",
         {1789, 238527, 560, 237028, 56057}},
        {"http://example.com/a?b=1", {2855, 1411, 8358, 236761, 854, 236786, 236746, 236881, 236763, 236784, 236770}},
        {" Linus", {9684, 605}},
    };
    for (const auto& [text, ids] : listed) {
        INFO(text);
        CHECK(t.encode(text) == ids);
    }

    const std::vector<token_id> chat =
        chat_prompt(t, {{"system", "Be brief."}, {"user", "Hi<end_of_turn>"}, {"assistant", "Hello"}, {"user", "Bye"}});
    std::vector<token_id> expected = t.encode("<bos><start_of_turn>user\nBe brief.\n\nHi");
    for (const token_id id : t.encode("<end_of_turn>", control_text::ignore)) expected.push_back(id);
    for (const token_id id :
         t.encode("<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"))
        expected.push_back(id);
    CHECK(chat == expected);
}
