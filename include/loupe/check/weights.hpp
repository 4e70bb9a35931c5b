// Holds a weight format, and a policy that rewrites weights, against what loaders and matmul rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/format/concept.hpp>
#include <loupe/policy/weights.hpp>

#include <algorithm>

namespace loupe {

namespace detail {

struct kind_of_weights {
    const char* name;
    double scale;
    bool spike; ///< one value, the others zero
};
inline constexpr kind_of_weights weights_to_try[] = {{"values up to 1", 1, false},       {"zeros", 0, false},
                                                     {"values up to 1e-6", 1e-6, false}, {"values up to 1e-40", 1e-40, false},
                                                     {"values up to 1e4", 1e4, false},   {"one value of 1e4", 1e4, true}};

inline std::vector<float> make_weights(index_t count, const kind_of_weights& kind) {
    std::vector<float> w(static_cast<std::size_t>(count));
    const std::size_t filled = kind.spike && count > 0 ? 1 : w.size();
    numbers(static_cast<std::uint64_t>(count)).fill(std::span(w).first(filled), kind.scale);
    return w;
}

template <class F>
std::string hold_blocks(index_t blocks, const kind_of_weights& kind) {
    const index_t length = F::length, bytes = F::bytes;
    const auto weights = make_weights(blocks * length, kind);
    guarded<std::byte> stored(blocks * bytes), again(blocks * bytes, 1); // at an odd address
    std::fill(again.values().begin(), again.values().end(), std::byte{0});
    format::encode_row<F>(weights.data(), stored.values().data(), blocks * length);
    format::encode_row<F>(weights.data(), again.values().data(), blocks * length);
    if (!stored.intact() || !again.intact()) return "encode writes beside the block";
    const index_t other = first_difference<std::byte>(stored.values(), again.values());
    if (other >= 0) return say("encode leaves byte ", other, " as it was, or writes another each time");
    guarded<float> values(blocks * length), moved(blocks * length, 1), single(blocks * length);
    format::decode_row<F>(stored.values().data(), values.values().data(), blocks * length);
    format::decode_row<F>(again.values().data(), moved.values().data(), blocks * length);
    for (index_t b = 0; b < blocks; ++b) F::decode(stored.values().data() + b * bytes, single.values().data() + b * length);
    if (!values.intact() || !moved.intact() || !single.intact()) return "decode writes beside its values";
    const index_t bad = first_not_finite<float>(values.values());
    const auto value = [&](guarded<float>& from, index_t i) { return from.values()[static_cast<std::size_t>(i)]; };
    if (bad >= 0) return say("value ", bad, ", ", weights[static_cast<std::size_t>(bad)], ", comes back as ", value(values, bad));
    const index_t odd = first_difference<float>(values.values(), moved.values());
    if (odd >= 0) return say("value ", odd, " is ", value(values, odd), ", and ", value(moved, odd), " from an odd address");
    const index_t alone = first_difference<float>(values.values(), single.values());
    if (alone >= 0) return say("value ", alone, " is ", value(values, alone), " by row and ", value(single, alone), " by block");
    return {};
}

template <class F>
void hold_format(verdict& v) {
    v.rule([] {
        const index_t length = F::length, bytes = F::bytes;
        return length < 1 || bytes < 1 ? say("expected blocks of positive length and bytes, found ", length, " values in ", bytes, " bytes")
                                       : std::string();
    });
    v.rule([] {
        for (const index_t blocks : {1, 2, 3, 9}) {
            for (const auto& kind : weights_to_try) {
                if (F::length < 1 || F::bytes < 1) break; // said above
                if (const std::string what = hold_blocks<F>(blocks, kind); !what.empty()) {
                    return say(what, " (", blocks, blocks == 1 ? " block, " : " blocks, ", kind.name, ")");
                }
            }
        }
        return std::string();
    });
}

} // namespace detail

/// Blocks have a length; `encode` writes all of a block and `decode` all of its values, and nothing else, at any address; whatever is
/// encoded comes back finite; the same bits each time, and by row where the format has loops of its own for rows.
template <is::encodable_format Format>
verdict check() {
    verdict v("format " + type_name<Format>());
    detail::hold_format<Format>(v);
    return v;
}

/// `prepare` leaves a row finite, writes nothing beside it and gives the same bits each time, wherever the row lies; and the format is one.
template <is::weights Weights>
verdict check() {
    using detail::say;
    verdict v("weights " + type_name<Weights>());
    if (!Weights::enabled) return v;
    v.rule([] {
        for (const index_t width : {1, 2, 32, 256}) {
            for (const auto& kind : detail::weights_to_try) {
                detail::guarded<float> row(width), moved(width, 3);
                const auto weights = detail::make_weights(width, kind);
                std::copy(weights.begin(), weights.end(), row.values().begin());
                std::copy(weights.begin(), weights.end(), moved.values().begin());
                Weights::prepare(row.values()), Weights::prepare(moved.values());
                const auto value = [&](index_t i) { return row.values()[static_cast<std::size_t>(i)]; };
                const std::string where = say(" (width ", width, ", ", kind.name, ")");
                if (!row.intact() || !moved.intact()) return say("prepare writes beside the row", where);
                const index_t bad = detail::first_not_finite<float>(row.values());
                if (bad >= 0) return say("prepare makes value ", bad, " ", value(bad), where);
                const index_t other = detail::first_difference<float>(row.values(), moved.values());
                if (other >= 0) return say("prepare makes value ", other, " ", value(other), ", and another the next time", where);
            }
        }
        return std::string();
    });
    detail::hold_format<typename Weights::format>(v);
    return v;
}

} // namespace loupe
