// Kernels on one thread, with their share of the machine's roof: matrix products in every weight format, norms, softmax, attention.
#include "roof.hpp"

#include <loupe/format/formats.hpp>
#include <loupe/kernel/attention.hpp>
#include <loupe/kernel/elementwise.hpp>
#include <loupe/kernel/matmul.hpp>
#include <loupe/kernel/packed.hpp>
#include <loupe/kernel/rms_norm.hpp>
#include <loupe/lab/machine.hpp>

#include <benchmark/benchmark.h>

#include <random>
#include <string>

namespace {

using namespace loupe;

double float_roof = 0, int8_roof = 0, read_roof = 0;

index_t float_bytes(index_t values) { return values * static_cast<index_t>(sizeof(float)); }

/// Operations a second, and operations for each byte of operands and results, every byte counted once (scripts/roofline.py draws them).
void put_work(benchmark::State& state, double flops, index_t bytes) {
    state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["FLOP/byte"] = flops / static_cast<double>(bytes);
}
void put_share_of(benchmark::State& state, double flops, double roof) {
    state.counters["of roof"] = benchmark::Counter(flops / roof, benchmark::Counter::kIsIterationInvariantRate);
}
void put_bytes(benchmark::State& state, double bytes) {
    state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["of roof"] = benchmark::Counter(bytes / read_roof, benchmark::Counter::kIsIterationInvariantRate);
}

aligned_vector<float> random_floats(index_t n) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> draw(-1, 1);
    aligned_vector<float> values(static_cast<std::size_t>(n));
    for (float& v : values) v = draw(random);
    return values;
}

/// Blocks of random bytes: any bytes decode to numbers, and the arithmetic does not care which. Scales are kept finite by clearing high
/// bits.
std::vector<std::byte> random_blocks(const format::info& f, index_t rows, index_t width) {
    std::mt19937 random(1);
    std::vector<std::byte> bytes(static_cast<std::size_t>(rows * f.row_bytes(width)));
    for (auto& b : bytes) b = static_cast<std::byte>(random() & 0x3f);
    return bytes;
}

void matmul(benchmark::State& state, const format::info* f) {
    const index_t tokens = state.range(0), width = 2048, rows = tokens == 1 ? 65536 : 2048;
    const auto bytes = random_blocks(*f, rows, width);
    const auto x = random_floats(tokens * width);
    aligned_vector<float> y(static_cast<std::size_t>(tokens * rows));
    executor one(1);
    for (auto _ : state) {
        kernel::matmul({f, bytes.data(), rows, width}, {x.data(), tokens, width}, {y.data(), tokens, rows}, one);
        benchmark::DoNotOptimize(y.data());
    }
    const double flops = 2.0 * static_cast<double>(tokens * width * rows);
    put_work(state, flops, std::ssize(bytes) + float_bytes(tokens * (width + rows)));
    if (tokens == 1)
        put_bytes(state, static_cast<double>(bytes.size()));
    else
        put_share_of(state, flops, float_roof);
}

/// The same in integers: rounding of activations is counted, packing is not.
void integer_matmul(benchmark::State& state, const format::info* f) {
    const index_t tokens = state.range(0), width = 2048, rows = tokens < 16 ? 65536 : 2048;
    const auto bytes = random_blocks(*f, rows, width);
    const auto x = random_floats(tokens * width);
    aligned_vector<float> y(static_cast<std::size_t>(tokens * rows));
    executor one(1);
    kernel::weight_view w{f, bytes.data(), rows, width};
    const auto& products = *kernel::products_for(*f);
    const auto packed = kernel::pack(w, products, one);
    w.products = &products;
    w.packed = packed.data();
    for (auto _ : state) {
        kernel::matmul(w, {x.data(), tokens, width}, {y.data(), tokens, rows}, one);
        benchmark::DoNotOptimize(y.data());
    }
    const double flops = 2.0 * static_cast<double>(tokens * width * rows);
    put_work(state, flops, std::ssize(packed) + float_bytes(tokens * (width + rows)));
    if (tokens < 16)
        put_bytes(state, static_cast<double>(packed.size()));
    else
        put_share_of(state, flops, int8_roof);
}

