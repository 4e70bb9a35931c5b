#!/bin/sh
# Tokens a second of this program and of llama.cpp on the same file:
#
#   compare_llama.sh LLAMA_BENCH MODEL.gguf [-p PROMPT] [-n GENERATED] [-d DEPTH] [-t THREADS] [-r ROUNDS]
#
# LLAMA_BENCH is the program llama-bench, built on this machine. Defaults: a prompt of 512 tokens, 128 generated, 1 thread, 5 rounds; 0 leaves
# a test out. Both may stand behind DEPTH tokens, which each program reads before, not timed, into a cache of the format it takes by itself;
# then no share of the roof is told, which counts weights alone. The two run in turns, so that a machine whose speed drifts slows down both;
# the first round is not counted. The ratio is taken within each round. For generation, whose weights are read for every token, each speed is
# also told as a share of what as many threads read from memory in that round. Prints medians [least, most] as a Markdown table; what happens
# meanwhile goes to stderr. LOUPE=… names another program than build/loupe. Exit codes: 0 done; 1 something is missing or failed; 2 wrong
# usage.
set -eu
root=$(dirname "$0")/..
loupe=${LOUPE:-$root/build/loupe}
begun=""
fail() { echo "${begun}compare_llama.sh: $*" >&2; exit 1; }
usage() {
    echo "compare_llama.sh: $*" >&2
    echo "usage: compare_llama.sh LLAMA_BENCH MODEL.gguf [-p PROMPT] [-n GENERATED] [-d DEPTH] [-t THREADS] [-r ROUNDS]" >&2
    exit 2
}

llama="" model="" prompt=512 generated=128 depth=0 threads=1 rounds=5
while [ $# -gt 0 ]; do
    case $1 in
        -p | -n | -d | -t | -r)
            [ $# -gt 1 ] || usage "expected a number after $1, found nothing"
            case $2 in "" | *[!0-9]*) usage "expected a number after $1, found \"$2\"" ;; esac
            case $1 in -p) prompt=$2 ;; -n) generated=$2 ;; -d) depth=$2 ;; -t) threads=$2 ;; -r) rounds=$2 ;; esac
            shift
            ;;
        -*) usage "expected -p, -n, -d, -t or -r, found $1" ;;
        *) if [ -z "$llama" ]; then llama=$1; elif [ -z "$model" ]; then model=$1; else usage "expected one model, found a second: $1"; fi ;;
    esac
    shift
done
[ -n "$llama" ] || usage "expected a program llama-bench and a model, found neither"
[ -n "$model" ] || usage "expected a program llama-bench and a model, found only $llama"
[ "$rounds" -gt 0 ] && [ "$threads" -gt 0 ] || usage "expected at least 1 round and 1 thread, found $rounds and $threads"
[ "$((prompt + generated))" -gt 0 ] || usage "expected a prompt or tokens to generate above 0, found -p 0 -n 0"
command -v jq >/dev/null || fail "expected jq, found none (apt-get install jq)"
command -v "$llama" >/dev/null || fail "expected the program llama-bench, found no program $llama"
[ -x "$loupe" ] || fail "expected the program $loupe, found none (cmake --preset release && cmake --build build --target loupe_program)"
[ -f "$model" ] || fail "expected a .gguf file, found none: $model"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# run NAME COMMAND…: the command's JSON goes to NAME.json, its speeds to the end of NAME.prompt and NAME.generated
run() {
    name=$1
    shift
    "$@" >"$work/$name.json" 2>"$work/stderr" </dev/null || {
        code=$?
        [ -s "$work/stderr" ] || echo "(nothing on stderr)" >"$work/stderr"
        printf '\ncompare_llama.sh: expected %s to end with exit code 0, found %d; its last words:\n' "$1" $code >&2
        tail -n 8 "$work/stderr" | sed 's/^/    /' >&2
        exit 1
    }
    speed prompt "$prompt" 0
    speed generated 0 "$generated"
    [ "$generated" -eq 0 ] || [ "$depth" -gt 0 ] || jq -r '.[] | select(.roof_bytes_per_second) | .roof_bytes_per_second / .bytes_per_token' "$work/loupe.json" >>"$work/$name.roof"
}

