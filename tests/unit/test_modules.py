"""The modules of a project as their text shows them: which there are, what they rest on, how their functions are called."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

import pytest

from miniduct.modules import BrokenModuleError, Missing, Modules, Other, Signature, digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def project(root: Path, files: Mapping[str, str], *folders: str) -> Modules:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Modules(str(root), [str(root / folder) for folder in folders or (".",)])


def rests_on(modules: Modules, name: str = "job") -> list[str]:
    return [name for name, _ in modules.code(name).digests]


# -- what is imported ------------------------------------------------------------------------------------------------------------------

PACKAGE = {
    "pkg/__init__.py": "",
    "pkg/a.py": "",
    "pkg/b.py": "",
    "pkg/deep/__init__.py": "",
    "pkg/deep/c.py": "",
    "space/d.py": "",
    "other.py": "",
    "unrelated.py": "",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import other", ["other"]),
        ("import other as o", ["other"]),
        ("from other import x", ["other"]),
        ("import pkg.deep.c", ["pkg", "pkg.deep", "pkg.deep.c"]),
        ("from pkg import a", ["pkg", "pkg.a"]),
        ("from pkg import a as z, nothing", ["pkg", "pkg.a"]),
        ("from pkg import *", ["pkg"]),
        ("from pkg.deep.c import x", ["pkg", "pkg.deep", "pkg.deep.c"]),
        ("import space.d", ["space.d"]),
        ("from space import d", ["space.d"]),
        ("def f():\n    import other", ["other"]),
        ("class C:\n    def f(self):\n        from pkg import b", ["pkg", "pkg.b"]),
        ("try:\n    import other\nexcept ImportError:\n    import pkg.a", ["other", "pkg", "pkg.a"]),
        ("import importlib\nimportlib.import_module('other')", ["other"]),
        ("__import__('pkg.b')", ["pkg", "pkg.b"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import other", []),
        ("import typing\nif typing.TYPE_CHECKING:\n    import other\nelse:\n    import pkg.a", ["pkg", "pkg.a"]),
        ("import no_such, json, os", []),
        ("x = 'import other'  # import other", []),
    ],
)
def test_imports_are_found(tmp_path: Path, text: str, found: list[str]) -> None:
    assert rests_on(project(tmp_path, {**PACKAGE, "job.py": text})) == ["job", *found]


@pytest.mark.parametrize(
    ("module", "text", "found"),
    [
        ("pkg.x", "from . import a", ["pkg", "pkg.a"]),
        ("pkg.x", "from .a import thing", ["pkg", "pkg.a"]),
        ("pkg.deep.x", "from .. import b", ["pkg", "pkg.b", "pkg.deep"]),
        ("pkg.deep.x", "from ..a import y", ["pkg", "pkg.a", "pkg.deep"]),
        ("pkg.x", "from .. import other", ["pkg"]),
        ("pkg.x", "import a", ["pkg"]),
        ("space.x", "from . import d", ["space.d"]),
    ],
)
def test_relative_imports_are_found(tmp_path: Path, module: str, text: str, found: list[str]) -> None:
    modules = project(tmp_path, {**PACKAGE, f"{module.replace('.', '/')}.py": text})
    assert rests_on(modules, module) == [module, *found]


def test_imports_of_imports_are_found_in_circles_too(tmp_path: Path) -> None:
    files = {"job.py": "import a", "a.py": "import b", "b.py": "import a, c", "c.py": ""}
    assert rests_on(project(tmp_path, files)) == ["job", "a", "b", "c"]


def test_what_a_package_imports_for_all_its_modules_counts(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "from . import setup", "pkg/setup.py": "", "pkg/job.py": ""}
    assert rests_on(project(tmp_path, files), "pkg.job") == ["pkg.job", "pkg", "pkg.setup"]


def test_a_package_comes_before_a_file_and_a_file_before_a_bare_folder(tmp_path: Path) -> None:
    modules = project(tmp_path, {"a/__init__.py": "", "a.py": "", "b.py": "", "b/x.py": ""})
    assert [getattr(modules.find(name), "file", "") for name in ("a", "b")] == [
        str(tmp_path / "a/__init__.py"),
        str(tmp_path / "b.py"),
    ]


def test_ours_come_before_installed_ones_but_not_before_built_in_ones(tmp_path: Path) -> None:
    modules = project(tmp_path, {"json.py": "", "sys.py": "", "csv/data.txt": ""})
    found = {name: modules.find(name) for name in ("json", "sys", "csv", "blake3", "no_such")}
    assert {name: module and module.local for name, module in found.items()} == {
        "json": True,
        "sys": False,
        "csv": False,
        "blake3": False,
        "no_such": None,
    }


def test_nothing_is_imported(tmp_path: Path) -> None:
    modules = project(tmp_path, {"job.py": "raise SystemExit('run!')\ndef f(): pass\nimport json.tool"})
    assert modules.function("job", "f") == Signature()
    assert "json.tool" not in sys.modules
    assert "job" not in sys.modules


def test_later_folders_are_searched_after_the_first(tmp_path: Path) -> None:
    modules = project(tmp_path, {"a/x.py": "", "b/x.py": "", "b/y.py": ""}, "a", "b")
    assert [getattr(modules.find(name), "file", "") for name in "xy"] == [
        str(tmp_path / "a/x.py"),
        str(tmp_path / "b/y.py"),
    ]


def test_an_installed_module_that_lies_in_the_project_is_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `pip install -e`."""
    modules = project(
        tmp_path, {"src/editable/__init__.py": "", "src/editable/x.py": "", "job.py": "from editable import x"}
    )
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    importlib.invalidate_caches()
    assert rests_on(modules) == ["job", "editable", "editable.x"]


