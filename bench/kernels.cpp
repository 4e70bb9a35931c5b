// Kernels at the sizes of Gemma 4, with their share of the machine's roof:
//
//   matmul/Q4_K/e2b.ffn_gate.6144x1536/tokens:512/threads:1          weights as the file has them, decoded to float
//   packed_matmul/Q4_K/e2b.ffn_gate.6144x1536/tokens:512/threads:1   weights laid out for the format's own products
//   attention/e2b.full/tokens:1/depth:4096/threads:2                 tokens behind `depth` positions
//   rms_norm, softmax, rope, gate, quantize                          one row, one thread; operands lie in a cache
//
// The roof of a kernel that streams its operands is the lower of the arithmetic's and of what memory can feed it with.
#include "roof.hpp"
#include "shapes.hpp"

#include <loupe/format/formats.hpp>
#include <loupe/kernel/activation_rows.hpp>
#include <loupe/kernel/elementwise.hpp>
#include <loupe/kernel/matmul.hpp>
#include <loupe/kernel/packed.hpp>
#include <loupe/kernel/rms_norm.hpp>
#include <loupe/layer/attention.hpp>
#include <loupe/policy/activation.hpp>
#include <loupe/policy/softcap.hpp>

#include <cmath>
#include <functional>
#include <memory>
#include <optional>

namespace {

using namespace loupe;
using bench::float_bytes;
using bench::matrix;
using bench::random_floats;
using bench::roof;
using benchmark::Counter;

executor one(1), all(0);
bench::roofs of_one, of_all;

executor& threads_of(index_t count) { return count == 1 ? one : all; }
const bench::roofs& roofs_of(index_t count) { return count == 1 ? of_one : of_all; }
std::vector<std::int64_t> thread_counts() {
    return all.size() == 1 ? std::vector<std::int64_t>{1} : std::vector<std::int64_t>{1, all.size()};
}

/// Operations and bytes a second, and operations for each byte of operands and results, every byte counted once (scripts/roofline.py draws
/// them).
void put_work(benchmark::State& state, double flops, index_t bytes, double roof) {
    const auto each = Counter::kIsIterationInvariantRate;
    state.counters["GFLOP/s"] = Counter(flops * 1e-9, each);
    state.counters["GB/s"] = Counter(static_cast<double>(bytes) * 1e-9, each);
    state.counters["FLOP/byte"] = flops / static_cast<double>(bytes);
    state.counters["of roof"] = Counter(flops / roof, each);
}
/// The same where operands come from memory.
void put_streaming_work(benchmark::State& state, double flops, index_t bytes, double arithmetic, double reading) {
    put_work(state, flops, bytes, std::min(arithmetic, reading * flops / static_cast<double>(bytes)));
}
double product_of(auto... sizes) { return (1.0 * ... * static_cast<double>(sizes)); }

// ---- products

/// A matrix as often as fills more than the caches, as the layers of a model do. The last one is kept: the library of benchmarks calls a
/// function several times before it has its figure.
class operands {
    const format::info* format_ = nullptr;
    const kernel::packed_products* products_ = nullptr;
    matrix shape_{};
    aligned_vector<std::byte> blocks_, packed_;
    index_t count_ = 0;

  public:
    void make(const format::info* f, const kernel::packed_products* products, const matrix& m, bool streams) {
        const index_t wanted =
            streams ? std::max<index_t>(1, static_cast<index_t>(lab::beyond_caches()) / (m.rows * f->row_bytes(m.width))) : 1;
        if (format_ == f && products_ == products && shape_.name == m.name && count_ == wanted) return;
        format_ = f, products_ = products, shape_ = m, count_ = wanted;
        packed_ = {};
        blocks_ = bench::random_blocks(*f, m.rows * (products == nullptr ? count_ : 1), m.width);
        if (products == nullptr) return;
        const auto packed = kernel::pack(kernel::for_products({f, blocks_.data(), m.rows, m.width}, *products), all);
        packed_.resize(packed.size() * bench::size(count_));
        for (index_t i = 0; i < count_; ++i) std::copy(packed.begin(), packed.end(), packed_.begin() + i * std::ssize(packed));
    }
    /// The next of them.
    kernel::weight_view operator[](index_t i) const {
        i %= count_;
        if (products_ == nullptr) return {format_, blocks_.data() + i * std::ssize(blocks_) / count_, shape_.rows, shape_.width};
        kernel::weight_view w = kernel::for_products({format_, blocks_.data(), shape_.rows, shape_.width}, *products_);
        w.packed = packed_.data() + i * std::ssize(packed_) / count_;
        return w;
    }
    index_t bytes() const { return std::ssize(products_ == nullptr ? blocks_ : packed_) / count_; }
};
std::optional<operands> weights; // of the benchmark that runs

/// The roofs beside one run of a benchmark. What a machine that others use too can do changes within seconds, so the one that matters is
/// measured right before and right after.
class roofs_around {
    index_t threads_;
    roof measured_;
    double before_;

