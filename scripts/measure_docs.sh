#!/bin/sh
# Measures anew what docs/data holds: every ablation of nano-e and nano-a on the 400 stories, those of build/loupe and those that only
# examples/measure_swaps.cpp has. About ten minutes on two cores; needs a build in build/, and jq.
set -eu
cd "$(dirname "$0")/.."
cmake --build build --target loupe_program measure_swaps
commit=$(git rev-parse --short HEAD)
text=examples/data/text/stories
for model in nano-e nano-a; do
    names=$(build/loupe variants examples/data/models/$model | grep -v '(not for this model)' | sed -n 's/^  \([^ ]*\) .*/\1/p' | grep -v '^stock$' | paste -sd,)
    build/loupe ablate examples/data/models/$model --text $text.txt --tasks $text.jsonl --variants "$names" --json build/$model.json >/dev/null
    build/examples/measure_swaps examples/data/models/$model $text.txt > build/$model-swaps.json
    # speeds say nothing about the model; the stock model stands in both
    jq -s --arg commit "$commit" '.[0] + (.[1] | del(.stock)) + {_about: (.[0]._about + {commit: $commit})} |
        del(.[].tokens_per_second?, ._about.seconds)' build/$model.json build/$model-swaps.json > docs/data/$model.json
done
