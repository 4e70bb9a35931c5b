#!/bin/sh
# Every header compiles on its own, with clang++ and all warnings. Two at a time.
set -eu
cd "$(dirname "$0")/.."
find include -name '*.hpp' ! -path '*/compat/catch2.hpp' -print | sort | xargs -P "$(nproc)" -I{} sh -c '
    echo "#include \"$1\"" | clang++ -x c++ -std=c++20 -march=x86-64-v3 -fsyntax-only -Iinclude -Wall -Wextra -Wpedantic -Wconversion \
        -Wno-sign-conversion -Werror - || { echo "does not compile alone: $1"; exit 255; }' sh {}
echo "$(find include -name '*.hpp' | wc -l) headers compile alone"
