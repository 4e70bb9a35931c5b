// The laboratory: compositions in, paired comparisons out.
#pragma once

#include <loupe/lab/ablate.hpp>
#include <loupe/lab/report_html.hpp>
#include <loupe/lab/report_json.hpp>
#include <loupe/lab/report_text.hpp>
#include <loupe/lab/subject.hpp>

namespace loupe::lab {

/// Compares compositions with a base: `ablate<base, nope, lean>(file, &text, &tasks)`. Variants are named by what differs. A variant that
/// is the base does not compile.
template <is::model Base, is::model... Variants>
requires(sizeof...(Variants) > 0) && (!std::same_as<Base, Variants> && ...) report
    ablate(const io::checkpoint& file, const corpus* text, const task_set* tasks = nullptr, index_t threads = 0) {
    executor team(threads);
    std::vector<subject> subjects;
    subjects.push_back(make_subject<Base, Base>("stock", "as trained", file, team));
    (subjects.push_back(make_subject<Base, Variants>(diff<Base, Variants>(), "", file, team)), ...);
    report r = ablate(subjects, text, tasks, team.size());
    r.file = file.path;
    return r;
}

} // namespace loupe::lab
