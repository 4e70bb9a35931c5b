# What both commands need: packages, a build. Sourced, not run.
set -eu
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

# Packages of Debian 12 and Ubuntu 24.04. Only what is missing is installed.
install_missing() {
    step "Looking for packages"
    missing=""
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        echo "all there"
        return
    fi
    echo "installing:$missing"
    root=""
    [ "$(id -u)" -eq 0 ] || root="sudo"
    $root apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -q --no-install-recommends $missing
}

packages="g++ cmake ninja-build ccache libxtensor-dev libxsimd-dev libcli11-dev nlohmann-json3-dev libfmt-dev"
test_packages="catch2"

# clang with what its sanitizers and fuzzer link, a package of its own for each version.
install_clang_runtime() {
    install_missing clang
    install_missing "libclang-rt-$(clang++ -dumpversion | cut -d. -f1)-dev"
}

# The flags are made anew from the processor at every configure; a build folder of another machine is rebuilt, not reused.
configure() {
    step "Configuring $1"
    preset="$1"
    shift
    cmake --preset "$preset" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache "$@"
}
