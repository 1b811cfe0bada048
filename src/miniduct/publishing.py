"""From "the command ended well" to "its targets are recorded and in place", and the way back after a failure.

Invariant: a final path holds the last good target, the new one, or nothing; what the user put there is kept aside before it is replaced.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from .errors import DuctError, StoreError
from .judging import PLANNED, planned
from .keys import GS, HTTP, VALUES, base_name, is_remote, unescaped
from .model import FINGERPRINT_SIZE, Check, Stamp
from .orphans import is_as_made
from .plan.patterns import glob
from .rebuilder import ACCEPTED, MOVED
from .stores.local import refused
from .stores.staging import NOTHING
from .stores.values import is_packed
from .text import nearest, shown
from .trace.fingerprints import mtime_fingerprint
from .trace.record import Trace
from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .commands import Commands, Target
    from .contents import Contents
    from .judging import Judged
    from .model import Product
    from .plan.columns import Job, Plan
    from .stores.routed import Stores
    from .stores.staging import Staging
    from .trace.database import Traces


CONTENT = Check.CONTENT.value
"""How a trace calls what most steps ask for: to ask the enumeration itself takes as long as to look ten names up."""


class Made(NamedTuple):
    """One file or folder that a command made: its key, where it lies now, and its stamp there."""

    key: str
    at: str
    stamp: Stamp


class NotMadeError(Exception):
    """The command ended well, but what it left is not what was declared."""

    def __init__(self, what: str, facts: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.facts = tuple(facts)


class Published(NamedTuple):
    """What became of a job's targets. `moved` are inputs that changed while the command ran; `kept` are the user's copies, with their new place."""

    changed: bool
    keys: list[str]
    members_changed: bool
    moved: list[str]
    kept: list[tuple[str, str]]
    left: list[str]
    """Former members that are no longer made, but were edited since: they stay."""


class Recording(NamedTuple):
    """What the trace of a run holds beside its inputs and targets, in its order."""

    run: int
    started: float
    seconds: float
    attempts: int
    output: int
    log: str | None


class Publisher:
    """Collects, checks, records and publishes the targets of jobs of one plan."""

    def __init__(
        self,
        plan: Plan,
        contents: Contents,
        commands: Commands,
        *,
        store: Stores,
        staging: Staging,
        traces: Traces,
        digests: Sequence[bytes],
    ) -> None:
        self._plan = plan
        self._contents = contents
        self._commands = commands
        self._store = store
        self._staging = staging
        self._traces = traces
        self._digests = digests
        self._kept: dict[int, list[tuple[str, str]]] = {}
        """By job: what stood in the place of a remote target and was not duct's, with its copy."""

    def prepare(self, judged: Judged) -> list[tuple[str, str]]:
        """Make room for the job's targets before its command starts; returns the user's copies that were kept (direct targets only)."""
        job, about, targets = judged.job, judged.about, judged.declared
        keep = about.step.keep
        if about.is_light and not keep:
            self._staging.make_room(targets.every[0].place)
            return []
        if targets.plain:
            self._staging.prepare(about.id, staged=targets.staged, keep=keep)
            return []
        kept: list[tuple[str, str]] = []
        direct = [text for text in targets.direct if not is_remote(text)]
        members: set[str] = set()
        if direct or keep:
            static = [text for text in about.texts if text not in targets.dynamic]
            members = {self._plan.names[key] for key in about.targets}.difference(static)
        if direct:
            judged.through, links = self._links(judged, [text for text in direct if text not in targets.dynamic])
            kept = [
                (key, self._staging.keep_aside(key))
                for key in [*direct, *sorted(self._direct_members(targets.every, members))]
                if key not in links and self._is_users(judged, key)
            ]
        self._staging.prepare(
            about.id,
            staged=targets.staged,
            direct=direct,
            keep=keep,
            dynamic=targets.dynamic,
            members=members,
            others=lambda key: self._is_others(job, key),
            through=judged.through,
        )
        return kept

    @staticmethod
    def _direct_members(targets: Sequence[Target], members: set[str]) -> set[str]:
        """Those of a job's known members that its command writes in their places."""
        patterns = [glob(target.text) for target in targets if target.dynamic and target.direct]
        return {key for key in members if any(pattern.matches(key) for pattern in patterns)}

    @staticmethod
    def _is_users(judged: Judged, key: str) -> bool:
        """Is what stands at the key's place something that duct did not make?"""
        standing = judged.standing.get(key)
        return standing is not None and standing != judged.recorded(key)

    def _is_others(self, job: int, key: str) -> bool:
        """Is the key what another job makes, by the plan or since this build began?"""
        plan = self._plan
        number = plan.key(key)
        if number is not None and plan.maker[number] not in (-1, job):
            return True
        own = plan.job(job).id
        return self._staging.claims.get(key, own) != own

    def _links(self, judged: Judged, keys: Iterable[str]) -> tuple[dict[str, str], set[str]]:
        """The targets to be written through a symbolic link in their place, with where it leads; and those whose link is
        to be replaced, though a job made a target there before: its destination stays, so nothing is lost.

        StoreError for the user's folder, or their link to one, in the place of a file, and the other way round.
        """
        through: dict[str, str] = {}
        replaced: set[str] = set()
        past = judged.past
        for key in keys:
            place = self._staging.leads(key)
            if place is None:
                continue
            known = past is not None and key in past.targets
            if self._may_write_through(judged, key, place):
                through[key] = place
            elif known:
                replaced.add(key)
            elif os.path.isdir(place) and key[-1:] != "/":
                raise StoreError(
                    f"cannot put {shown(key)} into its place: a link to a folder is there",
                    hint="move it away, or give the target another name",
                )
        return through, replaced

    def _may_write_through(self, judged: Judged, key: str, place: str) -> bool:
        """Is what the link leads to duct's own: written there by the last run, or not there when the first one began?

        A link that the job itself made, or that the user put in the place of a target, may lead to anything of the user's. What the plan knows
        by another name is never written to.
        """
        past = judged.past
        if any(self._plan.key(each) is not None for each in (place, place.rstrip("/"), f"{place.rstrip('/')}/")):
            return False
        if past is not None and past.through.get(key) == place:
            return True
        if past is not None and key in past.targets and key not in past.through:
            return False
        return self._staging.is_free(place)

    def undo(self, judged: Judged) -> None:
        """A failed attempt: remove what it left, and put back the last good copies of targets that it wrote to directly."""
        job, about, targets = judged.job, judged.about, judged.declared
        self._kept.pop(job, None)
        if targets.direct:
            self._staging.restore(about.id, lambda key: self._is_others(job, key) or self._is_disputed(about.id, key))
            # They hold what they held, with other stamps.
            self._contents.forget(key for key in about.targets if not is_remote(self._plan.names[key]))
        self._staging.discard(about.id, targets.staged, dynamic=targets.dynamic)

    def collect(self, judged: Judged, products: Mapping[str, Product]) -> list[Made]:
        """What the command made, in declared order. NotMadeError where a declared target is not there, or another job makes it too.

        A file that several globs of the job match is made once. `products` are what is known of it, by the paths that it was to write to: a value
        is among them.
        """
        made, missing = self._present(judged)
        if judged.about.is_light and not products:
            missing = judged.declared.every  # what lies there was left by a call that was given up
        if missing:
            raise self._not_made(missing)
        if judged.about.dynamic:
            made = _once(made)
            for each in made:
                other = self._second_maker(judged.job, each.key)
                if other is not None:
                    facts = ["two jobs must not make one file: give the targets of one of them another name"]
                    raise NotMadeError(f"made {shown(each.key)}, which {other} makes too", facts)
        return made

    def _second_maker(self, job: int, key: str) -> str | None:
        """The other job that makes this member of a dynamic target: its own by name, or a member made in this build."""
        plan = self._plan
        number = plan.key(key)
        maker = plan.maker[number] if number is not None else -1
        if maker not in (-1, job) and key in plan.target_texts(maker):
            return str(plan.job_name(maker))
        claimed = self._staging.claims.get(key)
        return f'the job of "{shown(claimed[2:])}"' if claimed not in (None, plan.job(job).id) and claimed else None

    @staticmethod
    def places(judged: Judged) -> list[str]:
        """Where the command writes the job's files; none where one of its targets is a folder or a glob."""
        targets = judged.declared.every
        if any(target.dynamic or target.text.endswith("/") for target in targets):
            return []
        return [target.place for target in targets]

    def _present(self, judged: Judged) -> tuple[list[Made], list[Target]]:
        made: list[Made] = []
        missing: list[Target] = []
        for target in judged.declared.every:
            if target.dynamic:
                members = self._members(judged.job, target)
                made += members
                if not members:
                    missing.append(target)
                continue
            at = target.place
            if target.text[-1:] == "/" and at[-1:] != "/":
                at += "/"
            if judged.declared.far and is_remote(at):
                self._store.forget([at])  # the command itself wrote it
            stamp = self._store.stat(at)
            if stamp is None:
                missing.append(target)
            else:
                made.append(Made(target.text, at, stamp))
        return made, missing

    def _members(self, job: int, target: Target) -> list[Made]:
        if target.direct:
            found = self._made_in_place(job, target)
        else:
            found = self._staging.members(target.text, owner=self._plan.job(job).id)
        stamped = [(key, at, self._store.stat(at)) for key, at in found]
        return [Made(key, at, stamp) for key, at, stamp in stamped if stamp is not None]

    def _made_in_place(self, job: int, target: Target) -> list[tuple[str, str]]:
        """The members of a direct pattern. StoreError where another job that ran at the same time may have made one of them."""
        about = self._plan.job(job)
        found = self._staging.made(about.id, target.text, lambda key: self._is_others(job, key))
        known = {self._plan.names[key] for key in about.targets}
        disputed = self._staging.disputed
        for key, _ in found:
            rival = None if key in known else disputed.get(key) or self._rival(about.id, key)
            if rival is not None:
                disputed[key] = rival
                raise StoreError(
                    f"cannot tell who made {shown(key)}",
                    facts=[f"another job that ran meanwhile makes {shown(unescaped(rival))}, which it matches, too"],
                    hint="write to {target}, or let no file match the targets of two jobs",
                )
        return found

    def _is_disputed(self, job_id: str, key: str) -> bool:
        return key in self._staging.disputed or self._rival(job_id, key) is not None

    def _rival(self, job_id: str, key: str) -> str | None:
        """The pattern that the key matches, of another running job whose command writes to the place itself."""
        others = (texts for other, texts in self._staging.writing.items() if other != job_id)
        return next((text for texts in others for text in texts if glob(text).matches(key)), None)

    def _not_made(self, missing: Sequence[Target]) -> NotMadeError:
        if missing[0].text.startswith(VALUES):
            return NotMadeError(
                "ended without returning a value", ["sys.exit() ends a function, and nothing is returned"]
            )
        facts = []
        for target in missing[:5]:
            name = _called(target)
            at = f"{target.place}/{base_name(name)}" if target.dynamic and not target.direct else target.place
            if os.path.isdir(at) and not name.endswith("/") and not target.dynamic:
                facts.append(f'{shown(name)} is a folder; a target that is a folder as a whole ends in "/"')
                continue
            near = self._near(at)
            if near:
                facts.append(f"near {shown(name)}: {', '.join(shown(each) for each in near)}")
            if not target.direct and not target.dynamic and self._wrote_past(name):
                facts.append(f"the command wrote {shown(name)} itself; write to the path that {{target}} gives")
        if not facts and missing[0].direct and not missing[0].dynamic:
            facts.append(
                f"no placeholder of the command stands for {shown(missing[0].text)}, so it had to write that by itself"
            )
        names = ", ".join(shown(_called(target)) for target in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        return NotMadeError(f"ended well but did not make {names}{more}", facts)

    def _wrote_past(self, key: str) -> bool:
        """Did the command change what stands at the final path?"""
        number = self._plan.key(key)
        return number is not None and self._store.stat(key) not in (None, self._contents.stamp(number))

    def _near(self, at: str) -> list[str]:
        """Names beside the place where the target should have appeared, nearest first."""
        folder, name = os.path.split(at.rstrip("/"))
        entries = self._store.list(folder) or []
        return nearest(name, [entry.name for entry in entries if entry.name != name], most=3)

    def fingerprints(self, judged: Judged, made: Sequence[Made], products: Mapping[str, Product]) -> list[bytes]:
        """What identifies each thing made, for the step's own check; remote targets are uploaded, once all files are read.
        `products` as for `collect`: what is known need not be read.

        Large files and remote targets belong into a thread.
        """
        by_content = judged.about.step.check is Check.CONTENT
        found = self._fingerprints(made, products) if by_content else [ABSENT_UNTIL_PUBLISHED] * len(made)
        for at, each in enumerate(made if judged.declared.far else ()):
            if is_remote(each.key):
                stamp = self._upload(judged, each)
                if by_content:
                    found[at] = self._store.identity(each.key, stamp)
        return found

    def _fingerprints(self, made: Sequence[Made], products: Mapping[str, Product]) -> list[bytes]:
        found = []
        for each in made:
            if is_remote(each.key):
                found.append(ABSENT_UNTIL_PUBLISHED)
                continue
            product = products.get(each.at)
            fingerprint = self._store.fingerprint(each.at) if product is None else product.fingerprint
            if fingerprint is None:
                raise NotMadeError(f"made {shown(each.key)}, but it vanished before it could be published")
            found.append(fingerprint)
        return found

    def _upload(self, judged: Judged, each: Made) -> Stamp:
        """Put a remote target in the place of what was there when the job was judged; its new stamp. StoreError."""
        if each.at == each.key:
            return each.stamp
        expected = self._keep_users_object(judged, each.key)
        # Of what changed while it was read nobody knows what the target was made of.
        marks = {} if self._contents.moved(judged.inputs, judged.since) else self._marks(judged)
        return self._store.publish(each.at, each.key, expected, marks)

    def _keep_users_object(self, judged: Judged, key: str) -> Stamp | None:
        """What is known to be in the place of a remote target. Where it is not duct's own, a copy of it is kept."""
        found = self._store.found(key)
        if found is None:
            return None
        is_ours = PLANNED in found.marks or self._store.identity(key, found.stamp) == judged.recorded(key)
        if not is_ours:
            part = self._staging.path(key) + ".former"
            os.makedirs(os.path.dirname(part), exist_ok=True)
            self._store.fetch(key, found.stamp, part)
            copy = self._staging.keep_aside(base_name(key), source=part)
            self._kept.setdefault(judged.job, []).append((key, copy))
        return found.stamp

    def _marks(self, judged: Judged) -> dict[str, str]:
        judged.command = judged.command or self._commands.digest(judged.about)
        return {PLANNED: planned(judged, self._plan, self._digests)}

    def copy(self, judged: Judged) -> list[Made]:
        """Do the work of a step that copies, as far as its own place: the target is staged, or lies where it is uploaded from. StoreError."""
        (source,) = judged.inputs
        (target,) = judged.declared.every
        key, place = self._plan.names[source], target.place
        stamp = self._contents.stamp(source)
        assert stamp is not None
        here = self._commands.copy_of(source) if key.startswith(HTTP) else key
        if not is_remote(here):
            if is_remote(target.text) and here != key:
                return [Made(target.text, here, stamp)]  # a copy of ours, which nobody changes meanwhile
            from shutil import copyfile

            try:
                copyfile(here, place)
            except OSError as error:
                raise refused("copy", here, error) from None
        elif key.startswith(GS) and target.text.startswith(GS):
            expected = self._keep_users_object(judged, target.text)
            made = self._store.copy(key, stamp, target.text, expected, self._marks(judged))
            return [Made(target.text, target.text, made)]
        else:
            self._store.fetch(key, stamp, place)
        staged = self._store.stat(place)
        assert staged is not None
        return [Made(target.text, place, staged)]

    def publish(
        self,
        judged: Judged,
        made: Sequence[Made],
        found: Sequence[bytes],
        hashed_at_ns: int,
        recording: Recording,
    ) -> Published:
        """Record the run, then rename its targets into place; the order makes a kill between the two harmless (docs/design.md).

        StoreError where a target cannot be put into its place.
        """
        job, about, targets = judged.job, judged.about, judged.declared
        by_content = about.step.check is Check.CONTENT
        moved = self._moved(judged, made, found) if about.step.check is not Check.EXISTS else []
        before = _made_by(judged.past)
        local = made if targets.plain else [each for each in made if each.at != each.key and not is_remote(each.key)]
        kept = self._kept.pop(job, [])
        through: dict[str, str] = {}
        values = self._store.values
        is_value = values is not None and bool(local) and local[0].key.startswith(VALUES)
        if local and not is_value:  # in a value's place stands nothing of the user's
            through, links = self._links(judged, [each.key for each in local])
            kept += self._keep_users_copies(judged, dict(zip([each.key for each in made], found)), local, links)
        direct = [(key, place) for key, place in judged.through.items() if self._staging.leads(key) == place]
        keys, stamps = [each.key for each in made], [each.stamp for each in made]
        trace = self._trace(judged, keys, b"".join(found), stamps, recording, {**through, **dict(direct)})
        if by_content:
            self._traces.record(trace)
        try:
            if values is not None and is_value:  # a large one, in a file: the pack has none any more
                values.hide(local[0].key)
                if judged.past is not None:
                    self._staging.make_way([local[0].key])
            self._staging.publish([(each.key, each.at) for each in local], through)
        except StoreError:
            if by_content:
                self._take_back(judged)
            if is_value:
                self._contents.forget(about.targets)
            raise
        stamps = self._learn(about, made, found if by_content else None, hashed_at_ns)
        if not by_content:
            trace = trace._replace(target_fps=b"".join(map(mtime_fingerprint, stamps)))
            self._traces.record(trace)
        if targets.direct:
            kept += self._staging.commit(about.id)
        now = _made_by(trace)
        changed, members_changed, left = before != now, False, []
        if about.dynamic:
            left = self._remove_former_members(judged, before, now, kept)
            self._staging.claims.update(dict.fromkeys(now, about.id))
            members_changed = {self._plan.names[key] for key in about.targets} != now.keys()
        if changed and not targets.plain and self._is_looked_into(about):
            members_changed = True
        return Published(changed, list(now), members_changed, moved, kept, left)

    def publish_value(self, judged: Judged, product: Product, content: bytes, recording: Recording) -> Published:
        """As `publish`, for a small value, that goes into the pack. StoreError."""
        about, past, values = judged.about, judged.past, self._store.values
        (key,), (name,), check = about.targets, about.texts, about.step.check
        assert values is not None
        moved = self._moved(judged, (), ()) if judged.inputs and check is not Check.EXISTS else []
        stamp = values.put(name, content, product.fingerprint)
        found = product.fingerprint if check is Check.CONTENT else mtime_fingerprint(stamp)
        try:
            self._traces.record(self._trace(judged, [name], found, [stamp], recording, NOTHING))
        except DuctError:  # what is in the pack must not be taken for what was there before
            with suppress(DuctError):  # the disk is full
                values.hide(name)
            self._contents.forget(about.targets)
            raise
        if past is not None and past.target_stamps and not is_packed(past.target_stamps[0]):
            self._make_way(judged)
        self._contents.made(key, stamp, found if check is Check.CONTENT else None, 0)
        return Published(past is None or past.target_fps != found, [name], False, moved, [], [])

    def _make_way(self, judged: Judged) -> None:
        """The value is in the pack now: remove the file that held the former one. StoreError."""
        try:
            self._staging.make_way(judged.about.texts)
        except StoreError:
            if judged.about.step.check is Check.CONTENT:
                self._take_back(judged)
            self._contents.forget(judged.about.targets)
            raise

    def _is_looked_into(self, job: Job) -> bool:
        """Does a step read by its names what lies in a folder that the job makes as a whole?"""
        if not any(text.endswith("/") for text in job.texts):
            return False
        return any(job.step_number in self._plan.dynamic_before(other) for other in range(len(self._plan.steps)))

    def _take_back(self, judged: Judged) -> None:
        """The run was recorded, but its targets did not get into their places: what the run before made stands there."""
        if judged.past is not None:
            self._traces.record(judged.past)
        else:
            self._traces.forget([self._plan.job_id(judged.job)])

    def _trace(
        self,
        judged: Judged,
        targets: list[str],
        target_fps: bytes,
        target_stamps: list[Stamp],
        recording: Recording,
        through: Mapping[str, str],
    ) -> Trace:
        names = self._plan.names
        job = judged.about
        return Trace(
            job.id,
            job.step.name,
            job.values,
            self._digests[job.step_number],
            judged.command or self._commands.digest(job),
            CONTENT if job.step.check is Check.CONTENT else job.step.check.value,
            [names[key] for key in judged.inputs],
            judged.packed,
            targets,
            target_fps,
            target_stamps,
            *recording,
            judged.reasons,
            through,
        )

    def _moved(self, judged: Judged, made: Sequence[Made], found: Sequence[bytes]) -> list[str]:
        """Inputs whose stamps are no longer those that were fingerprinted.

        Nobody knows which content the command has read: their fingerprints become one that no content has.
        """
        contents = self._contents
        moved = contents.moved(judged.inputs, judged.since)
        if moved:
            fingerprints = dict(zip(judged.inputs, split(judged.packed)))
            made_of = {(each.stamp.inode, fingerprint): each.stamp for each, fingerprint in zip(made, found)}
            moved = [key for key in moved if not self._is_linked(key, fingerprints[key], made_of)]
        if moved:
            contents.forget(moved)
            for key in moved:
                contents.waver(key)
            pieces = split(judged.packed)
            gone = set(moved)
            judged.packed = b"".join(MOVED if key in gone else piece for key, piece in zip(judged.inputs, pieces))
        return [self._plan.names[key] for key in moved]

    def _is_linked(self, key: int, fingerprint: bytes, made_of: Mapping[tuple[int, bytes], Stamp]) -> bool:
        """Is the input what it was, but for its ctime, and a target a further name of it (`ln`)?"""
        before, now = self._contents.columns.stamp(key), self._store.stat(self._plan.names[key])
        if before is None or now is None or before._replace(ctime_ns=now.ctime_ns) != now:
            return False
        target = made_of.get((now.inode, fingerprint))
        return target is not None and (target.size, target.mtime_ns) == (now.size, now.mtime_ns)

    def _keep_users_copies(
        self, judged: Judged, now: dict[str, bytes], made: Sequence[Made], links: Collection[str]
    ) -> list[tuple[str, str]]:
        """Put aside what stands in the place of a staged target and is neither what duct made nor what it is about to put there.

        What one of the `links` leads to stays where it is.
        """
        kept = []
        for each in made:
            if each.key in links:
                continue
            number = self._number(judged.about, each.key)
            stamp = self._store.stat(each.key)
            if stamp is None:
                continue
            standing = judged.standing.get(each.key)
            if standing is None or number is None or self._contents.columns.stamp(number) != stamp:
                standing = self._store.fingerprint(each.key)
            recorded = judged.recorded(each.key)
            if judged.past is not None and judged.check is not Check.CONTENT:
                standing = mtime_fingerprint(stamp)
            if standing is not None and standing not in (recorded, now[each.key]):
                kept.append((each.key, self._staging.keep_aside(each.key)))
        return kept

    def _number(self, job: Job, key: str) -> int | None:
        """The number of a key that the job made. Those of all keys are looked up only for a dynamic target."""
        if job.dynamic:
            return self._plan.key(key)
        if len(job.targets) == 1:  # it is the one
            return job.targets[0]
        names = self._plan.names
        for number in job.targets:
            if names[number] == key:
                return number
        return None

    def _learn(self, job: Job, made: Sequence[Made], found: Sequence[bytes] | None, hashed_at_ns: int) -> list[Stamp]:
        stamps = []
        for at, each in enumerate(made):
            stamp = self._store.stat(each.key)
            if stamp is None:
                raise StoreError(f"{shown(each.key)} vanished while it was published")
            number = self._number(job, each.key)
            if number is not None:
                # Written to between its hashing and now: what was hashed is not what is there.
                same = stamp.size == each.stamp.size and stamp.mtime_ns == each.stamp.mtime_ns
                whole = each.key.endswith("/") or is_remote(each.key)
                known = found[at] if found is not None and (same or whole) else None
                self._contents.made(number, stamp, known, hashed_at_ns)
            stamps.append(stamp)
        return stamps

    def _remove_former_members(
        self, judged: Judged, before: dict[str, bytes], now: dict[str, bytes], kept: list[tuple[str, str]]
    ) -> list[str]:
        """Members of a dynamic target that the last run made and this one did not: removed if they still are what was made. What duct was only
        told to take for made is added to `kept`, with its copy.
        """
        left: list[str] = []
        past = judged.past
        if past is None:
            return left
        accepted = any(kind == ACCEPTED for kind, *_ in past.reasons)
        for key in before.keys() - now.keys():
            stamp = self._store.stat(key)
            if stamp is None or self._is_others(judged.job, key):
                continue
            if is_as_made(key, stamp, None, [(past.check, before[key])], self._store):
                if accepted:
                    kept.append((key, self._staging.keep_aside(key)))
                self._staging.remove(key)
            else:
                left.append(key)
        return sorted(left)


ABSENT_UNTIL_PUBLISHED = bytes(FINGERPRINT_SIZE)
"""Stands for a target judged by its time: the rename that publishes it does not change its mtime, but the stamp is taken afterwards."""


def _made_by(run: Trace | None) -> dict[str, bytes]:
    """The targets of a run with their fingerprints."""
    return {} if run is None else dict(zip(run.targets, split(run.target_fps)))


def split(fingerprints: bytes) -> list[bytes]:
    """Packed fingerprints, one by one."""
    size = FINGERPRINT_SIZE
    return [fingerprints[at : at + size] for at in range(0, len(fingerprints), size)]


def _called(target: Target) -> str:
    """What a user calls the target: a value that holds a glob sign is escaped in a glob, and by nobody else."""
    return unescaped(target.text) if target.dynamic else target.text


def _once(made: Sequence[Made]) -> list[Made]:
    """The same, each key once. NotMadeError where one was written to two places: which of them is meant, nobody can tell."""
    found: dict[str, Made] = {}
    for each in made:
        first = found.setdefault(each.key, each)
        if first.at != each.at:
            facts = [f"one is {shown(first.at)}", f"the other is {shown(each.at)}"]
            raise NotMadeError(f"made {shown(each.key)} twice, for two of its targets that match it", facts)
    return list(found.values())
