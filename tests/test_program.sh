#!/bin/sh
# The program `loupe` on good and on bad input. Bad input ends with exit code 1 (2: usage, 3: cannot write) and exactly one line on stderr that begins
# with "loupe: ", progress lines apart; never with a signal.
#
#   test_program.sh PROGRAM TEST_DATA EXAMPLE_DATA
set -u
program=$1
data=$2
examples=$3
nano=$examples/models/nano-e
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
failures=0
checks=0

fail() {
    failures=$((failures + 1))
    echo "FAILED: $*"
    sed 's/^/    /' "$work/err" | head -n 5
}

# run ARGUMENTS…: stdout and stderr to files, exit code to $code. A minute is far more than any of these needs.
run() {
    checks=$((checks + 1))
    timeout 60 "$program" "$@" > "$work/out" 2> "$work/err"
    code=$?
}

# lines of stderr that are not progress
complaints() { grep -c -v -E '^(text|tasks): [0-9]|^prompt: [0-9]|^[0-9.]+ s on [0-9]+ thread|^left out: |^wrote |^note: ' "$work/err"; }

one_complaint() {
    [ "$(complaints)" = 1 ] || fail "$1: expected one line on stderr, found $(complaints)"
    grep -q '^loupe: ..........' "$work/err" || fail "$1: expected a line that begins with \"loupe: \""
}

# refused CODE WHAT TEXT ARGUMENTS…: the message holds TEXT
refused() {
    expected=$1 what=$2 text=$3
    shift 3
    run "$@"
    [ "$code" = "$expected" ] || fail "$what: expected exit code $expected, found $code"
    one_complaint "$what"
    grep -q -F -e "$text" "$work/err" || fail "$what: expected \"$text\" in the message"
}

# usage WHAT ARGUMENTS…: bad usage is explained on stderr
usage() {
    what=$1
    shift
    run "$@"
    [ "$code" = 2 ] || fail "usage: $what: expected exit code 2, found $code"
    [ -s "$work/err" ] || fail "usage: $what: expected an explanation"
    [ -s "$work/out" ] && fail "usage: $what: expected nothing on stdout"
}

works() {
    what=$1
    shift
    run "$@"
    [ "$code" = 0 ] || fail "$what: expected exit code 0, found $code"
}

size_is() {
    found=$(wc -c < "$1")
    [ "$found" -eq "$2" ] || fail "$1: expected $2 bytes, found $found"
}

# ---- usage
usage 'no command'
usage 'unknown command' nonsense
usage 'no model' describe
usage 'unknown option' describe "$nano" --frobnicate
usage 'text twice' tokenize "$nano" --text a --file b
usage 'no text' tokenize "$nano"
usage 'neither text nor tasks' score "$nano"
usage 'context of one' score "$nano" --text x --context 1
usage 'a word for a number' score "$nano" --text x --context many
usage 'no tokens to make' generate "$nano" --prompt a -n 0
usage 'negative temperature' generate "$nano" --prompt a --temperature -1
usage 'temperature that is no number' generate "$nano" --prompt a --temperature nan
usage 'an octal number' generate "$nano" --prompt a -n 010
usage 'a negative seed' generate "$nano" --prompt a -n 1 --seed -1
usage 'a seed beyond 64 bits' make gemma3-270m "$work/x.gguf" --seed 18446744073709551616
for option in '--temperature 2' '--top-k 3' '--top-p 0.5' '--seed 7'; do
    # shellcheck disable=SC2086
    usage "greedy with $option" generate "$nano" --prompt a -n 1 --greedy $option
