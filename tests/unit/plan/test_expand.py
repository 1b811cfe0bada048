"""Steps into jobs: which there are, what each reads and makes, and what is refused."""

from __future__ import annotations

import pytest

from miniduct.errors import PlanError, StoreError
from miniduct.plan.expand import plan_digest
from miniduct.plan.order import affected
from support_plan import Disk, calls, chain, expanded, jobs, plan, project, step

RAW = ["raw/20260101.csv", "raw/20260102.csv"]


def refused(*steps: object, **settings: object) -> str:
    with pytest.raises(PlanError) as caught:
        plan(*steps, **settings)  # type: ignore[arg-type]
    return str(caught.value)


# -- wildcards --------------------------------------------------------------------------------------------------------------------------


def test_one_job_for_each_match() -> None:
    made = plan(step("clean", ["raw/{day}.csv", "clean.py"], "out/{day}.csv"), disk=[*RAW, "clean.py", "raw/x.txt"])
    assert jobs(made) == {
        "clean[day=20260101]": (["raw/20260101.csv", "clean.py"], ["out/20260101.csv"]),
        "clean[day=20260102]": (["raw/20260102.csv", "clean.py"], ["out/20260102.csv"]),
    }


def test_wildcard_matches_targets_of_other_steps_wherever_they_stand() -> None:
    made = plan(
        step("sum", "clean/{day}.csv", "sums/{day}.csv"), step("clean", "raw/{day}.csv", "clean/{day}.csv"), disk=RAW
    )
    assert jobs(made)["sum[day=20260101]"] == (["clean/20260101.csv"], ["sums/20260101.csv"])
    assert made.ranks == [[1], [0]]


def test_files_and_targets_are_matched_together_in_order_of_their_names() -> None:
    made = plan(step("b", [], "d/b"), step("all", "d/*", "all"), disk=["d/c", "d/a"])
    assert jobs(made)["all"][0] == ["d/a", "d/b", "d/c"]


def test_wildcard_that_no_target_names_is_collected() -> None:
    made = plan(
        step("monthly", "clean/{month}{day}.csv", "monthly/{month}.csv", where={"month": r"\d{6}", "day": r"\d{2}"}),
        disk=["clean/20260101.csv", "clean/20260102.csv", "clean/20260201.csv", "clean/other.csv"],
    )
    assert jobs(made) == {
        "monthly[month=202601]": (["clean/20260101.csv", "clean/20260102.csv"], ["monthly/202601.csv"]),
        "monthly[month=202602]": (["clean/20260201.csv"], ["monthly/202602.csv"]),
    }


def test_further_input_follows_the_wildcard() -> None:
    made = plan(step("j", ["a/{x}", "b/{x}"], "o/{x}"), disk=["a/1", "b/1", "b/2"])
    assert jobs(made) == {"j[x=1]": (["a/1", "b/1"], ["o/1"])}


def test_further_input_that_is_missing_is_refused() -> None:
    text = refused(step("j", ["a/{x}", "b/{x}"], "o/{x}"), disk=["a/1", "a/2", "b/1"])
    assert text.startswith('Ductfile:1: step "j" reads b/2, which does not exist and which no step makes')


def test_further_input_may_be_made() -> None:
    made = plan(step("j", ["a/{x}", "b/{x}"], "o/{x}"), step("b", [], "b/1"), disk=["a/1"])
    assert made.makers_of(0) == {1}


def test_inputs_with_different_wildcards_give_every_pair() -> None:
    made = plan(step("j", ["a/{x}", "b/{y}"], "o/{x}-{y}"), disk=["a/1", "a/2", "b/3", "b/4"])
    assert sorted(each[1][0] for each in jobs(made).values()) == ["o/1-3", "o/1-4", "o/2-3", "o/2-4"]


def test_inputs_that_share_a_wildcard_are_joined() -> None:
    made = plan(step("j", ["a/{x}-{y}", "b/{y}-{z}"], "o/{x}-{z}"), disk=["a/1-k", "a/1-l", "b/k-8", "b/l-8", "b/l-9"])
    assert jobs(made) == {
        "j[x=1,z=8]": (["a/1-k", "a/1-l", "b/k-8", "b/l-8"], ["o/1-8"]),
        "j[x=1,z=9]": (["a/1-l", "b/l-9"], ["o/1-9"]),
    }


