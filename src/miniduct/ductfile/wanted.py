"""What plain `duct build` makes: each entry of `default` is a step, a key, a glob or `tag:NAME`, and must be something that a step makes.

Whether a wildcard's target will be there is for the plan to say: here an entry is refused only if no step could make it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..template import parse
from ..text import nearest
from .checks import keys_of
from .fill import fill, key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model import Location
    from .drafts import Draft, Scope
    from .source import Spot


def wanted(
    entries: Iterable[tuple[str, Spot, Scope]], steps: Mapping[str, Draft], *, certain: bool
) -> tuple[tuple[str, Location], ...]:
    """The entries with canonical keys, and their places.

    Not `certain`: an unknown name is no mistake, for steps may be missing, or the plan will tell.
    """
    found = []
    for text, spot, scope in entries:
        meant = _meant(text, spot, scope, steps, certain)
        if meant is not None:
            found.append((meant, spot.location()))
    return tuple(found)


def _meant(text: str, spot: Spot, scope: Scope, steps: Mapping[str, Draft], certain: bool) -> str | None:
    if text in steps:
        return text
    if text.startswith("tag:"):
        tags = [tag for draft in steps.values() for tag in draft.values.get("tags") or ()]
        if text[4:] not in tags and certain:
            near = nearest(text[4:], tags)
            hint = f'did you mean "tag:{near[0]}"?' if near else None
            spot.say(f'"default" names the tag "{text[4:]}", which no step has', hint=hint)
        return text
    name = text.removeprefix("step:")
    if name in steps:
        return name
    meant = key(spot, name, scope.vars, scope.base)
    if meant is None:
        return None
    if meant.wildcards:
        fill(spot, name, scope.vars)  # says which name is unknown
        return None
    plain = "".join(map(str, parse(meant.text, is_key=True).parts))
    if certain and (name != text or not _may_be_made(plain, steps)):
        targets = [each.text for draft in steps.values() for each in keys_of(draft.targets)]
        near = nearest(plain, [*steps, *targets])
        hint = f'did you mean "{near[0]}"?' if near else None
        spot.say(f'"default" names "{plain}", which is no step and which no step makes', hint=hint)
    return plain


def _may_be_made(plain: str, steps: Mapping[str, Draft]) -> bool:
    """Could a step make it? True when in doubt."""
    if any(sign in plain for sign in "*?["):
        return True
    return any(
        "targets" in draft.broken or any(_could_be(each.text, plain) for each in keys_of(draft.targets))
        for draft in steps.values()
    )


def _could_be(target: str, plain: str) -> bool:
    """Could a target of this text be, or hold, the key?"""
    source = ""
    for part in parse(target, is_key=True).parts:
        if isinstance(part, str):
            source += re.escape(part).replace(r"\*", ".*")
        else:
            source += ".+" if part.deep else "[^/]+"
    return re.fullmatch(source + ".*" if target.endswith("/") else source, plain, re.DOTALL) is not None
