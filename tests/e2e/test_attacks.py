"""The user's files beside, in the place of, and at the far end of targets: whatever a step does, none of them is lost; and no stale result stays."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from support import DUCT, wait_for

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


def test_link_to_the_newest_file_leaves_the_older_ones_alone(box: Sandbox) -> None:
    box.write("src/1.txt", "one\n")
    box.ductfile(
        """
        [step.latest]
        inputs = "src/*.txt"
        targets = "out/latest.txt"
        run = 'ln -sf "../$(ls src/*.txt | tail -1)" out/latest.txt'
        """
    )
    box.build()
    box.write("src/2.txt", "two\n")
    box.build()
    assert box.tree("src") == {"src/1.txt": b"one\n", "src/2.txt": b"two\n"}
    assert os.readlink(box.path("out/latest.txt")) == "../src/2.txt"


@pytest.mark.parametrize("target", ["{target}", "cur"])
def test_link_to_the_current_folder_leaves_the_former_one_alone(box: Sandbox, target: str) -> None:
    box.files({"v": "one", "one/a": "a\n", "two/b": "b\n"})
    run = f"""run = 'ln -sfn "$PWD/$(cat v)" {target}'"""
    box.ductfile(f"""[step.current]\ninputs = "v"\ntargets = "cur/"\n{run}\n""")
    for name in ("one", "two", "one"):
        box.write("v", name)
        box.build()
        assert os.readlink(box.path("cur")) == box.path(name)
        assert box.tree("one") | box.tree("two") == {"one/a": b"a\n", "two/b": b"b\n"}
    box.nothing_to_do()


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


@pytest.mark.parametrize("place", ["p", "{target}"])
def test_members_are_updated_in_place_where_the_step_keeps_them(box: Sandbox, place: str) -> None:
    box.ductfile(f"""[step.a]\ninputs = "in"\ntargets = "p/*.x"\nkeep = true\nrun = 'cp in {place}/$(cat in).x'\n""")
    for number in ("1", "2", "4"):
        box.write("in", number)
        box.build()
    assert box.tree("p") == {f"p/{number}.x": number.encode() for number in ("1", "2", "4")}
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


def test_record_of_targets_that_did_not_get_into_their_places_is_taken_back(box: Sandbox) -> None:
    box.write("in", "1\n")
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = ["d/a", "o"]
        run = 'cp in {targets[0]}; cp in {targets[1]}; [ ! -e block ] || { rm -r d; echo mine > d; }'
        """
    )
    box.build()
    box.write("in", "2\n")
    box.write("block")
    box.expect(1, "build")
    assert box.read("d") == "mine\n"
    assert box.read("o") == "1\n"
    box.remove("block")
    box.remove("d")
    box.write("in", "3\n")
    result = box.build()
    assert box.read("o") == box.read("d/a") == "3\n"
    assert "o was" not in result.err
    assert kept(box) == []
    box.nothing_to_do()


@pytest.mark.parametrize("step", ['inputs = "k"\ntargets = "parts/x.csv"', 'inputs = "k"\ntargets = "parts/x*.csv"'])
def test_member_that_two_jobs_make_fails_by_name(box: Sandbox, step: str) -> None:
    box.files({"list": "x\np1\n", "k": "k\n"})
    write = "{target}" if "x.csv" in step else "{target}/x.csv"
    box.ductfile(
        f"""
        [step.split]
        inputs = "list"
        targets = "parts/*.csv"
        run = 'sleep 0.3; for i in $(cat {{input}}); do echo v > {{target}}/$i.csv; done'
        [step.special]
        {step}
        run = 'echo w > {write}'
        """
    )
    result = box.expect(1, "build", "-j", "2", "-k")
    assert "made parts/x.csv, which " in result.err
    assert box.read("parts/x.csv") == "w\n"


def test_folder_in_the_place_of_a_target_stays(box: Sandbox) -> None:
    box.files({"out/precious": "mine\n", "in": "1\n"})
    for target in ("out", "{target}"):
        box.ductfile(f"""[step.a]\ninputs = "in"\ntargets = "out"\nrun = 'cp in {target}'\n""")
        assert "a folder of that name is there" in box.expect(1, "build").err
        assert box.read("out/precious") == "mine\n"


def test_file_in_the_place_of_a_folder_target_stays(box: Sandbox) -> None:
    box.files({"out": "mine\n", "in": "1\n"})
    for target in ("out", "{target}"):
        box.ductfile(f"""[step.a]\ninputs = "in"\ntargets = "out/"\nrun = 'mkdir -p {target}; cp in {target}/x'\n""")
        assert "a file of that name is there" in box.expect(1, "build").err
        assert box.read("out") == "mine\n"