def test_collected_input_without_a_match_for_a_job_is_refused() -> None:
    text = refused(step("j", ["a/{x}", "b/{x}-{k}"], "o/{x}"), disk=["a/1", "a/2", "b/1-z"])
    assert 'step "j" reads b/2-{k}, which matches nothing' in text


def test_glob_beside_a_wildcard_may_match_nothing_for_a_job() -> None:
    made = plan(step("j", ["a/{x}", "b/{x}-*"], "o/{x}"), disk=["a/1", "a/2", "b/1-y", "b/1-z"])
    assert [each[0] for each in jobs(made).values()] == [["a/1", "b/1-y", "b/1-z"], ["a/2"]]


def test_glob_behind_a_known_value_matches_whatever_signs_both_hold() -> None:
    made = plan(step("j", ["a/{x}", "b/{x}-*.pdf"], "o/{x}"), disk=["a/1", "a/1-2", "b/1-2-3.pdf", "b/1-x.pdf"])
    assert [each[0][1:] for each in jobs(made).values()] == [["b/1-2-3.pdf", "b/1-x.pdf"], ["b/1-2-3.pdf"]]


def test_new_wildcard_behind_a_known_value() -> None:
    made = plan(step("j", ["a/{x}", "b/{x}-{k}"], "o/{x}/{k}"), disk=["a/1", "a/1-2", "b/1-2-3", "b/.1-9"])
    assert jobs(made) == {
        "j[x=1,k=2-3]": (["a/1", "b/1-2-3"], ["o/1/2-3"]),
        "j[x=1-2,k=3]": (["a/1-2", "b/1-2-3"], ["o/1-2/3"]),
    }


def test_known_value_behind_a_glob() -> None:
    made = plan(step("j", ["a/{x}", "b/*-{x}"], "o/{x}"), disk=["a/1", "a/2-1", "b/k-1", "b/k-2-1", "b/1"])
    assert [each[0][1:] for each in jobs(made).values()] == [["b/k-1", "b/k-2-1"], ["b/k-2-1"]]


def test_deep_wildcard_takes_any_depth() -> None:
    made = plan(step("j", "raw/{path**}.csv", "out/{path}.txt"), disk=["raw/a.csv", "raw/b/c.csv", "raw/.git/x.csv"])
    assert [each[1][0] for each in jobs(made).values()] == ["out/a.txt", "out/b/c.txt"]


def test_keys_outside_of_the_project_are_read() -> None:
    made = plan(step("j", ["/data/{x}.csv", "../y/{x}"], "o/{x}"), disk=["/data/1.csv", "../y/1"])
    assert jobs(made) == {"j[x=1]": (["/data/1.csv", "../y/1"], ["o/1"])}


def test_strange_names_are_data() -> None:
    names = ["a b", "x\ny", "$(id)", "-rf", "ü", "{x}", "*", "[a]", "\udcff", '"']
    made = plan(step("j", "raw/{x}", "out/{x}"), step("k", "out/*", "all"), disk=[f"raw/{name}" for name in names])
    assert [made.values(job)["x"] for job in range(len(names))] == sorted(names)
    assert jobs(made)["k"][0] == sorted(f"out/{name}" for name in names)


def test_state_folder_is_never_listed() -> None:
    disk = Disk(".duct/logs/x.log", ".duct-stage-1/x.log", "a/x.log")
    made = plan(step("j", ["**/*.log", "*/.*", ".*/*", ".duct/logs/*"], "o"), disk=disk)
    assert jobs(made)["j"][0] == ["a/x.log"]
    assert all(not folder.startswith(".duct") for folder in disk.listed)


# -- foreach ----------------------------------------------------------------------------------------------------------------------------


def test_foreach_makes_every_combination_with_or_without_files() -> None:
    made = plan(step("f", "in/{r}/*", "out/{r}-{n}", foreach={"r": ["eu", "us"], "n": ["1", "2"]}), disk=["in/eu/x"])
    assert {name: reads for name, (reads, _) in jobs(made).items()} == {
        "f[r=eu,n=1]": ["in/eu/x"],
        "f[r=eu,n=2]": ["in/eu/x"],
        "f[r=us,n=1]": [],
        "f[r=us,n=2]": [],
    }


