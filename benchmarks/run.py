"""The same project for duct and its peers, in one run: `python benchmarks/run.py 10 1000 10000`.

N independent jobs `cp raw/i out/i`, then one merge of all. Measured are the start-up, a full build, nothing to do, one file changed, one added,
and the peak memory. The tools take turns within each round, so that other load on the machine hits all of them alike; the table shows medians,
and in brackets the ratio to `--peer`. What a tool needs beforehand (writing its file anew because a file was added) is not counted. A figure that
takes a tool longer than PATIENCE seconds is measured once, but for those of duct and the peer.

duct's modules are compiled before the first figure, as an installer does: a checkout that never ran would be measured compiling itself.

Tools that are not installed are left out. Nothing here is a test: figures of another machine, or of a busy one, are other figures.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = {"start-up": 15, "nothing to do": 9, "one changed": 5, "one added": 5, "full build": 3}
PATIENCE = 20.0
MERGE = "printf '%s\\0' out/* | xargs -0 cat > all"


class Cost(NamedTuple):
    """What one command cost. Memory below some 15 MB cannot be told from that of the process that measures."""

    wall: float
    cpu: float
    peak_mb: float


@dataclass
class Tool:
    """A build tool: how its file is written for N jobs, how it is called, and what it leaves behind."""

    name: str
    version: list[str]
    build: list[str]
    write: Callable[[int], None]
    state: tuple[str, ...] = ()
    most: int = 1_000_000
    """Larger projects would take minutes for each figure."""
    costs: dict[tuple[str, int], list[Cost]] = field(default_factory=dict)


def names(n: int) -> list[str]:
    return [f"{i:06d}" for i in range(n)]


def text(path: str, *lines: str) -> None:
    with open(path, "w", encoding="utf-8") as sink:
        sink.write("\n".join(lines) + "\n")


def write_duct(_n: int) -> None:
    text(
        "Ductfile",
        "[step.copy]",
        'inputs = "raw/{n}"',
        'targets = "out/{n}"',
        'run = "cp {input} {target}"',
        "",
        "[step.all]",
        'inputs = "out/*"',
        'targets = "all"',
        'run = "cat {inputs} > {target}"',
    )


def write_make(_n: int) -> None:
    text(
        "Makefile",
        "OUT := $(patsubst raw/%,out/%,$(sort $(wildcard raw/*)))",
        "all: $(OUT)",
        "\t@" + MERGE.replace("$", "$$"),
        "out/%: raw/%",
        "\t@cp $< $@",
    )


def write_ninja(n: int) -> None:
    text(
        "build.ninja",
        "rule cp",
        "  command = cp $in $out",
        "rule all",
        f"  command = {MERGE}",
        *(f"build out/{name}: cp raw/{name}" for name in names(n)),
        "build all: all " + " ".join(f"out/{name}" for name in names(n)),
    )


def write_doit(_n: int) -> None:
    text(
        "dodo.py",
        "import os",
        "NAMES = sorted(os.listdir('raw'))",
        "def task_copy():",
        "    for name in NAMES:",
        "        raw, out = f'raw/{name}', f'out/{name}'",
        "        yield {'name': name, 'file_dep': [raw], 'targets': [out], 'actions': [['cp', raw, out]]}",
        "def task_all():",
        f"    return {{'file_dep': [f'out/{{name}}' for name in NAMES], 'targets': ['all'], 'actions': [{MERGE!r}.replace('%', '%%')]}}",
    )


def write_snakemake(_n: int) -> None:
    text(
        "Snakefile",
        "import os",
        "NAMES = sorted(os.listdir('raw'))",
        "rule merge:",
        "    input: expand('out/{name}', name=NAMES)",
        "    output: 'all'",
        f"    shell: {MERGE!r}",
        "rule copy:",
        "    input: 'raw/{name}'",
        "    output: 'out/{name}'",
        "    shell: 'cp {input} {output}'",
    )


def write_task(n: int) -> None:
    lines = ["version: '3'", "tasks:", "  default:", "    deps:"]
    lines += [f"      - c{name}" for name in names(n)]
    lines += ["    sources: ['out/*']", "    generates: ['all']", f'    cmds: ["{MERGE}"]'.replace("\\", "\\\\")]
    for name in names(n):
        lines += [
            f"  c{name}:",
            f"    sources: [raw/{name}]",
            f"    generates: [out/{name}]",
            f"    cmds: [cp raw/{name} out/{name}]",
        ]
    text("Taskfile.yml", *lines)


def write_dvc(n: int) -> None:
    lines = ["stages:"]
    for name in names(n):
        lines += [
            f"  c{name}:",
            f"    cmd: cp raw/{name} out/{name}",
            f"    deps: [raw/{name}]",
            f"    outs: [out/{name}]",
        ]
    lines += [
        "  all:",
        f'    cmd: "{MERGE}"'.replace("\\", "\\\\"),
        "    deps:",
        *(f"    - out/{name}" for name in names(n)),
        "    outs: [all]",
    ]
    text("dvc.yaml", *lines)
    if not os.path.isdir(".dvc"):
        measure(["dvc", "init", "--no-scm", "-q"])


def tools(jobs: int) -> list[Tool]:
    """The tools that are installed, duct first. The command beside this interpreter is taken before the one on the path."""
    j = f"-j{jobs}"
    known = [
        Tool("duct", ["duct", "--version"], ["duct", "-q", j], write_duct, (".duct",)),
        Tool("ninja", ["ninja", "--version"], ["ninja", "--quiet", j], write_ninja, (".ninja_log", ".ninja_deps")),
        Tool("make", ["make", "--version"], ["make", "-s", j, "all"], write_make, most=100_000),
        Tool(
            "doit",
            ["doit", "--version"],
            ["doit", "-v0", "-n", str(jobs), "all"],
            write_doit,
            (".doit.db",),
            most=20_000,
        ),
        Tool("go-task", ["task", "--version"], ["task", "-s"], write_task, (".task",), most=10_000),
        Tool(
            "Snakemake",
            ["snakemake", "--version"],
            ["snakemake", "-q", "all", "-c", str(jobs)],
            write_snakemake,
            (".snakemake",),
            most=1_000,
        ),
        Tool("DVC", ["dvc", "--version"], ["dvc", "repro", "-q"], write_dvc, (".dvc", "dvc.lock"), most=200),
    ]
    beside = os.path.dirname(sys.executable)
    os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    return [tool for tool in known if shutil.which(tool.version[0])]


def _version(tool: Tool) -> str:
    told = subprocess.run(tool.version, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    return next((word for word in told.split() if word[:1].isdigit()), told)


def measure(command: Sequence[str]) -> Cost:
    """Run it to its end, output thrown away. RuntimeError where it fails."""
    program = shutil.which(command[0])
    if program is None:
        raise RuntimeError(f"{command[0]} is not installed")
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]
    start = time.perf_counter()
    pid = os.posix_spawn(program, list(command), os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)} in {os.getcwd()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compile_duct() -> None:
    """The modules of the duct that is measured as byte code, whatever the environment says about writing it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    package = importlib.util.find_spec("miniduct")
    for folder in package.submodule_search_locations or () if package else ():
        compileall.compile_dir(folder, quiet=1)


