"""A page of the best items by store. Usage: report.py --top N --out PAGE STORE.csv ..."""

import argparse
import csv
import html
import os
from collections import defaultdict

parser = argparse.ArgumentParser()
parser.add_argument("--top", type=int, required=True)
parser.add_argument("--out", required=True)
parser.add_argument("stores", nargs="+")
options = parser.parse_args()

lines = ["<!doctype html>", "<meta charset='utf-8'>", "<title>Shop</title>", "<h1>Best items by store</h1>"]
for name in options.stores:
    sums: dict[str, float] = defaultdict(float)
    with open(name, newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            sums[row["item"]] += float(row["turnover"])
    best = sorted(sums.items(), key=lambda pair: -pair[1])[: options.top]
    store = html.escape(os.path.splitext(os.path.basename(name))[0])
    lines += [
        f"<h2>{store}</h2>",
        "<ol>",
        *(f"<li>{html.escape(item)}: {total:.2f}</li>" for item, total in best),
        "</ol>",
    ]
with open(options.out, "w", encoding="utf-8") as sink:
    sink.write("\n".join(lines) + "\n")
