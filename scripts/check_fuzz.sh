#!/bin/sh
# Builds the fuzz targets and runs each for a moment, always with the same inputs. Any finding fails, and so does a run that is too short.
. "$(dirname "$0")/fuzz.sh"
build_fuzz
while read -r name longest runs; do
    run_target "$name" "$longest" "$runs" 1
done <tests/fuzz/targets
