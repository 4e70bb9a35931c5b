#!/bin/sh
# Whether parts that do nothing cost nothing: the machine code of E2B's blocks, composed with a probe, a pruning and a cache policy that are
# off, against tests/zero_cost/by_hand.cpp, which is written without them. g++ and clang++, -O2 and -O3, instruction by instruction. The same
# comparison has to tell apart what differs: a probe that watches, a pruning and a cache policy that are on.
set -eu
cd "$(dirname "$0")/.."
. scripts/checks.sh
make_work

# disassemble NAME SOURCE COMPILER OPTION…: code of the functions of a source, each in a section of its own. g++ allows a whole file so much
# growth by inlining; whose call comes last must not decide what is inlined.
disassemble() {
    to="$work/$1" source="tests/zero_cost/$2.cpp"
    shift 2
    rm -f "$to" "$to.o"
    [ "$1" != g++ ] || set -- "$@" --param=large-unit-insns=1000000
    "$@" -std=c++20 -march=x86-64-v3 -ffunction-sections -Iinclude -c "$source" -o "$to.o" || return 2
    objdump -dr --no-show-raw-insn "$to.o" >"$to"
}

# compare NAME NAME FUNCTION…
compare() {
    to="$work/$1" with="$work/$2"
    shift 2
    LC_ALL=C awk -v roots="$*" -f tests/zero_cost/compare.awk "$to" "$with"
}

# same COMPILER LEVEL BLOCKS FUNCTION…: parts that are off change nothing in these functions. BLOCKS is an option for the compiler.
same() {
    compiler=$1 level=$2 blocks=$3
    shift 3
    disassemble "by_hand-$compiler" by_hand "$compiler" "$level" "$blocks" || return 1
    disassemble "with_parts-$compiler" with_parts "$compiler" "$level" "$blocks" || return 1
    said=$(compare "with_parts-$compiler" "by_hand-$compiler" "$@") || {
        echo "check_zero_cost.sh: $compiler $level: parts that are off change the code of a block: $said" >&2
        return 1
    }
    echo "$compiler $level: the same code, $said"
}

# hold COMPILER
hold() {
    for level in -O2 -O3; do
        same "$1" "$level" -DLOUPE_ALL_BLOCKS sliding_own full_own sliding_shared full_shared || return 1
    done
    same "$1" -O3 -DLOUPE_ONE_BLOCK full_own || return 1
    for part in "probe<sum_of_residual>" "prune<prune::random<std::ratio<1,2>>>" "kv<kv::window<3>>"; do
        disassemble "exchanged-$1" with_parts "$1" -O3 -DLOUPE_ONE_BLOCK "-DLOUPE_EXCHANGE=$part" || return 1
        said=$(compare "exchanged-$1" "by_hand-$1" full_own) && differs=0 || differs=$?
        if [ "$differs" -ne 1 ]; then
            echo "check_zero_cost.sh: $1 -O3: expected slot::$part to change the code of a block, found $said, all the same" >&2
            return 1
        fi
        echo "$1 -O3: slot::$part is told apart"
    done
}

failed=0
hold g++ >"$work/said" &
hold clang++ || failed=1
wait $! || failed=1
cat "$work/said"
exit $failed
