// A ladder: one operation written several times, every rung with one idea more than the one before it.
#pragma once

#include <loupe/core/types.hpp>

namespace ladders {

using loupe::index_t;

/// All rungs of a ladder take the same operands and compute the same thing.
template <class Operands>
struct rung {
    const char* name;
    void (*run)(const Operands&);
};

} // namespace ladders
