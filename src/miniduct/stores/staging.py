"""Where commands write before their targets are whole, and the only code that moves, replaces or removes files of a
project.

Invariant, at every system call: the place of a target holds the last good one, the new one, or nothing; and nothing
that the user may have put there is removed without a copy in `kept/`. After a kill `recover` finishes or undoes what
was begun; it may itself be killed and run again.

Keys are paths seen from the root, which is the working folder. A key's stage is a mirror: `stage/` for keys in the
project, `stage-up/N/` for those N folders above it, `stage-abs/` for absolute ones. On another file system it is a
hidden folder beside the target, for a rename does not cross file systems; those folders are noted in `stages` before
they are made. A job of which a target is a pattern has such a mirror of its own, below `stage-own/`: whatever it finds
there it has made itself.

A symbolic link in the place of a target is replaced or moved as what it is. Where it leads is written to only for the
keys in `through`, of which the caller knows that nothing stands there that duct has not written.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from blake3 import blake3

from ..errors import StoreError
from ..keys import base_name, glob_folder, glob_head, is_remote
from ..model import FINGERPRINT_SIZE, Stamp
from ..text import shown
from ..tuples import NamedTuple
from .local import LocalStore, reason, refused
from .values import is_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

NOTHING: Mapping[str, str] = {}
OWN = "stage-own"
MIRRORS = ("stage", "stage-up", "stage-abs", "stage-remote", OWN)
MOVED, COPIED, ABSENT, STRANGE, OTHERS = "moved", "copied", "absent", "strange", "others"
"""How what stands in the place of a direct target is guarded: its last good copy was moved away, copied away, or there
was none. Beside the members of a pattern: a file that no job made (it stays, and is copied for the case that the
command writes to it), and one that is another job's affair.
"""


def _nobody(key: str) -> bool:  # noqa: ARG001
    """No key is another job's affair."""
    return False


class Recorded(Protocol):
    """What `recover` asks of a trace. Fingerprints are packed, in the order of the targets."""

    @property
    def id(self) -> str: ...
    @property
    def check(self) -> str: ...
    @property
    def targets(self) -> Sequence[str]: ...
    @property
    def target_fps(self) -> bytes: ...
    @property
    def target_stamps(self) -> Sequence[Stamp]: ...
    @property
    def through(self) -> Mapping[str, str]: ...


Record = TypeVar("Record", bound=Recorded)


class Guarded(NamedTuple):
    """One direct target of a running job: where it stands, where its last good copy is put, and how. `stamp` is that of
    a STRANGE file as it was found.
    """

    place: str
    copy: str
    how: str
    stamp: Sequence[int] | None = None

    def untouched(self, store: LocalStore) -> bool:
        """Is the STRANGE file as it was found? New rights or a new name for it do not make it the command's work."""
        now = store.stat(self.place)
        if now is None or self.stamp is None:
            return False
        if list(now) == list(self.stamp):
            return True
        size, mtime, _, inode = self.stamp
        same = (now.size, now.mtime_ns, now.inode) == (size, mtime, inode)
        return same and store.fingerprint(self.place) == store.fingerprint(self.copy)


class Guard(NamedTuple):
    """The note about a running job's direct targets. `globs` are patterns whose members were guarded."""

    job_id: str
    path: str
    items: list[Guarded]
    globs: list[str]


