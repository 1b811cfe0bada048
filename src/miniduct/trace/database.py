"""The memory of a project: traces, definitions, failures and builds, in SQLite, with the journal before it.

A record is in the journal from the moment it is made, and in memory; now and then, and at the end, all of them are
folded into the database in one transaction, and the journal is emptied. Invariant: whatever is asked for, the answer is
that of database and journal together.

A snapshot has the token that the database got when it was saved, a new one each time: with any other database, lost and
begun anew or an older one that was put back, it is not believed. It lies where the fast check finds it without SQLite.

Precious, so: versioned, migrated after a backup; one that a newer duct wrote is refused untouched; a damaged one is set
aside and begun anew, where there is room for that. Opened for reading only, nothing in the state folder is written.
Ids and names are bytes on disk, and blobs here. For one thread.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from blake3 import blake3

from ..errors import StoreError, TraceError
from ..keys import on_disk
from ..model import Stamp
from ..tuples import NamedTuple
from .journal import Journal
from .record import Failure, Trace, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from types import TracebackType

SCHEMA = 1
"""Version of the tables below, in `user_version`."""
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""From a version to the next one; each runs within a transaction, after a backup."""
CHUNK = 500
"""Ids in one query: SQLite's limit on variables was 999 for long."""
GROUP, PATIENCE = 2000, 1.0
"""Records, and seconds, after which `maybe_fold` folds."""
INLINE = 64
"""Inputs up to which names and fingerprints are kept in the trace's own row. Longer lists of names are kept once, by
their digest.
"""

HELPERS = ("", "-wal", "-shm")
"""How the names of a database's files end."""
FULL = 1 << 18
"""Bytes: with fewer than these left, a disk is full for SQLite, which needs 32 kB and more for its helper files."""

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE traces (
    id BLOB PRIMARY KEY, run INTEGER, started REAL, seconds REAL, targets BLOB, stamps BLOB, body TEXT, names BLOB, fps BLOB);