done
usage 'the roof of no generation' bench "$nano" -p 4 -n 0 -r 1 --roof
usage 'a made-up depth of 0' bench "$nano" -p 4 -n 0 -r 1 --made-up-depth
usage 'a variant twice' ablate "$nano" --text "$examples/text/prose-1.txt" --variants window-8,window-16,window-8
usage 'two results in one file' ablate "$nano" --text x --html "$work/result" --json "$work/./result"
usage 'two results on standard output' ablate "$nano" --text x --html - --json -
usage 'a result over a file of its model' score "$nano" --text x --json "$nano/config.json"
usage 'a result over its text' score "$nano" --text "$work/text" --json "$work/./text"
usage 'negative threads' generate "$nano" --prompt a --threads -1
usage 'logits on standard output' logits "$nano" --ids 2,3 --out -
usage 'layers on standard output' logits "$nano" --ids 2,3 --out "$work/x.npy" --layers -
usage 'a model on standard output' make gemma3-270m -
usage 'no ids' logits "$nano" --out "$work/x.npy"
works 'help' --help

# ---- files that are not models
refused 1 'missing model' nowhere describe "$work/nowhere"
mkdir "$work/empty"
refused 1 'folder without config' config.json describe "$work/empty"
: > "$work/nothing.gguf"
refused 1 'empty file' nothing.gguf describe "$work/nothing.gguf"
echo 'GGML is something else altogether, and older' > "$work/magic.gguf"
refused 1 'wrong magic' GGUF describe "$work/magic.gguf"
printf 'GGUF\003\000\000\000\377\377\377\377\377\377\377\017\001\000\000\000\000\000\000\000' > "$work/tensors.gguf"
refused 1 'a huge number of tensors' tensors describe "$work/tensors.gguf"
printf 'GGUF\003\000\000\000\000\000\000\000\000\000\000\000\377\377\377\377\377\377\377\177' > "$work/keys.gguf"
refused 1 'a huge number of keys' keys describe "$work/keys.gguf"
printf 'GGUF\003\000\000\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\377\377\377\377\377\377\377\177' > "$work/string.gguf"
printf 'general.architecture' >> "$work/string.gguf"
refused 1 'a string longer than the file' byte describe "$work/string.gguf"
printf 'GGUF\003\000\000\000\001\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000a\001\000\000\000\040\000\000\000\000\000\000\000\143\000\000\000\000\000\000\000\000\000\000\000' > "$work/type.gguf"
refused 1 'an unknown tensor type' 99 describe "$work/type.gguf"
printf 'GGUF\143\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000' > "$work/version.gguf"
refused 1 'an unknown version' 99 describe "$work/version.gguf"
printf 'GGUF\003\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000' > "$work/hollow.gguf"
refused 1 'no keys at all' general.architecture describe "$work/hollow.gguf"

gguf=$nano/nano-e-Q4_K_M.gguf
whole=$(wc -c < "$gguf")
for n in 1 3 4 5 8 12 16 20 23 24 25 31 32 33 40 60 100 200 500 1000 2000 5000 10000 20000 40000 60000 70000 80000 81000 81280 81281 82000 100000 1000000 \
    $((whole / 2)) $((whole - 4096)) $((whole - 100)) $((whole - 33)); do
    head -c "$n" "$gguf" > "$work/short.gguf"
    refused 1 "cut to $n bytes" short.gguf describe "$work/short.gguf"
done
# one byte of the header turned at a time: refused or accepted, never a crash
for n in 4 8 15 16 23 24 31 32 50 64 100 333 1000 1500 60000 70000 75000 79000 80500; do
    cp "$gguf" "$work/turned.gguf"
    printf '\377' | dd of="$work/turned.gguf" bs=1 seek="$n" conv=notrunc 2> "$work/dd"
    run describe "$work/turned.gguf"
    case $code in
    0) ;;
    1) one_complaint "byte $n turned" ;;
    *) fail "byte $n turned: exit code $code" ;;
    esac
done

