// The blocks of E2B as the library composes them: with a probe, a pruning and a cache policy that do nothing. LOUPE_EXCHANGE puts another
// part into a slot, to see that the comparison notices.
#include <loupe/model/decoder.hpp>
#include <loupe/model/gemma4.hpp>

namespace with_parts {

using namespace loupe;

/// Watches one place.
struct sum_of_residual {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::residual>;
    double sum = 0;
    void operator()(at::residual, index_t, index_t, matrix_view<float> x) {
        for (index_t t = 0; t < x.rows; ++t) {
            for (const float v : x[t]) sum += v;
        }
    }
};

#ifdef LOUPE_EXCHANGE
using model = with<gemma4::e2b, slot::LOUPE_EXCHANGE>;
#else
using model = gemma4::e2b;
#endif

/// What happens to the weights happens at load: the blocks know nothing of it.
static_assert(std::same_as<stack_of<model>, stack_of<with<model, slot::weights<weights::requantized<format::bf16>>>>>);

template <bool Full, bool OwnsKv>
using kind = loupe::detail::kinds<model>::block_of<Full, OwnsKv>;

template <class Block>
inline void call(const Block& b, context& c, rope_table& rope, matrix_view<float> x, matrix_view<const float> per_layer, kv_cache& cache) {
    using in_slot = part_of<model, part::probe>;
    if constexpr (std::same_as<in_slot, probe::none>) {
        b(c, rope, x, per_layer, cache);
    } else {
        b(static_cast<context_of<in_slot>&>(c), rope, x, per_layer, cache);
    }
}

} // namespace with_parts

using namespace with_parts;
#include "entries.hpp"
