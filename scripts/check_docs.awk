# Prints a page of the docs as it should be; see check_docs.sh. Exit code 1 and a line on stderr where it cannot say.

function complain(line, text) { print page ":" line ": " text > "/dev/stderr"; bad = 1 }

function shown(text) { gsub(/'/, "'\\''", text); return "'" text "'" } # for the shell

# ---- code

# Prints the lines between the markers [name] and [/name] of a file, without their common indentation; the whole file without a name.
function cut(file, name,    line, state, indent, found, begin, end) {
    begin = "[" name "]"; end = "[/" name "]"
    state = name == "" ? 1 : 0
    while ((found = (getline line < file)) > 0) {
        if (name != "" && index(line, end) && line ~ /^ *(\/\/|#)/) { state = 2; break }
        if (state == 1) {
            if (indent == "" && match(line, /^ */)) indent = RLENGTH
            print substr(line, 1, indent) ~ /^ *$/ ? substr(line, indent + 1) : line
        }
        if (name != "" && index(line, begin) && line ~ /^ *(\/\/|#)/) state = 1
    }
    close(file)
    if (found < 0) complain(NR, "expected a file " file ", found none")
    else if (name != "" && state != 2) complain(NR, "expected lines between " begin " and " end " in " file ", found none")
    ++counted[1]
}

# ---- commands

function run(command, into,    code) {
    code = system("cd " shown(work "/here") " && ( " command "\n) > " shown(into) " 2> " shown(work "/stderr"))
    return code
}

# Replaces what differs from machine to machine.
function masked(line,    at, field) {
    if (line ~ /^machine  /) return "machine    …"
    if (line ~ /^took  /) return "took       … s on … threads"
    if (line ~ /^  tokens\/s  /) return "  tokens/s         …"
    if (line ~ / tok\/s /) speeds = 1 # the head of a table: from here to the next empty line the last figure but one is a speed
    else if (line == "") speeds = 0
    else if (speeds && match(line, /  *[0-9][0-9]*  *[0-9.]*$/)) {
        at = RSTART; field = substr(line, at)
        match(field, /^  *[0-9][0-9]*/)
        return substr(line, 1, at - 1) sprintf("%" (RLENGTH - 1) "s…", "") substr(field, RLENGTH + 1)
    }
    return line
}

function show_output(command,    line, file) {
    file = work "/stdout"
    if (run(command, file) != 0) {
        complain(NR, "expected this command to end with exit code 0, it did not: " command)
        system("tail -n 5 " shown(work "/stderr") " >&2")
    }
    speeds = 0
    while ((getline line < file) > 0) print masked(line)
    close(file)
    ++counted[2]
}

# ---- figures

function signed(value, decimals,    text) {
    text = sprintf("%." decimals "f", value)
    if (text ~ /^-[0.]*$/) text = substr(text, 2) # no minus before a zero
    sub(/^-/, "−", text)
    return text
}

function power_of_ten(exponent,    text, i, digit, result) {
    split("⁰ ¹ ² ³ ⁴ ⁵ ⁶ ⁷ ⁸ ⁹", digit, " ")
    text = sprintf("%d", exponent)
    for (i = 1; i <= length(text); ++i) result = result digit[substr(text, i, 1) + 1]
    return "10⁻" result
}

# 2 significant digits
function small(value,    exponent) {
    if (value == 0) return "0"
    if (value >= 9.95) return sprintf("%.0f", value)
    if (value >= 0.995) return sprintf("%.1f", value)
    if (value >= 0.0995) return sprintf("%.2f", value)
    if (value >= 0.00995) return sprintf("%.3f", value)
    if (value >= 0.000995) return sprintf("%.4f", value)
    for (exponent = 0; value < 0.995; ++exponent) value *= 10
    return sprintf("%.1f·", value) power_of_ten(exponent)
}

function plus(text) { return text ~ /^−/ || text ~ /^[0.]*$/ ? text : "+" text }

function change(value, low, high,    percent, decimals, text) {
    if (value >= 9) {
        decimals = value < 99 ? 1 : 0
        return "×" signed(1 + value, decimals) " [" signed(1 + low, decimals) ", " signed(1 + high, decimals) "]"
    }
    percent = 100 * value < 0 ? -100 * value : 100 * value
    decimals = percent < 0.995 ? 2 : percent < 9.95 ? 1 : 0
    text = signed(100 * value, decimals)
    return plus(text) " % [" signed(100 * low, decimals) ", " signed(100 * high, decimals) "]"
}

function figure(model, id, name,    key) {
    key = model SUBSEP id SUBSEP name
    if (!((model SUBSEP id) in known)) {
        complain(NR, "expected a variant of docs/data/" model ".json, found " id)
        return "?"
    }
    if (id == "stock" && (name == "Δ perplexity" || name == "KL" || name == "top-1" || name ~ / change$/)) return ""
    ++counted[4]
    if (name == "perplexity") return sprintf("%.3f", value[key])
    if (name == "Δ perplexity") return change(value[key], low[key], high[key])
    if (name == "KL") return small(value[key])
    if (name == "top-1") return sprintf("%.1f %%", 100 * value[key])
    if (name ~ / nats$/) return sprintf("%.3f", value[key])
    if (name ~ / change$/) return plus(signed(100 * value[key], 1)) " [" signed(100 * low[key], 1) ", " signed(100 * high[key], 1) "]"
    return sprintf("%.1f %%", 100 * value[key])
}

function trimmed(text) { gsub(/^ +| +$/, "", text); return text }

# A row of a table of figures; the first row names the columns.
function row(line,    cells, count, i, model, id, text) {
    count = split(line, cells, "|")
    if (table_line == 1) {
        for (i = 2; i < count; ++i) columns[i] = trimmed(cells[i])
    } else if (table_line > 2) {
        model = table_model
        for (i = 2; i < count; ++i) {
            if (columns[i] == "model") model = trimmed(cells[i])
            if (columns[i] == "variant") id = trimmed(cells[i])
        }
        gsub(/`/, "", id)
        for (i = 2; i < count; ++i) {
            if (!(columns[i] in names)) continue
            text = figure(model, id, columns[i])
            cells[i] = text == "" ? " " : " " text " "
        }
    }
    text = "|"
    for (i = 2; i < count; ++i) text = text cells[i] "|"
    print text
}

# ---- the page

BEGIN {
    FS = "\t"
    while ((getline < (work "/figures")) > 0) {
        known[$1, $2] = 1; names[$3] = 1
        value[$1, $2, $3] = $4; low[$1, $2, $3] = $5; high[$1, $2, $3] = $6
    }
    NR = 0
}

skipping { # the old content of a block that has been written anew
    if ($0 ~ /^```/) { skipping = 0; print }
    next
}

running {
    if ($0 ~ /^```/) {
        running = 0
        if (run(script, work "/stdout") != 0) {
            complain(from, "expected these commands to end with exit code 0, they did not")
            system("tail -n 5 " shown(work "/stderr") " >&2")
        }
    } else {
        script = script "\n" $0
        if ($0 !~ /^ *(#.*)?$/) ++counted[3]
    }
    print
    next
}

inside { # a block that stays as it is
    if ($0 ~ /^```/) inside = 0
    print
    next
}

/^```/ {
    print
    language = substr($0, 4)
    if (directive ~ /^from /) {
        source = substr(directive, 6); name = ""
        if (index(source, ": ")) { name = substr(source, index(source, ": ") + 2); source = substr(source, 1, index(source, ": ") - 1) }
        cut(source, name)
        skipping = 1
    } else if (directive ~ /^output of /) {
        show_output(substr(directive, 11))
        skipping = 1
    } else if (directive == "run" && language == "sh") {
        running = 1; script = "set -e"; from = NR
    } else {
        inside = 1
        if (language != "" && directive !~ /^not run: ./)
            complain(NR, "expected a line <!-- from, output of, run or not run --> in front of a block of " language ", found none")
        if (language == "cpp" && directive ~ /^not run/) complain(NR, "expected C++ that is cut from a compiled file, found some that is not")
    }
    directive = ""
    next
}

/^<!-- (from|output of|run|not run|figures)/ {
    print
    if (directive != "") complain(NR, "expected a block behind the line before, found another of these lines")
    directive = $0
    sub(/^<!-- /, "", directive); sub(/ -->$/, "", directive)
    next
}

/^\|/ && directive ~ /^figures/ {
    if (directive ~ /^figures of /) table_model = substr(directive, 12)
    ++table_line
    row($0)
    next
}

{
    if (directive != "" && (table_line > 0 || directive !~ /^figures/ || $0 != "")) {
        if (table_line == 0) complain(NR, "expected a block or a table behind <!-- " directive " -->, found none")
        directive = ""
    }
    table_line = 0
    print
}

END {
    if (skipping || running || inside) complain(NR, "expected the end of a block, found the end of the page")
    print counted[1] + 0, counted[2] + 0, counted[3] + 0, counted[4] + 0 >> (work "/counted")
    exit bad
}