    double now() const { return bench::roofs::measure(measured_, threads_of(threads_)); }

  public:
    roofs_around(roof measured, index_t threads) : threads_(threads), measured_(measured), before_(now()) {}
    /// After the run: of the roof that is measured, the mean of both; others as they were at the start of the program.
    bench::roofs after() const {
        bench::roofs all = roofs_of(threads_);
        all.set(measured_, (before_ + now()) / 2);
        return all;
    }
};

/// The arithmetic that products are made of.
roof arithmetic_of(const kernel::packed_products* products, index_t tokens, index_t width) {
    using enum kernel::activation_form;
    switch (products == nullptr ? floats : products->form_of(tokens, width)) {
    case floats:
        return roof::floats;
    case bfloats:
        return roof::bf16;
    case bfloat_tiles:
    case split_tiles:
        return roof::tiles;
    default:
        return roof::int8;
    }
}

void matmul(benchmark::State& state, const format::info* f, const kernel::packed_products* products, const matrix& m) {
    const index_t tokens = state.range(0), threads = state.range(1);
    const bool streams = tokens < 16;
    if (!weights) weights.emplace();
    weights->make(f, products, m, streams);
    const auto x = random_floats(tokens * m.width);
    aligned_vector<float> y(bench::size(tokens * m.rows));
    const roof arithmetic = arithmetic_of(products, tokens, m.width);
    const double products_for_one = arithmetic == roof::tiles ? simd::products_of_terms(products->tile_terms) : 1;
    const roofs_around around(streams ? roof::reading : arithmetic, threads);
    index_t next = 0;
    for (auto _ : state) {
        kernel::matmul((*weights)[next++], {x.data(), tokens, m.width}, {y.data(), tokens, m.rows}, threads_of(threads));
        benchmark::DoNotOptimize(y.data());
    }
    const bench::roofs roofs = around.after();
    put_streaming_work(state, product_of(2, tokens, m.rows, m.width), weights->bytes() + float_bytes(tokens * (m.width + m.rows)),
                       roofs[arithmetic] / products_for_one, roofs[roof::reading]);
}

void add_matmul(const matrix& m) {
    for (const format::info* f : format::infos()) {
        if (m.width % f->length != 0) continue;
        const auto add = [&](const char* kernel, const kernel::packed_products* products) {
            benchmark::RegisterBenchmark(fmt::format("{}/{}/{}", kernel, f->name, m.name).c_str(),
                                         [=](benchmark::State& state) { matmul(state, f, products, m); })
                ->ArgNames({"tokens", "threads"})
                ->ArgsProduct({{1, 2, 4, 8, 512}, thread_counts()})
                ->Unit(benchmark::kMillisecond)
                ->UseRealTime();
        };
        add("matmul", nullptr);
        if (const auto* products = kernel::fastest_products_for(*f)) add("packed_matmul", products);
    }
}

// ---- attention

template <class Mask>
void attention(benchmark::State& state, const attention_sizes& sizes) {
    const index_t tokens = state.range(0), depth = state.range(1), threads = state.range(2), width = sizes.kv_heads * sizes.head_width;
    kv_cache cache(sizes.kv_heads, sizes.head_width, 0, 0);
    cache.make_room(0, depth + tokens);
    const auto rows = random_floats(1024 * width);
    for (index_t p = 0; p < depth + tokens; ++p) {
        const auto row = [&](index_t i) { return std::span(rows).subspan(i % 1024 * width, width); };
        cache.write(p, row(p), row(p + 1));
    }
    const auto q = random_floats(tokens * sizes.heads * sizes.head_width);
    aligned_vector<float> out(q.size());
    workspace memory;
    rope_table none;
    const std::vector<token_id> ids(bench::size(tokens));
    context c{threads_of(threads), memory, depth, tokens, ids, {}, none, none, 1e-6F};
    const roofs_around around(tokens == 1 ? roof::reading : roof::floats, threads);
    for (auto _ : state) {
        attend<Mask, kv::full, softcap::none, false, probe::none>(c, sizes, {q.data(), tokens, sizes.heads * sizes.head_width}, cache,
                                                                  {out.data(), tokens, sizes.heads * sizes.head_width});
        benchmark::DoNotOptimize(out.data());
    }
    double pairs = 0; // of a query and a key that it sees
    for (index_t t = 0; t < tokens; ++t) {
        const seen_by<Mask, kv::full> sees(c, t, sizes);
        pairs += static_cast<double>(sees.end - sees.first());
    }
    const index_t keys = depth + tokens - seen_by<Mask, kv::full>(c, 0, sizes).first();
    const double flops = 4 * pairs * product_of(sizes.heads, sizes.head_width);
    const index_t bytes = float_bytes(2 * keys * width + 2 * tokens * sizes.heads * sizes.head_width);
    const bench::roofs roofs = around.after();
    if (bytes < static_cast<index_t>(lab::beyond_caches() / 4)) // stays in a cache from one call to the next
        put_work(state, flops, bytes, roofs[roof::floats]);
    else
        put_streaming_work(state, flops, bytes, roofs[roof::floats], roofs[roof::reading]);
}

template <class Mask>
void add_attention(const std::string& name, const attention_sizes& sizes, const std::vector<std::int64_t>& depths_of_one) {
    auto* const b =
        benchmark::RegisterBenchmark(("attention/" + name).c_str(), [=](benchmark::State& state) { attention<Mask>(state, sizes); });
    b->ArgNames({"tokens", "depth", "threads"})->ArgsProduct({{1}, depths_of_one, thread_counts()});
    b->ArgsProduct({{512}, {0, 3584}, thread_counts()})->Unit(benchmark::kMillisecond)->UseRealTime();
}

void add_attention(const bench::variant& v) {
    const auto& d = v.sizes;
    const index_t full = d.first_full();
    const auto of = [&](index_t block) {
        const auto& b = d[block];
        return attention_sizes{.heads = d.heads, .kv_heads = b.kv_heads, .head_width = b.head_width, .mask = {.window = d.window}};
    };
    add_attention<mask::sliding<>>(v.name + ".sliding", of(0), {d.window});
    add_attention<mask::causal>(v.name + ".full", of(full), {512, 4096, 32768});
}

// ---- loops over a row

/// One thread, operands in a cache.
void add_row(const std::string& name, double flops, index_t bytes, std::function<void()> run) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [=](benchmark::State& state) {
                                     for (auto _ : state) {
                                         run();
                                         benchmark::ClobberMemory();
                                     }
                                     put_work(state, flops, bytes, of_one[roof::floats]);
                                 })
        ->Unit(benchmark::kMicrosecond)
        ->UseRealTime();
}