def test_foreach_with_a_collected_wildcard_exists_without_files() -> None:
    made = plan(step("f", "in/{r}/{day}", "out/{r}", foreach={"r": ["eu", "us"]}), disk=["in/eu/1", "in/eu/2"])
    assert [each[0] for each in jobs(made).values()] == [["in/eu/1", "in/eu/2"], []]


def test_foreach_with_a_wildcard_in_the_target_exists_with_files_only() -> None:
    made = plan(step("f", "in/{r}/{d}", "out/{r}/{d}", foreach={"r": ["eu", "us"]}), disk=["in/eu/1", "in/xx/1"])
    assert list(jobs(made)) == ["f[r=eu,d=1]"]


@pytest.mark.parametrize("value", ["a/b", ".dot", "../up", "-x", "a-b"])
def test_foreach_values_may_be_what_no_wildcard_matches(value: str) -> None:
    folder = value.removeprefix("../") if value.startswith("..") else f"in/{value}"
    made = plan(
        step("f", "in/{r}/{d}-*", "out/{d}", foreach={"r": [value]}),
        disk=[f"{folder}/1-x", f"{folder}/1-y", "in/q/2-x"],
    )
    assert [each[0] for each in jobs(made).values()] == [[f"{folder}/1-x", f"{folder}/1-y"]]


def test_foreach_targets_with_slashes_are_found_by_readers() -> None:
    made = plan(
        step("f", [], "out/{r}.csv", foreach={"r": ["a/b", "c"]}),
        step("g", "out/**", "all"),
        step("h", "out/a/{x}.csv", "h/{x}"),
    )
    assert jobs(made)["g"][0] == ["out/a/b.csv", "out/c.csv"]
    assert jobs(made)["h[x=b]"][0] == ["out/a/b.csv"]


def test_where_does_not_restrict_foreach() -> None:
    made = plan(step("f", "in/{r}", "out/{r}", foreach={"r": ["eu"]}, where={"r": "x"}), disk=["in/eu"])
    assert len(jobs(made)) == 1


def test_foreach_that_the_target_does_not_name_is_refused() -> None:
    text = refused(step("f", [], "out", foreach={"r": ["a", "b"]}))
    assert text == (
        'Ductfile:1: two jobs of step "f" make out\n  out is made by f[r=a] and by f[r=b]\n  name {r} in the target'
    )


# -- own targets and orphans ------------------------------------------------------------------------------------------------------------


def test_step_never_reads_its_own_targets() -> None:
    made = plan(step("j", "d/*", "d/sum"), step("k", "d/{x}.a", "d/{x}.b.a"), disk=["d/1.a", "d/sum"])
    assert jobs(made)["j"][0] == ["d/1.a", "d/1.b.a"]
    assert list(jobs(made)) == ["j", "k[x=1]"]


def test_own_targets_are_known_without_any_state() -> None:
    made = plan(step("j", "d/{x}.csv", "d/out-{x}.csv"), disk=["d/1.csv", "d/out-1.csv", "d/out-of-it.csv"])
    assert [each[0] for each in jobs(made).values()] == [["d/1.csv"], ["d/out-of-it.csv"]]


def test_two_rows_that_would_make_each_others_input_read_neither() -> None:
    made = plan(step("j", "d/{x}-{y}", "d/{y}-{x}"), disk=["d/1-2", "d/2-1", "d/3-4"])
    assert list(jobs(made)) == ["j[y=4,x=3]"]


def test_orphan_is_nobodys_input() -> None:
    made = plan(step("all", "out/*", "all"), disk=["out/a", "out/b"], once={"out/a", "all"})
    assert jobs(made)["all"][0] == ["out/b"]
    assert made.orphans == ["out/a"]


def test_orphan_in_a_folder_once_made_as_a_whole_is_nobodys_input() -> None:
    made = plan(step("all", "out/**", "all"), disk=["out/x/a", "out/b"], once={"out/x/"})
    assert jobs(made)["all"][0] == ["out/b"]
    assert made.orphans == ["out/x/"]


def test_folder_around_targets_is_no_orphan() -> None:
    assert plan(step("a", [], "out/a"), once={"out/", "out/a"}).orphans == []


