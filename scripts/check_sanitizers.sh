#!/bin/sh
# All tests under AddressSanitizer and UndefinedBehaviorSanitizer, in one process for each processor: a process for each test, as ctest has
# it, would open the models over and over.
. "$(dirname "$0")/common.sh"

install_missing $packages $test_packages
install_clang_runtime
configure asan -DLOUPE_BUILD_EXAMPLES=OFF
cmake --build --preset asan -j "$(nproc)" --target loupe_tests

step "Testing"
tests=build-asan/tests/loupe_tests
parts=$(nproc)
"$tests" --list-test-names-only > build-asan/names || true # Catch2 2 returns their number
rm -f build-asan/names-* build-asan/log-*
awk -v parts="$parts" 'NF { print > ("build-asan/names-" NR % parts) }' build-asan/names
for part in build-asan/names-*; do
    log="build-asan/log-${part##*-}"
    ("$tests" -f "$part" > "$log" 2>&1 || echo "failed" >> "$log") &
done
wait
passed=0
for log in build-asan/log-*; do
    summary=$(grep "^All tests passed" "$log") || { tail -n 60 "$log"; echo "a test failed under the sanitizers (PRESET=asan sh scripts/test.sh runs them one by one)"; exit 1; }
    passed=$((passed + $(echo "$summary" | sed 's/.* in \([0-9]*\) test case.*/\1/')))
done
expected=$(grep -c . build-asan/names)
[ "$passed" -eq "$expected" ] || { echo "expected $expected tests to run, $passed did"; exit 1; }
echo "$passed tests passed under AddressSanitizer and UndefinedBehaviorSanitizer"
