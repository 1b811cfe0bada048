"""What a step can say: wildcards, foreach, groups, dynamic targets, settings; each from outside."""

from __future__ import annotations

import json
import os
import resource
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

DAILY = """
[step.clean]
inputs = ["raw/{day}.csv", "clean.sh"]
targets = "clean/{day}.csv"
run = '''printf 'clean %s\\0' {day} >> "$RUNS"; sh {inputs[1]} < {inputs[0]} > {target}'''

[step.monthly]
inputs = "clean/{month}{day}.csv"
targets = "monthly/{month}.csv"
where = { month = '\\d{6}', day = '\\d{2}' }
run = '''printf 'monthly %s\\0' {month} >> "$RUNS"; cat {inputs} > {target}'''

[step.all]
inputs = { months = "monthly/*.csv" }
targets = "all.csv"
run = '''printf 'all\\0' >> "$RUNS"; cat {inputs.months} > {target}'''
"""


@pytest.fixture
def daily(box: Sandbox) -> Sandbox:
    for day in ("20260101", "20260102", "20260201", "20260202"):
        box.write(f"raw/{day}.csv", f"x,{day}\n")
    box.write("clean.sh", "cut -d, -f2\n")
    box.ductfile(DAILY)
    box.build()
    assert len(box.ran()) == 4 + 2 + 1
    assert box.read("all.csv") == "20260101\n20260102\n20260201\n20260202\n"
    return box


def test_one_changed_file_runs_one_job_and_its_readers(daily: Sandbox) -> None:
    daily.write("raw/20260102.csv", "x,corrected\n")
    result = daily.build()
    assert daily.ran() == ["all", "clean 20260102", "monthly 202601"]
    assert "raw/20260102.csv" in result.err
    assert daily.read("all.csv") == "20260101\ncorrected\n20260201\n20260202\n"
    daily.nothing_to_do()


def test_one_added_file_runs_one_job_and_its_readers(daily: Sandbox) -> None:
    daily.write("raw/20260301.csv", "x,new\n")
    daily.build()
    assert daily.ran() == ["all", "clean 20260301", "monthly 202603"]
    daily.nothing_to_do()


def test_one_deleted_file_runs_its_readers_and_is_reported(daily: Sandbox) -> None:
    daily.remove("raw/20260102.csv")
    result = daily.build()
    assert daily.ran() == ["all", "monthly 202601"]
    assert "clean/20260102.csv" in result.err
    assert daily.read("all.csv") == "20260101\n20260201\n20260202\n"
    daily.nothing_to_do()


def test_last_file_of_a_month_deleted_makes_the_month_an_orphan(daily: Sandbox) -> None:
    daily.remove("raw/20260101.csv")
    daily.remove("raw/20260102.csv")
    daily.build()
    assert daily.ran() == ["all"]
    assert daily.read("all.csv") == "20260201\n20260202\n"


def test_shared_input_runs_all_jobs(daily: Sandbox) -> None:
    daily.write("clean.sh", "cut -d, -f1,2\n")
    daily.build()
    assert len(daily.ran()) == 7


def test_shared_input_with_the_same_effect_stops_at_the_first_jobs(daily: Sandbox) -> None:
    daily.write("clean.sh", "# same\ncut -d, -f2\n")
    daily.build()
    assert daily.counted() == {f"clean {day}": 1 for day in ("20260101", "20260102", "20260201", "20260202")}


def test_file_renamed_runs_as_new(daily: Sandbox) -> None:
    daily.rename("raw/20260102.csv", "raw/20260105.csv")
    daily.build()
    assert daily.ran() == ["clean 20260105", "monthly 202601"], "the month holds the same lines, so all.csv is spared"


def test_step_renamed_runs_nothing(daily: Sandbox) -> None:
    daily.ductfile(DAILY.replace("[step.monthly]", "[step.by_month]"))
    daily.nothing_to_do()


def test_wildcard_renamed_runs_nothing(daily: Sandbox) -> None:
    daily.ductfile(DAILY.replace("months", "parts"))
    daily.nothing_to_do()