def test_folder_that_holds_only_orphans_matches_no_folder_pattern() -> None:
    made = plan(step("j", "d/{x}/", "o/{x}"), disk=["d/a/1", "d/b/1"], once={"d/a/1"})
    assert list(jobs(made)) == ["j[x=b]"]


def test_named_input_that_was_once_made_and_is_there_is_a_plain_file() -> None:
    made = plan(step("a", "old", "new"), disk=["old"], once={"old"})
    assert jobs(made) == {"a": (["old"], ["new"])}
    assert made.orphans == []


# -- folders and dynamic targets --------------------------------------------------------------------------------------------------------


def test_reader_of_a_folder_waits_for_all_that_is_made_in_it() -> None:
    made = plan(step("r", "out/", "sum"), step("a", "raw/{x}", "out/{x}"), disk=["raw/1", "raw/2"])
    assert made.makers_of(0) == {1, 2}


def test_key_in_a_made_folder_comes_from_its_maker() -> None:
    made = plan(step("r", "out/a.csv", "sum"), step("w", [], "out/"), step("g", "out/*", "all"), disk=["out/b"])
    assert made.makers_of(0) == {1}
    assert made.makers_of(2) == {1}
    assert made.dynamic_before(2) == [1]
    assert jobs(made)["w"][1] == ["out/"]


def test_folders_match_a_folder_pattern_whether_there_or_made() -> None:
    made = plan(step("r", "d/{x}/", "o/{x}"), step("a", [], "d/new/f.csv"), step("b", [], "d/whole/"), disk=["d/old/x"])
    assert [made.values(job)["x"] for job in range(3)] == ["new", "old", "whole"]
    assert made.makers_of(0) == {3}
    assert made.makers_of(2) == {4}


def test_target_in_anothers_folder_is_refused() -> None:
    text = refused(step("w", [], "out/", line=2), step("a", [], "out/a", line=5))
    assert text.startswith('Ductfile:5: step "a" makes out/a in the folder out/\n  step "w" (Ductfile:2) makes')


def test_members_of_a_dynamic_target_are_keys() -> None:
    made = plan(
        step("split", "raw/{x}", ["parts/{x}/*.csv", "log/{x}"]),
        step("each", "parts/{x}/{p}.csv", "o/{x}-{p}"),
        disk=["raw/1", "raw/2"],
        members={"t:parts/1/*.csv": ["parts/1/a.csv", "parts/1/b.csv", "log/1", "elsewhere"]},
        once={"parts/1/a.csv", "parts/1/b.csv"},
    )
    assert jobs(made)["split[x=1]"][1] == ["log/1", "parts/1/a.csv", "parts/1/b.csv"]
    assert jobs(made)["split[x=2]"][1] == ["log/2"]
    assert made.makers_of(2) == {0}
    assert made.dynamic_before(1) == [0]
    assert made.target_texts(0) == ["parts/1/*.csv", "log/1"]
    assert made.target_dynamic(0) == [True, False]
    assert made.is_dynamic(0)
    assert not made.is_dynamic(2)


def test_member_that_another_step_now_makes_is_its() -> None:
    made = plan(step("split", [], "p/*"), step("a", [], "p/a"), members={"t:p/*": ["p/a", "p/b"]}, once={"p/a", "p/b"})
    assert [each[1] for each in jobs(made).values()] == [["p/b"], ["p/a"]]


def test_named_input_may_turn_out_to_be_a_member() -> None:
    made = plan(step("split", [], "p/*"), step("r", "p/a", "o"))
    assert made.dynamic_before(1) == [0]


def test_same_glob_target_of_two_steps_is_refused() -> None:
    assert 'step "b" makes p/*, which step "a" (Ductfile:1) makes too' in refused(
        step("a", [], "p/*"), step("b", [], "p/*")
    )


@pytest.mark.parametrize(
    ("targets", "key", "glob"),
    [
        (["o/*.txt", "o/sum.txt"], "o/sum.txt", "o/*.txt"),
        (["o/log", "o/deep/sum", "o/**/s*"], "o/deep/sum", "o/**/s*"),
        (["o/{n}-sum", "o/{n}-*"], "o/1-sum", "o/{n}-*"),
        (["o/{n}*", "o/{n}"], "o/1", "o/{n}*"),
        (["{n}/*/{n}", "{n}/x/{n}"], "1/x/1", "{n}/*/{n}"),
        (["o/*/", "o/x/"], "o/x/", "o/*/"),
    ],
)
def test_target_that_another_one_of_the_job_matches_is_refused(targets: list[str], key: str, glob: str) -> None:
    foreach = {"n": ["1", "2"]} if "{n}" in key + glob else {}
    text = refused(step("s", [], targets, line=3, foreach=foreach))
    assert text == (
        f'Ductfile:3: step "s" makes {key}, which its target {glob} matches too\n'
        "  a key has one maker: change one of the targets"
    )


