#!/bin/sh
# Builds the fuzz program and runs each target for a moment, two at a time and always with the same inputs. Any finding fails, and so does
# a run that is too short.
. "$(dirname "$0")/fuzz.sh"
. scripts/checks.sh
build_fuzz
half() { # every other target; goes on after a finding
    awk "NR % 2 == $1" tests/fuzz/targets | {
        failed=0
        while read -r name longest runs; do
            run_target "$name" "$longest" "$runs" 1 || failed=1
        done
        exit $failed
    }
}
failed=0
half 0 &
half 1 || failed=1
wait $! || failed=1
exit $failed
