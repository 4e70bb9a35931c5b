// Bits that look random.
#pragma once

#include <cstdint>

namespace loupe {

/// SplitMix64's output function (Steele, Lea and Flood 2014): a bijection that makes consecutive numbers look random.
constexpr std::uint64_t mixed(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

} // namespace loupe
