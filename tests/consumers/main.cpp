// A project outside the library. Every way of getting at the library builds this file; expected.txt is what it prints.
#if defined(ONE_HEADER)
#include "loupe_all.hpp"
#else
#include <loupe/format/formats.hpp>
#include <loupe/kernel/rms_norm.hpp>
#include <loupe/model/check.hpp>
#include <loupe/model/nano.hpp>
#endif

#include <array>
#include <cstddef>
#include <cstdio>

#include <fmt/format.h>

using q8_0 = loupe::format::q8_0;

// Found by each unit for itself, while compiling: calls would end up in one and the same function.
static constexpr const loupe::format::info* own = &loupe::format::info_of<q8_0>();
#if defined(ONE_HEADER)
extern const loupe::format::info* const of_second_unit;
#else
static constexpr const loupe::format::info* of_second_unit = own;
#endif

int main() {
    using model = loupe::nano::e;
    std::puts(loupe::diff<model, loupe::with<model, loupe::slot::rope_full<loupe::rope::none>>>().c_str());

    std::array<float, 32> values;
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 16.0F;
    std::array<std::byte, q8_0::bytes> block;
    q8_0::encode(values.data(), block.data());
    q8_0::decode(block.data(), values.data());
    std::puts(fmt::format("stored as {}: {:.2f} {:.2f}", q8_0::name, values[0], values[31]).c_str());

    loupe::kernel::rms_norm(values, {}, 1e-6F, values);
    std::puts(fmt::format("normed: {:.3f} {:.3f}", values[0], values[31]).c_str());

    try {
        loupe::check_ids(std::array{7, 9}, 8);
    } catch (const loupe::error& e) {
        std::puts(e.what());
    }

    // What the library calls one object of the whole program is one, in whatever units it was included.
    std::puts(of_second_unit == own ? "one object" : "two objects");
}