def test_an_environment_in_the_project_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ".venv/lib/python3/site-packages"
    modules = project(tmp_path, {f"{folder}/bought.py": "", "job.py": "import bought"})
    monkeypatch.syspath_prepend(str(tmp_path / folder))
    importlib.invalidate_caches()
    assert rests_on(modules) == ["job"]


def test_files_tell_also_where_a_module_would_come_first(tmp_path: Path) -> None:
    modules = project(tmp_path, {"job.py": "import json, sys, missing\nfrom pkg import name", "pkg/__init__.py": ""})
    files = {os.path.relpath(file, tmp_path) for file in modules.code("job").files}
    assert {"job.py", "pkg/__init__.py", "json.py", "json/__init__.py", "missing.py", "pkg/name.py"} <= files
    assert "sys.py" not in files
    assert all(not file.startswith("..") for file in files)


def test_a_compiled_module_counts_by_its_bytes(tmp_path: Path) -> None:
    name = f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    before = dict(project(tmp_path, {"job.py": "import fast", name: "1"}).code("job").digests)
    after = dict(project(tmp_path, {name: "2"}).code("job").digests)
    assert before["job"] == after["job"]
    assert before["fast"] != after["fast"]


# -- what counts -----------------------------------------------------------------------------------------------------------------------

CODE = '''
"""About the module."""
import os

def f(a, b=1, *, c="x"):
    """About f."""
    return [a + b, f"{c!r:>{b}}", {**{}}, b"x", 1.5, 1e400, None, ...]
'''


def of(text: str) -> str:
    return digest(ast.parse(text))


@pytest.mark.parametrize(
    "same",
    [
        CODE.replace("About", "Of"),
        CODE.replace('    """About f."""\n', ""),
        CODE.replace("return [", "return [  # here\n        "),
        CODE.replace("a + b", "(a+b)"),
        CODE.replace('"x"', "'x'"),
        "# first\n\n\n" + CODE,
    ],
)
def test_layout_comments_and_docstrings_do_not_count(same: str) -> None:
    assert same != CODE
    assert of(same) == of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a + b", "a - b"),
        ("a + b", "b + a"),
        ("b=1", "b=True"),
        ("b=1", "b=1.0"),
        ('"x"', '"y"'),
        ('b"x"', '"x"'),
        ("import os", "import os as sos"),
        ("def f", "async def f"),
        ("1e400", "1e300"),
        ("!r", "!s"),
        ("return", "yield"),
        ("{**{}}", "{1: {}}"),
        ("*, c", "c"),
        ("...", "'Ellipsis'"),
        ("\n    return", "\n    'no docstring here'; 1\n    return"),
    ],
)
def test_all_else_counts(old: str, new: str) -> None:
    changed = CODE.replace(old, new, 1)
    assert changed != CODE
    assert of(changed) != of(CODE)


