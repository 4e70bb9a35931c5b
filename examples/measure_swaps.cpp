// measure_swaps MODEL TEXT: figures of exchanges that docs/cards.md shows and the program `loupe` has no name for, as JSON. Not
// built unless asked for: scripts/measure_docs.sh does.
#include "swaps.hpp"

#include <loupe/loupe.hpp>

#include <cstdio>

using namespace loupe;

namespace {

/// Subjects of one model, the stock one first.
template <is::model Base>
struct list {
    const io::checkpoint& file;
    executor& threads;
    std::vector<lab::subject> subjects{lab::make_subject<Base, Base>("stock", "as trained", file, threads)};

    template <is::model M>
    void add(std::string id, std::string explanation) {
        subjects.push_back(lab::make_subject<Base, M>(std::move(id), std::move(explanation), file, threads));
    }
    /// What both models have.
    void add_common() {
        add<with<Base, slot::embedding_scale<scale::one>>>("no-embedding-scale", "looked-up rows as they are");
        add<with<Base, slot::attention_softcap<softcap::fixed<5>>>>("score-softcap-5", "attention scores capped at 5");
        add<with<Base, slot::q_norm<norm::rms_without_gain>>>("q-norm-without-gain", "queries normalised, but without the stored gain");
        add<with<Base, slot::k_norm<norm::rms_without_gain>>>("k-norm-without-gain", "keys normalised, but without the stored gain");
        using prune::after_first_full_block;
        add<with<Base, slot::prune<prune::received_attention<std::ratio<1, 2>, after_first_full_block, 1>>>>(
            "prune-attention-50-recent-1", "as prune-attention-50, but only the token itself is protected");
        add<with<Base, slot::prune<prune::random<std::ratio<1, 2>, after_first_full_block, 1>>>>(
            "prune-random-50-recent-1", "as prune-random-50, but only the token itself is protected");
    }
};

} // namespace

/// Prints the figures of one model as JSON.
int main(int argc, char** argv) try {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
        return 2;
    }
    executor threads(0);
    const auto file = io::open(argv[1], threads);
    const auto text = lab::cut_text(file.text(), lab::read_text(argv[2]), argv[2], 512);
    const auto print = [&](const auto& models) {
        std::puts(lab::json_report(lab::ablate(models.subjects, &text, nullptr, threads.size())).dump(2).c_str());
    };
    if (file.sizes.experts > 0) {
        list<nano::a> models{file, threads};
        models.add_common();
        print(models);
    } else {
        list<nano::e> models{file, threads};
        models.add_common();
        models.add<swaps::value_is_key>("values-from-keys", "values of full blocks are their keys before norm and rotation");
        models.add<swaps::other_donor>("kv-of-first-block", "blocks that share keys read those of the first block of their kind");
        models.add<swaps::without_block_4>("no-attention-in-block-4", "the first full block's attention gives zero");
        print(models);
    }
    return 0;
} catch (const error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
