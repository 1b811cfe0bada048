"""What a verb works with: a project's Ductfile, plan, state and contents, opened for writing (a build, locked) or for reading only.

Opening does the least that the state allows: the fast check says which keys and folders differ from the last snapshot; the plan is expanded only when
what it depends on has changed; and only jobs that may be affected are noted as dirty. Invariant while it is open: a job that is neither dirty nor
downstream of a changed key is up to date.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

from . import __version__, ductfile
from . import events as ev
from .commands import Commands
from .contents import NEVER_SEEN, Columns, Contents
from .errors import BuildRunning, DuctError, PlanError, StoreError, UsageError
from .judging import Judge
from .keys import VALUES, is_remote
from .lock import Lock
from .model import Check, Stamp
from .orphans import is_as_made, sort_out
from .plan.columns import Folder, Plan
from .plan.definition import definition_digest, definitions
from .plan.expand import expand, plan_digest, relist
from .plan.listing import Listing
from .plan.matching import other_jobs, same_jobs
from .plan.patterns import bound_texts, glob, key_pattern
from .plan.select import needed, select
from .rebuilder import ACCEPTED
from .remotes import stores_of
from .stores.local import LocalStore
from .stores.objects import Objects
from .stores.routed import remote_keys
from .stores.staging import Staging
from .stores.values import ValueStore
from .text import count, duration, shown
from .trace.check import SAME, check, kept
from .trace.database import HELPERS, Traces
from .trace.fingerprints import TICK_NS, racy
from .trace.record import Trace
from .trace.snapshot import FORMAT, write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from .events import Event, Reporter
    from .model import Project
    from .orphans import Sorted
    from .plan.select import Selection
    from .runners.command import Rendered
    from .stores.patience import Retry
    from .stores.routed import Stores
    from .stores.values import Saved
    from .trace.check import Checked
    from .trace.snapshot import Snapshot

MOST_COPIES = 20 << 30
"""Bytes of local copies of remote inputs that are left after a build: those used last."""
DUCTFILE = "Ductfile"
STATE = ".duct"
IGNORE = "*\n"
"""What git is told of all that is in there."""


class Source(Protocol):
    """What describes a project instead of a Ductfile: a pipeline. Its state lies in a folder of its own, below `.duct/pipelines/`."""

    @property
    def name(self) -> str: ...

    def project(self, root: str) -> Project:
        """The project with this absolute root. DuctError with what is wrong in it."""

    def notifier(self, reporter: Reporter, state: str) -> Reporter:
        """The reporter, with what is to be done besides when a build has ended."""


class Where:
    """A project as it was found: the absolute root, the Ductfile's name in it, how messages call it, and the user's folder seen from the root.

    `environ` is the environment as it was then. `offline`: no remote store is to be asked.
    """

    def __init__(
        self,
        root: str,
        ductfile: str = DUCTFILE,
        shown_as: str = DUCTFILE,
        standing: str = ".",
        sets: tuple[tuple[str, str], ...] = (),
        *,
        offline: bool = False,
        source: Source | None = None,
    ) -> None:
        self.root = root
        self.ductfile = ductfile
        self.shown_as = shown_as
        self.standing = standing
        self.sets = sets
        self.environ: Mapping[str, str] = dict(os.environ)
        self.offline = offline
        self.source = source

    @property
    def state(self) -> str:
        """The state folder, relative to the root. A Ductfile of another name has its own: two of them are two projects."""
        if self.source is not None:
            return f"{STATE}/pipelines/{self.source.name}"
        return STATE if self.ductfile == DUCTFILE else f"{STATE}/ductfiles/{self.ductfile}"


def locate(
    file: str | None = None,
    directory: str | None = None,
    cwd: str | None = None,
    sets: Sequence[tuple[str, str]] = (),
    *,
    offline: bool = False,
) -> Where:
    """The project that is meant: the Ductfile named, or the nearest one upwards. UsageError says where it was looked for."""
    here = os.path.abspath(os.path.join(cwd or os.getcwd(), directory or ""))
    if directory is not None and not os.path.isdir(here):
        raise UsageError(f'there is no folder "{directory}"', hint="-C names the folder to work in")
    if file is not None:
        path = os.path.abspath(os.path.join(here, file))
        if os.path.isdir(path):
            path = os.path.join(path, DUCTFILE)
        if not os.path.isfile(path):
            raise UsageError(f'there is no Ductfile at "{file}"', hint="`duct init` writes one")
        return _where(path, here, sets, offline)
    folder = here
    odd: list[str] = []
    while True:
        path = os.path.join(folder, DUCTFILE)
        if os.path.isfile(path):
            return _where(_whole(path), here, sets, offline)
        if os.path.lexists(path):
            what = "folder" if os.path.isdir(path) else "link to nowhere" if os.path.islink(path) else "thing"
            odd.append(f"{path} is a {what}, and no file")
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    raise UsageError(
        "there is no Ductfile here",
        facts=[f"looked in {here} and in every folder above it", *odd],
        hint="`duct init` writes one, -f names one, -C goes to another folder",
    )


def _whole(path: str) -> str:
    """The outermost Ductfile above that includes this one, if there is any: a part of a project is not a project of its own."""
    found = path
    folder = os.path.dirname(path)
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        other = os.path.join(folder, DUCTFILE)
        if os.path.isfile(other) and os.path.realpath(path) in _included(other):
            found = other
    return found


def _included(path: str) -> set[str]:
    """The real paths of all Ductfiles that one includes, directly or not. Files with mistakes include nothing here: the reader tells them."""
    import tomli

    found: set[str] = set()
    queue = [path]
    for each in queue:
        try:
            with open(each, "rb") as file:
                data = file.read()
            includes = tomli.loads(data.decode()).get("include", ()) if b"include" in data else ()
        except (OSError, ValueError, RecursionError):
            continue
        for name in [includes] if isinstance(includes, str) else includes if isinstance(includes, list) else ():
            real = os.path.realpath(os.path.join(os.path.dirname(each), str(name)))
            if real not in found:
                found.add(real)
                queue.append(real)
    return found


def _where(path: str, here: str, sets: Sequence[tuple[str, str]], offline: bool) -> Where:
    root, name = os.path.split(path)
    called = os.path.relpath(path, here)
    if called.count("../") > 3:
        called = path
    return Where(root, name, called, os.path.relpath(here, root), tuple(sets), offline=offline)


class Workspace:
    """An open project. `changed` are keys that are not what the last snapshot saw; `dirty` are jobs not known to be up to date."""

    def __init__(
        self,
        where: Where,
        project: Project,
        traces: Traces,
        checked: Checked,
        staging: Staging,
        stores: Stores,
        *,
        read_at_ns: int,
        mend: bool = False,
    ) -> None:
        self.postponed: PlanError | None = None
        """Why the steps cannot be expanded with the known members of dynamic targets: this plan is one without them, good for their makers only."""
        self._mending = mend
        self.where = where
        self.project = project
        self.environ = where.environ
        self.state = where.state
        self.logs = f"{self.state}/logs"
        self.marker = marker(where)
        self.store = stores
        self.objects = Objects(f"{self.state}/objects")
        self.staging = staging
        self.traces = traces
        self.changed: set[int] = set()
        self.dirty: set[int] = set()
        self.edited_orphans: set[str] = set()
        """Files that a job made once, and that somebody has written to since: the user's, by now."""
        self._orphans: dict[str, Stamp] = {}
        """Orphans looked at since this was opened, with their stamps."""
        self._sorted_at_ns = 0
        self._supposed: Mapping[str, Sequence[str]] = {}
        self._attempts = 0
        self._killed = False
        """Was a build killed after the snapshot was written? Then the traces know more of what was made than the plan in it."""
        self._as_saved = False
        """Is all as the snapshot says, so that it need not be written again?"""
        self._counted: int | None = None
        self._pack: Saved | None = None
        """What the snapshot has of the pack of values."""
        self._checked = checked
        self._listing: Listing | None = None
        self._read_at_ns = read_at_ns
        self._files = [(path, _stamp_of(path)) for path in project.files]
        self._code = [(path, _stamp_of(path) or ()) for path in project.code_files]
        self._plan_digest = plan_digest(project)
        self.definitions = definitions(project.steps, where.environ, project.vars)
        digests = {text: definition_digest(text) for text in set(self.definitions)}
        self.digests = [digests[text] for text in self.definitions]
        self._open()

    # -- the plan, as it was or expanded ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        snapshot = self._checked.snapshot
        if snapshot is None or not self._is_saved_beside(snapshot) or not snapshot.is_whole():
            plan = self._expand(self.traces.made_keys(), None, Columns.blank(0))
            self._use(plan, Columns.blank(len(plan.names)), None)
            self.dirty = set(range(plan.jobs))
            return
        header = snapshot.header
        if not self._files:  # a pipeline that its own program executes: a watch is told of its files by who loaded them
            self._files = [(path, stamp) for path, stamp in header["files"]]
        old = Plan.load(self.project.steps, snapshot.plan(), snapshot.names)
        columns = Columns(*snapshot.stamps(), bytearray(snapshot.fps()))
        snapshot.close()
        changed = set(self._checked.changed)
        if self.store.values is not None:
            self._pack = header["pack"]
            changed = {key for key in changed if not self._is_same_value(old.names[key], columns, key)}
        if self.store.offline:
            for key in remote_keys(old.names) if header["remote"] else ():
                if columns.sizes[key] != NEVER_SEEN:
                    self.store.recall(old.names[key], columns.stamp(key))
        same = header["plan_digest"] == self._plan_digest
        self._killed = header["run"] != self._last_run()
        if same and not self._killed:
            self._listing = Listing(self.store)
            remote = [at for at, folder in enumerate(old.folders) if is_remote(folder.name)] if header["remote"] else []
            suspects = [*self._checked.folders, *remote]
            folders = relist(old, self.store, suspects, self._listing)
            if folders is not None and not self._orphans_edited(old, columns, changed):
                for at, folder in zip(suspects, folders):
                    old.folders[at] = folder
                self._use(old, columns, changed)
                self.dirty = set(_unpack(header["dirty"]))
                self._counted = header["default_jobs"]
                self._note_definitions(header)
                files = [path for path, _ in (*self._files, *self._code)]
                known = files == [path for path, _ in header["files"]]
                self._as_saved = self._checked.outcome == SAME and not self.dirty and known
                return
        dirty = set(_unpack(header["dirty"]))
        self._replan(old, columns, changed, dirty, None if same else header["steps"])
        self._note_definitions(header)

    def _is_saved_beside(self, snapshot: Snapshot) -> bool:
        """Does the snapshot go with the database? One that does not says of jobs what the traces do not know."""
        return bool(snapshot.header["token"] == self.traces.token())

    def _is_same_value(self, name: str, columns: Columns, key: int) -> bool:
        """Is it a value, and what it was? Where the pack was touched, the quick check calls all values changed."""
        if not name.startswith(VALUES) or columns.sizes[key] == NEVER_SEEN:
            return False
        try:
            return columns.holds(key, self.store.stat(name))
        except StoreError:  # told by the build that needs it
            return False

    def _expand(
        self, once_made: Iterable[str], old: Plan | None, columns: Columns, dirty: Collection[int] = ()
    ) -> Plan:
        made = once_made if isinstance(once_made, set) else set(once_made)
        listing, self._listing = self._listing, None
        members: Callable[[str], Sequence[str]] = self._members_of
        try:
            plan = expand(self.project, self.store, members=members, once_made=made, listing=listing)
        except PlanError as error:
            if not self._mending:
                raise
            # It may be what a dynamic target held the last time: then its maker gets the chance to make something else.
            members = _no_members
            plan = expand(self.project, self.store, members=members, once_made=made)
            self.postponed = error
        if plan.orphans:
            orphans, edited = self._sort_out(plan.orphans, old, columns, dirty)
            if edited:
                made -= edited
                plan = expand(self.project, self.store, members=members, once_made=made)
            plan.track([key for key in plan.orphans if key in orphans])
        return plan

    def _members_of(self, job_id: str) -> Sequence[str]:
        supposed = self._supposed.get(job_id)
        return self.traces.members(job_id) if supposed is None else supposed

    def _sort_out(
        self, orphans: Sequence[str], old: Plan | None, columns: Columns, dirty: Collection[int] = ()
    ) -> Sorted:
        """Which of these still are what was made; the others are the user's files now. `dirty` are jobs of the old plan."""

        def known(key: str, stamp: Stamp) -> tuple[bool, bytes | None]:
            number = None if old is None else old.key(key)
            if old is None or number is None or columns.stamp(number) != stamp:
                return False, None
            maker = old.maker[number]
            # A former member of a dynamic target may be one that its maker left alone, edited by somebody.
            sure = number >= old.first_orphan or (maker >= 0 and maker not in dirty and not old.is_dynamic(maker))
            return sure, columns.fingerprint(number)

        self._sorted_at_ns = time.time_ns()
        found = sort_out(orphans, self.store, self.traces, known)
        self._orphans.update(found.orphans)
        self.edited_orphans |= found.edited
        return found

    def _orphans_edited(self, old: Plan, columns: Columns, changed: set[int]) -> bool:
        """Has somebody written to an orphan of the plan?"""
        suspects = [key for key in changed if key >= old.first_orphan]
        return bool(suspects) and bool(self._sort_out([old.names[key] for key in suspects], old, columns).edited)

    def _replan(
        self, old: Plan, columns: Columns, changed: set[int], dirty: set[int], names: Sequence[str] | None = None
    ) -> None:
        """Expand again, and carry over what is known. `names` are those of the old steps, where they are other ones."""
        maker = old.maker
        made = {name for name, job in zip(old.names, maker) if job >= 0}
        for folder, inside in old.holds:
            if maker[folder] >= 0:  # what lies in it comes and goes with it
                made.difference_update([old.names[key] for key in inside])
        made.update(old.orphans)
        if self._killed:
            made.update(self.traces.made_keys())
        self._carry_over(self._expand(made, old, columns, dirty), columns, old, changed, dirty, names)

    def _carry_over(
        self,
        plan: Plan,
        columns: Columns,
        old: Plan,
        changed: set[int],
        dirty: set[int],
        names: Sequence[str] | None,
    ) -> None:
        numbers = dict(zip(old.names, range(len(old.names))))
        places = [numbers.get(name, -1) for name in plan.names]
        del numbers
        # An orphan that is read or made by now is new as well.
        last = old.first_orphan if old.orphans else len(places) + len(old.names)
        now_changed = {at for at, was in enumerate(places) if was < 0 or was in changed or was >= last}
        self._use(plan, columns.carried(places), now_changed)
        same = same_jobs(plan, old, places, by_id=names is None)
        self.dirty = {job for job, was in enumerate(same) if was < 0 or was in dirty}
        self.dirty |= other_jobs(plan, old, places, same, names or [step.name for step in plan.steps])

    def _use(self, plan: Plan, columns: Columns, changed: set[int] | None) -> None:
        self.plan = plan
        texts = [slot.text for step in plan.steps for slot in (*step.inputs, *step.targets)]
        self._remote = remote_keys(plan.names) if any(map(is_remote, (*texts, *plan.orphans))) else []
        self.has_remote = bool(self._remote)
        self._default = select(plan, self.project, (), self.where.standing)
        self._counted = None
        self.changed = set(range(len(plan.names))) if changed is None else changed
        self.contents = Contents(plan.names, self.store, columns, changed)
        if self._orphans:
            for number, key in enumerate(plan.orphans, plan.first_orphan):
                if key in self._orphans:
                    self.contents.note(number, self._orphans[key], self._sorted_at_ns)
        self.commands = Commands(
            plan,
            self.project.vars,
            self.definitions,
            staged=self.staging.path,
            copied=self.copy_of,
            manifests=f"{self.state}/manifests",
        )
        self.judge = Judge(
            plan, self.contents, self.traces, self.commands, self.digests, self.definitions, self.store.marks
        )

    def copy_of(self, key: int) -> str:
        """Where the local copy of a remote key lies, once it is fetched."""
        name = self.plan.names[key]
        return self.objects.path(name, self._identity(key))

    def lacks_copy(self, key: int) -> bool:
        """Has this remote key to be fetched before a command can read it?"""
        return not self.objects.has(self.plan.names[key], self._identity(key))

    def fetch(self, key: int) -> None:
        """Fetch the content of a remote key as it was when it was judged. StoreError; Changed where it is another by now."""
        name, stamp = self.plan.names[key], self.contents.stamp(key)
        if stamp is not None:
            self.objects.put(name, self._identity(key), lambda path: self.store.fetch(name, stamp, path))

    def _identity(self, key: int) -> bytes:
        name, stamp = self.plan.names[key], self.contents.stamp(key)
        if stamp is None:
            raise StoreError(f"{shown(name)} is not there")
        return self.store.identity(name, stamp)

    def remove(self, key: str) -> None:
        """Remove what a job made, with folders that are empty then. StoreError."""
        if not is_remote(key):
            values = self.store.values
            if values is not None and key.startswith(VALUES):
                values.hide(key)
            self.staging.remove(key, parents=True)
            return
        stamp = self.store.stat(key)
        if stamp is not None and not self.store.remove(key, stamp):
            raise StoreError(f"cannot remove {shown(key)}: somebody else changed it meanwhile")

    def take_for_made(self, job: int, packed: bytes, run: int, why: str) -> None:
        """Record the job as up to date with what its inputs (their packed fingerprints) and targets hold now."""
        plan, contents = self.plan, self.contents
        number = plan.step_of(job)
        step = plan.steps[number]
        check = Check.CONTENT if step.check is Check.CONTENT else Check.MTIME
        targets = plan.targets(job)
        stamps = [contents.stamp(key) for key in targets]
        self.traces.record(
            Trace(
                id=plan.job_id(job),
                step=step.name,
                values=plan.values(job),
                definition=self.digests[number],
                command=self.commands.digest(plan.job(job)),
                check=step.check.value,
                inputs=[plan.names[key] for key in plan.inputs(job)],
                input_fps=packed,
                targets=[plan.names[key] for key in targets],
                target_fps=b"".join(contents.fingerprint(key, check) or b"" for key in targets),
                target_stamps=[stamp for stamp in stamps if stamp is not None],
                run=run,
                started=time.time(),
                seconds=0.0,
                attempts=0,
                output=0,
                log=None,
                reasons=((why, None, None, None),),
            )
        )
        self.judge.drop(job)

    def ask_remote(self, selection: Selection) -> None:
        """Find out about the remote keys of the selected jobs, all together: those that are not as they were have changed. StoreError."""
        if not self._remote:
            return
        plan = self.plan
        keys: Iterable[int] = self._remote
        if selection.jobs is not None:
            jobs = needed(plan, range(plan.jobs), selection)
            keys = set(self._remote).intersection(
                key for job in jobs for key in (*plan.inputs(job), *plan.targets(job))
            )
        keys = sorted(keys)
        self.store.ask([plan.names[key] for key in keys])
        known = [key for key in keys if self.store.knows(plan.names[key])]
        self.changed.update(key for key in known if self.contents.confirm(key))

    def _note_definitions(self, header: Mapping[str, object]) -> None:
        """Jobs whose step says something else now, or whose age may be over, are to be judged."""
        known, ages, checks = header["definitions"], header["ages"], header["checks"]
        assert isinstance(known, dict)
        assert isinstance(ages, dict)
        assert isinstance(checks, dict)
        expires = header["expires"]
        over = isinstance(expires, (int, float)) and not header["saved"] <= time.time() < expires  # type: ignore[operator]
        meant = {check.value: check for check in Check}
        for number, (step, digest) in enumerate(zip(self.project.steps, self.digests)):
            name = step.name
            aged = step.max_age is not None and (over or ages.get(name) != step.max_age)
            if known.get(name) != digest or aged or meant.get(checks.get(name, "")) is not step.check:
                self.dirty.update(range(self.plan.first[number], self.plan.first[number + 1]))

    def expand_again(self) -> None:
        """The members of a dynamic target changed: make the plan anew, in the midst of a build."""
        self.postponed, self._mending = None, False
        before = self.contents
        changed = set(before.unsettled())
        self._replan(self.plan, self.contents.columns, changed, self.dirty | self.plan.readers(self.contents.wavering))
        self.contents.take_over(before, self.plan.key)

    def suppose(self, members: Mapping[str, Sequence[str]]) -> None:
        """Make the plan anew as if the last run of each of these jobs (by their ids) had made these keys. PlanError."""
        self._supposed = members
        self.expand_again()

    # -- a build ------------------------------------------------------------------------------------------------------------------------

    def _last_run(self) -> int:
        return next((each.run for each in self.traces.runs(1)), 0)

    def begin_run(self) -> int:
        """Note that a build runs; its number."""
        self._as_saved = False
        self.traces.put_definitions(zip(self.digests, self.definitions))
        return self.traces.begin_run(time.time(), " ".join(sys.argv[1:]))

    def end_run(self, run: int, ended: ev.BuildEnded) -> None:
        self.traces.end_run(run, time.time(), ran=ended.ran, failed=ended.failed)

    def next_attempt(self) -> int:
        self._attempts += 1
        return self._attempts

    def durations(self, jobs: Iterable[int]) -> dict[int, float]:
        """How long these jobs took the last time, where that is known, in seconds."""
        if self.traces.is_empty():
            return {}
        ids = {self.plan.job_id(job): job for job in jobs}
        return {ids[job_id]: seconds for job_id, seconds in self.traces.durations(list(ids)).items()}

    def script(self, rendered: Rendered, cwd: str) -> list[str]:
        """A command text too long for one argument, as a file that the shell runs; the words to start."""
        text = rendered.script or ""
        folder = f"{self.state}/scripts"
        os.makedirs(folder, exist_ok=True)
        data = os.fsencode(text)
        path = f"{folder}/{blake3(data).hexdigest(length=12)}.sh"
        with open(path, "wb") as file:
            file.write(data)
        place = path if cwd in ("", ".") else os.path.relpath(path, cwd)
        return [*rendered.argv, place]

    def warnings(self) -> list[tuple[str, tuple[str, ...]]]:
        """What the Ductfile and the plan have to remark, each a line and facts."""
        told = [*self.project.warnings, *((text, ()) for text in self._default.idle), *self.plan.warnings]
        if self.store.offline and self._remote:
            keys = count(len(self._remote), "remote key")
            told.append((f"offline: {keys} judged by the last known state", ()))
        return told

    def orphans(self) -> list[str]:
        """Targets that a job made once, that no job makes any more, and that still exist; remote ones, where they were asked about (`ask_remote`)."""
        known = [key for key in self.plan.orphans if not is_remote(key) or self.store.knows(key)]
        return [key for key in known if self.store.stat(key) is not None]

    # -- the snapshot -------------------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write down what is known now, so that the next build starts from it."""
        self.traces.fold()
        if self._as_saved:
            return
        contents, plan = self.contents, self.plan
        self._look_at_all()
        self.staging.close()
        if self.objects.grown:
            self.objects.clean(MOST_COPIES)
        contents.settle_all()
        if contents.wavering:
            self.dirty |= plan.readers(contents.wavering)
            self.dirty |= {plan.maker[key] for key in contents.wavering if plan.maker[key] >= 0}
        self._relist_folders()
        header = {
            "format": FORMAT,
            "version": __version__,
            "token": self.traces.renew_token(),
            "sets": self.where.sets,
            "files": [
                (path, None if stamp is None or racy(Stamp(*stamp), self._read_at_ns) else stamp)
                for path, stamp in self._files
            ]
            + [
                (path, None if stamp and racy(Stamp(*stamp), self._read_at_ns) else stamp) for path, stamp in self._code
            ],
            "env": sorted(self._counted_env().items()),
            "today": self.project.today,
            "saved": (now := time.time()),
            "run": self._last_run(),
            "expires": min(ends := self._ends(), default=None),
            "upcoming": min((end for end in ends if end > now), default=None),
            "dirty": _pack(self.dirty),
            "folders": [(folder.name, folder.stamp) for folder in plan.folders],
            "remote": len(self._remote),
            "pack": None if self.store.values is None else self.store.values.saved(self._pack),
            "steps": [step.name for step in self.project.steps],
            "tags": sorted({tag for step in self.project.steps for tag in step.tags}),
            "jobs": plan.jobs,
            "left": self._left(),
            "default_jobs": self._default_jobs(),
            "plan_digest": self._plan_digest,
            "orphans": len(plan.orphans),
            "checks": {step.name: step.check.value for step in self.project.steps},
            "ages": {step.name: step.max_age for step in self.project.steps if step.max_age is not None},
            "definitions": {step.name: digest for step, digest in zip(self.project.steps, self.digests)},
        }
        write_snapshot(
            f"{self.state}/snapshot",
            header,
            plan.names,
            contents.columns.stamps,
            contents.columns.fps,
            plan.dump(names=False),
        )

    def _left(self) -> int:
        """How many dirty jobs what plain `duct` makes needs."""
        if self._default.jobs is None:
            return len(self.dirty)
        return len(needed(self.plan, self.dirty, self._default))

    def _default_jobs(self) -> int:
        """How many jobs plain `duct` makes. Counting those of 100,000 takes some time: only where the plan is new."""
        counted = self._counted
        if counted is None:
            jobs = self.plan.jobs
            counted = jobs if self._default.jobs is None else len(needed(self.plan, range(jobs), self._default))
            self._counted = counted
        return counted

    def _look_at_all(self) -> None:
        """Stamps also for those keys that nothing needed: the fast check compares them all."""
        remote = set(self._remote)
        for key in self.contents.unsettled():
            if key in remote:
                continue  # each build asks about those that it needs
            try:
                self.contents.look(key)
            except StoreError:
                continue  # told by the build that needs it

    def _counted_env(self) -> dict[str, str | None]:
        return {name: self.environ.get(name) for step in self.project.steps for name in step.env}

    def _ends(self) -> list[float]:
        """When each good run gets too old, where age matters."""
        ends = []
        plan = self.plan
        for number, step in enumerate(self.project.steps):
            if step.max_age is not None:
                ids = [plan.job_id(job) for job in range(plan.first[number], plan.first[number + 1])]
                ends += [trace.started + trace.seconds + step.max_age for trace in self.traces.load(ids).values()]
        return ends

    def _relist_folders(self) -> None:
        """duct's own publishing changes folders: look at those again that differ, and keep their new stamps if no other name came or went.

        A stamp within the clock's tick is not kept: another name could still come in it. One such folder is waited for, once.
        """
        folders = self.plan.folders
        differ = [at for at, folder in enumerate(folders) if not is_remote(folder.name) and not self._stands(folder)]
        if not differ:
            return
        newest = max((stamp[1] for at in differ if (stamp := self.store.folder_stamp(folders[at].name))), default=0)
        time.sleep(min(max(newest + TICK_NS - time.time_ns(), 0), 2 * TICK_NS) / 1e9)
        for at in differ:
            now = time.time_ns()
            fresh = relist(self.plan, self.store, [at])
            if fresh is not None and (fresh[0].stamp is None or not racy(Stamp(*fresh[0].stamp), now)):
                folders[at] = fresh[0]

    def _stands(self, folder: Folder) -> bool:
        stamp = self.store.folder_stamp(folder.name)
        return (tuple(stamp) if stamp is not None else None) == folder.stamp


