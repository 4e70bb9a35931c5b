// Made models: they open under strict binding, compute finite logits in every format, and come back with the sizes they were made of.
#include "files.hpp"
#include "open.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/make.hpp>
#include <loupe/model/decoder.hpp>

#include <cmath>
#include <map>

using namespace loupe;
using tests::folder, tests::load;

namespace {

/// The variant's structure: its pattern of blocks and what they have, but everything small.
dimensions small(std::string_view variant, index_t blocks) {
    dimensions d = io::with_blocks(io::sizes_of_variant(variant), blocks);
    d.vocabulary = 800;
    d.width = 256;
    d.heads = 4;
    d.window = 8;
    if (d.per_layer_width > 0) d.per_layer_width = 32;
    if (d.experts > 0) d.experts = 8, d.experts_used = 2, d.expert_width = 96;
    for (auto& b : d.block) {
        b.head_width = b.full && d.family == "gemma4" ? 64 : 32;
        b.kv_heads = b.full ? 1 : 2;
        b.mlp_width = b.shares_kv ? 512 : 256;
    }
    d.score_scale = d.family == "gemma3" ? 1 / std::sqrt(32.0) : 1;
    return d;
}

template <is::model M>
std::vector<float> logits_of(const io::checkpoint& file) {
    const decoder<M> model(file.sizes, file.weights);
    runtime on(1);
    auto s = model.start();
    const std::vector<token_id> ids{2, 17, 540, 699, 3, 758, 599, 600, 601, 602};
    const auto hidden = model.forward(s, ids, on);
    std::vector<float> out(ids.size() * static_cast<std::size_t>(file.sizes.vocabulary));
    model.logits(s, hidden, on, {out.data(), static_cast<index_t>(ids.size()), file.sizes.vocabulary});
    return out;
}

std::map<std::string_view, int> formats_of(const std::vector<io::planned_tensor>& plan) {
    std::map<std::string_view, int> count;
    for (const auto& t : plan) ++count[t.format->name];
    return count;
}

template <is::model M>
void check_opens(std::string_view variant, index_t blocks, const char* mix) {
    INFO(variant << " " << mix);
    const folder here;
    const dimensions d = small(variant, blocks);
    io::make_model(here / "m.gguf", d, io::format_mix(mix), 1, "made");
    executor threads(1);
    const auto file = tests::open(here / "m.gguf", threads);
    double squares = 0;
    const auto logits = logits_of<M>(file);
    for (const float v : logits) squares += static_cast<double>(v) * static_cast<double>(v);
    const double spread = std::sqrt(squares / static_cast<double>(logits.size()));
    CHECK(std::isfinite(spread));
    CHECK(spread > 0.3);
    CHECK(spread < 10);
    CHECK(file.text().size() == d.vocabulary);
}

} // namespace

TEST_CASE("make: every family opens and computes, in several mixes", "[make]") {
    for (const char* mix : {"q4_k_m", "q4_0", "bf16"}) {
        check_opens<gemma4::per_layer_of_file>("e2b", 10, mix);
        check_opens<gemma4::experts_of_file>("26b-a4b", 6, mix);
        check_opens<gemma4::dense_of_file>("12b", 7, mix);
        check_opens<gemma3::of_file>("gemma3-270m", 6, mix);
    }
}

TEST_CASE("make: every format has the mean and the spread that was asked for", "[make]") {
    for (const format::info* f : format::infos()) {
        INFO(f->name);
        constexpr index_t width = 5376, rows = 64;
        const format::random_rows random(*f, 1 / std::sqrt(5376.0), 7);
        std::vector<std::byte> blocks(static_cast<std::size_t>(f->row_bytes(width)));
        std::vector<float> values(width), before(width);
        double sum = 0, squares = 0;
        for (index_t r = 0; r < rows; ++r) {
            random(r, blocks.data(), width);
            f->decode_row(blocks.data(), values.data(), width);
            CHECK(values != before);
            before = values;
            for (const float v : values) sum += static_cast<double>(v), squares += static_cast<double>(v) * static_cast<double>(v);
        }
        const double deviation = std::sqrt(squares / (width * rows)) * std::sqrt(5376.0);
        const bool coarse = f->name == "MXFP4" || f->name == "NVFP4"; // their scales are powers of two, or multiples of 2^−9
        CHECK_THAT(deviation, Catch::Matchers::WithinAbs(1, coarse ? 0.42 : 0.03));
        CHECK_THAT(sum / (width * rows) * std::sqrt(5376.0), Catch::Matchers::WithinAbs(0, 0.02));
    }
}

