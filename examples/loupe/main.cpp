// loupe: looks inside Gemma decoders from real files.
#include "commands.hpp"

#include <loupe/core/error.hpp>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <new>
#include <set>
#include <string>
#include <system_error>
#include <vector>

namespace {

constexpr const char* about = R"(loupe looks inside Gemma 3 and Gemma 4 decoders.

MODEL is a .gguf file, or a folder with config.json, safetensors and tokenizer.json.
The family (and with it the composition of parts) is recognised from the file.
Results go to standard output, progress and messages to standard error.

First steps:
  loupe describe MODEL                          what is it made of?
  loupe generate MODEL --prompt "Once"          what does it say?
  loupe score    MODEL --text book.txt          how well does it predict a text?
  loupe variants MODEL                          which parts can be exchanged?
  loupe ablate   MODEL --text book.txt          what happens if they are?
  loupe bench    MODEL                          how fast is it here?
  loupe make     26b-a4b OUT.gguf               how fast would another one be?
)";

constexpr const char* codes =
    "Exit codes: 0 done; 1 bad input (a file, a text, ids that do not fit); 2 wrong usage; 3 a result could not be written.";

constexpr std::uint64_t any_seed = std::numeric_limits<std::uint64_t>::max();

CLI::App* command(CLI::App& app, const char* name, const char* text, std::string& model) {
    CLI::App* c = app.add_subcommand(name, text);
    c->add_option("MODEL", model, "a .gguf file, or a folder with config.json")->required();
    c->footer(codes);
    return c;
}

/// Whole numbers between two, as written in decimal: CLI11 takes 010 for eight, and −1 for the largest number where there are no negative
/// ones.
CLI::Validator whole(std::uint64_t lowest, std::uint64_t highest) {
    return CLI::Validator(
        [=](const std::string& text) {
            std::uint64_t value = 0;
            const char* const end = text.data() + text.size();
            const auto [rest, status] = std::from_chars(text.data(), end, value);
            const bool is_number = status == std::errc() && rest == end && (text == "0" || text.front() != '0');
            return is_number && value >= lowest && value <= highest
                       ? std::string()
                       : fmt::format("expected a whole number between {} and {}, found {}", lowest, highest, text);
        },
        fmt::format("INT in [{} - {}]", lowest, highest), "whole");
}

void add_threads(CLI::App* c, loupe::index_t& threads) {
    c->add_option("--threads", threads, "number of threads; 0: one for each processor")->check(whole(0, 1024))->capture_default_str();
}

void add_kv(CLI::App* c, std::string& format) {
    c->add_option("--kv", format, "format of the keys and values in the cache: f32, f16, bf16, q8_0")
        ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0"}))
        ->capture_default_str();
}

/// Numbers between two: not a NaN, which CLI::Range lets pass.
CLI::Validator between(double lowest, double highest) {
    return CLI::Validator(
        [=](const std::string& text) {
            double value = 0;
            const bool is_number = CLI::detail::lexical_cast(text, value);
            return is_number && value >= lowest && value <= highest
                       ? std::string()
                       : fmt::format("expected a number between {} and {}, found {}", lowest, highest, text);
        },
        fmt::format("FLOAT in [{} - {}]", lowest, highest), "between");
}

/// Files that are not written to standard output.
CLI::Validator named_file() {
    return CLI::Validator(
        [](const std::string& name) {
            return name == "-" ? std::string("expected the name of a file, found -, which would be standard output") : std::string();
        },
        "", "named_file");
}