def test_target_only_builds_only_what_it_needs(box: Sandbox) -> None:
    for day in ("20260101", "20260201"):
        box.write(f"raw/{day}.csv", f"x,{day}\n")
    box.write("clean.sh", "cat\n")
    box.ductfile(DAILY)
    box.build("monthly/202601.csv")
    assert box.ran() == ["clean 20260101", "monthly 202601"]
    box.build("clean")
    assert box.ran() == ["clean 20260201"]
    box.build("monthly/*.csv")
    assert box.ran() == ["monthly 202602"]
    box.build()
    assert box.ran() == ["all"]


def test_default_says_what_plain_duct_makes(box: Sandbox) -> None:
    box.ductfile(
        'default = ["a"]\n[step.a]\ntargets = "a.txt"\nrun = "echo > {target}"\n[step.b]\ntargets = "b.txt"\nrun = "echo > {target}"\n'
    )
    box.expect(0)
    assert box.exists("a.txt")
    assert not box.exists("b.txt")
    box.build("b.txt")
    assert box.exists("b.txt")


def test_deep_wildcard_and_two_inputs_with_one_wildcard(box: Sandbox) -> None:
    box.files({"raw/a/b/1.x": "1", "raw/a/b/1.y": "one", "raw/2.x": "2", "raw/2.y": "two"})
    box.ductfile(
        "[step.p]\ninputs = ['raw/{path**}.x', 'raw/{path**}.y']\ntargets = 'out/{path**}.z'\nrun = 'cat {inputs} > {target}'\n"
    )
    box.build()
    assert box.tree("out") == {"out/a/b/1.z": b"1one", "out/2.z": b"2two"}
    box.write("raw/3.x", "3")
    result = box.expect(2, "build")
    assert "raw/3.y" in result.err


def test_hidden_files_match_only_where_the_pattern_says_so(box: Sandbox) -> None:
    box.files({"raw/.hidden.csv": "h", "raw/1.csv": "1", ".dot/x": "d"})
    box.ductfile(
        """
        [step.w]
        inputs = "raw/{n}.csv"
        targets = "w/{n}.csv"
        run = "cp {input} {target}"
        [step.g]
        inputs = ["**/*.csv", ".dot/*"]
        targets = "g.txt"
        run = "cat {inputs} > {target}"
        """
    )
    box.build()
    assert os.listdir(box.path("w")) == ["1.csv"]
    assert sorted(box.read("g.txt")) == sorted("11d")


def test_foreach_makes_every_combination(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.x]
        foreach = { region = ["eu", "us"], day = { from = "2026-02-27", to = "2026-03-02" }, n = { from = "08", to = "10" } }
        targets = "out/{region}/{day}-{n}"
        run = "echo {region} {day} {n} > {target}"
        """
    )
    box.build()
    expected = {
        f"out/{region}/{day}-{n}": f"{region} {day} {n}\n".encode()
        for region in ("eu", "us")
        for day in ("2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02")
        for n in ("08", "09", "10")
    }
    assert box.tree("out") == expected


def test_group_is_a_name_for_its_inputs(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.a]
        foreach = { n = [1, 2] }
        targets = "a{n}"
        run = "echo {n} > {target}"
        [step.b]
        targets = "b"
        run = "echo > {target}"
        [step.group]
        inputs = ["step:a"]
        [step.both]
        inputs = ["step:group", "b"]
        """
    )
    box.build("group")
    assert sorted(box.tree()) == ["Ductfile", "a1", "a2"]
    box.build("both")
    assert box.exists("b")


