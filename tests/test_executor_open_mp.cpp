// OpenMP's threads: only compiled where the compiler has OpenMP.
#include "executors.hpp"

using namespace loupe;

/// LLVM's OpenMP now and then leaves three blocks of its own behind when its threads meet the end of the process, which LeakSanitizer
/// counts.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libomp.so"; }

TEST_CASE("executor: OpenMP", "[executor]") {
    tests::expect_an_executor<threading::open_mp>();
    CHECK(executor::of<threading::open_mp>(2).size() == 2);
}
