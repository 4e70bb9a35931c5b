// Holds a cache policy, and a rule of who shares keys with whom, against what decoders rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/policy/kv.hpp>

#include <array>
#include <type_traits>

namespace loupe {

/// Neither number is negative: a query keeps its own position, and a ring has room for what is kept.
template <is::kv_policy Kv>
verdict check() {
    using detail::say;
    verdict v("kv " + type_name<Kv>());
    v.rule([] {
        const index_t sinks = Kv::sinks;
        return sinks < 0 ? say("sinks is ", sinks, ", expected 0 or more") : std::string();
    });
    v.rule([] {
        const index_t length = Kv::length;
        return length < 0 ? say("length is ", length, ", expected 0 for everything or a number of positions") : std::string();
    });
    return v;
}

namespace detail {

template <class Sharing>
concept constexpr_donor = requires {
    typename std::bool_constant<(Sharing::donor(0, std::array<bool, 2>{false, true}, 1), true)>;
};

} // namespace detail

/// For every pattern of up to eight blocks and every first shared one: a donor is the block itself or an earlier block of its kind that
/// reads its own keys, or there is none; and `donor` is constexpr.
template <is::kv_sharing Sharing>
verdict check() {
    using detail::say;
    verdict v("kv_sharing " + type_name<Sharing>());
    const auto search = [](auto&& broken) -> std::string {
        for (index_t blocks = 1; blocks <= 8; ++blocks) {
            for (index_t first_shared = 1; first_shared <= blocks; ++first_shared) {
                for (unsigned pattern = 0; pattern < 1U << blocks; ++pattern) {
                    std::array<bool, 8> full{};
                    std::string kinds;
                    for (std::size_t i = 0; i < static_cast<std::size_t>(blocks); ++i) {
                        full[i] = (pattern >> i & 1U) != 0;
                        kinds += full[i] ? 'F' : 's';
                    }
                    const std::span<const bool> is_full(full.data(), static_cast<std::size_t>(blocks));
                    const auto donor = [&](index_t block) { return static_cast<index_t>(Sharing::donor(block, is_full, first_shared)); };
                    for (index_t block = 0; block < blocks; ++block) {
                        const std::string what = detail::attempt([&] { return broken(block, donor, is_full); });
                        if (what.empty()) continue;
                        return say("donor(block ", block, ") ", what, " (blocks ", kinds, ", shared from ", first_shared, " on)");
                    }
                }
            }
        }
        return {};
    };
    v.rule([] {
        return detail::constexpr_donor<Sharing> ? std::string()
                                                : std::string("donor is not constexpr, a composition's rules cannot call it");
    });
    v.rule([&] {
        return search([](index_t block, const auto& donor, std::span<const bool>) {
            const index_t d = donor(block);
            return d < kv_sharing::no_donor || d > block
                       ? say("is ", d, ", expected a block from 0 to ", block, ", or ", kv_sharing::no_donor)
                       : std::string();
        });
    });
    v.rule([&] {
        return search([](index_t block, const auto& donor, std::span<const bool> is_full) {
            const index_t d = donor(block);
            return d >= 0 && d < block && is_full[static_cast<std::size_t>(d)] != is_full[static_cast<std::size_t>(block)]
                       ? say("is ", d, ", a block of the other kind")
                       : std::string();
        });
    });
    v.rule([&] {
        return search([](index_t block, const auto& donor, std::span<const bool>) {
            const index_t d = donor(block);
            return d >= 0 && d < block && donor(d) != d ? say("is ", d, ", which has no keys of its own but reads those of ", donor(d))
                                                        : std::string();
        });
    });
    v.rule([&] {
        return search([](index_t block, const auto& donor, std::span<const bool>) {
            const index_t d = donor(block);
            const index_t again = donor(block);
            return again != d ? say("is ", d, ", and when asked again ", again) : std::string();
        });
    });
    return v;
}

} // namespace loupe
