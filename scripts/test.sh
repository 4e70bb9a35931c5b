#!/bin/sh
# Installs what is missing, builds everything and runs the tests. PRESET=asan, clang, debug or avx2 chooses another build; arguments go to cmake.
. "$(dirname "$0")/common.sh"

preset="${PRESET:-release}"
extra=""
case "$preset" in clang | asan) extra="clang" ;; esac
install_missing $packages $test_packages $extra
configure "$preset" -DLOUPE_BUILD_TESTS=ON "$@"
step "Building (some minutes the first time)"
cmake --build --preset "$preset" -j "$(nproc)"
step "Testing"
ctest --preset "$preset"
