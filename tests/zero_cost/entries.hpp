// The four blocks of E2B as functions with fixed names, for two files that define `kind` and `call`: scripts/check_zero_cost.sh compares
// their code. Of a model with another part one block, alone, is enough to see that it differs: a full one, since a cache policy means
// nothing to the others.
#pragma once

#define LOUPE_ENTRY(name, full, owns_kv)                                                                                                   \
    extern "C" void name(const kind<full, owns_kv>& b, loupe::context& c, loupe::rope_table& rope, loupe::matrix_view<float> x,            \
                         loupe::matrix_view<const float> per_layer, loupe::kv_cache& cache) {                                              \
        call(b, c, rope, x, per_layer, cache);                                                                                             \
    }

LOUPE_ENTRY(full_own, true, true)
#ifndef LOUPE_ONE_BLOCK
LOUPE_ENTRY(sliding_own, false, true)
LOUPE_ENTRY(sliding_shared, false, false)
LOUPE_ENTRY(full_shared, true, false)
#endif
