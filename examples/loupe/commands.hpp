// The subcommands: each prints its result to stdout and everything else to stderr.
#pragma once

#include "family.hpp"

#include <string>
#include <vector>

namespace program {

struct describe_options {
    std::string model;
    bool json = false;
};
struct tokenize_options {
    std::string model, text, file;
    bool json = false, bos = false, has_text = false;
};
struct generate_options {
    std::string model, prompt;
    index_t count = 128;
    bool greedy = false, chat = false, json = false, stop = true;
    double temperature = 1.0, top_p = 0.95;
    index_t top_k = 64;
    std::uint64_t seed = 0;
    index_t threads = 0;
    std::string kv = "f32";
    bool int8 = false;
};
struct score_options {
    std::string model, text, tasks, json;
    index_t context = 512, threads = 0;
};
struct logits_options {
    std::string model, ids, out, layers, image_blocks;
    index_t chunk = 0, threads = 0;
};
struct ablate_options {
    std::string model, text, tasks, json, html;
    std::vector<std::string> variants;
    index_t context = 512, threads = 0;
};
struct bench_options {
    std::string model;
    std::vector<index_t> prompt{512}, generation{128}, depth{0}, threads{0};
    index_t repetitions = 5;
    std::string kv = "f32";
    bool json = false, floats = false, made_up_depth = false, roof = false;
};
struct make_options {
    std::string variant, out, types = "q4_k_m";
    index_t blocks = 0, vocabulary = 0;
    std::uint64_t seed = 1;
};
struct variants_options {
    std::string model;
};

void describe(const describe_options& o);
void tokenize(const tokenize_options& o);
void generate(const generate_options& o);
void score(const score_options& o);
void logits(const logits_options& o);
void ablate(const ablate_options& o);
void variants(const variants_options& o);
void bench(const bench_options& o);
void make(const make_options& o);

} // namespace program
