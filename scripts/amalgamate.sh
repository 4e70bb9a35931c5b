#!/bin/sh
# The whole library as one header, for who would rather copy a file than install: amalgamate.sh [file], build/loupe_all.hpp if none is named.
# Every header stands once, before those that include it. Headers of other libraries stay includes; what is for tests only is left out.
set -eu
out="${1:-build/loupe_all.hpp}"
case "$out" in /*) ;; *) out="$PWD/$out" ;; esac
mkdir -p "$(dirname "$out")"
cd "$(dirname "$0")/../include"
{
    echo "// Loupe $(sed -n 's/^project(loupe VERSION \([0-9.]*\).*/\1/p' ../CMakeLists.txt) in one header, made by scripts/amalgamate.sh."
    echo "// It needs xtensor, xsimd, fmt and nlohmann/json; link fmt and threads."
    echo "// SPDX-License-Identifier: Apache-2.0"
    echo "#pragma once"
    # shellcheck disable=SC2046
    awk '
        function fail(why) {
            print "amalgamate: " why > "/dev/stderr"
            exit failed = 1
        }
        function put(header,    line, depth, text, found) {
            if (failed || header in done) return
            done[header]
            while ((found = (getline line < header)) > 0) {
                if (line ~ /^#if/) ++depth
                if (line ~ /^#endif/) --depth
                if (line ~ /^#pragma once/ || (line == "" && text ~ /\n\n$/)) continue
                if (line ~ /^#include <loupe\//) {
                    if (depth > 0) fail(header ": expected includes of loupe outside #if, found " line)
                    gsub(/^#include <|>.*$/, "", line)
                    put(line)
                } else if (!(line ~ /^#include/ && depth == 0 && seen[line]++))
                    text = text line "\n"
            }
            if (found < 0) fail("cannot read include/" header)
            close(header)
            printf "\n// ==== %s\n%s", header, text
        }
        BEGIN { for (i = 1; i < ARGC; ++i) put(ARGV[i]) }' loupe/loupe.hpp $(find loupe -name '*.hpp' ! -name catch2.hpp | sort)
} > "$out.part"
mv "$out.part" "$out"
