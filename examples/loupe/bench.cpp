// Tokens a second of a whole model, with the meaning that llama-bench gives them: pp reads a prompt in one sequence and asks for the logits
// of its last token; tg reads one token at a time and asks for every token's. Both begin behind `depth` tokens, which are not timed: read,
// or made up where that would take hours.
#include "commands.hpp"
#include "files.hpp"
#include "kernels.hpp"

#include <loupe/core/buffer.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/lab/machine.hpp>
#include <loupe/lab/reading.hpp>

#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include <sys/resource.h>
#include <unistd.h>

namespace program {

using namespace loupe;

namespace {

struct bench_test {
    index_t n_prompt, n_gen, depth, threads;
    std::vector<double> seconds{};
    std::vector<double> roofs{}; ///< bytes a second of plain reading beside each of them: the mean of right before and right after

    double tokens() const { return static_cast<double>(n_prompt + n_gen); }
    double mean() const {
        double sum = 0;
        for (const double s : seconds) sum += tokens() / s;
        return sum / static_cast<double>(seconds.size());
    }
    double deviation() const {
        if (seconds.size() < 2) return 0;
        double sum = 0;
        for (const double s : seconds) sum += (tokens() / s - mean()) * (tokens() / s - mean());
        return std::sqrt(sum / static_cast<double>(seconds.size() - 1));
    }
    /// Bytes a second.
    double roof() const { return std::accumulate(roofs.begin(), roofs.end(), 0.0) / static_cast<double>(roofs.size()); }
    std::string name() const { return n_gen == 0 ? fmt::format("pp{}", n_prompt) : fmt::format("tg{}", n_gen); }
};

constexpr index_t chunk = 512; ///< tokens read at a time

/// Bytes of the keys and values of so many positions.
double cache_bytes(const dimensions& sizes, const format::info& format, index_t positions) {
    double bytes = 0;
    for (const auto& block : sizes.block) {
        const index_t rows = block.full ? positions : std::min(positions, sizes.window + chunk);
        if (!block.shares_kv)
            bytes += 2.0 * static_cast<double>(rows) * static_cast<double>(format.row_bytes(block.kv_heads * block.head_width));
    }
    return bytes;
}

/// Bytes that this process can have at most. Beyond what the machine has the system does not refuse, it ends programs.
double memory_bytes() {
    double bytes = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
    rlimit limit{};
    if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        bytes = std::min(bytes, static_cast<double>(limit.rlim_cur));
    return bytes;
}

/// One run of a test, in seconds.
double run(engine& model, const bench_test& test, index_t vocabulary, bool made_up_depth) {
    std::mt19937 random(1);
    const auto draw = [&](index_t n) {
        std::vector<token_id> ids(static_cast<std::size_t>(n));
        for (token_id& id : ids) id = static_cast<token_id>(static_cast<index_t>(random()) % vocabulary);
        return ids;
    };
    aligned_vector<float> row(static_cast<std::size_t>(vocabulary));
    model.rewind(0);
    if (made_up_depth) {
        model.make_up_past(test.depth);
    } else if (test.depth > 0) {
        model.read(draw(test.depth), chunk, [](index_t, matrix_view<const float>) {});
    }
    const auto prompt = draw(test.n_prompt), generated = draw(test.n_gen);
    const auto start = std::chrono::steady_clock::now();
    if (test.n_prompt > 0) {
        model.read(prompt, chunk, [&](index_t first, matrix_view<const float> hidden) {
            if (first + hidden.rows == test.n_prompt) model.logits(hidden.slice(hidden.rows - 1, 1), {row.data(), 1, vocabulary});
        });
    }
    for (const token_id& id : generated) {
        model.read(std::span(&id, 1), 1, [&](index_t, matrix_view<const float> hidden) {
            model.logits(hidden, {row.data(), 1, vocabulary});
        });
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

void bench(const bench_options& o) {
    executor all(0);
    const auto begun = std::chrono::steady_clock::now();
    const auto file = open_model(o.model, all, o.floats ? arithmetic::floats : arithmetic::int8);
    const double load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    const auto family = family_of(file.sizes, file.path);
    std::vector<bench_test> tests;
    for (const index_t threads : o.threads) {
        for (const index_t depth : o.depth) {
            for (const index_t n : o.prompt) {
                if (n > 0) tests.push_back({n, 0, depth, threads == 0 ? all.size() : threads});
            }
            for (const index_t n : o.generation) {
                if (n > 0) tests.push_back({0, n, depth, threads == 0 ? all.size() : threads});
            }
        }
    }
    if (tests.empty()) throw error("expected a prompt or a number of tokens to generate above 0, found none");
    const format::info& kv_format = format_of(o.kv);
    for (const bench_test& test : tests) {
        const index_t positions = test.depth + test.n_prompt + test.n_gen;
        const double needed = cache_bytes(file.sizes, kv_format, positions), room = memory_bytes();
        if (needed > room)
            throw error(
                fmt::format("-d {}: expected keys and values that fit into {:.1f} GB of memory, found {:.1f} GB for {} positions in {}",
                            test.depth, room * 1e-9, needed * 1e-9, positions, kv_format.name));
    }
    const double bytes = static_cast<double>(io::bytes_per_token(*file.weights, file.sizes));
    const char* arithmetic_name = o.floats ? "float" : simd::tiles_available() ? "int8, prompts in tiles of bf16" : "int8";
    auto results = nlohmann::ordered_json::array();
    if (!o.json) {
        fmt::print("{}, products: {}, keys and values: {}, loaded in {:.1f} s\n{}\n", family.name_of(file.sizes), arithmetic_name,
                   kv_format.name, load_seconds, lab::machine_text());
    }
    for (bench_test& test : tests) {
        const auto model = family.open(file, {.threads = test.threads, .kv_format = &kv_format});
        const auto once = [&] { return run(*model, test, file.sizes.vocabulary, o.made_up_depth); };
        static_cast<void>(once());      // memory is touched, clocks rise
        if (o.roof && test.n_gen > 0) { // the speed of memory may change within seconds: it is measured around every run
            executor threads(test.threads);
            const lab::memory_reader reader;
            double before = reader.rate(threads);
            for (index_t r = 0; r < o.repetitions; ++r) {
                test.seconds.push_back(once());
                const double after = reader.rate(threads);
                test.roofs.push_back((before + after) / 2);
                before = after;
            }
        } else {
            for (index_t r = 0; r < o.repetitions; ++r) test.seconds.push_back(once());
        }
        if (o.json) {
            std::vector<double> ns, ts;
            for (const double s : test.seconds) ns.push_back(std::round(s * 1e9)), ts.push_back(test.tokens() / s);
            const double avg_ns = std::accumulate(ns.begin(), ns.end(), 0.0) / static_cast<double>(ns.size());
            results.push_back({{"cpu_info", lab::machine_text()},
                               {"model_filename", o.model},
                               {"model_type", family.name_of(file.sizes)},
                               {"arithmetic", arithmetic_name},
                               {"load_seconds", load_seconds},
                               {"type_k", o.kv},
                               {"type_v", o.kv},
                               {"n_threads", test.threads},
                               {"n_prompt", test.n_prompt},
                               {"n_gen", test.n_gen},
                               {"n_depth", test.depth},
                               {"depth_filled_by", test.depth == 0   ? "nothing"
                                                   : o.made_up_depth ? "random keys and values"
                                                                     : "reading"},
                               {"avg_ns", std::round(avg_ns)},
                               {"avg_ts", test.mean()},
                               {"stddev_ts", test.deviation()},
                               {"samples_ns", ns},
                               {"samples_ts", ts}});
            if (!test.roofs.empty()) {
                results.back().update({{"bytes_per_token", bytes}, {"roof_bytes_per_second", test.roof()}, {"samples_roof", test.roofs}});
            }
        } else {
            fmt::print("{:>2} thread{} {:>8}{}: {:8.1f} ± {:.1f} tokens/s{}\n", test.threads, test.threads == 1 ? " " : "s", test.name(),
                       test.depth == 0 ? "" : fmt::format(" @ {}{}", test.depth, o.made_up_depth ? " made up" : ""), test.mean(),
                       test.deviation(),
                       test.roofs.empty() ? ""
                                          : fmt::format(", {:.1f} GB/s of weights: {:.0f} % of what memory gives",
                                                        bytes * test.mean() * 1e-9, 100 * bytes * test.mean() / test.roof()));
            std::fflush(stdout);
        }
    }
    if (o.json) fmt::print("{}\n", results.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

} // namespace program
