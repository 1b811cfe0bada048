"""One whole pipeline: daily files are cleaned one by one, counted, merged, and reported.

Run it with `python pipeline.py`, or with `duct -f pipeline.py`; change a file in raw/ and run it again.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter

from miniduct import BaseStep, PipelineBuilder, PythonStep, ShellStep, step

HERE = os.path.dirname(os.path.abspath(__file__))

raw = ShellStep(
    ["sh", "-c", 'printf "city,sales\\nulm,%s\\nkiel,%s\\n" "$0" "$1" > "$2"', "{day}", "7", "{target}"],
    name="raw",
    foreach={"day": ["1", "2", "3"]},
    targets="raw/{day}.csv",
)


def totals(paths: list[str]) -> dict[str, int]:
    """The sales of each city."""
    found: Counter[str] = Counter()
    for path in paths:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                found[row["city"]] += int(row["sales"])
    return dict(found)


def days(paths: list[str]) -> int:
    """How many days there are."""
    return len(paths)


class Average(BaseStep):
    """The mean sales of a day, by city."""

    def merge(self, outputs: dict[str, object]) -> dict[str, object]:
        return {"sums": outputs["totals"], "number": outputs["days"]}

    def run(self, sums: dict[str, int], number: int) -> dict[str, float]:  # type: ignore[override]
        return {city: amount / number for city, amount in sums.items()}


@step(targets="report.json", retries=1)
def report(averages: dict[str, float], target: str) -> None:
    """The averages, as a file."""
    with open(target, "w") as file:
        json.dump(averages, file, indent=2, sort_keys=True)


total, counted, average = PythonStep(totals), PythonStep(days), Average()
raw >> [total, counted]
[total, counted] >> average >> report

pipeline = PipelineBuilder("sales", root=HERE)
pipeline.add_steps(raw, total, counted, average, report)

if __name__ == "__main__":
    results = pipeline.execute(jobs=2)
    for each in results:
        print(f"{each.name}: {results[each].status}  {results[each].reason}")