# speed TEST N_PROMPT N_GEN
speed() {
    [ "$(($2 + $3))" -gt 0 ] || return 0
    found=$(jq -r --argjson p "$2" --argjson n "$3" '[.[] | select(.n_prompt == $p and .n_gen == $n and .avg_ts > 0) | .avg_ts][0] // empty' \
        "$work/$name.json" 2>/dev/null) || fail "expected JSON from $name, found: $(head -n 1 "$work/$name.json" | cut -c 1-200)"
    [ -n "$found" ] || fail "expected n_prompt = $2, n_gen = $3 and avg_ts > 0 in the JSON of $name, found no such test"
    echo "$found" >>"$work/$name.$1"
}

round=0
begun="
" # of a line of progress
while [ $round -le "$rounds" ]; do
    if [ $round -eq 0 ]; then printf 'warming up' >&2; else printf ', round %d of %d' $round "$rounds" >&2; fi
    run loupe "$loupe" bench "$model" -p "$prompt" -n "$generated" -d "$depth" -t "$threads" -r 1 --roof --json
    run llama-bench "$llama" -m "$model" -p "$prompt" -n "$generated" -d "$depth" -t "$threads" -r 1 -o json
    [ $round -gt 0 ] || rm -f "$work"/*.prompt "$work"/*.generated "$work"/*.roof
    round=$((round + 1))
done
echo >&2

commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo "unknown commit")
[ -z "$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null)" ] || commit="$commit with changes"
[ -z "$(find "$root/include" "$root/examples" -name '*.?pp' -newer "$loupe" -print -quit)" ] || commit="$commit (built before its sources changed)"
# both JSONs say the same in every test: the first will do
say() { jq -r ".[0] | $2" "$work/$1.json"; }
built='capture("^(?<processor>.*), (?<compiler>(g\\+\\+|clang) .*)$")'
attention='{"-1": "auto", "0": "off", "false": "off", "1": "on", "true": "on"}[.flash_attn | tostring] // "unknown"'
echo "* machine: $(say loupe ".cpu_info | $built.processor")"
echo "* loupe: $commit, $(say loupe ".cpu_info | $built.compiler"), $(say loupe .arithmetic) products"
echo "* llama.cpp: commit $(say llama-bench .build_commit), build $(say llama-bench .build_number)," \
    "$(say llama-bench '.backends // "unknown backend"'), flash attention $(say llama-bench "$attention")"
echo "* model: $(basename "$model"), $threads thread$([ "$threads" -eq 1 ] || echo s); medians [least, most] of $rounds round$([ "$rounds" -eq 1 ] || echo s)"
[ "$depth" -eq 0 ] || echo "* behind $depth tokens, keys and values as $(say loupe .type_k) and as $(say llama-bench .type_k)"
echo

# row TITLE TEST
row() {
    [ -s "$work/loupe.$2" ] || return 0
    paste "$work/loupe.$2" "$work/llama-bench.$2" | LC_ALL=C awk -v title="$1" '
        function rounded(value,    unit) { # to 3 significant digits
            if (value >= 1000) { for (unit = 10; value / unit >= 1000; unit *= 10); return sprintf("%d", unit * int(value / unit + 0.5)) }
            return sprintf(value >= 99.95 ? "%.0f" : value >= 9.995 ? "%.1f" : value >= 0.9995 ? "%.2f" : "%.3f", value)
        }
        function spread(values,    i, j, x, middle) {
            for (i = 2; i <= NR; ++i) {
                x = values[i]
                for (j = i - 1; j > 0 && values[j] > x; --j) values[j + 1] = values[j]
                values[j + 1] = x
            }
            middle = int((NR + 1) / 2)
            x = NR % 2 ? values[middle] : (values[middle] + values[middle + 1]) / 2
            return rounded(x) " [" rounded(values[1]) ", " rounded(values[NR]) "]"
        }
        { ours[NR] = $1; theirs[NR] = $2; ratio[NR] = $1 / $2 }
        END { printf "| %-16s | %-22s | %-22s | %-21s |\n", title, spread(ours), spread(theirs), spread(ratio) }'
}
# share TITLE: of the roof, for both
share() {
    [ -s "$work/loupe.roof" ] || return 0
    for name in loupe llama-bench; do paste "$work/$name.generated" "$work/$name.roof" | LC_ALL=C awk '{ print 100 * $1 / $2 }' >"$work/$name.share"; done
    row "$1" share
}
printf '| %-16s | %-22s | %-22s | %-21s |\n' test "loupe, tokens/s" "llama.cpp, tokens/s" "loupe / llama.cpp"
printf '| %s | %s | %s | %s |\n' ---------------- ---------------------- ---------------------- ---------------------
row "prompt of $prompt" prompt
row "$generated generated" generated
share "% of the roof"
