#!/bin/sh
# Installs what is missing, builds everything and runs the tests. PRESET=asan, clang, debug or avx2 chooses another build; arguments go to cmake.
. "$(dirname "$0")/common.sh"

preset="${PRESET:-release}"
install_missing $packages $test_packages
case "$preset" in clang | asan) install_clang_runtime ;; esac
configure "$preset" -DLOUPE_BUILD_TESTS=ON "$@"
step "Building (some minutes the first time)"
cmake --build --preset "$preset" -j "$(nproc)"
step "Testing"
ctest --preset "$preset"
