// GGUF: what the reader refuses, and that the writer's files come back.
#include "data.hpp"
#include "files.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/gguf.hpp>
#include <loupe/io/gguf_writer.hpp>

#include <csignal>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <sys/resource.h>

using namespace loupe;
using tests::contains, tests::folder, tests::load, tests::save;

namespace {

// Bytes put together by hand, without the writer.
struct bytes {
    std::string text;
    template <class T>
    bytes& put(T value) {
        text.append(reinterpret_cast<const char*>(&value), sizeof value);
        return *this;
    }
    bytes& u32(std::uint32_t v) { return put(v); }
    bytes& u64(std::uint64_t v) { return put(v); }
    bytes& raw(const std::string& s) {
        text += s;
        return *this;
    }
    bytes& string(const std::string& s) { return u64(s.size()).raw(s); }
};

struct parts {
    std::string magic = "GGUF";
    std::uint32_t version = 3;
    std::uint64_t tensors = 1, keys = 1;
    std::string key = bytes().string("a.key").u32(4).u32(7).text;
    std::string name = "w";
    std::uint32_t dimensions = 2;
    std::vector<std::uint64_t> ne = {32, 2};
    std::uint32_t type = 8;
    std::uint64_t offset = 0;
    std::size_t data = 68;

    std::string file() const {
        bytes b;
        b.raw(magic).u32(version).u64(tensors).u64(keys).raw(key);
        b.string(name).u32(dimensions);
        for (const auto n : ne) b.u64(n);
        b.u32(type).u64(offset);
        b.text.resize((b.text.size() + 31) / 32 * 32 + data);
        return b.text;
    }
};

std::string message_of(const std::filesystem::path& path) {
    return tests::refusal([&] { return io::gguf::open(path); });
}

// Opens a file of these bytes; returns the message of the refusal from the file's name on, "" if it was accepted.
std::string refusal(const std::string& content) {
    const folder dir;
    save(dir / "x.gguf", content);
    const std::string what = message_of(dir / "x.gguf");
    if (what.empty()) return what;
    const auto at = what.find("x.gguf");
    return at == std::string::npos ? "(the file is not named) " + what : what.substr(at);
}

std::string refusal(void (*change)(parts&)) {
    parts p;
    change(p);
    return refusal(p.file());
}

std::vector<std::byte> counted(std::size_t n) {
    std::vector<std::byte> result(n);
    for (std::size_t i = 0; i < n; ++i) result[i] = static_cast<std::byte>(i * 7 + n);
    return result;
}

std::string key_of(std::uint32_t type, const std::string& value) { return bytes().string("k").u32(type).raw(value).text; }

} // namespace

TEST_CASE("a hand-made file is read, in version 2 and 3", "[gguf]") {
    const folder dir;
    for (const std::uint32_t version : {2U, 3U}) {
        parts p;
        p.version = version;
        save(dir / "x.gguf", p.file());
        const auto g = io::gguf::open(dir / "x.gguf");
        CHECK(g.version == version);
        CHECK(g.path == (dir / "x.gguf").string());
        CHECK(g.integer("a.key") == 7);
        REQUIRE(g.tensors().size() == 1);
        const io::tensor& t = *g.find("w");
        CHECK(t.shape == std::vector<index_t>{2, 32}); // ne is {32, 2}
        CHECK(t.format == &format::info_of<format::q8_0>());
        CHECK(t.bytes == 68);
        CHECK(t.count() == 64);
        CHECK(g.find("v") == nullptr);
    }
}

TEST_CASE("tensors outlive the gguf they came from", "[gguf]") {
    const folder dir;
    parts p;
    std::string content = p.file();
    content.back() = 'z';
    save(dir / "x.gguf", content);
    const io::tensor t = *io::gguf::open(dir / "x.gguf").find("w");
    CHECK(static_cast<char>(t.data[t.bytes - 1]) == 'z');
}