def marker(where: Where) -> str:
    """What the commands of a project's builds carry in DUCT_RUN."""
    return os.path.join(os.path.realpath(where.root), where.state)


@contextmanager
def open_workspace(
    where: Where, *, write: bool, tell: Callable[[Event], None], wait: bool = True, mend: bool = False
) -> Iterator[Workspace]:
    """Open a project, from its root as the working folder. With `write` it is locked, and what a kill left is mended first.

    With `mend`, a mistake that comes from what a dynamic target holds is put off (`Workspace.postponed`).

    BuildRunning, DuctfileError, PlanError, TraceError, StoreError.
    """
    try:
        os.chdir(where.root)
    except OSError as error:
        raise StoreError(f'cannot enter the folder of the project, "{where.root}": {error.strerror}') from None
    if not write:
        project = _read(where)
        holder = Lock(f"{where.state}/lock").holder()
        if holder:
            tell(ev.Warned(f"a build is running: {holder}", ("what it has not recorded yet is not known here",)))
        traces = Traces(f"{where.state}/trace.db", write=False, version=__version__)
        with traces:
            _tell_notes(traces, tell)
            found = kept(where.state) or _check(where, project, traces)
            with _stores(where, project, tell, write=False) as stores:
                yield Workspace(where, project, traces, found, Staging(where.state), stores, read_at_ns=0)
        return
    if where.environ.get("DUCT_RUN") == marker(where):
        raise BuildRunning(
            "this is a command of a build of the same project: it would wait for itself",
            hint="a step cannot build its own project; name what it needs in its inputs",
        )
    began = time.time_ns()
    project = _read(where)

    def make() -> None:
        make_state(where.state)

    make()
    with Lock(f"{where.state}/lock", make) as lock:
        waited: list[str] = []

        def waits(holder: str) -> None:
            waited.append(holder)
            tell(ev.Waiting(holder))

        crashed = lock.acquire(wait=wait, on_wait=waits)
        if waited:
            began = time.time_ns()
            project = _read(where)
        if crashed:
            from .runners.output import remove_strays
            from .runners.shell import end_leftovers

            end_leftovers(marker(where), os.path.realpath(f"{where.state}/logs"))
            remove_strays(f"{where.state}/logs")
        make()  # a command that was refused may have removed it just now
        with _traces(where.state) as traces:
            staging = Staging(where.state)
            traces.recover(staging.recover, lambda: _remove_former_members(project, traces, staging))
            _tell_notes(traces, tell)
            lock.mended()
            for key, copy in staging.kept:
                tell(ev.Kept(key, copy))
            # Not what was found before a lock was waited for, or before what a kill left was mended.
            checked = None if waited or crashed else kept(where.state)
            checked = checked or _check(where, project, traces)
            with _stores(where, project, tell, write=True) as stores:
                yield Workspace(where, project, traces, checked, staging, stores, read_at_ns=began, mend=mend)


