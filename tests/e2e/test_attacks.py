"""The user's files beside, in the place of, and at the far end of targets: whatever a step does, none of them is lost; and no stale result stays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox


def kept(box: Sandbox) -> list[str]:
    """The texts of the copies below .duct/kept."""
    found = []
    for folder, _, names in os.walk(box.path(".duct/kept")):
        for name in names:
            with open(os.path.join(folder, name)) as source:
                found.append(source.read())
    return sorted(found)


# -- symbolic links in the place of a target ------------------------------------------------------------------------------------------------

LINKING = """
[step.latest]
inputs = "src/a.txt"
targets = "out/latest.txt"
params = { v = 1 }
run = 'ln -sf "$PWD"/{input} {target}'
"""


@pytest.mark.parametrize("target", ["{target}", "out/latest.txt"])
def test_link_made_by_a_job_is_replaced_as_a_link(box: Sandbox, target: str) -> None:
    box.files({"src/a.txt": "precious\n"})
    text = LINKING.replace("{target}", target)
    box.ductfile(text)
    box.build()
    box.ductfile(text.replace("v = 1", "v = 2"))
    box.build()
    box.build("-B")
    box.write("src/a.txt", "precious too\n")
    box.build()
    assert os.readlink(box.path("out/latest.txt")) == box.path("src/a.txt")
    assert box.read("src/a.txt") == "precious too\n"
    assert kept(box) == []
    box.nothing_to_do()


@pytest.mark.parametrize("target", ["{target}", "out/latest.txt"])
def test_link_made_by_a_job_is_not_written_through_by_its_next_command(box: Sandbox, target: str) -> None:
    box.files({"src/a.txt": "precious\n"})
    box.ductfile(LINKING.replace("{target}", target))
    box.build()
    box.ductfile(LINKING.replace("""'ln -sf "$PWD"/{input} {target}'""", f"'echo new > {target}'"))
    box.build()
    assert box.read("src/a.txt") == "precious\n"
    assert box.read("out/latest.txt") == "new\n"
    assert not os.path.islink(box.path("out/latest.txt"))
    box.nothing_to_do()


def test_link_made_by_a_job_is_put_back_after_a_failure(box: Sandbox) -> None:
    box.files({"src/a.txt": "precious\n"})
    text = LINKING.replace("{target}", "out/latest.txt")
    box.ductfile(text)
    box.build()
    box.ductfile(text.replace("run = 'ln", "run = 'false; ln").replace("v = 1", "v = 2"))
    box.expect(1, "build")
    assert os.readlink(box.path("out/latest.txt")) == box.path("src/a.txt")
    assert box.read("src/a.txt") == "precious\n"


def test_folder_linked_by_a_job_is_neither_replaced_nor_cleaned(box: Sandbox) -> None:
    box.files({"src/f/a.txt": "precious\n"})
    box.ductfile(
        """
        [step.link]
        inputs = "src/f/a.txt"
        targets = "out/"
        params = { v = 1 }
        run = 'ln -s "$PWD"/src/f {target}'
        """
    )
    box.build()
    box.build("-B")
    assert os.readlink(box.path("out")) == box.path("src/f")
    box.expect(0, "clean", "-y")
    assert box.read("src/f/a.txt") == "precious\n"
    assert not box.exists("out")


@pytest.mark.parametrize("target", ["{target}", "out.txt"])
def test_users_link_is_written_through_where_nothing_else_stands(box: Sandbox, target: str) -> None:
    os.makedirs(box.path("disk"))
    os.symlink("disk/out.txt", box.path("out.txt"))
    box.write("in.txt", "1\n")
    box.ductfile(f"""[step.a]\ninputs = "in.txt"\ntargets = "out.txt"\nrun = 'cat {{input}} > {target}'\n""")
    for content in ("1\n", "2\n", "3\n"):
        box.write("in.txt", content)
        box.build()
        assert os.readlink(box.path("out.txt")) == "disk/out.txt"
        assert box.read("disk/out.txt") == content
        box.nothing_to_do()
    assert kept(box) == []


@pytest.mark.parametrize("target", ["{target}", "out.txt"])
def test_users_link_is_not_written_through_to_a_file_of_theirs(box: Sandbox, target: str) -> None:
    box.files({"theirs.txt": "precious\n", "in.txt": "1\n"})
    os.symlink("theirs.txt", box.path("out.txt"))
    box.ductfile(f"""[step.a]\ninputs = "in.txt"\ntargets = "out.txt"\nrun = 'cat {{input}} > {target}'\n""")
    box.build()
    assert box.read("theirs.txt") == "precious\n"
    assert box.read("out.txt") == "1\n"


def test_target_replaced_by_a_link_to_an_equal_input_does_not_overwrite_the_input(box: Sandbox) -> None:
    box.files({"in.txt": "same\n", "how.txt": "copy\n"})
    box.ductfile(
        """
        [step.a]
        inputs = ["in.txt", "how.txt"]
        targets = "out.txt"
        run = 'if grep -q copy how.txt; then cp in.txt {target}; else echo new > {target}; fi'
        """
    )
    box.build()
    box.remove("out.txt")
    os.symlink("in.txt", box.path("out.txt"))
    box.nothing_to_do()
    box.write("how.txt", "new\n")
    box.build()
    assert box.read("in.txt") == "same\n"
    assert box.read("out.txt") == "new\n"


# -- the user's files among the members of a pattern ------------------------------------------------------------------------------------------


def test_users_file_that_matches_a_direct_pattern_stays_and_is_no_member(box: Sandbox) -> None:
    box.files({"parts/mine.csv": "mine\n", "in.txt": "x\n"})
    box.ductfile('[step.split]\ninputs = "in.txt"\ntargets = "parts/*.csv"\nrun = "cp in.txt parts/a.csv"\n')
    box.build()
    assert box.tree("parts") == {"parts/a.csv": b"x\n", "parts/mine.csv": b"mine\n"}
    box.nothing_to_do()
    box.write("in.txt", "y\n")
    box.build()
    assert box.tree("parts") == {"parts/a.csv": b"y\n", "parts/mine.csv": b"mine\n"}
    assert "mine.csv" not in box.expect(0, "list", "--keys").out
    box.expect(0, "clean", "-y")
    assert box.tree("parts") == {"parts/mine.csv": b"mine\n"}


def test_users_file_that_a_direct_command_overwrites_is_kept(box: Sandbox) -> None:
    box.files({"parts/a.csv": "mine\n", "in.txt": "x\n"})
    box.ductfile('[step.split]\ninputs = "in.txt"\ntargets = "parts/*.csv"\nrun = "cat in.txt > parts/a.csv"\n')
    result = box.build()
    assert box.read("parts/a.csv") == "x\n"
    assert kept(box) == ["mine\n"]
    assert ".duct/kept/parts/a.csv" in result.err
    box.nothing_to_do()


def test_users_file_that_a_failing_direct_command_overwrites_is_put_back(box: Sandbox) -> None:
    box.files({"parts/a.csv": "mine\n", "in.txt": "x\n"})
    box.ductfile('[step.split]\ninputs = "in.txt"\ntargets = "parts/*.csv"\nrun = "cat in.txt > parts/a.csv; false"\n')
    box.expect(1, "build")
    assert box.tree("parts") == {"parts/a.csv": b"mine\n"}


def test_members_of_a_direct_pattern_are_made_again_without_a_state(box: Sandbox) -> None:
    box.write("in.txt", "x\n")
    box.ductfile('[step.split]\ninputs = "in.txt"\ntargets = "parts/*.csv"\nrun = "cat in.txt > parts/a.csv"\n')
    box.build()
    box.remove(".duct")
    box.build()
    box.nothing_to_do()
    assert kept(box) == []


def test_edited_member_of_a_direct_pattern_is_kept(box: Sandbox) -> None:
    box.write("list.txt", "p1 a\np2 b\n")
    box.ductfile(
        """
        [step.split]
        inputs = "list.txt"
        targets = "dd/*.x"
        run = 'while read i c; do echo "$c" > "dd/$i.x"; done < list.txt'
        """
    )
    box.build()
    box.write("dd/p2.x", "MINE\n")
    box.build()
    assert kept(box) == ["MINE\n"]
    box.write("dd/p2.x", "MINE TOO\n")
    box.write("list.txt", "p1 a\n")
    box.build()
    assert kept(box) == ["MINE\n", "MINE TOO\n"]
    assert sorted(box.tree("dd")) == ["dd/p1.x"]


def test_users_file_that_is_read_elsewhere_is_kept_when_a_member_takes_its_place(box: Sandbox) -> None:
    box.files({"parts/mine.csv": "mine\n", "l": "a\n"})
    box.ductfile(
        """
        [step.s1]
        inputs = "l"
        targets = "parts/*.csv"
        run = 'for i in $(cat {input}); do echo v > {target}/$i.csv; done'
        [step.all]
        inputs = "parts/*.csv"
        targets = "all"
        run = 'cat {inputs} > {target}'
        """
    )
    box.build()
    assert box.read("all") == "v\nmine\n"
    box.write("l", "a mine\n")
    box.build()
    assert kept(box) == ["mine\n"]
    assert box.read("all") == "v\nv\n"


MOVING = """
[step.split]
inputs = "list"
targets = "parts/*.csv"
run = 'sleep 0.4; for i in $(grep p {input}); do echo v > {target}/$i.csv; done'
"""


@pytest.mark.parametrize(
    "taker",
    [
        """[step.special]\ninputs = "k"\ntargets = "parts/x.csv"\nrun = 'echo v > {target}'""",
        """[step.special]\ninputs = "k"\ntargets = "parts/**/*.csv"\nrun = 'echo v > {target}/x.csv'""",
    ],
    ids=["named", "by pattern"],
)
def test_member_that_another_job_makes_now_is_not_removed(box: Sandbox, taker: str) -> None:
    box.files({"list": "x\np1\n", "k": "k\n"})
    box.ductfile(MOVING.replace("sleep 0.4; ", "").replace("grep p", "cat"))
    box.build()
    box.ductfile(MOVING + taker + "\n")
    box.build("-j", "2")
    assert sorted(box.tree("parts")) == ["parts/p1.csv", "parts/x.csv"]
    box.nothing_to_do()


# -- targets that cannot be put into their places -----------------------------------------------------------------------------------------------


def test_target_that_cannot_be_published_leaves_the_last_good_ones_trace(box: Sandbox) -> None:
    box.write("in.txt", "1\n")
    box.ductfile(
        """
        [step.a]
        inputs = "in.txt"
        targets = ["one.txt", "two.txt"]
        run = "cp {input} {targets[0]}; cp {input} {targets[1]}; [ ! -e blocked ] || { rm one.txt; mkdir one.txt; touch one.txt/x; }"
        """
    )
    box.build()
    box.write("in.txt", "2\n")
    box.write("blocked", "")
    assert "a folder of that name is there" in box.expect(1, "build").err
    assert box.read("two.txt") == "1\n"
    box.remove("one.txt")
    box.remove("blocked")
    result = box.build()
    assert box.read("two.txt") == "2\n"
    assert kept(box) == []
    assert "two.txt was" not in result.err
    box.nothing_to_do()


# -- another check ----------------------------------------------------------------------------------------------------------------------------

CHECKED = """
[step.a]
inputs = "in.txt"
targets = "o.txt"
check = "{check}"
run = 'cp {{input}} {{target}}; printf "a\\0" >> "$RUNS"'
"""


@pytest.mark.parametrize(("before", "after"), [("exists", "content"), ("mtime", "content"), ("exists", "mtime")])
def test_stricter_check_does_not_trust_what_a_laxer_one_saw(box: Sandbox, before: str, after: str) -> None:
    box.write("in.txt", "1\n")
    box.ductfile(CHECKED.format(check=before))
    box.build()
    stamp = os.stat(box.path("in.txt"))
    box.write("in.txt", "2\n")
    if before == "mtime":
        os.utime(box.path("in.txt"), ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    box.build()
    assert box.read("o.txt") == "1\n"
    box.ran()
    box.ductfile(CHECKED.format(check=after))
    result = box.build()
    assert box.read("o.txt") == "2\n"
    assert "check changed" in result.err
    assert box.ran() == ["a"]
    box.nothing_to_do()


@pytest.mark.parametrize(("before", "after"), [("content", "exists"), ("content", "mtime"), ("mtime", "exists")])
def test_laxer_check_trusts_what_a_stricter_one_saw(box: Sandbox, before: str, after: str) -> None:
    box.write("in.txt", "1\n")
    box.ductfile(CHECKED.format(check=before))
    box.build()
    box.ran()
    box.ductfile(CHECKED.format(check=after))
    box.nothing_to_do()
