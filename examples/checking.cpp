// Parts of one's own held against what the framework relies on: a mask with a bug, and a layer that is a function.
#include <loupe/check/check.hpp>

#include <cstdio>

using namespace loupe;

// [mask]
struct my_mask { // satisfies is::mask, and yet breaks what it says
    static constexpr bool looks_ahead = false;
    static constexpr index_t reach(mask_sizes) { return 0; }
    static constexpr bool sees(index_t query, index_t key, mask_sizes) { return key <= query + 1; }
};
// [/mask]

int main() {
    // [check]
    const verdict of_mask = check<my_mask>();
    if (!of_mask) std::puts(of_mask.text().c_str());
    // [/check]
    // [function]
    const auto running_mean = [](context&, matrix_view<const float> x, matrix_view<float> out) {
        for (index_t t = 0; t < x.rows; ++t) {
            for (index_t i = 0; i < x.width; ++i) out[t][i] = (x[t][i] + (t > 0 ? x[t - 1][i] : 0.0F)) / 2;
        }
    };
    const verdict of_layer = check("running_mean", running_mean, 64);
    if (!of_layer) std::puts(of_layer.text().c_str());
    // [/function]
}