TEST_CASE("wrong magic, version 1, unknown versions and big-endian files are refused", "[gguf]") {
    CHECK(contains(refusal([](parts& p) { p.magic = "GGML"; }), "byte 0: expected the letters GGUF"));
    CHECK(contains(refusal([](parts& p) { p.version = 1; }), "byte 4: expected version 2 or 3, found 1"));
    CHECK(contains(refusal([](parts& p) { p.version = 4; }), "found 4"));
    CHECK(contains(refusal([](parts& p) { p.version = 0; }), "found 0"));
    CHECK(contains(refusal([](parts& p) { p.version = 0x03000000; }), "big-endian"));
}

TEST_CASE("missing files, folders, devices and empty files are named with the reason", "[gguf]") {
    const folder dir;
    save(dir / "empty", "");
    CHECK(contains(message_of(dir / "none"), (dir / "none").string() + ": cannot be opened: No such file"));
    CHECK(contains(message_of(dir.path()), "found a folder"));
    CHECK(contains(message_of("/dev/null"), "found a device"));
    CHECK(contains(message_of(dir / "empty"), "empty"));
}

TEST_CASE("a file cut at any length is refused, and never crashes", "[gguf]") {
    const folder dir;
    io::gguf_writer w;
    w.set("general.architecture", "gemma4");
    w.set("a", std::vector<std::int32_t>{1, 2, 3});
    w.set("b", std::vector<std::string>{"x", "", "yz"});
    w.set("c", true);
    w.add("one", format::info_of<format::f32>(), {3}, counted(12));
    w.add("two", format::info_of<format::q4_0>(), {2, 64}, counted(72));
    w.add("three", format::info_of<format::f32>(), {8}, counted(32)); // fills its alignment: no padding to lose
    w.write(dir / "whole.gguf");
    const std::string whole = load(dir / "whole.gguf");
    CHECK(refusal(whole).empty());
    int accepted = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) accepted += refusal(whole.substr(0, n)).empty();
    CHECK(accepted == 0);
}

TEST_CASE("padding behind the last tensor may be missing, its bytes may not", "[gguf]") {
    std::string content = parts().file();
    CHECK(refusal(content).empty());
    content.pop_back();
    CHECK(contains(refusal(content), "tensor 'w': expected 68 bytes at offset 0"));
}

TEST_CASE("one changed byte anywhere: an error or a file, never a crash", "[gguf]") {
    const folder dir;
    parts p;
    p.key += bytes().string("b").u32(9).u32(8).u64(2).string("x").string("y").text;
    p.key += bytes().string("c").u32(9).u32(7).u64(3).raw(std::string("\0\1\0", 3)).text;
    p.keys = 3;
    const std::string whole = p.file();
    REQUIRE(refusal(whole).empty());
    std::size_t refused = 0;
    for (std::size_t i = 0; i + p.data < whole.size(); ++i)
        for (const char value : {'\x00', '\x01', '\x7f', '\x80', '\xff'}) {
            std::string damaged = whole;
            damaged[i] = value;
            refused += !refusal(damaged).empty();
        }
    CHECK(refused > 100);
}

TEST_CASE("counts and lengths that the file cannot hold are refused before anything is allocated", "[gguf]") {
    CHECK(contains(refusal([](parts& p) { p.tensors = 1000; }), "byte 8: expected a number of tensors that fits"));
    CHECK(contains(refusal([](parts& p) { p.tensors = ~std::uint64_t{0}; }), "number of tensors"));
    CHECK(contains(refusal([](parts& p) { p.keys = std::uint64_t{1} << 62; }), "byte 16: expected a number of keys"));
    CHECK(contains(refusal([](parts& p) { p.keys = 2; }), "expected"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(8, bytes().u64(1000).raw("x").text); }), "a string"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(8, bytes().u64(~std::uint64_t{0}).text); }), "a string of at most"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(9, bytes().u32(4).u64(std::uint64_t{1} << 29).text); }),
                   "key 'k': expected an array that fits"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(9, bytes().u32(10).u64(std::uint64_t{1} << 61).text); }),
                   "key 'k': expected an array"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(9, bytes().u32(8).u64(100).text); }), "key 'k': expected an array"));
    CHECK(contains(refusal([](parts& p) { p.key = bytes().u64(70000).raw(std::string(70000, 'k')).u32(4).u32(1).text; }),
                   "a key of at most 65535"));
    CHECK(contains(refusal([](parts& p) { p.name = std::string(65, 'n'); }), "name of at most 64"));
    CHECK(refusal([](parts& p) { p.name = std::string(64, 'n'); }).empty());
}

