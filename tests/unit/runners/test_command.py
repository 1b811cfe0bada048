"""From a run text and values to a command: what is executed, and that nothing in a name ever is."""

from __future__ import annotations

import datetime
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miniduct.errors import DuctError, DuctfileError
from miniduct.model import Location, Run, Slot, Step
from miniduct.runners.command import CommandTemplate, Rendered, compile_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WHERE = Location("Ductfile", 3)
BASH = ("/bin/bash", "-euo", "pipefail", "-c")
DASH = ("/bin/dash", "-eu", "-c")

HOSTILE = [
    "$(>pwned)",
    "`>pwned`",
    "';>pwned;'",
    '";>pwned;"',
    "\n>pwned\n",
    ")\n>pwned\n(",
    "EOF\n>pwned\n",
    "a'b\"c$(>pwned)`>pwned`\n>pwned\n;>pwned;#",
    "\\",
    "\\'$(>pwned)",
    '\\"$(>pwned)',
    "}$(>pwned)",
    "a[$(>pwned)]",
    "!!",
    "~",
    "*",
    "  two  blanks  ",
    "\x01$(>pwned)\x7f'",
    "\udcff\udc80'\n>pwned\n",
    "]]\n>pwned\n",
    "\r\n>pwned\r\n",
    "x\\\n>pwned",
    "if",
    "7",
    "{a,b}",
    "",
    "日本 é",
]


def step(
    text: str | None = None,
    *,
    argv: tuple[str, ...] | None = None,
    shell: tuple[str, ...] | None = None,
    inputs: Sequence[str | tuple[str | None, str]] = ("raw/{x}.csv",),
    targets: Sequence[str | tuple[str | None, str]] = ("out/{x}.csv",),
    **more: Any,
) -> Step:
    def slots(texts: Sequence[str | tuple[str | None, str]]) -> tuple[Slot, ...]:
        return tuple(Slot(t, None, WHERE) if isinstance(t, str) else Slot(t[1], t[0], WHERE) for t in texts)

    return Step("s", WHERE, slots(inputs), slots(targets), run=Run(text, argv, shell), run_location=WHERE, **more)


