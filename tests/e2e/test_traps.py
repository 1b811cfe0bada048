"""What others get wrong between two builds: each case was provoked in make, ninja, doit, pytask, Snakemake or DVC."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from support import wait_for

if TYPE_CHECKING:
    from support import Sandbox

CHAIN = """
[step.b]
inputs = ["one.txt", "two.txt"]
targets = "b.txt"
run = "printf 'b\\\\0' >> $RUNS; cat {inputs} > {target}"

[step.c]
inputs = "b.txt"
targets = "c.txt"
run = "printf 'c\\\\0' >> $RUNS; tr a-z A-Z < {input} > {target}"
"""


@pytest.fixture
def chain(box: Sandbox) -> Sandbox:
    """one.txt, two.txt -> b.txt -> c.txt, built."""
    box.files({"one.txt": "one\n", "two.txt": "two\n"})
    box.ductfile(CHAIN)
    box.build()
    assert box.ran() == ["b", "c"]
    assert box.read("c.txt") == "ONE\nTWO\n"
    return box


def test_second_build_runs_nothing(chain: Sandbox) -> None:
    result = chain.nothing_to_do()
    assert "nothing to do" in result.err


def test_input_replaced_by_older_file_reruns(chain: Sandbox) -> None:
    chain.write_older("one.txt", "old\n")
    result = chain.build()
    assert chain.ran() == ["b", "c"]
    assert chain.read("c.txt") == "OLD\nTWO\n"
    assert "one.txt" in result.err
    chain.nothing_to_do()


def test_input_renamed_over_by_older_file_reruns(chain: Sandbox) -> None:
    chain.write_older("backup.txt", "bak\n")
    chain.rename("backup.txt", "one.txt")
    chain.build()
    assert chain.read("c.txt") == "BAK\nTWO\n"
    assert chain.ran() == ["b", "c"]


def test_input_with_same_size_and_same_mtime_reruns(chain: Sandbox) -> None:
    chain.write_behind_the_stamp("one.txt", "eno\n")
    chain.build()
    assert chain.ran() == ["b", "c"]
    assert chain.read("c.txt") == "ENO\nTWO\n"


def test_input_changed_right_after_the_build_reruns(chain: Sandbox) -> None:
    # Within the clock's tick of the recording: git's racy case, many times over.
    for turn in range(8):
        chain.write("one.txt", f"{turn:03d}\n")
        chain.build()
        chain.write_behind_the_stamp("one.txt", f"{turn + 100:03d}\n")
        chain.build()
        assert chain.read("b.txt") == f"{turn + 100:03d}\ntwo\n"


def test_touched_input_is_skipped(chain: Sandbox) -> None:
    chain.touch("one.txt")
    chain.nothing_to_do()


def test_input_written_again_with_same_content_is_skipped(chain: Sandbox) -> None:
    chain.remove("one.txt")
    chain.write("one.txt", "one\n")
    chain.nothing_to_do()


def test_touched_target_is_skipped(chain: Sandbox) -> None:
    chain.touch("b.txt")
    chain.nothing_to_do()


def test_target_edited_by_hand_reruns_and_copy_is_kept(chain: Sandbox) -> None:
    chain.write("b.txt", "my edit\n")
    result = chain.build()
    assert chain.ran() == ["b"], "c has seen this content of b.txt before"
    assert chain.read("b.txt") == "one\ntwo\n"
    kept = [data for name, data in kept_files(chain).items() if "b.txt" in name]
    assert kept == [b"my edit\n"]
    assert ".duct/kept/" in result.err
    chain.nothing_to_do()


def test_last_target_edited_by_hand_reruns(chain: Sandbox) -> None:
    chain.write("c.txt", "my edit\n")
    chain.build()
    assert chain.ran() == ["c"]
    assert chain.read("c.txt") == "ONE\nTWO\n"
    assert list(kept_files(chain).values()) == [b"my edit\n"]


def test_target_deleted_reruns_only_its_job(chain: Sandbox) -> None:
    chain.remove("b.txt")
    chain.build()
    assert chain.ran() == ["b"]
    chain.nothing_to_do()


def test_input_edited_while_its_reader_runs_reruns_next_time(box: Sandbox) -> None:
    box.files({"a.txt": "before\n"})
    box.ductfile(
        """
        [step.b]
        inputs = "a.txt"
        targets = "b.txt"
        run = '''
        cat {input} > {target}
        printf 'b\\0' >> "$RUNS"
        until [ -e "$GATE" ]; do sleep 0.01; done
        '''
        """
    )
    process = box.start("build")
    wait_for(lambda: box.started("b"), "the start of b")
    box.write("a.txt", "after\n")
    box.open_gate()
    result = box.finish(process)
    assert result.code == 0, str(result)
    assert "a.txt" in result.err
    assert "while" in result.err, "the build warns of an input that moved under it"
    assert box.read("b.txt") == "before\n"
    assert box.ran() == ["b"]
    box.build()
    assert box.ran() == ["b"]
    assert box.read("b.txt") == "after\n"
    box.nothing_to_do()


def test_input_edited_and_put_back_while_its_reader_runs_is_not_trusted(box: Sandbox) -> None:
    box.files({"a.txt": "good\n"})
    box.ductfile(
        """
        [step.b]
        inputs = "a.txt"
        targets = "b.txt"
        run = '''
        printf 'b\\0' >> "$RUNS"
        until [ -e "$GATE" ]; do sleep 0.01; done
        cat {input} > {target}
        '''
        """
    )
    process = box.start("build")
    wait_for(lambda: box.started("b"), "the start of b")
    box.write("a.txt", "other\n")
    box.open_gate()
    assert box.finish(process).code == 0
    box.build()
    assert box.read("b.txt") == "other\n"


def test_edited_command_reruns(chain: Sandbox) -> None:
    chain.ductfile(CHAIN.replace("tr a-z A-Z", "tr a-y A-Y"))
    result = chain.build()
    assert chain.ran() == ["c"]
    assert "command" in result.err
    chain.nothing_to_do()


def test_reformatted_command_is_skipped(chain: Sandbox) -> None:
    chain.ductfile(
        "# a comment\n"
        + CHAIN.replace(
            "run = \"printf 'c\\\\0' >> $RUNS; tr a-z A-Z < {input} > {target}\"",
            "description = 'louder'\ntags = ['text']\nretries = 2\n"
            "run = '''\n    # louder\n    printf 'c\\0' >> $RUNS;    tr a-z A-Z < {input} > {target}\n'''",
        )
    )
    assert "louder" in chain.read("Ductfile")
    chain.nothing_to_do()


def test_dropped_input_reruns(chain: Sandbox) -> None:
    chain.ductfile(CHAIN.replace('["one.txt", "two.txt"]', '["one.txt"]'))
    result = chain.build()
    assert chain.ran() == ["b", "c"]
    assert chain.read("c.txt") == "ONE\n"
    assert "two.txt" in result.err


def test_added_input_reruns(chain: Sandbox) -> None:
    chain.write("three.txt", "three\n")
    chain.ductfile(CHAIN.replace('["one.txt", "two.txt"]', '["one.txt", "two.txt", "three.txt"]'))
    chain.build()
    assert chain.ran() == ["b", "c"]
    assert chain.read("c.txt") == "ONE\nTWO\nTHREE\n"


NAMED = """
[step.x]
inputs = {{ left = {left}, right = {right} }}
targets = "x.txt"
run = "cat {{inputs.left}} > {{target}}; echo - >> {{target}}; cat {{inputs.right}} >> {{target}}"
"""


def test_input_moved_to_another_name_reruns(box: Sandbox) -> None:
    box.files({"1": "1\n", "2": "2\n", "3": "3\n"})
    box.ductfile(NAMED.format(left='["1", "2"]', right='"3"'))
    box.build()
    assert box.read("x.txt") == "1\n2\n-\n3\n"
    box.ductfile(NAMED.format(left='"1"', right='["2", "3"]'))
    box.build()
    assert box.read("x.txt") == "1\n-\n2\n3\n"


def test_input_named_twice_and_then_once_reruns(box: Sandbox) -> None:
    box.files({"1": "1\n", "2": "2\n"})
    text = "[step.x]\ninputs = {inputs}\ntargets = 'x.txt'\nrun = 'cat {{inputs}} > {{target}}'\n"
    box.ductfile(text.format(inputs='["1", "2", "1"]'))
    box.build()
    assert box.read("x.txt") == "1\n2\n1\n"
    box.ductfile(text.format(inputs='["1", "2"]'))
    box.build()
    assert box.read("x.txt") == "1\n2\n"


def test_targets_that_change_places_rerun(box: Sandbox) -> None:
    text = "[step.x]\ntargets = {targets}\nrun = 'echo 1 > {{targets[0]}}; echo 2 > {{targets[1]}}'\n"
    box.ductfile(text.format(targets='["a", "b"]'))
    box.build()
    box.ductfile(text.format(targets='["b", "a"]'))
    box.build()
    assert (box.read("b"), box.read("a")) == ("1\n", "2\n")


def test_input_dropped_by_a_glob_reruns(box: Sandbox) -> None:
    box.files({"raw/1": "1\n", "raw/2": "2\n", "raw/3": "3\n"})
    box.ductfile(
        """
        [step.all]
        inputs = "raw/*"
        targets = "all.txt"
        run = "printf 'all\\\\0' >> $RUNS; cat {inputs} > {target}"
        """
    )
    box.build()
    box.remove("raw/2")
    result = box.build()
    assert box.ran() == ["all", "all"]
    assert box.read("all.txt") == "1\n3\n"
    assert "raw/2" in result.err


def test_step_with_its_own_inputs_in_another_order_reruns(chain: Sandbox) -> None:
    chain.ductfile(CHAIN.replace('["one.txt", "two.txt"]', '["two.txt", "one.txt"]'))
    chain.build()
    assert chain.ran() == ["b", "c"]
    assert chain.read("c.txt") == "TWO\nONE\n"


@pytest.mark.parametrize("everything", [False, True], ids=["duct alone", "everything"])
def test_kill_during_b_does_not_repeat_a(box: Sandbox, everything: bool) -> None:
    box.ductfile(
        """
        [step.a]
        targets = "a.txt"
        run = '''printf 'a\\0' >> "$RUNS"; echo a > {target}'''

        [step.b]
        inputs = "a.txt"
        targets = "b.txt"
        run = '''
        echo half > {target}
        printf 'b\\0' >> "$RUNS"
        until [ -e "$GATE" ]; do sleep 0.01; done
        cat {input} > {target}
        '''
        """
    )
    process = box.start("build")
    wait_for(lambda: box.started("b"), "the start of b")
    if everything:
        box.kill_everything()
    process.send_signal(signal.SIGKILL)
    box.finish(process)
    assert not box.exists("b.txt")
    assert box.counted() == {"a": 1, "b": 1}
    box.open_gate()
    box.build()
    assert box.counted() == {"b": 1}
    assert box.read("b.txt") == "a\n"
    box.nothing_to_do()


def test_exit_0_without_the_target_fails(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.a]
        targets = "out/a.csv"
        run = "true"

        [step.b]
        inputs = "out/a.csv"
        targets = "b.csv"
        run = "printf 'b\\\\0' >> $RUNS; cp {input} {target}"
        """
    )
    for _ in range(2):
        result = box.expect(1, "build")
        assert "out/a.csv" in result.err
        assert "did not make" in result.err
        assert box.ran() == []


