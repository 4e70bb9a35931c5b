#!/usr/bin/env python3
"""Draws what build-bench/bench/loupe_bench_kernels has measured as a roofline chart, one SVG that needs nothing else:

    loupe_bench_kernels --benchmark_out=kernels.json --benchmark_out_format=json
    roofline.py kernels.json roofline.svg

A point is a kernel on one thread with a format (or a size): operations per byte, every operand and result counted once, against operations
per second. Of products, those of 1 and 512 tokens with the first matrix are drawn. The roofs are those that the same process measured. Of
repetitions the median is drawn. Exit codes: 0 done; 1 bad input; 2 wrong usage.
"""
import json
import math
import re
import statistics
import sys
from html import escape

WIDTH, HEIGHT = 1480, 1000
LEFT, RIGHT, TOP, BOTTOM = 80, 1190, 84, 930  # the plot; the legend stands to the right of it
FONT, LINE = 11, 13  # labels: size, and height of a line
COLOURS = ["#1b6ca8", "#c8501e", "#2f7d32", "#7b3fa0", "#8a6d00", "#b0306a", "#00756f", "#555555"]
ROOFS = {"roof, reading, 1 thread": "GB/s", "roof, float, 1 thread": "GFLOP/s", "roof, int8, 1 thread": "GOP/s"}
TILES = "roof, tiles of BF16, 1 thread"  # of machines that have them


class BadInput(Exception):
    pass


def read(path):
    """The JSON's machine, roofs and points (kernel, kind, label, FLOP/byte, GFLOP/s), and the names without a place in the chart."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as why:
        raise BadInput(f"expected JSON of loupe_bench_kernels, found {path}: {why}") from None
    if not isinstance(found, dict) or not isinstance(found.get("benchmarks"), list):
        raise BadInput(f"{path}: expected an object with \"benchmarks\", found none")
    context = found.get("context", {})
    roofs = {}
    for name, unit in {**ROOFS, **({TILES: "GFLOP/s"} if TILES in context else {})}.items():
        text = str(context.get(name, ""))
        number = re.match(rf"([0-9.]+) {unit}", text)
        if not number or float(number[1]) <= 0:
            raise BadInput(f"{path}: expected \"{name}\" in the context, as \"118.0 {unit}\", found \"{text}\"")
        roofs[name] = float(number[1])
    runs, left_out, matrix = {}, [], None
    for run in found["benchmarks"]:
        name = run.get("run_name", run.get("name", "?"))
        if run.get("run_type") == "aggregate" and run.get("aggregate_name") != "median":
            continue
        if run.get("error_occurred") or not (run.get("FLOP/byte", 0) > 0 and run.get("GFLOP/s", 0) > 0):
            if name not in left_out:
                left_out.append(name)
            continue
        of = runs.setdefault(name, {"single": [], "median": []})
        of["median" if run.get("run_type") == "aggregate" else "single"].append((run["FLOP/byte"], run["GFLOP/s"]))
    points = []
    for name, of in runs.items():
        measured = of["median"] or of["single"]
        kernel, *parts = (part for part in name.split("/") if part not in ("real_time", "threads:1"))
        sizes = [tuple(part.split(":", 1)) for part in parts if ":" in part]
        what = [part for part in parts if ":" not in part]
        is_product = kernel in ("matmul", "packed_matmul")
        if "threads" in dict(sizes):
            continue  # the roofs are those of one thread
        if is_product:
            matrix = matrix or what[1]
            if what[1] != matrix or dict(sizes)["tokens"] not in ("1", "512"):
                continue  # else no label would find room
            what = what[:1]
        kind = kernel.replace("_", " ")
        if sizes:
            kind += ", " + ", ".join("1 token" if (key, value) == ("tokens", "1") else f"{value} {key}" for key, value in sizes)
        label = " ".join(what)
        points.append((kernel, kind, label, *(statistics.median(values) for values in zip(*measured))))
    if not points:
        raise BadInput(f"{path}: expected benchmarks with the counters FLOP/byte and GFLOP/s, found none")
    machine = str(context.get("machine", context.get("host_name", "unknown machine")))
    if matrix:
        machine += f"; products with {matrix}"
    return machine, str(context.get("date", ""))[:10], roofs, points, left_out


def crosses(a, b):
    """Whether two line segments cross."""
    def side(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
    return side(*a, b[0]) * side(*a, b[1]) < 0 and side(*b, a[0]) * side(*b, a[1]) < 0


def touches(line, box):
    """Whether a line segment touches a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    if any(left <= x <= right and top <= y <= bottom for x, y in line):
        return True
    return crosses(line, ((left, top), (right, bottom))) or crosses(line, ((left, bottom), (right, top)))


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place(points, lines, taken):
    """A box for each point's label: (box, leader or None). points: (x, y, text); lines: not to be written on; taken: boxes that are."""
    dots = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in points]
    boxes, leaders, placed = list(taken), [], {}
    # crowded points first: the others have more places to go to
    def crowd(i):
        return -sum(1 for x, y, _ in points if abs(x - points[i][0]) < 60 and abs(y - points[i][1]) < 60)
    for i in sorted(range(len(points)), key=crowd):
        x, y, text = points[i]
        width = 0.62 * FONT * len(text) + 4
        best = None
        for distance in [9, 14, 20, 28, 38, 50, 64, 80, 100, 120, 145, 170, 200, 230, 265, 300, 340, 380]:
            if best and best[0] < distance:
                break
            steps = 8 if distance < 12 else 32
            for step in range(steps):
                angle = 2 * math.pi * step / steps
                dx, dy = math.cos(angle), math.sin(angle)
                at_x, at_y = x + distance * dx, y + distance * dy
                left = at_x - width / 2 + dx * width / 2
                box = (left, at_y - LINE / 2, left + width, at_y + LINE / 2)
                if box[0] < LEFT + 3 or box[2] > RIGHT - 3 or box[1] < TOP + 3 or box[3] > BOTTOM - 3:
                    continue
                if any(overlap(box, other) for other in boxes) or any(overlap(box, dot) for dot in dots):
                    continue
                leader = ((x, y), (at_x, at_y)) if distance > 12 else None
                cost = distance
                cost += 60 * sum(touches(line, box) for line in lines) + 90 * sum(touches(line, box) for line in leaders)
                if leader:
                    cost += 12 + 90 * sum(touches(leader, other) for other in boxes) + 50 * sum(crosses(leader, other) for other in leaders)
                    cost += 6 * sum(touches(leader, dot) for k, dot in enumerate(dots) if k != i)
                if best is None or cost < best[0]:
                    best = (cost, box, leader)
        if best is None:
            raise BadInput(f"expected room for {len(points)} labels, found none for \"{text}\"")
        placed[i] = best[1:]
        boxes.append(best[1])
        if best[2]:
            leaders.append(best[2])
    return [placed[i] for i in range(len(points))]


