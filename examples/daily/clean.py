"""One day: drop the hours without a reading."""

import csv


def clean(inputs: list[str], target: str) -> None:
    with open(inputs[0], newline="") as source, open(target, "w", newline="") as sink:
        rows = [row for row in csv.DictReader(source) if row["temperature"]]
        writer = csv.DictWriter(sink, ["station", "hour", "temperature"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (row["station"], int(row["hour"]))))
