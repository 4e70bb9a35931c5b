#!/bin/sh
# Whether README.md and docs/ say what the code does: code is cut from files that are compiled, commands are run and their output compared,
# figures are those of docs/data. Needs a build (build/loupe, build/examples). What stands in front of a block says where it comes from:
#
#   <!-- from FILE: NAME -->      the lines of FILE between "// [NAME]" and "// [/NAME]"; without ": NAME" the whole file
#   <!-- output of COMMAND -->    what the command prints, run in a folder that has examples/, MODEL (nano-e), book.txt and tasks.jsonl
#   <!-- run -->                  shell commands that are run there; <!-- not run: WHY --> for those that are not
#   <!-- figures of nano-e -->    a table whose columns "Δ perplexity", "KL", … are those of docs/data/nano-e.json; plain <!-- figures -->
#                                 for a table with a column "model"
#
#   check_docs.sh [--update] [PAGE …]     --update rewrites the pages instead of complaining
#
# Seconds, tokens per second, the number of threads and the processor differ from machine to machine: they are shown as "…".
set -eu
cd "$(dirname "$0")/.."
. scripts/checks.sh
update=no
[ "${1:-}" != --update ] || { update=yes; shift; }
[ $# -gt 0 ] || set -- README.md docs/*.md
command -v jq >/dev/null || { echo "check_docs.sh: expected jq, found none (apt-get install jq)" >&2; exit 1; }
[ -x build/loupe ] || { echo "check_docs.sh: expected a build in build/, found no build/loupe" >&2; exit 1; }

make_work
mkdir "$work/here"
ln -s "$PWD/examples" "$work/here/examples"
ln -s "$PWD/examples/data/models/nano-e" "$work/here/MODEL"
head -c 20000 examples/data/text/stories.txt > "$work/here/book.txt"
head -n 40 examples/data/text/stories.jsonl > "$work/here/tasks.jsonl"
PATH="$PWD/build:$PWD/build/examples:$PATH"
export PATH

# model, variant, figure, value, low, high: one line each
for file in docs/data/*.json; do
    jq -r --arg model "$(basename "$file" .json)" 'to_entries[] | select(.key != "_about") | .key as $id | .value |
        ([["perplexity", .perplexity, .perplexity_interval], ["Δ perplexity", .perplexity_change, .perplexity_change_interval],
          ["KL", .mean_kl, .mean_kl_interval], ["top-1", .top1_agreement, .top1_agreement_interval]] +
         [.tasks | to_entries[] | [.key, .value.accuracy, .value.accuracy_interval],
          [.key + " change", .value.accuracy_change, .value.accuracy_change_interval], [.key + " nats", .value.mean_nll, [0, 0]]])[] |
        [$model, $id, .[0], .[1], .[2][0], .[2][1]] | @tsv' "$file"
done > "$work/figures"

failed=0
for page in "$@"; do
    if ! awk -v page="$page" -v work="$work" -f scripts/check_docs.awk "$page" > "$work/page"; then
        failed=1 # it has said why
    elif ! cmp -s "$page" "$work/page"; then
        if [ $update = yes ]; then
            cp "$work/page" "$page"
            echo "rewritten: $page"
        else
            failed=1
            line=$(diff "$page" "$work/page" | sed -n '1s/[^0-9].*//p')
            echo "$page:$line: expected what the code, the commands and docs/data say, found something else (check_docs.sh --update rewrites it):" >&2
            diff -U1 --label "$page" --label "as it should be" "$page" "$work/page" >&2 || true
        fi
    fi
done

# Every option of the program is on some page.
for option in $(build/loupe --help-all | grep -o -e '--[a-z][a-z0-9-]*' | sort -u); do
    case $option in --help | --help-all) continue ;; esac
    grep -q -e "$option" README.md docs/*.md || { failed=1; echo "expected the option $option of the program on a page, found it on none" >&2; }
done

# Figures that the tests have just measured are those of docs/data, within the tolerances of that comparison.
for model in nano-e nano-a; do
    if [ -s build/tests/$model.json ] && [ -x build/tests/compare_figures ]; then
        jq 'del(._about)' build/tests/$model.json > "$work/measured"
        build/tests/compare_figures "$work/measured" docs/data/$model.json > "$work/compared" ||
            { failed=1; echo "docs/data/$model.json: expected the figures that the tests measured, found others:" >&2; cat "$work/compared" >&2; }
    fi
done
[ $failed = 0 ] || exit 1
echo "$# pages: $(cat "$work/counted" 2>/dev/null | awk '{ for (i = 1; i < 5; ++i) n[i] += $i }
    END { printf "%d pieces of code, %d outputs, %d commands, %d figures are as shown", n[1], n[2], n[3], n[4] }')"
