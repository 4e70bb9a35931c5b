# Compares the code of two object files, given as `objdump -dr --no-show-raw-insn` of files compiled with -ffunction-sections, from the
# functions named in `roots` on. Two functions are the same if their instructions are, one by one, and if whatever they refer to is the same:
# by name, or as functions that are in turn the same, or as data that stand for each other throughout. Addresses and names do not matter
# otherwise. Prints the first difference and exits with 1 (2: there is no such function), or prints how much was compared.

/^Disassembly of section / { section = substr($4, 1, length($4) - 1); next }
/file format/ { ++file; next }
/^[0-9a-f]+ <.*>:$/ { next }
NF == 0 || section == "" { next }
{
    key = file SUBSEP section
    line = $0
    if (line ~ /^\t\t\t[0-9a-f]+: R_X86_64_/) { # a reference, belongs to the instruction before it
        sub(/^\t+[0-9a-f]+: /, "", line)
        sub(/^R_X86_64_PLT32/, "R_X86_64_PC32", line) # whether the linker may go through a table says nothing of the code
        split(line, part, /[ \t]+/)
        if (text[key, count[key]] ~ /^(bnd )?(j|call)/) sub(/<.*/, "", text[key, count[key]]) # where it leads the linker fills in
        text[key, count[key]] = text[key, count[key]] " {" part[1] "}"
        refers[key, count[key]] = refers[key, count[key]] " " part[2]
        next
    }
    if (!sub(/^ *[0-9a-f]+:\t/, "", line)) next
    sub(/ *#.*$/, "", line)                      # the address that objdump works out
    sub(/[ \t]+$/, "", line)
    if (line ~ /^(bnd )?(j|call)/) sub(/[0-9a-f]+ <[^+>]*(\+0x0)?/, "<", line) # inside a function: the offset alone, which follows
    text[key, ++count[key]] = line
}

# The section of code a symbol (or section) names, or "".
function code(f, name) {
    if ((f, name) in count) return name
    if ((f, ".text." name) in count) return ".text." name
    return ""
}

# Whether reference a of the first file may stand for b of the second.
function matches(a, b,    at, bt, ao, bo) {
    ao = bo = ""
    if (match(a, /[+-]0x[0-9a-f]+$/)) { ao = substr(a, RSTART); a = substr(a, 1, RSTART - 1) }
    if (match(b, /[+-]0x[0-9a-f]+$/)) { bo = substr(b, RSTART); b = substr(b, 1, RSTART - 1) }
    at = code(1, a)
    bt = code(2, b)
    if ((at == "") != (bt == "")) return 0
    if (at != "") {
        if (ao != bo) return 0
        if (!(at in partner)) {
            if (bt in owner) return 0
            partner[at] = bt; owner[bt] = at
            todo[++last] = at
        }
        return partner[at] == bt
    }
    if (a == b && a !~ /^\.(rodata|data|bss|tbss|LC)/) return ao == bo
    a = a ao; b = b bo
    if (!(a in partner)) {
        if (b in owner) return 0
        partner[a] = b; owner[b] = a
    }
    return partner[a] == b
}

function differ(why) { print why; failed = 1; exit 1 }

END {
    if (failed) exit 1
    n = split(roots, root, " ")
    for (i = 1; i <= n; ++i) {
        if (code(1, root[i]) == "" || code(2, root[i]) == "") { print "no function " root[i]; exit 2 }
        matches(root[i], root[i])
    }
    for (next_ = 1; next_ <= last; ++next_) {
        a = 1 SUBSEP todo[next_]
        b = 2 SUBSEP partner[todo[next_]]
        name = substr(todo[next_], 7)
        for (i = 1; i <= count[a] || i <= count[b]; ++i) {
            ++compared
            if (text[a, i] != text[b, i]) differ(sprintf("%s\n  instruction %d: %s | %s", name, i, text[a, i], text[b, i]))
            m = split(refers[a, i], x, " ")
            if (m != split(refers[b, i], y, " ")) differ(name ": references")
            for (j = 1; j <= m; ++j) {
                if (!matches(x[j], y[j])) differ(sprintf("%s\n  instruction %d: %s\n  refers to %s | %s", name, i, text[a, i], x[j], y[j]))
            }
        }
    }
    printf "%d functions, %d instructions\n", last, compared
}
