"""Turnover by store and item over the daily files given. Usage: month.py DAY.csv ..."""

import csv
import sys
from collections import defaultdict

sums: dict[tuple[str, str], float] = defaultdict(float)
for name in sys.argv[1:]:
    with open(name, newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            sums[row["store"], row["item"]] += int(row["units"]) * float(row["price"])
out = csv.writer(sys.stdout, lineterminator="\n")
out.writerow(["store", "item", "turnover"])
for (store, item), turnover in sorted(sums.items()):
    out.writerow([store, item, f"{turnover:.2f}"])