def values(inputs: Sequence[str] = (), targets: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    return {
        "inputs": [(None, list(inputs))],
        "targets": [(None, [target]) for target in targets],
        "params": {},
        "manifest": ".duct/m.jsonl",
        **more,
    }


def render(text: str, given: dict[str, Any], **more: Any) -> Rendered:
    return compile_command(step(text, **more)).render(given)


# --- how a command looks


def test_plain_words_are_executed_without_a_shell() -> None:
    rendered = render("python x.py {inputs} --out={target}", values(["a.csv", "b c.csv"], ["out/a"]))
    assert rendered.argv == ["python", "x.py", "a.csv", "b c.csv", "--out=out/a"]
    assert rendered.words == rendered.argv
    assert rendered.shown == "python x.py a.csv 'b c.csv' --out=out/a"


def test_shell_syntax_needs_the_strict_shell() -> None:
    rendered = render("sort {input} | uniq > {target}", values(["a b"], ["t"]))
    assert rendered.argv == ["bash", "-euo", "pipefail", "-c", "sort 'a b' | uniq > t"]


def test_own_shell_is_always_used() -> None:
    assert render("cat {input}", values(["a"]), shell=("dash", "-c")).argv == ["dash", "-c", "cat a"]


def test_layout_does_not_identify_a_command() -> None:
    given = values(["a"], ["t"])
    one = render("sort {input} |  uniq   > {target}  # why", given)
    other = render("sort {input} | uniq > {target}", given)
    assert one.words == other.words
    assert one.argv != other.argv


def test_names_of_placeholders_do_not_identify_a_command() -> None:
    given = values(["a"], ["t"], x="a")
    assert render("cat {input} > {target}", given).words == render("cat {x} > {targets[0]}", given).words


def test_text_and_list_with_the_same_arguments_are_the_same_command() -> None:
    given = values(["a b"], ["t"])
    assert render("cp {input} {target}", given).words == (
        compile_command(step(argv=("cp", "{input}", "{target}"))).render(given).words
    )


def test_list_element_that_is_a_list_becomes_several_arguments() -> None:
    rendered = compile_command(step(argv=("cat", "{inputs}", "-o={inputs}"))).render(values(["a", "b c"]))
    assert rendered.argv == ["cat", "a", "b c", "-o=a b c"]


def test_lists_inside_quotes_are_joined() -> None:
    assert render("echo '{inputs}' \"{inputs}\";", values(["a", "b"])).argv[-1] == "echo 'a b' \"a b\";"


def test_empty_list_is_no_word() -> None:
    assert render("cat {inputs} x{inputs};", values()).argv[-1] == "cat  x'';"
    assert render("cat {inputs} x", values()).argv == ["cat", "x"]


def test_braces_that_are_no_placeholders_stay() -> None:
    rendered = render("awk '{print $1}' {input} | xargs -I{} echo ${HOME} {{x}} {a,b}", values(["f"]))
    assert rendered.argv[-1] == "awk '{print $1}' 'f' | xargs -I{} echo ${HOME} {x} {a,b}"


def test_parts_and_indexes_choose_paths() -> None:
    given = values()
    given["inputs"] = [("days", ["d1", "d2"]), ("code", ["c.py"])]
    template = compile_command(
        step("run {inputs.code} {inputs.days} {inputs[1]} {input}", inputs=[("days", "d"), ("code", "c")])
    )
    assert template.render(given).argv == ["run", "c.py", "d1", "d2", "d2", "d1"]


def test_index_beyond_the_paths_is_an_error() -> None:
    with pytest.raises(DuctError, match=r"\{inputs\[2\]\} has no value, since the job has 1 inputs"):
        render("cat {inputs[2]}", values(["a"]))


def test_params_are_written_as_texts() -> None:
    params = {"a": True, "b": 1.5, "c": datetime.date(2026, 1, 5), "d": ["x y", "z"], "e": "-v"}
    rendered = render("run {params.a} {params.b} {params.c} {params.d} {params.e}", values(params=params))
    assert rendered.argv == ["run", "true", "1.5", "2026-01-05", "x y", "z", "-v"]


def test_path_with_a_leading_dash_gets_its_folder() -> None:
    assert render("cat {input}", values(["-rf"])).argv == ["cat", "./-rf"]


def test_path_that_is_the_command_is_not_looked_for_in_the_search_path() -> None:
    assert render("{input} a", values(["eval"])).argv == ["./eval", "a"]
    assert render("{input} a | cat", values(["eval"])).argv[-1] == "'./eval' a | cat"


def test_text_that_begins_with_a_dash_is_no_option_of_the_shell() -> None:
    assert render("-x | cat", values()).argv[-1] == " -x | cat"


# --- targets that the command reaches


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("a {target}", [True, False, False]),
        ("a {targets}", [True, True, True]),
        ("a {targets.b}", [False, True, True]),
        ("a {targets[2]}", [False, False, True]),
        ("a {manifest}", [True, True, True]),
        ("a x # {targets}", [False, False, False]),
    ],
)
def test_uses_tells_which_targets_come_through_a_placeholder(text: str, used: list[bool]) -> None:
    template = compile_command(step(text, targets=[("a", "1"), ("b", "2"), ("b", "3")]))
    assert [template.uses(slot) for slot in range(3)] == used
    assert template.uses_manifest == ("{manifest}" in text)


# --- refusals


def test_refused_place_is_a_mistake_of_the_ductfile() -> None:
    with pytest.raises(DuctfileError, match=r'Ductfile:3: step "s": a placeholder inside backticks'):
        compile_command(step("echo `cat {input}`"))


def test_wildcard_cannot_choose_the_program() -> None:
    with pytest.raises(DuctfileError, match="would choose the program"):
        compile_command(step("{x} a"))
    with pytest.raises(DuctfileError, match="would choose the program"):
        compile_command(step(argv=("{x}", "a")))
    assert compile_command(step("{tool} {x}")).render(values(tool="cp", x="a")).argv == ["cp", "a"]


def test_wildcard_that_looks_like_an_option_is_an_error() -> None:
    for text in ("tar cf a {x}", "tar cf a '{x}' | cat", 'tar cf a "{x}" | cat'):
        with pytest.raises(DuctError, match="for an option"):
            render(text, values(x="--checkpoint-action=exec=sh"))
    assert render("head {x}", values(x="-5")).argv == ["head", "-5"]
    assert render("tar --file={x}", values(x="-a")).argv == ["tar", "--file=-a"]


@pytest.mark.parametrize(
    "text",
    [
        "bash -c 'cat {input}'",
        "sh -euc \"cat '{input}'\"",
        "ls | xargs sh -c 'cat {input} $0'",
        "timeout 5 bash -c 'cat {input}'",
        "eval cat {input}",
        "trap 'rm {input}' EXIT; true",
        "ssh host cat {input}",
        "python3 -c \"print('{input}')\"",
        "perl -ne 'print q({input})' x",
        "awk -F, -v a=1 '/{input}/' x",
        "sed -n -e 's/a/{input}/' x",
        "sed 's/a/{input}/' x",
        "x=$(bash -c 'cat {input}')",
        "let {input}; true",
        "declare {input}; true",
        "[[ {input} -eq 1 ]]",
        "[ -v {input} ] && true",
        "printf -v {input} x; true",
        "make NAME={input}",
        'sqlite3 db ".import {input} t"',
    ],
)
def test_only_plain_names_become_program_text(text: str) -> None:
    template = compile_command(step(text))
    template.render(values(["raw/2026-01.csv"]))
    for name in ("a b", "a'b", "$(x)", "a;b"):
        with pytest.raises(DuctError, match="would read as a part of its program"):
            template.render(values([name]))


