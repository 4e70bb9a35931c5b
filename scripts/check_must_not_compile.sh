#!/bin/sh
# What must not compile: every snippet of tests/must_not_compile, with g++ and clang++. Another folder may be named.
#
# A line of a snippet that ends in "// good -> bad" also exists with its first word `good` exchanged for `bad`. As written, the file must
# compile without a warning. With one such word exchanged it must not: the compiler's first error has to be on the line that says
# "says: <regular expression>", and the message has to say so within one screen, apart from where it repeats the user's line. A file that
# needs more says so: "// … at most N lines".
set -eu
cd "$(dirname "$0")/.."
. scripts/checks.sh
screen=24 columns=200
precompiled=build/must_not_compile/precompiled.hpp
flags="-std=c++20 -march=x86-64-v3 -Iinclude -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Werror"

# Compiles one file with one compiler, and holds the message against what the file's .want says, if it has one.
if [ "${1:-}" = --one ]; then
    cxx=$2 file=$3 message=${3%.cpp}.$2.txt
    refuse() {
        echo "$file with $cxx: $1"
        sed -n "1,${screen}p" "$message" | cut -c "1-$columns" | sed 's/^/    /'
        exit 1
    }
    case $cxx in clang*) header="-include-pch $precompiled.pch" ;; *) header="-include $precompiled" ;; esac
    # shellcheck disable=SC2086
    if LC_ALL=C $cxx $flags $header -fsyntax-only "$file" >"$message" 2>&1; then compiles=yes; else compiles=no; fi
    want=${file%.cpp}.want
    if [ ! -e "$want" ]; then
        [ $compiles = yes ] || refuse "the good twin does not compile"
        [ ! -s "$message" ] || refuse "the good twin is warned of"
        exit 0
    fi
    [ $compiles = no ] || refuse "the bad twin compiles"
    read -r line limit reason <"$want"
    [ "$limit" -gt 0 ] || limit=$screen
    own=$(sed -n "${line}p" "$file")
    verdict=$(LC_ALL=C own=$own reason=$reason awk -v at="$file:$line:" -v limit="$limit" -v columns=$columns '
        BEGIN { own = ENVIRON["own"]; reason = ENVIRON["reason"] }
        { lines += length($0) > 0 ? int((length($0) + columns - 1) / columns) : 1 }
        /(^|[ :])error: / && !failed { failed = 1; if (index($0, at) != 1) { print "the first error is not at " at; exit } }
        { text = $0; sub(/^ *[0-9]+ \| /, "", text) }
        failed && text != own && text ~ reason { found = 1; exit }
        END {
            if (!failed) print "no error is found in the message"
            else if (found && lines > limit) print "the reason \"" reason "\" stands on line " lines " of " columns " columns, " limit " are allowed"
            else if (found) print "lines " lines
            else print "the reason \"" reason "\" is not named"
        }' "$message")
    case "$verdict" in
    "lines "*) echo "${verdict#lines } $cxx $file" >"${message%.txt}.lines" ;;
    *) refuse "$(echo "$verdict" | head -n 1)" ;;
    esac
    exit 0
fi

# Writes the twins of one file: <folder>/<name>.cpp as it is, <name>-1.cpp … with one word exchanged, <name>-1.want … with what is wanted.
split() {
    awk -v to="$2/$(basename "$1" .cpp)" '
        function refuse(text) { print FILENAME ":" NR ": " text > "/dev/stderr"; failed = 1; exit 1 }
        function exchange(line, from, by,    at, before, after, start) {
            for (start = 1; (at = index(substr(line, start), from)) > 0; start = at + 1) {
                at += start - 1
                before = at > 1 ? substr(line, at - 1, 1) : " "
                after = substr(line, at + length(from), 1) " "
                if (before !~ /[A-Za-z0-9_]/ && after !~ /^[A-Za-z0-9_]/) return substr(line, 1, at - 1) by substr(line, at + length(from))
            }
            refuse("expected the word " from)
        }
        match($0, /at most [0-9]+ lines/) && /^\/\// { limit = substr($0, RSTART + 8, RLENGTH - 14) }
        { code[NR] = $0; sub(/ *\/\/.*/, "", code[NR]) }
        match($0, /\/\/ [A-Za-z0-9_]+ -> [A-Za-z0-9_]+/) {
            if (open) refuse("expected \"says:\" for the snippet before")
            split(substr($0, RSTART + 3, RLENGTH - 3), word, " -> ")
            open = 1; where[++cases] = NR; bad[cases] = exchange(code[NR], word[1], word[2])
        }
        match($0, /says: .*/) {
            if (!open) refuse("expected \"good -> bad\" before this")
            open = 0; wanted[cases] = NR " " limit + 0 " " substr($0, RSTART + 6)
        }
        END {
            if (failed) exit 1
            if (open || !cases) refuse("expected snippets, each with \"says:\"")
            for (k = 0; k <= cases; ++k) {
                name = k ? to "-" k : to
                for (i = 1; i <= NR; ++i) print (k && i == where[k] ? bad[k] : code[i]) > (name ".cpp")
                if (k) print wanted[k] > (name ".want")
                close(name ".cpp"); close(name ".want")
            }
        }' "$1"
}