TEST_CASE("more keys than any file has are refused, so memory stays bounded", "[gguf]") {
    bytes b;
    b.raw("GGUF").u32(3).u64(0).u64(1'100'000);
    b.text.resize(13 * 1'100'000 + 64);
    CHECK(contains(refusal(b.text), "at most 1048576"));
}

TEST_CASE("keys: empty, repeated, of an unknown type, nested arrays and bools other than 0 and 1 are refused", "[gguf]") {
    CHECK(
        contains(refusal([](parts& p) { p.key = bytes().string("").u32(4).u32(1).text; }), "byte 24: expected a key, found an empty one"));
    CHECK(contains(refusal([](parts& p) {
                       p.key += p.key;
                       p.keys = 2;
                   }),
                   "key 'a.key': found a second time"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(13, bytes().u32(1).text); }),
                   "key 'k': expected a value type of 0 to 12, found 13"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(9, bytes().u32(99).u64(0).text); }), "found 99"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(9, bytes().u32(9).u64(1).u32(4).u64(0).text); }), "arrays of arrays"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(7, "\2"); }), "key 'k': expected a bool of 0 or 1, found 2"));
    CHECK(contains(refusal([](parts& p) { p.key = key_of(9, bytes().u32(7).u64(3).raw("\1\1\xff").text); }), "found 255"));
}

TEST_CASE("control characters and long names from a file are not copied into messages", "[gguf]") {
    const auto found = refusal([](parts& p) {
        p.name = "\x1b[31m\n";
        p.type = 99;
    });
    CHECK(contains(found, "\\x1b[31m\\x0a"));
    CHECK(found.find('\x1b') == std::string::npos);
}

TEST_CASE("tensors: dimensions, block multiples, overflow and zero sizes are refused", "[gguf]") {
    CHECK(contains(refusal([](parts& p) { p.name = ""; }), "found an empty one"));
    CHECK(contains(refusal([](parts& p) {
                       p.dimensions = 0;
                       p.ne = {};
                   }),
                   "tensor 'w': expected 1 to 4 dimensions, found 0"));
    CHECK(contains(refusal([](parts& p) {
                       p.dimensions = 5;
                       p.ne = {32, 1, 1, 1, 1};
                   }),
                   "found 5"));
    CHECK(contains(refusal([](parts& p) { p.dimensions = 0xffffffffU; }), "found 4294967295"));
    CHECK(contains(refusal([](parts& p) { p.ne = {33, 2}; }), "tensor 'w': expected rows of a multiple of 32 values for Q8_0, found 33"));
    CHECK(contains(refusal([](parts& p) { p.ne = {32, 0}; }), "tensor 'w': expected a dimension"));
    CHECK(contains(refusal([](parts& p) { p.ne = {0, 2}; }), "tensor 'w': expected a dimension"));
    CHECK(contains(refusal([](parts& p) { p.ne = {32, std::uint64_t{1} << 63}; }), "tensor 'w': expected a dimension"));
    CHECK(contains(refusal([](parts& p) { p.ne = {std::uint64_t{1} << 40, std::uint64_t{1} << 40}; }), "overflows"));
    CHECK(contains(refusal([](parts& p) { p.ne = {std::uint64_t{1} << 62, 32}; }), "overflows")); // 2^67 is 8 in 64 bits
    CHECK(contains(refusal([](parts& p) {
                       p.type = 0;
                       p.ne = {std::uint64_t{1} << 61, 1}; // the number of values fits, that of bytes does not
                   }),
                   "overflows"));
    CHECK(contains(refusal([](parts& p) { p.ne = {32, std::uint64_t{1} << 50}; }), "expected"));
}

