// What the tests of a user's own parts run them with.
#pragma once

#include "open.hpp"
#include <loupe/core/compat/catch2.hpp>
#include <loupe/io/requantize.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/nano.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace tests {

using namespace loupe;

/// 48 tokens of a story, past the window of 32.
inline std::vector<token_id> ids_of(const io::checkpoint& file) {
    std::vector<token_id> ids{2};
    for (const token_id id :
         file.text().encode("Mara had a red lamp. She went to the bridge and met Ilse there. Ilse had a silver kettle, a green book "
                            "and a small boat. Mara carried the lamp to the boat and gave it to Ilse.")) {
        ids.push_back(id);
    }
    ids.resize(48);
    return ids;
}

/// Logits of those tokens, [48, vocabulary], with the weights prepared and run as M says.
template <is::model M>
std::vector<float> logits_of(const io::checkpoint& file, std::span<const std::int32_t> images = {}, bool images_see_themselves = false) {
    dimensions sizes = file.sizes;
    sizes.images_see_themselves = images_see_themselves;
    executor threads(1);
    const decoder<M> model(sizes, io::prepare_weights<part_of<M, part::weights>>(file.weights, threads));
    auto on = runtime_of<M>(2);
    auto s = model.start();
    const auto ids = ids_of(file);
    const auto hidden = model.forward(s, ids, on, images);
    std::vector<float> out(ids.size() * static_cast<std::size_t>(sizes.vocabulary));
    model.logits(s, hidden, on, {out.data(), static_cast<index_t>(ids.size()), sizes.vocabulary});
    REQUIRE(std::all_of(out.begin(), out.end(), [](float v) { return std::isfinite(v); }));
    return out;
}

inline const std::vector<float>& stock_e() {
    static const auto logits = logits_of<nano::e>(nano_e());
    return logits;
}
inline const std::vector<float>& stock_a() {
    static const auto logits = logits_of<nano::a>(nano_a());
    return logits;
}

inline float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    float d = 0;
    for (std::size_t i = 0; i < a.size(); ++i) d = std::max(d, std::abs(a[i] - b[i]));
    return d;
}

/// Rows are equal up to `first`, and row `first` is not.
inline bool differs_from_row(const std::vector<float>& a, const std::vector<float>& b, std::size_t first) {
    const auto width = a.size() / 48, begin = first * width;
    return std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(begin), b.begin()) &&
           !std::equal(a.begin() + static_cast<std::ptrdiff_t>(begin), a.begin() + static_cast<std::ptrdiff_t>(begin + width),
                       b.begin() + static_cast<std::ptrdiff_t>(begin));
}

} // namespace tests
