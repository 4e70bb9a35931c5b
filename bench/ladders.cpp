// The ladders: every rung of every operation, at the sizes of Gemma 4 E2B (width 1536, 8 heads of 256, feed-forward 6144; full layers have
// heads of 512), with its share of the machine's roof. One thread, except for the rungs that are named after them.
#include "roof.hpp"

#include "ladders/attention.hpp"
#include "ladders/mat_mul.hpp"
#include "ladders/mat_vec.hpp"
#include "ladders/rms_norm.hpp"
#include "ladders/rope.hpp"
#include "ladders/softmax.hpp"

#include <loupe/format/formats.hpp>
#include <loupe/kernel/packed.hpp>
#include <loupe/lab/machine.hpp>

#include <benchmark/benchmark.h>

#include <cmath>
#include <string>

namespace {

using namespace loupe;
using bench::random_floats;
using benchmark::Counter;

double float_roof = 0, read_roof = 0;
executor one(1), all(0);

/// Operations a second, and their share of one thread's roof in float.
void put_work(benchmark::State& state, double flops) {
    state.counters["GFLOP/s"] = Counter(flops * 1e-9, Counter::kIsIterationInvariantRate);
    state.counters["of float roof"] = Counter(flops / float_roof, Counter::kIsIterationInvariantRate);
}
/// Bytes of operands and results a second, every byte counted once, and their share of one thread's reading of memory. Where all of them
/// fit a cache, the share may be above 1.
void put_bytes(benchmark::State& state, double bytes) {
    state.counters["GB/s"] = Counter(bytes * 1e-9, Counter::kIsIterationInvariantRate);
    state.counters["of reading"] = Counter(bytes / read_roof, Counter::kIsIterationInvariantRate);
}
double product_of(auto... sizes) { return (1.0 * ... * static_cast<double>(sizes)); }

template <class Operands>
void climb(benchmark::State& state, const ladders::rung<Operands>& rung, const Operands& o) {
    for (auto _ : state) {
        rung.run(o);
        benchmark::ClobberMemory();
    }
}

/// w in a format, as blocks and packed for integer products.
struct quantized_matrix {
    std::vector<std::byte> blocks;
    aligned_vector<std::byte> packed;
    kernel::weight_view view;

