// Safetensors: what is refused, and shards.
#include "data.hpp"
#include "files.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/safetensors.hpp>

#include <cstring>
#include <string>

using namespace loupe;
using tests::contains, tests::folder, tests::save;

namespace {

// A file of this header and as many bytes of data.
std::string file(const std::string& header, std::size_t data) {
    const std::uint64_t length = header.size();
    std::string result(reinterpret_cast<const char*>(&length), 8);
    result += header;
    for (std::size_t i = 0; i < data; ++i) result += static_cast<char>(i);
    return result;
}

std::string entry(const std::string& name, const std::string& type, const std::string& shape, const std::string& offsets) {
    return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

std::string message_of(const std::filesystem::path& path) {
    return tests::refusal([&] { return io::safetensors::open(path); });
}

std::string refusal(const std::string& content) {
    const folder dir;
    save(dir / "x.safetensors", content);
    const std::string found = message_of(dir / "x.safetensors");
    return found.empty() || found.find("x.safetensors") != std::string::npos ? found : "(the file is not named) " + found;
}

std::string refusal(const std::string& header, std::size_t data) { return refusal(file(header, data)); }

const std::string good = "{\"__metadata__\":{\"format\":\"pt\"}," + entry("b", "F32", "[2,1]", "[6,14]") + "," +
                         entry("a", "BF16", "[3]", "[0,6]") + "," + entry("s", "F16", "[]", "[14,16]") + "}";

} // namespace

TEST_CASE("a file of three types is read; a scalar has no dimensions; metadata are no tensor", "[safetensors]") {
    const folder dir;
    save(dir / "x.safetensors", file(good + "   ", 16)); // writers pad the header with spaces
    const auto s = io::safetensors::open(dir / "x.safetensors");
    REQUIRE(s.tensors().size() == 3);
    CHECK(s.tensors()[0].name == "a");
    const auto* b = s.find("b");
    REQUIRE(b != nullptr);
    CHECK(b->shape == std::vector<index_t>{2, 1});
    CHECK(b->format == &format::info_of<format::f32>());
    CHECK(b->bytes == 8);
    CHECK(static_cast<int>(b->data[0]) == 6);
    CHECK(s.find("s")->shape.empty());
    CHECK(s.find("s")->count() == 1);
    CHECK(s.find("__metadata__") == nullptr);
    CHECK(s.path == (dir / "x.safetensors").string());
}

TEST_CASE("a safetensors file cut at any length, or longer than its tensors, is refused", "[safetensors]") {
    const std::string whole = file(good, 16);
    CHECK(refusal(whole).empty());
    int accepted = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) accepted += refusal(whole.substr(0, n)).empty();
    CHECK(accepted == 0);
    CHECK(contains(refusal(whole + "x"), "expected 16 bytes of data, found 17"));
}

TEST_CASE("one changed byte anywhere in the header: an error or a file, never a crash", "[safetensors]") {
    const std::string whole = file(good, 16);
    int refused = 0;
    for (std::size_t i = 0; i + 16 < whole.size(); ++i)
        for (const char value : {'\x00', '"', '{', '[', '9', '\xff'}) {
            std::string damaged = whole;
            damaged[i] = value;
            refused += !refusal(damaged).empty();
        }
    CHECK(refused > 500);
}

