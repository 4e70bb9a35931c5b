#!/bin/sh
# What compiling costs: composing alone, and 64 models that each differ from E2B in two slots, in one file. Fails above the limits
# below. Seconds are the compiler's own (user CPU); limits are in yardsticks, the time that the same compiler takes for a file with the
# standard library's regular expressions before and after, so that neither a slow machine nor a busy one fails the check. With --write it
# also measures all headers, 1 and 16 models and variants through lab::ablate, and writes docs/compile_time.md.
set -eu
cd "$(dirname "$0")/.."
. scripts/checks.sh
most_yardsticks=8 most_megabytes=800 most_yardsticks_composition=0.5
flags="-std=c++20 -O2 -march=x86-64-v3 -Iinclude"
write=""
[ "${1:-}" != --write ] || write=yes
make_work
fail() { echo "check_compile_budget.sh: $*" >&2; exit 1; }
[ -x /usr/bin/time ] || fail "expected /usr/bin/time (package time), found none"

# Exchanges that ablations are made of; T: the code of a layer changes, N: only numbers do. A variant is a pair of them.
exchanges='N rope_full<rope::none>
T mask_sliding<mask::sliding<256>>
T kv<kv::sink_window<4, 1020>>
N score_scale<scale::times<std::ratio<1, 2>>>
T activation<activation::silu>
T prune<prune::received_attention<std::ratio<1, 4>>>
N layer_scalar<layer_scalar::one>
T v_norm<norm::none>
T final_softcap<softcap::none>
N rope_sliding<rope::stretched<rope::standard, std::ratio<2>>>
T per_layer_input<per_layer_input::context_only>
T probe<mean_of_residual>'

# generate COUNT TAIL: a file with v0 … v<COUNT−1> and, from them, what TAIL (decoder, lab or kinds) makes of the list.
generate() {
    echo "$exchanges" | awk -v count="$1" -v tail="$2" '
        { kind[NR - 1] = $1; sub(/^. /, ""); what[NR - 1] = $0 }
        END {
            print tail == "lab" ? "#include <loupe/loupe.hpp>" : "#include <loupe/model/decoder.hpp>\n#include <loupe/model/gemma4.hpp>"
            print "#include <ratio>\n\nusing namespace loupe;\n"
            print "struct mean_of_residual {\n    template <class Place>\n    static constexpr bool watches = std::same_as<Place, at::residual>;"
            print "    double sum = 0;\n    index_t values = 0;\n    void operator()(at::residual, index_t, index_t, matrix_view<float> x) {"
            print "        for (index_t t = 0; t < x.rows; ++t, values += x.width) {\n            for (const float v : x[t]) sum += v;\n        }\n    }\n};\n"
            # Neighbours first, so that the first few pairs have all exchanges among them.
            for (apart = 1; made < count && apart < NR; ++apart) {
                for (i = 0; made < count && i < (2 * apart == NR ? apart : NR); ++i) {
                    j = (i + apart) % NR
                    printf "using v%d = with<gemma4::e2b, slot::%s, slot::%s>;\n", made, what[i], what[j]
                    list = list (made++ ? ", " : "") "v" made - 1
                    t = (kind[i] == "T" ? i : "") "," (kind[j] == "T" ? j : "")
                    if (kind[i] != "T" || kind[j] != "T") gsub(/,/, "", t)
                    if (!(t in stacks)) { stacks[t]; ++distinct }
                }
            }
            if (tail == "lab") {
                printf "\nlab::report run(const io::checkpoint& file, const lab::corpus& text) {\n    return lab::ablate<gemma4::e2b, %s>(file, &text);\n}\n", list
            } else if (tail == "decoder") {
                print "\nusing weights_ptr = std::shared_ptr<const decoder_weights>;\n"
                print "template <class M>\nvoid run(const dimensions& sizes, const weights_ptr& weights, std::span<const token_id> ids, runtime& on, matrix_view<float> logits) {"
                print "    const decoder<M> model(sizes, weights);\n    auto sequence = model.start();\n    model.logits(sequence, model.forward(sequence, ids, on), on, logits);\n}\n"
                print "template <class... Ms>\nvoid run_all(const dimensions& sizes, const weights_ptr& weights, std::span<const token_id> ids, runtime& on, matrix_view<float> logits) {"
                print "    (run<Ms>(sizes, weights, ids, on, logits), ...);\n}\n"
                printf "template void run_all<%s>(const dimensions&, const weights_ptr&, std::span<const token_id>, runtime&, matrix_view<float>);\n", list
            } else { # how many of the variants have a stack of their own
                print "\ntemplate <class>\nconstexpr int tag = 0;\ntemplate <class... Ms>\nconstexpr int distinct() {"
                print "    const void* const of[] = {&tag<stack_of<Ms>>...};\n    int n = 0;"
                print "    for (const auto& a : of) {\n        bool first = true;\n        for (const auto* b = of; b != &a; ++b) first = first && *b != a;\n        n += first;\n    }\n    return n;\n}"
                printf "static_assert(distinct<%s>() == %d);\n// distinct %d\n", list, distinct, distinct
            }
        }'
}