def test_nothing_is_published_where_one_target_cannot_be(box: Sandbox) -> None:
    box.write("in", "1\n")
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = ["d/a", "d/b"]
        run = 'cp in {targets[0]}; cp in {targets[1]}; [ ! -e block ] || { rm d/b; mkdir d/b; touch d/b/x; }'
        """
    )
    box.build()
    box.write("in", "2\n")
    box.write("block")
    assert "a folder of that name is there" in box.expect(1, "build").err
    assert box.read("d/a") == "1\n"
    box.remove("block")
    box.remove("d/b")
    box.write("in", "3\n")
    box.build()
    assert box.tree("d") == {"d/a": b"3\n", "d/b": b"3\n"}
    assert kept(box) == []


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


# -- what was made once -----------------------------------------------------------------------------------------------------------------------

MERGE = """
[step.all]
inputs = "data/*.csv"
targets = "all.txt"
run = 'cat {inputs} > {target}; printf "all\\\\0" >> "$RUNS"'
"""
MAKER = """
[step.mk]
inputs = "k"
targets = "data/x.csv"
run = "cp {input} {target}"
"""


@pytest.fixture
def orphaned(box: Sandbox) -> Sandbox:
    """data/x.csv was made by a step that is gone."""
    box.files({"k": "k\n", "data/s.csv": "s\n"})
    box.ductfile(MAKER + MERGE)
    box.build()
    assert box.read("all.txt") == "s\nk\n"
    box.ductfile(MERGE)
    result = box.build()
    assert box.read("all.txt") == "s\n"
    assert "data/x.csv" in result.err
    box.ran()
    box.nothing_to_do()
    return box


def test_orphan_that_the_user_overwrites_is_a_source(orphaned: Sandbox) -> None:
    orphaned.write("data/x.csv", "users own\n")
    result = orphaned.build()
    assert orphaned.read("all.txt") == "s\nusers own\n"
    assert "made by no step" not in result.err + orphaned.expect(0, "status").out
    orphaned.ran()
    orphaned.nothing_to_do()
    orphaned.write("data/x.csv", "users own again\n")
    orphaned.build()
    assert orphaned.read("all.txt") == "s\nusers own again\n"


def test_orphan_that_the_user_overwrites_within_the_stamp_is_a_source(orphaned: Sandbox) -> None:
    orphaned.write_behind_the_stamp("data/x.csv", "u\n")
    orphaned.build()
    assert orphaned.read("all.txt") == "s\nu\n"


def test_orphan_that_the_user_removes_and_writes_anew_is_a_source(orphaned: Sandbox) -> None:
    orphaned.remove("data/x.csv")
    orphaned.nothing_to_do()
    orphaned.write("data/x.csv", "users own\n")
    orphaned.build()
    assert orphaned.read("all.txt") == "s\nusers own\n"


def test_touched_orphan_is_still_an_orphan(orphaned: Sandbox) -> None:
    orphaned.touch("data/x.csv")
    orphaned.nothing_to_do()
    orphaned.nothing_to_do()
    orphaned.expect(0, "clean", "--orphans", "-y")
    assert not orphaned.exists("data/x.csv")
    orphaned.nothing_to_do()


def test_orphan_overwritten_before_the_build_that_would_find_it_is_a_source(box: Sandbox) -> None:
    box.files({"k": "k\n", "data/s.csv": "s\n"})
    box.ductfile(MAKER + MERGE)
    box.build()
    box.ductfile(MERGE)
    box.write("data/x.csv", "users own\n")
    box.build()
    assert box.read("all.txt") == "s\nusers own\n"


def test_orphan_is_an_orphan_without_a_snapshot(orphaned: Sandbox) -> None:
    orphaned.remove(".duct/snapshot")
    orphaned.nothing_to_do()
    assert orphaned.read("all.txt") == "s\n"
    orphaned.remove(".duct/snapshot")
    orphaned.write("data/x.csv", "users own\n")
    orphaned.build()
    assert orphaned.read("all.txt") == "s\nusers own\n"


def test_step_of_an_overwritten_orphan_comes_back(orphaned: Sandbox) -> None:
    orphaned.write("data/x.csv", "users own\n")
    orphaned.build()
    orphaned.ductfile(MAKER + MERGE)
    orphaned.build()
    assert orphaned.read("all.txt") == "s\nk\n"
    assert kept(orphaned) == ["users own\n"]


@pytest.mark.parametrize("names", ["b", "b c"])
def test_former_member_that_the_user_overwrote_is_a_source_at_once(box: Sandbox, names: str) -> None:
    box.write("l", "a b\n")
    box.ductfile(
        """
        [step.split]
        inputs = "l"
        targets = "p/*.x"
        run = 'for w in $(cat {input}); do echo $w > {target}/$w.x; done'
        [step.m]
        inputs = "p/*.x"
        targets = "m.txt"
        run = 'cat {inputs} > {target}'
        """
    )
    box.build()
    box.write("p/a.x", "mine\n")
    box.write("l", f"{names}\n")
    result = box.build()
    assert "edited since: it stays" in result.err
    assert "made by no step" not in result.err + box.expect(0, "status").out
    merged = "mine\n" + names.replace(" ", "\n") + "\n"
    assert box.read("m.txt") == merged
    box.nothing_to_do()
    box.remove(".duct/snapshot")
    box.nothing_to_do()
    box.expect(0, "clean", "--orphans", "-y")
    assert box.read("p/a.x") == "mine\n"
    box.write("p/a.x", "mine again\n")
    box.build()
    assert box.read("m.txt") == merged.replace("mine", "mine again")


# -- what a kill leaves behind ------------------------------------------------------------------------------------------------------------------


def test_command_with_a_cleared_environment_does_not_outlive_a_killed_build(box: Sandbox) -> None:
    box.write("in", "1")
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = "o"
        run = ["env", "-i", "/bin/sh", "-c", "x=$(cat in); touch started; sleep 1; printf $x > $0; sleep 0.5; printf late$x >> $0", "{target}"]
        """
    )
    process = box.start("build")
    wait_for(lambda: box.exists("started"), "the command")
    process.kill()
    process.communicate()
    box.write("in", "2")
    box.build()
    assert box.read("o") == "2late2"
    box.nothing_to_do()