def test_step_as_input_gives_its_targets(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.a]
        foreach = { n = [1, 2, 3] }
        targets = "a{n}"
        run = "echo {n} > {target}"
        [step.b]
        inputs = "step:a"
        targets = "b"
        run = "cat {inputs} > {target}"
        """
    )
    box.build()
    assert box.read("b") == "1\n2\n3\n"


def test_after_orders_and_makes_nothing_stale(box: Sandbox) -> None:
    box.write("in", "1")
    box.ductfile(
        """
        [step.first]
        inputs = "in"
        targets = "first"
        run = '''sleep 0.2; printf 'first\\0' >> "$RUNS"; cp {input} {target}'''
        [step.second]
        after = ["first"]
        targets = "second"
        run = '''cp first {target}; printf 'second\\0' >> "$RUNS"'''
        """
    )
    box.build("-j4")
    assert box.read("second") == "1"
    box.ran()
    box.write("in", "2")
    box.build()
    assert box.ran() == ["first"]


SPLIT = """
[step.split]
inputs = "names.txt"
targets = "parts/*.txt"
run = '''printf 'split\\0' >> "$RUNS"; for n in $(cat {input}); do echo $n > {target}/$n.txt; done'''

[step.upper]
inputs = "parts/{n}.txt"
targets = "upper/{n}.txt"
run = '''printf 'upper %s\\0' {n} >> "$RUNS"; tr a-z A-Z < {input} > {target}'''