class Staging:
    """The stage, the guards, and the copies kept for the user, of one project. `state` is the state folder, seen from
    the root.
    """

    def __init__(self, state: str = ".duct") -> None:
        self.state = state
        self.kept: list[tuple[str, str]] = []
        """What `recover` found in the place of a target and put aside: (key, copy)."""
        self.claims: dict[str, str] = {}
        """Members of patterns that jobs have made since this was opened, with the last one's job id."""
        self.writing: dict[str, list[str]] = {}
        """The patterns that the commands of running jobs write to directly, by job id."""
        self.disputed: dict[str, str] = {}
        """Members of which nobody knows which of two such jobs has made them, each with the pattern of one."""
        self._stages: dict[str, str] = {}
        self._made: set[str] = set()
        self._outside: set[str] = set()
        """The hidden folders that are needed."""
        self._noted: set[str] = set()
        self._device: int | None = None
        self._hidden = ""
        self._count = 0
        self._store = LocalStore()

    # -- where things are ---------------------------------------------------------------------------------------------------------------

    def path(self, key: str, owner: str = "") -> str:
        """Where the command must write the key: the same path each time, with the key's own name. Nothing is made.
        `owner` is the id of a job that has a stage of its own.

        For a remote key its name is made harmless; from there it is published to its store, and nothing here does that.
        """
        if is_remote(key):
            return f"{self.state}/stage-remote/{blake3(os.fsencode(key)).hexdigest(length=12)}/{base_name(key)}"
        cut = key.rfind("/", 0, -1) + 1
        folder = key[:cut]
        stage = self._stages.get(folder)
        if stage is None:
            stage = self._stages[folder] = self._stage_of(folder)
        return (self._own(stage, owner) if owner else stage) + key[cut:]

    def _own(self, stage: str, owner: str) -> str:
        """The stage of that job for what has this one otherwise."""
        name = blake3(os.fsencode(owner)).hexdigest(length=12)
        return f"{stage}{name}/" if stage in self._outside else f"{self.state}/{OWN}/{name}{stage[len(self.state) :]}"

    @staticmethod
    def owner(job_id: str, staged: Iterable[str], dynamic: Collection[str]) -> str:
        """Whose stage a job's targets are written to: its own, where one of them is a pattern; "": that of all."""
        return job_id if dynamic and any(text in dynamic for text in staged) else ""

    def _clear(self, owner: str) -> None:
        """Remove all that is in the stage of its own."""
        _remove_tree(self._own(f"{self.state}/", owner))
        for stage in self._outside:
            _remove_tree(self._own(stage, owner))

    def _stage_of(self, folder: str) -> str:
        if self._device is None:
            self._device = _device(self.state)
            name = os.fsencode(os.path.join(os.getcwd(), self.state))
            self._hidden = f".duct-stage-{blake3(name).hexdigest(length=6)}/"
        if _device(folder) != self._device:
            stage = folder + self._hidden
            self._outside.add(stage)
            return stage
        return self._mirror(folder)

    def _mirror(self, folder: str) -> str:
        if folder.startswith("/"):
            return f"{self.state}/stage-abs{folder}"
        ups = 0
        while folder.startswith("../", 3 * ups):
            ups += 1
        return f"{self.state}/stage-up/{ups}/{folder[3 * ups :]}" if ups else f"{self.state}/stage/{folder}"

    def _beside(self, place: str, name: str) -> str:
        """A path for something of ours on the file system of `place`, whose folder exists: in the state folder, or in a
        hidden one beside it.
        """
        folder = place[: place.rfind("/", 0, -1) + 1]
        self.path(place)
        stage = self._stages[folder]
        if stage in self._outside:
            self._make(stage)
            return stage + name
        self._make(f"{self.state}/trash/")
        return f"{self.state}/trash/{name}"

    def _unique(self) -> str:
        self._count += 1
        return f"{os.getpid()}-{self._count}"

    # -- before a command ---------------------------------------------------------------------------------------------------------------

    def prepare(
        self,
        job_id: str,
        *,
        staged: Sequence[str],
        direct: Sequence[str] = (),
        keep: bool = False,
        dynamic: Collection[str] = (),
        members: Collection[str] = (),
        others: Callable[[str], bool] = _nobody,
        through: Mapping[str, str] = NOTHING,
    ) -> None:
        """Make room for the job's targets: folders made, leftovers removed, direct targets guarded. StoreError.

        `dynamic` names those among the texts that are patterns for glob(); all others are keys as they are, whatever
        characters they hold. With `keep`, staged targets are copied into the stage and direct ones stay in place: the
        command updates them. Of the files that match a pattern, `members` are those that the job's last run made, and
        `others` tells those that are another job's affair. `through`: see above.
        """
        owner = self.owner(job_id, staged, dynamic)
        try:
            if owner:
                self._clear(owner)
            for text in staged:
                if text in dynamic:
                    self._prepare_members(text, members if keep else (), owner)
                else:
                    self._prepare_staged(text, keep, owner)
            if direct:
                guard = self._guarding(job_id, direct, keep, dynamic, members, others, through)
                self._guard(guard, keep)
                if guard.globs:
                    self.writing[job_id] = guard.globs
        except OSError as error:
            raise _stopped("make room for the targets", error) from None

    def make_room(self, place: str) -> None:
        """Make the folder for what is to be written there, of which nothing can have been left: a value's. StoreError."""
        folder = place[: place.rfind("/") + 1]
        if folder not in self._made:
            try:
                self._make(folder)
            except OSError as error:
                raise _stopped("make room for the targets", error) from None

    def _prepare_staged(self, key: str, keep: bool, owner: str) -> None:
        at = self.path(key, owner)
        folder = at[: at.rfind("/", 0, -1) + 1]
        if owner or folder not in self._made:
            self._make(folder, again=bool(owner))
        folder = key[: key.rfind("/", 0, -1) + 1]
        if folder not in self._made and not is_remote(key):
            self._make(folder)
        if os.path.lexists(at.rstrip("/")):  # an unlink of nothing costs ten times a look
            self._remove_any(at)
        if keep and os.path.exists(key):
            copy = self._beside(at, self._unique())
            _copy(key.rstrip("/"), copy)
            os.rename(copy, at.rstrip("/"))

    def _prepare_members(self, text: str, kept: Collection[str], owner: str) -> None:
        folder = glob_folder(text)
        stage = self._staged_folder(folder, owner)
        self._make(stage, again=True)
        self._make(folder)
        for key, place in self.members(text) if kept else ():
            if key in kept:
                at = stage + key[len(folder) :]
                self._make(at[: at.rfind("/") + 1], again=True)
                self._copy_into_place(place, at)

    def _staged_folder(self, folder: str, owner: str) -> str:
        """The stage of what lies directly in the folder ("" or with its slash)."""
        return self.path(f"{folder}x", owner)[:-1]

    def _make(self, folder: str, *, again: bool = False) -> None:
        """`again`: it may have been removed since it was made."""
        if not folder or (folder in self._made and not again):
            return
        if self._hidden and self._hidden in folder:
            self._note_outside(folder[: folder.index(self._hidden) + len(self._hidden)])
        try:
            os.makedirs(folder, exist_ok=True)
        except FileExistsError:
            raise StoreError(f"cannot make the folder {shown(folder)}: a file is in its place") from None
        if not again:
            self._made.add(folder)

    def _note_outside(self, folder: str) -> None:
        if folder not in self._outside or folder in self._noted:
            return
        os.makedirs(self.state, exist_ok=True)
        with open(f"{self.state}/stages", "a", encoding="ascii") as file:
            file.write(json.dumps(folder) + "\n")
        self._noted.add(folder)

    # -- direct targets -----------------------------------------------------------------------------------------------------------------

    def _note_path(self, job_id: str) -> str:
        return f"{self.state}/guard/{blake3(os.fsencode(job_id)).hexdigest(length=12)}"

    def _guarding(
        self,
        job_id: str,
        direct: Sequence[str],
        keep: bool,
        dynamic: Collection[str],
        members: Collection[str],
        others: Callable[[str], bool],
        through: Mapping[str, str],
    ) -> Guard:
        """What stands in the places of direct targets, and how it will be guarded."""
        note = self._note_path(job_id)
        if os.path.lexists(f"{note}.json"):
            self.restore(job_id, others)
        found: dict[str, str] = {}
        for text in direct:
            if text in dynamic:
                self._make(glob_folder(text))
                for key, _ in self.members(text):
                    found[key] = OTHERS if others(key) else self._how(key, keep) if key in members else STRANGE
            else:
                self._make(text[: text.rfind("/", 0, -1) + 1])
                place = through.get(text, text)
                found[place] = self._how(place, keep)
        items = []
        for number, (place, how) in enumerate(found.items()):
            copy = "" if how == OTHERS else self._guard_copy(note, place, number)
            items.append(Guarded(place, copy, how, self._store.stat(place) if how == STRANGE else None))
        return Guard(job_id, f"{note}.json", items, [text for text in direct if text in dynamic])

    @staticmethod
    def _how(place: str, keep: bool) -> str:
        path = place.rstrip("/")
        if not os.path.lexists(path):
            return ABSENT
        return COPIED if keep and not os.path.islink(path) else MOVED

    def _guard(self, guard: Guard, keep: bool) -> None:
        """Write down what is there, then move (or copy) it away; in this order, so that at any moment the note tells
        how to put it back.
        """
        self._make(f"{self.state}/guard/")
        _write(guard.path, json.dumps([guard.job_id, guard.items, guard.globs]).encode("ascii"))
        for item in guard.items:
            if item.how in (COPIED, STRANGE):
                self._copy_into_place(item.place, item.copy)
            elif item.how == MOVED:
                content = os.path.realpath(item.place.rstrip("/"))
                self._move(item.place, item.copy)
                if keep and os.path.exists(content):  # the link's; what it leads to is not to be updated
                    self._copy_into_place(content, item.place)

    def _copy_into_place(self, source: str, place: str) -> None:
        part = self._beside(place, self._unique())
        _copy(source.rstrip("/"), part)
        self._move(part, place)

    def _guard_copy(self, note: str, place: str, number: int) -> str:
        name = f"{os.path.basename(note)}-{number}"
        beside = self._beside(place, name)
        return beside if not beside.startswith(f"{self.state}/trash/") else f"{note}-{number}"

    def restore(self, job_id: str, others: Callable[[str], bool] = _nobody) -> None:
        """Put the guarded copies back, and remove what the command left in their places. Without a guard: nothing.
        `others` as for `prepare`. StoreError.
        """
        guard = self._read_guard(f"{self._note_path(job_id)}.json")
        if guard is not None:
            self._restore(guard, others, keep_halves=False)
        self.writing.pop(job_id, None)

    def _restore(self, guard: Guard, others: Callable[[str], bool] = _nobody, *, keep_halves: bool) -> None:
        try:
            for item in guard.items:
                there = os.path.lexists(item.place.rstrip("/"))
                if item.how == STRANGE and item.untouched(self._store):
                    self._remove_any(item.copy)
                elif item.copy and os.path.lexists(item.copy):
                    if there and keep_halves:
                        self._keep_half(item.place, item.copy + item.place[len(item.place.rstrip("/")) :])
                    self._exchange(item.copy, item.place)
                elif there and item.how == ABSENT:
                    self._drop_half(item.place, keep_halves)
            before = {item.place for item in guard.items}
            for text in guard.globs:
                for key, _ in self.members(text):
                    if key not in before and not others(key):
                        self._drop_half(key, keep_halves)
            os.unlink(guard.path)
        except OSError as error:
            raise _stopped("put the last good targets back", error) from None

    def _drop_half(self, place: str, keep: bool) -> None:
        if keep:
            self._keep_half(place)
        self._remove_any(place)

    def _keep_half(self, place: str, copy: str | None = None) -> None:
        """After a kill, what stands there is the command's half, or what the user put there since: nobody can tell."""
        path = place.rstrip("/")
        if not os.path.exists(path) or (os.path.isfile(path) and not os.path.getsize(path)):
            return  # a link to nowhere, an empty file
        if copy is not None and self._store.fingerprint(place) == self._store.fingerprint(copy):
            return
        self.kept.append((place, self.keep_aside(place)))

    def commit(self, job_id: str) -> list[tuple[str, str]]:
        """The job ended well: drop the guard. Without one: nothing. Returns the user's files that the command wrote to,
        each with the copy that was kept.
        """
        guard = self._read_guard(f"{self._note_path(job_id)}.json")
        self.writing.pop(job_id, None)
        return [] if guard is None else self._commit(guard)

    def _commit(self, guard: Guard) -> list[tuple[str, str]]:
        kept = []
        try:
            for item in guard.items:
                if item.how != STRANGE or not os.path.lexists(item.copy) or item.untouched(self._store):
                    continue
                if self._store.fingerprint(item.copy) != self._store.fingerprint(item.place):
                    kept.append((item.place, self.keep_aside(item.place, source=item.copy)))
            os.unlink(guard.path)  # first: from here on the copies are rubbish
            for item in guard.items:
                if item.copy:
                    self._remove_any(item.copy)
            return kept
        except OSError as error:
            raise _stopped("drop the last good targets", error) from None

    def _read_guard(self, path: str) -> Guard | None:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        try:
            job_id, items, globs = json.loads(data)
            return Guard(job_id, path, [Guarded(*item) for item in items], globs)
        except (ValueError, TypeError):
            return None  # torn: written before anything was moved

    # -- after a command ----------------------------------------------------------------------------------------------------------------

    def members(self, text: str, *, owner: str = "") -> list[tuple[str, str]]:
        """The files that match a pattern for glob(), sorted: each one's key, and where it is (in the stage of its
        `owner`, or in its place).
        """
        from glob import escape, glob

        folder = glob_folder(text)
        rest = text[len(glob_head(text)) :]
        before = self._staged_folder(folder, owner) if owner else folder
        try:
            found = [path for path in glob(escape(before) + rest, recursive=True) if os.path.isfile(path)]
        except OSError as error:
            raise refused("list", before, error) from None
        return sorted((folder + path[len(before) :], path) for path in set(found))

    def made(self, job_id: str, text: str, others: Callable[[str], bool]) -> list[tuple[str, str]]:
        """The members of a direct pattern that the command made or changed, as `members` gives them."""
        guard = self._read_guard(f"{self._note_path(job_id)}.json")
        items = guard.items if guard is not None else []
        strange = {item.place for item in items if item.how == STRANGE and item.untouched(self._store)}
        return [(key, at) for key, at in self.members(text) if key not in strange and not others(key)]

    def leads(self, key: str) -> str | None:
        """Where the symbolic link in the key's place leads, as a key where that is in the project; None: it is no link.
        StoreError where a folder is in the place of a file, or a file in that of a folder.
        """
        path = key.rstrip("/")
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return None
        if not stat.S_ISLNK(mode):
            if stat.S_ISDIR(mode) != (path != key):
                raise _in_the_way(key)
            return None
        root, place = os.path.realpath("."), os.path.realpath(path)
        if place.startswith(f"{root}/"):
            place = place[len(root) + 1 :]
        return place + key[len(path) :]

    @staticmethod
    def is_free(place: str) -> bool:
        """Is there nothing, or an empty folder?"""
        path = place.rstrip("/")
        try:
            return not os.path.lexists(path) or (os.path.isdir(path) and not os.listdir(path))
        except OSError:
            return False

    def publish(self, pairs: Iterable[tuple[str, str]], through: Mapping[str, str] = NOTHING) -> None:
        """Rename each staged file or folder to its key; those in `through` to where the link in their place leads.
        StoreError where one cannot be put into its place; those before it then are.
        """
        for key, at in pairs:
            if key[-1:] == "/":
                self._publish_folder(key, at, through.get(key, key))
                continue
            place = through.get(key, key) if through else key
            try:
                os.rename(at, place)
            except OSError as error:
                self._publish_otherwise(key, at, place, error)

    @staticmethod
    def make_way(keys: Iterable[str]) -> None:
        """Remove what stands in these keys' places, where others will stand at once and nothing is lost by a kill in between.

        A file that is renamed over another one is written to the disk first by ext4, which takes as long as all else together.
        """
        for key in keys:
            with suppress(OSError):  # the rename says it, too
                os.unlink(key)

    def _publish_otherwise(self, key: str, at: str, place: str, error: OSError) -> None:
        try:
            if _is_folder(place):
                raise _in_the_way(key)
            if error.errno == errno.EXDEV:
                self._move(at, place)
                return
            if not os.path.lexists(at):
                raise StoreError(f"cannot put {shown(key)} into its place: it vanished from {shown(at)}")
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise error
            folder = os.path.dirname(place)  # somebody removed the folder meanwhile
            self._made.discard(f"{folder}/")
            self._make(f"{folder}/")
            os.rename(at, place)
        except OSError as second:
            raise refused("put into its place", key, second) from None

    def _publish_folder(self, key: str, at: str, place: str) -> None:
        try:
            path = place.rstrip("/")
            if os.path.lexists(path) and not os.path.isdir(path) and not os.path.islink(path):
                raise _in_the_way(key)
            self._make(place[: place.rfind("/", 0, -1) + 1])
            self._exchange(at, place)
        except OSError as error:
            raise refused("put into its place", key, error) from None

    def _exchange(self, new: str, place: str) -> None:
        """Put `new` in the place, for a moment empty where a folder is moved or stands there: the former content goes to
        the trash, then away.
        """
        if not os.path.lexists(place.rstrip("/")) or not (_is_folder(place) or _is_folder(new)):
            self._move(new, place)
            return
        trash = self._beside(place, self._unique())
        self._move(place, trash)
        self._move(new, place)
        _remove_tree(trash)

    def _move(self, source: str, place: str) -> None:
        """Rename; between file systems copy beside the place first, so that it appears whole."""
        source, place = source.rstrip("/"), place.rstrip("/")
        try:
            os.rename(source, place)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        self._stage_of("")
        beside = f"{os.path.dirname(place) or '.'}/{self._hidden}"
        self._outside.add(beside)
        self._make(beside)
        part = beside + self._unique()
        _copy(source, part)
        os.rename(part, place)
        _remove_tree(source)

    def discard(self, job_id: str, staged: Sequence[str], *, dynamic: Collection[str] = ()) -> None:
        """Remove what a failed attempt left in the stage."""
        try:
            owner = self.owner(job_id, staged, dynamic)
            if owner:
                self._clear(owner)
                return
            for text in staged:
                self._remove_any(self.path(text))
        except OSError as error:
            raise _stopped("clear the stage", error) from None

    # -- the user's files ---------------------------------------------------------------------------------------------------------------

    def keep_aside(self, key: str, source: str | None = None) -> str:
        """Copy what stands at the key (or a copy of it, at `source`) to `kept/`; the path of the copy, which is whole or
        not there. StoreError.

        A copy, not a move or a link: until the new target is published the old one stays in its place, and a command
        that updates its target in place must not reach the copy.
        """
        name = re.sub(r"(^|/)\.\.(?=/)", r"\1up", key.strip("/"))
        path = f"{self.state}/kept/{name}.{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            self._make(os.path.dirname(path) + "/")
            part = f"{self.state}/kept/.part-{self._unique()}"
            _copy((source or key).rstrip("/"), part)
            number = 1
            free = path
            while os.path.lexists(free):
                number += 1
                free = f"{path}.{number}"
            os.rename(part, free)
        except OSError as error:
            raise refused("keep a copy of", key, error) from None
        return free

    def remove(self, key: str, *, parents: bool = False) -> None:
        """Remove a file, or a folder as a whole; the caller knows that it still is what a job made. Not there: nothing.
        StoreError.

        With `parents`, folders above it that are empty now are removed as well, up to the root.
        """
        try:
            if key.endswith("/") and _is_folder(key):
                trash = self._beside(key, self._unique())
                self._move(key, trash)
                _remove_tree(trash)
            else:
                os.unlink(key.rstrip("/") if os.path.islink(key.rstrip("/")) else key)
        except FileNotFoundError:
            return
        except OSError as error:
            raise refused("remove", key, error) from None
        if parents and not key.startswith(("/", "../")):
            self._remove_empty(os.path.dirname(key.rstrip("/")))

    def _remove_empty(self, folder: str) -> None:
        while folder:
            try:
                os.rmdir(folder)
            except OSError:
                return
            self._made.discard(f"{folder}/")
            folder = os.path.dirname(folder)

    @staticmethod
    def _remove_any(path: str) -> None:
        """Remove a file or folder of ours; nothing there is fine."""
        path = path.rstrip("/")
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:
            _remove_tree(path)

    def close(self) -> None:
        """The build is over and everything published: leave nothing in the stage, nor hidden folders beside targets."""
        self._empty()

    # -- after a kill -------------------------------------------------------------------------------------------------------------------

    def recover(self, traces: Sequence[Record]) -> list[Record]:
        """Finish or undo what a killed build had begun; returns those of the journal's traces that are to be believed.
        StoreError.

        A trace is believed if each of its targets is in its place, or in the stage and is renamed now, with the
        recorded content. Then all other guards are restored, and the stage and the trash are emptied.
        """
        self.kept = []
        guards = {guard.job_id: guard for guard in self._guards()}
        last = {trace.id: trace for trace in traces}
        believed = []
        for trace in last.values():
            moves = self._moves(trace)
            if moves is None and trace.id in guards:
                # A later run of the job was killed: what that run guarded is what this trace tells of.
                self._restore(guards.pop(trace.id), keep_halves=True)
                moves = self._moves(trace)
            if moves is None:
                continue
            for key, at in moves:
                self._make(key[: key.rfind("/", 0, -1) + 1])
                self._keep_later(key, at)
            self.publish(moves, trace.through)
            believed.append(trace)
            if trace.id in guards:
                self.kept += self._commit(guards.pop(trace.id))
        for guard in guards.values():
            self._restore(guard, keep_halves=True)
        self._empty()
        return believed

    def _keep_later(self, key: str, at: str) -> None:
        """Keep a copy of what was put in the target's place after the new one was staged: the killed build has not seen it."""
        there, staged = self._store.stat(key), self._store.stat(at)
        if there is None or staged is None or there.ctime_ns < staged.ctime_ns:
            return
        if self._store.fingerprint(key) != self._store.fingerprint(at):
            self.kept.append((key, self.keep_aside(key)))

    def _guards(self) -> Iterator[Guard]:
        try:
            names = sorted(name for name in os.listdir(f"{self.state}/guard") if name.endswith(".json"))
        except FileNotFoundError:
            return
        for name in names:
            guard = self._read_guard(f"{self.state}/guard/{name}")
            if guard is not None:
                yield guard

    def _moves(self, trace: Recorded) -> list[tuple[str, str]] | None:
        """The renames that are left to do for the trace; None where it tells of something that is neither staged nor in
        place.
        """
        size = FINGERPRINT_SIZE
        moves = []
        for number, (key, stamp) in enumerate(zip(trace.targets, trace.target_stamps)):
            if is_remote(key) or is_packed(stamp):
                continue  # it was in its place before the journal told of it
            wanted = trace.target_fps[number * size : number * size + size]
            for at in self._staged_places(key, trace.id):
                if self._holds(at, stamp, wanted, trace.check):
                    moves.append((key, at))
                    break
            else:
                if not self._holds(key, stamp, wanted, trace.check):
                    return None
        return moves

    def _staged_places(self, key: str, owner: str) -> Iterator[str]:
        """Where the job's key may be staged: in its own stage, in that of all, or below that of a folder above it, from
        which a pattern with folders was staged.
        """
        yield self.path(key)
        yield self.path(key, owner)
        for stage in self._stages_outside():
            folder = stage[: stage.rfind("/", 0, -1) + 1]
            if key.startswith(folder):
                self._outside.add(stage)
                yield stage + key[len(folder) :]
                yield self._own(stage, owner) + key[len(folder) :]

    def _holds(self, path: str, stamp: Stamp, wanted: bytes, check: str) -> bool:
        """Is what was fingerprinted there? Size, mtime and inode survive a rename; the ctime does not."""
        try:
            now = self._store.stat(path)
            if now is None:
                return False
            same = now.size == stamp.size and now.mtime_ns == stamp.mtime_ns
            if check != "content" or (same and now.inode == stamp.inode):
                return same
            return self._store.fingerprint(path) == wanted
        except StoreError:
            return False

    def _stages_outside(self) -> list[str]:
        try:
            with open(f"{self.state}/stages", encoding="ascii") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return []
        folders = []
        for line in lines[:-1]:
            try:
                folder = json.loads(line)
            except ValueError:
                continue
            if isinstance(folder, str) and "/.duct-stage-" in f"/{folder}":
                folders.append(folder)
        return folders

    def _empty(self) -> None:
        """Remove what is left in the stage, of guards, and in the trash. What cannot be removed stays: it is in
        nobody's way.
        """
        for name in (*MIRRORS, "trash", "guard"):
            _remove_tree(f"{self.state}/{name}")
        outside = self._stages_outside()
        for folder in outside:
            _remove_tree(folder)
        if outside:
            os.unlink(f"{self.state}/stages")
        for part in _parts(f"{self.state}/kept"):
            _remove_tree(part)
        self._made.clear()