TEST_CASE("tensor types: unknown and removed ids, and types without a decoder, name tensor and id", "[gguf]") {
    for (const std::uint32_t id : {4U, 5U, 31U, 32U, 33U, 36U, 37U, 38U, 43U, 0xffffffffU}) {
        parts p;
        p.type = id;
        CHECK(contains(refusal(p.file()), "tensor 'w': type id " + std::to_string(id) + " is unknown or was removed"));
    }
    CHECK(contains(refusal([](parts& p) { p.type = 16; }), "tensor 'w': type IQ2_XXS (id 16) is not supported"));
    CHECK(contains(refusal([](parts& p) { p.type = 26; }), "tensor 'w': type I32 (id 26) is not supported"));
    CHECK(contains(refusal([](parts& p) { p.type = 9; }), "Q8_1 (id 9)"));
}

TEST_CASE("tensor offsets: misaligned, past the end and overflowing ones are refused", "[gguf]") {
    CHECK(contains(refusal([](parts& p) { p.offset = 4, p.data = 100; }),
                   "tensor 'w': expected an offset that is a multiple of 32, found 4"));
    CHECK(contains(refusal([](parts& p) { p.offset = 32; }), "tensor 'w': expected 68 bytes at offset 32"));
    CHECK(refusal([](parts& p) { p.offset = 32, p.data = 100; }).empty());
    CHECK(contains(refusal([](parts& p) { p.offset = 0x7fffffffffffffe0U; }), "tensor 'w'"));
    CHECK(contains(refusal([](parts& p) { p.offset = 0xffffffffffffffe0U; }), "tensor 'w': expected an offset"));
}

TEST_CASE("tensors that share bytes are refused, whatever their order; holes are not", "[gguf]") {
    const auto two = [](std::uint64_t first, std::uint64_t second) { // 64 bytes each
        bytes b;
        b.raw("GGUF").u32(3).u64(2).u64(0);
        b.string("a").u32(1).u64(16).u32(0).u64(first);
        b.string("b").u32(1).u64(16).u32(0).u64(second);
        b.text.resize(96 + 256 + 64);
        return refusal(b.text);
    };
    CHECK(two(0, 64).empty());
    CHECK(two(64, 0).empty());
    CHECK(two(0, 128).empty());
    CHECK(contains(two(0, 0), "expected data of its own"));
    CHECK(contains(two(0, 32), "tensor 'b': expected data of its own, found those of tensor 'a'"));
    CHECK(contains(two(32, 0), "tensor 'a': expected data of its own, found those of tensor 'b'"));
}

TEST_CASE("a repeated tensor name is refused", "[gguf]") {
    bytes b;
    b.raw("GGUF").u32(3).u64(2).u64(0);
    for (int i = 0; i < 2; ++i) b.string("w").u32(1).u64(1).u32(0).u64(0);
    b.text.resize(256);
    CHECK(contains(refusal(b.text), "tensor 'w': found a second time"));
}

TEST_CASE("general.alignment must be a power of two of at least 8, and moves the data", "[gguf]") {
    const auto with = [](std::uint32_t type, const std::string& value) {
        parts p;
        p.key = bytes().string("general.alignment").u32(type).raw(value).text;
        p.data = 4096;
        return refusal(p.file());
    };
    CHECK(with(4, bytes().u32(64).text).empty());
    CHECK(with(10, bytes().u64(8).text).empty());
    for (const std::uint32_t bad : {0U, 1U, 4U, 12U, 33U, 0xffffffffU})
        CHECK(contains(with(4, bytes().u32(bad).text), "general.alignment"));
    CHECK(contains(with(10, bytes().u64(std::uint64_t{1} << 63).text), "general.alignment"));
    CHECK(contains(with(6, bytes().u32(32).text), "general.alignment"));
    CHECK(contains(with(8, bytes().string("32").text), "general.alignment"));
}