CREATE INDEX long ON traces (names) WHERE names IS NOT NULL;
CREATE TABLE names (digest BLOB PRIMARY KEY, list BLOB);
CREATE TABLE once (key BLOB PRIMARY KEY, step TEXT, checked TEXT, fingerprint BLOB) WITHOUT ROWID;
CREATE TABLE failures (id BLOB PRIMARY KEY, body TEXT);
CREATE TABLE definitions (digest BLOB PRIMARY KEY, text TEXT);
CREATE TABLE runs (run INTEGER PRIMARY KEY AUTOINCREMENT, started REAL, command TEXT, ended REAL, ran INTEGER, failed INTEGER);
"""
ROW = "body, stamps, names, fps"
T = TypeVar("T")


class Run(NamedTuple):
    """One build. `ended` is None while it runs, and for ever where it was killed."""

    run: int
    started: float
    command: str
    ended: float | None
    ran: int
    failed: int


class Traces:
    """The database at `path`, and the journal beside it. `version` is that of the duct that opens it; `notes` are what
    the user should know.
    """

    def __init__(self, path: str, *, write: bool, version: str = "") -> None:
        self.notes: list[str] = []
        self.former: list[tuple[Trace, Trace]] = []
        """What `recover` found of jobs that made something in a run before that they made no longer in their last one: the two runs."""
        self.begun = False
        """Was a build begun since this was opened?"""
        self._path = path
        self._write = write
        self._version = version
        self._journal = Journal(os.path.join(os.path.dirname(path), "journal"))
        self._pending: dict[str, Trace] = {}
        self._written: dict[str, str] = {}
        """Their bodies, as the journal has them."""
        self._failed: dict[str, Failure | None] = {}
        """Failures not yet in the database; None: one that is there is over."""
        self._since = 0.0
        self._known: set[bytes] | None = None
        self._private: str | None = None
        self._anew = False
        """Was the database begun anew since it was opened? What was judged by the former one, this one does not know."""
        self._refused = ""
        """Why a damaged database could not be begun anew; what is asked for in writing is refused then."""
        self._db: sqlite3.Connection | None = None
        self._open()
        self._anew = False
        if not write:
            records, notes = self._journal.read()
            self.notes += notes
            self._adopt(records)

    def __enter__(self) -> Traces:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free what is held. Records not folded stay in the journal."""
        self._journal.close()
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._private is not None:
            import shutil

            shutil.rmtree(self._private, ignore_errors=True)
            self._private = None

    # -- the snapshot that goes with it ---------------------------------------------------------------------------------------------------

    def token(self) -> int:
        """What a snapshot that is to be believed has; 0, which none has, where none was saved."""
        return self._ask(lambda db: int(db.execute("PRAGMA application_id").fetchone()[0]), 0)

    def renew_token(self) -> int:
        """The token for a snapshot that is about to be saved, those saved before are believed no more; -1 for one that is not to be. StoreError."""
        token = 1 + int.from_bytes(os.urandom(4), "little") % 0x7FFFFFFF
        self._ask(lambda db: db.execute(f"PRAGMA application_id = {token}"), None)
        return -1 if self._anew else token

    # -- opening ------------------------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._db = self._open_for_writing() if self._write else self._open_for_reading()
            if self._db is not None and not self._write and _is_blank(self._db):
                self._db.close()
                self._db = None
            if self._db is not None:
                self._db.text_factory = _text
                self._check_version(self._db)
        except sqlite3.Error as error:
            self._lost(error)

    def _open_for_writing(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            if _is_blank(db):
                # Without forcing it to the disk: an empty database lost to a power cut is no loss, and the disk would take its time.
                db.executescript(
                    f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; BEGIN; {TABLES} PRAGMA user_version={SCHEMA}; COMMIT;"
                )
            db.executescript("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=4000;")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _open_for_reading(self) -> sqlite3.Connection | None:
        if not os.path.exists(self._path):
            return None
        from urllib.parse import quote

        path = quote(os.path.abspath(self._path).encode("utf-8", "surrogateescape"))
        wal = f"{self._path}-wal"
        if not os.path.exists(wal) or os.path.getsize(wal) == 0:
            # No build is at work: the file as it is, without locks and helpers beside it.
            return sqlite3.connect(f"file:{path}?immutable=1", uri=True, isolation_level=None)
        if os.path.exists(f"{self._path}-shm"):
            try:
                db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
                db.execute("SELECT 1 FROM sqlite_master").fetchone()
                return db
            except sqlite3.OperationalError:
                pass
        return self._open_copy()

    def _open_copy(self) -> sqlite3.Connection:
        """A killed build left its log of writes, and reading it would write beside it: look at a copy."""
        import shutil
        import tempfile

        self._private = tempfile.mkdtemp(prefix="duct-")
        copy = os.path.join(self._private, "trace.db")
        shutil.copyfile(self._path, copy)
        shutil.copyfile(f"{self._path}-wal", f"{copy}-wal")
        return sqlite3.connect(copy, isolation_level=None)

    def _check_version(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            found = self._meta(db, "version")
            db.close()
            raise TraceError(
                f"{self._path} was written by a newer duct",
                facts=[
                    f"it has format {version} (duct {found or 'unknown'}); this is duct {self._version}, which knows format {SCHEMA}"
                ],
                hint="use that version; or remove the file, and everything is built anew",
            )
        if version < SCHEMA:
            if version == 0 or not self._write or any(step not in MIGRATIONS for step in range(version, SCHEMA)):
                raise sqlite3.DatabaseError("not a database of duct")
            self._migrate(db, version)
        if self._write and self._meta(db, "version") != self._version:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (self._version,))
        db.execute("SELECT 1 FROM traces LIMIT 1").fetchone()

    @staticmethod
    def _meta(db: sqlite3.Connection, name: str) -> str | None:
        try:
            found = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error:
            return None
        return found[0] if found else None

    def _migrate(self, db: sqlite3.Connection, version: int) -> None:
        backup = f"{self._path}.v{version}"
        with sqlite3.connect(f"{backup}.part") as copy:
            db.backup(copy)
        copy.close()
        os.replace(f"{backup}.part", backup)
        with _transaction(db):
            for step in range(version, SCHEMA):
                MIGRATIONS[step](db)
            db.execute(f"PRAGMA user_version={SCHEMA}")
        self.notes.append(f"{self._path}: brought from format {version} to {SCHEMA}; the old one is {backup}")

    def _lost(self, error: sqlite3.Error) -> None:
        """The database is damaged: set it aside and begin anew. StoreError where it is something else."""
        said = str(error)
        operational = isinstance(error, sqlite3.OperationalError) and not said.startswith("no such ")
        if operational or not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
            raise self._refusal(error) from None
        if self._db is not None:
            self._db.close()
            self._db = None
        if not self._write:
            self.notes.append(f"{self._path} is damaged ({said}): judged as if nothing had been built")
            return
        aside = f"{self._path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        _move(self._path, aside)
        try:
            self._db = self._open_for_writing()
            self._db.text_factory = _text
            self._check_version(self._db)
        except sqlite3.Error as refused:
            self._put_back(aside)
            refusal = self._refusal(refused)
            self._refused = refusal.what
            raise refusal from None
        self.notes.append(f"{self._path} is damaged ({said}): set aside as {aside}; every job is judged as new")
        self._known = None
        self._anew = True

    def _put_back(self, aside: str) -> None:
        """There is no room for a new database: whoever finds some tells of the damage, and sets it aside."""
        if self._db is not None:
            self._db.close()
            self._db = None
        for end in HELPERS:
            if os.path.exists(self._path + end):
                os.unlink(self._path + end)
        _move(aside, self._path)

    def _refusal(self, error: sqlite3.Error) -> StoreError:
        verb = "write" if self._write else "read"
        return StoreError(f"cannot {verb} {self._path}: {self._full() or error}")

    def _full(self) -> str:
        """The reason that SQLite does not give ("disk I/O error"), where it is a full disk."""
        disk = os.statvfs(os.path.dirname(self._path) or ".")
        return os.strerror(errno.ENOSPC).lower() if disk.f_bavail * disk.f_frsize < FULL else ""

    def _ask(self, query: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """The query's answer; `otherwise` where there is no database, or none that can be read. StoreError."""
        if self._refused:
            raise StoreError(self._refused)
        if self._db is None:
            return otherwise
        try:
            return query(self._db)
        except sqlite3.Error as error:
            self._lost(error)
        if not self._write or self._db is None:
            return otherwise
        try:
            return query(self._db)
        except sqlite3.Error as error:
            raise self._refusal(error) from None

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query gives; none where there is no database."""
        nothing: list[tuple[Any, ...]] = []
        return self._ask(lambda db: db.execute(query, values).fetchall(), nothing)

    def _traces(self, where: str, values: Sequence[object]) -> list[Trace]:
        nothing: list[Trace] = []
        return self._ask(lambda db: _traces(db, where, values), nothing)

    # -- traces -------------------------------------------------------------------------------------------------------------------------

    def load(self, ids: Sequence[str]) -> dict[str, Trace]:
        """The traces of these jobs, of those that have one."""
        found: dict[str, Trace] = {}
        pending = self._pending
        asked = [each for each in ids if each not in pending] if pending else ids
        for at in range(0, len(asked), CHUNK):
            chunk = [on_disk(each) for each in asked[at : at + CHUNK]]
            marks = ",".join("?" * len(chunk))
            for trace in self._traces(f"WHERE id IN ({marks})", chunk):
                found[trace.id] = trace
        if pending:
            found.update((each, pending[each]) for each in ids if each in pending)
        return found

    def load_all_ids(self) -> set[str]:
        """The ids of all jobs that have a trace."""
        rows = self._rows("SELECT id FROM traces")
        return {os.fsdecode(row[0]) for row in rows} | self._pending.keys()

    def record(self, trace: Trace) -> None:
        """Remember a good run: in the journal when this returns, in the database later. Ends the job's failure.
        TraceError.
        """
        self._written[trace.id] = self._journal.append(trace)
        self._note(trace)

    def fail(self, failure: Failure) -> None:
        """Remember a failed run; the trace of the last good one stays. StoreError."""
        self._journal.append(failure)
        self._note(failure)

    def _note(self, record: Trace | Failure) -> None:
        if not self._since:
            self._since = time.monotonic()
        if isinstance(record, Trace):
            self._pending[record.id] = record
            self._failed[record.id] = None
        else:
            self._failed[record.id] = record

    def _adopt(self, records: Iterable[Trace | Failure]) -> None:
        for record in records:
            self._note(record)

    def recover(self, believe: Callable[[list[Trace]], list[Trace]], mend: Callable[[], None] = lambda: None) -> None:
        """What a killed build left in the journal: its failures, and those of its traces that `believe` returns, are
        folded, after `mend`: a kill before the end of that leaves all to the next start.
        """
        records, notes = self._journal.read()
        self.notes += notes
        told = [record for record in records if isinstance(record, Trace)]
        believed = {trace.id for trace in believe(told)}
        last = {trace.id: trace for trace in told}
        for before in (*self.load(sorted(believed)).values(), *told):  # a job may have run more than once
            if before.id in believed and not set(before.targets).issubset(last[before.id].targets):
                self.former.append((before, last[before.id]))
        self._adopt(
            record
            for record in records
            if isinstance(record, Failure) or (record.id in believed and last[record.id] is record)
        )
        mend()
        self.fold()
        self._journal.clear()

    def maybe_fold(self) -> None:
        """Fold, if that is due. Not between a job's `record` and the renames that publish it: recovery needs the
        journal then.
        """
        if self._since and (len(self._failed) >= GROUP or time.monotonic() - self._since >= PATIENCE):
            self.fold()

    def fold(self) -> None:
        """Put what the journal holds into the database, in one transaction, and empty it. The same warning as for
        `maybe_fold`. TraceError.
        """
        if not self._failed:
            return
        self._ask(self._fold, None)
        self._pending.clear()
        self._written.clear()
        self._failed.clear()
        self._since = 0.0
        self._journal.clear()

    def _fold(self, db: sqlite3.Connection) -> None:
        traces = self._pending.values()
        rows = [_row(trace, self._written.get(trace.id)) for trace in traces]
        long = {row[7]: _joined(trace.inputs) for row, trace in zip(rows, traces) if row[7] is not None}
        with _transaction(db):
            lists = _leave_behind(db, traces)
            db.executemany("INSERT OR REPLACE INTO traces VALUES (?,?,?,?,?,?,?,?,?)", rows)
            if long:
                db.executemany("INSERT OR IGNORE INTO names VALUES (?,?)", long.items())
            query = "DELETE FROM names WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM traces WHERE names = ?1)"
            db.executemany(query, [(digest,) for digest in lists - long.keys()])
            over = [(on_disk(each),) for each, failure in self._failed.items() if failure is None]
            if over and db.execute("SELECT 1 FROM failures LIMIT 1").fetchone():
                db.executemany("DELETE FROM failures WHERE id = ?", over)
            failed = [(on_disk(each.id), each.body()) for each in self._failed.values() if each is not None]
            if failed:
                db.executemany("INSERT OR REPLACE INTO failures VALUES (?,?)", failed)

    def forget(self, ids: Iterable[str]) -> None:
        """Drop traces and failures of these jobs; what they made stays known as made by a job."""
        self.fold()
        gone = [(on_disk(each),) for each in ids]

        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                for at in range(0, len(gone), CHUNK):
                    chunk = [one[0] for one in gone[at : at + CHUNK]]
                    for trace in _traces(db, f"WHERE id IN ({','.join('?' * len(chunk))})", chunk):
                        _remember(db, trace, trace.targets)
                db.executemany("DELETE FROM traces WHERE id = ?", gone)
                db.executemany("DELETE FROM failures WHERE id = ?", gone)

        self._ask(work, None)

    def forget_keys(self, keys: Iterable[str]) -> None:
        """These files, which no job makes any more, are gone: no job is known to have made them."""
        gone = [(on_disk(key),) for key in keys]

        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.executemany("DELETE FROM once WHERE key = ?", gone)

        self._ask(work, None)

    def made_keys(self) -> Iterator[str]:
        """Every key that a job is known to have made: the targets of all traces, and those that former runs made
        besides.
        """
        rows = self._rows("SELECT targets FROM traces")
        rows += self._rows("SELECT key FROM once")
        whole = os.fsdecode(b"\0".join([row[0] for row in rows if row[0]]))
        yield from whole.split("\0") if whole else ()
        for trace in self._pending.values():
            yield from trace.targets

    def makers(self, keys: Collection[str]) -> list[Trace]:
        """Traces that tell of these keys as targets. Of a key that only a former run made, a trace of that key alone, its id empty."""
        wanted = {on_disk(key) for key in keys}
        if not wanted:
            return []
        rows = self._rows("SELECT id, targets FROM traces")
        ids = [os.fsdecode(row[0]) for row in rows if row[1] and not wanted.isdisjoint(row[1].split(b"\0"))]
        ids += [trace.id for trace in self._pending.values() if not set(keys).isdisjoint(trace.targets)]
        found = list(self.load(list(dict.fromkeys(ids))).values())
        wanted -= {on_disk(key) for trace in found for key in trace.targets}
        each = sorted(wanted)
        for at in range(0, len(each), CHUNK):
            chunk = each[at : at + CHUNK]
            query = f"SELECT key, step, checked, fingerprint FROM once WHERE key IN ({','.join('?' * len(chunk))})"
            for key, step, checked, fingerprint in self._rows(query, chunk):
                targets = [os.fsdecode(key)]
                found.append(Trace("", step, {}, b"", b"", checked, [], b"", targets, fingerprint, [], 0, 0.0, 0.0))
        return found

    def left(self, keys: Collection[str]) -> dict[str, list[tuple[str, bytes]]]:
        """How runs left these keys, by all that is known: the check, and the fingerprint."""
        wanted = {on_disk(key) for key in keys}
        rows = self._rows("SELECT id, targets FROM traces")
        ids = [row[0] for row in rows if row[1] and not wanted.isdisjoint(row[1].split(b"\0"))]
        found: dict[str, list[tuple[str, bytes]]] = {}
        traces = [trace for trace in self._pending.values() if not set(keys).isdisjoint(trace.targets)]
        for at in range(0, len(ids), CHUNK):
            chunk = ids[at : at + CHUNK]
            traces += self._traces(f"WHERE id IN ({','.join('?' * len(chunk))})", chunk)
        for trace in traces:
            for key in set(keys).intersection(trace.targets):
                found.setdefault(key, []).append((trace.check, trace.target_fingerprint(key) or b""))
        each = sorted(wanted)
        for at in range(0, len(each), CHUNK):
            chunk = each[at : at + CHUNK]
            query = f"SELECT key, checked, fingerprint FROM once WHERE key IN ({','.join('?' * len(chunk))})"
            for key, checked, fingerprint in self._rows(query, chunk):
                found.setdefault(os.fsdecode(key), []).append((checked, fingerprint))
        return found

    def members(self, job_id: str) -> list[str]:
        """The keys that the job's last good run made, in the order recorded; empty without one."""
        pending = self._pending.get(job_id)
        if pending is not None:
            return list(pending.targets)
        rows = self._rows("SELECT targets FROM traces WHERE id = ?", (on_disk(job_id),))
        return _parted(rows[0][0]) if rows else []

    def is_empty(self) -> bool:
        """Has no job ever ended well?"""
        return not self._pending and not self._rows("SELECT 1 FROM traces LIMIT 1")

    def durations(self, ids: Collection[str]) -> dict[str, float]:
        """How long these jobs took the last time, in seconds."""
        rows: list[tuple[Any, ...]] = []
        if len(ids) > 8 * CHUNK:
            rows = self._rows("SELECT id, seconds FROM traces")
            wanted = set(ids)
            found = {
                job_id: seconds
                for job_id, seconds in ((os.fsdecode(row[0]), row[1]) for row in rows)
                if job_id in wanted
            }
        else:
            each = [on_disk(job_id) for job_id in ids]
            for at in range(0, len(each), CHUNK):
                chunk = each[at : at + CHUNK]
                query = f"SELECT id, seconds FROM traces WHERE id IN ({','.join('?' * len(chunk))})"
                rows += self._rows(query, chunk)
            found = {os.fsdecode(job_id): seconds for job_id, seconds in rows}
        if self._pending:
            found.update((job_id, self._pending[job_id].seconds) for job_id in ids if job_id in self._pending)
        return found

    def by_run(self, run: int) -> list[Trace]:
        """The traces that this build left, in the order of their start."""
        rows = self._traces("WHERE run = ?", [run])
        found = [trace for trace in rows if trace.id not in self._pending]
        found += [trace for trace in self._pending.values() if trace.run == run]
        return sorted(found, key=lambda trace: trace.started)

    # -- failures, definitions, builds --------------------------------------------------------------------------------------------------

    def failures(self) -> dict[str, Failure]:
        """The jobs whose last run failed."""
        found: dict[str, Failure] = {}
        for (body,) in self._rows("SELECT body FROM failures"):
            failure = parse(body)
            if isinstance(failure, Failure):
                found[failure.id] = failure
        for job_id, pending in self._failed.items():
            if pending is None:
                found.pop(job_id, None)
            else:
                found[job_id] = pending
        return found

    def definition(self, digest: bytes) -> str | None:
        """The definition with this digest, as text."""
        rows = self._rows("SELECT text FROM definitions WHERE digest = ?", (digest,))
        return rows[0][0] if rows else None

    def put_definition(self, digest: bytes, text: str) -> None:
        """Keep a definition, so that a later `why` can tell what of it was changed."""
        self.put_definitions([(digest, text)])

    def put_definitions(self, pairs: Iterable[tuple[bytes, str]]) -> None:
        """Keep definitions, those that are new in one transaction."""
        if self._known is None:
            rows = self._rows("SELECT digest FROM definitions")
            self._known = {row[0] for row in rows}
        new = [(digest, _bytes(text)) for digest, text in dict(pairs).items() if digest not in self._known]
        if new:

            def work(db: sqlite3.Connection) -> None:
                with _transaction(db):
                    db.executemany("INSERT OR IGNORE INTO definitions VALUES (?, CAST(? AS TEXT))", new)

            self._ask(work, None)
            self._known.update(digest for digest, _ in new)

    def begin_run(self, started: float, command: str) -> int:
        """Note that a build starts; its number."""
        self.begun = True
        query = "INSERT INTO runs (started, command, ran, failed) VALUES (?, CAST(? AS TEXT), 0, 0)"
        return self._ask(lambda db: db.execute(query, (started, _bytes(command))).lastrowid or 0, 0)

    def end_run(self, run: int, ended: float, *, ran: int = 0, failed: int = 0) -> None:
        """Note how the build ended."""
        query = "UPDATE runs SET ended = ?, ran = ?, failed = ? WHERE run = ?"
        self._ask(lambda db: db.execute(query, (ended, ran, failed, run)), None)

    def runs(self, limit: int = 20) -> list[Run]:
        """The last builds, the newest first."""
        query = "SELECT run, started, command, ended, ran, failed FROM runs ORDER BY run DESC LIMIT ?"
        return [Run(*row) for row in self._rows(query, (limit,))]


class _transaction:  # noqa: N801 (reads as a word at the place of use)
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._db.execute("COMMIT")
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _is_blank(db: sqlite3.Connection) -> bool:
    """Is nothing in it yet? A full disk may have taken the file, and no more."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return version == 0 and db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _move(path: str, place: str) -> None:
    for end in HELPERS:
        if os.path.exists(path + end):
            os.replace(path + end, place + end)


def _row(trace: Trace, body: str | None) -> tuple[Any, ...]:
    stamps = list(chain.from_iterable(trace.target_stamps))
    long = len(trace.inputs) > INLINE
    return (
        on_disk(trace.id),
        trace.run,
        trace.started,
        trace.seconds,
        _joined(trace.targets),
        struct.pack(f"<{len(stamps)}q", *stamps),
        trace.body(inputs=False) if long else body or trace.body(),
        _digest(_joined(trace.inputs)) if long else None,
        trace.input_fps if long else None,
    )


def _traces(db: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Trace]:
    found = []
    lists: dict[bytes, list[str]] = {}
    for body, stamps, names, fps in db.execute(f"SELECT {ROW} FROM traces {where}", values).fetchall():
        trace = parse(body)
        if not isinstance(trace, Trace):
            continue
        numbers = struct.unpack(f"<{len(stamps) // 8}q", stamps)
        trace = trace._replace(target_stamps=[Stamp(*numbers[at : at + 4]) for at in range(0, len(numbers), 4)])
        if names is not None:
            if names not in lists:
                row = db.execute("SELECT list FROM names WHERE digest = ?", (names,)).fetchone()
                if row is None:
                    continue
                lists[names] = _parted(row[0])
            trace = trace._replace(inputs=lists[names], input_fps=fps)
        found.append(trace)
    return found


def _leave_behind(db: sqlite3.Connection, traces: Collection[Trace]) -> set[bytes]:
    """Note the targets that the jobs made the last time, and this time did not: still duct's own files, should they be there.

    Returns the digests of the lists of names that their last traces refer to.
    """
    lists: set[bytes] = set()
    if not db.execute("SELECT 1 FROM traces LIMIT 1").fetchone():
        return lists
    now = {on_disk(trace.id): trace for trace in traces}
    ids = list(now)
    for at in range(0, len(ids), CHUNK):
        chunk = ids[at : at + CHUNK]
        query = f"SELECT id, targets, names FROM traces WHERE id IN ({','.join('?' * len(chunk))})"
        for job_id, targets, names in db.execute(query, chunk).fetchall():
            if names is not None:
                lists.add(names)
            if targets != _joined(now[job_id].targets):
                for old in _traces(db, "WHERE id = ?", [job_id]):
                    _remember(db, old, set(old.targets).difference(now[job_id].targets))
    if db.execute("SELECT 1 FROM once LIMIT 1").fetchone():
        made = [(on_disk(key),) for trace in traces for key in trace.targets]
        db.executemany("DELETE FROM once WHERE key = ?", made)
    return lists


def _remember(db: sqlite3.Connection, trace: Trace, keys: Iterable[str]) -> None:
    rows = [(on_disk(key), _bytes(trace.step), trace.check, trace.target_fingerprint(key)) for key in keys]
    db.executemany("INSERT OR REPLACE INTO once VALUES (?, CAST(? AS TEXT), ?, ?)", rows)


def _joined(names: Sequence[str]) -> bytes:
    return on_disk("\0".join(names))


def _parted(names: bytes) -> list[str]:
    return os.fsdecode(names).split("\0") if names else []


def _digest(data: bytes) -> bytes:
    return blake3(data).digest(length=16)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
