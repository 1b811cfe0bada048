"""What a step costs in Python: value steps in a chain and side by side, run and then found done; beside doit, Luigi and Prefect where installed.

    python benchmarks/python_front.py [--steps 10000] [--tools duct,doit,luigi,prefect] [--pairs 3]

Each measurement is a process of its own; the time is that of the run, without imports, and without the start of Prefect's server, which ends with the
process. A tool that keeps nothing between runs has no second number.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPES = ("chain", "wide")

PROGRAMS = {
    "duct": """
        import sys, time
        from miniduct import PipelineBuilder, PythonStep
        import miniduct.runners.threads, sqlite3

        def zero(): return 0
        def plus(number): return number + 1

        steps, shape = int(sys.argv[1]), sys.argv[2]
        began = time.perf_counter()
        pipeline = PipelineBuilder("bench")
        last = None
        for at in range(steps):
            step = PythonStep(plus if last is not None and shape == "chain" else zero, name=f"s{at}")
            if last is not None and shape == "chain":
                last >> step
            last = pipeline.add_step(step)
        pipeline.execute(jobs=2)
        print(time.perf_counter() - began)
        """,
    "doit": """
        import sys, time
        from doit.cmd_base import ModuleTaskLoader
        from doit.doit_cmd import DoitMain
        from doit.tools import run_once

        steps, shape = int(sys.argv[1]), sys.argv[2]

        def zero(): return {"number": 0}
        def plus(number): return {"number": number + 1}

        def task_s():
            for at in range(steps):
                task = {"name": str(at), "actions": [zero], "uptodate": [run_once]}
                if at and shape == "chain":
                    task["actions"] = [plus]
                    task["getargs"] = {"number": (f"s:{at - 1}", "number")}
                yield task

        sys.setrecursionlimit(10 * steps + 1000)
        began = time.perf_counter()
        code = DoitMain(ModuleTaskLoader({"task_s": task_s})).run(["run", "--reporter", "zero"])
        print(time.perf_counter() - began)
        sys.exit(code)
        """,
    "luigi": """
        import logging, sys, time
        import luigi
        from luigi.mock import MockTarget

        steps, shape = int(sys.argv[1]), sys.argv[2]
        logging.disable(logging.CRITICAL)
        sys.setrecursionlimit(10 * steps + 1000)

        class Step(luigi.Task):
            at = luigi.IntParameter()

            def requires(self):
                return [Step(self.at - 1)] if self.at and shape == "chain" else []

            def output(self):
                return luigi.LocalTarget(f"out/{self.at}")

            def run(self):
                number = 0
                for source in self.input():
                    with source.open() as file:
                        number = int(file.read()) + 1
                with self.output().open("w") as file:
                    file.write(str(number))

        began = time.perf_counter()
        wanted = [Step(steps - 1)] if shape == "chain" else [Step(at) for at in range(steps)]
        good = luigi.build(wanted, local_scheduler=True, no_lock=True)
        print(time.perf_counter() - began)
        sys.exit(not good)
        """,
    "prefect": """
        import logging, sys, time
        from prefect import flow, task

        steps, shape = int(sys.argv[1]), sys.argv[2]
        logging.disable(logging.CRITICAL)

        @task
        def zero(): return 0
        @task
        def plus(number): return number + 1

        @flow
        def bench(steps):
            if shape == "chain":
                number = zero()
                for _ in range(steps - 1):
                    number = plus(number)
                return number
            return [each.result() for each in [zero.submit() for _ in range(steps)]][-1]

        bench(1)  # starts the server
        began = time.perf_counter()
        assert bench(steps) == (steps - 1 if shape == "chain" else 0)
        print(time.perf_counter() - began)
        """,
}
MODULES = {"duct": "miniduct", "doit": "doit", "luigi": "luigi", "prefect": "prefect"}
KEEPS = ("duct", "doit", "luigi")
PREFECT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def seconds(tool: str, steps: int, shape: str, folder: str) -> float | None:
    """How long one run takes; None where it fails."""
    program = os.path.join(folder, "bench.py")
    with open(program, "w", encoding="ascii") as file:
        file.write(textwrap.dedent(PROGRAMS[tool]))
    words = [sys.executable, program, str(steps), shape]
    environ = {**os.environ, **PREFECT, "PREFECT_HOME": os.path.join(folder, "prefect")}
    try:
        done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=900)
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def installed(tool: str) -> bool:
    found = subprocess.run([sys.executable, "-c", f"import {MODULES[tool]}"], capture_output=True, check=False)
    return found.returncode == 0


def main() -> None:
    """Print a table: microseconds a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--tools", default=",".join(PROGRAMS))
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    print(
        f"{asked.steps:,} steps, load {load:.1f} on {os.cpu_count()} cores; microseconds a step, medians of {asked.pairs}"
    )
    tools = [tool for tool in asked.tools.split(",") if installed(tool)]
    # Removed at the end only: where many files were just removed, ext4 takes its time to make others.
    with tempfile.TemporaryDirectory() as place:
        for shape in SHAPES:
            found: dict[str, list[list[float | None]]] = {tool: [] for tool in tools}
            for _ in range(asked.pairs):
                for tool in tools:
                    folder = tempfile.mkdtemp(dir=place)
                    found[tool].append(
                        [seconds(tool, asked.steps, shape, folder) for _ in range(2 if tool in KEEPS else 1)]
                    )
            for tool, pairs in found.items():
                shown = [median(runs, asked.steps) for runs in zip(*pairs)]
                print(
                    f"{tool:8} {shape:6} run {shown[0]}   done {shown[1] if len(shown) > 1 else '       -'}", flush=True
                )


def median(runs: Sequence[float | None], steps: int) -> str:
    """The middle one, in microseconds a step."""
    known = [run for run in runs if run is not None]
    return f"{statistics.median(known) / steps * 1e6:8.0f}" if len(known) == len(runs) else "  failed"


if __name__ == "__main__":
    main()
