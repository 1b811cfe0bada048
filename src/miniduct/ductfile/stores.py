"""The table `[stores]`: how to reach the services that remote keys belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..template import parse
from ..text import nearest
from . import values
from .source import kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from .source import Spot


def stores(spot: Spot, table: object) -> dict[str, dict[str, Any]]:
    """The settings by store: `gcs`, `http`. Mistakes go on the list."""
    if not isinstance(table, dict):
        spot.wrong(f"must be a table, not {kind(table)}", hint="write [stores.gcs] or [stores.http]")
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name, inner in table.items():
        place = spot.inside("stores", name)
        known = _KNOWN.get(name)
        if known is None:
            near = nearest(name, _KNOWN)
            hint = f"did you mean [stores.{near[0]}]?" if near else f"known: {', '.join(_KNOWN)}"
            place.say(f'unknown store "{name}"', key=True, hint=hint)
        elif not isinstance(inner, dict):
            place.wrong(f"must be a table, not {kind(inner)}")
        else:
            found[name] = _store(place, name, inner, known)
    _secrets(spot, found.get("http", {}))
    return found


def _store(spot: Spot, store: str, table: dict[str, Any], known: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    found = {}
    for name, value in table.items():
        place = spot.inside(f"stores.{store}", name)
        if name not in known:
            near = nearest(name, known)
            hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
            place.say(f'[stores.{store}] has an unknown setting "{name}"', key=True, hint=hint)
            continue
        converted = known[name](place, value)
        if converted is not None:
            found[name] = converted
    return found


def _texts_by_name(spot: Spot, value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        spot.wrong(f"must be a table of texts, not {kind(value)}")
        return None
    found = {name: values.text(spot.inside(str(spot.path[-1]), name), item) for name, item in value.items()}
    return {name: text for name, text in found.items() if text is not None}


def _by_place(spot: Spot, value: object) -> dict[str, dict[str, str]] | None:
    """`{ "host/path" = { name = "text with {SECRET}" } }`."""
    if not isinstance(value, dict):
        spot.wrong(
            f"must be a table, not {kind(value)}",
            hint=f'write {spot.path[-1]} = {{ "example.com" = {{ NAME = "{{SECRET}}" }} }}',
        )
        return None
    found = {}
    for place, inner in value.items():
        texts = _texts_by_name(spot.inside(str(spot.path[-1]), place), inner)
        if texts is not None:
            found[place] = texts
    return found


def _secrets(spot: Spot, http: dict[str, Any]) -> None:
    """What stands in braces is a variable that `secrets` names."""
    known = http.get("secrets", ())
    for setting in ("headers", "query"):
        for place, texts in http.get(setting, {}).items():
            for name, text in texts.items():
                for part in parse(text, is_key=False).placeholders:
                    if part.name not in known or part.part is not None or part.item is not None:
                        at = spot.inside("stores", "http").inside("http", setting)
                        at.inside(setting, place).inside(place, name).say(
                            f'"{setting}" of [stores.http] has {part}, and its "secrets" do not name it',
                            hint=f'write secrets = ["{part.name}"]',
                        )


_KNOWN: dict[str, dict[str, Callable[..., Any]]] = {
    "gcs": {
        "project": values.text,
        "credentials": values.text,
        "endpoint": values.text,
        "user_project": _texts_by_name,
    },
    "http": {
        "secrets": values.variables,
        "headers": _by_place,
        "query": _by_place,
        "connect_timeout": values.duration,
        "read_timeout": values.duration,
        "timeout": values.duration,
    },
}