folder() {
    rm -rf "$work/model"
    mkdir "$work/model"
    cp "$data/gemma4-e2b/config.json" "$data/gemma4-e2b/model.safetensors" "$work/model/"
}
folder
works 'a copy of a golden model' describe "$work/model"
whole=$(wc -c < "$data/gemma4-e2b/model.safetensors")
for n in 0 1 7 8 9 100 10000 20000 $((whole / 2)) $((whole - 1)); do
    head -c "$n" "$data/gemma4-e2b/model.safetensors" > "$work/model/model.safetensors"
    refused 1 "safetensors cut to $n bytes" model.safetensors describe "$work/model"
done
folder
rm "$work/model/model.safetensors"
refused 1 'no weights' model.safetensors describe "$work/model"
folder
for hostile in '{' '[]' '"gemma4"' '{"model_type": "llama"}' '{"model_type": "gemma4_text", "num_hidden_layers": 1000000000000000000}' \
    '{"model_type": "gemma4_text", "num_hidden_layers": -1}' '{"model_type": "gemma4_text", "hidden_size": "many"}' \
    '{"model_type": "gemma4_text", "hidden_size": 1e400}' '{"model_type": 4}'; do
    echo "$hostile" > "$work/model/config.json"
    refused 1 "config $hostile" config.json describe "$work/model"
done
head -c 1000000 /dev/zero | tr '\0' '[' > "$work/model/config.json"
refused 1 'a million brackets' config.json describe "$work/model"
folder
echo '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}' > "$work/model/tokenizer.json"
refused 1 'a tokenizer that merges what it does not have' tokenizer.json describe "$work/model"
folder
refused 1 'no tokenizer' tokenizer tokenize "$work/model" --text a
refused 1 'no tokenizer to generate with' tokenizer generate "$work/model" --prompt a

# ---- bad texts
printf 'good \377\376 bad' > "$work/bytes.txt"
refused 1 'not UTF-8, as an argument' 0xFF tokenize "$nano" --text "$(printf 'a\377b')"
refused 1 'not UTF-8, in a file' 0xFF tokenize "$nano" --file "$work/bytes.txt"
refused 1 'not UTF-8, to be scored' bytes.txt score "$nano" --text "$work/bytes.txt"
: > "$work/empty.txt"
refused 1 'an empty text' empty.txt score "$nano" --text "$work/empty.txt"
refused 1 'no such text' nowhere.txt score "$nano" --text "$work/nowhere.txt"
refused 1 'a folder for a text' empty score "$nano" --text "$work/empty"
refused 1 'an empty prompt' prompt generate "$nano" --prompt ''
echo '{"kind": "a", "text": "abc", "spans": [[1, 9]]}' > "$work/tasks.jsonl"
refused 1 'a span outside of its text' tasks.jsonl:1 score "$nano" --tasks "$work/tasks.jsonl"

# ---- bad ids
for ids in x 1,x 1,,2 1, ,1 1.5 2147483648 99999999999999999999 ' 1' '1 2' 0x10; do
    refused 1 "ids $ids" ids logits "$nano" --ids "$ids" --out "$work/x.npy"
done
for ids in 2048 2,5000 2,-1; do
    refused 1 "ids $ids" 2047 logits "$nano" --ids="$ids" --out "$work/x.npy"
done
run logits "$nano" --ids '' --out "$work/x.npy"
[ "$code" = 1 ] || [ "$code" = 2 ] || fail "no ids: exit code $code"
for blocks in x 1 1:2:3 2:1 1:1 0:4 -1:2 0:2,1:3; do
    refused 1 "image blocks $blocks" image-blocks logits "$nano" --ids 2,3,4 --image-blocks="$blocks" --out "$work/x.npy"
done
[ -e "$work/x.npy" ] && fail 'a refused run left a file behind'
refused 1 'an unknown variant' frobnicate ablate "$nano" --text "$examples/text/prose-1.txt" --variants frobnicate
refused 1 'a variant of another family' top-2 ablate "$nano" --text "$examples/text/prose-1.txt" --variants window-8,top-2