TEST_CASE("round trip: every key type, and any integer type where an integer is asked for", "[gguf]") {
    const folder dir;
    io::gguf_writer w;
    w.set("u8", std::uint8_t{200});
    w.set("i8", std::int8_t{-5});
    w.set("u16", std::uint16_t{65535});
    w.set("i16", std::int16_t{-300});
    w.set("u32", std::uint32_t{4000000000U});
    w.set("i32", std::int32_t{-70000});
    w.set("u64", std::uint64_t{1} << 40);
    w.set("i64", -(std::int64_t{1} << 40));
    w.set("u64 too large", ~std::uint64_t{0});
    w.set("f32", 0.5F);
    w.set("f64", 0.1);
    w.set("yes", true);
    w.set("no", false);
    w.set("text", "a\nb");
    w.set("empty", std::string());
    w.set("floats", std::vector<float>{1, -2.5F});
    w.set("doubles", std::vector<double>{0.25});
    w.set("bools", std::vector<bool>{true, false, true});
    w.set("i32s", std::vector<std::int32_t>{3, -4, 5});
    w.set("u8s", std::vector<std::uint8_t>{255});
    w.set("none", std::vector<std::uint32_t>{});
    w.set("texts", std::vector<std::string>{"", "\xe2\x96\x81the", std::string("\0x", 2)});
    w.set("replaced", 1);
    w.set("replaced", "now a text");
    w.write(dir / "x.gguf");
    const auto g = io::gguf::open(dir / "x.gguf");

    CHECK(g.version == 3);
    CHECK(g.tensors().empty());
    CHECK(g.keys().size() == 23);
    CHECK(g.keys().front() == "u8");
    CHECK(g.integer("u8") == 200);
    CHECK(g.integer("i8") == -5);
    CHECK(g.integer("u16") == 65535);
    CHECK(g.integer("i16") == -300);
    CHECK(g.integer("u32") == 4000000000);
    CHECK(g.integer("i32") == -70000);
    CHECK(g.integer("u64") == index_t{1} << 40);
    CHECK(g.integer("i64") == -(index_t{1} << 40));
    CHECK_THROWS_AS(g.integer("u64 too large"), error);
    CHECK(g.number("u64 too large") == 18446744073709551615.0);
    CHECK(g.integer("yes") == 1);
    CHECK_FALSE(g.integer("f32").has_value());
    CHECK_FALSE(g.integer("nowhere").has_value());
    CHECK(g.number("f32") == 0.5);
    CHECK(g.number("f64") == 0.1);
    CHECK(g.number("i16") == -300.0);
    CHECK_FALSE(g.number("text").has_value());
    CHECK_FALSE(g.number("yes").has_value());
    CHECK(g.boolean("yes") == true);
    CHECK(g.boolean("no") == false);
    CHECK_FALSE(g.boolean("u8").has_value());
    CHECK(*g.text("text") == "a\nb");
    CHECK(g.text("empty")->empty());
    CHECK(g.text("u8") == nullptr);
    CHECK(*g.text("replaced") == "now a text");
    CHECK(*g.texts("texts") == std::vector<std::string>{"", "\xe2\x96\x81the", std::string("\0x", 2)});
    CHECK(g.texts("text") == nullptr);
    CHECK(g.numbers("floats") == std::vector<float>{1, -2.5F});
    CHECK(g.numbers("doubles") == std::vector<float>{0.25F});
    CHECK(g.numbers("i32s") == std::vector<float>{3, -4, 5});
    CHECK_FALSE(g.numbers("texts").has_value());
    CHECK(g.integers("i32s") == std::vector<index_t>{3, -4, 5});
    CHECK(g.integers("bools") == std::vector<index_t>{1, 0, 1});
    CHECK(g.integers("u8s") == std::vector<index_t>{255});
    CHECK(g.integers("none") == std::vector<index_t>{});
    CHECK_FALSE(g.integers("floats").has_value());
    CHECK_FALSE(g.integers("u8").has_value());
    CHECK(g.contains("none"));
    CHECK_FALSE(g.contains("nowhere"));
    CHECK(g.type_of("i32s") == "array of 3 i32");
    CHECK(g.type_of("text") == "string");
}