def _parts(kept: str) -> list[str]:
    try:
        return [f"{kept}/{name}" for name in os.listdir(kept) if name.startswith(".part-")]
    except FileNotFoundError:
        return []


def _device(folder: str) -> int:
    """The file system of the folder, or of the nearest one above it that exists."""
    path = folder.rstrip("/") or ("/" if folder else ".")
    while True:
        try:
            return os.stat(path).st_dev
        except OSError:
            if path in (".", "/"):
                raise
            path = os.path.dirname(path) or "."


def _in_the_way(key: str) -> StoreError:
    other = "file" if key.endswith("/") else "folder"
    return StoreError(
        f"cannot put {shown(key)} into its place: a {other} of that name is there",
        hint="move it away, or give the target another name",
    )


def _is_folder(path: str) -> bool:
    """Is it a folder itself, not a link to one?"""
    path = path.rstrip("/")
    return os.path.isdir(path) and not os.path.islink(path)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        written = 0
        while written < len(data):
            written += os.write(fd, data[written:])
    finally:
        os.close(fd)


def _copy(source: str, place: str) -> None:
    """Copy a file or a folder with its modes and times; links inside a folder stay links, `source` itself is
    followed.
    """
    import shutil

    if os.path.isdir(source):
        shutil.copytree(source, place, symlinks=True)
    else:
        shutil.copy2(source, place)


