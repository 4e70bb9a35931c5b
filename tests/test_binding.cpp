// Binding of tensors to layers: what is missing, renamed, misshapen, zero or not finite is refused, and the error names the tensor. A
// loader that lets a missing tensor count as zeros gives a model that runs and is wrong.
#include "data.hpp"
#include "files.hpp"

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/mapped_file.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>

#include <unistd.h>

using namespace loupe;

namespace {

/// What binding starts from, with tensors that a test may change.
struct material {
    std::filesystem::path folder;
    dimensions sizes;
    std::vector<io::tensor> tensors;
    io::tensor_names names;
};

material golden(const std::string& name) {
    material m;
    m.folder = tests::data(name.c_str());
    m.sizes = io::dimensions_from_config(m.folder);
    const auto file = io::safetensors::open(m.folder);
    m.tensors = file.tensors();
    const bool nested = file.find("model.language_model.embed_tokens.weight") != nullptr;
    m.names = io::safetensors_names(nested ? "model.language_model." : "model.", m.sizes.family == "gemma3");
    return m;
}

/// The tensor with its values put through `change`.
io::tensor changed(const io::tensor& t, const std::function<void(std::vector<float>&)>& change) {
    const auto values = std::make_shared<std::vector<float>>(static_cast<std::size_t>(t.count()));
    t.format->decode_row(t.data, values->data(), t.count());
    change(*values);
    io::tensor out = t;
    out.format = &format::info_of<format::f32>();
    out.data = reinterpret_cast<const std::byte*>(values->data());
    out.bytes = 4 * t.count();
    out.owner = values;
    return out;
}

/// What binding says of the material; empty if it takes it.
std::string refusal(const material& m) {
    executor threads(1);
    return tests::refusal([&] { return io::bind_weights(m.tensors, m.folder.string(), m.names, m.sizes, threads); });
}

/// The same for a folder on disk.
std::string refusal(const std::filesystem::path& folder) {
    executor threads(1);
    return tests::refusal([&] { return tests::open(folder, threads); });
}

void write_safetensors(const std::filesystem::path& path, const std::vector<io::tensor>& tensors) {
    std::string header = "{", data;
    for (const io::tensor& t : tensors) {
        header += fmt::format("{}\"{}\":{{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[{},{}]}}", header.size() > 1 ? "," : "", t.name,
                              io::shape_text(t.shape), data.size(), data.size() + static_cast<std::size_t>(t.bytes));
        data.append(reinterpret_cast<const char*>(t.data), static_cast<std::size_t>(t.bytes));
    }
    header += "}";
    const auto length = static_cast<std::uint64_t>(header.size());
    tests::save(path, std::string(reinterpret_cast<const char*>(&length), 8) + header + data);
}

bool is_gain_of_gemma3(const material& m, const io::tensor& t) { return m.sizes.family == "gemma3" && t.shape.size() == 1; }

} // namespace

TEST_CASE("binding: the models that come with the project load", "[binding]") {
    executor threads(2);
    for (const char* name : {"models/nano-e", "models/nano-a", "models/nano-e/nano-e-Q4_K_M.gguf"}) {
        INFO(name);
        const auto file = tests::open(tests::example(name), threads);
        CHECK(file.sizes.vocabulary == 2048);
        CHECK(file.weights->embedding.rows == 2048);
        CHECK(file.weights->head.data == file.weights->embedding.data); // tied
        CHECK(static_cast<index_t>(file.weights->block.size()) == file.sizes.blocks());
        CHECK(file.text().size() == 2048);
    }
}

TEST_CASE("binding: a missing or renamed tensor is never zeros", "[binding]") {
    const auto name = GENERATE(as<std::string>{}, "gemma4-e2b", "gemma4-12b", "gemma4-26b-a4b", "gemma3-270m");
    INFO(name);
    const material whole = golden(name);
    REQUIRE(refusal(whole) == "");
    for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
        const std::string tensor = whole.tensors[i].name;
        material m = whole;
        m.tensors.erase(m.tensors.begin() + static_cast<std::ptrdiff_t>(i));
        CHECK_THAT(refusal(m), Contains(tensor) && Contains("found none"));
        m = whole;
        m.tensors[i].name += "_scale"; // as quantisers spell what belongs to a tensor they have replaced
        CHECK_THAT(refusal(m), Contains(tensor) && Contains("found none"));
    }
}

TEST_CASE("binding: a transposed matrix is refused", "[binding]") {
    const auto name = GENERATE(as<std::string>{}, "gemma4-e2b", "gemma4-26b-a4b", "gemma3-270m");
    INFO(name);
    const material whole = golden(name);
    int transposed = 0, square = 0, flat = 0;
    for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
        material m = whole;
        auto& shape = m.tensors[i].shape;
        if (shape.size() >= 2) {
            if (shape[shape.size() - 1] == shape[shape.size() - 2]) {
                ++square; // its shape cannot tell: only the goldens' logits can
                continue;
            }
            std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
            ++transposed;
        } else {
            shape.push_back(2); // a vector that has become a matrix
            ++flat;
        }
        CHECK_THAT(refusal(m),
                   Contains(m.tensors[i].name) && Contains(io::shape_text(whole.tensors[i].shape)) && Contains(io::shape_text(shape)));
    }
    CHECK(transposed >= 25);
    CHECK(flat > 25);
    CHECK(square == (name == "gemma4-e2b"    ? 17
                     : name == "gemma3-270m" ? 12
                                             : 0)); // q and o of sliding blocks, and a per-layer table of 160 × 160
}