# ---- places that cannot be written
head -c 2000 "$examples/text/prose-1.txt" > "$work/short.txt"
refused 3 'logits to a full disk' /dev/full logits "$nano" --ids 2,3 --out /dev/full
refused 3 'layers to a full disk' /dev/full logits "$nano" --ids 2,3 --out "$work/left.npy" --layers /dev/full
refused 3 'logits to a folder that is not there' nowhere logits "$nano" --ids 2,3 --out "$work/nowhere/x.npy"
refused 3 'layers to a folder that is not there' nowhere logits "$nano" --ids 2,3 --out "$work/left.npy" --layers "$work/nowhere/x.npy"
refused 3 'figures to a full disk' /dev/full score "$nano" --text "$work/short.txt" --json /dev/full
refused 3 'figures to a folder that is not there' nowhere score "$nano" --text "$work/short.txt" --json "$work/nowhere/x.json"
refused 3 'a report to a full disk' /dev/full ablate "$nano" --text "$work/short.txt" --variants window-8 --html /dev/full
echo 'was there' > "$work/kept.json"
refused 1 'figures of a text that is not there' nowhere.txt score "$nano" --text "$work/nowhere.txt" --json "$work/kept.json"
[ "$(cat "$work/kept.json")" = 'was there' ] || fail 'score: a refused run changed the file of an earlier one'
refused 1 'a report of a variant that is not there' frobnicate ablate "$nano" --text "$work/short.txt" --variants frobnicate \
    --json "$work/left.json" --html "$work/left.html"
refused 1 'a text that is not there, before anything is built' nowhere.txt ablate "$nano" --text "$work/nowhere.txt" --json "$work/left.json"
[ "$(complaints)" = 1 ] && ! grep -q '^left out' "$work/err" || fail 'ablate: expected to read the text before variants are built'
for left in "$work"/left*; do [ ! -e "$left" ] || fail "a refused run left $left behind"; done
for command in "describe $nano" "variants $nano" "tokenize $nano --text hello" "generate $nano --prompt hello -n 2" "score $nano --text $work/short.txt"; do
    checks=$((checks + 1))
    # shellcheck disable=SC2086
    timeout 60 "$program" $command > /dev/full 2> "$work/err"
    code=$?
    [ "$code" = 3 ] || fail "$command to a full stdout: expected exit code 3, found $code"
    one_complaint "$command to a full stdout"
done

# ---- what the system does not give
if (ulimit -v 3000000 && "$program" --help) > "$work/out" 2> "$work/err"; then # not with a sanitizer, which takes more
    limit=$(ulimit -S -v)
    ulimit -S -v 3000000
    refused 1 'more threads than there is room for' 'threads: expected to start 1023 ' generate "$nano" --prompt a -n 2 --threads 1024
    refused 1 'a depth beyond memory' 'GB for 16777217 positions in F32' bench "$nano" -p 0 -n 1 -r 1 -d 16777216 --made-up-depth
    ulimit -S -v "$limit"
fi
mkdir "$work/gone"
(
    failures=0 nano=$(cd "$nano" && pwd) program=$(realpath "$program")
    cd "$work/gone" && rmdir "$work/gone"
    refused 3 'a folder that is gone' 'x.json: cannot be created' score "$nano" --text nowhere.txt --json x.json
    exit "$failures"
) || failures=$((failures + 1))

# ---- good input
for model in gemma4-e2b gemma4-26b-a4b gemma4-12b gemma3-270m; do
    case $model in
    gemma4-e2b) blocks=10 width=64 ;;
    gemma4-26b-a4b) blocks=6 width=88 ;;
    *) blocks=6 width=64 ;;
    esac
    works "logits of $model" logits "$data/$model" --ids 2,5,7,11,13 --out "$work/logits.npy" --layers "$work/layers.npy"
    size_is "$work/logits.npy" $((128 + 4 * 5 * 160))
    size_is "$work/layers.npy" $((128 + 4 * (blocks + 1) * 5 * width))
    works "logits of $model in pieces" logits "$data/$model" --ids 2,5,7,11,13 --out "$work/pieces.npy" --chunk 2 --threads 1
    cmp -s "$work/logits.npy" "$work/pieces.npy" || fail "$model: chunks of two change the logits"
