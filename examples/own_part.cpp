#include <cstdio>
#include <loupe/loupe.hpp>
using namespace loupe;

struct every_other_pair { // satisfies is::rope: radians per position for each pair of dimensions, 0 leaves it as it is
    static double frequency(index_t pair, const rope_sizes& sizes) { return pair % 2 == 0 ? rope::standard::frequency(pair, sizes) : 0.0; }
};
using base = nano::e;
using mine = with<base, slot::rope_full<every_other_pair>>;

int main() {
    executor threads(0);
    const auto file = io::open("examples/data/models/nano-e", threads);
    const auto stories = lab::read_text("examples/data/text/stories.txt").substr(0, 30000);
    const auto text = lab::cut_text(file.text(), stories, "30 kB of stories.txt", 512);
    std::fputs(lab::text_report(lab::ablate<base, mine>(file, &text)).c_str(), stdout);
}
