"""Named tuples without a look at their types."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from miniduct.tuples import NamedTuple


class Point(NamedTuple):
    """A point."""

    x: int
    y: SomethingThatIsNowhere = 2  # type: ignore[name-defined]  # noqa: F821
    tags: tuple[str, ...] = ()

    @property
    def sum(self) -> int:
        return self.x + int(self.y)

    def __str__(self) -> str:
        return f"{self.x},{self.y}"

    @classmethod
    def origin(cls) -> Point:
        return cls(0, 0)

    @staticmethod
    def zero() -> int:
        return 0


def test_fields_come_in_their_order_with_their_defaults() -> None:
    assert Point(1) == (1, 2, ()) == Point(x=1)
    assert Point(1, tags=("a",)).tags == ("a",)
    assert Point._fields == ("x", "y", "tags")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]


def test_what_the_class_says_besides_is_kept() -> None:
    point = Point(3)
    assert (point.sum, str(point), Point.zero(), Point.origin()) == (5, "3,2", 0, (0, 0, ()))
    assert Point.__doc__ == "A point."
    assert (Point.__module__, Point.__qualname__) == (__name__, "Point")
    assert Point.__annotations__["x"] == "int"
    assert repr(point) == "Point(x=3, y=2, tags=())"


def test_it_is_a_value() -> None:
    point: Any = Point(3)
    assert point._replace(y=4) == Point(3, 4)
    assert point._asdict() == {"x": 3, "y": 2, "tags": ()}
    assert len({point, Point(3)}) == 1
    assert pickle.loads(pickle.dumps(point)) == point
    with pytest.raises(AttributeError):
        point.x = 4
