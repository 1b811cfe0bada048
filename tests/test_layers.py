"""The house as data: which module may import which. A module imports only from below it; nothing imports in a circle."""

from __future__ import annotations

import ast
import os

import pytest

from support import REPOSITORY

SOURCE = os.path.join(REPOSITORY, "src", "miniduct")

LAYERS = [
    # Top first. Names on one line do not know each other; a package may use its own modules.
    ("cli", "testing"),
    ("pipeline",),
    ("reporters",),
    ("watch",),
    ("build", "clean", "accept", "status"),
    ("launching", "survey"),
    ("workspace", "publishing"),
    ("orphans", "notifying"),
    ("judging",),
    ("contents", "commands", "remotes"),
    ("answers",),
    ("interrupts", "lock", "turns", "witness"),
    ("inotify", "vouching"),
    ("runners",),
    ("plan",),
    ("events",),
    ("rebuilder", "scheduler"),
    ("trace",),
    ("stores",),
    ("ductfile",),
    ("modules", "shell"),
    ("template",),
    ("model",),
    ("errors", "forks", "keys", "text"),
    ("tuples",),
]

PURE = {
    "rebuilder": "a verdict from values",
    "scheduler": "an order from values",
    "model": "values",
    "events": "values",
    "errors": "values",
    "template": "text to parts",
    "text": "wording",
}
WORLD = {"os", "io", "time", "threading", "subprocess", "sqlite3", "socket", "asyncio", "signal", "shutil", "tempfile"}


def modules() -> dict[str, str]:
    """Every module of the package by its dotted name below `miniduct` ("" is the package itself), with its file."""
    found = {}
    for folder, folders, names in os.walk(SOURCE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                dotted = os.path.relpath(path, SOURCE)[:-3].replace(os.sep, ".")
                found[dotted.removesuffix("__init__").removesuffix(".")] = path
    return found


MODULES = modules()


def imports(module: str) -> list[tuple[str, int]]:
    """What the module imports from the package (full dotted names) and from elsewhere (with a leading "/"), with the lines."""
    path = MODULES[module]
    with open(path, encoding="utf-8") as source:
        tree = ast.parse(source.read(), path)
    parents = module.split(".") if module else []
    if not path.endswith("__init__.py"):
        parents = parents[:-1]
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [("/" + alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(name, node.lineno) for name in _from(node, parents)]
    return [(name.removeprefix("/miniduct.") if name.startswith("/miniduct.") else name, line) for name, line in found]


def _from(node: ast.ImportFrom, parents: list[str]) -> list[str]:
    if node.level == 0:
        if node.module is None or node.module.split(".")[0] != "miniduct":
            return ["/" + (node.module or "")]
        base = node.module.split(".")[1:]
    else:
        base = parents[: len(parents) - node.level + 1] + (node.module.split(".") if node.module else [])
    whole = ".".join(base)
    names = [".".join([*base, alias.name]) for alias in node.names]
    return [name if name in MODULES else whole for name in names]


RANK = {name: rank for rank, layer in enumerate(reversed(LAYERS)) for name in layer}


def house(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def test_every_module_has_its_place() -> None:
    assert {house(module) for module in MODULES if module} <= RANK.keys()


def test_the_table_names_no_module_that_is_gone() -> None:
    assert RANK.keys() <= {house(module) for module in MODULES}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_only_from_below(module: str) -> None:
    upwards = []
    for name, line in imports(module):
        other = house(name)
        if name.startswith("/") or not name or other == house(module):
            continue
        if module == "" and other == "pipeline":  # the public names, imported when they are asked for
            continue
        if module == "" or RANK[other] >= RANK[house(module)]:
            upwards.append(f"{MODULES[module]}:{line} imports {name}")
    assert upwards == []


def test_no_circle_of_imports() -> None:
    edges = {
        module: {name for name, _ in imports(module) if name in MODULES and name not in ("", module)}
        for module in MODULES
    }
    while edges:
        leaves = [module for module, needs in edges.items() if not needs & edges.keys()]
        assert leaves, f"these import each other in a circle: {sorted(edges)}"
        for module in leaves:
            del edges[module]


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_module_knows_nothing_of_the_world(module: str) -> None:
    assert {name.removeprefix("/").split(".")[0] for name, _ in imports(module)} & WORLD == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_says_what_lives_in_it(module: str) -> None:
    with open(MODULES[module], encoding="utf-8") as source:
        text = source.read()
    assert not text.strip() or ast.get_docstring(ast.parse(text))
