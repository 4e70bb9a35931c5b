// What check<Part>() answers, and what its trials are made of.
#pragma once

#include <loupe/core/types.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loupe {

namespace detail {

/// What find() says, or the exception that it throws.
template <class Find>
std::string attempt(Find&& find) {
    try {
        return find();
    } catch (const std::exception& e) {
        return std::string("throws: ") + e.what();
    }
}

} // namespace detail

/// The rules that a part was held against, and those that it broke: for each one line with the smallest input that shows it,
/// e.g. "mask my_mask: sees(query 0, key 1) is true but looks_ahead is false (window 1)".
class verdict {
    std::string part_;
    std::vector<std::string> broken_;
    index_t rules_ = 0;

  public:
    /// `part` begins every line: family and name.
    explicit verdict(std::string part) : part_(std::move(part)) {}

    /// Holds the part against one more rule: `find()` tries inputs, the smallest first, and says what broke at the first that shows it;
    /// nothing if the rule holds. An exception that the part throws breaks it too.
    template <class Find>
    void rule(Find&& find) {
        ++rules_;
        const std::string what = detail::attempt(find);
        if (what.empty()) return;
        std::string line = part_ + ": " + what;
        if (broken_.empty() || broken_.back() != line) broken_.push_back(std::move(line));
    }

    /// What a part consists of: its rules and what broke them, under its own name.
    void add(const verdict& other) {
        rules_ += other.rules_;
        broken_.insert(broken_.end(), other.broken_.begin(), other.broken_.end());
    }

    bool ok() const { return broken_.empty(); }
    explicit operator bool() const { return ok(); }
    /// One line for each broken rule.
    const std::vector<std::string>& broken() const { return broken_; }
    /// All of `broken()`, or that everything holds.
    std::string text() const {
        if (ok()) return part_ + ": holds (" + std::to_string(rules_) + " rules)";
        std::string all;
        for (const std::string& line : broken_) all += (all.empty() ? "" : "\n") + line;
        return all;
    }
    friend std::ostream& operator<<(std::ostream& to, const verdict& v) { return to << v.text(); }
};

namespace detail {

inline std::string word(const char* text) { return text; }
inline std::string word(const std::string& text) { return text; }
inline std::string word(bool value) { return value ? "true" : "false"; }
inline std::string word(index_t value) { return std::to_string(value); }
inline std::string word(int value) { return std::to_string(value); }
inline std::string word(std::size_t value) { return std::to_string(value); }
inline std::string word(double value) {
    if (std::isnan(value)) return "nan"; // whatever its sign
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.9g", value);
    return digits;
}
inline std::string word(float value) { return word(static_cast<double>(value)); }

/// Texts and numbers in one line.
template <class... Parts>
std::string say(Parts... parts) {
    return (word(parts) + ...);
}

/// Whether two values are equal to the last bit, NaN included.
template <class T>
bool same_bits(const T& a, const T& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

/// Index of the first value that is not equal to the last bit, or −1.
template <class T>
index_t first_difference(std::span<const T> a, std::span<const T> b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!same_bits(a[i], b[i])) return static_cast<index_t>(i);
    }
    return -1;
}

/// Index of the first value that is NaN or infinite, or −1.
template <class T>
index_t first_not_finite(std::span<const T> x) {
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (!std::isfinite(x[i])) return static_cast<index_t>(i);
    }
    return -1;
}

/// Numbers between −1 and 1, always the same ones (SplitMix64, Steele et al. 2014).
class numbers {
    std::uint64_t state_;

  public:
    explicit numbers(std::uint64_t seed) : state_(seed) {}
    double operator()() {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
    }
    template <class T>
    void fill(std::span<T> x, double scale = 1) {
        for (T& v : x) v = static_cast<T>((*this)() * scale);
    }
};

/// `size` values with guard zones before and behind them, so that what is written beside them shows.
template <class T>
class guarded {
    static constexpr std::size_t zone = 32;
    static constexpr unsigned char mark = 0xA5;
    std::vector<T> storage_;
    std::size_t first_, size_;

  public:
    /// `offset` moves the values by so many places in memory.
    explicit guarded(index_t size, index_t offset = 0)
        : storage_(static_cast<std::size_t>(size + offset) + 2 * zone), first_(zone + static_cast<std::size_t>(offset)),
          size_(static_cast<std::size_t>(size)) {
        std::memset(static_cast<void*>(storage_.data()), mark, storage_.size() * sizeof(T));
    }
    std::span<T> values() { return {storage_.data() + first_, size_}; }
    /// Whether the guard zones are as they were.
    bool intact() const {
        const auto* bytes = reinterpret_cast<const unsigned char*>(storage_.data());
        for (std::size_t i = 0; i < storage_.size() * sizeof(T); ++i) {
            const bool inside = i >= first_ * sizeof(T) && i < (first_ + size_) * sizeof(T);
            if (!inside && bytes[i] != mark) return false;
        }
        return true;
    }
};

} // namespace detail

} // namespace loupe