TEST_CASE("header lengths beyond the file and what is no JSON object are refused", "[safetensors]") {
    std::string content = file(good, 16);
    for (const std::uint64_t length : {std::uint64_t{100000}, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
        std::memcpy(content.data(), &length, 8);
        CHECK(contains(refusal(content), "byte 0: expected a header that ends in the file"));
    }
    CHECK(contains(refusal("", 0), "expected a JSON object"));
    CHECK(contains(refusal("[]", 0), "expected a JSON object"));
    CHECK(contains(refusal("{} {}", 0), "JSON"));
    CHECK(contains(refusal("{\"a\":}", 0), "JSON"));
    CHECK(contains(refusal("{\"a\xff\":1}", 0), "JSON"));
    CHECK(refusal("{}", 0).empty());
}

TEST_CASE("deeply nested JSON does not overflow the stack", "[safetensors]") {
    const std::string deep(3'000'000, '[');
    CHECK(contains(refusal("{\"a\":" + deep, 0), "expected an object, found a list"));
    std::string objects = "{\"a\":";
    for (int i = 0; i < 300000; ++i) objects += "{\"a\":";
    CHECK(contains(refusal(objects, 0), "tensor 'a'"));
    const folder dir;
    save(dir / "model.safetensors.index.json", "{\"metadata\":" + deep);
    CHECK(contains(message_of(dir.path()), "nested more than 64"));
}

TEST_CASE("malformed descriptions name the tensor and what was expected", "[safetensors]") {
    CHECK(contains(refusal("{\"w\":1}", 0), "tensor 'w': expected an object, found a number"));
    CHECK(contains(refusal("{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4), "tensor 'w': expected dtype, shape and data_offsets"));
    CHECK(contains(refusal("{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4), "tensor 'w': expected dtype, shape and data_offsets"));
    CHECK(contains(refusal("{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4), "tensor 'w': expected dtype, shape and data_offsets"));
    CHECK(contains(refusal("{\"w\":{\"stride\":[1]}}", 4), "tensor 'w': expected dtype, shape or data_offsets, found 'stride'"));
    CHECK(contains(refusal("{\"w\":{\"dtype\":7}}", 4), "a string as dtype, found a number"));
    CHECK(contains(refusal("{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4), "dtype found a second time"));
    CHECK(contains(refusal("{\"w\":{\"shape\":[1],\"shape\":[1]}}", 4), "shape found a second time"));
    CHECK(contains(refusal("{\"w\":{\"data_offsets\":[0,4],\"data_offsets\":[0,4]}}", 4), "data_offsets found a second time"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[-1]", "[0,4]") + "}", 4), "as shape, found a negative number"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[1.5]", "[0,4]") + "}", 4), "as shape, found 1.5"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[[1]]", "[0,4]") + "}", 4), "as shape, found a list"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[null]", "[0,4]") + "}", 4), "found null"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[\"1\"]", "[0,4]") + "}", 4), "found a string"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") + "}", 4), "at most 8 dimensions"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[1]", "[4]") + "}", 4), "expected two data_offsets, found 1"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[1]", "[0,4,8]") + "}", 4), "data_offsets"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[1]", "{}") + "}", 4), "data_offsets, found an object"));
    CHECK(contains(refusal("{" + entry("", "F32", "[1]", "[0,4]") + "}", 4), "empty"));
    CHECK(contains(refusal("{\"__metadata__\":{\"a\":1}}", 0), "a string in __metadata__, found a number"));
    CHECK(contains(refusal("{" + entry("w", "F32", "[1]", "[0,4]") + "," + entry("w", "F32", "[1]", "[4,8]") + "}", 8),
                   "tensor 'w': found a second time"));
}

TEST_CASE("other dtypes are refused by name of tensor and dtype", "[safetensors]") {
    for (const std::string type : {"I64", "U8", "BOOL", "F64", "F8_E4M3", "f32", ""})
        CHECK(contains(refusal("{" + entry("w", type, "[1]", "[0,8]") + "}", 8),
                       "tensor 'w': expected dtype F32, F16 or BF16, found '" + type + "'"));
}

TEST_CASE("offsets: out of range, of another size, with holes, overlapping and overflowing ones are refused", "[safetensors]") {
    const auto one = [](const std::string& shape, const std::string& offsets) {
        return refusal("{" + entry("w", "F32", shape, offsets) + "}", 8);
    };
    CHECK(one("[2]", "[0,8]").empty());
    CHECK(contains(one("[3]", "[0,12]"), "tensor 'w': expected data_offsets in the 8 bytes"));
    CHECK(contains(one("[1]", "[8,4]"), "tensor 'w': expected data_offsets"));
    CHECK(contains(one("[2]", "[0,4]"), "expected 8 bytes for F32 [2]"));
    CHECK(contains(one("[1]", "[0,8]"), "expected 4 bytes for F32 [1]"));
    CHECK(contains(one("[1]", "[4,8]"), "expected data that begin at 0"));
    CHECK(contains(one("[1]", "[0,4]"), "expected 4 bytes of data, found 8"));
    CHECK(contains(one("[0,0]", "[0,0]"), "expected 0 bytes of data, found 8"));
    CHECK(contains(one("[4611686018427387904,4]", "[0,8]"), "overflows")); // 2^66 is 0 in 64 bits
    CHECK(contains(one("[9223372036854775807]", "[0,8]"), "overflows"));
    CHECK(contains(one("[18446744073709551615]", "[0,8]"), "2^63"));
    CHECK(contains(one("[2]", "[0,18446744073709551616]"), "as data_offsets"));
    CHECK(contains(one("[2]", "[9223372036854775800,9223372036854775807]"), "tensor 'w'"));
    CHECK(contains(refusal("{" + entry("v", "F32", "[2]", "[0,8]") + "," + entry("w", "F32", "[2]", "[4,12]") + "}", 12),
                   "tensor 'w': expected data that begin at 8"));
    CHECK(contains(refusal("{" + entry("v", "F32", "[2]", "[0,8]") + "," + entry("w", "F32", "[2]", "[0,8]") + "}", 8),
                   "expected data that begin at 8"));
    CHECK(refusal("{" + entry("v", "F32", "[0]", "[8,8]") + "," + entry("w", "F32", "[2]", "[0,8]") + "}", 8)
              .empty()); // an empty tensor is none
}