TEST_CASE("per-layer keys: a scalar counts for all layers, an array must have their number", "[gguf]") {
    const folder dir;
    io::gguf_writer w;
    w.set("scalar", std::uint16_t{8});
    w.set("array", std::vector<std::int32_t>{1, 2, 3});
    w.set("pattern", std::vector<bool>{true, true, false});
    w.set("float", 1.0F);
    w.write(dir / "x.gguf");
    const auto g = io::gguf::open(dir / "x.gguf");
    CHECK(g.per_layer("scalar", 3) == std::vector<index_t>{8, 8, 8});
    CHECK(g.per_layer("array", 3) == std::vector<index_t>{1, 2, 3});
    CHECK(g.per_layer("pattern", 3) == std::vector<index_t>{1, 1, 0});
    const auto message = [&](const char* key, index_t layers) { return tests::refusal([&] { return g.per_layer(key, layers); }); };
    CHECK(contains(message("array", 4), "key 'array': expected 4 elements, one for each layer, found 3"));
    CHECK(contains(message("float", 3), "key 'float': expected an integer"));
    CHECK(contains(message("nowhere", 3), "key 'nowhere': is missing"));
}

TEST_CASE("round trip: tensors of every format, dimensions and alignments", "[gguf]") {
    const folder dir;
    for (const index_t alignment : {8, 32, 64, 4096}) {
        io::gguf_writer w(alignment);
        std::vector<std::vector<std::byte>> kept;
        kept.reserve(format::infos().size());
        for (const auto* f : format::infos()) {
            kept.push_back(counted(static_cast<std::size_t>(f->row_bytes(f->length * 3) * 5)));
            w.add(std::string(f->name), *f, {5, f->length * 3}, std::span<const std::byte>(kept.back()));
        }
        w.add("four", format::info_of<format::f16>(), {2, 3, 4, 5}, counted(240));
        const std::vector<float> ones(64, 1.0F);
        w.add("encoded", format::info_of<format::q8_0>(), {2, 32}, std::span<const float>(ones));
        w.write(dir / "x.gguf");
        const auto g = io::gguf::open(dir / "x.gguf");
        REQUIRE(g.tensors().size() == format::infos().size() + 2);
        CHECK(g.integer("general.alignment").value_or(32) == alignment);
        const std::byte* last_end = nullptr;
        for (std::size_t i = 0; i < kept.size(); ++i) {
            const io::tensor& t = g.tensors()[i];
            CAPTURE(t.name, alignment);
            CHECK(t.format == format::infos()[i]);
            CHECK(t.name == t.format->name);
            CHECK(t.shape == std::vector<index_t>{5, t.format->length * 3});
            REQUIRE(t.bytes == static_cast<index_t>(kept[i].size()));
            CHECK(std::memcmp(t.data, kept[i].data(), kept[i].size()) == 0);
            CHECK(reinterpret_cast<std::uintptr_t>(t.data) % static_cast<std::uintptr_t>(std::min<index_t>(alignment, 4096)) == 0);
            if (last_end != nullptr) CHECK(t.data - last_end < alignment); // no holes, or the reference refuses the file
            last_end = t.data + t.bytes;
        }
        CHECK(g.find("four")->shape == std::vector<index_t>{2, 3, 4, 5});
        std::vector<float> back(64);
        g.find("encoded")->format->decode_row(g.find("encoded")->data, back.data(), 64);
        CHECK(back[63] == Approx(1.0F).epsilon(1e-3));
        CHECK(load(dir / "x.gguf").size() % static_cast<std::size_t>(alignment) == 0);
    }
}

