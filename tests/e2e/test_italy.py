"""The main job on real input: 1,781 daily files of Italy's regions, with a header that grows over the years."""

from __future__ import annotations

import csv
import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

pytestmark = pytest.mark.timeout(600)

DUCTFILE = """
[step.clean]
description = "the same columns for every day"
inputs = ["raw/{day}.csv", "clean.awk"]
targets = "clean/{day}.csv"
run = "awk -f {inputs[1]} -v day={day} {inputs[0]} > {target}"

[step.monthly]
description = "all days of a month"
inputs = "clean/{month}{day}.csv"
targets = "monthly/{month}.csv"
where = { month = '\\d{6}', day = '\\d{2}' }
run = "cat {inputs} > {target}"

[step.national]
description = "the sum over the regions, day by day"
inputs = { months = "monthly/*.csv", code = "national.py" }
targets = "national.csv"
run = "python3 {inputs.code} {inputs.months} > {target}"
"""

# Fields of the quoted notes may hold commas, but all columns of interest stand before them.
CLEAN = r"""
BEGIN { FS = ","; OFS = "," }
{ sub(/\r$/, "") }
NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
$at["data"] ~ /^20/ {
    print substr($at["data"], 1, 10), $at["codice_regione"], $at["denominazione_regione"],
        $at["nuovi_positivi"], $at["totale_casi"]
}
"""

NATIONAL = """
import collections, csv, sys
sums = collections.Counter()
for name in sys.argv[1:]:
    with open(name, newline="", encoding="utf-8") as source:
        for day, _, _, new, _ in csv.reader(source):
            sums[day] += int(new)
for day in sorted(sums):
    print(day, sums[day], sep=",")
"""


@pytest.fixture
def days(box: Sandbox, italy: str) -> Sandbox:
    shutil.copytree(os.path.join(italy, "raw"), box.path("raw"), copy_function=shutil.copyfile)
    box.files({"clean.awk": CLEAN, "national.py": NATIONAL})
    box.ductfile(DUCTFILE)
    return box


def events(box: Sandbox) -> dict[str, list[str]]:
    """Build; the targets of the jobs that ran, by step."""
    ran: dict[str, list[str]] = {}
    for event in box.build("--json").events:
        if event["event"] == "job_ended":
            ran.setdefault(event["job"]["step"], []).append(event["job"]["target"])
    return {step: sorted(targets) for step, targets in ran.items()}


def national(text: str) -> dict[str, int]:
    return {day: int(new) for day, new in csv.reader(text.splitlines())}


def test_italy_is_reprocessed_incrementally_and_rightly(days: Sandbox, italy: str) -> None:
    box = days
    ran = events(box)
    count = len(os.listdir(box.path("raw")))
    assert count == 1781
    assert {step: len(targets) for step, targets in ran.items()} == {"clean": 1781, "monthly": 60, "national": 1}
    with open(os.path.join(italy, "national.csv"), newline="", encoding="utf-8") as source:
        truth = {row["data"][:10]: int(row["nuovi_positivi"]) for row in csv.DictReader(source)}
    assert len(truth) == 1781
    assert national(box.read("national.csv")) == truth
    assert events(box) == {}

    # One corrected.
    corrected = box.read("raw/20210315.csv").replace("Abruzzo,42.35122196,13.39843823,", "Abruzzo,1,1,", 1)
    assert corrected != box.read("raw/20210315.csv")
    box.write("raw/20210315.csv", corrected)
    assert events(box) == {"clean": ["clean/20210315.csv"]}, "the correction is in no column of interest: early cutoff"
    lines = box.read("raw/20210315.csv").split("\r\n")
    fields = lines[1].split(",")
    fields[12] = str(int(fields[12]) + 1000)
    lines[1] = ",".join(fields)
    box.write("raw/20210315.csv", "\r\n".join(lines))
    assert events(box) == {
        "clean": ["clean/20210315.csv"],
        "monthly": ["monthly/202103.csv"],
        "national": ["national.csv"],
    }
    truth["2021-03-15"] += 1000
    assert national(box.read("national.csv")) == truth

    # One added.
    box.write("raw/20250109.csv", box.read("raw/20250108.csv").replace("2025-01-08", "2025-01-09"))
    assert events(box) == {
        "clean": ["clean/20250109.csv"],
        "monthly": ["monthly/202501.csv"],
        "national": ["national.csv"],
    }
    truth["2025-01-09"] = truth["2025-01-08"]
    assert national(box.read("national.csv")) == truth

    # One touched.
    box.touch("raw/20220101.csv")
    assert events(box) == {}

    # One replaced by an older file.
    lines = box.read("raw/20220202.csv").split("\r\n")
    fields = lines[1].split(",")
    fields[12] = str(int(fields[12]) - 7)
    lines[1] = ",".join(fields)
    box.write_older("raw/20220202.csv", "\r\n".join(lines))
    assert events(box) == {
        "clean": ["clean/20220202.csv"],
        "monthly": ["monthly/202202.csv"],
        "national": ["national.csv"],
    }
    truth["2022-02-02"] -= 7
    assert national(box.read("national.csv")) == truth

    # One deleted: its clean file is an orphan, and nobody's input.
    box.remove("raw/20200224.csv")
    result = box.build()
    assert "clean/20200224.csv" in result.err
    assert box.exists("clean/20200224.csv")
    del truth["2020-02-24"]
    assert national(box.read("national.csv")) == truth
    assert events(box) == {}

    # All of it equals a clean build.
    box.expect(0, "clean", "--orphans", "-y")
    incremental = box.tree()
    for name in ("clean", "monthly", "national.csv", ".duct"):
        box.remove(name)
    box.build()
    assert box.tree() == incremental


def test_each_line_says_why(days: Sandbox) -> None:
    box = days
    for name in os.listdir(box.path("raw")):
        if not name.startswith("202402"):
            box.remove(f"raw/{name}")
    box.build()
    box.write("raw/20240229.csv", box.read("raw/20240229.csv").replace(",ITA,13,Abruzzo,", ",ITA,13,Abruzzi,"))
    result = box.build()
    run = [line for line in result.err.splitlines() if "[" in line and "/3]" in line]
    assert len(run) == 3, str(result)
    assert "raw/20240229.csv" in run[0]
    assert "clean/20240229.csv" in run[1]
    assert "monthly/202402.csv" in run[2]
    why = box.expect(0, "why", "national.csv")
    text = why.out + why.err
    assert "raw/20240229.csv" in text, "after the fact, down to the root cause"
