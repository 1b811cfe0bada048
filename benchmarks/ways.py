"""What a job costs in each way of running it, and what reading a large file costs: `python benchmarks/ways.py 100000`.

N files `raw/i` are each copied to `out/i`: by one `cp` a file, by `batch = 1000`, and by a Python function. The ways take turns; the table shows
medians, the ratio to one command a file, and for the function what it costs beyond itself. A large file's fingerprint is compared with BLAKE3
on the same data in memory, on one core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time

from blake3 import blake3

from miniduct.stores.local import LocalStore
from run import compile_duct, measure, names, text

COPY = """import json, os, sys
def copy(source, target):
    with open(source, "rb") as data, open(target + ".part", "wb") as sink:
        sink.write(data.read())
    os.replace(target + ".part", target)
def one(input, target):
    copy(input, target)
if __name__ == "__main__":
    with open(sys.argv[1]) as rows:
        for row in rows:
            job = json.loads(row)
            copy(job["inputs"][0], job["targets"][0])
"""
WAYS = {
    "one command a file": 'run = "cp {input} {target}"',
    "batch = 1000": 'batch = 1000\nrun = "python3 copying.py {manifest}"',
    "a function": 'python = "copying:one"',
}


def build(way: str, n: int, jobs: int) -> float:
    """Seconds of a full build."""
    shutil.rmtree("out", ignore_errors=True)
    shutil.rmtree(".duct", ignore_errors=True)
    text("Ductfile", "[step.copy]", 'inputs = "raw/{n}"', 'targets = "out/{n}"', WAYS[way])
    seconds = measure(["duct", "-q", f"-j{jobs}"]).wall
    if len(os.listdir("out")) != n:
        raise RuntimeError(f"{way} made {len(os.listdir('out'))} of {n} files")
    return seconds


def function_alone(n: int) -> float:
    """Seconds of the function itself for all files, in this process."""
    space: dict[str, object] = {"__name__": "copying"}
    exec(COPY, space)
    one = space["one"]
    assert callable(one)
    shutil.rmtree("out", ignore_errors=True)
    os.makedirs("out")
    start = time.perf_counter()
    for name in names(n):
        one(f"raw/{name}", f"out/{name}")
    return time.perf_counter() - start


def small_files(n: int, rounds: int, jobs: int) -> None:
    os.makedirs("raw")
    text("copying.py", COPY)
    for name in names(n):
        text(f"raw/{name}", name)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    alone = []
    for _ in range(rounds):
        for way in WAYS:
            seconds[way].append(build(way, n, jobs))
        alone.append(function_alone(n))
    base = statistics.median(seconds["one command a file"])
    print(f"| {n:,} files, -j{jobs} | s | ratio | ms a job |\n|---|---:|---:|---:|")
    for way, figures in seconds.items():
        value = statistics.median(figures)
        print(f"| {way} | {value:.2f} | {value / base:.3f} | {value / n * 1000:.3f} |")
    print(f"\nThe function alone took {statistics.median(alone) / n * 1000:.3f} ms a file.")


def large_file(megabytes: int, rounds: int) -> None:
    data = os.urandom(1 << 20) * megabytes
    with open("large", "wb") as sink:
        sink.write(data)
    store = LocalStore()
    ratios = []
    for _ in range(rounds):
        start = time.perf_counter()
        blake3(data).digest()
        middle = time.perf_counter()
        store.fingerprint("large")
        ratios.append((middle - start) / (time.perf_counter() - middle))
    print(
        f"A file of {megabytes} MB is read and hashed at {statistics.median(ratios):.0%} of what BLAKE3 does in memory."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the ways of running a job, and hashing.")
    parser.add_argument("files", nargs="?", type=int, default=10_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    compile_duct()
    home = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="duct-ways-") as top:
        os.chdir(top)
        small_files(options.files, options.rounds, options.jobs)
        large_file(512, 5)
        os.chdir(home)


if __name__ == "__main__":
    main()