/// No result is written over another, or over what it is made from. Names that are not given are empty.
void expect_apart(std::initializer_list<std::string> results, std::initializer_list<std::string> inputs) {
    std::vector<std::filesystem::path> taken;
    std::error_code ignored;
    const auto place = [&](const std::string& name) {
        return name == "-" ? std::filesystem::path(name)
                           : std::filesystem::weakly_canonical(std::filesystem::absolute(name, ignored), ignored);
    };
    const auto is_part_of_a_model = [](const std::string& file) {
        return file.ends_with("config.json") || file.ends_with("tokenizer.json") || file.ends_with(".safetensors") ||
               file.ends_with(".safetensors.index.json") || file.ends_with(".jinja");
    };
    for (const std::string& name : inputs)
        if (!name.empty()) taken.push_back(place(name));
    for (const std::string& name : results) {
        if (name.empty() || std::filesystem::is_other(std::filesystem::status(name, ignored))) continue; // devices hold nothing
        const std::filesystem::path file = place(name);
        const auto is_in_the_way = [&](const std::filesystem::path& other) { // a folder with what makes it a model
            return file == other || (file.parent_path() == other && is_part_of_a_model(file.filename().string()));
        };
        if (!file.empty() && std::any_of(taken.begin(), taken.end(), is_in_the_way))
            throw CLI::ValidationError(
                name, "expected a file of its own for every result, found one that is named twice or belongs to the model");
        taken.push_back(file);
    }
}

int report(const char* what, int code) {
    std::fprintf(stderr, "loupe: %s\n", what);
    return code;
}

