"""Where targets are written, how they get to their places, and what is done with the user's files. Kills: test_stops.py."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING

import pytest

from miniduct.errors import StoreError
from miniduct.stores import staging as module
from miniduct.stores.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Staging:
    root = tmp_path / "project"
    (root / ".duct").mkdir(parents=True)
    monkeypatch.chdir(root)
    return Staging(".duct")


@pytest.fixture
def other_disk() -> Iterator[str]:
    """A folder on another file system."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tempfile.gettempdir()).st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield folder


def put(path: str, content: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(content)


def text(path: str) -> str:
    with open(path) as file:
        return file.read()


def make(staging: Staging, key: str, content: str, *, keep: bool = False, through: str | None = None) -> None:
    """A job that makes one staged file."""
    staging.prepare("job", staged=[key], direct=[], keep=keep)
    put(staging.path(key), content)
    staging.publish([(key, staging.path(key))], {key: through} if through else {})


# -- paths ----------------------------------------------------------------------------------------------------------------------------------


def test_stage_is_a_mirror_with_the_same_names(staging: Staging) -> None:
    assert staging.path("a.csv") == ".duct/stage/a.csv"
    assert staging.path("out/d/a.csv") == ".duct/stage/out/d/a.csv"
    assert staging.path("out/folder/") == ".duct/stage/out/folder/"
    assert not os.path.exists(".duct/stage")


def test_keys_outside_of_the_project_have_mirrors_of_their_own(staging: Staging, tmp_path: Path) -> None:
    assert staging.path("../../b/a") == ".duct/stage-up/2/b/a"
    assert staging.path("../a") == ".duct/stage-up/1/a"
    assert staging.path(f"{tmp_path}/x/a") == f".duct/stage-abs{tmp_path}/x/a"
    keys = ["a", "../a", "../../a", "/a", "up/1/a", "1/a", "stage-up/1/a", f"{tmp_path}/a", "abs/a"]
    assert len({staging.path(key) for key in keys}) == len(keys)


@pytest.mark.usefixtures("staging")
def test_other_state_folder_has_its_own_stage() -> None:
    assert Staging(".duct/Other").path("a") == ".duct/Other/stage/a"


# -- staged targets -------------------------------------------------------------------------------------------------------------------------


def test_published_file_is_in_its_place_and_gone_from_the_stage(staging: Staging) -> None:
    make(staging, "out/a", "new")
    assert text("out/a") == "new"
    assert not os.path.exists(staging.path("out/a"))


def test_leftover_of_a_former_attempt_is_removed_first(staging: Staging) -> None:
    put(staging.path("a"), "half")
    put(staging.path("f/") + "x", "half")
    staging.prepare("job", staged=["a", "f/"], direct=[])
    assert not os.path.lexists(".duct/stage/a")
    assert not os.path.lexists(".duct/stage/f")
    assert os.path.isdir(".duct/stage")


def test_folders_of_targets_are_made(staging: Staging) -> None:
    staging.prepare("job", staged=["x/y/a", "z/f/"], direct=[])
    assert os.path.isdir("x/y")
    assert os.path.isdir("z")
    assert not os.path.exists("z/f")
    assert os.path.isdir(".duct/stage/x/y")


def test_folder_that_vanished_meanwhile_is_made_again(staging: Staging) -> None:
    staging.prepare("job", staged=["x/a"], direct=[])
    put(staging.path("x/a"), "new")
    os.rmdir("x")
    staging.publish([("x/a", staging.path("x/a"))])
    assert text("x/a") == "new"


def test_folder_is_replaced_as_a_whole(staging: Staging) -> None:
    put("f/old", "old")
    staging.prepare("job", staged=["f/"], direct=[])
    put(staging.path("f/") + "new", "new")
    staging.publish([("f/", staging.path("f/"))])
    assert os.listdir("f") == ["new"]
    assert os.listdir(".duct/trash") == []


def test_read_only_folder_is_replaced_as_well(staging: Staging) -> None:
    put("f/d/old", "old")
    os.chmod("f/d", 0o500)
    staging.prepare("job", staged=["f/"], direct=[])
    put(staging.path("f/") + "new", "new")
    staging.publish([("f/", staging.path("f/"))])
    assert os.listdir("f") == ["new"]
    assert os.listdir(".duct/trash") == []


def test_link_is_written_through(staging: Staging) -> None:
    put("real/a", "old")
    os.symlink("real/a", "link")
    assert staging.leads("link") == "real/a"
    make(staging, "link", "new", through="real/a")
    assert os.path.islink("link")
    assert text("real/a") == "new"


def test_link_is_replaced_where_nobody_says_that_its_destination_is_ours(staging: Staging) -> None:
    put("real/a", "the user's")
    os.symlink("real/a", "link")
    make(staging, "link", "new")
    assert not os.path.islink("link")
    assert text("link") == "new"
    assert text("real/a") == "the user's"


def test_link_in_the_stage_replaces_the_link(staging: Staging, tmp_path: Path) -> None:
    put("real/a", "the user's")
    for _ in range(2):
        staging.prepare("job", staged=["link"], direct=[])
        os.symlink(f"{tmp_path}/project/real/a", staging.path("link"))
        staging.publish([("link", staging.path("link"))])
        assert os.readlink("link") == f"{tmp_path}/project/real/a"
        assert text("real/a") == "the user's"


def test_link_to_a_folder_is_written_through(staging: Staging) -> None:
    put("real/f/old", "old")
    os.symlink("real/f", "f")
    assert staging.leads("f/") == "real/f/"
    staging.prepare("job", staged=["f/"], direct=[])
    put(staging.path("f/") + "new", "new")
    staging.publish([("f/", staging.path("f/"))], {"f/": "real/f/"})
    assert os.path.islink("f")
    assert os.listdir("real/f") == ["new"]


def test_link_to_a_folder_is_replaced_and_the_folder_stays(staging: Staging) -> None:
    put("real/f/old", "the user's")
    os.symlink("real/f", "f")
    staging.prepare("job", staged=["f/"], direct=[])
    put(staging.path("f/") + "new", "new")
    staging.publish([("f/", staging.path("f/"))])
    assert not os.path.islink("f")
    assert os.listdir("f") == ["new"]
    assert text("real/f/old") == "the user's"


def test_link_to_a_folder_is_removed_and_the_folder_stays(staging: Staging) -> None:
    put("real/f/precious", "the user's")
    os.symlink("real/f", "f")
    staging.remove("f/")
    assert not os.path.lexists("f")
    assert text("real/f/precious") == "the user's"


def test_what_is_free_to_be_written_through_a_link(staging: Staging) -> None:
    put("real/f/a", "")
    os.makedirs("empty")
    assert staging.is_free("absent")
    assert staging.is_free("absent/")
    assert staging.is_free("empty/")
    assert not staging.is_free("real/f/")
    assert not staging.is_free("real/f/a")


def test_users_folder_in_the_place_of_a_file_is_an_error_and_stays(staging: Staging) -> None:
    put("a/precious", "x")
    with pytest.raises(StoreError, match=r"^cannot put a into its place: a folder of that name is there\n"):
        make(staging, "a", "new")
    assert text("a/precious") == "x"


def test_users_file_in_the_place_of_a_folder_is_an_error_and_stays(staging: Staging) -> None:
    put("f", "precious")
    staging.prepare("job", staged=["f/"], direct=[])
    put(staging.path("f/") + "new", "new")
    with pytest.raises(StoreError, match="a file of that name is there"):
        staging.publish([("f/", staging.path("f/"))])
    assert text("f") == "precious"


def test_users_file_in_the_place_of_a_targets_folder_is_an_error(staging: Staging) -> None:
    put("out", "precious")
    with pytest.raises(StoreError):
        staging.prepare("job", staged=["out/a"], direct=[])
    assert text("out") == "precious"


def test_staged_file_that_vanished_is_an_error(staging: Staging) -> None:
    staging.prepare("job", staged=["a"], direct=[])
    with pytest.raises(StoreError, match="it vanished from"):
        staging.publish([("a", staging.path("a"))])


def test_keep_gives_the_command_the_current_target(staging: Staging) -> None:
    put("a", "old")
    os.chmod("a", 0o640)
    put("f/x", "old")
    staging.prepare("job", staged=["a", "f/", "absent"], direct=[], keep=True)
    assert text(staging.path("a")) == "old"
    assert stat.S_IMODE(os.stat(staging.path("a")).st_mode) == 0o640
    assert text(staging.path("f/") + "x") == "old"
    put(staging.path("a"), "half")
    assert text("a") == "old"


def test_discard_removes_what_an_attempt_left(staging: Staging) -> None:
    put("a", "old")
    staging.prepare("job", staged=["a", "f/"], direct=[])
    put(staging.path("a"), "half")
    put(staging.path("f/") + "x", "half")
    staging.discard("job", ["a", "f/"])
    assert os.listdir(".duct/stage") == []
    assert text("a") == "old"
    staging.discard("job", ["a", "f/"])


# -- dynamic targets ------------------------------------------------------------------------------------------------------------------------


def test_members_are_found_in_the_stage_with_their_keys(staging: Staging) -> None:
    staging.prepare("job", staged=["out/p/*.csv"], direct=[], dynamic=["out/p/*.csv"])
    assert os.path.isdir("out/p")
    for name in ("b.csv", "a.csv", "c.txt", ".hidden.csv"):
        put(staging.path(f"out/p/{name}", "job"), name)
    os.mkdir(staging.path("out/p/folder.csv", "job"))
    found = staging.members("out/p/*.csv", owner="job")
    assert found == [(f"out/p/{name}", staging.path(f"out/p/{name}", "job")) for name in ("a.csv", "b.csv")]
    staging.publish(found)
    assert sorted(os.listdir("out/p")) == ["a.csv", "b.csv"]


def test_members_below_folders(staging: Staging) -> None:
    put(staging.path("out/x/y/a", "job"), "")
    put(staging.path("out/b", "job"), "")
    assert [key for key, _ in staging.members("out/**", owner="job")] == ["out/b", "out/x/y/a"]
    assert [key for key, _ in staging.members("out/*/*/a", owner="job")] == ["out/x/y/a"]


def test_a_job_with_a_pattern_has_a_stage_of_its_own(staging: Staging) -> None:
    for job in ("one", "two"):
        staging.prepare(job, staged=["p/*.csv", "p/index"], dynamic=["p/*.csv"])
        put(staging.path("p/a.csv", job), job)
        put(staging.path("p/scratch/tmp", job), job)
    assert len({staging.path("p/a.csv", owner) for owner in ("", "one", "two")}) == 3
    assert os.path.dirname(staging.path("p/a.csv", "one")) == os.path.dirname(staging.path("p/index", "one"))
    assert text(staging.path("p/a.csv", "one")) == "one"
    staging.prepare("one", staged=["p/*.csv"], dynamic=["p/*.csv"])
    assert os.listdir(staging.path("p", "one")) == [], "nothing is left of an attempt before"
    staging.discard("two", ["p/*.csv"], dynamic=["p/*.csv"])
    assert not os.path.exists(staging.path("p", "two"))


def test_literal_characters_of_a_pattern_are_escaped(staging: Staging) -> None:
    put("o[1]/a*b/x1", "")
    put("o[1]/a*b/y1", "")
    put("o[1]/aXb/x1", "")
    assert [key for key, _ in staging.members("o[[]1]/a[*]b/x*")] == ["o[1]/a*b/x1"]


def test_key_with_characters_of_patterns_is_a_key(staging: Staging) -> None:
    put(staging.path("out/aXb"), "of another job")
    make(staging, "out/a*b", "new")
    assert text("out/a*b") == "new"
    assert text(staging.path("out/aXb")) == "of another job"


# -- direct targets -------------------------------------------------------------------------------------------------------------------------


def test_direct_target_is_away_while_the_command_runs_and_back_after_a_failure(staging: Staging) -> None:
    put("out/a", "old")
    staging.prepare("job", staged=[], direct=["out/a"])
    assert not os.path.exists("out/a")
    put("out/a", "half")
    staging.restore("job")
    assert text("out/a") == "old"
    assert os.listdir(".duct/guard") == []


def test_half_of_a_first_direct_target_is_removed(staging: Staging) -> None:
    staging.prepare("job", staged=[], direct=["out/a", "out/f/"])
    put("out/a", "half")
    put("out/f/x", "half")
    staging.restore("job")
    assert os.listdir("out") == []


def test_direct_target_in_place_is_put_back_after_a_failure(staging: Staging) -> None:
    put("db", "old")
    staging.prepare("job", staged=[], direct=["db"], keep=True)
    assert text("db") == "old"
    put("db", "old and half")
    staging.restore("job")
    assert text("db") == "old"


def test_committed_guard_is_gone_and_restores_nothing(staging: Staging) -> None:
    put("a", "old")
    staging.prepare("job", staged=[], direct=["a"])
    put("a", "new")
    staging.commit("job")
    staging.restore("job")
    assert text("a") == "new"
    assert os.listdir(".duct/guard") == []


def test_guards_of_two_jobs_do_not_meet(staging: Staging) -> None:
    put("a", "old a")
    put("b", "old b")
    staging.prepare("one", staged=[], direct=["a"])
    staging.prepare("two", staged=[], direct=["b"])
    put("a", "new a")
    put("b", "half b")
    staging.commit("one")
    staging.restore("two")
    assert (text("a"), text("b")) == ("new a", "old b")


def test_second_attempt_guards_the_same_last_good_copy(staging: Staging) -> None:
    put("a", "old")
    staging.prepare("job", staged=[], direct=["a"])
    put("a", "half")
    staging.prepare("job", staged=[], direct=["a"])
    put("a", "half again")
    staging.restore("job")
    assert text("a") == "old"


def test_direct_members_are_guarded_and_new_ones_removed(staging: Staging) -> None:
    put("out/a.x", "old")
    put("out/precious", "the user's")
    staging.prepare("job", staged=[], direct=["out/*.x"], dynamic=["out/*.x"], members=["out/a.x"])
    assert os.listdir("out") == ["precious"]
    put("out/a.x", "half")
    put("out/b.x", "half")
    staging.restore("job")
    assert sorted(os.listdir("out")) == ["a.x", "precious"]
    assert text("out/a.x") == "old"


def guarded_strangers(staging: Staging) -> None:
    """Two files of the user's that match the job's direct pattern, and one of another job."""
    put("out/mine.x", "the user's")
    put("out/touched.x", "the user's too")
    put("out/other.x", "another job's")
    staging.prepare("job", staged=[], direct=["out/*.x"], dynamic=["out/*.x"], others=is_others)


def is_others(key: str) -> bool:
    return key == "out/other.x"


def test_users_files_that_match_a_direct_pattern_stay_and_are_no_members(staging: Staging) -> None:
    guarded_strangers(staging)
    assert sorted(os.listdir("out")) == ["mine.x", "other.x", "touched.x"]
    put("out/a.x", "new")
    put("out/touched.x", "new")
    os.chmod("out/mine.x", 0o600)
    assert [key for key, _ in staging.made("job", "out/*.x", is_others)] == ["out/a.x", "out/touched.x"]
    kept = staging.commit("job")
    assert [(key, text(copy)) for key, copy in kept] == [("out/touched.x", "the user's too")]
    assert text("out/mine.x") == "the user's"
    assert text("out/other.x") == "another job's"


def test_users_files_that_match_a_direct_pattern_are_put_back_after_a_failure(staging: Staging) -> None:
    guarded_strangers(staging)
    inode = os.stat("out/mine.x").st_ino
    put("out/a.x", "half")
    put("out/touched.x", "half")
    put("out/other.x", "another job's new one")
    staging.restore("job", is_others)
    assert text("out/touched.x") == "the user's too"
    assert os.stat("out/mine.x").st_ino == inode
    assert text("out/other.x") == "another job's new one"
    assert not os.path.exists("out/a.x")


def test_users_files_that_match_a_direct_pattern_survive_a_kill(staging: Staging) -> None:
    guarded_strangers(staging)
    put("out/a.x", "half")
    os.unlink("out/touched.x")
    after = Staging(".duct")
    after.recover([])
    assert [(key, text(copy)) for key, copy in after.kept] == [("out/a.x", "half")]
    assert sorted(os.listdir("out")) == ["mine.x", "other.x", "touched.x"]
    assert text("out/touched.x") == "the user's too"


def test_direct_target_through_a_link_stays_a_link(staging: Staging) -> None:
    put("real", "old")
    os.symlink("real", "link")
    staging.prepare("job", staged=[], direct=["link"], through={"link": "real"})
    put("link", "half")
    assert os.path.islink("link")
    staging.restore("job")
    assert os.path.islink("link")
    assert text("real") == "old"


@pytest.mark.parametrize("keep", [False, True])
def test_direct_target_that_is_a_link_does_not_touch_what_it_leads_to(staging: Staging, keep: bool) -> None:
    put("real", "the user's")
    os.symlink("real", "link")
    staging.prepare("job", staged=[], direct=["link"], keep=keep)
    assert os.path.exists("link") == keep
    put("link", "half")
    assert text("real") == "the user's"
    staging.restore("job")
    assert os.path.islink("link")
    assert text("real") == "the user's"


def test_restore_without_a_guard_does_nothing(staging: Staging) -> None:
    put("a", "the user's")
    staging.restore("job")
    staging.commit("job")
    assert text("a") == "the user's"


# -- the user's files -----------------------------------------------------------------------------------------------------------------------


def test_copy_is_kept_and_the_file_stays(staging: Staging) -> None:
    put("out/a", "edited")
    first = staging.keep_aside("out/a")
    second = staging.keep_aside("out/a")
    assert first != second
    assert first.startswith(".duct/kept/out/a.")
    assert text(first) == text(second) == text("out/a") == "edited"


def test_kept_copies_of_keys_outside_stay_in_the_state_folder(staging: Staging, tmp_path: Path) -> None:
    put("../beside/a", "edited")
    put("f/x", "edited")
    kept = [staging.keep_aside(key) for key in ("../beside/a", f"{tmp_path}/beside/a", "f/")]
    assert all(os.path.realpath(path).startswith(os.path.realpath(".duct/kept") + "/") for path in kept)
    assert text(f"{kept[2]}/x") == "edited"


def test_remove_takes_the_file_and_folders_left_empty(staging: Staging) -> None:
    put("x/y/a", "")
    put("x/b", "")
    put("f/a", "")
    staging.remove("x/y/a", parents=True)
    staging.remove("f/")
    staging.remove("not there")
    assert os.listdir("x") == ["b"]
    assert not os.path.exists("f")


def test_remove_does_not_follow_links(staging: Staging) -> None:
    put("real/precious", "x")
    os.symlink("../real", "f_link_target")
    put("f/a", "")
    os.symlink("../real", "f/link")
    staging.remove("f/")
    assert text("real/precious") == "x"


def test_folder_made_again_after_its_removal(staging: Staging) -> None:
    make(staging, "x/a", "one")
    staging.remove("x/a", parents=True)
    make(staging, "x/a", "two")
    assert text("x/a") == "two"


# -- other file systems ---------------------------------------------------------------------------------------------------------------------


def test_target_on_another_file_system_is_staged_beside_it(staging: Staging, other_disk: str) -> None:
    key = f"{other_disk}/new/a"
    at = staging.path(key)
    assert at.startswith(f"{other_disk}/new/.duct-stage-")
    make(staging, key, "new")
    assert text(key) == "new"
    Staging(".duct").recover([])
    assert os.listdir(f"{other_disk}/new") == ["a"]


def test_folder_and_direct_targets_on_another_file_system(staging: Staging, other_disk: str) -> None:
    folder, direct = f"{other_disk}/f/", f"{other_disk}/db"
    put(folder + "old", "old")
    put(direct, "old")
    staging.prepare("job", staged=[folder], direct=[direct])
    put(staging.path(folder) + "new", "new")
    put(direct, "half")
    staging.publish([(folder, staging.path(folder))])
    staging.restore("job")
    assert os.listdir(folder) == ["new"]
    assert text(direct) == "old"
    staging.close()
    assert sorted(os.listdir(other_disk)) == ["db", "f"]


def test_through_a_link_to_another_file_system(staging: Staging, other_disk: str) -> None:
    put(f"{other_disk}/a", "old")
    os.symlink(f"{other_disk}/a", "link")
    assert staging.leads("link") == f"{other_disk}/a"
    make(staging, "link", "new", through=f"{other_disk}/a")
    assert text(f"{other_disk}/a") == "new"
    assert os.path.islink("link")
    assert not os.path.exists(".duct/stage/link")


def test_rename_that_the_system_refuses_between_mounts_is_a_copy_and_a_rename(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename(source: str, place: str) -> None:
        if source.startswith(".duct/stage/") and place.startswith("out/"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, place)

    put("out/a", "old")
    monkeypatch.setattr(os, "rename", rename)
    make(staging, "out/a", "new")
    assert text("out/a") == "new"
    assert not os.path.exists(".duct/stage/out/a")
    staging.close()
    assert os.listdir("out") == ["a"]


@pytest.mark.usefixtures("staging")
def test_only_our_hidden_folders_are_removed_whatever_the_list_says() -> None:
    put("precious/a", "x")
    put(".duct/stages", '"precious/"\nnot json\n"torn')
    Staging(".duct").recover([])
    assert text("precious/a") == "x"


@pytest.mark.usefixtures("staging")
def test_device_of_a_folder_that_is_not_there_is_that_of_the_one_above() -> None:
    assert module._device("not/there/") == os.stat(".").st_dev
