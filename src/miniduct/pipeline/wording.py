"""What an exception of the user's says, in a line of our own."""

from __future__ import annotations

from ..text import escaped

_LONGEST_LINE = 500
"""Letters of an exception's own words."""


def said(error: BaseException) -> str:
    """What an exception says, on one line; nothing where it cannot say it."""
    try:
        return one_line(str(error))
    except Exception:
        return ""


def one_line(text: str) -> str:
    """The first line, harmless to a terminal, and not too long for one."""
    return escaped(text.strip().partition("\n")[0][:_LONGEST_LINE])


def raised(error: BaseException) -> str:
    """The kind of an exception, and what it says."""
    text = said(error)
    return type(error).__name__ + (f": {text}" if text else "")
