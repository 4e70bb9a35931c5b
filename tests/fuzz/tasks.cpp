// Tasks: JSON lines with marked answers, and the tokens that belong to them.
#include "fuzz.hpp"

#include <loupe/lab/tasks.hpp>

void fuzz::tasks(std::string_view input) {
    using loupe::index_t;
    for (const loupe::lab::task& t : loupe::lab::read_tasks(stream(input))) {
        const auto size = static_cast<index_t>(t.text.size());
        index_t last = 0;
        for (const auto& [begin, end] : t.spans) {
            require(last <= begin && begin < end && end <= size, "spans ascend in the text");
            last = end;
        }
        for (const index_t length : {1, 3, 64}) { // tokens of as many bytes
            std::vector<std::pair<index_t, index_t>> tokens;
            for (index_t at = 0; at < size; at += length) tokens.emplace_back(at, std::min(at + length, size));
            try {
                require(loupe::lab::span_of_tokens(t, tokens).size() == tokens.size(), "a span for every token");
            } catch (const loupe::error&) {
            }
        }
    }
}