@pytest.mark.parametrize(
    "text",
    [
        "bash -c 'cat \"$1\"' - {input}",
        "python3 x.py -c {input}",
        "awk '{{print}}' {input}",
        "awk -f prog.awk {input}; true",
        "sed -e 's/a/b/' {input}",
        "grep -c a {input} | cat",
        "export A={input}; true",
        "[[ -s {input} ]]",
        "test -f {input}",
    ],
)
def test_arguments_of_the_same_programs_take_any_name(text: str) -> None:
    assert render(text, values(["a 'b;c"])).argv


def test_program_text_in_a_list_takes_plain_names_only() -> None:
    template = compile_command(step(argv=("bash", "-c", "cat {input}")))
    with pytest.raises(DuctError, match='"bash" would read'):
        template.render(values(["$(x)"]))


def test_params_and_vars_may_be_program_text() -> None:
    rendered = render("python3 -c {params.code} | {filter}", values(params={"code": "print(1)"}, filter="cat"))
    assert rendered.argv[-1] == "python3 -c 'print(1)' | 'cat'"


# --- limits


def test_text_too_long_for_one_argument_is_a_script() -> None:
    names = [f"dir/{number:060d}" for number in range(3000)]
    rendered = render("cat {inputs} | sort", values(names))
    assert rendered.script is not None
    assert rendered.argv == ["bash", "-euo", "pipefail"]
    assert render("cat {inputs} | sort", values(names), shell=("dash", "-ec")).argv == ["dash", "-e"]


def test_text_just_within_the_limit_is_an_argument(tmp_path: Path) -> None:
    for size, is_script in ((131_071, False), (131_072, True)):
        rendered = render(f"true;{'a' * (size - 5)}", values())
        assert (rendered.script is not None) == is_script
        if not is_script:
            assert subprocess.run(rendered.argv, stderr=subprocess.DEVNULL, cwd=tmp_path, check=False).returncode in (
                0,
                127,
            )


def test_too_many_arguments_are_an_error_that_names_the_manifest() -> None:
    names = [f"dir/{number:0200d}" for number in range(60_000)]
    for made in (step("cat {inputs}"), step(argv=("cat", "{inputs}"))):
        with pytest.raises(DuctError, match=r"\{manifest\}"):
            compile_command(made).render(values(names))


def test_many_arguments_that_the_system_takes_are_given(tmp_path: Path) -> None:
    names = [f"d/{number:097d}" for number in range(12_000)]
    rendered = render("echo {inputs}", values(names))
    assert len(subprocess.run(rendered.argv, stdout=subprocess.PIPE, cwd=tmp_path, check=True).stdout) == 1_200_000


# --- nothing in a name is executed: with real shells

PLACES = [
    "printf '<%s>' {x};",
    "printf '<%s>' '{x}';",
    "printf '<%s>' \"{x}\";",
    "printf '<%s>' \"$(printf '%s.' \"{x}\")\";",
    "v={x}; printf '<%s>' \"$v\";",
    "v='{x}'; printf '<%s>' \"$v\";",
    'v="{x}"; printf \'<%s>\' "$v";',
    "for v in {x}; do printf '<%s>' \"$v\"; done",
    "f() { printf '<%s>' \"$1\"; }; f {x}",
    "case {x} in {x}) printf '<%s>' {x};; esac",
    "export v={x}; printf '<%s>' \"$v\"",
    "# {x}\nprintf '<%s>' {x}  # '{x}\n",
    "(printf '<%s>' {x})",
    "{ printf '<%s>' {x}; } # {x}",
    "if [ {x} = '{x}' ]; then printf '<%s>' {x}; fi",
    "cat <<EOF >/dev/null\nit's $(echo a) \"\nEOF\nprintf '<%s>' {x}",
    "printf '<%s>' {x} \\\n  # {x}\n",
    ": ${HOME#'}'} $((1+1)) `echo a`; printf '<%s>' {x}",
    "printf '<%s>' $(: {x}){x};",
]
BASH_PLACES = [
    "a=({x} {x}); printf '<%s>' \"${a[1]}\"",
    "[[ {x} == '{x}' ]] && printf '<%s>' {x}",
    "cat <(printf '<%s>' {x})",
    "IFS= read -r -d '' v <<< {x} || true; printf '<%s>' \"${v%$'\\n'}\"",
]


