// How families are put together: engines, and the ablations that several families share. Each is one exchange of a type.
#pragma once

#include "family.hpp"
#include "kernels.hpp"

#include <loupe/lab/subject.hpp>
#include <loupe/model/describe.hpp>
#include <loupe/model/gemma3.hpp>
#include <loupe/model/gemma4.hpp>
#include <loupe/policy/packed_weights.hpp>

#include <algorithm>
#include <ratio>

namespace program {

using namespace loupe;

/// Keeps the scaled embedding and the residual stream after every block.
struct layer_recorder {
    template <class Place>
    static constexpr bool watches = std::same_as<Place, at::embedding> || std::same_as<Place, at::residual>;
    std::vector<std::vector<float>> layers;

    void operator()(at::embedding, index_t, index_t, matrix_view<float> x) { keep(0, x); }
    void operator()(at::residual, index_t block, index_t, matrix_view<float> x) { keep(static_cast<std::size_t>(block) + 1, x); }

  private:
    void keep(std::size_t layer, matrix_view<float> x) {
        if (layers.size() <= layer) layers.resize(layer + 1);
        layers[layer].assign(x.data, x.data + x.rows * x.width);
    }
};

template <class Stack>
class stack_engine final : public engine {
    std::unique_ptr<const Stack> model_;
    typename Stack::sequence_type sequence_;
    runtime on_;