TEST_CASE("shards: tensors come from the files the index names", "[safetensors]") {
    const folder dir;
    const auto index = [&](const std::string& map) {
        save(dir / "model.safetensors.index.json", "{\"metadata\":{\"total_size\":16,\"x\":[1,{}]},\"weight_map\":" + map + "}");
    };
    save(dir / "one.safetensors", file("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("extra", "F32", "[1]", "[4,8]") + "}", 8));
    save(dir / "two.safetensors", file("{" + entry("b", "F32", "[1]", "[0,4]") + "}", 4));

    index("{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}");
    {
        const auto s = io::safetensors::open(dir.path());
        REQUIRE(s.tensors().size() == 2);
        CHECK(s.tensors()[0].name == "a");
        CHECK(s.find("b")->file == (dir / "two.safetensors").string());
        CHECK(s.find("extra") == nullptr);
        CHECK(io::safetensors::open(dir / "model.safetensors.index.json").tensors().size() == 2);
    }
    index("{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}");
    CHECK(contains(message_of(dir.path()), "tensor 'b': expected in " + (dir / "one.safetensors").string()));
    index("{\"a\":\"three.safetensors\"}");
    CHECK(contains(message_of(dir.path()), "tensor 'a': its file is missing: " + (dir / "three.safetensors").string()));
    index("{\"a\":\"" + std::string(300, 'x') + "\"}"); // longer than any file's name may be
    CHECK(contains(message_of(dir.path()), "tensor 'a': its file is missing"));
    for (const std::string bad : {"../one.safetensors", "/etc/passwd", "a\\\\b", "..", ".", "", "a\\u0000b"}) {
        index("{\"a\":\"" + bad + "\"}");
        CHECK(contains(message_of(dir.path()), "tensor 'a': expected the name of a file in the same folder"));
    }
    index("{\"a\":\"one.safetensors\",\"a\":\"two.safetensors\"}");
    CHECK(contains(message_of(dir.path()), "tensor 'a': found a second time"));
    index("{\"a\":7}");
    CHECK(contains(message_of(dir.path()), "tensor 'a': expected the name of a file, found a number"));
    index("{\"a\":{}}");
    CHECK(contains(message_of(dir.path()), "tensor 'a': expected the name of a file, found an object"));
    index("[\"a\"]");
    CHECK(contains(message_of(dir.path()), "weight_map: expected an object, found a list"));
    index("null");
    CHECK(contains(message_of(dir.path()), "weight_map: expected an object, found null"));
    index("{}");
    CHECK(io::safetensors::open(dir.path()).tensors().empty());
    save(dir / "model.safetensors.index.json", "{}");
    CHECK(contains(message_of(dir.path()), "expected weight_map, found none"));
    save(dir / "model.safetensors.index.json", "[1]");
    CHECK(contains(message_of(dir.path()), "expected an object, found a list"));
    save(dir / "model.safetensors.index.json", "{\"weight_map\":{},\"weight_map\":{}}");
    CHECK(contains(message_of(dir.path()), "weight_map: found a second time"));
    save(dir / "model.safetensors.index.json", "{\"weight_map\":{\"a\"");
    CHECK(contains(message_of(dir.path()), "JSON"));
    save(dir / "model.safetensors", file(good, 16)); // a whole file goes first
    CHECK(io::safetensors::open(dir.path()).tensors().size() == 3);
}

TEST_CASE("a folder without a checkpoint, and a missing file, say so", "[safetensors]") {
    const folder dir;
    CHECK(contains(message_of(dir.path()), dir.path().string() + ": expected model.safetensors or model.safetensors.index.json"));
    CHECK(contains(message_of(dir / "none.safetensors"), "No such file"));
}

TEST_CASE("real checkpoints open", "[safetensors]") {
    const auto s = io::safetensors::open(tests::data("gemma4-26b-a4b"));
    const auto* experts = s.find("model.language_model.layers.0.experts.down_proj");
    REQUIRE(experts != nullptr);
    CHECK(experts->shape == std::vector<index_t>{16, 88, 22});
    CHECK(io::safetensors::open(tests::example("models") / "nano-e").find("model.language_model.embed_tokens.weight")->format->name ==
          "BF16");
}
