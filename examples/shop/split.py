"""One file per store, named after it: which stores there are is known only after reading. Usage: split.py FOLDER MONTH.csv ..."""

import csv
import os
import sys
from collections import defaultdict

folder, *months = sys.argv[1:]
rows: dict[str, list[list[str]]] = defaultdict(list)
for name in months:
    month = os.path.splitext(os.path.basename(name))[0]
    with open(name, newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            rows[row["store"]].append([month, row["item"], row["turnover"]])
for store, lines in rows.items():
    with open(os.path.join(folder, f"{store}.csv"), "w", newline="", encoding="utf-8") as sink:
        csv.writer(sink, lineterminator="\n").writerows([["month", "item", "turnover"], *lines])
