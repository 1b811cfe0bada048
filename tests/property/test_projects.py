"""Random projects, random edits, failures and kills, judged by the model beside this file.

After each build: exactly the jobs that had to run have run, every file holds what the model says, a second build runs nothing; and in the
end a clean build in a fresh copy gives the same targets. `DUCT_PROPERTY_PROJECTS=5000 pytest tests/property` tries as many; a failure
shows its seed, and `DUCT_PROPERTY_SEED=n` runs that one alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from cloud import BUCKET, CloudSandbox
from oracle import Files, Model, Outcome
from projects import CODE, World, data_files

from gcs_server import GcsServer
from support import Sandbox, decoded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = int(os.environ.get("DUCT_PROPERTY_PROJECTS", "240"))
SEEDS = [int(os.environ["DUCT_PROPERTY_SEED"])] if "DUCT_PROPERTY_SEED" in os.environ else list(range(COUNT))
FAR_SEEDS = SEEDS if "DUCT_PROPERTY_SEED" in os.environ else list(range(max(1, COUNT // 15)))
KILLS = SEEDS if "DUCT_PROPERTY_SEED" in os.environ else list(range(max(1, COUNT // 10)))
ROUNDS = 4


class Inside:
    """The command in this process: some milliseconds cheaper than a new interpreter, for hundreds of builds."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.out = ""
        self.err = ""

    def __call__(self, *args: str) -> int:
        from miniduct.cli import main

        out, err = io.BytesIO(), io.BytesIO()
        streams = _stream(out), _stream(err)
        with _standing(self.box), contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            code = main(list(args))
        for stream in streams:
            stream.flush()
        self.out, self.err = decoded(out.getvalue()), decoded(err.getvalue())
        assert "Traceback" not in self.err, self.err
        return code


def _stream(data: io.BytesIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(data, "utf-8", "surrogateescape", write_through=True)


@contextlib.contextmanager
def _standing(box: Sandbox) -> Iterator[None]:
    before, environ = os.getcwd(), dict(os.environ)
    os.chdir(box.root)
    os.environ.clear()
    os.environ.update(box.env)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environ)