[step.all]
inputs = "upper/*.txt"
targets = "all.txt"
run = '''printf 'all\\0' >> "$RUNS"; cat {inputs} > {target}'''
"""


def test_dynamic_targets_are_read_by_what_comes_after(box: Sandbox) -> None:
    box.write("names.txt", "a b\n")
    box.ductfile(SPLIT)
    box.build()
    assert box.ran() == ["all", "split", "upper a", "upper b"]
    assert box.read("all.txt") == "A\nB\n"
    box.nothing_to_do()
    box.write("names.txt", "a b c\n")
    box.build()
    assert box.ran() == ["all", "split", "upper c"]
    assert box.read("all.txt") == "A\nB\nC\n"
    box.nothing_to_do()
    box.write("names.txt", "c a\n")
    result = box.build()
    assert box.ran() == ["all", "split"]
    assert not box.exists("parts/b.txt"), "a member that is no longer made is removed"
    assert box.read("all.txt") == "A\nC\n"
    assert "upper/b.txt" in result.err, "what was made of it is an orphan"
    box.nothing_to_do()


def test_dynamic_member_deleted_or_edited_reruns_its_maker(box: Sandbox) -> None:
    box.write("names.txt", "a b\n")
    box.ductfile(SPLIT)
    box.build()
    box.ran()
    box.remove("parts/a.txt")
    box.build()
    assert box.ran() == ["split"]
    box.write("parts/a.txt", "edited\n")
    box.build()
    assert box.ran() == ["split"]
    assert box.read("parts/a.txt") == "a\n"
    box.nothing_to_do()


def test_folder_target_is_published_as_a_whole(box: Sandbox) -> None:
    box.write("names.txt", "a b\n")
    box.ductfile(
        """
        [step.site]
        inputs = "names.txt"
        targets = "site/"
        run = '''printf 'site\\0' >> "$RUNS"; mkdir -p {target}/sub; for n in $(cat {input}); do echo $n > {target}/sub/$n; done'''
        [step.pack]
        inputs = "site/"
        targets = "pack"
        run = '''printf 'pack\\0' >> "$RUNS"; ls {input}/sub > {target}'''
        """
    )
    box.build()
    assert box.read("pack") == "a\nb\n"
    assert box.ran() == ["pack", "site"]
    box.nothing_to_do()
    box.write("names.txt", "c\n")
    box.build()
    assert sorted(box.tree("site")) == ["site/sub/c"], "what the new run did not make is gone"
    assert box.read("pack") == "c\n"
    box.ran()
    box.write("site/sub/c", "edited\n")
    box.build()
    assert box.ran() == ["site"]
    assert box.read("site/sub/c") == "c\n"


def test_braces_that_are_no_placeholders_go_to_the_shell(box: Sandbox) -> None:
    box.write("in", "1 2\n")
    box.ductfile(
        """
        [step.x]
        inputs = "in"
        targets = "out"
        run = '''awk '{print $2}' {input} > {target}; X=y; echo ${X} {a,b} {} {{literal}} >> {target}'''
        """
    )
    box.build()
    assert box.read("out") == "2\ny a b {} {literal}\n"


def test_shell_is_strict(box: Sandbox) -> None:
    for command in ("false; echo > {target}", "false | cat > {target}", "echo $UNSET_VARIABLE > {target}"):
        box.ductfile(f"[step.x]\ntargets = 'out'\nrun = '''{command}'''\n")
        box.expect(1, "build")
        assert not box.exists("out")


def test_named_inputs_and_targets(box: Sandbox) -> None:
    box.files({"a": "a", "d/1": "1", "d/2": "2"})
    box.ductfile(
        """
        [step.x]
        inputs = { one = "a", days = "d/*" }
        targets = { left = "l", right = "r" }
        run = "cat {inputs.one} {inputs.days} > {targets.left}; cat {inputs.days} > {targets.right}"
        """
    )
    box.build()
    assert (box.read("l"), box.read("r")) == ("a12", "12")


def test_params_and_env_count_and_secrets_do_not(box: Sandbox) -> None:
    text = """
        [step.x]
        targets = "out"
        params = { top = 3, names = ["a"] }
        env = ["REGION"]
        secrets = ["TOKEN"]
        run = '''printf 'x\\0' >> "$RUNS"; echo {params.top} "$REGION" > {target}; echo "token: $TOKEN"'''
        """
    box.ductfile(text)
    env = {"REGION": "eu", "TOKEN": "s3cret-token"}
    result = box.build(env=env)
    assert box.read("out") == "3 eu\n"
    assert "s3cret-token" not in result.out + result.err
    assert "token: ***" in result.out
    for folder, _, names in os.walk(box.path(".duct")):
        for name in names:
            with open(os.path.join(folder, name), "rb") as source:
                assert b"s3cret-token" not in source.read(), name
    assert box.ran() == ["x"]
    box.build(env={"REGION": "eu", "TOKEN": "other", "UNRELATED": "1"})
    assert box.ran() == []
    result = box.build(env={"REGION": "us", "TOKEN": "other"})
    assert box.ran() == ["x"]
    assert "REGION" in result.err
    box.ductfile(text.replace("top = 3", "top = 4"))
    result = box.build(env={"REGION": "us", "TOKEN": "other"})
    assert box.ran() == ["x"]
    assert "top" in result.err
    box.ductfile(text.replace("top = 3", "top = 4").replace('["a"]', '["b"]'))
    box.build(env={"REGION": "us", "TOKEN": "other"})
    assert box.ran() == ["x"], "a declared parameter counts, used or not"


def test_env_table_is_set_and_counted(box: Sandbox) -> None:
    text = """
        [step.x]
        targets = "out"
        env = { GREETING = "hello" }
        run = '''printf 'x\\0' >> "$RUNS"; echo "$GREETING" > {target}'''
        """
    box.ductfile(text)
    box.build()
    assert box.read("out") == "hello\n"
    box.ductfile(text.replace("hello", "bye"))
    box.build()
    assert box.read("out") == "bye\n"


def test_set_replaces_a_var_and_makes_only_its_users_stale(box: Sandbox) -> None:
    box.ductfile(
        """
        [vars]
        word = "hello"
        [step.x]
        targets = "x"
        run = '''printf 'x\\0' >> "$RUNS"; echo {word} > {target}'''
        [step.y]
        targets = "y"
        run = '''printf 'y\\0' >> "$RUNS"; echo y > {target}'''
        """
    )
    box.build()
    assert box.ran() == ["x", "y"]
    box.build("--set", "word=bye")
    assert box.ran() == ["x"]
    assert box.read("x") == "bye\n"
    box.build("--set=word=bye")
    assert box.ran() == []
    box.build(env={"DUCT_SET": "word=bye"})
    assert box.ran() == []
    result = box.expect(2, "build", "--set", "wrod=bye")
    assert 'did you mean "word"' in result.err


def test_cwd_is_where_the_command_runs(box: Sandbox) -> None:
    box.files({"etl/in": "1", "etl/code.sh": "cat in\n"})
    box.ductfile(
        """
        [step.x]
        inputs = ["etl/in", "etl/code.sh"]
        targets = "out"
        cwd = "etl"
        run = "sh code.sh > {target}; test -e {inputs[0]}"
        """
    )
    box.build()
    assert box.read("out") == "1"


def test_shell_setting_is_used(box: Sandbox) -> None:
    box.ductfile("[step.x]\ntargets = 'out'\nshell = 'python3 -c'\nrun = 'open({target}, \"w\").write(\"py\")'\n")
    box.ductfile(
        "[step.x]\ntargets = 'out'\nshell = ['python3', '-c']\nrun = 'import sys; open(\"out\", \"w\").write(\"py\")'\n"
    )
    box.build()
    assert box.read("out") == "py"


def test_timeout_ends_the_job_by_name(box: Sandbox) -> None:
    box.ductfile("[step.x]\ntargets = 'out'\ntimeout = 0.3\nrun = 'echo half > {target}; sleep 1000'\n")
    start = time.monotonic()
    result = box.expect(1, "build")
    assert time.monotonic() - start < 15
    assert "0.3 s" in result.err
    assert not box.exists("out")
    assert box.processes() == []


RETRIES = """
[step.x]
targets = "out"
retries = 3
backoff = 0.01
{more}
run = '''
printf 'x\\0' >> "$RUNS"
echo half > {{target}}
[ $(tr -cd x < "$RUNS" | wc -c) -ge {after} ] || {how}
echo whole > {{target}}
'''
"""


def test_retries_until_it_works(box: Sandbox) -> None:
    box.ductfile(RETRIES.format(more="", after=3, how="exit 7"))
    box.build()
    assert box.counted() == {"x": 3}
    assert box.read("out") == "whole\n"
    box.nothing_to_do()


def test_retries_end(box: Sandbox) -> None:
    box.ductfile(RETRIES.format(more="", after=9, how="exit 7"))
    result = box.expect(1, "build")
    assert box.counted() == {"x": 4}
    assert "7" in result.err


def test_who_waits_for_a_retry_fails_where_the_build_stops(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.shaky]
        targets = "a"
        retries = 3
        backoff = 30
        run = "exit 7"

        [step.bad]
        targets = "b"
        run = "sleep 0.3; exit 1"
        """
    )
    result = box.expect(1, "build", "-j2", timeout=25)
    assert "shaky failed with exit code 7\n" in result.err
    assert "2 jobs failed" in result.err
    assert box.duct("status").out.count("exit code 7") == 1