def fresh(tool: Tool, n: int) -> None:
    """The project of N jobs, never built."""
    for name in ("raw", "out", "all", *tool.state):
        shutil.rmtree(name, ignore_errors=True)
        if os.path.exists(name):
            os.unlink(name)
    os.makedirs("raw")
    os.makedirs("out")
    for name in names(n):
        with open(f"raw/{name}", "w") as sink:
            sink.write(f"{name}\n")
    tool.write(n)


class Bench:
    """All figures of one run: a folder for each tool and size, the tools in turn."""

    def __init__(self, found: list[Tool], top: str, peer: str) -> None:
        self.tools = found
        self.top = top
        self._patient = ("duct", peer)

    def _in_turn(
        self, what: str, n: int, found: Sequence[Tool], prepare: Callable[[Tool], None], build: bool = True
    ) -> None:
        for _ in range(ROUNDS[what]):
            for tool in found:
                costs = tool.costs.setdefault((what, n), [])
                if costs and costs[-1].wall > PATIENCE and tool.name not in self._patient:
                    continue
                folder = os.path.join(self.top, f"{tool.name}-{n}")
                os.makedirs(folder, exist_ok=True)
                os.chdir(folder)
                prepare(tool)
                costs.append(measure(tool.build if build else tool.version))
                os.chdir(self.top)

    def start_up(self) -> None:
        self._in_turn("start-up", 0, self.tools, lambda _tool: None, build=False)
        plain = Tool("python", [sys.executable, "-c", "pass"], [], lambda _n: None)
        self._in_turn("start-up", 0, [plain], lambda _tool: None, build=False)
        self.tools.append(plain)

    def size(self, n: int) -> None:
        """All figures for projects of N jobs."""
        found = [tool for tool in self.tools if tool.build and tool.most >= n]
        counter = [0]
        self._in_turn("full build", n, found, lambda tool: fresh(tool, n))
        for tool in found:
            self._check(tool, n)
        self._in_turn("nothing to do", n, found, lambda _tool: None)

        def change(_tool: Tool) -> None:
            counter[0] += 1
            with open(f"raw/{names(n)[n // 2]}", "w") as sink:
                sink.write(f"changed {counter[0]}\n")

        self._in_turn("one changed", n, found, change)

        def add(tool: Tool) -> None:
            count = len(os.listdir("raw")) + 1
            with open(f"raw/{names(count)[-1]}", "w") as sink:
                sink.write("added\n")
            tool.write(count)

        self._in_turn("one added", n, found, add)

    def _check(self, tool: Tool, n: int) -> None:
        with open(os.path.join(self.top, f"{tool.name}-{n}", "all"), encoding="utf-8") as source:
            lines = source.read().split()
        if lines != names(n):
            raise RuntimeError(f"{tool.name} made a wrong merge of {n} files")


