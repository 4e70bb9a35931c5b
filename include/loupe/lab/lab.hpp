// The laboratory: compositions in, paired comparisons out.
#pragma once

#include <loupe/core/concepts.hpp>
#include <loupe/lab/ablate.hpp>
#include <loupe/lab/report_html.hpp>
#include <loupe/lab/report_json.hpp>
#include <loupe/lab/report_text.hpp>
#include <loupe/lab/subject.hpp>

namespace loupe {

namespace rule {

/// ablate<> needs something to compare the base with.
struct nothing_is_compared {};
/// A variant with the base's parts would measure the base against itself.
template <index_t Variant>
struct variant_is_the_base {};

} // namespace rule

namespace lab {

namespace detail {

/// What is wrong with an ablation; variants count from 1.
template <class Base, class... Variants>
constexpr auto problem_of_ablation() {
    constexpr index_t same = loupe::detail::position_in<Base>(type_list<Variants...>{});
    if constexpr (sizeof...(Variants) == 0) {
        return rule::nothing_is_compared{};
    } else if constexpr (same < type_list<Variants...>::size) {
        return rule::variant_is_the_base<same + 1>{};
    } else {
        return rule::all_hold{};
    }
}

/// "rope_full: a → b, kv: c → d": an id is one line.
template <class Base, class M>
std::string id_of_variant() {
    std::string id = diff<Base, M>();
    for (std::size_t at = id.find('\n'); at != std::string::npos; at = id.find('\n', at)) id.replace(at, 1, ", ");
    return id;
}

/// The card's name; of sizes that only the file knows, the family's.
template <class M>
std::string name_of_model(const dimensions& sizes) {
    if constexpr (std::same_as<part_of<M, part::sizes>, sizes_of_file>) {
        return sizes.family;
    } else {
        return part_of<M, part::sizes>::value.name;
    }
}

} // namespace detail

/// Compares compositions with a base: `ablate<base, nope, lean>(file, &text, &tasks)`. Variants are named by what differs. A variant that
/// is the base does not compile.
template <is::model Base, is::model... Variants>
requires is::sound<decltype(detail::problem_of_ablation<Base, Variants...>())>
    report ablate(const io::checkpoint& file, const corpus* text, const task_set* tasks = nullptr, index_t threads = 0) {
    executor team = executor_of<Base>(threads);
    std::vector<subject> subjects;
    subjects.push_back(make_subject<Base, Base>("stock", "as trained", file, team));
    (subjects.push_back(make_subject<Base, Variants>(detail::id_of_variant<Base, Variants>(), "", file, team)), ...);
    report r = ablate(subjects, text, tasks, team.size());
    r.model = detail::name_of_model<Base>(file.sizes);
    r.file = file.path;
    return r;
}

} // namespace lab

} // namespace loupe
