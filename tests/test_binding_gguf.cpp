// The same model from safetensors and from GGUF: names, gains (γ − 1 or γ), merged or split experts, rope_freqs, a head of its own. Logits
// must be equal bit for bit, since the weights are.
#include "data.hpp"
#include "files.hpp"

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/gguf_writer.hpp>
#include <loupe/io/npy.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/gemma3.hpp>

#include <cstring>
#include <functional>

using namespace loupe;
using tests::contains;

namespace {

struct stored_tensor {
    std::string name;
    std::vector<index_t> shape;
    std::vector<float> values;
};

/// A golden model's sizes and tensors, by their names in GGUF.
struct material {
    dimensions sizes;
    std::vector<stored_tensor> tensors;

    stored_tensor& at(const std::string& name) {
        for (auto& t : tensors) {
            if (t.name == name) return t;
        }
        throw error("no tensor " + name);
    }
};

material golden(const char* name) {
    material m;
    m.sizes = io::dimensions_from_config(tests::data(name));
    const auto file = io::safetensors::open(tests::data(name));
    const bool nested = file.find("model.language_model.embed_tokens.weight") != nullptr;
    const auto from = io::safetensors_names(nested ? "model.language_model." : "model.", m.sizes.family == "gemma3"), to = io::gguf_names();
    using names = io::tensor_names;
    for (std::string names::*field : {&names::embedding,
                                      &names::final_norm,
                                      &names::per_layer_table,
                                      &names::per_layer_projection,
                                      &names::per_layer_norm,
                                      &names::input_norm,
                                      &names::attention_norm,
                                      &names::mlp_input_norm,
                                      &names::mlp_norm,
                                      &names::scalar,
                                      &names::q,
                                      &names::k,
                                      &names::v,
                                      &names::o,
                                      &names::q_norm,
                                      &names::k_norm,
                                      &names::gate,
                                      &names::up,
                                      &names::down,
                                      &names::per_layer_gate,
                                      &names::per_layer_out,
                                      &names::per_layer_out_norm,
                                      &names::router,
                                      &names::router_scale,
                                      &names::expert_scale,
                                      &names::expert_gate_up,
                                      &names::expert_down,
                                      &names::expert_input_norm,
                                      &names::dense_norm,
                                      &names::experts_norm}) {
        const bool per_block = (from.*field).find("{}") != std::string::npos;
        for (index_t i = 0; i < (per_block ? m.sizes.blocks() : 1); ++i) {
            const auto* t = file.find(fmt::format(fmt::runtime(from.*field), i));
            if (t == nullptr) continue;
            stored_tensor s{fmt::format(fmt::runtime(to.*field), i), t->shape, std::vector<float>(static_cast<std::size_t>(t->count()))};
            t->format->decode_row(t->data, s.values.data(), t->count());
            // As converters do for Gemma 3: every gain grows by one.
            if (m.sizes.family == "gemma3" && s.name.find("norm") != std::string::npos) {
                for (float& v : s.values) v += 1.0F;
            }
            m.tensors.push_back(std::move(s));
        }
    }
    REQUIRE(m.tensors.size() == file.tensors().size());
    return m;
}

/// ones for the rotated pairs of a full block, then 1e30
void add_rope_freqs(material& m, std::size_t pairs, std::size_t rotated) {
    std::vector<float> values(pairs, 1e30F);
    std::fill_n(values.begin(), rotated, 1.0F);
    m.tensors.push_back({"rope_freqs.weight", {static_cast<index_t>(pairs)}, values});
}

void write(const material& m, const std::filesystem::path& path) {
    const dimensions& d = m.sizes;
    const std::string a = d.family + ".";
    io::gguf_writer w;
    const auto n = [](index_t v) { return static_cast<std::uint32_t>(v); };
    std::vector<std::uint32_t> mlp, kv;
    std::vector<bool> sliding;
    index_t full = d.first_full();
    for (index_t i = 0; i < d.blocks(); ++i) {
        mlp.push_back(n(d[i].mlp_width));
        kv.push_back(n(d[i].kv_heads));
        sliding.push_back(!d[i].full);
    }
    w.set("general.architecture", d.family);
    w.set(a + "block_count", n(d.blocks()));
    w.set(a + "embedding_length", n(d.width));
    w.set(a + "context_length", n(d.context));
    w.set(a + "feed_forward_length", mlp);
    w.set(a + "attention.head_count", n(d.heads));
    w.set(a + "attention.head_count_kv", kv);
    w.set(a + "attention.key_length", n(d[full].head_width));
    w.set(a + "attention.value_length", n(d[full].head_width));
    w.set(a + "attention.key_length_swa", n(d[0].head_width));
    w.set(a + "attention.value_length_swa", n(d[0].head_width));
    w.set(a + "attention.layer_norm_rms_epsilon", static_cast<float>(d.epsilon));
    w.set(a + "attention.sliding_window", n(d.window));
    w.set(a + "attention.sliding_window_pattern", sliding);
    w.set(a + "rope.freq_base", static_cast<float>(d.rope_full.theta));
    w.set(a + "rope.freq_base_swa", static_cast<float>(d.rope_sliding.theta));
    if (d.family == "gemma4") {
        w.set(a + "attention.shared_kv_layers", n(d.blocks() - d.first_shared()));
        w.set(a + "embedding_length_per_layer_input", n(d.per_layer_width));
        w.set(a + "final_logit_softcapping", static_cast<float>(d.final_cap));
    }
    if (d.experts > 0) {
        w.set(a + "expert_count", n(d.experts));
        w.set(a + "expert_used_count", n(d.experts_used));
        w.set(a + "expert_feed_forward_length", n(d.expert_width));
    }
    for (const auto& t : m.tensors) w.add(t.name, format::info_of<format::f32>(), t.shape, std::span<const float>(t.values));
    w.write(path);
}

std::vector<token_id> ids_of(const char* name) { return io::npy::read<token_id>(tests::data(name) / "ids.npy").values; }

template <is::model M>
std::vector<float> logits_of(const io::checkpoint& file, const std::vector<token_id>& ids) {
    const decoder<M> model(file.sizes, file.weights);
    runtime on(1);
    auto s = model.start();
    const auto hidden = model.forward(s, ids, on);
    std::vector<float> out(ids.size() * static_cast<std::size_t>(file.sizes.vocabulary));
    model.logits(s, hidden, on, {out.data(), static_cast<index_t>(ids.size()), file.sizes.vocabulary});
    return out;
}

io::checkpoint open(const std::filesystem::path& path) {
    executor threads(1);
    return tests::open(path, threads);
}

/// What opening a file of the material and making a decoder of it says; empty if both succeed.
template <is::model M>
std::string refusal(const material& m, const std::filesystem::path& path) {
    write(m, path);
    return tests::refusal([&] {
        const auto file = open(path);
        const decoder<M> model(file.sizes, file.weights);
    });
}

void split_experts(material& m) {
    for (index_t i = 0; i < m.sizes.blocks(); ++i) {
        stored_tensor both = m.at(fmt::format("blk.{}.ffn_gate_up_exps.weight", i));
        const auto experts = both.shape[0], f = both.shape[1] / 2, width = both.shape[2];
        stored_tensor gate{fmt::format("blk.{}.ffn_gate_exps.weight", i), {experts, f, width}, {}}, up = gate;
        up.name = fmt::format("blk.{}.ffn_up_exps.weight", i);
        for (index_t e = 0; e < experts; ++e) {
            const auto at = both.values.begin() + e * 2 * f * width;
            gate.values.insert(gate.values.end(), at, at + f * width);
            up.values.insert(up.values.end(), at + f * width, at + 2 * f * width);
        }
        m.at(both.name) = std::move(gate);
        m.tensors.push_back(std::move(up));
    }
}

} // namespace