TEST_CASE("binding: a tensor that says nothing is refused", "[binding]") {
    const auto name = GENERATE(as<std::string>{}, "gemma4-e2b", "gemma4-26b-a4b", "gemma3-270m");
    INFO(name);
    const material whole = golden(name);
    for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
        const io::tensor& t = whole.tensors[i];
        material m = whole;
        m.tensors[i] = changed(t, [](auto& v) { std::fill(v.begin(), v.end(), 0.0F); });
        if (is_gain_of_gemma3(whole, t)) { // stored as γ − 1: zeros are gains of one, −1 is what switches a norm off
            CHECK(refusal(m) == "");
            m.tensors[i] = changed(t, [](auto& v) { std::fill(v.begin(), v.end(), -1.0F); });
        }
        CHECK_THAT(refusal(m), Contains("tensor " + t.name + ":") && Contains("expected weights"));
        if (t.count() > 1) { // one value that is not zero is a weight
            m.tensors[i] = changed(t, [](auto& v) {
                std::fill(v.begin(), v.end(), 0.0F);
                v.back() = 1e-3F;
            });
            CHECK(refusal(m) == "");
        }
    }
}

TEST_CASE("binding: a single NaN or infinity is found and its place is told", "[binding]") {
    const auto name = GENERATE(as<std::string>{}, "gemma4-e2b", "gemma4-26b-a4b", "gemma3-270m");
    INFO(name);
    const material whole = golden(name);
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
            const io::tensor& t = whole.tensors[i];
            const index_t at = t.count() / 2, width = t.shape.back();
            material m = whole;
            m.tensors[i] = changed(t, [&](auto& v) { v[static_cast<std::size_t>(at)] = value; });
            CHECK_THAT(refusal(m),
                       Contains("tensor " + t.name + ":") && Contains(fmt::format("row {}, column {}", at / width, at % width)));
        }
    }
}

TEST_CASE("binding: a tensor too many is refused, vision and audio are not", "[binding]") {
    const auto name = GENERATE(as<std::string>{}, "gemma4-e2b", "gemma4-26b-a4b", "gemma3-270m");
    INFO(name);
    const material whole = golden(name);
    const auto with_extra = [&](const std::string& extra) {
        material m = whole;
        m.tensors.push_back(whole.tensors.front());
        m.tensors.back().name = extra;
        return refusal(m);
    };
    const std::string prefix = whole.names.embedding.substr(0, whole.names.embedding.find("embed_tokens"));
    for (const std::string& extra :
         {prefix + "layers.0.self_attn.q_proj.bias", prefix + "layers.99.mlp.up_proj.weight", prefix + "layers.0.self_attn.v_norm.weight",
          std::string("lm_head.bias"), std::string("vision"), std::string("model.vision_towers.weight")}) {
        CHECK_THAT(with_extra(extra), Contains(extra) && Contains("no use for"));
    }
    for (const char* extra : {"model.vision_tower.patch_embedder.input_proj.weight", "model.embed_vision.embedding_projection.weight",
                              "model.audio_tower.output_proj.bias", "model.embed_audio.embedding_projection.weight"}) {
        INFO(extra);
        CHECK(with_extra(extra) == "");
    }
    // More than a handful are counted, not listed.
    material many = whole;
    for (int i = 0; i < 40; ++i) {
        many.tensors.push_back(whole.tensors.front());
        many.tensors.back().name = "extra." + std::to_string(i);
    }
    CHECK_THAT(refusal(many), Contains("40 tensors") && Contains("…"));
}

TEST_CASE("binding: keys and values that a shared block no longer uses may be there, if they fit", "[binding]") {
    material m = golden("gemma4-e2b");
    const auto copy_of = [&](const std::string& from, const std::string& to) {
        for (const io::tensor& t : material(m).tensors) {
            if (t.name != from) continue;
            m.tensors.push_back(t);
            m.tensors.back().name = to;
        }
    };
    for (const char* part : {"k_proj", "v_proj", "k_norm"}) {
        copy_of(fmt::format("model.layers.0.self_attn.{}.weight", part),
                fmt::format("model.layers.5.self_attn.{}.weight", part)); // sliding
        copy_of(fmt::format("model.layers.4.self_attn.{}.weight", part), fmt::format("model.layers.9.self_attn.{}.weight", part)); // full
    }
    CHECK(refusal(m) == "");
    m.tensors.back().shape = {16}; // the norm of block 9 with the width of a sliding block
    CHECK_THAT(refusal(m), Contains("model.layers.9.self_attn.k_norm.weight") && Contains("[32]") && Contains("[16]"));
    // A full block with K = V has no value projection: one that is there would be ignored, so it is refused.
    material unified = golden("gemma4-12b");
    for (const io::tensor& t : material(unified).tensors) {
        if (t.name != "model.layers.5.self_attn.k_proj.weight") continue;
        unified.tensors.push_back(t);
        unified.tensors.back().name = "model.layers.5.self_attn.v_proj.weight";
    }
    CHECK_THAT(refusal(unified), Contains("model.layers.5.self_attn.v_proj.weight"));
}