def mark(shape, x, y, colour):
    style = f'fill="{colour}" stroke="#fff" stroke-width="0.8"'
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {style}/>'
    corners = {1: [(-4, -4), (4, -4), (4, 4), (-4, 4)], 2: [(0, -5), (4.8, 4), (-4.8, 4)], 3: [(0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)]}
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners[1 + (shape - 1) % 3])}" {style}/>'


def draw(machine, date, roofs, points):
    bandwidth, of_float, of_int8 = (roofs[name] for name in ROOFS)
    arithmetic = [(of_float, f"float, multiply and add: {of_float:.0f} GFLOP/s"), (of_int8, f"8-bit integers: {of_int8:.0f} GOP/s")]
    if TILES in roofs:
        arithmetic.append((roofs[TILES], f"tiles of BF16: {roofs[TILES]:.0f} GFLOP/s"))
    top_roof = max(speed for speed, _ in arithmetic)
    ridge = top_roof / bandwidth
    low_x = math.log10(min(point[3] for point in points)) - 0.35
    high_x = math.log10(max(ridge, *(point[3] for point in points))) + 0.45
    low_y = math.log10(min(bandwidth * 10**low_x, *(point[4] for point in points))) - 0.15
    high_y = math.log10(max(top_roof, *(point[4] for point in points))) + 0.25

    def px(intensity):
        return LEFT + (math.log10(intensity) - low_x) / (high_x - low_x) * (RIGHT - LEFT)

    def py(speed):
        return BOTTOM - (math.log10(speed) - low_y) / (high_y - low_y) * (BOTTOM - TOP)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
           f'font-family="Helvetica, Arial, sans-serif" font-size="{FONT}">',
           "<title>Roofline of the kernels</title>",
           '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="{LEFT}" y="34" font-size="20" fill="#111">Kernels on one thread, below the roofs of the machine</text>',
           f'<text x="{LEFT}" y="58" font-size="13" fill="#444">{escape(machine)}{", " + escape(date) if date else ""}</text>']

    # axes
    for low, high, horizontal in ((low_x, high_x, True), (low_y, high_y, False)):
        for exponent in range(math.floor(low), math.ceil(high) + 1):
            for digit in (1, 2, 5):
                value = digit * 10.0**exponent
                if not low <= math.log10(value) <= high:
                    continue
                colour = "#d4d4d4" if digit == 1 else "#eeeeee"
                text = f"{value:g}"
                if horizontal:
                    out.append(f'<line x1="{px(value):.1f}" y1="{TOP}" x2="{px(value):.1f}" y2="{BOTTOM}" stroke="{colour}"/>'
                               f'<text x="{px(value):.1f}" y="{BOTTOM + 18}" text-anchor="middle" fill="#444">{text}</text>')
                else:
                    out.append(f'<line x1="{LEFT}" y1="{py(value):.1f}" x2="{RIGHT}" y2="{py(value):.1f}" stroke="{colour}"/>'
                               f'<text x="{LEFT - 8}" y="{py(value) + 4:.1f}" text-anchor="end" fill="#444">{text}</text>')
    out.append(f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}" fill="none" stroke="#888"/>'
               f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 44}" text-anchor="middle" font-size="13" fill="#111">operations per byte</text>'
               f'<text transform="translate(26 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle" font-size="13" fill="#111">'
               'billions of operations per second</text>')

    # roofs
    start = (px(10**low_x), py(bandwidth * 10**low_x))
    lines, taken = [(start, (px(ridge), py(top_roof)))], []
    for speed, _ in arithmetic:
        lines.append(((px(speed / bandwidth), py(speed)), (RIGHT, py(speed))))
    for ((x1, y1), (x2, y2)) in lines:
        out.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#222" stroke-width="1.6"/>')
    for speed, text in arithmetic:
        width = 0.6 * 12 * len(text)
        middle = (px(speed / bandwidth) + RIGHT) / 2
        taken.append((middle - width / 2, py(speed) - 19, middle + width / 2, py(speed)))
        out.append(f'<text x="{middle:.1f}" y="{py(speed) - 6:.1f}" text-anchor="middle" font-size="12" fill="#222">{text}</text>')
    slope = math.atan2(lines[0][1][1] - start[1], lines[0][1][0] - start[0])
    text = f"reading memory: {bandwidth:.1f} GB/s"
    x, y = start[0] + 24 * math.cos(slope) + 8 * math.sin(slope), start[1] + 24 * math.sin(slope) - 8 * math.cos(slope)
    out.append(f'<text transform="translate({x:.1f} {y:.1f}) rotate({math.degrees(slope):.2f})" font-size="12" fill="#222">{text}</text>')
    for step in range(0, int(0.6 * 12 * len(text)), 8):  # the boxes along a slanted text
        at_x, at_y = x + step * math.cos(slope), y + step * math.sin(slope)
        taken.append((at_x - 6, at_y - 14, at_x + 8, at_y + 4))

    # points: a colour for each kernel, a shape for each of its sizes
    kinds, shapes = {}, {}
    for kernel, kind, *_ in points:
        if kind not in kinds:
            shapes[kind] = list(kinds.values()).count(kernel)
            kinds[kind] = kernel
    kernels = list(dict.fromkeys(kinds.values()))
    colour = {kernel: COLOURS[i % len(COLOURS)] for i, kernel in enumerate(kernels)}
    at = [(px(point[3]), py(point[4]), point[2]) for point in points]
    marks, labels = [], []
    for (kernel, kind, label, intensity, speed), (x, y, _), (box, leader) in zip(points, at, place(at, lines, taken)):
        if leader:
            out.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{leader[1][0]:.1f}" y2="{leader[1][1]:.1f}" stroke="{colour[kernel]}" '
                       'stroke-width="0.7" opacity="0.6"/>')
        marks.append(f'<g><title>{escape(kind)}, {escape(label)}: {intensity:.3g} per byte, {speed:.3g} G/s</title>'
                     f'{mark(shapes[kind], x, y, colour[kernel])}</g>')
        labels.append(f'<text x="{(box[0] + box[2]) / 2:.1f}" y="{box[3] - 3:.1f}" text-anchor="middle" fill="{colour[kernel]}" '
                      f'stroke="#fff" stroke-width="2.5" paint-order="stroke">{escape(label)}</text>')
    out += marks + labels

    # legend
    y = TOP + 8
    for kernel in kernels:
        for kind in (kind for kind, of in kinds.items() if of == kernel):
            count = sum(1 for point in points if point[1] == kind)
            out.append(mark(shapes[kind], RIGHT + 28, y - 4, colour[kernel]))
            out.append(f'<text x="{RIGHT + 42}" y="{y}" font-size="13" fill="#111">{escape(kind)}'
                       f'<tspan fill="#777"> ({count})</tspan></text>')
            y += 21
        y += 6
    y += 12
    for line in ("Bytes: every operand and result", "once. A point above the slanted", "line has them in a cache.", "",
                 "Packed products of integers stand", "under the roof of 8-bit integers, all", "else under that of floats (BF16: up to", "twice that)."):
        out.append(f'<text x="{RIGHT + 22}" y="{y}" font-size="12" fill="#555">{line}</text>')
        y += 17
    out.append("</svg>\n")
    return "\n".join(out)


def main(arguments):
    if len(arguments) != 3 or arguments[1].startswith("-"):
        print("usage: roofline.py KERNELS.json OUT.svg", file=sys.stderr)
        return 2
    try:
        machine, date, roofs, points, left_out = read(arguments[1])
        chart = draw(machine, date, roofs, points)
        with open(arguments[2], "w", encoding="utf-8") as file:
            file.write(chart)
    except BadInput as why:
        print(f"roofline.py: {why}", file=sys.stderr)
        return 1
    except OSError as why:
        print(f"roofline.py: expected to write {arguments[2]}, found {why.strerror}", file=sys.stderr)
        return 1
    if left_out:
        print(f"roofline.py: not drawn, no FLOP/byte or GFLOP/s: {', '.join(left_out)}", file=sys.stderr)
    print(f"{arguments[2]}: {len(points)} points")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
