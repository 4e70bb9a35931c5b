// UTF-8: what is a character and what is not, against the definition; cutting a stream only between characters.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/utf8.hpp>

#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <string_view>

using loupe::index_t;
using namespace loupe::io;

namespace {

const std::string replacement = "\xEF\xBF\xBD";

/// UTF-8 by its definition: the shortest form of a scalar value.
std::string encode(char32_t c) {
    const auto byte = [](char32_t b) { return std::string(1, static_cast<char>(static_cast<unsigned char>(b))); };
    if (c < 0x80) return byte(c);
    if (c < 0x800) return byte(0xC0 | c >> 6) + byte(0x80 | (c & 0x3F));
    if (c < 0x10000) return byte(0xE0 | c >> 12) + byte(0x80 | (c >> 6 & 0x3F)) + byte(0x80 | (c & 0x3F));
    return byte(0xF0 | c >> 18) + byte(0x80 | (c >> 12 & 0x3F)) + byte(0x80 | (c >> 6 & 0x3F)) + byte(0x80 | (c & 0x3F));
}

} // namespace

TEST_CASE("utf8: every scalar value is valid and keeps its code point, every surrogate is not", "[utf8]") {
    bool all = true;
    for (char32_t c = 0; c <= 0x10FFFF; ++c) {
        const std::string text = encode(c);
        const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        all = all && first_invalid(text).has_value() == surrogate;
        all = all && (surrogate || code_point(text) == c);
    }
    CHECK(all);
}

TEST_CASE("utf8: all sequences of three bytes agree with the set of encodings", "[utf8]") {
    // Valid beginnings of characters are exactly the prefixes of encodings.
    std::string known(1 << 24, '\0'); // by the three bytes: 1 = prefix or whole character of exactly these bytes
    for (char32_t c = 0x800; c <= 0x10FFFF; ++c) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        const std::string t = encode(c);
        const auto at = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(t[i])); };
        known[at(0) << 16 | at(1) << 8 | at(2)] = 1;
    }
    bool all = true;
    for (std::size_t n = 0xC00000; n < (1U << 24); ++n) {
        const char bytes[] = {static_cast<char>(n >> 16), static_cast<char>(n >> 8 & 0xFF), static_cast<char>(n & 0xFF)};
        const utf8_step step = utf8_front(std::string_view(bytes, 3));
        const bool whole = step.size == 3 && step.state != utf8_state::invalid;
        all = all && whole == (known[n] == 1);
    }
    CHECK(all);
}

TEST_CASE("utf8: first_invalid names the first bad byte, not the one after", "[utf8]") {
    CHECK(first_invalid("") == std::nullopt);
    CHECK(first_invalid("plain") == std::nullopt);
    CHECK(first_invalid("h\xC3\xA9\xF0\x9F\xAB\xA9") == std::nullopt);
    CHECK(first_invalid("ab\x80") == index_t{2});
    CHECK(first_invalid("\xC3\xA9\xC3") == index_t{2});               // cut at the end
    CHECK(first_invalid("\xC0\xAF") == index_t{0});                   // overlong
    CHECK(first_invalid("a\xE0\x80\xAF") == index_t{1});              // overlong
    CHECK(first_invalid("\xED\xA0\x80") == index_t{0});               // surrogate
    CHECK(first_invalid("\xF4\x90\x80\x80") == index_t{0});           // above U+10FFFF
    CHECK(first_invalid(std::string_view("\0x", 2)) == std::nullopt); // NUL is a character
}

TEST_CASE("utf8: take_utf8 holds back a character that is not whole, and gives it up in the last call", "[utf8]") {
    std::string pending = "a\xF0\x9F";
    CHECK(take_utf8(pending, false) == "a");
    CHECK(pending == "\xF0\x9F");
    pending += "\xAB";
    CHECK(take_utf8(pending, false).empty());
    std::string whole = pending + "\xA9";
    CHECK(take_utf8(whole, false) == "\xF0\x9F\xAB\xA9");
    CHECK(whole.empty());
    CHECK(take_utf8(pending, true) == replacement);
    CHECK(pending.empty());

    std::string bad = "\xF0\x9F" // a beginning that is broken off
                      "x\x80y";
    CHECK(take_utf8(bad, false) == replacement + "x" + replacement + "y");
}

TEST_CASE("utf8: random bytes, cut anywhere, give the same text as in one piece, and it is valid", "[utf8]") {
    std::mt19937 random(1);
    const std::string alphabet = "a\xC3\xA9\xE2\x96\x81\xF0\x9F\x80\xED\xA0\xFF\xBF";
    for (int trial = 0; trial < 2000; ++trial) {
        std::string bytes;
        for (auto n = random() % 12; n > 0; --n) bytes += alphabet[random() % alphabet.size()];
        std::string copy = bytes;
        const std::string once = take_utf8(copy, true);
        REQUIRE(first_invalid(once) == std::nullopt);
        for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
            std::string pending = bytes.substr(0, cut), parts = take_utf8(pending, false);
            REQUIRE(first_invalid(parts) == std::nullopt);
            pending += bytes.substr(cut);
            parts += take_utf8(pending, true);
            REQUIRE(parts == once);
        }
    }
}

TEST_CASE("utf8: trim_space trims what Python's strip does, and only at the ends", "[utf8]") {
    CHECK(trim_space("").empty());
    CHECK(trim_space(" \n\t\r ").empty());
    CHECK(trim_space(" a b\n") == "a b");
    CHECK(trim_space("\xC2\xA0\xE3\x80\x80x\xE2\x80\x83\xE2\x80\x83") == "x"); // U+00A0, U+3000, U+2003
    CHECK(trim_space("\xE2\x80\x8Bx") == "\xE2\x80\x8Bx");                     // a zero width space is no white space
    CHECK(trim_space("\xE2\x96\x81") == "\xE2\x96\x81");
    CHECK(trim_space("\x80 a \x80") == "\x80 a \x80");
}
