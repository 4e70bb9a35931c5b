# What checks need that run compilers side by side or make files. Sourced, not run, from the project's folder.

# Ctrl-C does not reach what a script runs in the background: it is ended here, and then the script, which clears up as always.
trap 'trap "" TERM; kill -TERM 0; wait; exit 1' HUP INT TERM

# A folder $work, gone at the end.
make_work() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
}