TEST_CASE("make: the sizes come back", "[make]") {
    const folder here;
    for (const io::model_variant& v : io::model_variants) {
        INFO(v.name);
        const bool gemma3_27b = v.name == "gemma3-27b"; // whose score scale is known by its 62 blocks
        dimensions d = small(v.name, gemma3_27b ? 62 : v.sizes().first_full() + 2);
        if (gemma3_27b) d.score_scale = 1 / std::sqrt(256.0 / 4.0);
        io::make_model(here / "m.gguf", d, io::format_mix("q8_0"), 1, "made");
        const auto found = io::dimensions_from_gguf(io::gguf::open(here / "m.gguf"));
        CHECK(found.family == d.family);
        CHECK(found.vocabulary == d.vocabulary);
        CHECK(found.width == d.width);
        CHECK(found.heads == d.heads);
        CHECK(found.window == d.window);
        CHECK(found.context == d.context);
        CHECK(found.per_layer_width == d.per_layer_width);
        CHECK(found.experts == d.experts);
        CHECK(found.experts_used == d.experts_used);
        CHECK(found.expert_width == d.expert_width);
        CHECK(found.rope_sliding.theta == d.rope_sliding.theta);
        CHECK(found.rope_full.theta == d.rope_full.theta);
        CHECK(found.rope_full.share == d.rope_full.share);
        CHECK(found.rope_full.factor == d.rope_full.factor);
        CHECK(found.score_scale == d.score_scale);
        CHECK(found.final_cap == d.final_cap);
        CHECK_THAT(found.epsilon, Catch::Matchers::WithinRel(d.epsilon, 1e-6));
        CHECK(found.value_from_key == d.value_from_key);
        CHECK(found.images_see_themselves == d.images_see_themselves);
        REQUIRE(found.blocks() == d.blocks());
        for (index_t i = 0; i < d.blocks(); ++i) {
            CHECK(found[i].full == d[i].full);
            CHECK(found[i].shares_kv == d[i].shares_kv);
            CHECK(found[i].head_width == d[i].head_width);
            CHECK(found[i].kv_heads == d[i].kv_heads);
            CHECK(found[i].mlp_width == d[i].mlp_width);
        }
    }
}

TEST_CASE("make: fewer blocks keep the pattern, and all blocks are the variant itself", "[make]") {
    for (const io::model_variant& v : io::model_variants) {
        INFO(v.name);
        const dimensions d = v.sizes(), same = io::with_blocks(d, d.blocks());
        for (index_t i = 0; i < d.blocks(); ++i) {
            CHECK(same[i].full == d[i].full);
            CHECK(same[i].shares_kv == d[i].shares_kv);
            CHECK(same[i].mlp_width == d[i].mlp_width);
        }
    }
    const dimensions e = io::with_blocks(io::sizes_of_variant("e2b"), 10);
    CHECK(e.first_shared() == 5);
    CHECK(e[4].full);
    CHECK(e[5].mlp_width == 12288);
    CHECK_THROWS_WITH(io::with_blocks(io::sizes_of_variant("12b"), 5), Contains("expected 6 to 48"));
}