# measure COMPILER NAME LABEL: compiles $work/NAME.cpp, keeps a line "compiler|label|seconds|wall|megabytes|kilobytes" and prints it.
: >"$work/table"
measure() {
    # shellcheck disable=SC2086
    /usr/bin/time -o "$work/time-$1" -f "%U %e %M" "$1" $flags -c "$work/$2.cpp" -o "$work/$2-$1.o" || fail "$1: $3 does not compile"
    read -r seconds wall kilobytes <"$work/time-$1"
    echo "$1|$3|$seconds|$wall|$((kilobytes / 1024))|$(($(wc -c <"$work/$2-$1.o") / 1024))" >>"$work/table"
    printf '%-8s %-34s %6s s %5s MB  object %5s KB\n' "$1" "$3" "$seconds" "$((kilobytes / 1024))" "$(($(wc -c <"$work/$2-$1.o") / 1024))"
}

# within COMPILER LABEL YARDSTICKS MEGABYTES: the limits of one line of the table, and how far it is from them.
within() {
    awk -F'|' -v c="$1" -v label="$2" -v y="$3" -v m="$4" '
        $1 == c && $2 == "yardstick" { yardstick += $3 / 2 } # measured twice
        $1 == c && $2 == label { seconds = $3; megabytes = $5 }
        END {
            if (seconds == "" || !yardstick) { printf "check_compile_budget.sh: %s: %s: was not measured\n", c, label; exit 1 }
            found = sprintf("%.2f yardsticks of %.2f s and %s MB", seconds / yardstick, yardstick, megabytes)
            if (seconds <= y * yardstick && megabytes <= m) {
                printf "%-8s %-34s %s; limit: %s and %s MB\n", c, label, found, y, m
                exit
            }
            printf "check_compile_budget.sh: %s: %s: expected at most %s yardsticks and %s MB, found %s\n", c, label, y, m, found
            exit 1
        }' "$work/table"
}

echo '#include <loupe/loupe.hpp>' >"$work/all.cpp"
printf '#include <loupe/model/%s.hpp>\n' gemma3 gemma4 nano >"$work/composition.cpp"
generate 64 kinds >"$work/kinds.cpp"
# shellcheck disable=SC2086
g++ $flags -fsyntax-only "$work/kinds.cpp" || fail "expected as many stacks as the exchanges say"
distinct=$(sed -n 's/^.. distinct //p' "$work/kinds.cpp")
for n in 1 16 64; do generate $n decoder >"$work/variants_$n.cpp"; done
cat >"$work/yardstick.cpp" <<'C'
#include <regex>
#include <string>
bool match(const std::string& text, const std::string& pattern) {
    std::smatch found;
    return std::regex_search(text, found, std::regex(pattern)) && std::regex_match(text, std::regex(pattern));
}
C

# hold COMPILER: the lines with limits, and to write the page those between
hold() {
    measure "$1" yardstick yardstick
    measure "$1" composition "composition headers"
    if [ -n "$write" ]; then
        measure "$1" all "loupe/loupe.hpp"
        measure "$1" variants_1 "1 variant"
        measure "$1" variants_16 "16 variants"
    fi
    measure "$1" variants_64 "64 variants"
    measure "$1" yardstick yardstick
    within "$1" "composition headers" $most_yardsticks_composition $most_megabytes
    within "$1" "64 variants" $most_yardsticks $most_megabytes
}
(hold g++) >"$work/said-g++" &
first=$!
(hold clang++) >"$work/said-clang++" &
failed=0
wait $! || failed=1
wait $first || failed=1
cat "$work/said-g++" "$work/said-clang++"
[ $failed = 0 ] || exit 1
echo "64 variants have $distinct stacks of their own; limits: $most_yardsticks yardsticks and $most_megabytes MB, composition headers $most_yardsticks_composition yardsticks"
[ -n "$write" ] || exit 0

