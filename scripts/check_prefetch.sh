#!/bin/sh
# Whether the product of one token asks for its weights ahead in the machine code of Q5_K, the format that gains by it, and of no other
# format, where it costs, but of all where the machine has tiles: a compiler may drop a prefetch, which has no effect that it knows, and
# nothing but the clock would tell. g++ and clang++, for AVX-512 with and without tiles, and AVX2.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/products.cpp" <<'END'
#include <loupe/kernel/packed.hpp>
const loupe::kernel::packed_products* find(const loupe::format::info& f) { return loupe::kernel::products_for(f); }
END

for compiler in g++ clang++; do
    for machine in "-march=x86-64-v4 -mavx512vnni -mavx512bf16 -mgfni -mamx-tile -mamx-bf16" "-march=x86-64-v4 -mavx512vnni" "-march=x86-64-v3"; do
        # shellcheck disable=SC2086
        "$compiler" -std=c++20 -O2 $machine -Iinclude -c "$work/products.cpp" -o "$work/products.o"
        objdump -dC --no-show-raw-insn "$work/products.o" | LC_ALL=C awk -v who="$compiler $machine" '
            /^[0-9a-f]+ <.*>:$/ { # multiply<1, streams>, or the table entry that clang++ inlines it into
                format = ""
                if (/multiply<1, [0-9]+(, .*)?>\(|_products<.*lambda\(loupe::kernel::strip_streams/ && match($0, /format::[a-z0-9_]+/)) format = substr($0, RSTART + 8, RLENGTH - 8)
                if (format != "") found[format] += 0
            }
            format != "" && /prefetch/ { ++found[format] }
            END {
                for (format in found) {
                    ++formats
                    wanted = format == "q5_k" || who ~ /amx/
                    if ((found[format] > 0) != wanted) {
                        print "check_prefetch.sh: " who ": expected " (wanted ? "" : "no ") "prefetches in the product of one token with " format ", found " found[format]
                        bad = 1
                    }
                }
                if (formats < 17) { print "check_prefetch.sh: " who ": expected the products of all formats, found those of " formats + 0; bad = 1 }
                if (bad) exit 1
                print who ": of the products of " formats " formats, that of q5_k prefetches " found["q5_k"] " times"
            }'
    done
done