def table(found: list[Tool], sizes: Sequence[int], peer: str) -> str:
    """All figures as a table of Markdown."""
    columns = [tool for tool in found if tool.build]
    base = next((tool for tool in columns if tool.name == peer), columns[0])
    lines = [
        "| work | " + " | ".join(tool.name for tool in columns) + " |",
        "|---|" + "---:|" * len(columns),
        "| start-up, `--version` | " + " | ".join(_cell(tool, base, "start-up", 0) for tool in columns) + " |",
    ]
    for n in sizes:
        for what in ("full build", "nothing to do", "one changed", "one added"):
            row = [_cell(tool, base, what, n) for tool in columns]
            lines.append(f"| {n:,} jobs: {what} | " + " | ".join(row) + " |")
            if what == "full build":
                row = [_per_job(tool, n) for tool in columns]
                lines.append(f"| {n:,} jobs: full build, ms a job | " + " | ".join(row) + " |")
        for what in ("full build", "nothing to do"):
            row = [_peak(tool, what, n) for tool in columns]
            lines.append(f"| {n:,} jobs: {what}, peak MB | " + " | ".join(row) + " |")
    plain = next((tool for tool in found if tool.name == "python"), None)
    if plain is not None:
        lines += ["", f"`python -c pass` took {_seconds(_wall(plain, 'start-up', 0))}."]
    return "\n".join(lines)


def _wall(tool: Tool, what: str, n: int) -> float:
    return statistics.median(cost.wall for cost in tool.costs[what, n])


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _cell(tool: Tool, base: Tool, what: str, n: int) -> str:
    if (what, n) not in tool.costs:
        return "-"
    value = _seconds(_wall(tool, what, n))
    if tool is base or (what, n) not in base.costs:
        return value
    return f"{value} ({_wall(tool, what, n) / _wall(base, what, n):.2f}x)"


def _per_job(tool: Tool, n: int) -> str:
    return f"{_wall(tool, 'full build', n) / n * 1000:.2f}" if ("full build", n) in tool.costs else "-"


def _peak(tool: Tool, what: str, n: int) -> str:
    if (what, n) not in tool.costs:
        return "-"
    return f"{statistics.median(cost.peak_mb for cost in tool.costs[what, n]):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure duct beside its peers, and print a table.")
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 1000, 10_000], metavar="N", help="numbers of jobs")
    parser.add_argument("--peer", default="ninja", help="the tool that the others are compared with")
    parser.add_argument("--tools", default="", help="only these, with commas between them")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="jobs at a time")
    parser.add_argument("--folder", help="where the projects are made (default: a temporary folder)")
    options = parser.parse_args()
    wanted = {name for name in options.tools.split(",") if name}
    found = [tool for tool in tools(options.jobs) if not wanted or tool.name in wanted]
    compile_duct()
    top = os.path.realpath(tempfile.mkdtemp(prefix="duct-bench-", dir=options.folder))
    home = os.getcwd()
    try:
        os.chdir(top)
        bench = Bench(found, top, options.peer)
        bench.start_up()
        for n in options.sizes:
            bench.size(n)
    finally:
        os.chdir(home)
        shutil.rmtree(top, ignore_errors=True)
    print(", ".join(f"{tool.name} {_version(tool)}" for tool in found if tool.build))
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, -j{options.jobs}\n"
    )
    print(table(bench.tools, options.sizes, options.peer))


if __name__ == "__main__":
    main()
