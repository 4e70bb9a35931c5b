// Writes what the fuzzers begin with: seeds FOLDER TESTS_DATA EXAMPLES_DATA makes FOLDER/<target>/<file>.
#include "fuzz.hpp"

#include <loupe/format/formats.hpp>
#include <loupe/io/gguf_writer.hpp>

#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace {

namespace format = loupe::format;
using loupe::index_t;
using path = std::filesystem::path;

std::string load(const path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw loupe::error(file.string() + ": expected a file, found none");
    return {std::istreambuf_iterator<char>(in), {}};
}

void save(const path& file, const std::string& bytes) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
}

std::string join(std::initializer_list<std::string> files) {
    std::string all;
    for (const std::string& f : files) all.append(all.empty() ? "" : fuzz::separator).append(f);
    return all;
}

std::vector<float> values(index_t count) {
    std::vector<float> v;
    for (index_t i = 0; i < count; ++i) v.push_back(static_cast<float>(i % 7) / 8 - 0.25F);
    return v;
}

using shapes = std::map<std::string, std::vector<index_t>>;

index_t count(const std::vector<index_t>& shape) {
    index_t n = 1;
    for (const index_t d : shape) n *= d;
    return n;
}

std::string safetensors(const shapes& tensors) {
    std::string header, data;
    for (const auto& [name, shape] : tensors) {
        const auto v = values(count(shape));
        header += fmt::format("{}\"{}\":{{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[{},{}]}}", header.empty() ? "{" : ",", name,
                              loupe::io::shape_text(shape), data.size(), data.size() + 4 * v.size());
        data.append(reinterpret_cast<const char*>(v.data()), 4 * v.size());
    }
    header += "}";
    const auto size = static_cast<std::uint64_t>(header.size());
    return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

std::string written(const loupe::io::gguf_writer& w) {
    const path file = std::filesystem::temp_directory_path() / fmt::format("loupe-seed-{}.gguf", ::getpid());
    w.write(file);
    const std::string bytes = load(file);
    std::filesystem::remove(file);
    return bytes;
}

constexpr std::uint32_t width = 4, heads = 2, head_width = 2, mlp = 3, vocabulary = 10, experts = 2, expert_width = 2, per_layer = 2;

void set_vocabulary(loupe::io::gguf_writer& w, bool by_score) {
    const std::string mark = "\xE2\x96\x81", k = "tokenizer.ggml.";
    w.set(k + "model", by_score ? "llama" : "gemma4");
    w.set(k + "tokens", std::vector<std::string>{"<pad>", "<eos>", "<bos>", "<unk>", "a", "b", mark, "ab", "<0x41>", "\n\n"});
    w.set(k + "token_type", std::vector<std::int32_t>{3, 3, 3, 2, 1, 1, 1, 1, 6, 4});
    if (by_score)
        w.set(k + "scores", std::vector<float>{0, 0, 0, 0, -1, -2, -3, -4, 0, 0});
    else
        w.set(k + "merges", std::vector<std::string>{"a b"});
    w.set(k + "bos_token_id", std::uint32_t{2});
    w.set(k + "eos_token_id", std::uint32_t{1});
    w.set(k + "suppress_tokens", std::vector<std::int32_t>{0});
    w.set(k + "add_space_prefix", false);
}

/// Two blocks, a sliding and a full one, with every part that the family can have.
std::string model(const std::string& family, bool with_experts) {
    const bool gemma4 = family == "gemma4";
    loupe::io::gguf_writer w(8);
    w.set("general.architecture", family);
    const std::string k = family + ".";
    w.set(k + "block_count", std::uint32_t{2});
    w.set(k + "embedding_length", width);
    w.set(k + "context_length", std::uint32_t{64});
    w.set(k + "feed_forward_length", std::vector<std::int32_t>{mlp, mlp});
    w.set(k + "attention.head_count", heads);
    w.set(k + "attention.head_count_kv", std::uint32_t{1});
    w.set(k + "attention.key_length", head_width);
    w.set(k + "attention.sliding_window", std::uint32_t{8});
    w.set(k + "attention.sliding_window_pattern", std::vector<bool>{true, false});
    w.set(k + "rope.freq_base", 1e6F);
    if (gemma4) w.set(k + "embedding_length_per_layer_input", per_layer);
    if (with_experts) {
        w.set(k + "expert_count", experts);
        w.set(k + "expert_used_count", std::uint32_t{1});
        w.set(k + "expert_feed_forward_length", expert_width);
    }
    set_vocabulary(w, !gemma4);
    const auto add = [&](const std::string& name, std::vector<index_t> shape) {
        const auto v = values(count(shape));
        w.add(name, name == "token_embd.weight" ? format::info_of<format::bf16>() : format::info_of<format::f32>(), std::move(shape), v);
    };
    const auto add_bf16 = [&](const std::string& name, std::vector<index_t> shape) {
        w.add(name, format::info_of<format::bf16>(), shape,
              std::vector<std::byte>(static_cast<std::size_t>(2 * count(shape)), std::byte{0x3e}));
    };
    add_bf16("token_embd.weight", {vocabulary, width});
    add("output_norm.weight", {width});
    if (gemma4) {
        w.add("rope_freqs.weight", format::info_of<format::f32>(), {1}, std::vector<float>{1});
        add_bf16("per_layer_token_embd.weight", {vocabulary, 2 * per_layer});
        add_bf16("per_layer_model_proj.weight", {2 * per_layer, width});
        add("per_layer_proj_norm.weight", {per_layer});
    }
    for (const std::string b : {"blk.0.", "blk.1."}) {
        for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) add(b + norm + ".weight", {width});
        for (const char* norm : {"attn_q_norm", "attn_k_norm"}) add(b + norm + ".weight", {head_width});
        add_bf16(b + "attn_q.weight", {heads * head_width, width});
        add_bf16(b + "attn_k.weight", {head_width, width});
        add_bf16(b + "attn_v.weight", {head_width, width});
        add_bf16(b + "attn_output.weight", {width, heads * head_width});
        add_bf16(b + "ffn_gate.weight", {mlp, width});
        add_bf16(b + "ffn_up.weight", {mlp, width});
        add_bf16(b + "ffn_down.weight", {width, mlp});
        if (!gemma4) continue;
        add(b + "layer_output_scale.weight", {1});
        add_bf16(b + "inp_gate.weight", {per_layer, width});
        add_bf16(b + "proj.weight", {width, per_layer});
        add(b + "post_norm.weight", {width});
        if (!with_experts) continue;
        add(b + "ffn_gate_inp.weight", {experts, width});
        add(b + "ffn_gate_inp.scale", {width});
        add(b + "ffn_down_exps.scale", {experts});
        for (const char* norm : {"pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"}) add(b + norm + ".weight", {width});
        add_bf16(b + "ffn_gate_up_exps.weight", {experts, 2 * expert_width, width});
        add_bf16(b + "ffn_down_exps.weight", {experts, width, expert_width});
    }
    return written(w);
}