def test_exit_0_with_a_target_of_another_name_lists_the_near_miss(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.a]
        targets = ["out/table.csv", "out/note.txt"]
        run = '''
        echo note > {targets[1]}
        folder=$(dirname {target})
        echo 1 > "$folder/tabel.csv"
        '''
        """
    )
    result = box.expect(1, "build")
    assert "out/table.csv" in result.err
    assert "tabel.csv" in result.err
    assert not box.exists("out/note.txt"), "half of the targets are none"


def test_old_target_is_not_taken_for_the_one_that_was_not_made(chain: Sandbox) -> None:
    chain.ductfile(CHAIN.replace("tr a-z A-Z < {input} > {target}", "true"))
    result = chain.expect(1, "build")
    assert "c.txt" in result.err
    assert chain.read("c.txt") == "ONE\nTWO\n", "the last good target stays"


def test_dry_run_of_a_chain_shows_the_second_step_as_may(chain: Sandbox) -> None:
    chain.write("one.txt", "new\n")
    before = chain.state()
    result = chain.build("-n")
    lines = (result.out + result.err).splitlines()
    assert any("b" in line and "will" in line for line in lines), str(result)
    assert any("c" in line and "may" in line for line in lines), str(result)
    assert chain.ran() == []
    assert chain.state() == before


def test_same_intermediate_spares_its_readers(box: Sandbox) -> None:
    box.files({"a.txt": "b 1\na 2\n"})
    box.ductfile(
        """
        [step.sorted]
        inputs = "a.txt"
        targets = "sorted.txt"
        run = "printf 'sorted\\\\0' >> $RUNS; sort {input} > {target}"

        [step.sum]
        inputs = "sorted.txt"
        targets = "sum.txt"
        run = "printf 'sum\\\\0' >> $RUNS; cksum < {input} > {target}"
        """
    )
    box.build()
    assert box.ran() == ["sorted", "sum"]
    box.write("a.txt", "a 2\nb 1\n")
    box.build()
    assert box.ran() == ["sorted"]
    box.nothing_to_do()


def test_failure_after_half_the_target_leaves_the_last_good_one(chain: Sandbox) -> None:
    chain.ductfile(CHAIN.replace("tr a-z A-Z < {input} > {target}", "echo half > {target}; exit 3"))
    result = chain.expect(1, "build")
    assert "3" in result.err
    assert chain.read("c.txt") == "ONE\nTWO\n"
    assert chain.ran() == ["c"]
    chain.ductfile(CHAIN)
    chain.nothing_to_do()


def test_failed_job_runs_again(chain: Sandbox) -> None:
    chain.write("one.txt", "new\n")
    chain.ductfile(CHAIN.replace("tr a-z A-Z < {input} > {target}", "test -e ok; tr a-z A-Z < {input} > {target}"))
    for _ in range(2):
        chain.expect(1, "build")
    assert chain.counted() == {"b": 1, "c": 2}
    chain.write("ok")
    chain.build()
    assert chain.counted() == {"c": 1}
    assert chain.read("c.txt") == "NEW\nTWO\n"


def test_direct_target_is_put_back_after_a_failure(box: Sandbox) -> None:
    box.files({"a.txt": "good"})
    box.ductfile(
        """
        [step.b]
        inputs = "a.txt"
        targets = "out/b.txt"
        run = "cp a.txt out/b.txt; test $(cat a.txt) = good"
        """
    )
    box.build()
    box.write("a.txt", "bad")
    box.expect(1, "build")
    assert box.read("out/b.txt") == "good"
    box.write("a.txt", "good")
    box.nothing_to_do()


@pytest.mark.parametrize("everything", [False, True], ids=["duct alone", "everything"])
def test_direct_target_is_put_back_after_a_kill(box: Sandbox, everything: bool) -> None:
    box.files({"a.txt": "1\n"})
    box.ductfile(
        """
        [step.b]
        inputs = "a.txt"
        targets = "b.txt"
        run = '''
        echo half > b.txt
        printf 'b\\0' >> "$RUNS"
        until [ -e "$GATE" ]; do sleep 0.01; done
        cp a.txt b.txt
        '''

        [step.c]
        targets = "c.txt"
        run = "echo c > {target}"
        """
    )
    box.open_gate()
    box.build()
    box.close_gate()
    box.ran()
    box.write("a.txt", "2\n")
    process = box.start("build")
    wait_for(lambda: box.started("b"), "the start of b")
    if everything:
        box.kill_everything()
    process.send_signal(signal.SIGKILL)
    box.finish(process)
    # Any build that writes puts it back, not only one that makes b.
    box.build("c")
    assert box.read("b.txt") == "1\n"
    box.open_gate()
    box.build("b")
    assert box.read("b.txt") == "2\n"


def test_step_removed_leaves_an_orphan_that_is_reported(chain: Sandbox) -> None:
    chain.ductfile(CHAIN.split("[step.c]", maxsplit=1)[0])
    result = chain.build()
    assert "c.txt" in result.err
    assert chain.exists("c.txt")
    result = chain.expect(0, "clean", "--orphans", "-y")
    assert not chain.exists("c.txt")
    assert chain.exists("b.txt")


def test_orphan_edited_by_hand_is_not_deleted(chain: Sandbox) -> None:
    chain.ductfile(CHAIN.split("[step.c]", maxsplit=1)[0])
    chain.write("c.txt", "mine now\n")
    result = chain.duct("clean", "--orphans", "-y")
    assert chain.read("c.txt") == "mine now\n"
    assert "c.txt" in result.err + result.out


def test_orphan_is_nobodys_input(box: Sandbox) -> None:
    box.files({"raw/1.csv": "1\n", "raw/2.csv": "2\n"})
    box.ductfile(
        """
        [step.clean]
        inputs = "raw/{n}.csv"
        targets = "clean/{n}.csv"
        run = "cp {input} {target}"

        [step.all]
        inputs = "clean/*.csv"
        targets = "all.csv"
        run = "cat {inputs} > {target}"
        """
    )
    box.build()
    assert box.read("all.csv") == "1\n2\n"
    box.remove("raw/1.csv")
    result = box.build()
    assert box.exists("clean/1.csv")
    assert "clean/1.csv" in result.err
    assert box.read("all.csv") == "2\n"


def test_file_that_the_user_put_at_a_target_is_kept(box: Sandbox) -> None:
    box.files({"out.txt": "precious\n"})
    box.ductfile('[step.a]\ntargets = "out.txt"\nrun = "echo made > {target}"\n')
    box.build()
    assert box.read("out.txt") == "made\n"
    assert list(kept_files(box).values()) == [b"precious\n"]


def test_user_file_at_a_direct_target_survives_a_failure(box: Sandbox) -> None:
    box.files({"out.txt": "precious\n"})
    box.ductfile('[step.a]\ntargets = "out.txt"\nrun = "echo half > out.txt; false"\n')
    box.expect(1, "build")
    copies = [*kept_files(box).values(), box.read("out.txt").encode() if box.exists("out.txt") else b""]
    assert b"precious\n" in copies


def test_mode_of_a_target_is_what_the_command_made(box: Sandbox) -> None:
    box.ductfile('[step.a]\ntargets = "tool"\nrun = "echo true > {target}; chmod 755 {target}"\n')
    box.build()
    assert stat.S_IMODE(os.stat(box.path("tool")).st_mode) == 0o755


def test_symbolic_link_as_input_is_followed(box: Sandbox) -> None:
    box.files({"real/a.txt": "1\n"})
    os.symlink("real/a.txt", box.path("a.txt"))
    box.ductfile('[step.b]\ninputs = "a.txt"\ntargets = "b.txt"\nrun = "cat {input} > {target}"\n')
    box.build()
    box.write("real/a.txt", "2\n")
    box.build()
    assert box.read("b.txt") == "2\n"


def kept_files(box: Sandbox) -> dict[str, bytes]:
    """The copies below .duct/kept."""
    found = {}
    for folder, _, names in os.walk(box.path(".duct/kept")):
        for name in names:
            with open(os.path.join(folder, name), "rb") as source:
                found[os.path.join(folder, name)] = source.read()
    return found


def test_input_edited_and_put_back_while_it_is_read_reruns(box: Sandbox) -> None:
    """The command may have read what stood there in between: the same content as before proves nothing."""
    box.write("in", "1\n")
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = "a"
        run = '''
        printf 'a\\0' >> "$RUNS"
        if [ ! -e "$GATE" ]; then
            touch "$GATE"
            echo 7 > in
            cp {input} {target}
            echo 1 > in
        else
            cp {input} {target}
        fi
        '''
        """
    )
    assert "changed while" in box.build().err
    assert box.read("a") == "7\n"
    box.build()
    assert box.read("a") == "1\n"
    assert box.ran() == ["a", "a"]
    box.nothing_to_do()


