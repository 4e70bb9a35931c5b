// Holds a norm against what layers rely on.
#pragma once

#include <loupe/check/verdict.hpp>
#include <loupe/core/type_name.hpp>
#include <loupe/kernel/rms_norm.hpp>
#include <loupe/policy/norm.hpp>

#include <algorithm>

namespace loupe {

/// What a norm need not fulfil.
struct norm_trials {
    bool values_alike = true; ///< false for a norm that treats values by their place in the row, one of groups for instance
};

/// A row of up to 5376 values (31B's width) goes in and finite values come out, also from zeros, from tiny and from large values, with and
/// without a gain; nothing beside the row is written; the result has the same bits wherever the row lies in memory; a row in another order
/// becomes the same values in that order; float gives what double gives.
template <is::norm Norm>
verdict check(norm_trials trials = {}) {
    using detail::say;
    constexpr double epsilon = 1e-6;
    verdict v("norm " + type_name<Norm>());
    struct input {
        const char* name;
        double scale;
        bool spike; ///< one value, the others zero
    };
    const auto make = []<class T>(std::span<T> row, const input& in) {
        std::fill(row.begin(), row.end(), T{0});
        detail::numbers(row.size()).fill(row.first(in.spike ? 1 : row.size()), in.scale);
    };
    const auto search = [](std::initializer_list<input> inputs, auto&& broken) -> std::string {
        for (const index_t width : {1, 2, 3, 5, 16, 33, 256, 512, 1537, 5376}) {
            std::vector<double> stored(static_cast<std::size_t>(width));
            detail::numbers(3).fill(std::span(stored), 2);
            for (const std::span<const double> gain : {std::span<const double>(), std::span<const double>(stored)}) {
                for (const input& in : inputs) {
                    if (const std::string what = detail::attempt([&] { return broken(width, gain, in); }); !what.empty()) {
                        return say(what, " (", in.name, ", width ", width, gain.empty() ? ", no gain)" : ", with gain)");
                    }
                }
            }
        }
        return {};
    };
    const auto run = [&]<class T>(detail::guarded<T>& row, std::span<const double> gain, const input& in) {
        const std::vector<T> g(gain.begin(), gain.end());
        make(row.values(), in);
        Norm::apply(row.values(), std::span<const T>(g), static_cast<T>(epsilon));
    };
    constexpr input ordinary{"values up to 1", 1, false};
    const std::initializer_list<input> all{ordinary,
                                           {"zeros", 0, false},
                                           {"values up to 1e-30", 1e-30, false},
                                           {"values up to 1e-40", 1e-40, false},
                                           {"values up to 1e9", 1e9, false},
                                           {"one value of 1e9", 1e9, true}};
    v.rule([&] {
        return search({ordinary}, [&](index_t width, std::span<const double> gain, const input& in) {
            detail::guarded<float> row(width);
            detail::guarded<double> row_d(width);
            run(row, gain, in), run(row_d, gain, in);
            return row.intact() && row_d.intact() ? std::string() : std::string("writes beside the row");
        });
    });
    v.rule([&] {
        return search(all, [&](index_t width, std::span<const double> gain, const input& in) {
            const auto broken = [&]<class T>(detail::guarded<T> row, const char* type) {
                run(row, gain, in);
                const index_t i = detail::first_not_finite(std::span<const T>(row.values()));
                return i < 0 ? std::string() : say("value ", i, " becomes ", row.values()[static_cast<std::size_t>(i)], ", ", type);
            };
            const std::string what = broken(detail::guarded<float>(width), "float");
            return what.empty() ? broken(detail::guarded<double>(width), "double") : what;
        });
    });
    v.rule([&] {
        return search({ordinary}, [&](index_t width, std::span<const double> gain, const input& in) {
            detail::guarded<float> first(width);
            run(first, gain, in);
            for (index_t offset = 1; offset < 16; ++offset) {
                detail::guarded<float> moved(width, offset);
                run(moved, gain, in);
                const index_t i = detail::first_difference<float>(first.values(), moved.values());
                const auto at = static_cast<std::size_t>(i);
                if (i >= 0) {
                    return say("value ", i, " becomes ", first.values()[at], ", and ", moved.values()[at], " with the row ", offset,
                               " places further in memory");
                }
            }
            return std::string();
        });
    });
    v.rule([&] {
        if (!trials.values_alike) return std::string();
        return search({ordinary}, [&](index_t width, std::span<const double> gain, const input& in) {
            detail::guarded<double> straight(width), reversed(width);
            const std::span<double> row = straight.values(), turned = reversed.values();
            const std::vector<double> turned_gain(gain.rbegin(), gain.rend());
            make(row, in);
            std::copy(row.rbegin(), row.rend(), turned.begin());
            Norm::apply(row, gain, epsilon);
            Norm::apply(turned, std::span<const double>(turned_gain), epsilon);
            double largest = 0;
            for (const double x : row) largest = std::max(largest, std::abs(x));
            for (std::size_t i = 0; i < row.size(); ++i) {
                const double other = turned[row.size() - 1 - i];
                // sums over the row, in another order
                if (std::abs(row[i] - other) > static_cast<double>(width + 8) * 0x1p-52 * largest) {
                    return say("value ", i, " becomes ", row[i], ", and ", other, " with the row in reverse order");
                }
            }
            return std::string();
        });
    });
    v.rule([&] {
        return search({ordinary}, [&](index_t width, std::span<const double> gain, const input& in) {
            detail::guarded<float> single(width);
            detail::guarded<double> exact(width);
            run(single, gain, in), run(exact, gain, in);
            double largest = 0;
            for (const double x : exact.values()) largest = std::max(largest, std::abs(x));
            for (std::size_t i = 0; i < single.values().size(); ++i) {
                const auto found = static_cast<double>(single.values()[i]);
                // a sum over the row, and a few roundings of every value
                if (std::abs(found - exact.values()[i]) > static_cast<double>(width + 8) * 0x1p-24 * largest) {
                    return say("value ", i, " becomes ", found, " in float and ", exact.values()[i], " in double");
                }
            }
            return std::string();
        });
    });
    return v;
}

} // namespace loupe