TEST_CASE("gguf: Gemma 3 stores γ there and γ − 1 in safetensors", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    material m = golden("gemma3-270m");
    write(m, file);
    const auto ids = ids_of("gemma3-270m");
    const auto expected = logits_of<gemma3::of_file>(open(tests::data("gemma3-270m")), ids);
    CHECK((logits_of<gemma3::of_file>(open(file), ids) == expected));
    // Without the converter's addition the logits are others: the comparison above is not blind to it.
    for (auto& t : m.tensors) {
        if (t.name.find("norm") == std::string::npos) continue;
        for (float& v : t.values) v -= 1.0F;
    }
    write(m, file);
    CHECK((logits_of<gemma3::of_file>(open(file), ids) != expected));
}

TEST_CASE("gguf: 26B-A4B with merged and with split experts", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    material m = golden("gemma4-26b-a4b");
    add_rope_freqs(m, 16, 4);
    const auto ids = ids_of("gemma4-26b-a4b");
    const auto stock = open(tests::data("gemma4-26b-a4b"));
    const auto expected = logits_of<gemma4::experts_of_file>(stock, ids);
    write(m, file);
    const auto merged = open(file);
    CHECK(merged.sizes.value_from_key);
    CHECK((merged.sizes.images_see_themselves == stock.sizes.images_see_themselves));
    CHECK((logits_of<gemma4::experts_of_file>(merged, ids) == expected));
    split_experts(m);
    write(m, file);
    const auto split = open(file);
    CHECK(split.weights->block[0].experts.gate.all.data != split.weights->block[0].experts.up.all.data);
    CHECK((logits_of<gemma4::experts_of_file>(split, ids) == expected));
    // gate and up exchanged is another model
    for (index_t i = 0; i < m.sizes.blocks(); ++i) {
        std::swap(m.at(fmt::format("blk.{}.ffn_gate_exps.weight", i)).values, m.at(fmt::format("blk.{}.ffn_up_exps.weight", i)).values);
    }
    write(m, file);
    CHECK((logits_of<gemma4::experts_of_file>(open(file), ids) != expected));
}

