#!/bin/sh
# fuzz_long.sh EXECUTIONS [TARGET...]: runs targets (all without names) one after the other for many executions, each time with other
# inputs. What they learn stays in build-fuzz/corpus. Goes on after a finding and fails at the end.
. "$(dirname "$0")/fuzz.sh"
[ $# -gt 0 ] || { echo "usage: $0 EXECUTIONS [TARGET...]" >&2 && exit 1; }
executions="$1"
shift
for name in "$@"; do
    grep -q "^$name " tests/fuzz/targets || { echo "$0: expected a target of tests/fuzz/targets, found $name" >&2 && exit 1; }
done
build_fuzz
failed=0
while read -r name longest _; do
    case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
    run_target "$name" "$longest" "$executions" 0 $build/corpus/"$name" || failed=1
done <tests/fuzz/targets
exit $failed
