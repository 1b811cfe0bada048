"""The remote stores of a project, as its Ductfile sets them up. Each is made, and its libraries imported, when the first of its keys is met."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import UsageError
from .plan.patterns import key_pattern
from .stores.routed import Stores
from .template import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .model import Project
    from .plan.patterns import Pattern
    from .stores.base import RemoteStore
    from .stores.http.settings import Site
    from .stores.patience import Retry
    from .stores.values import ValueStore


def stores_of(
    project: Project,
    environ: Mapping[str, str],
    folder: str,
    *,
    offline: bool,
    write: bool,
    tell: Callable[[Retry], None],
    values: ValueStore | None = None,
) -> Stores:
    """Local files, and the remote keys of a project. `folder` holds copies; nothing is kept there without `write`.

    `tell` hears of what is tried again while an answer is waited for.
    """

    def connect(scheme: str, hear: Callable[[Retry], None]) -> RemoteStore:
        if scheme == "gs":
            return _gcs(project, environ, hear)
        return _http(project, environ, folder, hear, keep=write)

    return Stores(connect, offline=offline, tell=tell, values=values)


def _gcs(project: Project, environ: Mapping[str, str], tell: Callable[[Retry], None]) -> RemoteStore:
    from .stores.gcs.settings import GcsSettings
    from .stores.gcs.store import GcsStore

    given = project.stores.get("gcs", {})
    credentials = given.get("credentials")
    settings = GcsSettings(
        project=given.get("project"),
        credentials=os.path.join(project.root, os.path.expanduser(credentials)) if credentials else None,
        endpoint=given.get("endpoint") or environ.get("STORAGE_EMULATOR_HOST") or None,
        user_projects=given.get("user_project", {}),
    )
    return GcsStore(settings, tell)


def _http(
    project: Project, environ: Mapping[str, str], folder: str, tell: Callable[[Retry], None], *, keep: bool
) -> RemoteStore:
    from .stores.http.settings import Declared, HttpSettings
    from .stores.http.store import HttpStore

    given = project.stores.get("http", {})
    times = {
        name: given[setting]
        for setting, name in (
            ("connect_timeout", "connect_timeout"),
            ("read_timeout", "read_timeout"),
            ("timeout", "deadline"),
        )
        if setting in given
    }
    about: list[tuple[Pattern, Declared]] = [
        (key_pattern(slot.text), Declared(step.sha256, step.max_age))
        for step in project.steps
        if step.sha256 is not None or step.max_age is not None
        for slot in step.inputs
        if slot.step is None
    ]

    def declared(key: str) -> Declared:
        return next((each for pattern, each in about if pattern.matches(key)), Declared())

    return HttpStore(
        HttpSettings(_sites(given, environ), **times), f"{folder}/http", tell, keep=keep, declared=declared
    )


def _sites(given: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Site, ...]:
    """What is sent along, with the secrets in place."""
    from .stores.http.settings import Site

    def filled(text: str) -> str:
        parts = []
        for part in parse(text, is_key=False).parts:
            if isinstance(part, str):
                parts.append(part)
            elif environ.get(part.name):
                parts.append(environ[part.name])
            else:
                raise UsageError(
                    f"the variable {part.name} is not set", facts=["[stores.http] names it in its secrets"]
                )
        return "".join(parts)

    headers, query = given.get("headers", {}), given.get("query", {})
    return tuple(
        Site(
            f"https://{prefix}" if "://" not in prefix else prefix,
            {name: filled(text) for name, text in headers.get(prefix, {}).items()},
            {name: filled(text) for name, text in query.get(prefix, {}).items()},
        )
        for prefix in dict.fromkeys([*headers, *query])
    )
