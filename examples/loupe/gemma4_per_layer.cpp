#include "variants.hpp"

#include <loupe/model/nano.hpp>

namespace program {

family gemma4_per_layer() {
    using base = gemma4::per_layer_of_file;
    std::vector<variant> list;
    add_common<base>(list);
    add_gemma4<base>(list);
    add<base, with<base, slot::per_layer_input<per_layer_input::off>>>(list, "no-per-layer-input",
                                                                       "the per-layer-input sublayer adds nothing");
    add<base, with<base, slot::per_layer_input<per_layer_input::context_only>>>(list, "per-layer-context-only",
                                                                                "per-layer inputs without the token table", always, true);
    return make_family<base, gemma4::e2b, gemma4::e4b, nano::e>("Gemma 4 with per-layer inputs (E2B, E4B, nano-e)", std::move(list));
}

} // namespace program
