"""One clean daily file: the common columns, no rows without units. Usage: clean.py RAW CLEAN"""

import csv
import sys

raw, clean = sys.argv[1:]
with open(raw, newline="", encoding="utf-8") as source, open(clean, "w", newline="", encoding="utf-8") as sink:
    rows = csv.DictReader(source)
    out = csv.writer(sink, lineterminator="\n")
    out.writerow(["store", "item", "units", "price"])
    for row in rows:
        if row["units"]:
            out.writerow([row["store"], row["item"], row["units"], row["price"]])
