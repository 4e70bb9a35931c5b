#include "variants.hpp"

namespace program {

family gemma4_dense() {
    using base = gemma4::dense_of_file;
    std::vector<variant> list;
    add_common<base>(list);
    add_gemma4<base>(list);
    return make_family<base, gemma4::b12, gemma4::b31>("Gemma 4 dense (12B, 31B)", std::move(list));
}

} // namespace program
