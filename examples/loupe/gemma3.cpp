#include "variants.hpp"

namespace program {

family gemma3() {
    using base = loupe::gemma3::of_file;
    std::vector<variant> list;
    add_common<base>(list);
    add<base, with<base, slot::rope_full<rope::proportional<std::ratio<1, 4>>>>>(
        list, "full-rope-quarter", "full blocks: only the fastest quarter of the pairs rotates", has_full);
    return make_family<base, loupe::gemma3::m270, loupe::gemma3::b1, loupe::gemma3::b4, loupe::gemma3::b12, loupe::gemma3::b27>(
        "Gemma 3", std::move(list));
}

} // namespace program