done
works 'an image' logits "$data/gemma4-12b" --ids 2,5,7,11,13 --image-blocks 1:4 --out "$work/image.npy"
works 'the same without' logits "$data/gemma4-12b" --ids 2,5,7,11,13 --out "$work/text.npy"
cmp -s "$work/image.npy" "$work/text.npy" && fail 'an image changes nothing in 12B'

works 'tokenize' tokenize "$nano" --text 'Mara had a red lamp.' --json --bos
[ "$(cat "$work/out")" = '[2,291,477,390,334,581,619,275]' ] || fail "tokenize --json: found $(cat "$work/out")"
printf 'Mara had a red lamp.' > "$work/lamp.txt"
works 'tokenize a file' tokenize "$nano" --file "$work/lamp.txt" --json
[ "$(cat "$work/out")" = '[291,477,390,334,581,619,275]' ] || fail "tokenize --file: found $(cat "$work/out")"
works 'tokenize an empty text' tokenize "$nano" --text '' --json
[ "$(cat "$work/out")" = '[]' ] || fail "tokenize of nothing: found $(cat "$work/out")"

# The reference's greedy ids, up to where its two best logits are closer than 0.005.
reference=$data/reference/nano-e/greedy.json
prompts=$(grep -c '^"prompt":' "$reference")
[ "$prompts" -ge 3 ] || fail "greedy.json: found $prompts prompts"
entry=1
while [ "$entry" -le "$prompts" ]; do
    prompt=$(awk -v n="$entry" '/^"prompt":/ { if (++i == n) { sub(/^"prompt": "/, ""); sub(/",?$/, ""); print; exit } }' "$reference")
    expected=$(awk -v n="$entry" '
        /^"prompt":/ { ++i }
        /^"[a-z0-9_]*":/ { part = $1; next }
        i == n && /^-?[0-9]/ { sub(/,/, ""); if (part == "\"ids\":") id[++ids] = $0; if (part == "\"top2_gap\":") gap[++gaps] = $0 }
        END { for (j = 1; j <= ids && gap[j] + 0 >= 0.005; ++j) printf "%s,", id[j] }' "$reference")
    works "greedy $entry" generate "$nano" --greedy --json -n 48 --prompt "$(printf '%b' "$prompt")"
    found=$(tr -d ' \n' < "$work/out" | sed 's/.*"ids":\[\([^]]*\)\].*/\1/'),
    [ "${#expected}" -gt 60 ] || fail "greedy $entry: found only \"$expected\" in the reference"
    case $found in
    "$expected"*) ;;
    *) fail "greedy $entry: expected $expected found $found" ;;
    esac
    entry=$((entry + 1))
done
works 'the largest seed' generate "$nano" --prompt a -n 1 --seed 18446744073709551615
works 'sampling' generate "$nano" --prompt 'Mara had' -n 12 --seed 7 --json
cp "$work/out" "$work/first"
works 'sampling again' generate "$nano" --prompt 'Mara had' -n 12 --seed 7 --json --threads 1
cmp -s "$work/first" "$work/out" || fail 'the same seed gives another text'

works 'score' score "$nano" --text "$work/short.txt" --json -
for field in tokens mean_nll perplexity bits_per_byte top1_accuracy; do
    grep -q "\"$field\": [0-9]" "$work/out" || fail "score --json: expected the field $field"