# check FOLDER COMPILER...: fails with a message if anything in the folder is not as it should be.
check() {
    from=$1
    to=build/must_not_compile/$(basename "$1")
    shift
    rm -rf "$to"
    mkdir -p "$to"
    for file in "$from"/*.cpp; do split "$file" "$to" || return 1; done
    for cxx in "$@"; do for file in "$to"/*.cpp; do echo "$cxx $file"; done; done | xargs -P "$(nproc)" -L 1 sh "scripts/$(basename "$0")" --one
}

# Reading the headers is most of the time. Of a message, precompiled ones change nothing but where it says that they were included from;
# what a snippet does not include itself is not missed.
mkdir -p build/must_not_compile
echo '#include <loupe/model/nano.hpp>' >$precompiled
# shellcheck disable=SC2086
g++ $flags -x c++-header $precompiled -o $precompiled.gch &
# shellcheck disable=SC2086
clang++ $flags -x c++-header $precompiled -o $precompiled.pch
wait $!

if [ $# -gt 0 ]; then
    check "$1" g++ clang++
    exit 0
fi
check tests/must_not_compile g++ clang++
snippets=$(find build/must_not_compile/must_not_compile -name '*.want' | wc -l)
[ "$snippets" -ge 40 ] || { echo "expected at least 40 snippets, found $snippets"; exit 1; }

# The check itself: each of these is wrong in another way, and must be refused for it.
wrong() {
    folder=build/must_not_compile/wrong/$1
    mkdir -p "$folder"
    { printf '#include <loupe/model/nano.hpp>\nusing namespace loupe;\n' && cat; } >"$folder/snippet.cpp"
    ! found=$(check "$folder" g++ 2>&1) || { echo "expected the check to refuse \"$1\", and it did not"; exit 1; }
    case "$found" in *"$2"*) ;; *) echo "expected \"$2\" of \"$1\", found: $found"; exit 1 ;; esac
}
wrong bad_compiles "the bad twin compiles" <<'C'
using a = with<nano::e, slot::kv<kv::window<8>>>; // 8 -> 9, says: positive
C
wrong good_does_not "the good twin does not compile" <<'C'
using a = with<nano::e, slot::kv<kv::window<0>>>; // 0 -> 1, says: positive
C
wrong error_elsewhere "the first error is not at" <<'C'
using a = with<nano::e, slot::kv<kv::window<8>>>; // 8 -> 0
using b = with<nano::e, slot::kv<kv::window<9>>>; // says: positive
C
wrong reason_not_named "is not named" <<'C'
using a = with<nano::e, slot::kv<kv::window<8>>>; // 8 -> 0, says: slot::kv<kv::window<0>>>
C
wrong too_long "3 are allowed" <<'C'
// at most 3 lines
using a = with<nano::e, slot::kv<kv::window<8>>>; // 8 -> 0, says: positive<Window>' .with
C

# Where the longest message of the files that match (or, with -v, do not) gets to its reason.
longest() { cat build/must_not_compile/must_not_compile/*.lines | grep "$@" | sort -rn | sed -n '1s|^\([0-9]*\) \([^ ]*\) .*/|\1 (\2, |; 1s|$|)|p'; }
echo "$snippets snippets with their twins, g++ and clang++; the reason stands at the latest on line, of $columns columns:"
echo "  $(longest -v /compose-), and of compose<> with its 28 parts $(longest /compose-)"