TEST_CASE("rows made while the file is written are the same as bytes given before", "[gguf]") {
    const folder dir;
    constexpr index_t width = 1024, count = 5 * 300; // 4 KB each, more than one piece
    std::vector<std::byte> all(static_cast<std::size_t>(4 * width * count));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::byte>(i / 4096 + i % 251);
    index_t next = 0;
    std::size_t largest = 0;
    const auto rows = [&](index_t first, std::span<std::byte> out) {
        CHECK(first == next);
        next += static_cast<index_t>(out.size()) / (4 * width);
        largest = std::max(largest, out.size());
        std::memcpy(out.data(), all.data() + first * 4 * width, out.size());
    };
    io::gguf_writer streamed, given;
    streamed.add("a", format::info_of<format::f32>(), {5, 300, width}, rows);
    streamed.add("b", format::info_of<format::f16>(), {3}, [](index_t, std::span<std::byte> out) { out[0] = std::byte{7}; });
    given.add("a", format::info_of<format::f32>(), {5, 300, width}, std::span<const std::byte>(all));
    given.add("b", format::info_of<format::f16>(), {3}, std::vector<std::byte>{std::byte{7}, {}, {}, {}, {}, {}});
    streamed.write(dir / "streamed.gguf");
    given.write(dir / "given.gguf");
    CHECK(load(dir / "streamed.gguf") == load(dir / "given.gguf"));
    CHECK(next == count);
    CHECK(largest <= std::size_t{1} << 20);

    io::gguf_writer stops;
    stops.add("a", format::info_of<format::f32>(), {1}, [](index_t, std::span<std::byte>) { throw error("no more"); });
    CHECK_THROWS_AS(stops.write(dir / "x.gguf"), error);
    CHECK_THROWS_AS(stops.add("b", format::info_of<format::f32>(), {1}, io::gguf_writer::row_source()), error);
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 2); // nothing is left of what failed
}

TEST_CASE("the writer refuses what would not be a valid file", "[gguf]") {
    io::gguf_writer w;
    const auto& f32 = format::info_of<format::f32>();
    CHECK_THROWS_AS(io::gguf_writer(0), error);
    CHECK_THROWS_AS(io::gguf_writer(48), error);
    CHECK_THROWS_AS(w.set("", 1), error);
    CHECK_THROWS_AS(w.set("general.alignment", 64), error);
    CHECK_THROWS_AS(w.add("", f32, {1}, counted(4)), error);
    CHECK_THROWS_AS(w.add(std::string(64, 'x'), f32, {1}, counted(4)), error);
    CHECK_THROWS_AS(w.add("x", f32, {}, counted(4)), error);
    CHECK_THROWS_AS(w.add("x", f32, {1, 1, 1, 1, 1}, counted(4)), error);
    CHECK_THROWS_AS(w.add("x", f32, {0}, counted(0)), error);
    CHECK_THROWS_AS(w.add("x", f32, {2}, counted(4)), error);
    CHECK_THROWS_AS(w.add("x", format::info_of<format::q4_k>(), {2, 32}, counted(144)), error);
    const std::vector<float> values(256);
    CHECK_THROWS_AS(w.add("x", format::info_of<format::q4_k>(), {256}, std::span<const float>(values)), error);
    w.add("x", f32, {1}, counted(4));
    CHECK_THROWS_AS(w.add("x", f32, {1}, counted(4)), error);
}