def test_a_retry_that_has_no_slot_waits_without_work(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.shaky]
        targets = "a"
        retries = 1
        backoff = 0.01
        run = "test -e tried && touch {target} || { touch tried; exit 1; }"

        [step.long]
        targets = "b"
        run = "sleep 2; touch {target}"
        """
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    box.build("-j1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert box.exists("a")
    assert after.ru_utime - before.ru_utime < 1.5


def test_retry_on_restricts_what_is_tried_again(box: Sandbox) -> None:
    box.ductfile(RETRIES.format(more="retry_on = [9, 'SIGTERM', 'timeout']\ntimeout = 0.5", after=9, how="exit 7"))
    box.expect(1, "build")
    assert box.counted() == {"x": 1}
    for how in ("exit 9", "kill -TERM $$", "sleep 100"):
        box.ductfile(RETRIES.format(more="retry_on = [9, 'SIGTERM', 'timeout']\ntimeout = 0.5", after=2, how=how))
        box.build("-B")
        assert box.counted() == {"x": 2}, how


def test_failure_stops_its_readers_and_with_k_nothing_else(box: Sandbox) -> None:
    box.files({f"raw/{n}": str(n) for n in range(6)})
    box.ductfile(
        """
        [step.a]
        inputs = "raw/{n}"
        targets = "a/{n}"
        run = '''printf 'a %s\\0' {n} >> "$RUNS"; test {n} != 0; cp {input} {target}'''
        [step.b]
        inputs = "a/{n}"
        targets = "b/{n}"
        run = '''printf 'b %s\\0' {n} >> "$RUNS"; cp {input} {target}'''
        [step.c]
        inputs = "b/*"
        targets = "c"
        run = "cat {inputs} > {target}"
        """
    )
    result = box.expect(1, "build", "-k")
    assert box.ran() == [*(f"a {n}" for n in range(6)), *(f"b {n}" for n in range(1, 6))]
    assert not box.exists("c")
    assert "1 failed" in result.err
    assert "2 skipped" in result.err
    result = box.expect(1, "build")
    assert box.ran() == ["a 0"]


def test_pool_limits_how_many_run_at_once(box: Sandbox) -> None:
    box.ductfile(
        """
        [pools]
        db = 1
        [step.x]
        foreach = { n = { from = 1, to = 6 } }
        targets = "out/{n}"
        pool = "db"
        run = '''mkdir "$HOME/lock"; sleep 0.03; rmdir "$HOME/lock"; echo > {target}'''
        """
    )
    box.build("-j6")


def test_cpus_limits_how_many_run_at_once(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.x]
        foreach = { n = { from = 1, to = 4 } }
        targets = "out/{n}"
        cpus = 4
        run = '''mkdir "$HOME/lock"; sleep 0.03; rmdir "$HOME/lock"; echo > {target}'''
        """
    )
    box.build("-j4")
    box.build("-j2", "-B")


