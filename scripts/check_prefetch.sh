#!/bin/sh
# Whether products of a few tokens ask for their weights ahead in the machine code where they gain by it, and nowhere else, where it costs:
# in formats of integers everywhere, in all formats on Intel's servers and Zen 5. A compiler may drop a prefetch, which has no effect that it knows,
# and nothing but the clock would tell. g++ and clang++, for AVX-512 with tiles, with half precision, as on Zen 5 and with none of these, and AVX2.
set -eu
cd "$(dirname "$0")/.."
. scripts/checks.sh
make_work
cat >"$work/products.cpp" <<'END'
#include <loupe/kernel/packed.hpp>
const loupe::kernel::packed_products* find(const loupe::format::info& f) { return loupe::kernel::products_for(f); }
END

# hold COMPILER
hold() {
    for machine in "-march=x86-64-v4 -mavx512vnni -mavx512bf16 -mgfni -mamx-tile -mamx-bf16" "-march=x86-64-v4 -mavx512vnni -mavx512bf16 -mavx512fp16" \
        "-march=x86-64-v4 -mavx512vnni -mavx512bf16 -mgfni -mavxvnni" "-march=x86-64-v4 -mavx512vnni" "-march=x86-64-v3"; do
        # shellcheck disable=SC2086
        "$1" -std=c++20 -O2 $machine -Iinclude -c "$work/products.cpp" -o "$work/products-$1.o" || return 1
        objdump -dC --no-show-raw-insn "$work/products-$1.o" | LC_ALL=C awk -v who="$1 $machine" '
            /^[0-9a-f]+ <.*>:$/ { # multiply_tokens<tokens> of integers, <tokens, streams, unit of activations> of floats
                product = ""
                if (/::multiply_tokens<[^<>]*>\(/ && match($0, /format::[a-z0-9_]+/)) {
                    product = substr($0, RSTART + 8, RLENGTH - 8)
                    match($0, /::multiply_tokens<[^<>]*>/)
                    product = product " " substr($0, RSTART + 17, RLENGTH - 17)
                    found[product] += 0
                }
            }
            product != "" && /prefetch/ { ++found[product] }
            END {
                for (product in found) {
                    split(product, of, " ")
                    if (of[2] ~ /^<1[,>]/) one[of[1]] = 1
                    wanted = who ~ /amx|fp16|avxvnni/ || of[1] !~ /^b?f[0-9]/
                    if ((found[product] > 0) != wanted) {
                        print "check_prefetch.sh: " who ": expected " (wanted ? "" : "no ") "prefetches in the product of " product ", found " found[product]
                        bad = 1
                    }
                }
                for (format in one) ++formats
                if (formats < 17) { print "check_prefetch.sh: " who ": expected the products of one token of all formats, found those of " formats + 0; bad = 1 }
                if (bad) exit 1
                print who ": of the products of " formats " formats, that of q5_k prefetches " found["q5_k <1>"] " times"
            }' || return 1
    done
}

failed=0
hold g++ >"$work/said" &
hold clang++ || failed=1
wait $! || failed=1
cat "$work/said"
exit $failed
