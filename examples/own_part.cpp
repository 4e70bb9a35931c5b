// A part of one's own: a rope that turns every other pair only, put into the full blocks of nano-e and compared with the trained model.
#include <loupe/loupe.hpp>

#include <cstdio>

using namespace loupe;

// [part]
struct every_other_pair { // satisfies is::rope
    static double frequency(index_t pair, const rope_sizes& sizes) { return pair % 2 == 0 ? rope::standard::frequency(pair, sizes) : 0.0; }
};

using base = nano::e;
using mine = with<base, slot::rope_full<every_other_pair>>;
static_assert(differs_only_in<base, mine, part::rope_full>);
// [part]

int main(int argc, char** argv) try {
    const std::filesystem::path data = argc > 1 ? argv[1] : "examples/data";
    // [ablate]
    executor threads(0);
    const auto file = io::open(data / "models/nano-e", threads);
    const auto text = lab::cut_text(file.text(), lab::read_text(data / "text/prose-1.txt"), "prose-1.txt", 512);
    const auto report = lab::ablate<base, mine>(file, &text);
    std::fputs(lab::text_report(report).c_str(), stdout);
    // [ablate]
    return 0;
} catch (const error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
