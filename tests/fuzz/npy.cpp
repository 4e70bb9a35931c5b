// NumPy arrays, as floats and as ids.
#include "fuzz.hpp"

#include <loupe/io/npy.hpp>

void fuzz::npy(std::string_view input) {
    const auto path = put("x.npy", input);
    try {
        use(loupe::io::npy::read<float>(path).values.size());
    } catch (const loupe::error&) {
    }
    use(loupe::io::npy::read<std::int32_t>(path).values.size());
}
