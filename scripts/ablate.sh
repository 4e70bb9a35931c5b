#!/bin/sh
# Installs what is missing, builds the program, and takes the small trained model nano-e apart: every ablation on 400 held-out stories.
# Options are handed on to `loupe ablate`, e.g. --variants window-8,full-rope-none; their paths start in the folder where one is. Results go
# to standard output, all else to standard error.
here=$PWD
. "$(dirname "$0")/common.sh"
root=$PWD
exec 3>&1 >&2

install_missing $packages
configure release -DLOUPE_BUILD_TESTS=OFF
step "Building build/loupe (a minute or two the first time)"
cmake --build build --target loupe_program -j "$(nproc)"

data=examples/data
step "Ablating nano-e on $data/text/stories.txt"
if [ $# -gt 0 ]; then
    case " $*" in *" --html"*) ;; *) set -- --html "$root/build/nano-e-chosen.html" "$@" ;; esac # the page of all ablations stays
    cd "$here"
    exec "$root/build/loupe" ablate "$root/$data/models/nano-e" --text "$root/$data/text/stories.txt" --tasks "$root/$data/text/stories.jsonl" "$@" >&3
fi
table=build/nano-e.txt
page=build/nano-e.html
if [ -s "$table" ] && [ -s "$page" ] && [ -z "$(find build/loupe "$data" -newer "$table" -print -quit)" ]; then
    echo "nothing has changed since the last run; this is its table (remove $table to measure again)"
else
    trap 'rm -f "$table.part"' EXIT
    trap 'exit 1' HUP INT TERM
    build/loupe ablate $data/models/nano-e --text $data/text/stories.txt --tasks $data/text/stories.jsonl --html "$page" >"$table.part"
    mv "$table.part" "$table"
fi
cat "$table" >&3
step "Done: the table is above, the page with charts is $page, the program is build/loupe (try build/loupe --help)"