class Trial:
    """One random project under test."""

    def __init__(self, box: Sandbox, seed: int) -> None:
        self.box = box
        self.chance = random.Random(seed)
        self.world = World(box, self.chance)
        self.model = Model()
        self.duct = Inside(box)

    def story(self) -> str:
        return "\n".join([self.box.read("Ductfile"), *self.world.story, "--- what duct said", self.duct.err])

    def check(self, true: Any, what: str) -> None:
        assert true, f"{what}\n{self.story()}"

    def ran(self, *, leftovers: int = 0) -> set[str]:
        """The jobs that ran since the last question. Up to `leftovers` commands of a killed duct may not have come to say so before."""
        counted = self.box.counted()
        twice = sum(counted.values()) - len(counted)
        self.check(twice <= leftovers, f"a job ran twice in one build: {counted}")
        return set(counted)

    def same_files(self, expected: Files) -> None:
        seen = self.world.disk()
        wrong = {key for key in {*seen, *expected} if seen.get(key) != expected.get(key)}
        self.check(
            not wrong,
            "\n".join(f"{key}: {expected.get(key)!r} expected, {seen.get(key)!r} seen" for key in sorted(wrong)),
        )

    def build(self) -> None:
        """A build that must succeed, against the model; then one that must do nothing."""
        self.world.story.append("--- build")
        expected = self.world.disk()
        outcome = self.model.build(self.world.steps, self.world.sources, expected)
        code = self.duct("build", f"-j{self.chance.choice([1, 2, 4])}")
        self.check(code == 0, f"exit {code}")
        ran = self.ran()
        self.check(ran == outcome.ran, f"had to run {sorted(outcome.ran)}\nran        {sorted(ran)}")
        self.same_files(expected)
        self.nothing(expected)

    def nothing(self, expected: Files) -> None:
        code = self.duct("build")
        self.check(code == 0, f"second build: exit {code}")
        self.check(self.ran() == set(), "the second build ran something")
        self.check("nothing to do" in self.duct.err, "the second build did not know that there is nothing to do")
        self.same_files(expected)

    def dry_run(self) -> None:
        """What a dry run says must hold for the build that follows."""
        before = self.box.state()
        code = self.duct("build", "-n", "--json")
        self.check(code == 0, f"dry run: exit {code}")
        self.check(self.box.state() == before, "the dry run had an effect")
        self.check(self.ran() == set(), "the dry run ran something")
        answers: dict[str, str] = {}
        for event in map(json.loads, self.duct.out.splitlines()):
            if event["event"] == "job_planned":
                answers[self._name(event["job"])] = event["answer"]
        twin, disk = self.model.copy(), self.world.disk()
        outcome = twin.build(self.world.steps, self.world.sources, disk)
        for name, answer in answers.items():
            exists = any(job.name == name for job in outcome.jobs)
            if answer == "will" and exists:
                self.check(name in outcome.ran, f"dry run: {name} will run, but has not to")
            if answer == "no":
                self.check(name not in outcome.ran, f"dry run: {name} will not run, but has to")

    def _name(self, job: dict[str, Any]) -> str:
        (step,) = (step for step in self.world.steps if step.name == job["step"])
        return f"{step.name}/{job['values'][step.wildcard] if step.wildcard else ''}"

    def failing_build(self) -> None:
        """A build in which some jobs fail: with `-k` all others go on, and what ended is remembered."""
        trial, disk = self.model.copy(), self.world.disk()
        outcome = trial.build(self.world.steps, self.world.sources, disk)
        if not outcome.ran:
            return
        count = min(len(outcome.ran), self.chance.randint(1, 2))
        failing = frozenset(self.chance.sample(sorted(outcome.ran), count))
        self.world.fail(failing)
        self.world.story.append(f"--- build -k, in which these fail: {sorted(failing)}")
        expected = self.world.disk()
        blind = any(
            job.step.dynamic or job.step.way == "batch"
            for job in outcome.jobs
            if job.name in failing or self._behind(job.name, failing, outcome)
        )
        keep_going = self.chance.random() < 0.7
        code = self.duct("build", *(["-k"] if keep_going else []), "-j2")
        ran = self.ran()
        if not blind and keep_going:
            result = self.model.build(self.world.steps, self.world.sources, expected, failing=failing)
            self.check(ran == result.ran, f"had to run {sorted(result.ran)}\nran        {sorted(ran)}")
            self.check(code == 1, f"exit {code}")
        else:
            # Whom a failure keeps from being tried is then a matter of order: those that ran, and only those, are believed.
            result = self.model.build(self.world.steps, self.world.sources, expected, failing=failing, only=ran)
            self.check(ran == result.ran, f"these ran without need: {sorted(ran - result.ran)}")
            self.check(code == (1 if ran & failing else 0), f"exit {code}")
        self.same_files(expected)
        self.world.fail(frozenset())

    @staticmethod
    def _behind(name: str, failing: frozenset[str], outcome: Outcome) -> bool:
        needs = outcome.needs.get(name, set())
        return bool(needs & failing) or any(Trial._behind(other, failing, outcome) for other in needs)

    def partial_build(self) -> None:
        """A build of one step and what it needs."""
        steps = [step for step in self.world.steps if step.kind != "group"]
        step = self.chance.choice(steps) if steps else None
        if step is None:
            return
        trial, disk = self.model.copy(), self.world.disk()
        outcome = trial.build(self.world.steps, self.world.sources, disk)
        selected: set[str] = set()
        todo = [job.name for job in outcome.jobs if job.step is step]
        if not todo:
            return
        while todo:
            name = todo.pop()
            if name not in selected:
                selected.add(name)
                todo += outcome.needs[name]
        self.world.story.append(f"--- build {step.name}")
        expected = self.world.disk()
        outcome = self.model.build(self.world.steps, self.world.sources, expected, selected=selected)
        code = self.duct("build", step.name)
        self.check(code == 0, f"exit {code}")
        ran = self.ran()
        self.check(ran == outcome.ran, f"had to run {sorted(outcome.ran)}\nran        {sorted(ran)}")
        self.same_files(expected)

    def killed_build(self) -> None:
        """A build that is killed at some moment, or loses its commands, and the one after it."""
        self.world.story.append("--- build, killed")
        before = self.world.disk()
        slots = self.chance.choice([1, 2, 4])
        process = self.box.start("build", f"-j{slots}")
        time.sleep(self.chance.uniform(0.03, 0.3))
        target = self.chance.choice(["everything", "duct", "commands"])
        if target == "everything":
            self.box.kill_everything()
        elif target == "commands":
            self._kill_commands_of(process.pid)
        if target != "commands":
            process.send_signal(signal.SIGKILL)
        self.box.finish(process)
        if target == "duct":
            self._wait_for_leftovers()
        logged = self.ran()
        none_remembered, all_remembered = self.model.copy(), self.model.copy()
        most = none_remembered.build(self.world.steps, self.world.sources, dict(before)).ran
        self.check(logged <= most, f"ran without need: {sorted(logged - most)}")
        disk = dict(before)
        all_remembered.build(self.world.steps, self.world.sources, disk, only=logged)
        expected = disk
        least = all_remembered.build(self.world.steps, self.world.sources, expected).ran
        code = self.duct("build", f"-j{slots}")
        self.check(code == 0, f"exit {code}")
        running = slots * max(step.size if step.way == "batch" else 1 for step in self.world.steps)
        ran = self.ran(leftovers=running if target == "duct" else 0)
        started = re.findall(r"^\[ *\d+/\d+\] (.*?): ", self.duct.err, re.MULTILINE)
        self.check(len(started) == len(set(started)), f"started twice in one build: {sorted(started)}")
        self.check(least <= ran <= most, f"at least {sorted(least)}\nat most {sorted(most)}\nran {sorted(ran)}")
        self.check(len(ran - least) <= running, f"more than the running jobs ran again: {sorted(ran - least)}")
        self.model = all_remembered
        self.same_files(expected)
        self.nothing(expected)

    def _kill_commands_of(self, duct: int) -> None:
        """All commands and workers as they are now, and not the duct that waits for them: its build fails, or was over."""
        for pid in self.box.processes():
            if pid != duct:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _wait_for_leftovers(self) -> None:
        """Sometimes the commands that lost their duct end before the next one looks, sometimes not."""
        if self.chance.random() < 0.5:
            end = time.monotonic() + 10
            while self.box.processes() and time.monotonic() < end:
                time.sleep(0.01)
        elif self.box.processes():
            time.sleep(0.02)

    def clean_build(self) -> None:
        """A fresh copy of the sources, built at once, gives the same targets; anything else must be an orphan."""
        with contextlib.ExitStack() as stack:
            self._clean_build(self._fresh(stack))

    def _fresh(self, stack: contextlib.ExitStack) -> Sandbox:
        home = os.path.join(self.box.home, "fresh")
        if isinstance(self.box, CloudSandbox):
            return CloudSandbox(home, stack.enter_context(GcsServer(BUCKET)))
        return Sandbox(home)

    def _clean_build(self, fresh: Sandbox) -> None:
        fresh.env |= {name: self.box.env[name] for name in ("FAILS", "PROGRAM")}
        fresh.files(dict(self.world.sources))
        for name in CODE:
            shutil.copyfile(self.box.path(name), fresh.path(name))
        duct = Inside(fresh)
        code = duct("build", "-j2")
        self.check(code == 0, f"clean build: exit {code}\n{duct.err}")
        clean = data_files(fresh)
        here = self.world.disk()
        self.check({key: here.get(key) for key in clean} == clean, "not what a clean build gives")
        orphans = here.keys() - clean.keys()
        once = {key for trace in self.model.traces.values() for key in trace.targets}
        self.check(orphans <= once, f"nobody made {sorted(orphans - once)}")