TEST_CASE("binding: ones in front of a shape may be left out or spelt out", "[binding]") {
    material m = golden("gemma4-e2b");
    for (io::tensor& t : m.tensors) {
        if (!t.name.ends_with("layer_scalar")) continue;
        for (const auto& shape : {std::vector<index_t>{}, {1}, {1, 1}}) {
            t.shape = shape;
            CHECK(refusal(m) == "");
        }
        t.shape = {2};
        CHECK_THAT(refusal(m), Contains("expected shape [1], found [2]"));
        break;
    }
}

TEST_CASE("binding: a head of its own is bound, and must fit", "[binding]") {
    material m = golden("gemma4-e2b");
    for (const io::tensor& t : material(m).tensors) {
        if (t.name == "model.embed_tokens.weight") m.tensors.push_back(changed(t, [](auto& v) { std::reverse(v.begin(), v.end()); }));
    }
    m.tensors.back().name = "lm_head.weight";
    executor threads(1);
    const auto w = io::bind_weights(m.tensors, "golden", m.names, m.sizes, threads);
    CHECK(w->head.data != w->embedding.data);
    std::vector<float> head(64), embedding(64);
    for (index_t r = 0; r < 160; ++r) { // all of it: whole pages were lost, of bytes that are no file's
        w->head.decode_row(r, head.data());
        w->embedding.decode_row(159 - r, embedding.data());
        std::reverse(embedding.begin(), embedding.end());
        INFO(r);
        CHECK(head == embedding);
    }
    m.tensors.back().shape = {64, 160};
    CHECK_THAT(refusal(m), Contains("lm_head.weight") && Contains("[160, 64]"));
}

TEST_CASE("forget: pages of a mapped file leave memory and are read again, bytes that only memory has stay", "[binding]") {
    const tests::folder folder;
    const std::vector<std::byte> bytes(1 << 16, std::byte{7});
    io::output_file out(folder / "bytes");
    out.write(bytes);
    out.close();
    /// Whether the page that a byte lies in is in this process' memory (proc_pid_pagemap(5): bit 63).
    const auto in_memory = [](const std::byte* byte) {
        const auto page =
            static_cast<std::streamoff>(reinterpret_cast<std::uintptr_t>(byte) / static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)));
        std::ifstream map;
        map.rdbuf()->pubsetbuf(nullptr, 0); // whole entries are read, or none
        map.open("/proc/self/pagemap", std::ios::binary);
        std::uint64_t entry = 0;
        map.seekg(8 * page).read(reinterpret_cast<char*>(&entry), sizeof entry);
        REQUIRE(map.good());
        return entry >> 63 != 0;
    };
    const auto file = io::mapped_file::open(folder / "bytes");
    REQUIRE(std::ranges::equal(file.bytes(), bytes));
    CHECK(in_memory(file.data()));
    io::forget(file.owner(), file.data(), file.size());
    CHECK_FALSE(in_memory(file.data()));
    CHECK(std::ranges::equal(file.bytes(), bytes));

    const auto own = std::make_shared<const std::vector<std::byte>>(bytes);
    io::forget(own, own->data(), file.size());
    CHECK(*own == bytes);
}

TEST_CASE("binding: the same refusals come through files", "[binding]") {
    const tests::folder folder;
    const material whole = golden("gemma3-270m");
    std::filesystem::copy(whole.folder / "config.json", folder / "config.json");
    const auto file = folder / "model.safetensors";
    write_safetensors(file, whole.tensors);
    REQUIRE(refusal(folder.path()) == "");
    for (std::size_t i = 0; i < whole.tensors.size(); i += 5) {
        const io::tensor& t = whole.tensors[i];
        auto tensors = whole.tensors;
        tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
        write_safetensors(file, tensors);
        CHECK_THAT(refusal(folder.path()), Contains(t.name));
        tensors = whole.tensors;
        tensors[i] = changed(t, [](auto& v) { v.front() = std::numeric_limits<float>::quiet_NaN(); });
        write_safetensors(file, tensors);
        CHECK_THAT(refusal(folder.path()), Contains(t.name) && Contains("nan") && Contains("model.safetensors"));
    }
    std::filesystem::remove(file);
    CHECK_THAT(refusal(folder.path()), Contains("model.safetensors"));
    std::filesystem::remove(folder / "config.json");
    CHECK_THAT(refusal(folder.path()), Contains("config.json"));
    CHECK_THAT(refusal(folder / "nowhere"), Contains("found nothing there"));
}
