#include "variants.hpp"

#include <loupe/model/nano.hpp>

namespace program {

namespace {

template <is::model Base, index_t K>
void add_top(std::vector<variant>& list) {
    add<Base, with<Base, slot::experts_used<experts_used::exactly<K>>>>(
        list, "top-" + std::to_string(K), std::to_string(K) + " experts for every token",
        [](const dimensions& d) { return d.experts >= K && d.experts_used != K; });
}

} // namespace

family gemma4_experts() {
    using base = gemma4::experts_of_file;
    std::vector<variant> list;
    add_common<base>(list);
    add_gemma4<base>(list);
    add_top<base, 1>(list);
    add_top<base, 2>(list);
    add_top<base, 3>(list);
    add_top<base, 8>(list);
    add_top<base, 16>(list);
    add<base, with<base, slot::router<router::top_k_softmax>, slot::experts_used<experts_used::exactly<2>>>>(
        list, "router-top-2-then-softmax", "the two best raw scores, softmax over those two",
        [](const dimensions& d) { return d.experts >= 2; });
    add<base, with<base, slot::router<router::sigmoid>>>(list, "router-sigmoid",
                                                         "sigmoid of the scores, the largest of it, divided by their sum");
    add<base, with<base, slot::router<router::uniform_weights>>>(list, "router-uniform-weights",
                                                                 "the router's experts, all with the same weight");
    add<base, with<base, slot::router<router::random<>>>>(list, "router-random", "experts drawn at random, all with the same weight");
    add<base, with<base, slot::router<router::none>>>(list, "no-experts", "the routed branch gives zero");
    add<base, with<base, slot::dense_branch<dense_branch::off>>>(list, "no-dense-branch", "the dense branch gives zero");
    return make_family<base, gemma4::a4b, nano::a>("Gemma 4 with experts (26B-A4B, nano-a)", std::move(list));
}

} // namespace program
