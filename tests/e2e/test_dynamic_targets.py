"""Jobs whose targets are patterns, side by side: each has made what it has made, whatever the others are about to make."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

REGIONS = """
[step.split]
inputs = "days/{region}.txt"
targets = "parts/*-{region}.csv"
run = '''
printf '%s\\0' {region} >> "$RUNS"
while read n pause; do
    echo half > FOLDER/$n-{region}.csv
    sleep $pause
    echo $n of {region} > FOLDER/$n-{region}.csv
done < {input}
'''

[step.sum]
inputs = "parts/*.csv"
targets = "sum.txt"
run = "cat {inputs} > {target}"
"""
STAGED = REGIONS.replace("FOLDER", "{target}")
DIRECT = REGIONS.replace("FOLDER", "parts").replace("printf", "mkdir -p parts\nprintf", 1)
ALL = "1 of eu\n1 of north-eu\n2 of north-eu\n"


def test_a_file_that_matches_two_patterns_is_of_the_job_that_made_it(box: Sandbox) -> None:
    box.files({"days/eu.txt": "1 0.3\n", "days/north-eu.txt": "1 0.7\n2 0\n"})
    box.ductfile(STAGED)
    box.build("-j", "2")
    assert box.read("sum.txt") == ALL
    box.write("days/eu.txt", "5 0\n")
    box.build()
    assert box.read("sum.txt") == "1 of north-eu\n2 of north-eu\n5 of eu\n"
    assert sorted(box.ran()) == ["eu", "eu", "north-eu"]
    box.nothing_to_do()


@pytest.mark.parametrize("places", [("{targets[0]}", "{targets[1]}"), ("out", "out"), ("{targets[0]}", "out")])
def test_a_file_that_two_patterns_of_its_job_match_is_made_once(box: Sandbox, places: tuple[str, str]) -> None:
    first, second = places
    box.ductfile(f"""
[step.a]
inputs = "in.txt"
targets = ["out/*.txt", "out/a*.txt"]
run = "mkdir -p out; cp {{input}} {first}/x.txt; cp {{input}} {second}/ay.txt"

[step.all]
inputs = "out/*.txt"
targets = "all.txt"
run = "cat {{inputs}} > {{target}}"
""")
    for content in "1\n", "2\n":
        box.write("in.txt", content)
        box.build()
        assert box.read("all.txt") == 2 * content
        box.nothing_to_do()
    assert not box.exists(".duct/kept")


def test_a_file_that_a_job_makes_in_two_places_is_not_chosen_from(box: Sandbox) -> None:
    box.ductfile("""
[step.a]
targets = ["out/*.txt", "out/a*.txt"]
run = "mkdir -p out; echo 1 > {targets[0]}/a.txt; echo 2 > out/a.txt"
""")
    assert "made out/a.txt twice, for two of its targets that match it" in box.expect(1, "build").err
    assert not box.exists("out/a.txt")


def test_who_made_a_file_of_two_patterns_in_its_place_is_not_guessed(box: Sandbox) -> None:
    box.files({"days/eu.txt": "1 0.3\n", "days/north-eu.txt": "1 0.7\n2 0.5\n"})
    box.ductfile(DIRECT)
    result = box.expect(1, "build", "-j", "2", "-k")
    assert "cannot tell who made parts/1-north-eu.csv" in result.err
    assert box.read("parts/1-north-eu.csv") == "1 of north-eu\n"
    box.build("-j", "1")
    assert box.read("sum.txt") == ALL
    assert sorted(box.ran()) == ["eu", "eu", "north-eu", "north-eu"]
    box.nothing_to_do()


def test_what_is_disputed_is_neither_jobs(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.a]
        targets = "p/*.x"
        run = "mkdir -p p; echo 1 > p/a1.x; sleep 0.8"

        [step.b]
        targets = "p/b*.x"
        run = "mkdir -p p; sleep 0.2; echo 1 > p/b1.x"
        """
    )
    result = box.expect(1, "build", "-j", "2", "-k")
    for step in ("a", "b"):
        assert f'step "{step}" failed: cannot tell who made p/b1.x' in result.err
    box.build("-j", "1")
    box.nothing_to_do()


