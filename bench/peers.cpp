// Our float kernels beside the libraries that one would otherwise take, in the same process and at the same sizes:
//
//   mat_mul/ours/e2b.ffn_gate.6144x1536/tokens:512/threads:1         y = x · Wᵀ, W in F32 where it lies; packed, OpenBLAS, Eigen
//   mat_vec/xtensor/e2b.ffn_gate.6144x1536/tokens:1/threads:1        one token; the same and xtensor
//   rms_norm/ours/e2b.1536, softmax/ours/e2b.512                     one row; Eigen, xtensor
//
// scripts/bench_tables.py makes a table of it.
#include "roof.hpp"
#include "shapes.hpp"

#include <loupe/format/formats.hpp>
#include <loupe/kernel/elementwise.hpp>
#include <loupe/kernel/matmul.hpp>
#include <loupe/kernel/packed.hpp>
#include <loupe/kernel/rms_norm.hpp>

#include <xtensor/xadapt.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xnoalias.hpp>

#if defined(LOUPE_BENCH_OPENBLAS)
#include <cblas.h>
#endif
#if defined(LOUPE_BENCH_EIGEN)
#include <Eigen/Core>
#endif

#include <cmath>
#include <functional>
#include <memory>

namespace {

using namespace loupe;
using bench::random_floats;
using benchmark::Counter;

executor one(1), all(0);
double float_roof = 0, float_roof_of_all = 0;

double product_of(auto... sizes) { return (1.0 * ... * static_cast<double>(sizes)); }

void add(const std::string& name, double flops, double bytes, double roof, std::function<void()> run) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [=](benchmark::State& state) {
                                     run(); // makes operands and packs them where they are not there yet
                                     for (auto _ : state) {
                                         run();
                                         benchmark::ClobberMemory();
                                     }
                                     const auto each = Counter::kIsIterationInvariantRate;
                                     state.counters["GFLOP/s"] = Counter(flops * 1e-9, each);
                                     state.counters["GB/s"] = Counter(bytes * 1e-9, each);
                                     if (roof > 0) state.counters["of roof"] = Counter(flops / roof, each);
                                 })
        ->Unit(benchmark::kMicrosecond)
        ->UseRealTime();
}

/// Operands of a product, made when the first benchmark wants them; those of the last shape are kept.
struct operands {
    index_t rows = 0, width = 0, tokens = 0;
    aligned_vector<float> w;
    aligned_vector<float> x, y;
    aligned_vector<std::byte> packed;

    /// Where they lie, and laid out for products in float.
    kernel::weight_view view() const {
        return {&format::info_of<format::f32>(), reinterpret_cast<const std::byte*>(w.data()), rows, width};
    }
    kernel::weight_view packed_view() {
        kernel::weight_view v = kernel::for_products(view(), *kernel::products_for(format::info_of<format::f32>()));
        if (packed.empty()) packed = kernel::pack(v, all);
        v.packed = packed.data();
        return v;
    }

    static operands& of(const bench::matrix& m, index_t tokens) {
        static operands kept;
        if (kept.rows != m.rows || kept.width != m.width || kept.tokens != tokens) {
            const auto random = random_floats(m.width);
            kept.rows = m.rows, kept.width = m.width, kept.tokens = tokens;
            kept.packed = {};
            kept.w.resize(bench::size(m.rows * m.width));
            for (index_t r = 0; r < m.rows; ++r)
                std::rotate_copy(random.begin(), random.begin() + r % m.width, random.end(), kept.w.begin() + r * m.width);
            kept.x = random_floats(tokens * m.width);
            kept.y.resize(bench::size(tokens * m.rows));
        }
        return kept;
    }
};

#if defined(LOUPE_BENCH_EIGEN)
using eigen_matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
auto eigen(const float* data, index_t rows, index_t width) { return Eigen::Map<const eigen_matrix>(data, rows, width); }
auto eigen(float* data, index_t rows, index_t width) { return Eigen::Map<eigen_matrix>(data, rows, width); }
auto eigen(aligned_vector<float>& x) { return Eigen::Map<Eigen::ArrayXf>(x.data(), std::ssize(x)); }
#endif

/// y = x · Wᵀ by each library.
void add_products(const bench::matrix& m, index_t tokens, index_t threads) {
    const auto add_one = [&](const char* library, std::function<void(operands&)> run) {
        const std::string of = tokens == 1 ? "mat_vec/" : "mat_mul/";
        add(fmt::format("{}{}/{}/tokens:{}/threads:{}", of, library, m.name, tokens, threads), product_of(2, tokens, m.rows, m.width),
            product_of(4, m.rows * m.width + tokens * (m.rows + m.width)),
            tokens == 1    ? 0
            : threads == 1 ? float_roof
                           : float_roof_of_all,
            [=] { run(operands::of(m, tokens)); });
    };
    const auto multiply = [=](operands& o, const kernel::weight_view& w) {
        kernel::matmul(w, {o.x.data(), o.tokens, o.width}, {o.y.data(), o.tokens, o.rows}, threads == 1 ? one : all);
    };
    add_one("ours", [=](operands& o) { multiply(o, o.view()); });
    add_one("packed", [=](operands& o) { multiply(o, o.packed_view()); });
#if defined(LOUPE_BENCH_OPENBLAS)
    add_one("OpenBLAS", [=](operands& o) {
        openblas_set_num_threads(static_cast<int>(threads));
        const auto R = static_cast<blasint>(o.rows), K = static_cast<blasint>(o.width), T = static_cast<blasint>(o.tokens);
        if (T == 1)
            cblas_sgemv(CblasRowMajor, CblasNoTrans, R, K, 1, o.w.data(), K, o.x.data(), 1, 0, o.y.data(), 1);
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, T, R, K, 1, o.x.data(), K, o.w.data(), K, 0, o.y.data(), R);
    });