@contextmanager
def _traces(state: str) -> Iterator[Traces]:
    """The traces, opened for writing. Where there were none, and the command is refused before a build begins, nothing is left of the state.

    The lock is held.
    """
    path, journal = f"{state}/trace.db", f"{state}/journal"
    is_new = not (os.path.exists(path) or os.path.exists(journal))
    traces = Traces(path, write=True, version=__version__)
    try:
        with traces:
            yield traces
    except DuctError:
        if is_new and not traces.begun:
            _unmake_state(state)
        raise


def retried(retry: Retry) -> ev.Warned:
    """How a new try is told."""
    facts = [retry.reason, f"try {retry.attempt} in {duration(retry.wait)}"]
    return ev.Warned(f"cannot {retry.verb} {shown(retry.key)} yet", facts)


@contextmanager
def _stores(where: Where, project: Project, tell: Callable[[Event], None], *, write: bool) -> Iterator[Stores]:
    stores = stores_of(
        project,
        where.environ,
        f"{where.state}/objects",
        offline=where.offline,
        write=write,
        tell=lambda retry: tell(retried(retry)),
        values=None
        if where.source is None
        else ValueStore(f"{VALUES}{where.source.name}/", where.root, held=True, write=write),
    )
    try:
        yield stores
    finally:
        stores.close()