def test_file_that_comes_and_goes_in_a_folder_while_its_reader_runs_is_noticed(box: Sandbox) -> None:
    box.files({"src/deep/a": "1\n"})
    box.ductfile(
        """
        [step.a]
        inputs = "src/"
        targets = "a"
        run = 'touch started; until [ -e "$GATE" ]; do sleep 0.01; done; cat {input}/deep/* > {target}'
        """
    )
    process = box.start("build")
    wait_for(lambda: box.exists("started"), "the command")
    box.write("src/deep/b", "2\n")
    box.open_gate()
    wait_for(
        lambda: (box.exists(".duct/stage/a") and "2" in box.read(".duct/stage/a")) or process.poll() is not None, "a"
    )
    box.remove("src/deep/b")
    result = box.finish(process)
    assert box.read("a") == "1\n2\n"
    box.build()
    assert box.read("a") == "1\n"
    assert "changed while" in result.err
    box.nothing_to_do()


READER = """
[step.w]
inputs = "a"
targets = "w"
run = 'touch started; until [ -e "$GATE" ]; do sleep 0.01; done; cp {input} {target}'
"""


@pytest.mark.parametrize("made", [True, False])
def test_input_edited_while_its_reader_runs_leaves_it_stale_however_fresh_it_was(box: Sandbox, made: bool) -> None:
    box.files({"in": "1\n", "a": "1\n"} if not made else {"in": "1\n"})
    maker = """[step.a]\ninputs = "in"\ntargets = "a"\nrun = 'cp {input} {target}'\n"""
    box.ductfile((maker if made else "") + READER)
    process = box.start("build")
    wait_for(lambda: box.exists("started"), "the command")
    box.write("a", "HAND\n")
    time.sleep(0.4)  # until what is racy has been settled
    box.open_gate()
    result = box.finish(process)
    assert "an input changed while w ran" in result.err
    assert box.read("w") == "HAND\n"
    if not made:
        box.write("a", "1\n")
    box.build()
    assert box.read("a") == box.read("w") == "1\n"
    box.nothing_to_do()


def test_what_changed_meanwhile_is_named_at_the_end(box: Sandbox) -> None:
    box.files({"a": "1\n", "b": "1\n"})
    box.ductfile("""[step.w]\ninputs = ["a", "b"]\ntargets = "w"\nrun = 'echo more >> a; cp a {target}'\n""")
    assert box.build("--json").events[-1]["moved"] == ["a"]
    box.ductfile("""[step.w]\ninputs = ["a", "b"]\ntargets = "w"\nrun = 'cp a {target}'\n""")
    assert box.build("--json").events[-1]["moved"] == []