  public:
    stack_engine(std::unique_ptr<const Stack> model, executor threads)
        : model_(std::move(model)), sequence_(model_->start()), on_(std::move(threads)) {}
    void read(std::span<const token_id> ids, index_t chunk, const sink& to, std::span<const std::int32_t> image_blocks) override {
        model_->read(sequence_, ids, on_, chunk, to, image_blocks);
    }
    void rewind(index_t position) override { sequence_.rewind(position); }
    void make_up_past(index_t positions) override { sequence_.make_up_past(positions); }
    void logits(matrix_view<const float> hidden, matrix_view<float> out) override { model_->logits(sequence_, hidden, on_, out); }
    const std::vector<std::vector<float>>& recorded() const override {
        if constexpr (std::same_as<typename Stack::probe_type, layer_recorder>) {
            return sequence_.probe.layers;
        } else {
            static const std::vector<std::vector<float>> nothing;
            return nothing;
        }
    }
};

template <is::model M>
std::unique_ptr<engine> make_engine(const io::checkpoint& file, const engine_options& o) {
    composition_numbers numbers = numbers_of<M>;
    numbers.kv_format = o.kv_format;
    auto model = std::make_unique<const stack_of<M>>(make_plan(numbers, file.sizes, file.weights));
    return std::make_unique<stack_engine<stack_of<M>>>(std::move(model), executor_of<M>(o.threads));
}

inline bool always(const dimensions&) { return true; }

/// Adds `M` as an ablation of `Base`.
template <is::model Base, is::model M>
void add(std::vector<variant>& list, std::string id, std::string explanation, std::function<bool(const dimensions&)> applies = always,
         bool on_request = false) {
    const auto make = [id, explanation](const io::checkpoint& file, executor& threads) {
        return lab::make_subject<Base, M>(id, explanation, file, threads);
    };
    list.push_back({std::move(id), std::move(explanation), diff<Base, M>(), std::move(applies), make, on_request});
}

inline bool has_full(const dimensions& d) { return d.first_full() < d.blocks(); }

/// Ablations that every family has.
template <is::model Base>
void add_common(std::vector<variant>& list) {
    add<Base, with<Base, slot::rope_full<rope::none>>>(list, "full-rope-none", "full blocks: no rotation", has_full);
    add<Base, with<Base, slot::rope_full<rope::stretched<part_of<Base, part::rope_full>, std::ratio<2>>>>>(
        list, "full-rope-stretched-2", "full blocks: all frequencies halved (position interpolation by 2)", has_full);
    add<Base, with<Base, slot::rope_sliding<rope::none>>>(list, "sliding-rope-none", "sliding blocks: no rotation");
    add<Base, with<Base, slot::mask_sliding<mask::sliding<16>>>>(list, "window-16", "sliding blocks see 16 keys, their own included",
                                                                 [](const dimensions& d) { return d.window > 16; });
    add<Base, with<Base, slot::mask_sliding<mask::sliding<8>>>>(list, "window-8", "sliding blocks see 8 keys, their own included",
                                                                [](const dimensions& d) { return d.window > 8; });
    add<Base, with<Base, slot::mask_full<mask::sliding<>>>>(list, "all-sliding", "full blocks see only the model's sliding window",
                                                            has_full);
    add<Base, with<Base, slot::kv<kv::sink_window<4, 60>>>>(list, "kv-sinks-4-window-60",
                                                            "full blocks see the first 4 and the last 60 positions", has_full);
    add<Base, with<Base, slot::kv<kv::window<64>>>>(list, "kv-window-64", "full blocks see the last 64 positions", has_full);
    add<Base, with<Base, slot::kv_format<format::bf16>>>(list, "kv-bf16", "keys and values rounded to BF16");
    add<Base, with<Base, slot::kv_format<format::f16>>>(list, "kv-f16", "keys and values rounded to F16");
    add<Base, with<Base, slot::kv_format<format::q8_0>>>(list, "kv-q8_0", "keys and values rounded to Q8_0", [](const dimensions& d) {
        return std::all_of(d.block.begin(), d.block.end(), [](const auto& b) { return b.head_width % format::q8_0::length == 0; });
    });
    add<Base, with<Base, slot::activation<activation::silu>>>(list, "activation-silu", "feed-forward: silu in place of gelu");
    add<Base, with<Base, slot::activation<activation::relu2>>>(list, "activation-relu2", "feed-forward: squared relu in place of gelu");
    add<Base, with<Base, slot::score_scale<scale::times<std::ratio<1, 2>>>>>(list, "score-scale-half", "attention scores times 0.5");
    add<Base, with<Base, slot::post_norms<norm::none>>>(list, "no-post-norms", "no norms behind attention and feed-forward", always, true);
    add<Base, with<Base, slot::weights<weights::requantized<format::q8_0>>>>(list, "weights-q8_0", "matrices rounded to Q8_0");
    add<Base, with<Base, slot::weights<weights::requantized<format::q4_0>>>>(list, "weights-q4_0", "matrices rounded to Q4_0");
    add<Base, with<Base, slot::weights<weights::packed<>>>>(
        list, "int8-products", "packed products: activations rounded to 8 bits, or to BF16 before BF16 matrices where that is faster",
        always, true);
    add<Base, with<Base, slot::weights<weights::tiled<>>>>(
        list, "tile-products",
        "the same, but of 16 tokens and more by tiles of BF16, weights but F32 and F16 rounded, where the machine has AMX", always, true);
    const auto prunes = [](const dimensions& d) { return d.first_full() + 1 < d.blocks(); };
    add<Base, with<Base, slot::prune<prune::received_attention<std::ratio<1, 4>>>>>(
        list, "prune-attention-25", "behind the first full block: without the quarter of the tokens that received least attention", prunes);
    add<Base, with<Base, slot::prune<prune::random<std::ratio<1, 4>>>>>(
        list, "prune-random-25", "behind the first full block: without a random quarter of the tokens", prunes);
    add<Base, with<Base, slot::prune<prune::received_attention<std::ratio<1, 2>>>>>(
        list, "prune-attention-50", "behind the first full block: without the half of the tokens that received least attention", prunes);
    add<Base, with<Base, slot::prune<prune::random<std::ratio<1, 2>>>>>(
        list, "prune-random-50", "behind the first full block: without a random half of the tokens", prunes);
}

/// Ablations of what all Gemma 4 have.
template <is::model Base>
void add_gemma4(std::vector<variant>& list) {
    const auto partly_rotated = [](const dimensions& d) { return has_full(d) && d.rope_full.share < 1; };
    add<Base, with<Base, slot::rope_full<rope::standard>>>(list, "full-rope-whole", "full blocks: every pair rotates", partly_rotated);
    add<Base, with<Base, slot::rope_full<rope::partial<>>>>(list, "full-rope-partial",
                                                            "full blocks: as many pairs, exponents over the rotated width", partly_rotated);
    add<Base, with<Base, slot::rope_full<rope::reversed<>>>>(
        list, "full-rope-reversed", "full blocks: as many pairs, the slowest in place of the fastest", partly_rotated);
    add<Base, with<Base, slot::v_norm<norm::none>>>(list, "no-v-norm", "values are not normalised");
    add<Base, with<Base, slot::layer_scalar<layer_scalar::one>>>(list, "no-layer-scalar",
                                                                 "the residual stream is not scaled after a block");
    add<Base, with<Base, slot::final_softcap<softcap::none>>>(list, "no-final-softcap", "logits are not capped",
                                                              [](const dimensions& d) { return d.final_cap > 0; });
}

/// A family of structure `Base`, whose card-sized relatives are `Cards`.
template <is::model Base, is::model... Cards>
family make_family(std::string name, std::vector<variant> ablations) {
    family f;
    f.name = std::move(name);
    add<Base, Base>(f.variants, "stock", "as trained");
    f.variants.insert(f.variants.end(), ablations.begin(), ablations.end());
    f.open = [](const io::checkpoint& file, const engine_options& o) -> std::unique_ptr<engine> {
        return o.records ? make_engine<with<Base, slot::probe<layer_recorder>>>(file, o) : make_engine<Base>(file, o);
    };
    f.name_of = [name = f.name](const dimensions& d) {
        std::string found = name;
        (void)((loupe::detail::card_mismatch<Cards>(d).empty() && (found = part_of<Cards, part::sizes>::value.name, true)) || ...);
        return found;
    };
    f.describe = [](const io::checkpoint& file, bool json) { return describe_checkpoint<Base, Cards...>(file.sizes, *file.weights, json); };
    return f;
}

} // namespace program