def _no_members(job_id: str) -> Sequence[str]:  # noqa: ARG001
    return ()


def _remove_former_members(project: Project, traces: Traces, staging: Staging) -> None:
    """The kill may have come between a dynamic job's record and the removal of what it no longer makes: that is made up for, by the same rule."""
    former: dict[str, tuple[Trace, bool]] = {}
    for before, now in traces.former:
        if _is_dynamic(project, now):
            accepted = any(kind == ACCEPTED for kind, *_ in before.reasons)
            for key in sorted(set(before.targets) - set(now.targets)):
                former[key] = before, accepted
    for trace in traces.makers(former) if former else ():
        for key in trace.targets if trace.id else ():
            former.pop(key, None)
    store = LocalStore()
    for key, (before, accepted) in former.items():
        stamp = None if is_remote(key) else store.stat(key)
        made = before.check, before.target_fingerprint(key) or b""
        if stamp is None or not is_as_made(key, stamp, None, [made], store):
            continue
        if accepted:
            staging.kept.append((key, staging.keep_aside(key)))
        staging.remove(key)


def _is_dynamic(project: Project, trace: Trace) -> bool:
    """Is the trace that of a job with a dynamic target? False where no step of the project says any more what the job was to make."""
    for step in project.steps:
        if not any("*" in slot.text for slot in step.targets):
            continue
        patterns = [key_pattern(slot.text, target=True) for slot in step.targets]
        if not trace.values.keys() >= {name for pattern in patterns for name in pattern.names}:
            continue
        texts = [
            bound_texts(pattern, {name: [value] for name, value in trace.values.items()}, 1)[0] for pattern in patterns
        ]
        if trace.id == f"t:{texts[0]}":
            named = {text for text, pattern in zip(texts, patterns) if not pattern.globs}
            globs = [glob(text) for text, pattern in zip(texts, patterns) if pattern.globs]
            made = set(trace.targets) - named
            return bool(globs) and all(any(each.matches(key) for each in globs) for key in made)
    return False


