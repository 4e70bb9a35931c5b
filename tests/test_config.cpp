// Sizes from config.json and from GGUF keys: both spellings give the same model, what is missing gets the library's default, what cannot be
// right is refused by the field's name, and quickly.
#include "data.hpp"
#include "files.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/config_gguf.hpp>
#include <loupe/io/config_json.hpp>
#include <loupe/io/gguf_writer.hpp>

#include <sys/stat.h>

using namespace loupe;
using nlohmann::json;
using tests::contains;

namespace {

dimensions read_text(const std::string& text) {
    const tests::folder folder;
    tests::save(folder / "config.json", text);
    return io::dimensions_from_config(folder.path());
}
dimensions read(const json& config) { return read_text(config.dump()); }

std::string refusal(const std::string& text) {
    return tests::refusal([&] { return read_text(text); });
}
std::string refusal(const json& config) { return refusal(config.dump()); }

json config_of(const char* name) { return json::parse(tests::load(tests::data(name) / "config.json")); }

/// Everything as one text, to be compared and read.
std::string text_of(const dimensions& d) {
    std::string out = fmt::format("{} vocabulary {} width {} heads {} window {} per layer {} experts {} of {}, {} wide, context {}, score "
                                  "{} caps {} {} epsilon {} images {} kv {}\n",
                                  d.family, d.vocabulary, d.width, d.heads, d.window, d.per_layer_width, d.experts_used, d.experts,
                                  d.expert_width, d.context, d.score_scale, d.attention_cap, d.final_cap, static_cast<float>(d.epsilon),
                                  d.images_see_themselves, d.value_from_key);
    for (const rope_sizes* r : {&d.rope_sliding, &d.rope_full}) out += fmt::format("rope {} {} {}\n", r->theta, r->share, r->factor);
    for (const auto& b : d.block)
        out += fmt::format("{}{} {} × {}, {}\n", b.full ? "full" : "sliding", b.shares_kv ? " shared" : "", b.kv_heads, b.head_width,
                           b.mlp_width);
    return out;
}

const json least_gemma4{{"model_type", "gemma4_text"}};
const json least_gemma3{{"model_type", "gemma3_text"}};

json with_field(json config, const std::string& name, json value) {
    config[name] = std::move(value);
    return config;
}

} // namespace

TEST_CASE("config: the two spellings of Gemma 4 give the same model", "[config]") {
    // 12B's golden has per_layer_config: spelt the older way it says the same.
    json older = config_of("gemma4-12b");
    const std::string newer = text_of(read(older));
    older.erase("per_layer_config");
    older["global_head_dim"] = 32;
    older["num_global_key_value_heads"] = 1;
    CHECK(text_of(read(older)) == newer);
    // 26B-A4B's golden the other way round, nested in a text_config.
    json nested = config_of("gemma4-26b-a4b");
    const std::string expected = text_of(read(nested));
    auto& text = nested["text_config"];
    text.erase("global_head_dim");
    text.erase("num_global_key_value_heads");
    text["per_layer_config"] = {{"5", {{"head_dim", 32}, {"num_key_value_heads", 1}}}};
    CHECK(text_of(read(nested)) == expected);
    text["model_type"] = "gemma4_text";
    CHECK(text_of(read(text)) == expected); // and on its own
}

TEST_CASE("config: what a sub-key of per_layer_config leaves out is that of all blocks, not the default of full ones", "[config]") {
    json config = config_of("gemma4-12b");
    config["per_layer_config"] = {{"5", {{"num_key_value_heads", 1}}}};
    CHECK(read(config)[5].head_width == 16); // and not 512
    config["per_layer_config"] = {{"5", {{"head_dim", 32}}}};
    CHECK(read(config)[5].kv_heads == 2);
    config.erase("per_layer_config");
    CHECK(read(config)[5].head_width == 512);
    CHECK(read(config)[5].kv_heads == 2);
    // num_global_key_value_heads only counts where K = V
    config["num_global_key_value_heads"] = 1;
    CHECK(read(config)[5].kv_heads == 1);
    config["attention_k_eq_v"] = false;
    CHECK(read(config)[5].kv_heads == 2);
}

