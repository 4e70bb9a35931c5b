// xsimd 8 to 13 under one name.
#pragma once

#include <xsimd/xsimd.hpp>

namespace loupe::simd {

/// The widest batch of floats of the target.
using floats = xsimd::batch<float>;
inline constexpr int width = static_cast<int>(floats::size);

/// Sum of a batch's lanes.
inline float sum(const floats& x) {
#if XSIMD_VERSION_MAJOR >= 10
    return xsimd::reduce_add(x);
#else
    return xsimd::hadd(x);
#endif
}

} // namespace loupe::simd