    quantized_matrix(const format::info& f, const aligned_vector<float>& w, index_t rows, index_t width)
        : blocks(static_cast<std::size_t>(rows * f.row_bytes(width))) {
        for (index_t r = 0; r < rows; ++r) f.encode_row(w.data() + r * width, blocks.data() + r * f.row_bytes(width), width);
        view = kernel::for_products({&f, blocks.data(), rows, width}, *kernel::products_for(f));
        packed = kernel::pack(view, all);
        view.packed = packed.data();
    }
};

/// Norm of a hidden state.
void rms_norm(benchmark::State& state, const ladders::rung<ladders::rms_norm::operands>& rung) {
    constexpr index_t width = 1536;
    const auto x = random_floats(width), gain = random_floats(width);
    aligned_vector<float> out(x.size());
    climb(state, rung, {x, gain, 1e-6F, out});
    put_work(state, product_of(4, width));
    put_bytes(state, product_of(3, width, sizeof(float)));
}

/// The query heads of a sliding layer.
void rope(benchmark::State& state, const ladders::rung<ladders::rope::operands>& rung) {
    constexpr index_t heads = 8, D = 256;
    auto x = random_floats(heads * D);
    ladders::rope::operands o{{x.data(), heads, D}, 1000, 1e4, {}, {}};
    aligned_vector<float> cosines, sines;
    for (index_t i = 0; i < D / 2; ++i) {
        cosines.push_back(static_cast<float>(std::cos(ladders::rope::angle(o, i))));
        sines.push_back(static_cast<float>(std::sin(ladders::rope::angle(o, i))));
    }
    o.cosines = cosines;
    o.sines = sines;
    climb(state, rung, o);
    put_work(state, product_of(3, heads, D));
    put_bytes(state, product_of(2, heads, D, sizeof(float)));
}

/// Scores of one head over a context.
void softmax(benchmark::State& state, const ladders::rung<ladders::softmax::operands>& rung) {
    constexpr index_t keys = 4096;
    const auto x = random_floats(keys);
    aligned_vector<float> y(x.size());
    climb(state, rung, {x, y});
    state.counters["Gvalues/s"] = Counter(product_of(keys) * 1e-9, Counter::kIsIterationInvariantRate);
    put_bytes(state, product_of(2, keys, sizeof(float)));
}

/// The gate of a feed-forward layer, one token.
constexpr index_t width = 1536, rows = 6144;

void mat_vec(benchmark::State& state, const ladders::rung<ladders::mat_vec::operands>& rung) {
    const auto w = random_floats(rows * width), x = random_floats(width);
    aligned_vector<float> y(static_cast<std::size_t>(rows));
    climb(state, rung, {{w.data(), rows, width}, x, y, all});
    put_work(state, product_of(2, rows, width));
    put_bytes(state, product_of(rows, width, sizeof(float)));
}

void mat_vec_q4_0(benchmark::State& state, const ladders::rung<ladders::mat_vec_q4_0::operands>& rung) {
    const auto x = random_floats(width);
    const quantized_matrix w(format::info_of<format::q4_0>(), random_floats(rows * width), rows, width);
    aligned_vector<float> y(static_cast<std::size_t>(rows));
    climb(state, rung, {w.view, x, y, one, all});
    put_work(state, product_of(2, rows, width));
    put_bytes(state, static_cast<double>(w.blocks.size()));
}

/// The same gate for a chunk of a prompt.
void mat_mul(benchmark::State& state, const ladders::rung<ladders::mat_mul::operands>& rung) {
    constexpr index_t tokens = 120;
    const auto w = random_floats(rows * width), x = random_floats(tokens * width);
    const quantized_matrix quantized(format::info_of<format::q8_0>(), w, rows, width);
    aligned_vector<float> y(static_cast<std::size_t>(tokens * rows));
    climb(state, rung, {{x.data(), tokens, width}, {w.data(), rows, width}, {y.data(), tokens, rows}, quantized.view, one, all});
    put_work(state, product_of(2, tokens, rows, width));
}

/// One head of a full layer, a chunk of a prompt behind a context.
void attention(benchmark::State& state, const ladders::rung<ladders::attention::operands>& rung) {
    constexpr index_t queries = 128, keys = 2048, D = 512;
    const auto q = random_floats(queries * D), k = random_floats(keys * D), v = random_floats(keys * D);
    aligned_vector<float> y(q.size());
    const ladders::attention::operands o{
        {q.data(), queries, D}, {k.data(), keys, D}, {v.data(), keys, D}, 1 / std::sqrt(static_cast<float>(D)), {y.data(), queries, D}};
    climb(state, rung, o);
    double pairs = 0;
    for (index_t t = 0; t < queries; ++t) pairs += static_cast<double>(o.seen(t));
    put_work(state, 4 * pairs * static_cast<double>(D));
}

template <class Operands, std::size_t N>
void add_ladder(const std::string& name, void (*run)(benchmark::State&, const ladders::rung<Operands>&),
                const ladders::rung<Operands> (&rungs)[N], benchmark::TimeUnit unit) {
    for (const auto& rung : rungs) {
        benchmark::RegisterBenchmark((name + "/" + rung.name).c_str(), [run, &rung](benchmark::State& state) { run(state, rung); })
            ->Unit(unit)
            ->UseRealTime();
    }
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    float_roof = bench::float_roof(one);
    read_roof = bench::reading_roof(one);
    benchmark::AddCustomContext("machine", lab::machine_text());
    benchmark::AddCustomContext("threads", std::to_string(all.size()));
    benchmark::AddCustomContext("roof, float, 1 thread", std::to_string(float_roof * 1e-9) + " GFLOP/s");
    benchmark::AddCustomContext("roof, reading, 1 thread", std::to_string(read_roof * 1e-9) + " GB/s");
    add_ladder("rms_norm", rms_norm, ladders::rms_norm::rungs, benchmark::kMicrosecond);
    add_ladder("rope", rope, ladders::rope::rungs, benchmark::kMicrosecond);
    add_ladder("softmax", softmax, ladders::softmax::rungs, benchmark::kMicrosecond);
    add_ladder("mat_vec", mat_vec, ladders::mat_vec::rungs, benchmark::kMillisecond);
    add_ladder("mat_vec_q4_0", mat_vec_q4_0, ladders::mat_vec_q4_0::rungs, benchmark::kMillisecond);
    add_ladder("mat_mul", mat_mul, ladders::mat_mul::rungs, benchmark::kMillisecond);
    add_ladder("attention", attention, ladders::attention::rungs, benchmark::kMillisecond);
    return benchmark::RunSpecifiedBenchmarks() > 0 ? 0 : 1; // it has said that no name fits
}
