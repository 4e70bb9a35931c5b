// Task files: what is read, and that every mistake names its file and line.
#include "data.hpp"
#include "files.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/lab/progress.hpp>
#include <loupe/lab/tasks.hpp>

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace loupe;
using namespace loupe::lab;
using tests::contains;

namespace {

const std::string good = R"({"kind": "sums", "text": "One and one. Answer: two.", "spans": [[21, 25]]})";

/// The message of the error that reading `content` ends with; empty if there is none.
std::string message_of(const std::string& content) {
    const tests::folder folder;
    const auto file = folder / "tasks.jsonl";
    tests::save(file, content);
    const std::string what = tests::refusal([&] { return read_tasks(file); });
    if (what.empty()) return what;
    CHECK(what.find(file.string()) == 0);
    return what.substr(file.string().size());
}

using ranges = std::vector<std::pair<index_t, index_t>>;

} // namespace

TEST_CASE("tasks are read line by line", "[tasks]") {
    const tests::folder folder;
    const auto file = folder / "tasks.jsonl";
    tests::save(file, good + "\n\n  \r\n" + R"({"kind":"place","text":"é is\u0020here","spans":[[0,2],[6,10]],"id":7})" + "\r\n");
    const std::vector<task> tasks = read_tasks(file);
    REQUIRE(tasks.size() == 2);
    CHECK(tasks[0].kind == "sums");
    CHECK(tasks[0].text.substr(21, 4) == "two.");
    CHECK(tasks[0].spans == ranges{{21, 25}});
    CHECK(tasks[0].where == file.string() + ":1");
    CHECK(tasks[1].text == "\xC3\xA9 is here");
    CHECK(tasks[1].spans == ranges{{0, 2}, {6, 10}});
    CHECK(tasks[1].where == file.string() + ":4");
}

