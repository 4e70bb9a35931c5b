// The sizes that kernels are measured at, those of the five Gemma 4 variants, and what the programs of this folder share.
#pragma once

#include "memory.hpp"

#include <loupe/io/make.hpp>
#include <loupe/lab/machine.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

struct variant {
    std::string name; ///< "e2b"
    loupe::dimensions sizes;

    /// Whether its sizes are measured where nothing else is asked for.
    bool usual() const { return name == "e2b"; }
};

inline std::vector<variant> variants() {
    std::vector<variant> found;
    for (const auto& v : loupe::io::model_variants) {
        loupe::dimensions d = v.sizes();
        if (d.family == "gemma4") found.push_back({std::string(v.name), std::move(d)});
    }
    return found;
}

struct matrix {
    std::string name; ///< "e2b.ffn_gate.6144x1536": by GGUF's name of the first tensor that has this shape in the variant
    index_t rows, width;
    bool usual; ///< measured where nothing else is asked for: the first gate of E2B
};

/// The distinct shapes that a variant multiplies with; of experts, the matrices of one. Tables that are only looked up are not among them.
inline std::vector<matrix> matrices(const variant& of) {
    const auto names = loupe::io::gguf_names();
    std::vector<matrix> found;
    for (const auto& t : loupe::io::plan_tensors(of.sizes, loupe::io::format_mix("f32"))) {
        if (t.shape.size() < 2 || t.name == names.per_layer_table) continue;
        const index_t rows = t.shape[t.shape.size() - 2], width = t.shape.back();
        if (std::any_of(found.begin(), found.end(), [&](const matrix& m) { return m.rows == rows && m.width == width; })) continue;
        std::string name = t.name.substr(0, t.name.rfind('.')); // without ".weight"
        if (name.starts_with("blk.")) name = name.substr(name.find('.', 4) + 1);
        const bool usual = of.usual() && t.name == fmt::format(fmt::runtime(names.gate), 0);
        found.push_back({fmt::format("{}.{}.{}x{}", of.name, name, rows, width), rows, width, usual});
    }
    return found;
}

/// Runs what `add(everything)` registers: the usual set, or with --all or a filter every size there is.
inline int run(int argc, char** argv, void (*add)(bool everything)) {
    std::vector<std::string> arguments(argv, argv + argc);
    const auto has = [&](std::string_view text) {
        return std::any_of(arguments.begin() + 1, arguments.end(), [&](const std::string& a) { return a.starts_with(text); });
    };
    const bool everything = has("--all") || has("--benchmark_filter");
    if (has("--help"))
        std::cout << "benchmark [--all]: every size of the five Gemma 4 variants (hours); a filter chooses among all of them\n";
    std::erase(arguments, "--all");
    if (!has("--benchmark_min_time")) arguments.insert(arguments.begin() + 1, "--benchmark_min_time=0.2");
    std::vector<char*> pointers;
    for (std::string& a : arguments) pointers.push_back(a.data());
    int count = static_cast<int>(pointers.size());
    benchmark::Initialize(&count, pointers.data());
    if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;
    benchmark::AddCustomContext("machine", loupe::lab::machine_text());
    add(everything);
    return benchmark::RunSpecifiedBenchmarks() > 0 ? 0 : 1; // it has said that no name fits
}

} // namespace bench