def test_jobs_run_in_parallel(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.x]
        foreach = { n = [1, 2, 3], m = [1, 2, 3] }
        targets = "out/{n}{m}"
        run = '''touch "$HOME/here-{n}{m}"; until [ $(ls "$HOME" | grep -c here-) -ge 3 ]; do sleep 0.01; done; echo > {target}'''
        timeout = 20
        """
    )
    box.build("-j3")


@pytest.mark.parametrize("check", ["mtime", "exists"])
def test_check_decides_what_of_an_input_counts(box: Sandbox, check: str) -> None:
    box.write("in", "1")
    box.ductfile(
        f"""
        [step.x]
        inputs = "in"
        targets = "out"
        check = "{check}"
        run = '''printf 'x\\0' >> "$RUNS"; cp {{input}} {{target}}'''
        """
    )
    box.build()
    box.ran()
    box.nothing_to_do()
    os.utime(box.path("in"), (1, 1))
    box.build()
    assert box.ran() == (["x"] if check == "mtime" else [])
    box.write("in", "22")
    box.build()
    assert box.ran() == (["x"] if check == "mtime" else [])


def test_max_age_makes_a_job_stale_in_time(box: Sandbox) -> None:
    text = "[step.x]\ntargets = 'out'\nmax_age = {age}\nrun = '''printf 'x\\0' >> \"$RUNS\"; echo > {{target}}'''\n"
    box.ductfile(text.format(age="'1h'"))
    box.build()
    assert box.ran() == ["x"]
    box.nothing_to_do()
    box.ductfile(text.format(age=0.05))
    box.build()
    box.ran()
    time.sleep(0.06)
    result = box.build()
    assert box.ran() == ["x"]
    assert "old" in result.err or "expired" in result.err or "age" in result.err


def test_keep_updates_a_target_in_place_and_a_failure_does_no_harm(box: Sandbox) -> None:
    box.write("in", "1\n")
    text = "[step.x]\ninputs = 'in'\ntargets = 'out'\nkeep = true\nrun = 'cat {input} >> {target}'\n"
    box.ductfile(text)
    box.build()
    box.write("in", "2\n")
    box.build()
    assert box.read("out") == "1\n2\n"
    box.write("in", "3\n")
    box.ductfile(text.replace("{target}'", "{target}; false'"))
    box.expect(1, "build")
    assert box.read("out") == "1\n2\n"


def test_tags_select(box: Sandbox) -> None:
    box.ductfile(
        "[step.a]\ntargets = 'a'\ntags = ['night']\nrun = 'echo > {target}'\n[step.b]\ntargets = 'b'\nrun = 'echo > {target}'\n"
    )
    box.build("tag:night")
    assert box.exists("a")
    assert not box.exists("b")


def test_include_has_its_own_paths_and_names(box: Sandbox) -> None:
    box.files(
        {
            "etl/raw/1": "1",
            "etl/Ductfile": """
                [vars]
                suffix = "csv"
                [step.clean]
                inputs = "raw/{n}"
                targets = "clean/{n}.{suffix}"
                run = "cp {input} {target}"
                [step.sum]
                inputs = "step:clean"
                targets = "sum"
                run = "cat {inputs} > {target}"
                """,
        }
    )
    box.ductfile(
        """
        include = ["etl/Ductfile"]
        [step.all]
        inputs = "etl/sum"
        targets = "all"
        run = "cp {input} {target}"
        [step.group]
        inputs = "step:etl.clean"
        """
    )
    box.build()
    assert box.read("all") == "1"
    assert box.read("etl/clean/1.csv") == "1"
    box.build("etl.sum")
    box.build("group")


def test_build_in_the_folder_of_an_included_file_is_one_of_the_project_that_includes_it(box: Sandbox) -> None:
    box.write("etl/Ductfile", '[step.a]\ntargets = "a"\nrun = "echo 1 > {target}"\n')
    box.ductfile('include = "etl/Ductfile"\n[step.b]\ninputs = "etl/a"\ntargets = "b"\nrun = "cp {input} {target}"\n')
    box.build(cwd="etl")
    assert box.read("b") == "1\n"
    assert not box.exists("etl/.duct")
    assert "etl.a: forced" in box.build("-B", "a", cwd="etl").err
    assert "] a: never ran" in box.build("-f", "Ductfile", cwd="etl").err
    assert box.exists("etl/.duct")


def test_manifest_has_what_a_job_reads_and_makes(box: Sandbox) -> None:
    box.files({"raw/1": "1", "raw/2": "2"})
    box.ductfile(
        """
        [step.x]
        foreach = { region = ["eu"] }
        inputs = "raw/*"
        targets = "out/{region}"
        run = "cat {manifest} > seen.json; cat {manifest} > {target}"
        """
    )
    box.build()
    (line,) = box.read("seen.json").splitlines()
    job = json.loads(line)
    assert job["inputs"] == ["raw/1", "raw/2"]
    assert [os.path.basename(path) for path in job["targets"]] == ["eu"]
    assert "eu" in json.dumps(job)


def test_merge_of_20000_inputs_in_one_command(box: Sandbox) -> None:
    os.makedirs(box.path("raw"))
    count = 20_000
    for n in range(count):
        with open(box.path(f"raw/a rather long name, so that the text is long {n:06d}.csv"), "w") as sink:
            sink.write(f"{n}\n")
    box.ductfile(
        "[step.all]\ninputs = 'raw/*.csv'\ntargets = 'all.txt'\nrun = 'printf \"%s\\n\" {inputs} | wc -l > {target}'\n"
    )
    box.build()
    assert box.read("all.txt").strip() == str(count)
    box.remove("raw/a rather long name, so that the text is long 000007.csv")
    box.build()
    assert box.read("all.txt").strip() == str(count - 1)
    assert "nothing to do" in box.build().err


def test_list_of_arguments_that_is_too_long_names_the_manifest(box: Sandbox) -> None:
    os.makedirs(box.path("raw"))
    for n in range(20_000):
        with open(box.path(f"raw/{'x' * 150}{n:06d}"), "w"):
            pass
    box.ductfile("[step.all]\ninputs = 'raw/*'\ntargets = 'all.txt'\nrun = ['echo', '{inputs}', '{target}']\n")
    result = box.expect(1, "build")
    assert "{manifest}" in result.err


def test_keys_outside_of_the_project(box: Sandbox) -> None:
    outside = os.path.join(box.home, "outside")
    os.makedirs(outside)
    for name in ("1", "2"):
        with open(os.path.join(outside, name), "w") as sink:
            sink.write(name)
    box.ductfile(
        f"""
        [step.x]
        inputs = "../outside/{{n}}"
        targets = "{outside}/out-{{n}}"
        where = {{ n = '\\d' }}
        run = '''printf 'x %s\\0' {{n}} >> "$RUNS"; cp {{input}} {{target}}'''
        """
    )
    box.build()
    assert sorted(os.listdir(outside)) == ["1", "2", "out-1", "out-2"]
    assert box.ran() == ["x 1", "x 2"]
    box.nothing_to_do()


def test_job_without_targets_runs_when_its_inputs_change(box: Sandbox) -> None:
    box.write("in", "1")
    box.ductfile("[step.check]\ninputs = 'in'\nrun = '''printf 'check\\0' >> \"$RUNS\"; grep -q 1 {input}'''\n")
    box.build()
    assert box.ran() == ["check"]
    box.nothing_to_do()
    box.write("in", "2")
    box.expect(1, "build")
    box.write("in", "1")
    box.ran()
    box.build()
    box.ran()
    box.nothing_to_do()


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("run = 'true'\nmemory = '1GB'", "memory"),
    ],
)
def test_what_is_not_there_yet_says_so(box: Sandbox, setting: str, word: str) -> None:
    box.ductfile(f"[step.x]\ntargets = 'out'\n{setting}\n")
    result = box.expect(2, "build")
    assert "Ductfile:" in result.err
    assert word in result.err
    assert "not supported yet" in result.err


def test_what_lies_in_a_folder_made_as_a_whole_is_read_after_it_was_made(box: Sandbox) -> None:
    box.write("in", "2\n")
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = "d/"
        run = 'mkdir -p {target}; for i in $(seq $(cat in)); do cp in {target}/$i.txt; done'

        [step.b]
        inputs = "d/*.txt"
        targets = "o"
        run = 'cat {inputs} > {target}'

        [step.c]
        inputs = "d/{n}.txt"
        targets = "c/{n}"
        run = 'cp {input} {target}'
        """
    )
    box.build()
    assert box.read("o") == "2\n2\n"
    assert box.read("c/2") == "2\n"
    box.nothing_to_do()
    box.write("in", "3\n")
    box.build()
    assert box.read("o") == "3\n3\n3\n"
    assert box.read("c/3") == "3\n"
    box.nothing_to_do()