TEST_CASE("mistakes in task files name the line", "[tasks]") {
    const auto second = [](const std::string& line) { return message_of(good + "\n" + line + "\n"); };
    CHECK(contains(second("{\"kind\": "), ":2: not valid JSON"));
    CHECK(contains(second("[1, 2]"), ":2: a JSON object was expected"));
    CHECK(contains(second(good + good), ":2: not valid JSON"));
    CHECK(contains(second(R"({"text": "ab", "spans": [[0, 1]]})"), ":2: the field \"kind\" is missing"));
    CHECK(contains(second(R"({"kind": "k", "spans": [[0, 1]]})"), ":2: the field \"text\" is missing"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab"})"), ":2: the field \"spans\" is missing"));
    CHECK(contains(second(R"({"kind": 3, "text": "ab", "spans": [[0, 1]]})"), ":2: \"kind\" must be a string, it is: number"));
    CHECK(contains(second(R"({"kind": "", "text": "ab", "spans": [[0, 1]]})"), ":2: \"kind\" is empty"));
    CHECK(contains(second(R"({"kind": "k", "text": null, "spans": [[0, 1]]})"), ":2: \"text\" must be a string"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": {}})"), ":2: \"spans\" must be an array"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": []})"), ":2: \"spans\" is empty"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": [0, 1]})"), ":2: span 0 must be [begin, end]"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": [[0, 1, 2]]})"), ":2: span 0 must be [begin, end]"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": [[0.5, 1]]})"), "offsets must be integers"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": [["0", 1]]})"), "offsets must be integers"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": [[0, 3]]})"), "offset 3 is outside of the text's 2 bytes"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": [[-1, 1]]})"), "offset -1 is outside"));
    CHECK(
        contains(second(R"({"kind": "k", "text": "ab", "spans": [[0, 18446744073709551615]]})"), "offset 18446744073709551615 is outside"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": [[1, 1]]})"), ":2: span 0 [1, 1) is empty"));
    CHECK(contains(second(R"({"kind": "k", "text": "abc", "spans": [[2, 1]]})"), ":2: span 0 [2, 1) is empty"));
    CHECK(contains(second(R"({"kind": "k", "text": "abcd", "spans": [[0, 2], [1, 3]]})"), ":2: span 1 [1, 3) begins before the end"));
    CHECK(contains(second(R"({"kind": "k", "text": "abcd", "spans": [[2, 3], [0, 1]]})"), ":2: span 1 [0, 1) begins before the end"));
    CHECK(contains(second("{\"kind\": \"k\", \"text\": \"\xC3\xA9t\xC3\xA9\", \"spans\": [[1, 3]]}"), "offset 1 is inside a character"));
    CHECK(contains(second("{\"kind\": \"k\", \"text\": \"a\xFF\", \"spans\": [[0, 1]]}"), ":2: not valid JSON"));
    CHECK(contains(second(R"({"kind": "k", "text": "ab", "spans": )" + std::string(100000, '[')), ":2: JSON nested deeper"));
    // brackets in a string are text
    CHECK(message_of(R"({"kind": "k", "text": "[[[[[[[[[[[[[[[[[[[[\"{{{{", "spans": [[0, 1]]})").empty());
}

TEST_CASE("task files that are not there or hold nothing", "[tasks]") {
    CHECK(contains(message_of(""), ": holds no task"));
    CHECK(contains(message_of("\n \r\n\t\n"), ": holds no task"));
    CHECK_THROWS_AS(read_tasks("/nowhere/at/all.jsonl"), error);
    CHECK_THROWS_AS(read_tasks(std::filesystem::temp_directory_path()), error);
}

TEST_CASE("tokens are given to the spans they lie in", "[tasks]") {
    //                 0123456789
    const task t{"k", "a: two. b", {{3, 7}}, "file:1"};
    // BOS has no bytes; " two" carries the space before the answer
    CHECK(span_of_tokens(t, ranges{{0, 0}, {0, 2}, {2, 6}, {6, 7}, {7, 9}}) == std::vector<index_t>{-1, -1, 0, 0, -1});
    // a space on its own before the answer is part of the rule as well
    CHECK(span_of_tokens(t, ranges{{0, 2}, {2, 3}, {3, 7}, {7, 9}}) == std::vector<index_t>{-1, 0, 0, -1});
    // a token that reaches in from too far or out at the end does not count
    CHECK(span_of_tokens(t, ranges{{1, 4}, {4, 6}, {6, 9}}) == std::vector<index_t>{-1, 0, -1});

    const task start{"k", "two. five.", {{0, 4}, {5, 10}}, "file:2"};
    CHECK(span_of_tokens(start, ranges{{-1, -1}, {0, 3}, {3, 4}, {4, 9}, {9, 10}}) == std::vector<index_t>{-1, 0, 0, 1, 1});
    const task adjacent{"k", "abcd", {{0, 2}, {2, 4}}, "file:3"};
    CHECK(span_of_tokens(adjacent, ranges{{0, 1}, {1, 2}, {2, 4}}) == std::vector<index_t>{0, 0, 1});

    const std::string message = tests::refusal([&] { return span_of_tokens(start, ranges{{0, 4}, {4, 11}}); });
    CHECK(contains(message, "file:2: no token lies within span 1 [5, 10)"));
    CHECK_THROWS_AS(span_of_tokens(t, {}), error);
}

TEST_CASE("many tokens and many spans meet in n log n", "[tasks]") {
    constexpr index_t count = 100'000;
    task t{"k", std::string(2 * count, 'a'), {}, "file:1"};
    ranges tokens;
    for (index_t i = 0; i < count; ++i) {
        t.spans.emplace_back(2 * i, 2 * i + 2);
        tokens.emplace_back(2 * i, 2 * i + 2);
    }
    const std::clock_t start = std::clock();
    const std::vector<index_t> spans = span_of_tokens(t, tokens);
    CHECK(std::clock() - start < CLOCKS_PER_SEC); // one by one it would be 5 thousand million steps
    CHECK(spans.front() == 0);
    CHECK(spans.back() == count - 1);
}

TEST_CASE("progress counts from several threads and says where it ended", "[progress]") {
    const auto printed = [](index_t total, index_t each) {
        std::FILE* out = std::tmpfile();
        REQUIRE(out != nullptr);
        {
            progress p("scoring", total, out);
            std::vector<std::thread> threads;
            for (int t = 0; t < 4; ++t) {
                threads.emplace_back([&] {
                    for (index_t i = 0; i < each; ++i) p.advance();
                });
            }
            for (std::thread& t : threads) t.join();
        }
        std::rewind(out);
        std::string text(1000, '\0');
        text.resize(std::fread(text.data(), 1, text.size(), out));
        std::fclose(out);
        return text;
    };
    CHECK(contains(printed(4000, 1000), "scoring: 4000 of 4000 (100 %)"));
    CHECK(contains(printed(4000, 1000), "done in"));
    CHECK(contains(printed(4001, 1000), "scoring: 4000 of 4001 (99 %)"));
    CHECK(contains(printed(4001, 1000), "stopped after"));
    CHECK(contains(printed(0, 2), "scoring: 8, "));
    CHECK(printed(4000, 1000).find('\x1b') == std::string::npos); // a file is no terminal
    CHECK(lab::detail::duration_text(42) == "42 s");
    CHECK(lab::detail::duration_text(185) == "3 min 05 s");
    CHECK(lab::detail::duration_text(7620) == "2 h 07 min");
}
