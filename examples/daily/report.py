"""The mean temperature of each station, over all days."""

import csv
from collections import defaultdict
from statistics import mean


def report(inputs: list[str], target: str) -> None:
    readings = defaultdict(list)
    for name in inputs:
        with open(name, newline="") as source:
            for row in csv.DictReader(source):
                readings[row["station"]].append(float(row["temperature"]))
    lines = [
        f"{name:10} {mean(values):5.1f} °C  of {len(values)} readings\n" for name, values in sorted(readings.items())
    ]
    with open(target, "w") as sink:
        sink.writelines([f"{len(inputs)} days\n", *lines])