int run(int argc, char** argv) {
    CLI::App app(about);
    app.footer(codes);
    app.require_subcommand(1);
    app.set_help_all_flag("--help-all", "help of all commands");

    program::describe_options describe;
    auto* c = command(app, "describe", "parts with shapes and parameters, bytes by format, and what differs from the stock variant",
                      describe.model);
    c->add_flag("--json", describe.json, "as JSON");
    c->callback([&] { program::describe(describe); });

    program::tokenize_options tokenize;
    c = command(app, "tokenize", "ids and pieces of a text", tokenize.model);
    auto* text = c->add_option("--text", tokenize.text, "the text itself");
    auto* file = c->add_option("--file", tokenize.file, "a file with the text");
    text->excludes(file);
    c->add_flag("--json", tokenize.json, "only the ids, as one JSON array");
    c->add_flag("--bos", tokenize.bos, "put the begin-of-sequence token in front");
    c->callback([&, text, file] {
        if (text->count() + file->count() != 1) throw CLI::RequiredError("--text or --file");
        tokenize.has_text = text->count() == 1;
        program::tokenize(tokenize);
    });

    program::generate_options generate;
    c = command(app, "generate", "continues a prompt", generate.model);
    c->add_option("--prompt", generate.prompt, "the text to continue")->required();
    c->add_option("-n", generate.count, "number of tokens at most")->check(whole(1, 1 << 30))->capture_default_str();
    auto* greedy = c->add_flag("--greedy", generate.greedy, "always the most likely token");
    auto* temperature = c->add_option("--temperature", generate.temperature, "divides the logits before sampling")
                            ->check(between(1e-4, 1e4))
                            ->capture_default_str();
    auto* top_k =
        c->add_option("--top-k", generate.top_k, "sample among the k most likely; 0: all")->check(whole(0, 1 << 30))->capture_default_str();
    auto* top_p = c->add_option("--top-p", generate.top_p, "sample among the most likely that together reach this probability")
                      ->check(between(1e-6, 1.0))
                      ->capture_default_str();
    auto* seed = c->add_option("--seed", generate.seed, "of the sampling")->check(whole(0, any_seed))->capture_default_str();
    for (auto* of_sampling : {temperature, top_k, top_p, seed}) greedy->excludes(of_sampling);
    c->add_flag("--chat", generate.chat, "the prompt is a user's turn of a chat");
    c->add_flag("!--no-stop", generate.stop, "go on after an end-of-generation token");
    c->add_flag(
        "--int8", generate.int8,
        "products of 8-bit integers, of prompts by tiles of BF16 where the machine has AMX: several times as fast, operands are rounded");
    c->add_flag("--json", generate.json, "prompt_ids, ids and text as JSON");
    add_kv(c, generate.kv);
    add_threads(c, generate.threads);
    c->callback([&] { program::generate(generate); });

    program::score_options score;
    c = command(app, "score", "perplexity of a text, or accuracy on tasks", score.model);
    c->add_option("--text", score.text, "a text file: BOS and context − 1 tokens at a time, without overlap");
    c->add_option("--tasks", score.tasks,
                  "a JSONL file of {\"kind\", \"text\", \"spans\": [[begin, end], …]}, spans being byte offsets of answers");
    c->add_option("--context", score.context, "tokens in a segment, BOS included")->check(whole(2, 1 << 24))->capture_default_str();
    c->add_option("--json", score.json, "also write the figures to this file (- for standard output)");
    add_threads(c, score.threads);
    c->callback([&] {
        if (score.text.empty() && score.tasks.empty()) throw CLI::RequiredError("--text or --tasks");
        expect_apart({score.json}, {score.model, score.text, score.tasks});
        program::score(score);
    });

    program::logits_options logits;
    c = command(app, "logits", "logits and residual streams of given ids, as .npy files", logits.model);
    c->add_option("--ids", logits.ids, "token ids, separated by commas")->required();
    c->add_option("--out", logits.out, "float32 [tokens, vocabulary]")->required()->check(named_file());
    c->add_option("--layers", logits.layers,
                  "float32 [blocks + 1, tokens, width]: the scaled embedding, then the residual stream after every block")
        ->check(named_file());
    c->add_option("--image-blocks", logits.image_blocks, "positions that are images, e.g. 5:11,18:32 (end excluded)");
    c->add_option("--chunk", logits.chunk, "tokens read at a time; 0: all at once")->check(whole(0, 1 << 24))->capture_default_str();
    add_threads(c, logits.threads);
    c->callback([&] {
        expect_apart({logits.out, logits.layers}, {logits.model});
        program::logits(logits);
    });

    program::ablate_options ablate;
    c = command(app, "ablate", "exchanges one part at a time and compares with the stock model on the same tokens, with 95 % intervals",
                ablate.model);
    c->add_option("--text", ablate.text, "a text file; blank lines separate documents, the clusters of the intervals");
    c->add_option("--tasks", ablate.tasks, "a JSONL file of tasks, as for score");
    c->add_option(
         "--variants", ablate.variants,
         "ids separated by commas (see `loupe variants MODEL`); without it, all that fit the model and are not marked \"only when named\"")
        ->delimiter(',')
        ->allow_extra_args(false);
    c->add_option("--context", ablate.context, "tokens in a segment, BOS included")->check(whole(2, 1 << 24))->capture_default_str();
    c->add_option("--json", ablate.json, "write the figures of every id to this file (- for standard output)");
    c->add_option("--html", ablate.html, "write one self-contained page with table and charts to this file (- for standard output)");
    add_threads(c, ablate.threads);
    c->callback([&] {
        if (ablate.text.empty() && ablate.tasks.empty()) throw CLI::RequiredError("--text or --tasks");
        std::set<std::string> ids;
        for (const std::string& id : ablate.variants) {
            if (!ids.insert(id).second) throw CLI::ValidationError("--variants", fmt::format("expected every id once, found {} twice", id));
        }
        expect_apart({ablate.json, ablate.html}, {ablate.model, ablate.text, ablate.tasks});
        program::ablate(ablate);
    });

    program::bench_options bench;
    c = command(app, "bench", "tokens a second: reading a prompt (pp), and generating one token at a time (tg)", bench.model);
    c->add_option("-p,--n-prompt", bench.prompt, "lengths of prompts, separated by commas; 0: none")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(whole(0, 1 << 24))
        ->capture_default_str();
    c->add_option("-n,--n-gen", bench.generation, "numbers of tokens to generate; 0: none")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(whole(0, 1 << 24))
        ->capture_default_str();
    c->add_option("-d,--n-depth", bench.depth, "tokens that are in the cache before, not timed")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(whole(0, 1 << 24))
        ->capture_default_str();
    c->add_option("-t,--threads", bench.threads, "numbers of threads; 0: one for each processor")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(whole(0, 1024))
        ->capture_default_str();
    c->add_option("-r,--repetitions", bench.repetitions, "runs of each test, after one that is not counted")
        ->check(whole(1, 1000))
        ->capture_default_str();
    c->add_flag("--made-up-depth", bench.made_up_depth,
                "do not read the tokens of --n-depth, but fill the caches with random keys and values: attention takes as long over these, "
                "and 262143 of them take seconds where reading takes hours");
    add_kv(c, bench.kv);
    c->add_flag("--roof", bench.roof,
                "around each run of a test of generation, measure how fast as many threads read memory: the roof of a token, which reads "
                "all weights");
    c->add_flag("--float", bench.floats, "products in float, as `loupe ablate` has them; without it as `loupe generate --int8` has them");
    c->add_flag("--json", bench.json, "as JSON, with llama-bench's names of fields");
    c->callback([&] {
        const auto all_zero = [](const std::vector<loupe::index_t>& of) { return *std::max_element(of.begin(), of.end()) == 0; };
        if (bench.roof && all_zero(bench.generation))
            throw CLI::ValidationError("--roof", "expected a number of tokens to generate above 0, found none");
        if (bench.made_up_depth && all_zero(bench.depth))
            throw CLI::ValidationError("--made-up-depth", "expected a depth above 0 (-d), found none");
        program::bench(bench);
    });

    program::make_options make;
    c = app.add_subcommand("make",
                           "writes a .gguf file with random weights, to measure a model of any size and mix of formats: it computes like a "
                           "real one and says nothing");
    c->add_option("VARIANT", make.variant, "e2b, e4b, 12b, 26b-a4b, 31b, gemma3-270m, gemma3-1b, gemma3-4b, gemma3-12b or gemma3-27b")
        ->required();
    c->add_option("OUT.gguf", make.out, "the file to write")->required()->check(named_file());
    c->add_option(
         "--types", make.types,
         "MIX[,PATTERN=FORMAT]…\n"
         "MIX: a format for all matrices (f32, bf16, q8_0, q4_0, q4_k, …), or q4_k_m or q5_k_m as llama.cpp mixes them\n"
         "PATTERN: a part of a tensor's name between dots, * stands for anything; the last that fits counts\n"
         "e.g. q4_k,ffn_down=q6_k,token_embd=q8_0,blk.0=bf16\n"
         "A format whose blocks do not divide the width gives way to the nearest one whose blocks do; norms and the router are F32")
        ->capture_default_str();
    c->add_option("--blocks", make.blocks, "the first blocks only, with the pattern of full and sliding ones; 0: all")
        ->check(whole(0, 1000))
        ->capture_default_str();
    c->add_option("--vocabulary", make.vocabulary, "number of tokens, 600 or more; 0: that of the variant")
        ->check(whole(0, 1 << 24))
        ->capture_default_str();
    c->add_option("--seed", make.seed, "of the weights; the same gives the same bytes")->check(whole(0, any_seed))->capture_default_str();
    c->footer(codes);
    c->callback([&] { program::make(make); });

    program::variants_options variants;
    c = command(app, "variants", "the ablations that this program holds for a model's family", variants.model);
    c->callback([&] { program::variants(variants); });

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        const int code = app.exit(e);
        return code == 0 ? 0 : 2;
    }
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    try {
        const int code = run(argc, argv);
        if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return report("standard output: expected room to write, found none", 3);
        return code;
    } catch (const loupe::output_error& e) {
        return report(e.what(), 3);
    } catch (const std::bad_alloc&) {
        return report("not enough memory", 1);
    } catch (const std::system_error& e) { // fmt::print's is one of many
        if (std::ferror(stdout) == 0) return report(e.what(), 1);
        return report("standard output: expected room to write, found none", 3);
    } catch (const std::exception& e) {
        return report(e.what(), 1);
    }
}
