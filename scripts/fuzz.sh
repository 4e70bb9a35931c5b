# What both fuzz scripts need: the build, and the run of one target. Sourced, not run.
set -eu
cd "$(dirname "$0")/.."
build=build-fuzz

build_fuzz() {
    rt="libclang_rt.fuzzer-$(uname -m).a"
    [ -e "$(clang++ -print-resource-dir)/lib/linux/$rt" ] || {
        echo "fuzz: clang++ has no $rt (package libclang-rt-$(clang++ -dumpversion | cut -d. -f1)-dev)" >&2
        exit 1
    }
    launcher=""
    ! command -v ccache >/dev/null || launcher="-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
    mkdir -p $build
    { cmake --preset fuzz $launcher && cmake --build --preset fuzz -j "${JOBS:-$(nproc)}"; } >$build/build.log 2>&1 || {
        cat $build/build.log
        exit 1
    }
    rm -rf $build/seeds
    $build/tests/fuzz/fuzz_seeds $build/seeds tests/data examples/data
}

# run_target NAME LONGEST RUNS SEED [CORPUS]: at least RUNS executions, or a finding. New inputs go to CORPUS, or nowhere.
run_target() {
    name="$1" longest="$2" runs="$3" log="$build/$1.log" corpus="${5:-$build/scratch/$1}"
    [ $# -gt 4 ] || rm -rf "$corpus"
    mkdir -p "$corpus"
    # What was valid when it was written must be valid still, or the fuzzer starts from nothing.
    LOUPE_FUZZ_MESSAGES=1 $build/tests/fuzz/fuzz "$name" $build/seeds/"$name"/* >"$log" 2>&1 || { finding "$name" "$log" && return 1; }
    ! grep -m 3 "^refused" "$log" >&2 || { echo "fuzz $name: a seed is refused" >&2 && return 1; }
    ASAN_OPTIONS=quarantine_size_mb=8:malloc_context_size=8 $build/tests/fuzz/fuzz "$name" -runs="$runs" -max_len="$longest" -seed="$4" \
        -timeout=30 -dict=tests/fuzz/words.dict -malloc_limit_mb=64 -print_final_stats=1 -artifact_prefix="$build/found-$name-" \
        "$corpus" $build/seeds/"$name" >"$log" 2>&1 || { finding "$name" "$log" && return 1; }
    done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    [ "${done:-0}" -ge "$runs" ] || { echo "fuzz $name: expected $runs executions, found ${done:-none}" >&2 && return 1; }
    echo "fuzz $name: $done executions, $(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1) branches, $(sed -n 's/^memory: //p' "$log")"
}

finding() {
    grep -E "^SUMMARY|^does not hold|^memory: expected|runtime error|^ERROR|ERROR:|terminate called|what\(\)|Test unit written" "$2" >&2 || tail -20 "$2" >&2
    echo "fuzz $1: found something, see $2" >&2
}
