"""`NamedTuple` as `typing` has it, of which the types are for those who read, and for type checkers.

What `typing` makes of a class with annotations is the same, but it compiles each annotation for it: 430 of them before a build, and a seventh of all
that a small build takes. For that reason, too, there are no dataclasses on the way to a build: what they write and compile took a fourth.
"""

from __future__ import annotations

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

    _OF_THE_CLASS = ("__annotations__", "__module__", "__qualname__")

    class _Maker(type):
        """Makes a named tuple of a class whose base is `NamedTuple`: of its annotations in order, with the values given there as defaults."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            made.__annotations__ = fields
            made.__qualname__ = body["__qualname__"]
            for key, value in body.items():
                if key not in _OF_THE_CLASS:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """The base of a class that is to be a named tuple."""
