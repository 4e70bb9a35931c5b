// OpenMP's threads: only compiled where the compiler has OpenMP.
#include "executors.hpp"

using namespace loupe;

TEST_CASE("executor: OpenMP", "[executor]") {
    tests::expect_an_executor<threading::open_mp>();
    CHECK(executor::of<threading::open_mp>(2).size() == 2);
}