#endif
    if (threads > 1) return; // what follows has one
#if defined(LOUPE_BENCH_EIGEN)
    add_one("Eigen", [](operands& o) {
        const auto w = eigen(std::as_const(o.w).data(), o.rows, o.width);
        if (o.tokens == 1)
            Eigen::Map<Eigen::VectorXf>(o.y.data(), o.rows).noalias() = w * Eigen::Map<const Eigen::VectorXf>(o.x.data(), o.width);
        else
            eigen(o.y.data(), o.tokens, o.rows).noalias() = eigen(std::as_const(o.x).data(), o.tokens, o.width) * w.transpose();
    });
#endif
    if (tokens > 1) return; // xtensor has no matrix product of its own
    add_one("xtensor", [](operands& o) {
        const std::array<std::size_t, 1> shape{bench::size(o.width)};
        const auto x = xt::adapt(o.x.data(), o.x.size(), xt::no_ownership(), shape);
        for (index_t r = 0; r < o.rows; ++r) { // a sum over one axis of a matrix takes many times as long
            const auto row = xt::adapt(o.w.data() + r * o.width, x.size(), xt::no_ownership(), shape);
            o.y[bench::size(r)] = xt::sum(row * x, xt::evaluation_strategy::immediate)();
        }
    });
}

auto row_of(index_t n) { return std::make_shared<aligned_vector<float>>(random_floats(n)); }
auto as_tensor(aligned_vector<float>& x) { return xt::adapt(x.data(), x.size(), xt::no_ownership(), std::array<std::size_t, 1>{x.size()}); }

void add_rms_norm(const std::string& variant, index_t n) {
    const auto x = row_of(n), gain = row_of(n), out = row_of(n);
    const auto add_one = [&](const char* library, std::function<void()> run) {
        add(fmt::format("rms_norm/{}/{}.{}", library, variant, n), product_of(4, n), product_of(12, n), 0, std::move(run));
    };
    constexpr float epsilon = 1e-6F;
    add_one("ours", [=] { kernel::rms_norm(*x, *gain, epsilon, *out); });
#if defined(LOUPE_BENCH_EIGEN)
    add_one("Eigen", [=] {
        const auto v = eigen(*x);
        eigen(*out) = v * (1 / std::sqrt(v.square().mean() + epsilon)) * eigen(*gain);
    });
#endif
    add_one("xtensor", [=] {
        const auto v = as_tensor(*x);
        const auto mean = static_cast<float>(xt::mean(xt::square(v), xt::evaluation_strategy::immediate)());
        auto y = as_tensor(*out);
        xt::noalias(y) = v * (1 / std::sqrt(mean + epsilon)) * as_tensor(*gain);
    });
}

void add_softmax(const std::string& variant, index_t n) {
    const auto x = row_of(n);
    const auto add_one = [&](const char* library, std::function<void()> run) {
        add(fmt::format("softmax/{}/{}.{}", library, variant, n), product_of(4, n), product_of(8, n), 0, std::move(run));
    };
    add_one("ours", [=] { kernel::softmax(*x); });
#if defined(LOUPE_BENCH_EIGEN)
    add_one("Eigen", [=] {
        auto v = eigen(*x);
        v = (v - v.maxCoeff()).exp();
        v /= v.sum();
    });
#endif
    add_one("xtensor", [=] {
        auto v = as_tensor(*x);
        const float largest = xt::amax(v, xt::evaluation_strategy::immediate)();
        xt::noalias(v) = xt::exp(v - largest);
        const float sum = xt::sum(v, xt::evaluation_strategy::immediate)();
        v /= sum;
    });
}

void add_all(bool everything) {
    float_roof = bench::float_roof(one);
    float_roof_of_all = all.size() == 1 ? float_roof : bench::float_roof(all);
    benchmark::AddCustomContext("roof, float, 1 thread", std::to_string(float_roof * 1e-9) + " GFLOP/s");
    if (all.size() > 1)
        benchmark::AddCustomContext(fmt::format("roof, float, {} threads", all.size()),
                                    std::to_string(float_roof_of_all * 1e-9) + " GFLOP/s");
#if defined(LOUPE_BENCH_OPENBLAS)
    benchmark::AddCustomContext("OpenBLAS", fmt::format("{}; kernels of {}", openblas_get_config(), openblas_get_corename()));
#endif
#if defined(LOUPE_BENCH_EIGEN)
    benchmark::AddCustomContext("Eigen", fmt::format("{}.{}.{}", EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION));
#endif
    benchmark::AddCustomContext("xtensor", fmt::format("{}.{}.{}", XTENSOR_VERSION_MAJOR, XTENSOR_VERSION_MINOR, XTENSOR_VERSION_PATCH));
    for (const bench::variant& v : bench::variants()) {
        for (const bench::matrix& m : bench::matrices(v)) {
            if (!everything && !m.usual) continue;
            for (const index_t tokens : {512, 1}) {
                add_products(m, tokens, 1);
                if (all.size() > 1) add_products(m, tokens, all.size());
            }
        }
        if (!everything && !v.usual()) continue;
        add_rms_norm(v.name, v.sizes.width);
        for (const index_t n : {v.sizes.window, index_t{4096}}) add_softmax(v.name, n);
    }
}

} // namespace

int main(int argc, char** argv) { return bench::run(argc, argv, &add_all); }
