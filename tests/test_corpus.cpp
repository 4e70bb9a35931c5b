// Texts and tasks as token sequences: BOS before every segment, context − 1 tokens in each, every token of the text once, documents at
// blank lines.
#include "data.hpp"
#include "files.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/lab/corpus.hpp>

using namespace loupe;
using tests::contains, tests::refusal;

namespace {

const io::tokenizer& tokens() {
    static const auto t = io::tokenizer::from_folder(tests::example("models/nano-e"));
    return t;
}

std::string stories() { return lab::read_text(tests::example("text/stories.txt")); }

} // namespace

TEST_CASE("corpus: every token of the text stands once, behind BOS, in segments of context − 1", "[corpus]") {
    const std::string text = stories();
    const auto ids = tokens().encode(text);
    for (const index_t context : {2, 3, 64, 512, 513, 1 << 20}) {
        const auto c = lab::cut_text(tokens(), text, "stories", context);
        CHECK(c.name == "stories");
        CHECK(c.context == context);
        CHECK(c.bytes == static_cast<index_t>(text.size()));
        CHECK(c.tokens == static_cast<index_t>(ids.size()));
        std::vector<token_id> all;
        bool right = true;
        for (std::size_t i = 0; i < c.segments.size(); ++i) {
            const auto& s = c.segments[i];
            right = right && s.ids.front() == tokens().bos() && s.first == static_cast<index_t>(all.size()) &&
                    s.document.size() + 1 == s.ids.size();
            right = right && (i + 1 == c.segments.size() ? static_cast<index_t>(s.ids.size()) <= context && s.ids.size() > 1
                                                         : static_cast<index_t>(s.ids.size()) == context);
            all.insert(all.end(), s.ids.begin() + 1, s.ids.end());
        }
        CHECK(right);
        CHECK(all == ids);
    }
}

TEST_CASE("corpus: a last segment that is exactly full is the last", "[corpus]") {
    const std::string text = "Mara had a red lamp."; // 7 tokens
    REQUIRE(tokens().encode(text).size() == 7);
    CHECK(lab::cut_text(tokens(), text, "t", 8).segments.size() == 1);
    CHECK(lab::cut_text(tokens(), text, "t", 7).segments.size() == 2);
    CHECK(lab::cut_text(tokens(), text, "t", 7).segments[1].ids == std::vector<token_id>{tokens().bos(), 275});
    CHECK(lab::cut_text(tokens(), text, "t", 2).segments.size() == 7);
}

TEST_CASE("corpus: documents are what blank lines separate", "[corpus]") {
    const std::string text = "Mara had a lamp.\n\nIlse had a book.\n\n\n\nA boat.\n";
    const auto c = lab::cut_text(tokens(), text, "t", 512);
    CHECK(c.documents == 3);
    REQUIRE(c.segments.size() == 1);
    const auto pieces = tokens().pieces(text);
    const auto ilse = static_cast<index_t>(text.find("Ilse")), boat = static_cast<index_t>(text.find("A boat"));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        CHECK(c.segments[0].document[i] == (pieces[i].begin >= boat ? 2 : pieces[i].begin >= ilse ? 1 : 0));
    }
    // A blank line at the end begins no document; single line breaks separate none.
    CHECK(lab::cut_text(tokens(), "a\n\nb\n\n", "t", 512).documents == 2);
    CHECK(lab::cut_text(tokens(), "a\nb\nc", "t", 512).documents == 1);
}

TEST_CASE("corpus: blank lines at the head begin no document, and whatever blanks they hold they are blank", "[corpus]") {
    using begins = std::vector<index_t>;
    const auto of = lab::detail::begins_of_documents;
    CHECK(of("a\n\nb") == begins{0, 3});
    CHECK(of("\n\na\n\nb") == begins{0, 5});
    CHECK(of(" \n\t\na") == begins{0});
    CHECK(of("a\r\nb\r\n\r\nc\r\n") == begins{0, 8});
    CHECK(of("a\n \t\nb\n\n \n  c\n\t") == begins{0, 5, 10}); // the blanks before c are its own
    CHECK(of("\n \r\n") == begins{0});
    CHECK(of("") == begins{0});

    // Every token still stands in one document, the first ones in the first.
    const std::string text = "\r\n\n \nMara had a lamp.\r\n\r\nIlse had a book.\n \nA boat.\r\n";
    const auto c = lab::cut_text(tokens(), text, "t", 512);
    CHECK(c.documents == 3);
    REQUIRE(c.segments.size() == 1);
    CHECK(std::vector<token_id>(c.segments[0].ids.begin() + 1, c.segments[0].ids.end()) == tokens().encode(text));
    std::vector<index_t> found = c.segments[0].document;
    CHECK(std::is_sorted(found.begin(), found.end()));
    found.erase(std::unique(found.begin(), found.end()), found.end());
    CHECK(found == std::vector<index_t>{0, 1, 2});
}

