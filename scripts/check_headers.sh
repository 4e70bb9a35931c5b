#!/bin/sh
# Every header compiles on its own, with clang++ and all warnings, and so do the benchmarks, which nobody else builds on every commit. So as not to read the standard library anew for each, some are precompiled
# (each of them alone) and serve the others: a header is compiled on top of one that it includes itself, where it sees nothing that it would
# not see anyway.
set -eu
cd "$(dirname "$0")/.."
work=build/headers
rm -rf "$work"
mkdir -p "$work"

# The costliest first: a header takes the first of these that it includes, directly or not. The list bears on the time, not on the result.
precompiled="loupe/io/vocabulary.hpp loupe/ref/matrix.hpp loupe/kernel/matmul.hpp loupe/io/mapped_file.hpp loupe/model/slots.hpp
    loupe/core/compat/xsimd.hpp"

# Lines "header options..." become compiler runs, two at a time.
compile() {
    xargs -P "$(nproc)" -L 1 sh -c '
        header="$1"
        shift
        echo "#include <$header>" | clang++ -x c++-header -std=c++20 -march=x86-64-v3 -Iinclude -Wall -Wextra -Wpedantic -Wconversion \
            -Wno-sign-conversion -Werror "$@" - || { echo "does not compile alone: $header" >&2; exit 255; }' sh
}

find include -name '*.hpp' | sort | xargs awk -v work="$work" -v names="$precompiled" '
    FNR == 1 { header = substr(FILENAME, length("include/") + 1); headers[++count] = header; conditional = 0 }
    /^#if/ { ++conditional }
    /^#endif/ { --conditional }
    /^#include <loupe\// && !conditional { gsub(/[<>]/, "", $2); includes[header] = includes[header] " " $2 }
    function file(header) { gsub("/", "_", header); return work "/" header ".pch" }
    function reaches(from, to,    names, n, i) {
        n = split(includes[from], names, " ")
        for (i = 1; i <= n; ++i) if (names[i] == to || reaches(names[i], to)) return 1
        return 0
    }
    END {
        n = split(names, bases, " ")
        for (i = 1; i <= n; ++i) { base[bases[i]]; print bases[i], "-fpch-instantiate-templates -o", file(bases[i]) > (work "/first") }
        for (k = 1; k <= count; ++k) {
            if (headers[k] in base) continue
            for (i = 1; i <= n && !reaches(headers[k], bases[i]);) ++i
            print headers[k], "-fsyntax-only" (i <= n ? " -include-pch " file(bases[i]) : "") > (work "/then")
        }
    }'
compile <"$work/first"
compile <"$work/then"
echo "$(cat "$work/first" "$work/then" | wc -l) headers compile alone"
rm -rf "$work"

printf '%s\n' bench/*.cpp | xargs -P "$(nproc)" -I @ clang++ -std=c++20 -march=x86-64-v3 -Iinclude -Wall -Wextra -Wpedantic -Wconversion \
    -Wno-sign-conversion -Werror -fsyntax-only @
echo "the benchmarks compile: $(echo bench/*.cpp)"
