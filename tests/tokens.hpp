// What the tests of tokenizers share.
#pragma once

#include <loupe/io/tokenizer.hpp>

#include <string>
#include <vector>

namespace tests {

/// What vocabularies write for a space.
inline const std::string mark = "\xE2\x96\x81";

/// Ranges follow on one another and cover the text.
inline bool covers(const std::vector<loupe::io::piece>& pieces, const std::string& text) {
    loupe::index_t at = 0;
    for (const loupe::io::piece& p : pieces) {
        if (p.begin != at || p.end < p.begin) return false;
        at = p.end;
    }
    return at == static_cast<loupe::index_t>(text.size());
}

} // namespace tests