TEST_CASE("corpus: without blank lines every segment is a document", "[corpus]") {
    std::string text = "Mara had a red lamp.";
    for (int i = 0; i < 20; ++i) text += " Mara had a red lamp.";
    const auto c = lab::cut_text(tokens(), text, "t", 17);
    CHECK(c.documents == static_cast<index_t>(c.segments.size()));
    CHECK(c.documents > 5);
    for (std::size_t i = 0; i < c.segments.size(); ++i) {
        for (const index_t d : c.segments[i].document) CHECK(d == static_cast<index_t>(i));
    }
}

TEST_CASE("corpus: the documents of the stories", "[corpus]") {
    const std::string text = stories();
    const auto c = lab::cut_text(tokens(), text, "stories", 512);
    index_t last = -1, seen = 0;
    bool rising = true;
    for (const auto& s : c.segments) {
        for (const index_t d : s.document) {
            rising = rising && d >= last && d <= last + 1 && d < c.documents;
            seen += d != last ? 1 : 0;
            last = d;
        }
    }
    CHECK(rising); // none without tokens, none out of order
    CHECK(seen == c.documents);
    CHECK(c.documents > 100);
}

TEST_CASE("corpus: what is no text is refused", "[corpus]") {
    for (const index_t context : {1, 0, -5})
        CHECK(refusal([&] { return lab::cut_text(tokens(), "a", "t", context); }).find("context") == 0);
    CHECK(refusal([] { return lab::cut_text(tokens(), "", "empty.txt", 512); }).find("empty.txt") == 0);
    const auto message = refusal([] { return lab::cut_text(tokens(), "good \xff bad", "bytes.txt", 512); });
    CHECK(message.find("bytes.txt") == 0);
    CHECK(contains(message, "0xFF"));
    CHECK(refusal([] { return lab::read_text("/nowhere/at/all.txt"); }).find("/nowhere/at/all.txt") == 0);
    CHECK(refusal([] { return lab::read_text(tests::example("text")); }) != "");
    CHECK(refusal([] { return lab::read_text("/dev/null"); }).find("/dev/null") == 0);
}

TEST_CASE("tasks: tokens belong to the answers that the bytes say", "[corpus]") {
    const auto set = lab::encode_tasks(tokens(), tests::example("text/stories.jsonl"));
    const auto tasks = lab::read_tasks(tests::example("text/stories.jsonl"));
    CHECK(set.name == "stories.jsonl");
    CHECK(set.kinds == std::vector<std::string>{"echo", "list", "order", "place", "sums", "tale"});
    REQUIRE(set.items.size() == tasks.size());
    bool right = true;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
        const auto& item = set.items[i];
        const auto& t = tasks[i];
        const auto pieces = tokens().pieces(t.text);
        right = right && item.ids.front() == tokens().bos() && item.ids.size() == pieces.size() + 1 && item.span.size() == pieces.size() &&
                item.ids.size() <= 512 && set.kinds[static_cast<std::size_t>(item.kind)] == t.kind &&
                item.spans == static_cast<index_t>(t.spans.size());
        for (std::size_t j = 0; right && j < pieces.size(); ++j) {
            index_t expected = -1;
            for (std::size_t s = t.spans.size(); s-- > 0;) {
                if (pieces[j].begin >= t.spans[s].first - 1 && pieces[j].end <= t.spans[s].second) expected = static_cast<index_t>(s);
            }
            right = item.span[j] == expected && item.ids[j + 1] == pieces[j].id;
        }
        // The pieces of an answer are its text, but for the space in front.
        for (std::size_t s = 0; right && s < t.spans.size(); ++s) {
            index_t begin = -1, end = -1;
            for (std::size_t j = 0; j < pieces.size(); ++j) {
                if (item.span[j] != static_cast<index_t>(s)) continue;
                if (begin < 0) begin = pieces[j].begin;
                end = pieces[j].end;
            }
            right = end == t.spans[s].second && (begin == t.spans[s].first || begin == t.spans[s].first - 1);
        }
        if (!right) FAIL("task " << i << ": " << t.where);
    }
}

TEST_CASE("tasks: a text that is too long is refused", "[corpus]") {
    std::string text = "Mara had a red lamp.";
    for (int i = 0; i < 200; ++i) text += " Mara had a red lamp.";
    const tests::folder folder;
    const auto file = folder / "tasks.jsonl";
    tests::save(file, "{\"kind\": \"a\", \"text\": \"" + text + "\", \"spans\": [[0, 4]]}\n");
    CHECK(contains(refusal([&] { return lab::encode_tasks(tokens(), file); }), "512"));
    CHECK(lab::encode_tasks(tokens(), file, 10000).items.size() == 1);
}