def test_pattern_in_a_folder_that_is_a_link_to_another_file_system(box: Sandbox) -> None:
    elsewhere = tempfile.mkdtemp(dir="/dev/shm")
    try:
        if os.stat(elsewhere).st_dev == os.stat(box.root).st_dev:
            pytest.skip("there is no other file system here")
        os.symlink(elsewhere, box.path("far"))
        box.write("in", "1\n")
        box.ductfile(
            f"""
            [step.direct]
            inputs = "in"
            targets = "far/*.x"
            run = "cp {{input}} {{target}}/1.x"

            [step.deep]
            inputs = "in"
            targets = "{elsewhere}/d/**/*.x"
            run = "mkdir {{target}}/q; cp {{input}} {{target}}/q/2.x"
            """
        )
        box.build()
        found = [os.path.join(folder, name) for folder, _, names in os.walk(elsewhere) for name in names]
        assert sorted(found) == [f"{elsewhere}/1.x", f"{elsewhere}/d/q/2.x"]
        box.nothing_to_do()
    finally:
        shutil.rmtree(elsewhere)


def test_a_file_that_was_accepted_as_a_member_is_removed_with_a_copy_kept(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = "p/*.x"
        run = "cp {input} {target}/1.x"
        """
    )
    box.files({"in": "1\n", "p/1.x": "1\n", "p/mine.x": "precious\n"})
    box.expect(0, "accept", "--all")
    box.write("in", "2\n")
    assert "p/mine.x" in box.build().err
    (copy,) = [name for name in os.listdir(box.path(".duct/kept/p")) if name.startswith("mine.x")]
    assert box.read(f".duct/kept/p/{copy}") == "precious\n"


@pytest.mark.parametrize("check", ["content", "mtime", "exists"])
def test_former_members_go_and_edited_ones_stay_whatever_is_checked(box: Sandbox, check: str) -> None:
    box.ductfile(
        f"""
        [step.split]
        inputs = "list"
        targets = "parts/*.txt"
        check = "{check}"
        run = "for name in $(cat {{input}}); do echo $name > {{target}}/$name.txt; done"
        """
    )
    box.write("list", "a b c\n")
    box.build()
    box.write("list", "a b\n")
    box.build("--force")
    assert sorted(os.listdir(box.path("parts"))) == ["a.txt", "b.txt"]
    box.write("parts/b.txt", "edited\n")
    box.write("list", "a\n")
    assert "edited since: it stays" in box.build("--force").err
    assert box.read("parts/b.txt") == "edited\n"


def test_a_file_of_before_is_not_accepted_as_a_member(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = "p/*.x"
        run = "cp {input} {target}/1.x"
        """
    )
    box.files({"in": "1\n", "p/mine.x": "precious\n"})
    box.build()
    os.chmod(box.path("p/mine.x"), 0o600)
    box.write("in", "2\n")
    box.expect(0, "accept", "--all")
    box.write("in", "3\n")
    box.build()
    assert box.read("p/mine.x") == "precious\n"


def test_nothing_is_left_in_the_folder_by_another_job_or_attempt(box: Sandbox) -> None:
    box.files({"in/a": "A\n", "in/b": "B\n"})
    box.ductfile(
        """
        [step.sorted]
        inputs = "in/{n}"
        targets = "s/*-{n}.x"
        retries = 1
        backoff = 0
        run = '''
        mkdir {target}/scratch
        cat {input} >> {target}/scratch/all
        [ "${DUCT_ATTEMPT:-1}" = 2 ] || exit 1
        sort {target}/scratch/all > {target}/1-{n}.x
        '''
        """
    )
    box.build("-j", "1")
    assert (box.read("s/1-a.x"), box.read("s/1-b.x")) == ("A\n", "B\n")


@pytest.mark.parametrize(
    ("pattern", "fixed"), [("parts/*.csv", "parts/{n}.csv"), ("parts/**/*.csv", "parts/deep/{n}/")]
)
def test_a_target_that_a_pattern_would_match_is_not_seen_before_it_is_whole(
    box: Sandbox, pattern: str, fixed: str
) -> None:
    place = "{target}/x.csv" if fixed.endswith("/") else "{target}"
    box.ductfile(
        f"""
        [step.dynamic]
        targets = "{pattern}"
        run = "sleep 0.3; echo a > {{target}}/a.csv"

        [step.fixed]
        foreach = {{ n = ["1", "2"] }}
        targets = "{fixed}"
        run = "mkdir -p $(dirname {place}); echo half > {place}; sleep 0.8; echo whole > {place}"
        """
    )
    box.build("-j", "3")
    name = fixed.replace("{n}", "1") + ("x.csv" if fixed.endswith("/") else "")
    assert box.read(name) == "whole\n"
    assert box.read("parts/a.csv") == "a\n"
    box.nothing_to_do()
