// NumPy files: round trip, exact conversions, and refusals.
#include "data.hpp"
#include "files.hpp"

#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/npy.hpp>

#include <cmath>
#include <csignal>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/resource.h>

using namespace loupe;
using tests::contains, tests::folder, tests::load, tests::save;

namespace {

template <class T>
std::string file(const std::string& header, const std::vector<T>& values) {
    const auto length = static_cast<std::uint16_t>(header.size());
    std::string result("\x93NUMPY\x01\x00", 8);
    result.append(reinterpret_cast<const char*>(&length), 2).append(header);
    return result.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

std::string dictionary(const std::string& type, const std::string& shape) {
    return "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
}

bool has_nameless_files([[maybe_unused]] const std::filesystem::path& folder) {
#ifdef O_TMPFILE
    const io::detail::descriptor file(::open(folder.c_str(), O_WRONLY | O_TMPFILE, 0600));
    return file.value >= 0;
#else
    return false;
#endif
}

template <class T>
std::string refusal(const std::string& content) {
    const folder dir;
    save(dir / "x.npy", content);
    return tests::refusal([&] { return io::npy::read<T>(dir / "x.npy"); });
}

} // namespace

TEST_CASE("float32 values come back with their bits, written piece by piece", "[npy]") {
    const folder dir;
    const std::vector<float> values = {1.5F, -0.0F, std::nanf("1"), HUGE_VALF, 1e-45F, 3};
    for (const auto& shape : std::vector<std::vector<index_t>>{{6}, {2, 3}, {1, 6, 1}}) {
        {
            io::npy_writer w(dir / "x.npy", shape);
            w.write(std::span(values).first(1));
            w.write(std::span(values).subspan(1, 0));
            w.write(std::span(values).subspan(1));
            CHECK_FALSE(std::filesystem::exists(dir / "x.npy"));                              // not before it is whole
            if (has_nameless_files(dir.path())) CHECK(std::filesystem::is_empty(dir.path())); // so what ends the process leaves nothing
            w.close();
        }
        const auto back = io::npy::read<float>(dir / "x.npy");
        CHECK(back.shape == shape);
        REQUIRE(back.values.size() == 6);
        CHECK(std::memcmp(back.values.data(), values.data(), 24) == 0);
        const std::string content = load(dir / "x.npy");
        CHECK((content.size() - 24) % 64 == 0); // NEP 1
        CHECK(content[content.size() - 25] == '\n');
        std::filesystem::remove(dir / "x.npy");
    }
    io::npy_writer scalar(dir / "s.npy", {});
    scalar.write(std::span(values).first(1));
    scalar.close();
    CHECK(io::npy::read<float>(dir / "s.npy").shape.empty());
    CHECK(contains(load(dir / "s.npy"), "'shape': (), }"));
    io::npy_writer none(dir / "n.npy", {0, 3});
    none.close();
    CHECK(io::npy::read<float>(dir / "n.npy").values.empty());
    CHECK(contains(load(dir / "n.npy"), "'shape': (0, 3), }"));
}

TEST_CASE("a large array is written in pieces of every size", "[npy]") {
    const folder dir;
    std::vector<float> values(100000);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    io::npy_writer w(dir / "x.npy", {100000});
    for (std::size_t at = 0, n = 1; at < values.size(); at += n, n = n * 3 + 1)
        w.write(std::span(values).subspan(at, std::min(n, values.size() - at)));
    w.close();
    CHECK(io::npy::read<float>(dir / "x.npy").values == values);
}

TEST_CASE("the golden files of every type are read, and converted where that is exact", "[npy]") {
    const auto logits = io::npy::read<double>(tests::data("gemma4-e2b") / "logits.npy");
    CHECK(logits.shape.size() == 2);
    CHECK(logits.shape[0] == 40);
    const auto ids = io::npy::read<std::int32_t>(tests::data("gemma4-e2b") / "ids.npy");
    CHECK(ids.shape == std::vector<index_t>{40});
    const auto wide = io::npy::read<index_t>(tests::data("gemma4-e2b") / "ids.npy");
    CHECK(wide.values == std::vector<index_t>(ids.values.begin(), ids.values.end()));
    CHECK(io::npy::read<float>(tests::data("gemma4-e2b") / "ids.npy").values[0] == static_cast<float>(ids.values[0]));
    CHECK(io::npy::read<std::uint8_t>(tests::data("blocks") / "q4_K.raw.npy").shape == std::vector<index_t>{24, 144});
    CHECK_THROWS_AS(io::npy::read<float>(tests::data("gemma4-e2b") / "logits.npy"), error);
}

TEST_CASE("a value that the type asked for cannot hold exactly is an error that says which", "[npy]") {
    const auto f8 = [](double v) { return file<double>(dictionary("<f8", "(2,)"), {0.5, v}); };
    const auto whole = [](double v) { return file<double>(dictionary("<f8", "(2,)"), {1, v}); };
    CHECK(refusal<float>(f8(0.25)).empty());
    CHECK(refusal<float>(f8(std::nan(""))).empty());
    CHECK(contains(refusal<float>(f8(0.1)), "value 1: expected a value that fits the type asked for exactly, found 0.1"));
    CHECK(contains(refusal<float>(f8(1e300)), "value 1"));
    CHECK(contains(refusal<std::int32_t>(f8(1)), "value 0"));
    CHECK(refusal<std::int32_t>(whole(-2147483648.0)).empty());
    CHECK(contains(refusal<std::int32_t>(whole(2147483648.0)), "value 1"));
    CHECK(contains(refusal<std::int32_t>(whole(std::nan(""))), "value 1"));
    CHECK(refusal<std::uint8_t>(whole(255)).empty());
    CHECK(contains(refusal<std::uint8_t>(whole(256)), "value 1"));
    CHECK(contains(refusal<std::uint8_t>(whole(-1)), "value 1"));
    CHECK(contains(refusal<index_t>(whole(9223372036854775808.0)), "value 1"));
    CHECK(contains(refusal<float>(file<std::int32_t>(dictionary("<i4", "(1,)"), {16777217})), "value 0"));
    CHECK(refusal<double>(file<std::int32_t>(dictionary("<i4", "(1,)"), {16777217})).empty());
}

TEST_CASE("headers: keys in any order, either quote, any spaces", "[npy]") {
    CHECK(refusal<float>(file<float>("{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}   \n", {1, 2})).empty());
    CHECK(refusal<float>(file<float>("{'descr':'<f4','fortran_order':False,'shape':(2)}", {1, 2})).empty());
}

TEST_CASE("other types, Fortran order, other versions, wrong sizes and damaged headers are refused", "[npy]") {
    const std::string good = file<float>(dictionary("<f4", "(2, 3)") + "\n", {1, 2, 3, 4, 5, 6});
    CHECK(refusal<float>(good).empty());
    int accepted = 0;
    for (std::size_t n = 0; n < good.size(); ++n) accepted += refusal<float>(good.substr(0, n)).empty();
    CHECK(accepted == 0);
    CHECK(contains(refusal<float>(good + "x"), "expected 6 values of 4 bytes for shape [2, 3], found 25 bytes"));
    CHECK(contains(refusal<float>(file<float>(dictionary(">f4", "(1,)"), {1})), "found '>f4'"));
    CHECK(contains(refusal<float>(file<float>(dictionary("|O", "(1,)"), {1})), "found '|O'"));
    CHECK(
        contains(refusal<float>(file<float>("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", {1})), "not a structure"));
    CHECK(contains(refusal<float>(file<float>("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", {1})), "C order"));
    CHECK(
        contains(refusal<float>(file<float>("{'descr': '<f4', 'fortran_order': False}", {1})), "expected descr, fortran_order and shape"));
    CHECK(contains(refusal<float>(file<float>("{'descr': '<f4', 'descr': '<f4'}", {1})), "once"));
    CHECK(contains(refusal<float>(file<float>(dictionary("<f4", "(-1,)"), {1})), "integer"));
    CHECK(contains(refusal<float>(file<float>(dictionary("<f4", "(9223372036854775808,)"), {1})), "2^63"));
    CHECK(contains(refusal<float>(file<float>(dictionary("<f4", "(4294967296, 4294967296)"), {1})), "overflows"));
    CHECK(contains(refusal<float>(file<float>(dictionary("<f4", "(4611686018427387904,)"), {1})), "expected"));
    CHECK(contains(refusal<float>(file<float>(dictionary("<f4", "(1,)") + " x", {1})), "nothing after"));
    std::string version = good;
    version[6] = 2;
    CHECK(contains(refusal<float>(version), "expected version 1.0, found 2.0"));
    CHECK(contains(refusal<float>("hello, this is no array"), "expected the beginning of a .npy file"));
    int crashed = 0;
    for (std::size_t i = 0; i < good.size(); ++i)
        for (const char c : {'\x00', '\'', '(', ')', '9', '\xff'}) {
            std::string damaged = good;
            damaged[i] = c;
            try {
                static_cast<void>(refusal<float>(damaged)); // any loupe::error is caught inside
            } catch (...) {
                ++crashed;
            }
        }
    CHECK(crashed == 0);
}

TEST_CASE("a writer that is left, overfilled or closed early leaves no file", "[npy]") {
    const folder dir;
    const std::vector<float> values(10);
    {
        io::npy_writer w(dir / "x.npy", {20});
        w.write(values);
        CHECK_THROWS_AS(w.close(), error);
    }
    CHECK(std::filesystem::is_empty(dir.path()));
    {
        io::npy_writer w(dir / "x.npy", {5});
        CHECK_THROWS_AS(w.write(values), error);
    }
    CHECK(std::filesystem::is_empty(dir.path()));
    CHECK_THROWS_AS(io::npy_writer(dir / "x.npy", {-1}), error);
    CHECK_THROWS_AS(io::npy_writer(dir / "x.npy", {index_t{1} << 40, index_t{1} << 40}), error);
    CHECK_THROWS_AS(io::npy_writer(dir / "no" / "x.npy", {1}), output_error);
    CHECK_THROWS_AS(io::npy_writer(dir.path(), {1}), output_error);
    CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("a full disk is an output_error, whether it fills at once or half way", "[npy]") {
    const folder dir;
    const std::vector<float> values(100000);
    if (std::filesystem::exists("/dev/full")) {
        io::npy_writer w("/dev/full", {1});
        w.write(std::span(values).first(1));
        CHECK_THROWS_AS(w.close(), output_error); // not before: the bytes were kept back
        io::npy_writer large("/dev/full", {100000});
        CHECK_THROWS_AS(large.write(values), output_error);
        CHECK_THROWS_AS(large.write(std::span(values).first(1)), output_error);
    }
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit small{100000, before.rlim_max};
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    bool failed = false;
    try {
        io::npy_writer w(dir / "x.npy", {100000});
        w.write(values);
    } catch (const output_error&) {
        failed = true;
    }
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(failed);
    CHECK(std::filesystem::is_empty(dir.path()));
}