@pytest.mark.parametrize(
    ("targets", "values"),
    [
        (["o/{n}-[ab]*", "o/{n}-c"], ["1", "x"]),
        (["o/{n}-*", "o/{n}"], ["1", "1-2"]),
        (["{n}*", "o/{n}"], ["o", "*"]),
        (["o/*{n}", "o/.{n}"], ["1", "2"]),
        (["o/*-{n}", "o/{n}"], ["a/b", "a/c-a/b"]),
        (["*.{n}", ".{n}"], [".1", "2"]),
    ],
)
def test_target_that_only_another_jobs_glob_matches_is_none_of_it(targets: list[str], values: list[str]) -> None:
    assert plan(step("s", [], targets, foreach={"n": values})).jobs == 2


@pytest.mark.parametrize("values", [["a/b", "1"], [".1", "1"], ["*", "1"]])
def test_target_that_a_glob_with_an_odd_value_matches_is_refused(values: list[str]) -> None:
    text = refused(step("s", [], ["o/{n}*", "o/{n}"], foreach={"n": values}))
    assert f'"s" makes o/{values[0]}, which its target o/{{n}}* matches too' in text


# -- names of steps ---------------------------------------------------------------------------------------------------------------------


def test_step_as_input_stands_for_all_its_targets() -> None:
    made = plan(step("r", "step:clean", "sum"), step("clean", "raw/{x}", ["b/{x}", "a/{x}"]), disk=["raw/1", "raw/2"])
    assert jobs(made)["r"][0] == ["a/1", "a/2", "b/1", "b/2"]


def test_step_without_targets_as_input_means_order() -> None:
    made = plan(step("r", "step:setup", "sum"), step("setup"))
    assert jobs(made)["r"][0] == []
    assert made.after(0) == [1]
    assert made.ranks == [[1], [0]]


def test_group_as_input_stands_for_what_it_names() -> None:
    made = plan(
        step("r", "step:g", "sum"),
        step("g", ["step:h", "x/*"], group=True, after=("last",)),
        step("h", "o/1", group=True),
        step("a", "raw/{x}", "o/{x}"),
        step("last"),
        disk=["raw/1", "x/1"],
    )
    assert jobs(made)["r"][0] == ["o/1", "x/1"]
    assert made.after(0) == [4]
    assert made.jobs == 3


def test_after_a_group_means_after_all_that_make_its_inputs() -> None:
    made = plan(
        step("r", [], "sum", after=("g",)), step("g", "o/*", group=True), step("a", "raw/{x}", "o/{x}"), disk=["raw/1"]
    )
    assert made.after(0) == [2]


def test_groups_that_name_each_other_are_refused() -> None:
    text = refused(step("g", "step:h", group=True), step("h", "step:g", group=True))
    assert text.startswith("Ductfile:1: two steps wait for each other")


def test_step_that_reads_its_target_by_a_group_is_told_once() -> None:
    text = refused(step("a", "step:g", "o"), step("g", "step:a", group=True))
    assert text == 'Ductfile:1: step "a" waits for itself\n  a  makes o  read by a'


def test_groups_that_name_each_other_are_told_with_all_other_mistakes() -> None:
    text = refused(
        step("r", "step:g", "sum"),
        step("g", "step:h", group=True, after=("k",), line=2),
        step("h", ["step:g", "step:k", "x/*"], group=True, line=3),
        step("k", ["step:h", "step:g"], group=True, after=("g",), line=4),
        step("a", "nowhere", "o", line=5),
        step("b", "p", "o", line=6),
        step("c", "o", "p", line=7),
        disk=["x/1"],
    )
    assert [line.partition(" makes o")[0] for line in text.splitlines() if line.startswith("Ductfile:")] == [
        "Ductfile:2: two steps wait for each other",
        "Ductfile:2: three steps wait for each other",
        "Ductfile:3: two steps wait for each other",
        'Ductfile:5: step "a" reads nowhere, which does not exist and which no step makes',
        'Ductfile:6: step "b"',
    ]