(
    exchanges=$(echo "$exchanges" | sed 's/^N rope_full.*/T mask_full<mask::sliding<>>/; s/^N score_scale.*/T q_norm<norm::none>/
        s/^N layer_scalar.*/T k_norm<norm::none>/; s/^N rope_sliding.*/T post_norms<norm::none>/')
    generate 64 decoder >"$work/own_stacks.cpp"
    generate 64 kinds >"$work/kinds.cpp"
)
# shellcheck disable=SC2086
grep -q "distinct 64" "$work/kinds.cpp" && g++ $flags -fsyntax-only "$work/kinds.cpp" || fail "expected 64 stacks"
for compiler in g++ clang++; do measure $compiler own_stacks "64 variants, 64 stacks"; done
for n in 1 64; do
    generate $n lab >"$work/ablate_$n.cpp"
    for compiler in g++ clang++; do measure $compiler ablate_$n "lab::ablate, $n variant$([ $n = 1 ] || echo s)"; done
done
{
    cat <<'C'
# What compiling costs

One file, one compiler, `-O2`. Written by `scripts/check_compile_budget.sh --write`; without `--write` the script measures the lines with a
limit on every commit and fails above them.

C
    printf '%s, %s, %s. Commit %s.\n' "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)" \
        "$(g++ --version | head -n 1 | sed 's/ (.*) / /')" "$(clang++ --version | head -n 1 | sed 's/.*clang version \([0-9.]*\).*/clang++ \1/')" "$(git rev-parse --short HEAD)"
    printf 'Flags: `%s`. Seconds are user CPU time, memory is the peak. A yardstick is what the
same compiler takes for a file with the standard library'"'"'s regular expressions beside: limits in yardsticks hold on any machine.\n' "$(echo "$flags" | sed 's/ -Iinclude//')"
    for compiler in g++ clang++; do
        printf '\n## %s\n\n| file | seconds | | MB | object, KB | limit |\n|---|---:|---|---:|---:|---|\n' "$compiler"
        awk -F'|' -v c="$compiler" -v y=$most_yardsticks -v m=$most_megabytes -v h=$most_yardsticks_composition '
            function bar(seconds,    text, i) { for (i = 0.25; i <= seconds; i += 0.5) text = text "▇"; return text }
            $1 == c && !($2 == "yardstick" && again++) {
                limit = $2 == "64 variants" ? y " yardsticks, " m " MB" : $2 == "composition headers" ? h " yardsticks" : ""
                printf "| %s | %.1f | `%s` | %d | %d | %s |\n", $2, $3, bar($3), $5, $6, limit
            }' "$work/table"
    done
    cat <<'C'

One ▇ is half a second.

* *composition headers*: `model/gemma3.hpp`, `gemma4.hpp` and `nano.hpp`, all that composing and comparing models needs.
* *variants*: models made of `gemma4::e2b` by exchanging two slots, each run as `decoder<M>(sizes, weights)`, `start`, `forward`, `logits`. The 64
  are the pairs (but two) of these twelve exchanges, the first sixteen pairs hold every one of them:

C
    echo "$exchanges" | sed 's/^\(.\) \(.*\)/  `slot::\2`\1/; s/T$/,/; s/N$/ (a number only),/; $ s/,$/./'
    cat <<C

  So $distinct of the 64 have a stack of their own; the others differ from one of these in numbers alone and share its code.
* *64 stacks*: the four numbers replaced by \`slot::mask_full<mask::sliding<>>\`, \`slot::q_norm<norm::none>\`, \`slot::k_norm<norm::none>\` and
  \`slot::post_norms<norm::none>\`: no two variants share a stack, only layers.
* *lab::ablate*: the same variants through \`lab::ablate<gemma4::e2b, …>\`, with everything that it takes to open files, measure and report.

## Why it is not more

* A model has at most four kinds of block, whatever its depth, and every layer is a template of the parts that it computes with and of nothing
  else. Attention between the projections is apart from them: variants that differ in a norm share it.
* A probe reaches a layer's type only if it watches a place in that layer.
* What a composition says in numbers (ropes, scales, who shares keys with whom, caches, budgets) is a table of numbers and functions
  (\`composition_numbers\`); checks, plan and forward pass work on the table and are compiled once (per type of probe), not for every composition.
* Composing includes no kernels, no xsimd and no JSON; xtensor is included by the reference decoder alone.
C
} >docs/compile_time.md
echo "wrote docs/compile_time.md"
