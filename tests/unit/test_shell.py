"""The shell's lexer: which places are refused, what the normal form keeps, and that two texts with one normal form do the same."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miniduct.shell import Spot, check_command, lex, normalise, quote, shell_name, stands_alone

SHELLS = ["/bin/bash", "/bin/dash"]


def refused(text: str, shell: tuple[str, ...] | None = None) -> list[str]:
    return [message for message, _, _ in check_command(text, shell)]


def spots(text: str) -> list[Spot]:
    return [piece for piece in lex(text).pieces if isinstance(piece, Spot)]


@pytest.mark.parametrize(
    "text",
    [
        "cat {input} | sort > {target}",
        "cat '{input}' \"{input}\" pre{input}post",
        'echo "a $(basename "{input}" .csv) b" > {target}',
        "awk '{print $1}' {input}",
        'for f in {inputs}; do cat "$f"; done >> {target}',
        "case {input} in *.csv) cp {input} {target};; *) exit 1;; esac",
        "[[ -s {input} ]] && [ -f '{input}' ]",
        'files=({inputs}); cat "${files[@]}" > {target}',
        "diff <(sort {input}) <(sort {inputs[1]}) > {target}",
        "cat <<'EOF' > out\n'\"` $(\nEOF\ncp {input} {target}",
        "cat <<-EOF\n\tit's\n\tEOF\ncat {input}",
        "x=$((1 + 2)); cp {input} {target}",
        "cp {input} ${OUT:-out}/x # it's {target}",
        "((i++)); cp {input} {target}",
        "cp {input} \\\n  {target}",
        'f() { cat "$1"; }\nf {input}',
        "export NAME={input}; A={input} cmd",
        "cat <<< {input} 2>&1 &> {target}",
        "( cd sub && cat {input} ) || { echo {input}; }",
    ],
)
def test_ordinary_commands_are_accepted(text: str) -> None:
    assert refused(text) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo `cat {x}`", "backticks"),
        ('echo "`cat {x}`"', "backticks"),
        ("echo $'{x}'", "$'…'"),
        ('echo $"{x}"', '$"…"'),
        ("cat <<EOF\n{x}\nEOF", "here-document"),
        ("cat <<'EOF'\n{x}\nEOF", "here-document"),
        ("cat <<EOF\n{x}", "here-document"),
        ("cat <<A <<B\nA\n{x}\nB", "here-document"),
        ("echo ${a:-{x}}", "${…}"),
        ('echo "${a:-{x}}"', "${…}"),
        ("echo $(( {x} + 1 ))", "arithmetic"),
        ("(( i = {x} ))", "arithmetic"),
        ("a[{x}]=1", "subscript"),
        ("a['{x}']=1", "subscript"),
        ("echo \\{x}", "backslash"),
        ('echo "\\{x}"', "backslash"),
        ("echo >&{x}", "descriptor"),
        ("echo '{x}", "never closed"),
        ('echo "{x}', "never closed"),
        ("echo $(cat {x}", "never closed"),
        ("echo `cat", "never closed"),
        ("a=(b {x}", "never closed"),
        ("echo $(case a in a) echo {x};; esac)", "differently"),
        ("echo $'it\\'s' {x}", "differently"),
        ('echo "${a:-\'}" {x}', "differently"),
        ("cat <<$A\n$A\necho {x}", "differently"),
        ("cat <<EOF $(echo\nEOF\n) {x}", "differently"),
        ("cat <<EOF '\nEOF\n' {x}", "differently"),
        ("a=(b | c)\necho {x}", "differently"),
        ('alias q="\'"\necho {x}', "differently"),
        ("echo $[1] {x}", "differently"),
        ("echo ${ echo a; } {x}", "differently"),
    ],
)
def test_places_where_no_value_is_safe_are_refused(text: str, why: str) -> None:
    assert why in " ".join(refused(text))


def test_mistake_points_at_the_placeholder() -> None:
    text = "awk '{{print}}' x; echo `cat {input}`"
    ((_, start, end),) = check_command(text)
    assert text[start:end] == "{input}"


def test_nul_is_refused() -> None:
    assert refused("echo a\0b") == ["a command cannot contain a NUL character"]


def test_foreign_shell_takes_no_placeholders() -> None:
    assert "python3" in refused("print('{input}')", ("/usr/bin/python3", "-c"))[0]
    assert refused("print('hi')", ("python3", "-c")) == []
    assert "fish" in refused("cat {input}", ("fish", "-c"))[0]


def test_foreign_shell_keeps_its_layout() -> None:
    text = "if 1:\n    print( 1 )  # one\n\n"
    assert normalise(text, ("python3", "-c")) == text


@pytest.mark.parametrize(
    ("shell", "name"),
    [
        (None, "bash"),
        (("/bin/sh", "-c"), "sh"),
        (("env", "bash", "-c"), "bash"),
        (("/usr/bin/env", "-i", "A=1", "zsh", "-c"), "zsh"),
    ],
)
def test_shell_is_known_by_its_name(shell: tuple[str, ...] | None, name: str) -> None:
    assert shell_name(shell) == name


def test_quotes_of_each_place_are_known() -> None:
    found = spots('a {x} \'{x}\' "{x}" "$(b {x})" # {x}\n{x}')
    assert [spot.quote for spot in found] == ["none", "single", "double", "none", "comment", "none"]


@pytest.mark.parametrize(
    "text", ["{x}=1", "{x}>f", "echo $a{x}", "echo ~{x}", "{x} a", "echo {{a,{x}}}", "echo {x}(a)", "echo [b]{x}"]
)
def test_value_is_always_quoted_where_a_plain_one_could_mean_more(text: str) -> None:
    mistakes = refused(text)
    assert mistakes or not any(spot.bare for spot in spots(text))


@pytest.mark.parametrize(
    ("text", "direct"),
    [
        ("python x.py {input} --out={target}\n", True),
        ("{input} a", True),
        ("true", True),
        ("cp {input} {target} # copy", False),
        ("cd sub", False),
        ("A=1 cmd", False),
        ("cmd a\ncmd b", False),
        ("cmd *", False),
        ("cmd ~", False),
        ("cmd $HOME", False),
        (". x", False),
        ("cmd 'a'", False),
        ("", False),
    ],
)
def test_only_plain_words_need_no_shell(text: str, direct: bool) -> None:
    assert lex(text).direct is direct


@pytest.mark.parametrize(
    ("text", "redirected"),
    [
        ("sort {input} > {target}", True),
        ("sort {inputs} >{target}\n", True),
        ("sort {input}", False),
        ("sort {input} 2> {target}", False),
        ("sort {input}> {target}", False),
        ("sort {input} >> {target}", False),
        ("sort {input} > {target}.part", False),
        ("sort {input} > {target} -u", False),
        ("sort {input} > x > {target}", False),
        ("sort < {input} > {target}", False),
        ("sort {input} | uniq > {target}", False),
        ("sort {input}\n > {target}", False),
        ("sort *.txt > {target}", False),
        ("printf x > {target}", False),
        ("> {target}", False),
        ('sort {input} > "{target}"', False),
    ],
)
def test_output_into_a_placeholder_needs_no_shell_if_nothing_else_does(text: str, redirected: bool) -> None:
    lexed = lex(text)
    assert (lexed.redirected, lexed.direct, lexed.mistakes) == (redirected, text == "sort {input}", [])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("\n  echo   a\tb  \n\n\n  echo c   # why\n# more\n", "echo a b\necho c"),
        ("echo a \\\n    b", "echo a b"),
        ("echo a\\\nb", "echo ab"),
        ("echo 'a  b'  \"c  # d\"", "echo 'a  b' \"c  # d\""),
        ("echo a#b  # c", "echo a#b"),
        ("x=$( echo   a   # c\n)", "x=$( echo a\n)"),
        ("echo \\ \\#  a", "echo \\ \\# a"),
        ("echo ${a#  b}  c", "echo ${a#  b} c"),
        ("echo {{a}}  {x}", "echo {{a}} {x}"),
        ("if a\nthen\n\n  b\nfi", "if a\nthen\nb\nfi"),
        ("  cat <<EOF\n a  # b\n\nEOF\n\n", "cat <<EOF\n a  # b\n\nEOF"),
        ("echo $LINENO  # x", "echo $LINENO  # x"),
        ("set -ev;  echo  a", "set -ev;  echo  a"),
        ("echo a\\", "echo a\\"),
    ],
)
def test_normal_form(text: str, same: str) -> None:
    assert normalise(text) == same
    assert normalise(same) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("echo 'a  b'", "echo 'a b'"),
        ("echo a\\ b", "echo a b"),
        ("echo a; b", "echo a;b c"),
        ("echo a #b", "echo a#b"),
        ("echo a\necho b", "echo a echo b"),
        ("echo {{x}}", "echo {x}"),
        ("cat <<EOF\na\nEOF", "cat <<EOF\n a\nEOF"),
        ("echo a \\\n\necho b", "echo a \\\n echo b"),
        ("echo $LINENO", "\necho $LINENO"),
    ],
)
def test_different_commands_keep_apart(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(alphabet="ab'\"\\\n$`!é\udcff\x01\x7f ~*;", max_size=20), st.booleans())
@settings(max_examples=60, deadline=None)
def test_quoted_value_is_one_word_with_just_that_value(value: str, bash: bool) -> None:
    shell = SHELLS[0 if bash else 1]
    script = os.fsencode(f"printf %s {quote(value, bash=bash)}")
    assert subprocess.run([shell, "-c", script], stdout=subprocess.PIPE, check=True).stdout == os.fsencode(value)


SNIPPETS = [
    *(
        "echo a  b",
        "echo 'a  b'",
        'echo "a  $(echo  b)"',
        "printf '<%s>' a  b",
        "echo a#b",
        "echo a # it's",
        "x=1",
        'echo "$x"',
        "echo $#",
    ),
    *(
        "if true; then",
        "fi",
        "for i in 1 2; do",
        "done",
        "case a in",
        "a)",
        ";;",
        "esac",
        "( echo a",
        ")",
        "{ echo b",
        ";}",
        "cat <<E\n a  b\n",
        "E",
    ),
    *(
        "'",
        '"',
        "\\",
        "\\\n",
        "#",
        "`echo  a`",
        "$(",
        ")",
        "${x:-a  b}",
        "$((1 +  1))",
        "[[ a == a ]]",
        "&&",
        "||",
        "|",
        ";",
        "a=(1  2)",
    ),
    *(" ", "  ", "\t", "\n", "\n\n"),
]
LAYOUT = [" ", "  ", "\t", "\n", "\n\n", "# c\n", "  # it's\n", "\\\n", " \\\n "]


def said(shell: str, script: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [shell, "-c", " " + script],
        input=b"",
        capture_output=True,
        timeout=20,
        env={"PATH": "/usr/bin:/bin"},
        check=False,
    )
    words = re.sub(rb"(line )?[0-9]+: |line [0-9]+ ", b"", done.stderr)  # a blank line more is a line more
    return done.returncode, done.stdout, words if done.returncode == 0 else b""


@given(st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=8), st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_commands_with_one_normal_form_say_the_same(snippets: list[str], data: st.DataObject) -> None:
    text = " ".join(snippets) if data.draw(st.booleans()) else "\n".join(snippets)
    other = text
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(other)))
        other = other[:at] + data.draw(st.sampled_from(LAYOUT)) + other[at:]
    form = normalise(text)
    if "{" in text.replace("${x", "") or normalise(other) != form:
        return
    for shell in SHELLS:
        assert said(shell, text) == said(shell, other) == said(shell, form)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("new\nline", r"$'new\nline'"),
        ("\x1b[31mred", r"$'\e[31mred'"),
        ("bad\udcff\udcfe.csv", r"$'bad\xff\xfe.csv'"),
        ("right\u202eleft", r"$'right\xe2\x80\xaeleft'"),
        ("it's \\ \t", r"$'it\'s \\ \t'"),
        ("é ü", "'é ü'"),
    ],
)
def test_bash_reads_the_value_from_text_that_no_terminal_obeys(value: str, written: str) -> None:
    assert quote(value, bash=True) == written
    done = subprocess.run(["bash", "-c", f"printf %s {written}"], capture_output=True, check=True)
    assert os.fsdecode(done.stdout) == value


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("cp a b", True),
        ("cat 'a b' > c", True),
        ("no-such-program x", True),
        ("echo $HOME", False),
        ("a | b", False),
        ("a; b", False),
        ("a && b", False),
        ("a &", False),
        ("false\necho x", False),
        ("exit 3", False),
        ("cd x", False),
        ("(a)", False),
        ("echo `x`", False),
        ("if a; then b; fi", False),
        ("'a", False),
    ],
)
def test_only_one_plain_command_means_the_same_in_any_shell(text: str, alone: bool) -> None:
    assert stands_alone(text) is alone