# -- what is refused --------------------------------------------------------------------------------------------------------------------


def test_two_makers_are_refused_with_both_places() -> None:
    text = refused(step("a", "x{n}", "o/{n}", line=3), step("b", "y{n}", "o/{n}", line=8), disk=["x1", "y1", "y2"])
    assert text.startswith('Ductfile:8: step "b" makes o/1, which step "a" (Ductfile:3) makes too')


@pytest.mark.parametrize("other", ["o/t/x", "o/t/deep/x", "o/t/"])
def test_a_target_below_one_that_is_a_file_is_refused(other: str) -> None:
    text = refused(step("a", [], "o/t", line=3), step("b", [], [other, "o/free"], line=8))
    assert text == (
        f'Ductfile:8: step "b" makes {other}, and o/t is a file that step "a" (Ductfile:3) makes\n'
        "  a file is no folder: change one of the targets"
    )


def test_objects_of_a_bucket_may_lie_below_each_other() -> None:
    assert expanded(project(step("a", [], "gs://b/o/t"), step("b", [], "gs://b/o/t/x"))).jobs == 2


def test_one_job_that_names_a_key_twice_is_refused() -> None:
    text = refused(step("a", "d/{x}-{y}", ["o/{x}{y}", "o/{y}{x}"]), disk=["d/1-1"])
    assert 'step "a" names o/11 twice' in text


def test_missing_input_names_the_nearest_target() -> None:
    text = refused(step("report", "data/region.csv", "r", line=12), step("regions", [], "data/regions.csv", line=20))
    assert text == (
        'Ductfile:12: step "report" reads data/region.csv, which does not exist and which no step makes\n'
        '  closest target: data/regions.csv, made by step "regions" (Ductfile:20)'
    )


def test_many_missing_inputs_are_counted() -> None:
    many = [str(number) for number in range(30)]
    text = refused(step("a", "in/{n}", "o/{n}", foreach={"n": many}), disk=["in/5"])
    assert 'step "a" reads 29 files that do not exist' in text
    assert "and 24 more" in text


def test_missing_inputs_of_all_steps_are_told_together() -> None:
    assert refused(step("a", "x", "o"), step("b", "y", "p", line=2)).count("does not exist") == 2


def test_folder_read_as_a_file_is_told() -> None:
    assert "data is a folder: data/ reads it as a whole" in refused(step("a", "data", "o"), disk=["data/x"])


def test_circle_is_drawn() -> None:
    text = refused(
        step("clean", "data/merged.csv", "data/clean.csv", line=9),
        step("rank", "data/clean.csv", "data/rank.csv", line=12),
        step("merge", "data/rank.csv", "data/merged.csv", line=15),
    )
    assert text == (
        "Ductfile:9: three steps wait for each other\n"
        "  clean  makes data/clean.csv   read by rank\n"
        "  rank   makes data/rank.csv    read by merge\n"
        "  merge  makes data/merged.csv  read by clean"
    )


def test_circle_through_order_is_drawn() -> None:
    text = refused(step("a", [], "x", after=("b",)), step("b", "x", "y"))
    assert text == "Ductfile:1: two steps wait for each other\n  a  makes x  read by b\n  b  comes before a"


def test_step_that_reads_the_folder_it_writes_into_waits_for_itself() -> None:
    assert 'step "a" waits for itself' in refused(step("a", "d/", "d/sum"), disk=["d/x"])


def test_two_globs_that_read_each_others_targets_are_a_circle() -> None:
    text = refused(step("a", "d/*.csv", "d/a.csv"), step("b", "d/*.csv", "d/b.csv"))
    assert text.startswith("Ductfile:1: two steps wait for each other")


def test_steps_that_feed_each_other_without_end_are_a_circle() -> None:
    text = refused(step("a", "d/{x}.csv", "d/{x}.b.csv"), step("b", "d/{x}.b.csv", "d/{x}.c.csv"), disk=["d/1.csv"])
    assert text.startswith("Ductfile:1: two steps wait for each other")


