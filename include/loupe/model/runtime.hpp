// What runs a composition, as its slot `executor` says.
#pragma once

#include <loupe/layer/context.hpp>
#include <loupe/model/slots.hpp>

namespace loupe {

/// The executor of composition M: `threads` count the calling one; values below 1 mean one for each processor.
template <is::model M>
executor executor_of(index_t threads) {
    return executor::of<part_of<M, part::executor>>(threads);
}

/// A runtime with the executor of composition M.
template <is::model M>
runtime runtime_of(index_t threads) {
    return runtime(executor_of<M>(threads));
}

} // namespace loupe
