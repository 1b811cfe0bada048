"""A pipeline in a file that is read again when the file, or a module of the user's that it imports, has changed: for `duct watch`."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..model import Stamp
from ..runners.worker import search_afresh
from ..trace.fingerprints import racy
from .loading import load
from .objects import is_local

if TYPE_CHECKING:
    from ..events import Reporter
    from ..model import Project


class Reloading:
    """What describes a project (`workspace.Source`): the pipeline that the file at `path` defines when it is asked for.

    UsageError where it defines none.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._asked = False
        search_afresh(os.path.dirname(path), os.path.dirname(path))
        self._load()

    @property
    def name(self) -> str:
        return self._pipeline.name

    @property
    def root(self) -> str:
        """The absolute folder that its keys are relative to. UsageError where it cannot be one."""
        return self._pipeline.folder(os.path.dirname(self._path))

    def notifier(self, reporter: Reporter, state: str) -> Reporter:
        """The notifications that the pipeline asks for."""
        return self._pipeline.notifier(reporter, state)

    def project(self, root: str) -> Project:
        """The pipeline of now as a project, whose files are all that it was loaded from.

        UsageError where the file cannot be run, or gives its pipeline another name; the next call tries again.
        """
        if any(self._may_differ(file, stamp) for file, stamp in self._stamps.items()):
            self._reload()
        self._asked = True
        project = self._pipeline.project(root)
        return project._replace(files=tuple(os.path.relpath(file, root) for file in self._stamps))

    def _may_differ(self, file: str, stamp: Stamp | None) -> bool:
        # What was written in the moment of loading counts as changed from the second time on: who calls once need not run the file twice.
        return stamp is None or _stamp(file) != stamp or (self._asked and racy(stamp, self._loaded_at_ns))

    def _load(self) -> None:
        began = time.time_ns()
        self._pipeline = load(self._path)
        self._loaded_at_ns = began
        files = dict.fromkeys([self._path, *_local_modules().values()])
        self._stamps = {file: _stamp(file) for file in files}

    def _reload(self) -> None:
        before = self._pipeline
        for name in _local_modules():
            del sys.modules[name]
        self._load()
        if self._pipeline.name != before.name:
            now, self._pipeline, self._stamps = self._pipeline, before, {self._path: None}
            raise UsageError(
                f'the pipeline was called "{before.name}", and is called "{now.name}" now',
                where=os.path.basename(self._path),
                hint="its state goes by its name: start the watch again",
            )


def _local_modules() -> dict[str, str]:
    """The user's modules that are loaded, with their files."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {
        name: file
        for name, file in files.items()
        if file and name != "__main__" and os.path.isabs(file) and is_local(file)
    }


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