TEST_CASE("config: defaults of Gemma 4", "[config]") {
    const dimensions d = read(least_gemma4);
    CHECK(d.family == "gemma4");
    CHECK(d.vocabulary == 262144);
    CHECK(d.width == 2304);
    CHECK(d.blocks() == 30);
    CHECK(d.heads == 8);
    CHECK(d.window == 512);
    CHECK(d.per_layer_width == 256);
    CHECK(d.experts == 0);
    CHECK(d.context == 131072);
    CHECK(d.final_cap == 0); // null: no cap, whatever released files set
    CHECK(d.attention_cap == 0);
    CHECK(d.score_scale == 1);
    CHECK(d.epsilon == 1e-6);
    CHECK(!d.value_from_key);
    CHECK(!d.images_see_themselves);
    CHECK(d.first_shared() == 30);
    for (index_t i = 0; i < 30; ++i) {
        CHECK(d[i].full == (i % 6 == 5));
        CHECK(d[i].head_width == (d[i].full ? 512 : 256));
        CHECK(d[i].kv_heads == 4);
        CHECK(d[i].mlp_width == 9216);
    }
    CHECK(d.rope_sliding.theta == 1e4);
    CHECK(d.rope_sliding.share == 1);
    CHECK(d.rope_full.theta == 1e6);
    CHECK(d.rope_full.share == 0.25);
    CHECK(d.rope_full.factor == 1);
    // null is the same as missing
    json nulls = least_gemma4;
    for (const char* name : {"vocab_size", "sliding_window", "layer_types", "rope_parameters", "num_experts", "global_head_dim",
                             "use_bidirectional_attention"})
        nulls[name] = nullptr;
    CHECK(text_of(read(nulls)) == text_of(d));
}

TEST_CASE("config: the last block is full whatever the list says, and double width follows shared keys", "[config]") {
    json config =
        with_field(with_field(least_gemma4, "num_hidden_layers", 4), "layer_types", json(std::vector<std::string>(4, "sliding_attention")));
    CHECK(!read(config)[2].full);
    CHECK(read(config)[3].full);
    config["num_kv_shared_layers"] = 1;
    CHECK(read(config)[3].mlp_width == 9216);
    config["use_double_wide_mlp"] = true;
    CHECK(read(config)[2].mlp_width == 9216);
    CHECK(read(config)[3].mlp_width == 18432);
    CHECK(read(config).first_shared() == 3);
}

TEST_CASE("config: ropes of Gemma 4", "[config]") {
    json config = least_gemma4;
    config["rope_parameters"] = {
        {"full_attention", {{"rope_type", "proportional"}, {"rope_theta", 5e5}, {"partial_rotary_factor", 0.5}, {"factor", 4.0}}},
        {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 2e4}}}};
    const dimensions d = read(config);
    CHECK(d.rope_full.theta == 5e5);
    CHECK(d.rope_full.share == 0.5);
    CHECK(d.rope_full.factor == 4);
    CHECK(d.rope_sliding.theta == 2e4);
    config["rope_parameters"]["full_attention"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
    CHECK(contains(refusal(config), "rope_type"));
}

