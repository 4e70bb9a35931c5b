// Rewriting weights: what stays, what changes, and that nothing else about the model changes with them.
#include "data.hpp"
#include "files.hpp"

#include "open.hpp"
#include "products.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/gemma4.hpp>

using namespace loupe;

namespace {

io::checkpoint open(const std::filesystem::path& path) {
    executor threads(1);
    return tests::open(path, threads);
}

template <is::weights Policy>
std::shared_ptr<const decoder_weights> prepared(const io::checkpoint& file) {
    executor threads(2);
    return io::prepare_weights<Policy>(file.weights, threads);
}

/// Root of the mean squared difference of two matrices, relative to the first.
double distance(const weight_matrix& a, const weight_matrix& b) {
    std::vector<float> x(static_cast<std::size_t>(a.width)), y(x.size());
    double squares = 0, difference = 0;
    for (index_t r = 0; r < a.rows; ++r) {
        a.decode_row(r, x.data());
        b.decode_row(r, y.data());
        for (std::size_t i = 0; i < x.size(); ++i) {
            squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
            difference += static_cast<double>(x[i] - y[i]) * static_cast<double>(x[i] - y[i]);
        }
    }
    return std::sqrt(difference / squares);
}

using q8 = weights::requantized<format::q8_0>;
using q4 = weights::requantized<format::q4_0>;

/// Stored as float, nothing else.
struct plain_floats {
    static constexpr bool enabled = true;
    using format = format::f32;
    static constexpr void prepare(std::span<float>) {}
};

/// The matrix in another format, with bytes of its own.
void store_as(weight_matrix& m, const format::info& f) {
    const auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(m.rows * f.row_bytes(m.width)));
    std::vector<float> row(static_cast<std::size_t>(m.width));
    for (index_t r = 0; r < m.rows; ++r) {
        m.decode_row(r, row.data());
        f.encode_row(row.data(), bytes->data() + r * f.row_bytes(m.width), m.width);
    }
    m.format = &f;
    m.data = bytes->data();
    m.owner = bytes;
}

template <is::model M>
std::vector<float> logits_of(const dimensions& sizes, std::shared_ptr<const decoder_weights> w) {
    const decoder<M> model(sizes, std::move(w));
    runtime on(1);
    auto s = model.start();
    const std::vector<token_id> ids{2, 17, 40, 99, 3, 158};
    const auto hidden = model.forward(s, ids, on);
    std::vector<float> out(ids.size() * static_cast<std::size_t>(sizes.vocabulary));
    model.logits(s, hidden, on, {out.data(), static_cast<index_t>(ids.size()), sizes.vocabulary});
    return out;
}

} // namespace

TEST_CASE("requantise: as stored is the same object", "[requantize]") {
    CHECK(prepared<weights::as_stored>(tests::nano_e()) == tests::nano_e().weights);
}

TEST_CASE("requantise: eight bits are closer than four, and neither is exact", "[requantize]") {
    const auto a = prepared<q8>(tests::nano_e()), b = prepared<q4>(tests::nano_e());
    for (std::size_t i = 0; i < a->block.size(); ++i) {
        const auto& stored = tests::nano_e().weights->block[i].mlp.down;
        const double eight = distance(stored, a->block[i].mlp.down), four = distance(stored, b->block[i].mlp.down);
        CHECK(eight > 0);
        CHECK(eight < 0.01);
        CHECK(four > 5 * eight);
        CHECK(four < 0.2);
    }
    // Blocks that share keys still have none.
    CHECK(!a->block[7].attention.k.exists());
}

TEST_CASE("requantise: router and per-layer projection stay as they are, everything else changes", "[requantize]") {
    const auto e = prepared<q4>(tests::nano_e()), a = prepared<q4>(tests::nano_a());
    CHECK(e->per_layer_projection.data == tests::nano_e().weights->per_layer_projection.data);
    CHECK(e->per_layer_projection.format->name == "BF16");
    int matrices = 0, kept = 0;
    for (const auto* w : {&e, &a}) {
        io::detail::for_each_matrix(**w, [&](const weight_matrix& m, const char* name) {
            if (!m.exists()) return;
            ++matrices;
            const bool stays = std::string_view(name) == "router" || std::string_view(name) == "per-layer projection";
            kept += stays ? 1 : 0;
            INFO(name);
            CHECK(m.format->name == (stays ? "BF16" : "Q4_0"));
            CHECK(m.owner != nullptr);
        });
    }
    CHECK(kept == 1 + 6);
    CHECK(matrices > 100);
    // Gains, scales and scalars are not matrices.
    CHECK(e->block[3].input_norm == tests::nano_e().weights->block[3].input_norm);
    CHECK(a->block[3].experts.expert_scale == tests::nano_a().weights->block[3].experts.expert_scale);
    CHECK(e->block[3].scalar == tests::nano_e().weights->block[3].scalar);
    // The stored weights have not been touched.
    CHECK(tests::nano_e().weights->embedding.format->name == "BF16");
}

