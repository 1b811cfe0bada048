"""Listed folders: which are kept, and when their change means another expansion."""

from __future__ import annotations

from miniduct.plan.folders import relist, ways
from support_plan import Disk, plan, step


def test_folder_into_which_jobs_published_needs_no_expansion() -> None:
    disk = Disk("raw/1")
    made = plan(step("a", "raw/{x}", "out/{x}"), step("b", "out/*", "all"), disk=disk)
    assert [folder.name for folder in made.folders] == ["out", "raw"]
    assert made.folders[0].stamp is None
    disk.add("out/1")
    found = relist(made, disk, [0])
    assert found is not None
    assert found[0].stamp is not None
    assert found[0].foreign == made.folders[0].foreign


def test_foreign_name_needs_an_expansion() -> None:
    disk = Disk("raw/1", "out/1")
    made = plan(step("a", "raw/{x}", "out/{x}"), step("b", "out/*", "all"), disk=disk, once={"out/1"})
    assert relist(made, disk, [0, 1]) == made.folders
    disk.add("out/other")
    assert relist(made, disk, [0]) is None


def test_foreign_name_that_goes_needs_an_expansion() -> None:
    disk = Disk("raw/1", "raw/2")
    made = plan(step("a", "raw/{x}", "out/{x}"), disk=disk)
    disk.remove("raw/2")
    assert relist(made, disk, [0]) is None


def test_orphan_that_goes_needs_none() -> None:
    disk = Disk("out/1", "out/2")
    made = plan(step("b", "out/*", "all"), disk=disk, once={"out/2"})
    disk.remove("out/2")
    assert relist(made, disk, range(len(made.folders))) is not None


def test_folders_that_will_be_there_are_watched_beforehand() -> None:
    disk = Disk("raw/2026/1")
    made = plan(step("a", "raw/{y}/{x}", "out/{y}/{x}"), step("b", "out/{y}/*", "all/{y}"), disk=disk)
    assert "out/2026" in {folder.name for folder in made.folders}
    disk.add("out/2026/1")
    everything = range(len(made.folders))
    assert relist(made, disk, everything) is not None
    disk.add("out/2026/foreign")
    assert relist(made, disk, everything) is None


def test_deep_folders_that_will_be_there_are_watched_beforehand() -> None:
    made = plan(step("a", "raw/{p**}", "out/{p}"), step("b", "out/**", "all"), disk=["raw/x/y/1"])
    assert {"out", "out/x", "out/x/y"} <= {folder.name for folder in made.folders}


def test_member_of_a_dynamic_target_is_foreign_until_it_is_known() -> None:
    disk = Disk()
    made = plan(step("s", [], "p/*"), step("r", "p/{x}", "o/{x}"), disk=disk)
    disk.add("p/1")
    assert relist(made, disk, range(len(made.folders))) is None


def test_ways_are_the_folders_above() -> None:
    assert ways(["a/b/c", "d", "/x/y", "f/g/"]) == {"a/", "a/b/", "/x/", "f/", "f/g/"}


def test_link_back_up_is_not_followed_for_ever() -> None:
    class Loop(Disk):
        """`d/up` leads back to `d`."""

        def _real(self, folder: str) -> str:
            while "d/up" in folder:
                folder = folder.replace("d/up", "d", 1)
            return folder

        def list(self, folder: str):  # type: ignore[no-untyped-def]
            return super().list(self._real(folder))

        def folder_stamp(self, folder: str):  # type: ignore[no-untyped-def]
            return super().folder_stamp(self._real(folder))

    disk = Loop("d/x")
    disk.folders["d"]["up"] = True
    made = plan(step("a", "d/**", "all"), disk=disk)
    assert made.names == ["d/x", "all"]