def test_deep_nesting_is_no_trouble() -> None:
    assert of("x = " + " + ".join(["1"] * 500)) != of("x = " + " + ".join(["1"] * 501))


def test_code_is_the_same_under_another_name_or_in_another_folder(tmp_path: Path) -> None:
    one = project(tmp_path / "1", {"a.py": CODE}).code("a").digests[0][1]
    assert one == project(tmp_path / "2/x", {"b.py": CODE}).code("b").digests[0][1]


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"x = 1\ny = (\n", 2), (b"\n\ndef f(:\n", 3), (b"x = '\xff'\n", 1), (b"x = '\0'\n", 1), (b"if x:\ny = 1", 2)],
)
def test_a_broken_module_is_told_with_its_line(tmp_path: Path, data: bytes, line: int) -> None:
    modules = project(tmp_path, {"job.py": "import other"})
    (tmp_path / "other.py").write_bytes(data)
    with pytest.raises(BrokenModuleError) as caught:
        modules.code("job")
    assert (os.path.basename(caught.value.file), caught.value.line) == ("other.py", line)
    assert caught.value.why


def test_doubtful_escapes_are_nobodys_business(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    project(tmp_path, {"job.py": "x = '\\d'"}).code("job")
    assert not recwarn.list


def test_other_encodings_are_read(tmp_path: Path) -> None:
    modules = project(tmp_path, {})
    (tmp_path / "job.py").write_bytes("# coding: latin-1\nx = 'é'".encode("latin-1"))
    assert rests_on(modules) == ["job"]


# -- functions -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f(): ...", Signature()),
        ("def f(a, b): ...", Signature(("a", "b"))),
        ("def f(a, b=1, *, c, d=2): ...", Signature(("a", "c"), ("b", "d"))),
        ("def f(a, /, b, c=1, *more, d, **rest): ...", Signature(("b", "d"), ("c",), True, ("a",))),
        ("def f(a=1, /): ...", Signature()),
        ("def f(a, b=1, /, c=2): ...", Signature((), ("c",), False, ("a",))),
        ("@cache\ndef f(a): ...", Signature(("a",), decorated=True)),
        ("if True:\n    def f(a): ...", Signature(("a",))),
        ("try:\n    import x\nexcept ImportError:\n    def f(a): ...", Signature(("a",))),
        ("def f(a): ...\ndef f(b): ...", Signature(("b",))),
        ("from other import f", Signature(("here",))),
        ("from other import g as f", Signature(("there",))),
        ("from no_such import f", None),
        ("from math import sqrt as f", None),
        ("f = make()", None),
        ("f: object = make()", None),
        ("a, (f, b) = make()", None),
        ("from no_such import *", None),
        ("def __getattr__(name): ...", None),
        ("async def f(): ...", Other("an async function")),
        ("class f: ...", Other("a class")),
        ("import f", Other("a module")),
        ("import other as f", Other("a module")),
        ("from pkg import f", Other("a module")),
        ("def g(): ...\ndef h(): ...", Missing(["g", "h"])),
        ("def g():\n    def f(): ...", Missing(["g"])),
        ("class C:\n    def f(): ...", Missing([])),
        ("from job import f", None),
    ],
)
def test_functions(tmp_path: Path, text: str, found: object) -> None:
    files = {"job.py": text, "other.py": "def f(here): ...\ndef g(there): ...", "pkg/__init__.py": "", "pkg/f.py": ""}
    assert project(tmp_path, files).function("job", "f") == found


def test_functions_of_installed_modules_are_read_as_well(tmp_path: Path) -> None:
    modules = project(tmp_path, {})
    found = modules.function("json", "loads")
    assert isinstance(found, Signature)
    assert (found.required, found.everything) == (("s",), True)
    assert modules.function("time", "sleep") is None
    assert isinstance(modules.function("json", "no_such"), Missing)
