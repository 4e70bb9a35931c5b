#!/usr/bin/env python3
"""Prints what the programs of bench/ have measured as tables of docs/performance.md, in Markdown:

    loupe_bench_kernels --benchmark_repetitions=3 --benchmark_out=kernels.json --benchmark_out_format=json
    bench_tables.py kernels.json

Of loupe_bench_kernels: a row for each format and arithmetic, one table for each matrix, then attention and the kernels of one row. Of
loupe_bench_peers: a row for each size, ours beside every library, with the ratio of times. Of repetitions the median.
Exit codes: 0 done; 1 bad input; 2 wrong usage.
"""
import json
import statistics
import sys


class BadInput(Exception):
    pass


def read(path):
    """The context, and for every benchmark its parts, its sizes and its median counters and time: (["matmul", "Q4_K", "e2b…"], {...}, {...})."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        context, benchmarks = found["context"], found["benchmarks"]
    except (OSError, ValueError, KeyError, TypeError) as why:
        raise BadInput(f"expected JSON of loupe_bench_kernels or loupe_bench_peers, found {path}: {why}") from None
    runs, medians = {}, {}
    for run in benchmarks:
        if run.get("error_occurred"):
            continue
        if run.get("run_type") == "aggregate":
            if run.get("aggregate_name") == "median":
                medians[run["run_name"]] = run
        else:
            runs.setdefault(run["run_name"], []).append(run)
    for name, of in runs.items():
        if name not in medians:
            numbers = [key for key, value in of[0].items() if isinstance(value, (int, float))]
            medians[name] = {**of[0], **{key: statistics.median(run[key] for run in of) for key in numbers}}
    points = []
    for name, run in medians.items():
        parts = [part for part in name.split("/") if part != "real_time"]
        sizes = {key: int(value) for key, value in (part.split(":") for part in parts if ":" in part)}
        points.append(([part for part in parts if ":" not in part], sizes, run))
    if not points:
        raise BadInput(f"{path}: expected benchmarks, found none")
    if any("of float roof" in run for _, _, run in points):
        raise BadInput(f"{path}: expected benchmarks of loupe_bench_kernels or loupe_bench_peers, found those of loupe_bench_ladders, which are for "
                       "ladder_pictures.py")
    return context, points


def number(value):
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def share(run):
    return f"{100 * run['of roof']:.0f} %"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def products(points):
    found = {}
    for parts, sizes, run in points:
        if parts[0] in ("matmul", "packed_matmul"):
            found.setdefault(parts[2], {}).setdefault((parts[1], parts[0]), {})[sizes["tokens"], sizes["threads"]] = run
    for matrix, rows in found.items():
        threads = sorted({key[1] for of in rows.values() for key in of})
        head = ["format", "weights"]
        for tokens, unit in ((512, "GFLOP/s"), (1, "GB/s")):
            for t in threads:
                head += [f"{tokens} token{'s' if tokens > 1 else ''}, {t} thread{'s' if t > 1 else ''}: {unit}", "of roof"]
        lines = []
        for (name, kernel), of in rows.items():
            line = [name, "packed" if kernel == "packed_matmul" else "decoded"]
            for tokens, unit in ((512, "GFLOP/s"), (1, "GB/s")):
                for t in threads:
                    run = of.get((tokens, t))
                    line += [number(run[unit]), share(run)] if run else ["", ""]
            lines.append(line)
        print(f"{matrix}\n")
        table(head, lines)


def attention(points):
    lines = [[parts[1], *(str(sizes[key]) for key in ("tokens", "depth", "threads")), number(run["GFLOP/s"]), number(run["GB/s"]), share(run)]
             for parts, sizes, run in points if parts[0] == "attention"]
    if lines:
        table(["attention", "tokens", "depth", "threads", "GFLOP/s", "GB/s", "of roof"], lines)


def rows(points):
    others = [(parts, run) for parts, _, run in points if parts[0] not in ("matmul", "packed_matmul", "attention")]
    if others:
        table(["kernel", "µs", "GFLOP/s", "GB/s"],
              [[" ".join(parts), number(run["real_time"]), number(run["GFLOP/s"]), number(run["GB/s"])] for parts, run in others])


def peers(points):
    found = {}
    for parts, sizes, run in points:
        found.setdefault((parts[0], parts[2], sizes.get("threads", 1)), {})[parts[1]] = run
    libraries = [name for name in dict.fromkeys(parts[1] for parts, _, _ in points) if name != "ours"]
    lines = []
    for (kernel, of, threads), by in found.items():
        line = [kernel, of, str(threads), f"{number(by['ours']['real_time'])}" if "ours" in by else ""]
        for name in libraries:
            known = name in by and "ours" in by
            line += [number(by[name]["real_time"]), f"{by[name]['real_time'] / by['ours']['real_time']:.2f}"] if known else ["", ""]
        lines.append(line)
    head = ["kernel", "size", "threads", "ours, µs"]
    for name in libraries:
        head += [f"{name}, µs", "ratio"]
    table(head, lines)


def main(arguments):
    if len(arguments) != 2 or arguments[1].startswith("-"):
        print("usage: bench_tables.py KERNELS_OR_PEERS.json", file=sys.stderr)
        return 2
    try:
        context, points = read(arguments[1])
        print(f"{context.get('machine', 'unknown machine')}, {str(context.get('date', ''))[:10]}. " +
              "; ".join(f"{key}: {value}" for key, value in context.items() if key.startswith("roof") or key in ("OpenBLAS", "Eigen", "xtensor")) + "\n")
        if any("ours" in parts for parts, _, _ in points):
            peers(points)
        else:
            products(points)
            attention(points)
            rows(points)
    except BadInput as why:
        print(f"bench_tables.py: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