TEST_CASE("make: q4_k_m as released files have it", "[make]") {
    // tensors by format in the files that llama.cpp's quantiser makes, without those of blocks that share keys and values
    const auto of = [](const char* variant, const char* mix) {
        return formats_of(io::plan_tensors(io::sizes_of_variant(variant), io::format_mix(mix)));
    };
    CHECK(of("26b-a4b", "q4_k_m") ==
          std::map<std::string_view, int>{{"F32", 391}, {"Q4_K", 192}, {"Q5_0", 32}, {"Q6_K", 14}, {"Q8_0", 28}});
    CHECK(of("gemma3-270m", "q4_k_m") ==
          std::map<std::string_view, int>{{"F32", 109}, {"Q4_K", 27}, {"Q5_0", 81}, {"Q6_K", 9}, {"Q8_0", 10}});
    const auto down = of("26b-a4b", "q4_k,ffn_down_exps=q5_1,blk.0.attn_q=q6_k,token_embd=q8_0");
    CHECK(down.at("Q5_1") == 30);
    CHECK(down.at("Q5_0") == 30);
    CHECK(down.at("Q6_K") == 1);
    CHECK(down.at("Q8_0") == 1);
    CHECK(of("e2b", "q4_k,token_embd=q8_0").at("Q8_0") == 1); // not per_layer_token_embd
    CHECK(of("e2b", "q4_k,*token_embd=q8_0").at("Q8_0") == 2);
    CHECK(of("e2b", "q4_k").at("BF16") == 1);
}

TEST_CASE("make: the same seed gives the same bytes, another one others", "[make]") {
    const folder here;
    const dimensions d = small("e2b", 5);
    const auto made = [&](const char* name, std::uint64_t seed) {
        io::make_model(here / name, d, io::format_mix("q4_k_m"), seed, "made");
        return load(here / name);
    };
    const std::string first = made("a.gguf", 1);
    CHECK(first == made("b.gguf", 1));
    CHECK(first != made("c.gguf", 2));
}

TEST_CASE("make: the vocabulary encodes any text", "[make]") {
    const folder here;
    for (const char* variant : {"e2b", "gemma3-270m"}) {
        INFO(variant);
        dimensions d = small(variant, 6);
        d.vocabulary = 262144;
        d.width = 32;
        io::make_model(here / "m.gguf", d, io::format_mix("q4_0"), 1, "made");
        const auto tokens = io::tokenizer::from_gguf(io::gguf::open(here / "m.gguf"));
        CHECK(tokens.size() == 262144);
        CHECK(tokens.bos() == 2);
        CHECK(tokens.ends_generation(1));
        CHECK(tokens.ends_generation(106));
        for (const std::string text : {"the cat sat,\n\n  on the mat", "naïve — 日本", "\n\n\nA\t1"})
            CHECK(tokens.decode(tokens.encode(text)) == text);
        CHECK(tokens.encode("\n\n\n") == std::vector<token_id>{109});
        CHECK(tokens.encode("    ") == std::vector<token_id>{140});
        CHECK(tokens.encode(" ca").size() == 1);
        CHECK(tokens.find("<|image|>") == (d.family == "gemma4" ? std::optional<token_id>(258880) : std::nullopt));
    }
}

TEST_CASE("make: what cannot be made is refused", "[make]") {
    const folder here;
    CHECK_THROWS_WITH(io::sizes_of_variant("7b"), Contains("e2b, e4b") && Contains("'7b'"));
    CHECK_THROWS_WITH(io::format_mix("q9"), Contains("q4_k_m") && Contains("'q9'"));
    CHECK_THROWS_WITH(io::format_mix(""), Contains("q4_k_m"));
    CHECK_THROWS_WITH(io::format_mix("q4_0,ffn_down"), Contains("PATTERN=FORMAT"));
    CHECK_THROWS_WITH(io::format_mix("q4_0,ffn_down=q9"), Contains("'q9'"));
    const dimensions d = small("12b", 6);
    const auto make = [&](const std::filesystem::path& path, const dimensions& sizes, const char* mix) {
        return io::make_model(path, sizes, io::format_mix(mix), 1, "made");
    };
    CHECK_THROWS_WITH(make(here / "m.gguf", d, "q4_0,ffn_dwn=q8_0"), Contains("'ffn_dwn'"));
    CHECK_THROWS_WITH(make(here / "m.gguf", d, "q4_0,attn_norm=q8_0"), Contains("'attn_norm'")); // a vector
    dimensions tiny = d;
    tiny.vocabulary = 100;
    CHECK_THROWS_WITH(make(here / "m.gguf", tiny, "q4_0"), Contains("at least 600 tokens"));
    CHECK_THROWS_AS(make("/dev/full", d, "q4_0"), output_error);
    CHECK_THROWS_AS(make(here / "nowhere" / "m.gguf", d, "q4_0"), output_error);
    CHECK(std::filesystem::is_empty(here.path()));
}