@pytest.fixture
def shells(box: Sandbox) -> Sandbox:
    """A project whose bash says when it is started."""
    box.write("bin/bash", '#!/bin/sh\necho started >> "$SHELLS"\nexec /bin/bash "$@"\n')
    os.chmod(box.path("bin/bash"), 0o755)
    box.env["PATH"] = box.path("bin") + os.pathsep + box.env["PATH"]
    box.env["SHELLS"] = os.path.join(box.home, "shells")
    box.files({"raw/1": "b\na\n", "raw/2": "d\n", "sub/note": ""})
    return box


def test_output_into_the_target_starts_no_shell(shells: Sandbox) -> None:
    step = '[step.sort]\ninputs = "raw/*"\ntargets = "out/all"\nrun = "sort {inputs} > {target}"\n'
    shells.ductfile(step)
    shells.build()
    assert shells.read("out/all") == "a\nb\nd\n"
    assert not os.path.exists(shells.env["SHELLS"])
    shells.nothing_to_do()
    shells.ductfile(step + 'cwd = "sub"\n')
    shells.build("--force")
    assert shells.read("out/all") == "a\nb\nd\n"
    assert not os.path.exists(shells.env["SHELLS"])
    shells.ductfile(step.replace("sort {inputs}", "cat {inputs} | sort"))
    shells.build()
    assert os.path.exists(shells.env["SHELLS"])


def test_a_command_that_fails_while_its_output_goes_to_the_target_leaves_the_old_one(shells: Sandbox) -> None:
    shells.ductfile('[step.s]\ninputs = "raw/1"\ntargets = "out/s"\nrun = "sort {input} > {target}"\n')
    shells.build()
    shells.ductfile('[step.s]\ninputs = "raw/1"\ntargets = "out/s"\nrun = "sort {input} missing > {target}"\n')
    failed = shells.expect(1)
    assert "missing" in failed.out + failed.err
    assert shells.read("out/s") == "a\nb\n"
    shells.ductfile('[step.s]\ninputs = "raw/1"\ntargets = "out/s"\nrun = "no-such-program {input} > {target}"\n')
    assert 'the command "no-such-program" is not found' in shells.expect(1).err
    assert shells.read("out/s") == "a\nb\n"
    assert not os.path.exists(shells.env["SHELLS"])