def _remove_tree(path: str) -> None:
    """Remove whatever is there, also what a command made read-only; never through a link. What cannot be removed
    stays.
    """
    path = path.rstrip("/")
    if not os.path.isdir(path) or os.path.islink(path):
        try:
            os.unlink(path)
        except OSError:
            pass
    elif not _remove_folder(path):
        _remove_folder(path, open_up=True)


def _remove_folder(path: str, *, open_up: bool = False) -> bool:
    """Remove the folder with all that is in it; was that possible? With `open_up`, folders are made writable first."""
    gone = True
    folders = [path]
    for folder in folders:  # grows while it is read
        if open_up:
            _quietly(lambda each: os.chmod(each, 0o700), folder)
        try:
            with os.scandir(folder) as listed:
                entries = list(listed)
        except OSError:
            entries = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                gone &= _quietly(os.unlink, entry.path)
    for folder in reversed(folders):
        gone &= _quietly(os.rmdir, folder)
    return gone


def _quietly(function: Callable[[str], None], path: str) -> bool:
    try:
        function(path)
    except OSError:
        return False
    return True


def _stopped(what: str, error: OSError) -> StoreError:
    name = error.filename2 or error.filename
    at = f" ({shown(os.fsdecode(name))})" if isinstance(name, (str, bytes)) else ""
    return StoreError(f"cannot {what}: {reason(error)}{at}")