@pytest.fixture
def quiet_signals() -> Iterator[None]:
    """Handlers as they were: a build in this process must put them back."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.usefixtures("quiet_signals")
@pytest.mark.parametrize("seed", SEEDS)
def test_random_project_is_rebuilt_rightly_and_minimally(box: Sandbox, seed: int) -> None:
    edited_and_built(Trial(box, seed))


def edited_and_built(trial: Trial) -> None:
    """Rounds of edits, of builds that do only a part, and of whole ones."""
    trial.build()
    for _ in range(ROUNDS):
        for _ in range(trial.chance.choice([1, 1, 1, 2, 3])):
            trial.world.edit(trial.model)
        trial.world.adopt(trial.model)
        chance = trial.chance.random()
        if chance < 0.25:
            trial.dry_run()
        elif chance < 0.45:
            trial.failing_build()
        elif chance < 0.6:
            trial.partial_build()
        trial.build()
    trial.clean_build()


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer(BUCKET) as running:
        yield running


@pytest.mark.usefixtures("quiet_signals")
@pytest.mark.parametrize("seed", FAR_SEEDS)
def test_random_project_with_objects_is_rebuilt_rightly_and_minimally(
    tmp_path: Path, server: GcsServer, seed: int
) -> None:
    box = CloudSandbox(str(tmp_path), server)
    try:
        edited_and_built(Trial(box, 2_000_000 + seed))
    finally:
        box.kill_everything()


@pytest.mark.parametrize("seed", KILLS[::4])
def test_random_project_with_objects_survives_kills(tmp_path: Path, server: GcsServer, seed: int) -> None:
    box = CloudSandbox(str(tmp_path), server)
    try:
        killed_and_built(Trial(box, 3_000_000 + seed))
    finally:
        box.kill_everything()


@pytest.mark.parametrize("seed", KILLS)
def test_random_project_survives_kills(tmp_path: Path, seed: int) -> None:
    box = Sandbox(str(tmp_path))
    try:
        killed_and_built(Trial(box, 1_000_000 + seed))
    finally:
        box.kill_everything()


def killed_and_built(trial: Trial) -> None:
    """Rounds of edits and builds that are killed."""
    for _ in range(ROUNDS):
        trial.killed_build()
        for _ in range(trial.chance.randint(1, 3)):
            trial.world.edit(trial.model)
        trial.world.adopt(trial.model)
    trial.build()
    trial.clean_build()


def test_the_model_itself_notices_a_missed_job(box: Sandbox) -> None:
    trial = Trial(box, 3)
    disk = trial.world.disk()
    first = trial.model.build(trial.world.steps, trial.world.sources, disk)
    again = trial.model.build(trial.world.steps, trial.world.sources, disk)
    assert first.ran
    assert again.ran == set()
