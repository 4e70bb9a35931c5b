#!/bin/sh
# Installs what is missing, builds the program, and takes the small trained model nano-e apart: every ablation on 400 held-out stories.
# Options are handed on to `loupe ablate`, e.g. --variants window-8,full-rope-none.
. "$(dirname "$0")/common.sh"

install_missing $packages
configure release -DLOUPE_BUILD_TESTS=OFF
step "Building build/loupe (a minute or two the first time)"
cmake --build build --target loupe_program -j "$(nproc)"

data=examples/data
table=build/nano-e.txt
page=build/nano-e.html
step "Ablating nano-e on $data/text/stories.txt"
if [ $# -eq 0 ] && [ -s "$table" ] && [ -s "$page" ] && [ -z "$(find build/loupe "$data" -newer "$table" -print -quit)" ]; then
    echo "nothing has changed since the last run; this is its table (remove $table to measure again)"
    cat "$table"
else
    rm -f "$table"
    build/loupe ablate $data/models/nano-e --text $data/text/stories.txt --tasks $data/text/stories.jsonl --html "$page" "$@" | tee "$table.part"
    # tee hides the program's exit code: a table that is whole ends with what differs
    grep -q "What differs" "$table.part" || exit 1
    if [ $# -eq 0 ]; then mv "$table.part" "$table"; else rm -f "$table.part"; fi
fi
step "Done: the table is above, the page with charts is $page, the program is build/loupe (try build/loupe --help)"
