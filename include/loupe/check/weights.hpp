// Holds a weight format, and a policy that rewrites weights, against what loaders and matmul rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/format/concept.hpp>
#include <loupe/policy/weights.hpp>

#include <algorithm>

namespace loupe {

/// What a format may lose.
struct format_trials {
    /// How far a value may come back from what was encoded, of the largest magnitude around it. Levels −1, 0, 1 under one scale are half of
    /// it off, two bits (Q2_K, the coarsest of the library) a third, four bits an eighth (Q4_0) or, with the exponents of MXFP4, a quarter.
    /// More is asked for by formats that cut large values off.
    double error = 0.5;
};

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
std::string hold_blocks(index_t blocks, const kind_of_weights& kind, const format_trials& trials) {
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
    if (kind.scale != 1 || kind.spike) return {}; // smaller and larger values may be beyond the format
    double largest = 0;
    for (const float w : weights) largest = std::max(largest, static_cast<double>(std::abs(w)));
    const double allowed = (trials.error + 0x1p-7) * largest; // the scale is rounded too, to bfloat16 for instance
    for (index_t i = 0; i < blocks * length; ++i) {
        const float in = weights[static_cast<std::size_t>(i)], out = value(values, i);
        if (std::abs(static_cast<double>(out) - static_cast<double>(in)) > allowed) {
            return say("value ", i, ", ", in, ", comes back as ", out, ", expected at most ", allowed, " off");
        }
    }
    return {};
}

/// One value among zeros, at every place of a block: it keeps its sign, and none comes back larger.
template <class F>
std::string hold_places() {
    const index_t length = F::length;
    guarded<std::byte> stored(F::bytes);
    guarded<float> values(length);
    const std::span<float> out = values.values();
    for (index_t place = 0; place < length; ++place) {
        for (const float spike : {1.0F, -1.0F}) {
            std::vector<float> in(static_cast<std::size_t>(length));
            in[static_cast<std::size_t>(place)] = spike;
            format::encode_row<F>(in.data(), stored.values().data(), length);
            format::decode_row<F>(stored.values().data(), out.data(), length);
            const float back = out[static_cast<std::size_t>(place)];
            const auto larger = std::find_if(out.begin(), out.end(), [&](float x) { return !(std::abs(x) <= std::abs(back)); });
            const std::string found = say("value ", place, ", ", spike, " among zeros, comes back as ", back);
            if (!(back * spike > 0)) return found;
            if (larger != out.end()) return say(found, ", and value ", larger - out.begin(), ", a zero, as ", *larger);
        }
    }
    return {};
}

template <class F>
void hold_format(verdict& v, const format_trials& trials) {
    v.rule([] {
        const index_t length = F::length, bytes = F::bytes;
        return length < 1 || bytes < 1 ? say("expected blocks of positive length and bytes, found ", length, " values in ", bytes, " bytes")
                                       : std::string();
    });
    v.rule([&] {
        for (const index_t blocks : {1, 2, 3, 9}) {
            for (const auto& kind : weights_to_try) {
                if (F::length < 1 || F::bytes < 1) break; // said above
                if (const std::string what = hold_blocks<F>(blocks, kind, trials); !what.empty()) {
                    return say(what, " (", blocks, blocks == 1 ? " block, " : " blocks, ", kind.name, ")");
                }
            }
        }
        return F::length < 1 || F::bytes < 1 ? std::string() : hold_places<F>();
    });
}

} // namespace detail

/// Blocks have a length; `encode` writes all of a block and `decode` all of its values, and nothing else, at any address; whatever is
/// encoded comes back finite, and near to what it was; the same bits each time, and by row where the format has loops of its own for rows.
template <is::encodable_format Format>
verdict check(format_trials trials = {}) {
    verdict v("format " + type_name<Format>());
    detail::hold_format<Format>(v, trials);
    return v;
}

/// `prepare` leaves a row finite, writes nothing beside it and gives the same bits each time, wherever the row lies; and the format is one.
template <is::weights Weights>
verdict check(format_trials trials = {}) {
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
    detail::hold_format<typename Weights::format>(v, trials);
    return v;
}

} // namespace loupe
