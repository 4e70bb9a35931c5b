// An ablation that compares a model with itself.
#include <loupe/lab/lab.hpp>
#include <loupe/model/nano.hpp>

using namespace loupe;

using base = nano::e;
using nope = with<base, slot::rope_full<rope::none>>;

lab::report itself(const io::checkpoint& file, const lab::corpus& text) {
    return lab::ablate<base, nope>(file, &text); // nope -> base, says: variant_is_the_base<1>
}