def run(rendered: Rendered, folder: Path) -> bytes:
    done = subprocess.run(
        [os.fsencode(word) for word in rendered.argv],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"},
        timeout=30,
        check=False,
    )
    assert os.listdir(folder) == [], rendered.argv
    assert done.returncode == 0, (rendered.argv, done.stderr)
    return done.stdout


@pytest.mark.parametrize("shell", [BASH, DASH], ids=["bash", "dash"])
@pytest.mark.parametrize("text", PLACES)
def test_hostile_values_arrive_as_they_are(text: str, shell: tuple[str, ...], tmp_path: Path) -> None:
    template = compile_command(step(text, shell=shell))
    for value in HOSTILE:
        if "$(printf '%s.'" in text:
            expected = f"<{value}.>"
        else:
            expected = f"<{value}>"
        assert run(template.render(values(x=value)), tmp_path) == os.fsencode(expected)


@pytest.mark.parametrize("text", BASH_PLACES)
def test_hostile_values_arrive_in_places_of_bash(text: str, tmp_path: Path) -> None:
    template = compile_command(step(text, shell=BASH))
    for value in HOSTILE:
        assert run(template.render(values(x=value)), tmp_path) == os.fsencode(f"<{value}>"), value


def test_hostile_paths_are_arguments_of_a_direct_command() -> None:
    template = compile_command(step("printenv {x}"))
    assert template.direct
    for value in HOSTILE:
        assert template.render(values(x=value)).argv == ["printenv", value]


def test_output_into_a_target_is_no_work_for_a_shell() -> None:
    template = compile_command(step("sort -u {inputs} > {target}"))
    about = values(["a", "-b"], ["stage/t"])
    rendered = template.render(about, shown=False)
    assert (rendered.argv, rendered.stdout) == (["sort", "-u", "a", "./-b"], "stage/t")
    told = template.render(about)
    assert told.words[-1] == told.shown == "sort -u a ./-b > stage/t"
    assert template.uses(0)


@pytest.mark.parametrize("text", ["sort {inputs} > {x}", "sort {inputs} > {input}", "sort {inputs} > {targets}"])
def test_output_into_anything_but_one_target_is_work_for_a_shell(text: str) -> None:
    rendered = compile_command(step(text)).render(values(["a"], ["t", "u"], x="y"), shown=False)
    assert rendered.stdout is None
    assert rendered.argv[-1].startswith("sort a > ")


def sandboxed(template: CommandTemplate, value: str, folder: Path) -> None:
    """Run, with no program to be found, and see that the value was not."""
    try:
        rendered = template.render(values(["in"], ["t"], x=value))
    except DuctError:
        return
    argv = [os.fsencode(word) for word in rendered.argv]
    subprocess.run(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/nowhere"},
        timeout=30,
        check=False,
    )
    assert "pwned" not in os.listdir(folder), argv


SOUP = [
    *(
        "'",
        '"',
        "`",
        "$(",
        ")",
        "$((",
        "))",
        "((",
        "${a",
        "${a:-",
        "}",
        "$",
        "\\",
        "\\\n",
        "\n",
        " ",
        "\t",
        "#",
        " #",
        ";",
        "&&",
        "|",
        "<",
        "&",
    ),
    *(
        "<<EOF\n",
        "<<'EOF'\n",
        "<<-EOF\n",
        "\nEOF\n",
        "<<<",
        "[[ ",
        " ]]",
        "[",
        "]",
        "(",
        "{ ",
        "; }",
        "case a in a) ",
        ";; esac",
        "echo ",
        ": ",
    ),
    *(
        "a",
        "=",
        "a=",
        "$a",
        "$'",
        '$"',
        "$[",
        "if :; then ",
        "; fi",
        "for i in ",
        "; do ",
        "; done",
        "<(",
        "*",
        "!",
        "@(",
        "~",
        "a=(",
        "\\'",
        '\\"',
    ),
    *(
        "eval ",
        "set -- ",
        '"$(',
        '"${a}',
        "''",
        '""',
        "-",
        "{{",
        "}}",
        "# {x}\n",
        "{x}",
        "{x}",
        "{x}",
        "'{x}'",
        '"{x}"',
        " {x} ",
    ),
]


@given(
    soup=st.lists(st.sampled_from(SOUP), min_size=1, max_size=12),
    value=st.sampled_from(HOSTILE),
    shell=st.sampled_from([BASH, DASH]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_however_odd_executes_a_value(
    soup: list[str], value: str, shell: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "".join(soup)
    try:
        template = compile_command(step(text if "{x}" in text else f"{text} {{x}}", shell=(shell[0], "-c")))
    except DuctfileError:
        return
    sandboxed(template, value, tmp_path_factory.mktemp("soup"))