/// n random values that last as long as who holds them.
auto row_of(index_t n) { return std::make_shared<aligned_vector<float>>(random_floats(n)); }

void add_rows(const bench::variant& v) {
    const auto& d = v.sizes;
    const auto name = [&](const char* kernel, const std::string& of) { return fmt::format("{}/{}.{}", kernel, v.name, of); };
    const index_t D = d.width;
    add_row(name("rms_norm", std::to_string(D)), product_of(4, D), float_bytes(3 * D),
            [x = row_of(D), gain = row_of(D), out = row_of(D)] { kernel::rms_norm(*x, *gain, 1e-6F, *out); });
    for (const index_t n : {d.window, index_t{4096}, index_t{32768}})
        add_row(name("softmax", std::to_string(n)), product_of(4, n), float_bytes(2 * n), [x = row_of(n)] { kernel::softmax(*x); });
    const index_t F = d[d.blocks() - 1].mlp_width;
    add_row(name("gate", std::to_string(F)), product_of(8, F), float_bytes(3 * F), [x = row_of(F), from = row_of(F), up = row_of(F)] {
        *x = *from; // otherwise it would dwindle to denormal numbers
        kernel::gate<activation::gelu_tanh>(*x, *up);
    });
    for (const index_t block : {index_t{0}, d.first_full()}) {
        const index_t heads = d.heads, W = d[block].head_width;
        const aligned_vector<float> cosines(bench::size(W / 2), std::cos(1.0F)), sines(bench::size(W / 2), std::sin(1.0F));
        add_row(name("rope", fmt::format("{}x{}", heads, W)), product_of(3, heads, W), float_bytes(2 * heads * W + W),
                [=, x = row_of(heads * W)] {
                    for (index_t h = 0; h < heads; ++h)
                        kernel::rotate(std::span(*x).subspan(bench::size(h * W), bench::size(W)), cosines, sines);
                });
    }
    const auto form = simd::int8::wide_sums ? kernel::activation_form::bytes : kernel::activation_form::bytes_for_words;
    for (const index_t tokens : {1, 512}) {
        add_row(name("quantize", fmt::format("{}x{}", tokens, D)), product_of(6, tokens, D),
                float_bytes(tokens * D) + tokens * kernel::activation_rows::bytes(form, D), [=, x = row_of(tokens * D)] {
                    static kernel::activation_rows rounded;
                    rounded.fill({x->data(), tokens, D}, form, one);
                });
    }
}

void add(bool everything) {
    of_one = bench::roofs(one);
    of_one.put("1 thread");
    if (all.size() > 1) {
        of_all = bench::roofs(all);
        of_all.put(std::to_string(all.size()) + " threads");
    }
    for (const bench::variant& v : bench::variants()) {
        for (const matrix& m : bench::matrices(v)) {
            if (everything || m.usual) add_matmul(m);
        }
        if (!everything && !v.usual()) continue;
        add_attention(v);
        add_rows(v);
    }
    if (!everything) return;
    for (const index_t D : {64, 128}) // widths of other models
        add_attention<mask::causal>(fmt::format("width_{}", D), {.heads = 8, .kv_heads = 2, .head_width = D}, {512, 4096, 32768});
}

} // namespace

int main(int argc, char** argv) { return bench::run(argc, argv, &add); }