done
works 'score to a file' score "$nano" --text "$work/short.txt" --json "$work/figures.json"
grep -q '"perplexity": [0-9]' "$work/figures.json" || fail 'score --json FILE: expected figures'
works 'ablate' ablate "$nano" --text "$work/short.txt" --variants window-8 --json -
grep -q 'window-8' "$work/out" || fail 'ablate --json: expected the variant'
works 'a page on standard output' ablate "$nano" --text "$work/short.txt" --variants window-8 --html -
[ "$(head -c 15 "$work/out")" = '<!DOCTYPE html>' ] || fail 'ablate --html -: expected a page and nothing else'
works 'a list before the model' ablate --variants window-8,window-16 "$nano" --text "$work/short.txt"
works 'lists before the model, and given twice' bench -p 4 -p 2,3 -n 0 -d 0 -t 1 "$nano" -r 1
[ "$(grep -c 'pp[234]:' "$work/out")" -eq 3 ] || fail 'bench: expected three prompts'
named=$work/$(printf 'not UTF-8 \377')
mkdir "$named"
cp "$work/short.txt" "$named/$(printf '\377.txt')"
cp "$nano/nano-e-Q4_K_M.gguf" "$named/"
works 'figures of a text whose name is not UTF-8' score "$nano" --text "$named/$(printf '\377.txt')" --json -
grep -q '"perplexity": [0-9]' "$work/out" || fail 'score --json: expected figures of a text whose name is not UTF-8'
works 'a report of names that are not UTF-8' ablate "$named/nano-e-Q4_K_M.gguf" --text "$named/$(printf '\377.txt')" --variants window-8 --json - --html "$work/named.html"
works 'speeds of a model whose name is not UTF-8' bench "$named/nano-e-Q4_K_M.gguf" -p 4 -n 0 -r 1 --json
works 'make' make gemma3-270m "$work/made.gguf" --blocks 6 --vocabulary 600 --types q4_k_m,ffn_down=q5_1
works 'describe what was made' describe "$work/made.gguf"
works 'bench at the last position of the largest context' bench "$nano" -p 0 -n 1 -r 1 -d 262143 --made-up-depth
grep -q 'tg1 @ 262143 made up: ' "$work/out" || fail "bench: expected the depth, and that it is made up"
works 'bench beside the roof' bench "$nano" -p 4 -n 1 -r 1 --roof
[ "$(grep -c '% of what memory gives' "$work/out")" -eq 1 ] || fail "bench: expected one line with its share of the roof, that of generation"
works 'the roof as JSON' bench "$nano" -p 4 -n 1 -r 1 --roof --json
[ "$(grep -c '"roof_bytes_per_second"' "$work/out")" -eq 1 ] || fail "bench: expected one roof, that of generation"
works 'the same as JSON' bench "$nano" -p 4 -n 1 -r 1 -d 0,40 --made-up-depth --json
grep -q '"depth_filled_by": "random keys and values"' "$work/out" || fail "bench: expected to read that nothing was read"
grep -q '"depth_filled_by": "nothing"' "$work/out" || fail "bench: expected to read that nothing was filled"
works 'a text beyond the context' generate "$nano" --prompt "$(head -c 24000 "$examples/text/stories.txt")" -n 1
grep -q '^note: up to [5-9][0-9][0-9][0-9] tokens, the model was made for 4096: ' "$work/err" || fail "generate: expected a note on the context"
works 'generate with what was made' generate "$work/made.gguf" --prompt 'a b' -n 2
refused 1 'make: an unknown variant' 26b-a4b make 7b "$work/x.gguf"
refused 1 'make: an unknown format' q4_k_m make e2b "$work/x.gguf" --types q9
refused 1 'make: a pattern that fits nothing' ffn_dwn make e2b "$work/x.gguf" --types q4_0,ffn_dwn=q8_0
refused 1 'make: too few blocks' '5 to 35' make e2b "$work/x.gguf" --blocks 4
refused 3 'make: a full disk' /dev/full make gemma3-270m /dev/full --blocks 6 --vocabulary 600
[ -e "$work/x.gguf" ] && fail 'make: a refused run left a file behind'
works 'describe as JSON' describe "$nano" --json
grep -q '"tree"' "$work/out" || fail 'describe --json: expected a tree'

echo "$checks runs, $failures failures"
[ "$failures" = 0 ]