const std::string config = R"({"model_type":"gemma4_text","vocab_size":10,"hidden_size":4,"num_attention_heads":2,"num_hidden_layers":1,)"
                           R"("hidden_size_per_layer_input":0,"intermediate_size":3,"head_dim":2,"global_head_dim":2,)"
                           R"("num_key_value_heads":1,"layer_types":["full_attention"]})";

shapes folder_tensors() {
    const std::string b = "model.layers.0.";
    shapes t{{"model.embed_tokens.weight", {10, 4}}, {"model.norm.weight", {4}}, {b + "layer_scalar", {1}}};
    for (const char* norm : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"})
        t[b + norm + ".weight"] = {4};
    for (const char* norm : {"q_norm", "k_norm"}) t[b + "self_attn." + norm + ".weight"] = {2};
    t[b + "self_attn.q_proj.weight"] = t[b + "self_attn.o_proj.weight"] = {4, 4};
    t[b + "self_attn.k_proj.weight"] = t[b + "self_attn.v_proj.weight"] = {2, 4};
    t[b + "mlp.gate_proj.weight"] = t[b + "mlp.up_proj.weight"] = {3, 4};
    t[b + "mlp.down_proj.weight"] = {4, 3};
    return t;
}

const std::string tokenizer =
    R"({"added_tokens":[{"id":0,"content":"<eos>","special":true},{"id":1,"content":"<bos>","special":true},)"
    R"({"id":8,"content":"<html>","special":false}],"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},)"
    R"("pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false},)"
    R"("model":{"type":"BPE","unk_token":"<unk>","vocab":{"<eos>":0,"<bos>":1,"<unk>":2,"a":3,"▁":4,"▁a":5,"b":6,"<0x7A>":7},)"
    R"("merges":[["▁","a"],"a b"]}})";