TEST_CASE("gguf: rope_freqs is the rotated share's only trace", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    const material plain = golden("gemma4-e2b");
    const auto ids = ids_of("gemma4-e2b");
    const auto expected = logits_of<gemma4::per_layer_of_file>(open(tests::data("gemma4-e2b")), ids);
    write(plain, file); // without the tensor: a quarter
    CHECK(open(file).sizes.rope_full.share == 0.25);
    CHECK((logits_of<gemma4::per_layer_of_file>(open(file), ids) == expected));
    for (const std::size_t rotated : {0, 4, 7, 16}) {
        material m = plain;
        add_rope_freqs(m, 16, rotated);
        write(m, file);
        const auto opened = open(file);
        CHECK(opened.sizes.rope_full.share == static_cast<double>(rotated) / 16);
        CHECK((logits_of<gemma4::per_layer_of_file>(opened, ids) == expected) == (rotated == 4));
    }
    material m = plain;
    add_rope_freqs(m, 8, 2); // of another head width
    CHECK(contains(refusal<gemma4::per_layer_of_file>(m, file), "rope_freqs.weight"));
    m = plain;
    add_rope_freqs(m, 16, 4);
    m.tensors.back().values[10] = 1.0F; // not a share of the fastest pairs
    CHECK(contains(refusal<gemma4::per_layer_of_file>(m, file), "rope_freqs.weight"));
    m.tensors.back().values[10] = 8.0F; // as a long-context rope would have it
    CHECK(contains(refusal<gemma4::per_layer_of_file>(m, file), "rope_freqs.weight"));
}

TEST_CASE("gguf: every tensor of an E2B is needed", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    const material whole = golden("gemma4-e2b");
    REQUIRE(refusal<gemma4::per_layer_of_file>(whole, file) == "");
    for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
        material m = whole;
        const std::string name = m.tensors[i].name;
        m.tensors.erase(m.tensors.begin() + static_cast<std::ptrdiff_t>(i));
        const std::string message = refusal<gemma4::per_layer_of_file>(m, file);
        INFO(name << ": " << message);
        // Without values the last own full block could be one with K = V: no key tells it apart, the composition does.
        if (name == "blk.4.attn_v.weight")
            CHECK((contains(message, "block 4") && contains(message, "value projection")));
        else
            CHECK(contains(message, name));
    }
}

TEST_CASE("gguf: a value tensor missing from one of several full blocks does not make it K = V", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    material m = golden("gemma3-270m"); // never K = V
    std::erase_if(m.tensors, [](const auto& t) { return t.name == "blk.5.attn_v.weight"; });
    CHECK(contains(refusal<gemma3::of_file>(m, file), "blk.5.attn_v.weight"));
}