TEST_CASE("a full disk, a missing folder, and a failure half way: an output_error, and nothing is left", "[gguf]") {
    const folder dir;
    io::gguf_writer w;
    w.set("a", 1);
    w.add("x", format::info_of<format::f32>(), {100000}, counted(400000));
    CHECK_THROWS_AS(w.write(dir / "missing" / "x.gguf"), output_error);
    CHECK_THROWS_AS(w.write(dir.path()), output_error);
    if (std::filesystem::exists("/dev/full")) {
        CHECK_THROWS_AS(w.write("/dev/full"), output_error);
        io::gguf_writer small; // fails only when it is flushed
        CHECK_THROWS_AS(small.write("/dev/full"), output_error);
        CHECK(std::filesystem::is_character_file("/dev/full"));
    }
    save(dir / "old.gguf", "kept");
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit small{100000, before.rlim_max};
    const auto handler = std::signal(SIGXFSZ, SIG_IGN); // then write() fails like on a full disk
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    bool failed = false;
    try {
        w.write(dir / "old.gguf");
    } catch (const output_error&) {
        failed = true;
    }
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(failed);
    CHECK(load(dir / "old.gguf") == "kept");
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
    w.write(dir / "old.gguf"); // and a success replaces it
    CHECK(load(dir / "old.gguf").size() > 400000);
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

namespace {

void write_part(const std::filesystem::path& path, int number, int count, const std::string& tensor_name, int total) {
    io::gguf_writer w;
    if (number == 0) w.set("general.architecture", "gemma4");
    w.set("split.no", static_cast<std::uint16_t>(number));
    w.set("split.count", static_cast<std::uint16_t>(count));
    w.set("split.tensors.count", total);
    if (!tensor_name.empty()) w.add(tensor_name, format::info_of<format::f32>(), {2}, counted(static_cast<std::size_t>(8)));
    w.write(path);
}

} // namespace

TEST_CASE("split files: part 1 opens all, another part names part 1, what is missing or does not fit is named", "[gguf]") {
    const folder dir;
    const auto part = [&](int i) { return dir / ("m-0000" + std::to_string(i) + "-of-00003.gguf"); };
    write_part(part(1), 0, 3, "", 2); // a first part may hold keys only
    write_part(part(2), 1, 3, "a", 2);
    write_part(part(3), 2, 3, "b", 2);
    {
        const auto g = io::gguf::open(part(1));
        CHECK(g.tensors().size() == 2);
        REQUIRE(g.find("b") != nullptr);
        CHECK(g.find("b")->file == part(3).string());
        CHECK(*g.text("general.architecture") == "gemma4");
    }
    CHECK(contains(message_of(part(2)), "part 2 of 3; open part 1 instead: " + part(1).string()));
    write_part(part(3), 2, 3, "a", 2);
    CHECK(contains(message_of(part(1)), "tensor 'a': found a second time"));
    write_part(part(3), 1, 3, "b", 2);
    CHECK(contains(message_of(part(1)), "key 'split.no': expected 2 in this part, found 1"));
    write_part(part(3), 2, 4, "b", 2);
    CHECK(contains(message_of(part(1)), "key 'split.count': expected 3 as in part 1, found 4"));
    write_part(part(3), 2, 3, "", 2);
    CHECK(contains(message_of(part(1)), "key 'split.tensors.count': expected the 1 tensors of all parts, found 2"));
    std::filesystem::remove(part(3));
    CHECK(contains(message_of(part(1)), "part 3 of 3 is missing: " + part(3).string()));
    std::filesystem::rename(part(1), dir / "renamed.gguf");
    CHECK(contains(message_of(dir / "renamed.gguf"), "part 1 of 3, but its name does not end in -00001-of-00003.gguf"));
    write_part(dir / "odd.gguf", 5, 3, "a", 1);
    CHECK(contains(message_of(dir / "odd.gguf"), "key 'split.no'"));
    write_part(dir / "single.gguf", 0, 1, "a", 1);
    CHECK(message_of(dir / "single.gguf").empty());
}

TEST_CASE("a real file of mixed formats opens, and survives the writer", "[gguf]") {
    const folder dir;
    const auto g = io::gguf::open(tests::example("models") / "nano-e" / "nano-e-Q4_K_M.gguf");
    CHECK(*g.text("general.architecture") == "gemma4");
    CHECK(g.tensors().size() == 161);
    const auto layers = *g.integer("gemma4.block_count");
    CHECK(static_cast<index_t>(g.per_layer("gemma4.feed_forward_length", layers).size()) == layers);
    CHECK(static_cast<index_t>(g.per_layer("gemma4.attention.head_count", layers).size()) == layers);
    CHECK(g.texts("tokenizer.ggml.tokens")->size() == 2048);
    io::gguf_writer w(64);
    for (const auto& t : g.tensors()) w.add(t.name, *t.format, t.shape, std::span(t.data, static_cast<std::size_t>(t.bytes)));
    w.write(dir / "copy.gguf");
    const auto copy = io::gguf::open(dir / "copy.gguf");
    int different = 0;
    for (const auto& t : g.tensors()) {
        const auto* c = copy.find(t.name);
        different += c == nullptr || c->shape != t.shape || c->format != t.format ||
                     std::memcmp(c->data, t.data, static_cast<std::size_t>(t.bytes)) != 0;
    }
    CHECK(different == 0);
}
