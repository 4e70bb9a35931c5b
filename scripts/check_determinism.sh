#!/bin/sh
# The same bits from every process: logits and the residual stream after every block, on one thread and two, in one pass and in chunks of
# 1, 7 and 16, each combination twice. Prints the hash of each model's. LOUPE=… names another program than build/loupe.
set -eu
cd "$(dirname "$0")/.."
. scripts/checks.sh
program=${LOUPE:-build/loupe}
[ -x "$program" ] || { echo "check_determinism: expected the program $program, found none (cmake --build build --target loupe_program)" >&2; exit 1; }
make_work

# 40 ids, past every window of these models, below the smallest vocabulary (160).
ids=$(awk 'BEGIN { printf "2"; for (i = 1; i < 40; ++i) printf ",%d", 3 + (i * 37) % 155 }')

# hash MODEL THREADS CHUNK
hash() {
    "$program" logits "$1" --ids "$ids" --threads "$2" --chunk "$3" --out "$work/logits.npy" --layers "$work/layers.npy" 2> "$work/err" ||
        { echo "check_determinism: $1: $(cat "$work/err")" >&2; exit 1; }
    cat "$work/logits.npy" "$work/layers.npy" | sha256sum | cut -c 1-16
}

runs=0
for model in examples/data/models/nano-e examples/data/models/nano-a examples/data/models/nano-e/nano-e-Q4_K_M.gguf tests/data/gemma*/; do
    expected=$(hash "$model" 1 0)
    for threads in 1 2; do
        for chunk in 0 1 7 16; do
            for again in 1 2; do
                found=$(hash "$model" $threads $chunk)
                [ "$found" = "$expected" ] || {
                    echo "check_determinism: $model: expected $expected (1 thread, one pass), found $found ($threads threads, chunk $chunk, run $again)" >&2
                    exit 1
                }
                runs=$((runs + 1))
            done
        done
    done
    printf '%s  %s\n' "$expected" "${model%/}"
done
echo "$runs processes gave the bits above: 1 and 2 threads, in one pass and in chunks of 1, 7 and 16, twice each"