def test_input_that_gets_a_further_name_has_not_changed(box: Sandbox) -> None:
    box.files({"raw/a.bin": "a\n", "raw/b.bin": "b\n"})
    box.ductfile(
        """
        [step.link]
        inputs = "raw/{n}.bin"
        targets = "out/{n}.bin"
        run = "printf '%s\\\\0' {n} >> $RUNS; ln {input} {target}"
        """
    )
    assert "changed" not in box.build().err
    assert box.ran() == ["a", "b"]
    box.nothing_to_do()
    assert box.duct("status", "--exit-code").code == 0
    box.write("raw/a.bin", "other\n")
    box.build()
    assert box.ran() == ["a"]
    box.nothing_to_do()


def test_input_of_several_names_that_is_edited_and_put_back_with_its_time_is_not_trusted(box: Sandbox) -> None:
    box.write("in", "A\n")
    os.link(box.path("in"), box.path("other-name"))
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = "a"
        run = '''
        [ -e "$GATE" ] || { cp -p in "$GATE"; echo W > in; cat {input} > {target}; cat "$GATE" > in; touch -r "$GATE" in; exit 0; }
        cat {input} > {target}
        '''
        """
    )
    assert "changed while" in box.build().err
    assert box.read("a") == "W\n"
    box.build()
    assert box.read("a") == "A\n"


def test_why_says_that_an_input_changed_while_it_was_read(box: Sandbox) -> None:
    box.write("in", "1\n")
    box.ductfile(
        """
        [step.a]
        inputs = "in"
        targets = "a"
        run = "cp {input} {target}; echo 2 >> in"
        """
    )
    assert "changed while" in box.build().err
    assert "in changed while it was read" in box.expect(0, "why", "a").out