def test_input_edited_while_two_readers_run_leaves_both_stale(box: Sandbox) -> None:
    box.write("a", "1\n")
    first = READER.replace("step.w", "step.v").replace('"w"', '"v"').replace("touch started", "touch first")
    later = """[step.z]\ninputs = ["a", "b"]\ntargets = "z"\nrun = 'cat {inputs} > {target}'\n"""
    maker = (
        """[step.b]\ninputs = "a"\ntargets = "b"\nrun = 'until [ -e go ]; do sleep 0.01; done; cp {input} {target}'\n"""
    )
    box.ductfile(first + maker + later)
    process = box.start("build", "-j", "2")
    wait_for(lambda: box.exists("first"), "the command")
    time.sleep(0.1)
    box.write("a", "HAND\n")
    box.write("go")
    wait_for(lambda: box.exists("z") or process.poll() is not None, "the third reader")
    box.open_gate()
    result = box.finish(process)
    assert result.err.count("an input changed while") == 2, str(result)
    box.write("a", "1\n")
    box.build()
    assert box.read("v") == "1\n"
    assert box.read("b") == "1\n"
    assert box.read("z") == "1\n1\n"
    box.nothing_to_do()


def test_orphan_asked_for_by_name_is_made_again_or_told(box: Sandbox) -> None:
    box.write("l", "x y\n")
    box.ductfile(
        """
        [step.split]
        inputs = "l"
        targets = "parts/*.csv"
        run = 'for i in $(cat {input}); do cat {input} > {target}/$i.csv; done'
        [step.pm]
        inputs = "parts/{n}.csv"
        targets = "pm/{n}"
        run = 'cp {input} {target}'
        """
    )
    box.build()
    box.write("l", "x\n")
    box.build()
    result = box.expect(2, "build", "pm/y")
    assert "is made by no step any more" in result.err
    box.write("l", "x y z\n")
    box.build("pm/y")
    assert box.read("pm/y") == "x y z\n"


def test_orphan_that_nobody_can_make_is_an_error_by_name(box: Sandbox) -> None:
    box.files({"src/a": "a\n", "src/b": "b\n"})
    box.ductfile('[step.o]\ninputs = "src/{n}"\ntargets = "o/{n}"\nrun = "cp {input} {target}"\n')
    box.build()
    box.remove("src/b")
    box.build()
    for _ in range(2):
        assert '"o/b" is made by no step any more' in box.expect(2, "build", "o/b").err
        assert '"o/b" is made by no step any more' in box.expect(2, "why", "o/b").err
    box.build("o/a")


INVALID = """
[step.split]
inputs = "l"
targets = "parts/*.csv"
run = 'for i in $(cat {input}); do cat {input} > {target}/$i.csv; done'
[step.pm]
inputs = "parts/{n}.csv"
targets = "pm/{n}"
run = 'cat {inputs} > {target}; printf "pm\\0" >> "$RUNS"'
[step.all]
inputs = "parts/*.csv"
targets = "all"
run = 'cat {inputs} > {target}; printf "all\\0" >> "$RUNS"'
"""
TWO = """
[step.two]
inputs = "l"
targets = "pm/z"
run = 'cp {input} {target}'
"""


@pytest.mark.parametrize(
    "text", [INVALID.replace('"parts/{n}.csv"', '["parts/{n}.csv", "extra/{n}.txt"]'), INVALID + TWO]
)
def test_member_that_makes_the_plan_invalid_is_got_rid_of_by_its_maker(box: Sandbox, text: str) -> None:
    box.files({"l": "x y\n", "extra/x.txt": "ex\n", "extra/y.txt": "ey\n", "k": "1\n"})
    box.ductfile(text)
    box.build()
    assert box.ran() == ["all", "pm", "pm"]
    box.write("l", "x y z\n")
    error = box.expect(2, "build").err
    assert "z" in error
    assert box.ran() == []
    box.expect(2, "build")
    assert box.ran() == []
    assert box.read("all") == "x y\nx y\n"
    box.write("l", "x y\n")
    box.build()
    assert box.read("all") == "x y\nx y\n"
    assert not box.exists("parts/z.csv")
    box.ran()
    box.nothing_to_do()


def test_few_descriptors_are_told_as_what_they_are(box: Sandbox) -> None:
    box.files({f"src/{number}": "x\n" for number in range(30)})
    box.ductfile('[step.a]\ninputs = "src/{n}"\ntargets = "o/{n}"\nrun = "sleep 0.2; cp {input} {target}"\n')
    command = ["/bin/sh", "-c", 'ulimit -n 24; exec "$0" build -j 20 -k', DUCT]
    found = subprocess.run(command, cwd=box.root, env=box.env, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1)
    assert "bug" not in found.stderr
    assert "Traceback" not in found.stderr
    box.build()
