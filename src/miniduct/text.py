"""Wording: names shown safely, the nearest name to a misspelt one, counts, durations, sizes.

Everything here gives one line of text that no terminal can be harmed by. This module knows nothing of steps or jobs, and imports nothing, for it is
wanted on every path.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

UNITS = ("kB", "MB", "GB", "TB", "PB")


def nearest(name: str, names: Iterable[str], most: int = 1) -> list[str]:
    """The names that `name` was probably meant to be, best first, at most `most`; empty where none is near.

    Near: one letter in three may differ, four at the most; or it is the same file name in another folder. 100,000 names: 0.2 to 1 s.
    """
    wanted = name.casefold()
    limit = min(max(1, len(wanted) // 3), 4)
    letters, last = set(wanted), wanted.rsplit("/", 1)[-1]
    found: list[tuple[int, str]] = []
    for other in dict.fromkeys(names):
        if other == name:
            continue
        folded = other.casefold()
        distance = limit + 1
        # A letter more or less in the set needs an edit; two can go in one. This test is done in C and settles nearly all.
        if abs(len(folded) - len(wanted)) <= limit and len(letters.symmetric_difference(folded)) <= 2 * limit:
            distance = _distance(wanted, folded)
        if distance > limit and last and "/" in wanted + folded and folded.rsplit("/", 1)[-1] == last:
            distance = limit
        if distance <= limit:
            found.append((distance, other))
    found.sort(key=lambda pair: (pair[0], abs(len(pair[1]) - len(name)), pair[1]))
    return [other for _, other in found[:most]]


def _distance(one: str, two: str) -> int:
    """Letters to insert, drop, replace, or swap with their neighbour, to turn one text into the other."""
    while one and two and one[-1] == two[-1]:
        one, two = one[:-1], two[:-1]
    start = 0
    while start < len(one) and start < len(two) and one[start] == two[start]:
        start += 1
    one, two = one[start:], two[start:]
    before: list[int] = []
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        above, before, row = before, row, [i]
        for j, b in enumerate(two, 1):
            best = min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and one[i - 2] == b:
                best = min(best, above[j - 2] + 1)
            row.append(best)
    return row[-1]


def shown(key: str) -> str:
    """A key as it stands in a message: itself where it is plain, else in double quotes on one line, with escapes."""
    if key and key.isprintable() and " " not in key and '"' not in key:
        return key
    return f'"{"".join(map(_escaped, key))}"'


def escaped(text: str) -> str:
    """The text on one line without quotes: whatever a terminal could act upon is escaped."""
    if text.isprintable():
        return text
    return "".join(char if char == '"' else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def count(number: int, noun: str) -> str:
    """`1 job`, `1,781 jobs`, `2 matches`, `3 entries`."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")):
        noun += "es"
    elif noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        noun = f"{noun[:-1]}ies"
    else:
        noun += "s"
    return f"{number:,} {noun}"


def duration(seconds: float) -> str:
    """`0.3 s`, `41 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def size(number: int) -> str:
    """`812 B`, `3.1 MB`, `41 GB`: in powers of 1,000."""
    if number < 1000:
        return f"{number} B"
    value = float(number)
    for unit in UNITS:
        value /= 1000
        if value < 9.95:
            return f"{value:.1f} {unit}"
        if value < 999.5:
            return f"{value:.0f} {unit}"
    return f"{value:,.0f} {UNITS[-1]}"
