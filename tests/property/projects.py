"""Random projects and random edits: what a user may do to a project between two builds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cloud import FAR, CloudSandbox
from oracle import ENUMERABLE, MODULE, OPS, PROGRAM, UNORDERED, Files, Step, ductfile, helper, target_texts

if TYPE_CHECKING:
    import random

    from oracle import Model

    from support import Sandbox

NAMES = ["a1", "a2", "a3", "b1", "b2", "c d", "e'f", "$g", "-h", "ü"]
WORDS = [b"ant\n", b"bee\n", b"cat\n", b"ape\n", b"bat\n", b"cow\n"]
FOLDERS = ["raw", "in put"]
CODE = ("Ductfile", "work.py", "tool.py")
"""What a fresh copy needs beside the sources."""


def data_files(box: Sandbox) -> Files:
    """All files of a project that are neither the Ductfile nor modules."""
    code = (*CODE, "unrelated.py")
    return {key: data for key, data in box.tree().items() if key not in code and not key.startswith("__pycache__/")}


class World:
    """A project on disk with its steps, its sources, and what was done to it."""

    def __init__(self, box: Sandbox, chance: random.Random) -> None:
        self.box = box
        self.chance = chance
        self.far = isinstance(box, CloudSandbox)
        self.folders = [*FOLDERS, f"{FAR}raw"] if self.far else FOLDERS
        self.fails = os.path.join(box.home, "fails")
        box.env["FAILS"] = self.fails
        box.env["PROGRAM"] = os.path.join(box.home, "program.py")
        with open(box.env["PROGRAM"], "w") as program:
            program.write(PROGRAM)
        self.mark = "m"
        box.write("work.py", MODULE)
        box.write("tool.py", helper(self.mark))
        self.sources: Files = {}
        self.steps: list[Step] = []
        self.removed: list[tuple[int, Step]] = []
        self.adopted: set[str] = set()
        self.story: list[str] = []
        for folder in self.folders:
            for name in chance.sample(NAMES, chance.randint(1, 5)):
                self._put(f"{folder}/{name}.s", self._words())
        for name in ("one.txt", "two.txt"):
            self._put(name, self._words())
        for folder in self.folders[::2]:
            self._put(f"{folder}/.hidden.s", b"never read\n")
        for number in range(chance.randint(2, 7)):
            self.steps.append(self._step(number))
        self.write()

    # files

    def write(self) -> None:
        """The steps as they are now, to the Ductfile."""
        self.box.ductfile(ductfile(self.steps))

    def _words(self) -> bytes:
        return b"".join(self.chance.choices(WORDS, k=self.chance.randint(1, 3)))

    def _put(self, key: str, data: bytes) -> None:
        self.box.write(key, data)
        self.sources[key] = data

    def disk(self) -> Files:
        """All files of the project but the Ductfile and the modules."""
        return data_files(self.box)

    # steps

    def _step(self, number: int) -> Step:
        chance = self.chance
        name, folder = f"s{number}", f"o{number}"
        kind = chance.choice(
            ["map", "map", "map", "collect", "merge", "merge", "foreach", "plain", "dynamic", "folder", "group"]
        )
        if kind == "group" and not self.steps:
            kind = "plain"
        reads, ordered = self._reads(kind)
        step = Step(
            name,
            kind,
            reads,
            folder,
            op="tree" if reads[0].endswith("/") else chance.choice(OPS if ordered else UNORDERED),
            tag=chance.choice("tuv"),
            param=chance.choice([None, None, 1]),
            two=chance.random() < 0.25,
            direct=chance.random() < 0.25,
            values=tuple(chance.sample(["v1", "v2", "v 3"], chance.randint(1, 3))) if kind == "foreach" else (),
        )
        if step.op == "tree" and step.kind != "plain":
            step.kind = "plain"
        if step.kind in ENUMERABLE and step.op in OPS:
            step.way = chance.choice(["run", "run", "batch" if step.wildcard else "run", "python"])
        if step.way != "run":
            step.direct = False
        if self.far and step.kind in ENUMERABLE and chance.random() < 0.5:
            step.folder, step.direct = f"{FAR}{folder}", False
        if step.way != "run":
            step.size = chance.randint(2, 5)
            step.mark = self.mark
        return step

    def _reads(self, kind: str) -> tuple[list[str], bool]:
        """The slots of a step of this kind, and whether their order is known (that of `step:` is not part of the model)."""
        chance = self.chance
        if kind == "group":
            steps = [step for step in self.steps if step.kind not in ("folder", "group")]
            return [f"step:{step.name}" for step in chance.sample(steps, min(2, len(steps)))] or ["one.txt"], True
        patterns = [f"{folder}/*.s" for folder in self.folders]
        literals = ["one.txt", "two.txt"]
        folders = []
        for step in self.steps:
            if step.kind in ("map", "collect", "foreach"):
                patterns.append(f"{step.folder}/*.t")
            elif step.kind == "dynamic":
                patterns += [f"{step.folder}/*.p"] * 3
            elif step.kind == "folder":
                folders.append(f"{step.folder}/")
            elif step.kind != "group":
                literals += [f"{step.folder}/all.t"] * 2
            if step.kind == "foreach":
                literals += [f"{step.folder}/{value}.t" for value in step.values]
        shared = chance.sample(sorted(set(literals)), chance.choice([0, 0, 1]))
        if kind == "map":
            return [chance.choice(patterns).replace("*", "{x}"), *shared], True
        if kind == "collect":
            return [chance.choice(patterns).replace("*", "{g}{i}"), *shared], True
        if folders and chance.random() < 0.5 and kind == "plain":
            return [chance.choice(folders)], True
        names = [step.name for step in self.steps if step.kind != "folder" and not self._reads_folder(step.name)]
        if names and chance.random() < 0.2 and kind not in ("dynamic", "folder"):
            return [f"step:{chance.choice(names)}", *shared], False
        if kind == "plain":
            return chance.sample(sorted(set(literals)), min(len(set(literals)), chance.randint(1, 3))), True
        return [chance.choice(patterns), *shared], True

    def _reads_folder(self, name: str) -> bool:
        """Is it a group that gives a folder as a whole? Such a one is not read by `cat`."""
        return any(step.name == name and step.kind == "group" for step in self.steps)

    # edits

    def edit(self, model: Model) -> None:
        """Do something to the project, of which the tool is not told."""
        edits = [
            (5, self.content),
            (2, self.older),
            (2, self.behind_the_stamp),
            (2, self.touch),
            (3, self.add),
            (3, self.delete),
            (2, self.rename),
            (2, self.target_edited),
            (2, self.target_deleted),
            (1, self.target_touched),
            (2, self.command),
            (1, self.param),
            (1, self.input_dropped),
            (1, self.step_removed),
            (1, self.step_returned),
            (1, self.reformatted),
            (1, self.batch_size),
            (1, self.helper_code),
            (1, self.helper_comment),
            (1, self.unrelated_module),
        ]
        weights = [weight for weight, _ in edits]
        _, edit = self.chance.choices(edits, weights)[0]
        done = edit()
        if done:
            self.story.append(f"{edit.__name__}: {done}")
        assert model is not None

    def _source(self) -> str:
        return self.chance.choice([key for key in sorted(self.sources) if ".hidden" not in key])

    def content(self) -> str:
        key = self._source()
        self._put(key, self._words())
        return f"{key} = {self.sources[key]!r}"

    def older(self) -> str:
        key = self._source()
        self.sources[key] = self._words()
        self.box.write_older(key, self.sources[key].decode())
        return f"{key} = {self.sources[key]!r}"

    def behind_the_stamp(self) -> str:
        key = self._source()
        lines = self.sources[key].splitlines(keepends=True)
        data = b"".join(self.chance.choices(WORDS, k=len(lines)))
        self.box.write_behind_the_stamp(key, data.decode())
        self.sources[key] = data
        return f"{key} = {data!r}"

    def touch(self) -> str:
        key = self._source()
        self.box.touch(key)
        return key

    def add(self) -> str:
        key = f"{self.chance.choice(self.folders)}/{self.chance.choice(NAMES)}.s"
        self._put(key, self._words())
        return f"{key} = {self.sources[key]!r}"

    def delete(self) -> str:
        key = self._source()
        if "/" not in key:
            return ""
        self.box.remove(key)
        del self.sources[key]
        return key

    def rename(self) -> str:
        old = self._source()
        new = f"{self.chance.choice(self.folders)}/{self.chance.choice(NAMES)}.s"
        if "/" not in old or new == old:
            return ""
        if not new.startswith(FAR):
            os.makedirs(os.path.dirname(self.box.path(new)), exist_ok=True)
        self.box.rename(old, new)
        self.sources[new] = self.sources.pop(old)
        return f"{old} -> {new}"

    def _target(self) -> str | None:
        made = sorted(key for key in self.disk() if key not in self.sources)
        return self.chance.choice(made) if made else None

    def target_edited(self) -> str:
        key = self._target()
        if key is None:
            return ""
        more = self.chance.choice(["mine\n", ""])
        if any(step.kind == "dynamic" and not step.direct and key.startswith(f"{step.folder}/") for step in self.steps):
            more = ""  # one that is no longer made would stay
        self.box.write(key, self.box.read(key) + more)
        return f"{key}{' += mine' if more else ''}"

    def adopt(self, model: Model) -> None:
        """What a job made once, no job makes now, and somebody has edited since, is a source."""
        for _ in range(10):
            twin, disk = model.copy(), self.disk()
            jobs = twin.build(self.steps, self.sources, dict(disk)).jobs
            live = {key for job in jobs for key in (twin.traces[job.name].targets if job.step.dynamic else job.targets)}
            folders = tuple(f"{job.step.folder}/" for job in jobs if job.step.kind == "folder")
            live |= {key for key in disk if key.startswith(folders)}
            once: dict[str, set[bytes]] = {}
            for trace in model.traces.values():
                for key, data in trace.targets.items():
                    once.setdefault(key, set()).add(data)
            known = live | self.sources.keys()
            strange = {key for key, data in disk.items() if key not in known and data not in once.get(key, ())}
            back = self.adopted & live & self.sources.keys()
            if not strange and not back:
                return
            self.adopted |= strange
            self.sources.update({key: disk[key] for key in strange})
            for key in back:
                del self.sources[key]

    def target_deleted(self) -> str:
        key = self._target()
        if key is None:
            return ""
        self.box.remove(key)
        return key

    def target_touched(self) -> str:
        key = self._target()
        if key is None:
            return ""
        self.box.touch(key)
        return key

    def _some(self) -> Step | None:
        steps = [step for step in self.steps if step.kind != "group"]
        return self.chance.choice(steps) if steps else None

    def command(self) -> str:
        step = self._some()
        if step is None:
            return ""
        step.tag = self.chance.choice("tuvw")
        self.write()
        return f"{step.name}.tag = {step.tag}"

    def param(self) -> str:
        step = self._some()
        if step is None:
            return ""
        step.param = self.chance.choice([None, 1, 2])
        self.write()
        return f"{step.name}.param = {step.param}"

    def input_dropped(self) -> str:
        step = self._some()
        if step is None or len(step.reads) < 2:
            return ""
        gone = step.reads.pop()
        self.write()
        return f"{step.name}: {gone}"

    def step_removed(self) -> str:
        number = self.chance.randrange(len(self.steps))
        step = self.steps[number]
        keys = {f"step:{step.name}", f"{step.folder}/", *target_texts(step)}
        if step.kind == "foreach":
            keys |= {f"{step.folder}/{value}.t" for value in step.values}
        if len(self.steps) < 2 or any(slot in keys for other in self.steps for slot in other.reads):
            return ""
        self.removed.append((number, self.steps.pop(number)))
        self.write()
        return step.name

    def step_returned(self) -> str:
        if not self.removed:
            return ""
        number, step = self.removed.pop()
        texts = {text for other in self.steps for text in other.reads}
        if any(text.startswith("step:") and text[5:] not in {s.name for s in self.steps} for text in step.reads):
            return ""
        if any(self._missing(text) for text in step.reads):
            return ""
        assert f"step:{step.name}" not in texts
        self.steps.insert(number, step)
        self.write()
        return step.name

    def _missing(self, text: str) -> bool:
        """A key that only a removed step makes."""
        made = {key for step in self.steps for key in _literal_targets(step)}
        return (
            "*" not in text and "{" not in text and not text.startswith("step:") and text not in {*made, *self.sources}
        )

    def reformatted(self) -> str:
        self.box.write(
            "Ductfile", "# again\n\n" + ductfile(self.steps).replace("\nrun = ", "\ndescription = 'x'\n\nrun  =  ")
        )
        return "yes"

    def batch_size(self) -> str:
        steps = [step for step in self.steps if step.way == "batch"]
        if not steps:
            return ""
        step = self.chance.choice(steps)
        step.size = self.chance.randint(1, 6)
        self.write()
        return f"{step.name}.batch = {step.size}"

    def helper_code(self) -> str:
        self.mark = self.chance.choice("mno")
        for step in [*self.steps, *(step for _, step in self.removed)]:
            step.mark = self.mark
        self.box.write("tool.py", helper(self.mark))
        return self.mark

    def helper_comment(self) -> str:
        self.box.write("tool.py", f"# {self._words()!r}\n\n{helper(self.mark)}")
        return "yes"

    def unrelated_module(self) -> str:
        self.box.write("unrelated.py", f"WORDS = {self._words()!r}\n")
        return "yes"

    # failures

    def fail(self, names: frozenset[str]) -> None:
        """From now on the jobs of these names fail, and no others."""
        if os.path.isdir(self.fails):
            for folder, folders, files in os.walk(self.fails, topdown=False):
                for name in files:
                    os.unlink(os.path.join(folder, name))
                for name in folders:
                    os.rmdir(os.path.join(folder, name))
        for name in names:
            path = os.path.join(self.fails, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not path.endswith("/"):
                with open(path, "w"):
                    pass


def _literal_targets(step: Step) -> list[str]:
    if step.kind == "folder":
        return [f"{step.folder}/"]
    if step.kind == "foreach":
        return [f"{step.folder}/{value}.t" for value in step.values]
    return [f"{step.folder}/all.t"] if step.kind in ("plain", "merge") else []