std::string container(index_t alignment) {
    loupe::io::gguf_writer w(alignment);
    w.set("a", std::uint8_t{1});
    w.set("b", std::int16_t{-2});
    w.set("c", std::uint64_t{3});
    w.set("d", 0.5);
    w.set("e", true);
    w.set("f", "text");
    w.set("g", std::vector<float>{1, 2});
    w.set("h", std::vector<std::string>{"x", "", "yz"});
    w.set("i", std::vector<bool>{true, false, true, true});
    w.set("j", std::vector<std::int64_t>{-1, 1});
    for (const auto* f : {&format::info_of<format::q8_0>(), &format::info_of<format::mxfp4>(), &format::info_of<format::f32>()})
        w.add(std::string(f->name), *f, {2, f->length}, std::vector<std::byte>(static_cast<std::size_t>(2 * f->bytes), std::byte{0x2a}));
    return written(w);
}

std::string part_of_two(std::uint16_t number) {
    loupe::io::gguf_writer w;
    w.set("split.no", number);
    w.set("split.count", std::uint16_t{2});
    w.set("split.tensors.count", std::int32_t{2});
    w.add(number == 0 ? "one" : "two", format::info_of<format::f32>(), {2}, values(2));
    return written(w);
}

std::string lines(const std::string& all, int n) {
    std::size_t end = 0;
    while (n-- > 0) end = all.find('\n', end) + 1;
    return all.substr(0, end);
}

} // namespace

int main(int argc, char** argv) try {
    if (argc != 4) throw loupe::error("usage: seeds FOLDER TESTS_DATA EXAMPLES_DATA");
    const path to = argv[1], data = argv[2], examples = argv[3];
    for (std::size_t i = 0; i < format::infos().size(); ++i) {
        const auto bytes = static_cast<std::size_t>(3 * format::infos()[i]->bytes);
        std::string blocks(1, static_cast<char>(i));
        for (std::size_t b = 0; b < bytes; ++b) blocks += static_cast<char>(b * 37 + i);
        save(to / "blocks" / std::string(format::infos()[i]->name), blocks);
    }
    save(to / "checkpoint/gemma3", model("gemma3", false));
    save(to / "checkpoint/gemma4", model("gemma4", false));
    save(to / "checkpoint/gemma4-experts", model("gemma4", true));
    save(to / "checkpoint/folder",
         join({config, safetensors(folder_tensors()), tokenizer, R"({"bos_token":"<bos>"})", R"({"eos_token_id":[0]})"}));
    for (const char* name : {"gemma3-270m", "gemma3-27b", "gemma4-12b", "gemma4-26b-a4b", "gemma4-31b", "gemma4-e2b", "gemma4-e4b"})
        save(to / "config" / name, load(data / name / "config.json"));
    save(to / "config/text", config);
    save(to / "gguf/one", container(32));
    save(to / "gguf/aligned", container(8));
    save(to / "gguf/two-parts", join({part_of_two(0), part_of_two(1)}));
    save(to / "npy/ids", load(data / "gemma4-e2b/ids.npy"));
    save(to / "npy/bytes", load(data / "blocks/q4_0.raw.npy"));
    save(to / "safetensors/one", safetensors({{"a", {2, 3}}, {"b", {}}, {"c", {0, 4}}}));
    save(to / "safetensors/two", join({R"({"metadata":{"total_size":24},"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})",
                                       safetensors({{"x", {2}}}), safetensors({{"y", {1, 2}}, {"z", {1}}})}));
    save(to / "tasks/stories", lines(load(examples / "text/stories.jsonl"), 2));
    save(to / "tasks/short", R"({"kind":"sums","text":"Añd one. two.","spans":[[0,4],[10,13]]})"
                             "\n");
    save(to / "text/plain", "\x04 aab ba\n\n  <a><a>b <|turn>é▁ <|channel>x<channel|>");
    save(to / "text/turns", "\x07" + join({"system", "user \n\n a", "model"}));
    save(to / "tokenizer/alone", tokenizer);
    save(to / "tokenizer/four",
         join({tokenizer, R"({"bos_token":{"content":"<bos>"},"eos_token":"<eos>"})", R"({"eos_token_id":[0,2],"suppress_tokens":[3]})",
               R"({"text_config":{"bos_token_id":1,"eos_token_id":0}})"}));
    for (const bool by_score : {true, false}) {
        loupe::io::gguf_writer w(8);
        set_vocabulary(w, by_score);
        save(to / "vocabulary" / (by_score ? "llama" : "gemma4"), written(w));
    }
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