def test_steps_may_read_each_other_through_different_keys() -> None:
    made = plan(
        step("a", ["in/{x}"], "mid/{x}", where={"x": "1|3"}),
        step("b", "mid/1", "in/3"),
        step("c", "mid/*", "all"),
        disk=["in/1"],
    )
    assert jobs(made)["c"][0] == ["mid/1", "mid/3"]
    assert [0, 1] in made.ranks


def test_patterns_that_overlap_by_their_ends_only_are_no_circle() -> None:
    made = plan(
        step("a", "raw/{x}.csv", "raw/clean-{x}.csv", where={"x": r"\d+"}),
        step("b", "raw/clean-{x}.csv", "raw/{x}-final.csv"),
        disk=["raw/1.csv"],
    )
    assert [each[1] for each in jobs(made).values()] == [["raw/clean-1.csv"], ["raw/1-final.csv"]]


def test_jobs_of_one_step_may_form_a_chain_through_named_inputs() -> None:
    made = plan(step("c", "c/{x}", "c/{x}a", foreach={"x": ["1", "1a"]}), disk=["c/1"])
    assert made.makers_of(1) == {0}
    assert affected(made, {made.key("c/1") or 0}, ()) == {0, 1}


def test_unlistable_folder_names_the_step() -> None:
    class Locked(Disk):
        def list(self, folder: str) -> None:
            raise StoreError(f"cannot list {folder}: permission denied")

    with pytest.raises(StoreError) as caught:
        plan(step("load", "raw/{x}", "o/{x}", line=4), disk=Locked("raw/1"))
    assert str(caught.value) == 'cannot list raw: permission denied\n  needed by step "load" (Ductfile:4)'


# -- warnings ---------------------------------------------------------------------------------------------------------------------------


def test_pattern_that_matches_nothing_is_told_with_the_nearest_folder() -> None:
    made = plan(step("a", "data/raw/{x}.csv", "o/{x}", line=4), disk=["data/x"])
    assert made.warnings == [
        (
            'Ductfile:4: data/raw/{x}.csv, an input of step "a", matches nothing',
            ("there is no folder data/raw; the nearest is data",),
        )
    ]


def test_pattern_that_a_dynamic_target_may_fill_is_not_told() -> None:
    assert plan(step("s", [], "p/*"), step("a", "p/{x}", "o/{x}")).warnings == []


# -- work -------------------------------------------------------------------------------------------------------------------------------


def test_a_step_without_patterns_costs_a_few_calls() -> None:
    assert calls(expanded, chain(300)) - calls(expanded, chain(200)) <= 100 * 25


def test_a_step_without_patterns_lists_no_folder() -> None:
    disk = Disk("raw/a")
    plan(step("a", "raw/a", "k/a"), step("b", "k/a", "k/b"), disk=disk)
    assert disk.listed == []


# -- identity ---------------------------------------------------------------------------------------------------------------------------


def test_job_keeps_its_id_when_step_and_wildcard_are_renamed() -> None:
    one = plan(step("a", "raw/{x}", "o/{x}"), disk=["raw/1"])
    two = plan(step("b", "raw/{y}", "o/{y}"), disk=["raw/1"])
    assert one.job_id(0) == two.job_id(0) == "t:o/1"


def test_jobs_without_targets_have_ids_of_their_own() -> None:
    made = plan(step("a", "raw/{x}"), disk=["raw/1", "raw/2"])
    assert {made.job_id(0), made.job_id(1)} == {"s:a\0001", "s:a\0002"}


def test_digest_of_the_plan_depends_on_what_the_expansion_does() -> None:
    base = plan_digest(project(step("a", "raw/{x}", "o/{x}")))
    assert base == plan_digest(project(step("a", "raw/{x}", "o/{x}", line=9, retries=3, tags=("t",))))
    changed = [
        step("a", "raw/{x}", "p/{x}"),
        step("b", "raw/{x}", "o/{x}"),
        step("a", "raw/{x}", "o/{x}", where={"x": "1"}),
        step("a", "raw/{x}", "o/{x}", foreach={"x": ["1"]}),
        step("a", "raw/{x}", "o/{x}", after=("z",)),
        step("a", "raw/{x}", "o/{x}", group=True),
        step("a", "step:x", "o/{x}"),
    ]
    assert base not in {plan_digest(project(each)) for each in changed}