TEST_CASE("requantise: a tied head stays tied, merged experts stay merged, heads of their own stay apart", "[requantize]") {
    const auto e = prepared<q8>(tests::nano_e()), a = prepared<q8>(tests::nano_a());
    CHECK(e->head.data == e->embedding.data);
    CHECK(a->block[0].experts.gate.all.data == a->block[0].experts.up.all.data);
    CHECK(a->block[0].experts.gate.offset == 0);
    CHECK(a->block[0].experts.up.offset == 96);
    CHECK(a->block[0].experts.gate.all.data != a->block[1].experts.gate.all.data);
    auto own = std::make_shared<decoder_weights>(*tests::nano_e().weights);
    store_as(own->head, format::info_of<format::f32>());
    executor threads(1);
    const auto w = io::prepare_weights<q8>(own, threads);
    CHECK(w->head.data != w->embedding.data);
}

TEST_CASE("requantise: the result does not depend on threads, and once more changes nothing", "[requantize]") {
    executor one(1), three(3);
    const auto a = io::prepare_weights<q4>(tests::nano_a().weights, one), b = io::prepare_weights<q4>(tests::nano_a().weights, three);
    const auto& x = a->block[2].experts.down.all;
    const auto& y = b->block[2].experts.down.all;
    REQUIRE(x.bytes() == y.bytes());
    CHECK(std::equal(x.data, x.data + x.bytes(), y.data));
    const auto twice = io::prepare_weights<q8>(io::prepare_weights<q8>(tests::nano_e().weights, one), one);
    const auto once = prepared<q8>(tests::nano_e());
    CHECK(distance(once->embedding, twice->embedding) < 1e-3);
}

TEST_CASE("requantise: rows that blocks do not divide are refused by the matrix's name", "[requantize]") {
    const auto golden = open(tests::data("gemma4-26b-a4b")); // width 88, experts 22
    executor threads(1);
    const std::string message = tests::refusal([&] { return io::prepare_weights<q8>(golden.weights, threads); });
    for (const char* part : {"Q8_0", "88", "embedding"}) CHECK(tests::contains(message, part));
}

TEST_CASE("requantise: bytes are those of each tensor once", "[requantize]") {
    const auto file = io::safetensors::open(tests::example("models/nano-e"));
    index_t expected = 0;
    for (const io::tensor& t : file.tensors()) expected += t.shape.size() >= 2 ? t.bytes : 4 * t.count(); // gains are kept as floats
    CHECK((io::bytes_of(*tests::nano_e().weights) == expected));
    const index_t eight = io::bytes_of(*prepared<q8>(tests::nano_e())), four = io::bytes_of(*prepared<q4>(tests::nano_e()));
    CHECK(four < eight);
    CHECK(eight < expected);
    const double ratio = static_cast<double>(eight) / static_cast<double>(four);
    CHECK(ratio > 1.8);
    CHECK(ratio < 34.0 / 18.0);
}

TEST_CASE("requantise: a token reads the head, of tables a row, and the experts it uses", "[requantize]") {
    const auto bytes = [](const io::checkpoint& file, std::string_view part, bool is_there) {
        index_t sum = 0;
        const auto stored = io::safetensors::open(file.path);
        for (const io::tensor& t : stored.tensors()) {
            if (t.shape.size() >= 2 && (t.name.find(part) != std::string::npos) == is_there) sum += t.bytes;
        }
        return sum;
    };
    const auto &e = tests::nano_e(), &a = tests::nano_a(); // heads are tied to the embeddings
    CHECK(io::bytes_per_token(*e.weights, e.sizes) == bytes(e, "embed_tokens_per_layer", false));
    CHECK(bytes(e, "embed_tokens_per_layer", true) > 0);
    CHECK(io::bytes_per_token(*a.weights, a.sizes) ==
          bytes(a, "experts", false) + bytes(a, "experts", true) / a.sizes.experts * a.sizes.experts_used);
    CHECK(bytes(a, "experts", true) > 0);
    decoder_weights older = *e.weights; // keys and values of blocks that read another's, which some files keep
    for (index_t i = 0; i < e.sizes.blocks(); ++i) {
        attention_weights& of = older.block[static_cast<std::size_t>(i)].attention;
        if (!e.sizes[i].shares_kv) continue;
        of.k = of.v = e.weights->block[0].attention.k;
        for (weight_matrix* m : {&of.k, &of.v}) store_as(*m, *m->format); // bytes of their own
    }
    CHECK(io::bytes_per_token(older, e.sizes) == io::bytes_per_token(*e.weights, e.sizes));
}

TEST_CASE("requantise: storing the same values in another format is the same model", "[requantize]") {
    // The embedding's scale is rounded to the precision in which the model has its table (√88 = 9.3808, as BF16 9.375). Rewriting the
    // matrices must not change it, or every comparison of weight formats compares two scales as well.
    auto golden = open(tests::data("gemma4-26b-a4b"));
    auto w = std::make_shared<decoder_weights>(*golden.weights);
    store_as(w->embedding, format::info_of<format::bf16>());
    w->head = w->embedding;
    executor threads(1);
    const auto rewritten = io::prepare_weights<plain_floats>(w, threads);
    CHECK(distance(w->embedding, rewritten->embedding) == 0);
    CHECK((logits_of<gemma4::experts_of_file>(golden.sizes, rewritten) == logits_of<gemma4::experts_of_file>(golden.sizes, w)));
}