void rms_norm(benchmark::State& state) {
    const index_t width = state.range(0);
    const auto x = random_floats(width), gain = random_floats(width);
    aligned_vector<float> out(static_cast<std::size_t>(width));
    for (auto _ : state) {
        kernel::rms_norm(x, gain, 1e-6F, out);
        benchmark::DoNotOptimize(out.data());
    }
    put_work(state, 4.0 * static_cast<double>(width), float_bytes(3 * width));
    put_share_of(state, 4.0 * static_cast<double>(width), float_roof);
}

void softmax(benchmark::State& state) {
    auto x = random_floats(state.range(0));
    for (auto _ : state) {
        kernel::softmax(x);
        benchmark::DoNotOptimize(x.data());
    }
    state.counters["Gvalues/s"] =
        benchmark::Counter(static_cast<double>(state.range(0)) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void attention(benchmark::State& state) {
    const index_t keys = state.range(0), D = state.range(1), heads = 4;
    const auto q = random_floats(heads * D), k = random_floats(keys * D), v = random_floats(keys * D);
    aligned_vector<float> scores(static_cast<std::size_t>(heads * keys)), out(static_cast<std::size_t>(heads * D));
    std::vector<index_t> rows(static_cast<std::size_t>(keys));
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<index_t>(i);
    for (auto _ : state) {
        kernel::attention_scores({q.data(), heads, D}, k.data(), D, rows, {scores.data(), heads, keys});
        for (index_t h = 0; h < heads; ++h) kernel::softmax({scores.data() + h * keys, static_cast<std::size_t>(keys)});
        kernel::attention_mix({scores.data(), heads, keys}, v.data(), D, rows, {out.data(), heads, D});
        benchmark::DoNotOptimize(out.data());
    }
    const double flops = 4.0 * static_cast<double>(heads * keys * D);
    put_work(state, flops, float_bytes(2 * (keys + heads) * D));
    put_share_of(state, flops, float_roof);
}

} // namespace

int main(int argc, char** argv) {
    float_roof = bench::float_roof();
    int8_roof = bench::int8_roof();
    read_roof = bench::read_roof();
    benchmark::AddCustomContext("machine", lab::machine_text());
    benchmark::AddCustomContext("roof, float", std::to_string(float_roof * 1e-9) + " GFLOP/s, one thread");
    benchmark::AddCustomContext("roof, int8", std::to_string(int8_roof * 1e-9) + " GOP/s, one thread");
    benchmark::AddCustomContext("roof, reading", std::to_string(read_roof * 1e-9) + " GB/s, one thread");
    for (const format::info* f : format::infos()) {
        benchmark::RegisterBenchmark(("matmul/" + std::string(f->name)).c_str(), matmul, f)
            ->ArgName("tokens")
            ->Arg(1)
            ->Arg(512)
            ->Unit(benchmark::kMillisecond);
        if (kernel::products_for(*f) == nullptr) continue;
        benchmark::RegisterBenchmark(("integer_matmul/" + std::string(f->name)).c_str(), integer_matmul, f)
            ->ArgName("tokens")
            ->Arg(1)
            ->Arg(4)
            ->Arg(512)
            ->Unit(benchmark::kMillisecond);
    }
    benchmark::RegisterBenchmark("rms_norm", rms_norm)->ArgName("width")->Arg(1536)->Arg(5376);
    benchmark::RegisterBenchmark("softmax", softmax)->ArgName("n")->Arg(512)->Arg(4096);
    benchmark::RegisterBenchmark("attention", attention)->ArgNames({"keys", "D"})->Args({512, 256})->Args({4096, 512});
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
