"""What a running `duct watch` is worth: `python benchmarks/watching.py 1000 10000 100000`.

Two figures for the project of `run.py` (N jobs `cp raw/i out/i`, then one merge). Nothing to do: duct with a watch
beside it, duct without, and ninja, in turns. From the save of a file until its job has copied it: duct watch, and `task
--watch` where go-task is installed; both wait for the change to settle, duct 0.2 s, go-task 0.1 s, which is in the
figures. doit and ninja have no watch.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from run import compile_duct, fresh, measure, names, tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from run import Tool

ASKS, SAVES = 5, 7
WATCHES = {"duct": ["duct", "watch", "-q"], "go-task": ["task", "--watch", "-s"]}
PATIENCE = 60.0


@contextmanager
def watching(tool: Tool, n: int) -> Iterator[None]:
    """The tool's watch in the folder we are in, from when it built something for us on."""
    process = subprocess.Popen(
        WATCHES[tool.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(1 + n / 20_000)
            if latency(names(n)[0], patience=5) is not None:
                break
        time.sleep(1 + n / 20_000)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def latency(name: str, patience: float = PATIENCE) -> float | None:
    """Seconds from the save of a file until its job has written; None: too long."""
    before = stamp(f"out/{name}")
    with open(f"raw/{name}", "w", encoding="ascii") as file:
        file.write(f"{time.time_ns()}\n")
    start = time.perf_counter()
    while time.perf_counter() - start < patience:
        if stamp(f"out/{name}") != before:
            return time.perf_counter() - start
        time.sleep(0.001)
    return None


def stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def latencies(tool: Tool, n: int) -> list[float]:
    found = []
    with watching(tool, n):
        for name in names(n)[1 : SAVES + 1]:
            seconds = latency(name)
            if seconds is None:
                return []
            found.append(seconds)
            time.sleep(1 + n / 20_000)  # the merge, and what the watch does after a build
    return found


def nothing(duct: Tool, ninja: Tool | None, n: int) -> dict[str, float]:
    """Median seconds of a build with nothing to do. The ninja project lies beside the one we are in."""
    costs: dict[str, list[float]] = {"with a watch": [], "without": [], "ninja": []}
    for _ in range(ASKS):
        with watching(duct, n):
            measure(duct.build)
            costs["with a watch"].append(measure(duct.build).wall)
        measure(duct.build)
        costs["without"].append(measure(duct.build).wall)
        if ninja is not None:
            here = os.getcwd()
            os.chdir("../ninja")
            costs["ninja"].append(measure(ninja.build).wall)
            os.chdir(here)
    return {what: statistics.median(seconds) for what, seconds in costs.items() if seconds}


def prepare(tool: Tool, n: int) -> None:
    os.makedirs(tool.name)
    os.chdir(tool.name)
    fresh(tool, n)
    measure(tool.build)
    os.chdir("..")


def project(known: dict[str, Tool], n: int) -> None:
    duct, ninja = known["duct"], known.get("ninja")
    with tempfile.TemporaryDirectory(prefix="watching") as folder:
        os.chdir(folder)
        for tool in known.values():
            if tool.name in ("duct", "ninja") or (tool.name in WATCHES and n <= tool.most):
                prepare(tool, n)
        os.chdir("duct")
        costs = nothing(duct, ninja, n)
        ratio = f" ({costs['with a watch'] / costs['ninja']:.2f}x)" if "ninja" in costs else ""
        told = ", ".join(f"{what} {seconds * 1000:.0f} ms" for what, seconds in costs.items())
        print(f"{n:,} jobs, nothing to do: {told}{ratio}", flush=True)
        for name in WATCHES:
            if os.path.isdir(f"{folder}/{name}"):
                os.chdir(f"{folder}/{name}")
                found = latencies(known[name], n)
                text = f"{statistics.median(found):.2f} s ({min(found):.2f}-{max(found):.2f})" if found else "too long"
                print(f"{n:,} jobs, save to job: {name} {text}", flush=True)
        os.chdir("/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=[1000, 10_000], metavar="N", help="numbers of jobs")
    sizes = parser.parse_args().sizes
    compile_duct()
    known = {tool.name: tool for tool in tools(os.cpu_count() or 1)}
    for n in sizes:
        project(known, n)


if __name__ == "__main__":
    main()