TEST_CASE("gguf: tensors of vision and audio in the same file are ignored, others are refused", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    const material whole = golden("gemma4-12b");
    REQUIRE(refusal<gemma4::dense_of_file>(whole, file) == "");
    for (const char* name : {"v.blk.0.attn_q.weight", "a.conv1d.0.weight", "mm.input_projection.weight"}) {
        material m = whole;
        m.tensors.push_back({name, {4}, {1, 2, 3, 4}});
        CHECK(refusal<gemma4::dense_of_file>(m, file) == "");
    }
    for (const char* name : {"blk.0.attn_q.bias", "blk.6.attn_norm.weight", "output.bias", "altup_proj.weight"}) {
        material m = whole;
        m.tensors.push_back({name, {4}, {1, 2, 3, 4}});
        CHECK(contains(refusal<gemma4::dense_of_file>(m, file), name));
    }
}

TEST_CASE("gguf: scales beside a matrix are refused and said to be what they are, since ignored they would give another model",
          "[binding]") {
    const tests::folder folder;
    material m = golden("gemma4-12b");
    m.tensors.push_back({"blk.0.attn_q.scale", {1}, {2}});
    CHECK(contains(refusal<gemma4::dense_of_file>(m, folder / "m.gguf"), "'blk.0.attn_q.scale' (tensors beside a matrix, such as NVFP4's"));
}

TEST_CASE("gguf: a head of its own is used, the embedding stays", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    material m = golden("gemma4-e2b");
    stored_tensor head = m.at("token_embd.weight");
    head.name = "output.weight";
    const auto width = static_cast<std::size_t>(head.shape[1]), vocabulary = static_cast<std::size_t>(head.shape[0]);
    for (std::size_t r = 0; r < vocabulary / 2; ++r) { // rows in reverse order: so are the logits, bit for bit
        std::swap_ranges(head.values.begin() + static_cast<std::ptrdiff_t>(r * width),
                         head.values.begin() + static_cast<std::ptrdiff_t>((r + 1) * width),
                         head.values.begin() + static_cast<std::ptrdiff_t>((vocabulary - 1 - r) * width));
    }
    m.tensors.push_back(head);
    write(m, file);
    const auto ids = ids_of("gemma4-e2b");
    const auto tied = logits_of<gemma4::per_layer_of_file>(open(tests::data("gemma4-e2b")), ids);
    auto own = logits_of<gemma4::per_layer_of_file>(open(file), ids);
    CHECK(own != tied);
    for (std::size_t t = 0; t < ids.size(); ++t) {
        std::reverse(own.begin() + static_cast<std::ptrdiff_t>(t * vocabulary),
                     own.begin() + static_cast<std::ptrdiff_t>((t + 1) * vocabulary));
    }
    CHECK(own == tied);
}

TEST_CASE("gguf: keys and values on shared blocks change nothing", "[binding]") {
    const tests::folder folder;
    const auto file = folder / "m.gguf";
    material m = golden("gemma4-e2b");
    const material plain = m;
    for (index_t i = 5; i < 10; ++i) {
        const index_t donor = m.sizes[i].full ? 4 : 0;
        for (const char* part : {"attn_k", "attn_v", "attn_k_norm"}) {
            stored_tensor t = material(plain).at(fmt::format("blk.{}.{}.weight", donor, part));
            t.name = fmt::format("blk.{}.{}.weight", i, part);
            for (float& v : t.values) v *= -3.0F;
            m.tensors.push_back(std::move(t));
        }
    }
    const auto ids = ids_of("gemma4-e2b");
    write(m, file);
    const auto opened = open(file);
    CHECK(opened.weights->block[9].attention.k.exists());
    CHECK(
        (logits_of<gemma4::per_layer_of_file>(opened, ids) == logits_of<gemma4::per_layer_of_file>(open(tests::data("gemma4-e2b")), ids)));
    // Only a composition that says so reads them.
    using unshared = with<gemma4::per_layer_of_file, slot::kv_sharing<kv_sharing::none>>;
    CHECK((logits_of<unshared>(opened, ids) != logits_of<gemma4::per_layer_of_file>(opened, ids)));
    CHECK(contains(refusal<unshared>(plain, file), "block 5 needs a key projection"));
}