def _read(where: Where) -> Project:
    if where.source is not None:
        return where.source.project(where.root)
    return ductfile.read(
        os.path.join(where.root, where.ductfile),
        sets=dict(where.sets),
        environ=where.environ,
        today=datetime.date.today(),
        shown_as=where.shown_as,
    )


def _check(where: Where, project: Project, traces: Traces) -> Checked:
    return check(where.state, where.sets, where.environ, project.today, time.time(), token=traces.token())


def _tell_notes(traces: Traces, tell: Callable[[Event], None]) -> None:
    for note in traces.notes:
        tell(ev.Warned(note))


def make_state(state: str) -> None:
    """The state folder, which git ignores by itself."""
    try:
        os.makedirs(state, exist_ok=True)
        ignore = f"{STATE}/.gitignore"
        if not os.path.exists(ignore):
            with open(ignore, "w", encoding="ascii") as file:
                file.write(IGNORE)
    except OSError as error:
        raise StoreError(
            f'cannot make the state folder "{state}": {error.strerror}',
            hint="`duct status` and `duct -n` work without writing",
        ) from None


def _unmake_state(state: str) -> None:
    """Remove a state folder in which nothing was done, and the lock that is held as its last file. What else is in it stays, and it with that."""
    with suppress(OSError):
        for name in (*(f"trace.db{end}" for end in HELPERS), "journal", "lock"):
            with suppress(FileNotFoundError):
                os.unlink(f"{state}/{name}")
        while state != STATE:
            os.rmdir(state)
            state = os.path.dirname(state)
        ignore = f"{STATE}/.gitignore"
        if os.listdir(STATE) == [".gitignore"]:
            with open(ignore, "rb") as file:
                is_ours = file.read(len(IGNORE) + 1) == IGNORE.encode("ascii")
            if is_ours:
                os.unlink(ignore)
                os.rmdir(STATE)


def _stamp_of(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & 0x7FFFFFFFFFFFFFFF


def _pack(jobs: set[int]) -> bytes:
    from array import array

    return array("i", sorted(jobs)).tobytes()


def _unpack(packed: bytes) -> Sequence[int]:
    from array import array

    numbers = array("i")
    numbers.frombytes(packed)
    return numbers
