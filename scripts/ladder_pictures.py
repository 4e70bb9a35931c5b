#!/usr/bin/env python3
"""Pictures of docs/ladder.md: where w is read, where things lie, what a tile and a panel are, and how far each rung is from the roof.

    build-bench/bench/loupe_bench_ladders --benchmark_filter=mat_mul --benchmark_repetitions=3 --benchmark_out=ladders.json \
        --benchmark_out_format=json
    scripts/ladder_pictures.py ladders.json docs
"""
import json
import math
import sys

# One opaque background, so that a page's dark theme changes nothing.
INK, FAINT, PALE, BLUE, ORANGE = "#1f2328", "#6e7781", "#eaeef2", "#2f6fbf", "#d4762c"


class Picture:
    def __init__(self, width, height, title):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="14" fill="{INK}" role="img">',
            f"<title>{title}</title>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{ORANGE}"/></marker></defs>',
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="#ffffff" stroke="{FAINT}"/>',
        ]

    def box(self, x, y, width, height, fill=PALE, line=FAINT):
        self.parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" stroke="{line}"/>')

    def text(self, x, y, words, anchor="start", size=14, fill=INK, bold=False):
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{fill}"{weight}>{words}</text>')

    def arrow(self, x1, y1, x2, y2):
        self.parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{ORANGE}" stroke-width="2.5" marker-end="url(#head)"/>')

    def line(self, x1, y1, x2, y2, colour=FAINT, dash=""):
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-dasharray="{dash}"/>')

    def grid(self, x, y, columns, rows, cell, colour=lambda r, c: PALE):
        for r in range(rows):
            for c in range(columns):
                self.box(x + c * cell, y + r * cell, cell, cell, colour(r, c), "#c3cad1")

    def save(self, path):
        with open(path, "w", encoding="utf-8") as out:
            out.write("\n".join(self.parts + ["</svg>", ""]))


def order(path):
    p = Picture(720, 250, "Rung 01 walks down a column of w, rung 02 along a row")
    for x, title in ((40, "01  inner loop over n"), (390, "02  inner loop over k")):
        p.text(x, 32, title, bold=True)
        p.text(x + 130, 56, "k", "middle", fill=FAINT)
        p.text(x - 16, 150, "n", "middle", fill=FAINT)
    p.grid(40, 64, 16, 8, 18, lambda r, c: "#f3c9a5" if c < 8 else PALE)
    p.arrow(49, 68, 49, 206)
    p.grid(390, 64, 16, 8, 18, lambda r, c: "#f3c9a5" if r == 2 else PALE)
    p.arrow(394, 109, 674, 109)
    p.text(40, 232, "every step fetches a cache line, uses 4 of its 64 bytes")
    p.text(390, 232, "a cache line lasts for 16 steps")
    p.save(path)


def memory(path):
    p = Picture(720, 336, "Sizes of the levels of memory, and which operand fits where")
    p.text(40, 34, "where it lies", bold=True)
    p.text(352, 34, "room", "end", bold=True)
    p.text(380, 34, "what the ladder puts there", bold=True)
    levels = (("registers", "2 kB", "24 sums of a tile", 60),
              ("first-level cache", "32 kB", "4 rows of w (25 kB), pieces of 6 rows of x", 90),
              ("second-level cache", "1 MB", "a panel: 21 rows of w (129 kB); all of x (737 kB)", 120),
              ("third-level cache", "32 MB", "the lines that a column of w touches (393 kB)", 150),
              ("memory", "", "all of w (38 MB)", 180))
    for i, (name, room, what, width) in enumerate(levels):
        y = 52 + 50 * i
        p.box(40, y, width, 36, ("#cfe0f5", "#b4cff0", "#8fb6e6", "#689bd8", "#4b84c9")[i])
        p.text(48, y + 23, name if width > 140 else "", fill="#ffffff" if i > 2 else INK)
        if width <= 140:
            p.text(40 + width + 8, y + 23, name)
        p.text(352, y + 23, room, "end")
        p.text(380, y + 23, what)
    p.text(40, 322, "downwards: more room, and the same word takes longer to arrive", fill=FAINT)
    p.save(path)


def tile(path):
    p = Picture(720, 330, "A tile: 6 tokens against 4 rows of w, 24 sums in registers")
    p.text(40, 34, "04  a tile of 6 tokens and 4 rows", bold=True)
    cell = 22
    p.text(40, 122, "6 rows of x")
    p.grid(150, 130, 8, 6, cell, lambda r, c: "#f3c9a5" if c == 3 else PALE)
    p.text(390, 52, "4 rows of w, drawn upright", "middle")
    p.grid(346, 60, 4, 3, cell, lambda r, c: "#f3c9a5" if r == 1 else PALE)
    p.grid(346, 130, 4, 6, cell, lambda r, c: "#8fb6e6")
    p.text(390, 284, "24 sums in registers", "middle")
    p.text(470, 150, "for each batch of columns (orange):")
    p.text(470, 174, "6 + 4 = 10 loads")
    p.text(470, 198, "6 · 4 = 24 products")
    p.text(470, 232, "one pair alone (rung 03):")
    p.text(470, 256, "2 loads, 1 product")
    p.text(150, 312, "24 sums, 4 rows of w and a row of x: 29 of the 32 registers", fill=FAINT)
    p.save(path)


def panel(path):
    p = Picture(720, 280, "Rung 04 reads all of w for every six tokens, rung 05 a panel once for all tokens")
    for x, title in ((40, "04  all of w, 6 tokens at a time"), (390, "05  a panel of w, all tokens")):
        p.text(x, 32, title, bold=True)
        p.text(x + 45, 60, "x", "middle", fill=FAINT)
        p.text(x + 205, 60, "w", "middle", fill=FAINT)
        p.box(x, 70, 90, 130)
        p.box(x + 150, 70, 110, 170)
    p.box(40, 70, 90, 26, "#8fb6e6")
    p.box(190, 70, 110, 170, "#f3c9a5")
    p.arrow(312, 74, 312, 238)
    p.text(40, 264, "w comes from memory 20 times for 120 tokens")
    p.box(390, 70, 90, 130, "#8fb6e6")
    p.box(540, 70, 110, 26, "#f3c9a5")
    p.arrow(492, 74, 492, 198)
    p.text(390, 264, "w comes from memory once")
    p.save(path)


def chart(path, shares, roof):
    p = Picture(720, 74 + 36 * len(shares), "Share of the float roof, rung by rung, logarithmic")
    left, right, low, high = 190, 650, 0.001, 10.0
    at = lambda share: left + (right - left) * math.log(share / low) / math.log(high / low)
    p.text(20, 28, f"share of one thread's float roof ({roof:.0f} GFLOP/s), logarithmic", bold=True)
    bottom = 48 + 36 * len(shares)
    for share, label in ((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1, "roof"), (10, "10 ×")):
        p.line(at(share), 42, at(share), bottom, INK if share == 1 else FAINT, "" if share == 1 else "2 4")
        p.text(at(share), bottom + 17, label, "middle", 12)
    for i, (name, share) in enumerate(shares):
        y = 50 + 36 * i
        p.text(left - 10, y + 17, name, "end")
        p.box(left, y, at(share) - left, 24, BLUE if share <= 1 else ORANGE, "none")
        label = f"{100 * share:.2g} %" if share < 0.995 else f"{share:.1f} ×"
        p.box(at(share) + 3, y + 3, 8 * len(label), 18, "#ffffff", "none")
        p.text(at(share) + 6, y + 17, label)
    p.save(path)


def main():
    if len(sys.argv) != 3:
        sys.exit("ladder_pictures.py: expected LADDERS.json FOLDER")
    with open(sys.argv[1], encoding="utf-8") as file:
        measured = json.load(file)
    shares = [(b["run_name"].split("/")[1].replace("_library", "").replace("_", " "), b["of float roof"])
              for b in measured["benchmarks"]
              if b["run_name"].startswith("mat_mul/") and b.get("aggregate_name") == "median" and "05_panels_library" not in b["run_name"]]
    if not shares:
        sys.exit(f"ladder_pictures.py: expected medians of mat_mul in {sys.argv[1]}, found none (--benchmark_repetitions=3)")
    folder = sys.argv[2]
    order(f"{folder}/ladder_order.svg")
    memory(f"{folder}/ladder_memory.svg")
    tile(f"{folder}/ladder_tile.svg")
    panel(f"{folder}/ladder_panel.svg")
    chart(f"{folder}/ladder_rungs.svg", shares, float(measured["context"]["roof, float, 1 thread"].split()[0]))


main()
