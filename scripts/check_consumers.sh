#!/bin/sh
# Small projects outside the library, one for each way to get at it, with g++ and clang++, in C++20 and C++23: built, run, their output compared.
# Arguments name some of the ways, if not all are wanted.
set -eu
cd "$(dirname "$0")/.."
. scripts/checks.sh
work="$PWD/build/consumers"
prefix="$work/prefix"
ways="${*:-add_subdirectory fetch_content vendored find_package pkg_config one_header}"
warnings="-Wall -Wextra -Wpedantic -Werror"
rm -rf "$work"
mkdir -p "$work"

# Two ways may come to the same command.
ccache=$(command -v ccache || true)

# Silent unless the command fails.
quiet() {
    "$@" >"$work/log.$compiler" 2>&1 || { cat "$work/log.$compiler" >&2; return 1; }
}

# A program prints what it should, whichever way it was built.
prints_expected() {
    "$1" >"$work/output.$compiler" && diff tests/consumers/expected.txt "$work/output.$compiler" >&2
}

with_cmake() {
    quiet cmake -S "tests/consumers/$way" -B "$work/$way-$compiler" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
        -DCMAKE_CXX_COMPILER_LAUNCHER="$ccache" -DCMAKE_CXX_STANDARD="$standard" -DCMAKE_CXX_EXTENSIONS=OFF \
        -DCMAKE_CXX_FLAGS="$warnings" -DLOUPE_SOURCE="$PWD" -DCMAKE_PREFIX_PATH="$prefix" &&
        quiet cmake --build "$work/$way-$compiler" -j 1 &&
        prints_expected "$work/$way-$compiler/consumer"
}

with_pkg_config() {
    # shellcheck disable=SC2046,SC2086
    quiet "$compiler" -std="c++$dialect" $warnings tests/consumers/main.cpp $(pkg-config --cflags --libs loupe) -o "$work/pkg_config-$compiler" &&
        prints_expected "$work/pkg_config-$compiler"
}

# The one header, and a second unit that includes the many.
with_one_header() {
    second="$work/second_unit-$compiler.o"
    # shellcheck disable=SC2086
    { [ -e "$second" ] || quiet "$compiler" -std="c++$dialect" $warnings -Iinclude -c tests/consumers/second_unit.cpp -o "$second"; } &&
        quiet "$compiler" -std="c++$dialect" $warnings -DONE_HEADER -I"$work" tests/consumers/main.cpp "$second" -lfmt -pthread \
            -o "$work/one_header-$compiler" &&
        prints_expected "$work/one_header-$compiler"
}

all_ways() {
    for standard in 20 23; do
        dialect="$standard"
        [ "$standard" = 20 ] || dialect=2b
        for way in $ways; do
            case "$way" in
            pkg_config | one_header) "with_$way" ;;
            *) with_cmake ;;
            esac || { echo "consumers: $way, $compiler, C++$standard: does not build, or prints something else" >&2; return 1; }
        done
    done
}

# The build folder of the library's own programs has no part in this: nothing but headers is installed.
compiler=install
quiet cmake -S . -B "$work/library" -G Ninja -DLOUPE_BUILD_EXAMPLES=OFF -DLOUPE_BUILD_TESTS=OFF
quiet cmake --install "$work/library" --prefix "$prefix"
diff -r include/loupe "$prefix/include/loupe" >&2 || { echo "consumers: what is installed is not what is in include/" >&2; exit 1; }
export PKG_CONFIG_PATH="$prefix/share/pkgconfig"
pkg-config --print-errors --exists loupe
sh scripts/amalgamate.sh "$work/loupe_all.hpp"

# A project installs what is its own. If it asks for loupe beside, with a dependency that is no package, installing fails and says so.
cmake_vendored() { quiet cmake -S tests/consumers/vendored -B "$work/vendored" -G Ninja -DLOUPE_SOURCE="$PWD" "$@"; }
cmake_vendored
quiet cmake --install "$work/vendored" --prefix "$work/own"
found=$(cd "$work/own" && find . -type f)
[ "$found" = ./share/expected.txt ] || { echo "consumers: vendored: expected to install share/expected.txt, found $found" >&2; exit 1; }
cmake_vendored -DLOUPE_INSTALL=ON
if cmake --install "$work/vendored" --prefix "$work/both" >"$work/log.install" 2>&1 || ! grep -q 'are: nlohmann_json::nlohmann_json$' "$work/log.install"; then
    echo "consumers: vendored: expected an install that is refused because of nlohmann_json, found:" >&2
    cat "$work/log.install" >&2
    exit 1
fi

(compiler=g++ && all_ways) &
other=$!
failed=0
(compiler=clang++ && all_ways) || failed=1
wait "$other" || failed=1
[ "$failed" -eq 0 ] || exit 1
echo "consumers built and run, with g++ and clang++, in C++20 and C++23: $ways"