TEST_CASE("config: Gemma 3, in its newer and in its older spelling", "[config]") {
    json newer = config_of("gemma3-27b");
    const dimensions d = read(newer);
    CHECK(d.family == "gemma3");
    CHECK(d.score_scale == Approx(1 / std::sqrt(newer["query_pre_attn_scalar"].get<double>())).epsilon(1e-15));
    CHECK(d.final_cap == 0);
    CHECK(d.rope_full.share == 1);
    json older = newer;
    const double factor = newer["rope_parameters"]["full_attention"].value("factor", 1.0);
    older.erase("rope_parameters");
    older.erase("layer_types");
    older.erase("_sliding_window_pattern");
    older["rope_theta"] = 1e6;
    older["rope_local_base_freq"] = 1e4;
    older["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor}};
    older["sliding_window_pattern"] = 6;
    CHECK(text_of(read(older)) == text_of(d));
    older["sliding_window_pattern"] = 2;
    CHECK(read(older)[1].full);
    // defaults
    const dimensions least = read(least_gemma3);
    CHECK(least.blocks() == 26);
    CHECK(least.window == 4096);
    CHECK(least.score_scale == 1.0 / 16);
    CHECK(least.rope_full.theta == 1e6);
    CHECK(least.rope_full.factor == 1);
    CHECK(!least[25].full); // the tail of an incomplete period slides
}

TEST_CASE("config: every refusal names its field", "[config]") {
    const std::vector<std::pair<const char*, json>> wrong{{"hidden_size", 0},
                                                          {"hidden_size", -5},
                                                          {"hidden_size", 1.5},
                                                          {"hidden_size", "large"},
                                                          {"hidden_size", json::array({1})},
                                                          {"hidden_size", true},
                                                          {"num_hidden_layers", 1'000'000'000'000'000'000},
                                                          {"num_hidden_layers", 18'446'744'073'709'551'615ULL},
                                                          {"num_hidden_layers", -1},
                                                          {"num_attention_heads", 0},
                                                          {"num_key_value_heads", 0},
                                                          {"vocab_size", 1'000'000'000'000},
                                                          {"head_dim", 0},
                                                          {"intermediate_size", 9'000'000'000'000'000'000},
                                                          {"sliding_window", 0},
                                                          {"rms_norm_eps", "small"},
                                                          {"final_logit_softcapping", "none"},
                                                          {"hidden_activation", "silu"},
                                                          {"attention_bias", true},
                                                          {"layer_types", json::array({"full_attention"})},
                                                          {"layer_types", "full_attention"},
                                                          {"layer_types", json(std::vector<std::string>(30, "chunked_attention"))},
                                                          {"rope_parameters", 3}};
    for (const auto& [name, value] : wrong) {
        INFO(name << " = " << value.dump().substr(0, 80));
        CHECK(contains(refusal(with_field(least_gemma4, name, value)), std::string("config.json: ") + name + ": expected"));
        if (std::string(name) != "layer_types") CHECK(contains(refusal(with_field(least_gemma3, name, value)), name));
    }
    const std::vector<std::pair<const char*, json>> wrong_in_gemma4{
        {"use_bidirectional_attention", "all"}, {"attention_k_eq_v", 1}, {"num_kv_shared_layers", 31}, {"num_kv_shared_layers", -1},
        {"hidden_size_per_layer_input", -1},    {"global_head_dim", 0},  {"per_layer_config", 7},      {"per_layer_config", {{"5", 7}}}};
    for (const auto& [name, value] : wrong_in_gemma4) {
        INFO(name << " = " << value.dump());
        CHECK(contains(refusal(with_field(least_gemma4, name, value)), name));
    }
    for (const auto& [name, value] : std::vector<std::pair<const char*, json>>{{"query_pre_attn_scalar", 0},
                                                                               {"query_pre_attn_scalar", -256},
                                                                               {"attn_logit_softcapping", 50.0},
                                                                               {"use_bidirectional_attention", true},
                                                                               {"sliding_window_pattern", 0}}) {
        INFO(name << " = " << value.dump());
        CHECK(contains(refusal(with_field(least_gemma3, name, value)), name));
    }
}

TEST_CASE("config: images see themselves where it says so", "[config]") {
    const auto see = [](const json& config) { return read(config).images_see_themselves; };
    CHECK_FALSE(see(least_gemma4));
    CHECK_FALSE(see(with_field(least_gemma4, "use_bidirectional_attention", false)));
    CHECK_FALSE(see(with_field(least_gemma4, "use_bidirectional_attention", nullptr)));
    CHECK(see(with_field(least_gemma4, "use_bidirectional_attention", "vision")));
}

TEST_CASE("config: experts need their three numbers, and fit each other", "[config]") {
    json config = least_gemma4;
    config["enable_moe_block"] = true;
    CHECK(contains(refusal(config), "num_experts"));
    config["num_experts"] = 16;
    CHECK(contains(refusal(config), "top_k_experts"));
    config["top_k_experts"] = 4;
    CHECK(contains(refusal(config), "moe_intermediate_size"));
    config["moe_intermediate_size"] = 96;
    CHECK(read(config).experts == 16);
    config["top_k_experts"] = 17;
    CHECK(contains(refusal(config), "between 1 and 16 experts used"));
    config["enable_moe_block"] = false;
    CHECK(read(config).experts == 0); // what stands there then does not count
}

TEST_CASE("config: sizes that break a rule of compositions are refused", "[config]") {
    CHECK(contains(refusal(with_field(least_gemma4, "head_dim", 255)), "even head width"));
    CHECK(contains(refusal(with_field(least_gemma4, "num_key_value_heads", 3)), "divides the 8 query heads"));
    CHECK(contains(refusal(with_field(least_gemma4, "rms_norm_eps", 0.0)), "epsilon"));
    CHECK(contains(refusal(with_field(least_gemma4, "rms_norm_eps", -1e-6)), "epsilon"));
    CHECK(contains(refusal(with_field(least_gemma4, "final_logit_softcapping", -30)), "softcap"));
    json config = least_gemma4;
    for (const auto& [field, value] : std::vector<std::pair<const char*, double>>{
             {"rope_theta", 0}, {"rope_theta", -1e4}, {"factor", 0}, {"partial_rotary_factor", 1.5}, {"partial_rotary_factor", -0.1}}) {
        INFO(field << " = " << value);
        config["rope_parameters"] = {{"full_attention", {{"rope_type", "proportional"}}}};
        config["rope_parameters"]["full_attention"][field] = value;
        CHECK(refusal(config) != "");
    }
    // Full blocks of different widths: one rope table serves all of a kind.
    config = with_field(least_gemma4, "per_layer_config", {{"5", {{"head_dim", 512}}}, {"11", {{"head_dim", 128}}}});
    CHECK(contains(refusal(config), "block 11"));
}

TEST_CASE("config: what is no config is refused", "[config]") {
    for (const char* text : {"", "{", "[]", "null", "3", "{\"model_type\": \"gemma4_text\", }", "\xff\xfe"}) {
        INFO(text);
        CHECK(contains(refusal(std::string(text)), "config.json"));
    }
    for (const json& type : {json("llama"), json("gemma2"), json(""), json("gemma4_vision")})
        CHECK(contains(refusal(json{{"model_type", type}}), "model_type"));
    CHECK(contains(refusal(json{{"model_type", 4}}), "model_type"));
    CHECK(contains(refusal(json::object()), "model_type"));
    CHECK(contains(refusal(json{{"model_type", "gemma4"}, {"text_config", 5}}), "text_config"));
    CHECK(contains(refusal(json{{"model_type", "gemma4"}, {"text_config", {{"hidden_size", 0}}}}), "text_config"));
    // Depth that would end the parser's stack, and a name that is not UTF-8.
    CHECK(refusal("{\"a\":" + std::string(200000, '[')) != "");
    CHECK(refusal("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}") != "");
    CHECK_THROWS_AS(io::dimensions_from_config("/nowhere/at/all"), error);
}

TEST_CASE("config: a folder or a pipe in place of the file is refused, and not waited for", "[config]") {
    const tests::folder folder;
    const auto path = folder / "config.json";
    const auto refused = [&] { return tests::refusal([&] { return io::dimensions_from_config(folder.path()); }); };
    CHECK(contains(refused(), "expected a config.json"));
    std::filesystem::create_directory(path);
    CHECK(contains(refused(), "found a folder"));
    std::filesystem::remove(path);
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    CHECK(contains(refused(), "a device or a pipe"));
}

TEST_CASE("config: placeholders are those of the outer object", "[config]") {
    const dimensions d = io::dimensions_from_config(tests::data("gemma4-26b-a4b"));
    CHECK(d.placeholders == std::vector<token_id>{100});
    json config = config_of("gemma4-26b-a4b");
    config["audio_token_id"] = 101;
    CHECK(read(config).placeholders == std::vector<token_id>{100, 101});
    config["audio_token_id"] = -1;
    CHECK(contains(refusal(config), "audio_token_id"));
}

TEST_CASE("config: a GGUF file's keys and config.json give the same sizes", "[config]") {
    const auto from_json = io::dimensions_from_config(tests::example("models/nano-e"));
    const auto from_gguf = io::dimensions_from_gguf(io::gguf::open(tests::example("models/nano-e/nano-e-Q4_K_M.gguf")));
    CHECK(text_of(from_gguf) == text_of(from_json));
}

TEST_CASE("config: refusals of GGUF keys name the key", "[config]") {
    const tests::folder folder;
    const auto path = folder / "keys.gguf";
    // The keys of a small dense Gemma 4; a test changes one of them.
    const auto refused = [&](const auto& change) {
        io::gguf_writer w;
        w.set("general.architecture", "gemma4");
        w.set("gemma4.block_count", std::uint32_t{6});
        w.set("gemma4.embedding_length", std::uint32_t{64});
        w.set("gemma4.feed_forward_length", std::uint32_t{96});
        w.set("gemma4.attention.head_count", std::uint32_t{4});
        w.set("gemma4.attention.head_count_kv", std::uint32_t{2});
        w.set("gemma4.attention.key_length", std::uint32_t{32});
        w.set("gemma4.attention.key_length_swa", std::uint32_t{16});
        change(w);
        w.add("token_embd.weight", format::info_of<format::f32>(), {160, 64}, std::vector<std::byte>(160 * 64 * 4));
        w.write(path);
        return tests::refusal([&] { return io::dimensions_from_gguf(io::gguf::open(path)); });
    };
    CHECK(refused([](auto&) {}) == "");
    for (const char* key : {"block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
                            "attention.key_length"}) {
        const std::string name = std::string("gemma4.") + key;
        INFO(name);
        CHECK(contains(refused([&](auto& w) { w.set(name, std::uint32_t{0}); }), key));
        CHECK(contains(refused([&](auto& w) { w.set(name, std::int64_t{-3}); }), key));
        CHECK(contains(refused([&](auto& w) { w.set(name, std::uint64_t{1'000'000'000'000'000'000}); }), key));
        CHECK(contains(refused([&](auto& w) { w.set(name, "six"); }), key));
    }
    CHECK(contains(refused([](auto& w) {
                       w.set("gemma4.feed_forward_length", std::vector<std::uint32_t>{96, 96});
                   }),
                   "feed_forward_length"));
    CHECK(contains(refused([](auto& w) { w.set("gemma4.attention.sliding_window_pattern", std::vector<bool>{true}); }),
                   "sliding_window_pattern"));
    CHECK(contains(refused([](auto& w) {
                       w.set("gemma4.attention.head_count", std::vector<std::uint32_t>{4, 4, 4, 4, 4, 8});
                   }),
                   "head_count"));
    CHECK(contains(refused([](auto& w) { w.set("gemma4.attention.value_length", std::uint32_t{64}); }), "value_length"));
    CHECK(contains(refused([](auto& w) { w.set("gemma4.attention.shared_kv_layers", std::uint32_t{7}); }), "shared_kv_layers"));
    CHECK(contains(refused([](auto& w) { w.set("gemma4.expert_count", std::uint32_t{8}); }), "expert_used_count"));
    CHECK(contains(refused([](auto& w) { w.set("gemma4.rope.freq_base", -1.0F); }), "theta"));
    CHECK(contains(refused([](auto& w) { w.set("gemma4.attention.layer_norm_rms_epsilon", 2.0F); }), "epsilon"));
    CHECK(contains(refused([](auto& w) { w.set("gemma4.rope.freq_base", "a million"); }), "freq_base"));
    CHECK(contains(refused([](auto& w) { w.set("general.architecture", "llama"); }), "general.architecture"));
}
