"""How a shell reads the text of a command: where its quotes, comments, substitutions and here-documents begin and end.

Everything that makes a file name mere data rests on this module: it tells for each placeholder in which quotes it stands, so that a value
can be written there as a value and as nothing else. It knows no values, starts nothing, and refuses to guess: where two shells could read
a place differently, or where quoting cannot make a value safe, the placeholder is a mistake of the Ductfile. The same reading gives the
command's normal form. Invariant: a placeholder in a place that is not refused is read by bash and by sh (POSIX) in the same quotes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from .template import parse
from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .template import Placeholder

_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e"}
Quote = Literal["none", "single", "double", "comment"]
Mistakes = list[tuple[str, int, int]]

TESTED_SHELLS = frozenset({"bash", "sh", "dash", "ash", "busybox"})
RELATED_SHELLS = frozenset({"zsh", "ksh", "ksh93", "mksh"})
"""Shells of the same family whose finer points differ: only what all of them read alike is accepted."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = _words("if then elif else fi while until do done for in case esac select function time coproc { } ! [[ ]]")
LEADING = _words("if then elif else while until do ! time coproc { ( )")
"""Words after which the next one is again the name of a command."""

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\[[^\]]*\])?\+?=")
_PLAIN_RUN = re.compile(r"[^ \t\n\\'\"`$\0#;&|()<>{}\[\]]+")
_PARAMETER = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])")
_REDIRECT = re.compile(r"<<<|<<-|<<|<>|<&|>&|>\||>>|&>>|&>|<|>")
_DELIMITER = re.compile(r"'([^'\n\0]+)'|\"([^\"\\$`\n\0]+)\"|(\\?)([A-Za-z0-9_.+,:%@/=-]+)")
_SINGLE = re.compile(r"'[^']*'")
_ANSI = re.compile(r"\$'(?:[^'\\]|\\.)*'", re.DOTALL)
_BACKTICKS = re.compile(r"`(?:[^`\\]|\\.)*`", re.DOTALL)
_CLOSED_IN_BODY = re.compile(r"\\.|\$\([^()'\"`\\$]*\)|\$\{[^{}'\"`\\$]*\}|`[^`\\]*`")
_SHOWS_ITS_TEXT = re.compile(
    r"LINENO|EXECUTION_STRING|BASH_COMMAND|cmdline|verbose|\b(?:caller|fc|history|shopt|setopt|alias)\b|\bset\b[^\n;&|]*[-+][a-z]*v"
)
"""What lets a command see how its own text is laid out; such a text is its own normal form."""

_DIRECT = re.compile(r"[ \t\n]*[A-Za-z0-9_@%+:,./\0-]+(?:[ \t]+[A-Za-z0-9_@%+:,./=\0-]+)*[ \t\n]*")
_REDIRECTED = re.compile(r"([^>]*[^> \t\n])[ \t]+>[ \t]*\0[ \t\n]*")
_BUILTINS = KEYWORDS | _words(
    "alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown enable eval exec exit export fc fg"
    " getopts hash help history jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return set shift shopt"
    " source suspend test times trap type typeset ulimit umask unalias unset wait : . ["
)
"""First words that mean something else, or more, in a shell. `echo`, `true` and `false` do the same as programs."""

_UNARY = re.compile(r"-[a-zA-Z]")
_BINARY = re.compile(r"=|==|!=|=~|-(?:eq|ne|lt|le|gt|ge|nt|ot|ef)")
_ENDS_WORD = frozenset(["", " ", "\t", "\n", ";", "&", "|", ")", ">", "<"])
_SAFE_BEFORE = frozenset(" \t\n;|&(/.:,-_@%+=\"'\0")
_SAFE_AFTER = frozenset(" \t\n;|&)/.:,-_@%\"'\0")

IN_BACKTICKS = "a placeholder inside backticks cannot be quoted safely; write $(…) instead"
IN_PARAMETER = "a placeholder inside ${…} cannot be quoted safely; put the value into a variable of the shell first"
IN_ARITHMETIC = "a placeholder inside arithmetic would be evaluated; put the value into a variable of the shell first"
IN_HERE_DOCUMENT = "a placeholder inside a here-document cannot be quoted safely; use printf, or {manifest}"
IN_ANSI = "a placeholder inside $'…' cannot be quoted safely; use '…' or \"…\""
IN_LOCALE = 'a placeholder inside $"…" cannot be quoted safely; use "…"'
IN_BRACKETS = "a placeholder inside […] may be taken for a subscript and evaluated; put the value into a variable of the shell first"
AFTER_BACKSLASH = "a backslash before a placeholder would undo its quoting; write two of them, or none"
AFTER_DOLLAR = "a placeholder after $ cannot be quoted safely"
AS_DESCRIPTOR = "a placeholder cannot stand for a file descriptor"


class Spot(NamedTuple):
    """Where a placeholder stands. `bare`: a plain value may be written without quotes of its own; `glued`: other text of the same word touches it."""

    placeholder: Placeholder
    quote: Quote
    bare: bool
    glued: bool
    leads: bool
    """The value begins the word."""
    command: bool
    """The word is the name of the command to be run."""


class Word(NamedTuple):
    """A word of a simple command: its text without quotes, NUL for a placeholder and `$` for what the shell expands; its spots' numbers."""

    text: str
    spots: tuple[int, ...]


class Lexed(NamedTuple):
    """A command's text as a shell reads it.

    `pieces` in turn give the text; `commands` are its simple commands; `direct` is set where the text has no shell syntax at all, `redirected`
    where it has none but `> {placeholder}` at its end; `normal` is its normal form; `mistakes` are messages with their start and end in the text
    (the pieces are of no use if there are any).
    """

    pieces: tuple[str | Spot, ...]
    commands: tuple[tuple[Word, ...], ...]
    direct: bool
    normal: str
    mistakes: Mistakes
    redirected: bool = False


def lex(text: str, shell: Sequence[str] | None = None) -> Lexed:
    """The text of a `run` as the shell reads it; `shell` are the words of the setting `shell`, if it is set."""
    source = _Source(text)
    name = shell_name(shell)
    if name not in TESTED_SHELLS and name not in RELATED_SHELLS:
        return _foreign(text, source, name)
    lexer = _Lexer(source, cautious=name in RELATED_SHELLS)
    lexer.read()
    mistakes = sorted(lexer.mistakes, key=lambda mistake: mistake[1])
    pieces = () if mistakes else lexer.pieces()
    redirected = _REDIRECTED.fullmatch(source.flat)
    return Lexed(
        pieces,
        tuple(lexer.commands),
        direct=not mistakes and _is_direct(source.flat),
        normal=lexer.normal(),
        mistakes=mistakes,
        redirected=not mistakes and redirected is not None and _is_direct(redirected[1]),
    )


def check_command(text: str, shell: Sequence[str] | None = None) -> Mistakes:
    """What is wrong with a command's text: (message, start, end) for each placeholder that cannot be quoted safely and each open quote."""
    return lex(text, shell).mistakes


def normalise(text: str, shell: Sequence[str] | None = None) -> str:
    """The same command however it is laid out: no comments, blank lines, indents or runs of blanks outside of quotes.

    Two texts with the same normal form have the same effect. A text that is not fully understood, or that can see its own layout, is kept.
    """
    return lex(text, shell).normal


def stands_alone(text: str) -> bool:
    """Does any shell do with this command what a strict one does? True for one simple command of a program that expands nothing."""
    if any(sign in text for sign in "$`\n"):
        return False
    read = lex(text)
    if read.mistakes or len(read.commands) != 1 or not read.commands[0]:
        return False
    return read.commands[0][0].text not in _BUILTINS and not any(sign in text for sign in ";(|&")


def quote(value: str, *, bash: bool = False) -> str:
    """The value as one word of a POSIX shell, always in quotes.

    For bash whatever is not printable is written as an escape. A line break, because after some mistakes in a text bash goes on at the next line,
    and no line may begin within a value; the others, because the text is shown to users, whose terminals obey them.
    """
    if bash and not value.isprintable():
        return f"$'{''.join(map(_escaped, value))}'"
    return "'" + value.replace("'", "'\\''") + "'"


def _escaped(char: str) -> str:
    """A letter of `$'…'`. Bytes, not code points: those would depend on the locale."""
    if char in "\\'":
        return f"\\{char}"
    if char.isprintable():
        return char
    if char in _ESCAPES:
        return _ESCAPES[char]
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def shell_name(shell: Sequence[str] | None) -> str:
    """The name of the shell that the words start, without folder; "bash" for none."""
    if not shell:
        return "bash"
    names = [word.rsplit("/", 1)[-1] for word in shell]
    if names[0] == "env" and len(names) > 1:
        names = [name for name in names[1:] if not name.startswith("-") and "=" not in name] or ["env"]
    return names[0]


def _is_direct(flat: str) -> bool:
    return _DIRECT.fullmatch(flat) is not None and flat.split(maxsplit=1)[0] not in _BUILTINS


def _tidy(kept: Sequence[tuple[str, bool]]) -> str:
    """The kept texts with at most one separator, a blank or a line break, between them; no separators at the ends."""
    found: list[str] = []
    between = ""
    for text, is_separator in kept:
        if is_separator:
            between = "\n" if "\n" in (between, text) else between or text
        elif text:
            found += [between, text] if found else [text]
            between = ""
    return "".join(found)


def _foreign(text: str, source: _Source, name: str) -> Lexed:
    """A text for something that is no POSIX shell: its own normal form, and no place for a placeholder."""
    what = f'placeholders are quoted for a POSIX shell, and "{name}" is none that duct knows; use run = ["{name}", …] with them as arguments'
    mistakes = [(what, placeholder.start, placeholder.end) for placeholder in source.placeholders]
    return Lexed(() if mistakes else (source.flat,), (), False, text, mistakes)


class _Source:
    """The text with a NUL for each placeholder and single braces for doubled ones, and where each of its characters stands in the original."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.placeholders: list[Placeholder] = []
        self.nul = text.find("\0")
        self.offsets: list[int] = []
        self.aligned = self.nul < 0
        flat: list[str] = []
        parts = parse(text.replace("\0", " "), is_key=False).parts
        at = 0
        for number, part in enumerate(parts):
            if isinstance(part, str):
                following = parts[number + 1] if number + 1 < len(parts) else None
                end = len(text) if following is None or isinstance(following, str) else following.start
                self._literal(part, at, end)
                at = end
                flat.append(part)
            else:
                self.placeholders.append(part)
                self.offsets.append(part.start)
                flat.append("\0")
                at = part.end
        self.offsets.append(len(text))
        self.flat = "".join(flat)

    def _literal(self, part: str, at: int, end: int) -> None:
        """The offsets of a literal part, which stands at text[at:end] with some of its braces doubled."""
        text = self.text
        doubled = end - at - len(part)
        for character in part:
            self.offsets.append(at)
            self.aligned = self.aligned and text[at : at + 1] == character
            at += 1
            if doubled and character in "{}" and text[at : at + 1] == character:
                at += 1
                doubled -= 1
        self.aligned = self.aligned and at == end

    def original(self, start: int, end: int) -> str:
        """The original text of flat[start:end]."""
        return self.text[self.offsets[start] : self.offsets[end]]


class _Frame:
    """The simple command being read: the top of the text, or the inside of a `$(…)`."""

    def __init__(self, nested: bool) -> None:
        self.nested = nested
        self.depth = 0
        self.words: list[Word] = []
        self.redirect = False
        self.condition = False
        """Within `[[ … ]]`."""
        self.array: tuple[int, int] | None = None
        """Within `name=(…)`: how many words there are before its own, and where it begins."""
        self.here_documents: list[tuple[str, bool, bool]] = []
        self.fresh()

    def fresh(self) -> None:
        """No word is being read."""
        self.text: list[str] = []
        self.spots: list[int] = []
        self.started = False
        self.quoted = False
        self.bracket = False

    @property
    def at_command(self) -> bool:
        """The word to come, or being read, is the name of a command."""
        return (
            not self.redirect
            and self.array is None
            and all(w.text in LEADING or _ASSIGNMENT.match(w.text) for w in self.words)
        )


class _Lexer:
    """One pass from left to right. Methods read one construct at `at` and leave `at` behind it."""

    def __init__(self, source: _Source, *, cautious: bool) -> None:
        self.source = source
        self.text = source.flat
        self.cautious = cautious
        self.at = 0
        self.spots: list[Spot] = []
        self.commands: list[tuple[Word, ...]] = []
        self.mistakes: Mistakes = []
        self.drops: list[tuple[int, int, str]] = []
        """What the normal form leaves out: flat ranges with what stands there instead."""
        self.doubt: str | None = None
        """Why the rest of the text is not understood with certainty."""
        self.refusal: str | None = None
        """Why a placeholder is not accepted where the reading is just now."""
        self.braces = False
        self.keeps_layout = False
        """The text is its own normal form, understood or not."""
        self.has_here_document = False
        self.body_open = False
        self.waiting = 0
        self.handlers = {
            " ": self._blank,
            "\t": self._blank,
            "\n": self._newline,
            "\\": self._backslash,
            "'": self._single,
            '"': self._double,
            "`": self._backticks,
            "$": self._dollar,
            "\0": self._placeholder,
            "#": self._hash,
            "[": self._bracket,
            "]": self._bracket,
            "{": self._brace,
            "}": self._brace,
            "(": self._open,
            ")": self._close,
            "<": self._redirection,
            ">": self._redirection,
            ";": self._separator,
            "|": self._separator,
            "&": self._separator,
        }

    # --- results

    def read(self) -> None:
        """Read the whole text."""
        if self.source.nul >= 0:
            self.mistakes.append(("a command cannot contain a NUL character", self.source.nul, self.source.nul + 1))
        frame = _Frame(nested=False)
        self._commands(frame)
        if self.mistakes or self.braces:
            self.spots = [spot._replace(bare=False) for spot in self.spots]

    def pieces(self) -> tuple[str | Spot, ...]:
        """The text cut at its placeholders."""
        literals = self.text.split("\0")
        found: list[str | Spot] = [literals[0]]
        for spot, literal in zip(self.spots, literals[1:]):
            found += [spot, literal]
        return tuple(piece for piece in found if piece != "")

    def normal(self) -> str:
        """The normal form; the text itself where it cannot be had with certainty."""
        source = self.source
        text = source.text
        if self.mistakes or self.keeps_layout or not source.aligned or _SHOWS_ITS_TEXT.search(text):
            return text
        if self.doubt or self.has_here_document or self.cautious:
            return self._without_ends()
        kept: list[tuple[str, bool]] = []
        at = 0
        for start, end, instead in sorted(self.drops):
            kept += [(source.original(at, start), False), (instead, True)]
            at = end
        kept.append((source.original(at, len(self.text)), False))
        return _tidy(kept)

    def _without_ends(self) -> str:
        text = self.source.text
        if not self.body_open and not self.doubt and not text.rstrip("\n").endswith("\\"):
            text = text.rstrip("\n")
        return text.lstrip(" \t\n")

    # --- helpers

    def _mistake(self, message: str, start: int, end: int | None = None) -> None:
        offsets = self.source.offsets
        self.mistakes.append((message, offsets[start], offsets[start + 1 if end is None else end]))

    def _doubt(self, construct: str) -> None:
        if self.doubt is None:
            self.doubt = (
                f"shells may read the text differently after {construct}, so a placeholder here cannot be quoted safely"
            )

    def _unclosed(self, what: str, start: int) -> None:
        self._mistake(f"{what} is never closed", start)
        self.at = len(self.text)

    def _spot(self, at: int, quote: Quote, *, why: str | None = None, frame: _Frame | None = None) -> None:
        """The placeholder at `at`, in these quotes; a mistake if it is refused for `why` or for what surrounds it."""
        placeholder = self.source.placeholders[len(self.spots)]
        why = self.refusal or self.doubt or why
        if frame is not None:
            if frame.bracket:
                why = why or IN_BRACKETS
            frame.spots.append(len(self.spots))
        if why:
            self.mistakes.append((why, placeholder.start, placeholder.end))
        before = self.text[at - 1] if at else "\n"
        after = self.text[at + 1 : at + 2] or "\n"
        self.spots.append(
            Spot(
                placeholder,
                quote,
                bare=quote != "comment" and self._may_be_bare(before, after, quote, frame),
                glued=(frame is not None and frame.started) or after not in " \t\n;|&)<>",
                leads=frame is not None and not frame.text,
                command=frame is not None and frame.at_command,
            )
        )

    @staticmethod
    def _may_be_bare(before: str, after: str, quote: Quote, frame: _Frame | None) -> bool:
        if frame is None or "$" in frame.text:
            return False
        if quote != "none":
            return True
        safe_before = before in _SAFE_BEFORE or before.isalnum()
        return not frame.at_command and safe_before and (after in _SAFE_AFTER or after.isalnum())

    def _skip_spots(self, start: int, end: int, why: str, quote: Quote = "none") -> None:
        """The placeholders of a range that is not read more closely."""
        for at in range(start, end):
            if self.text[at] == "\0":
                self._spot(at, quote, why=why)

    def _multi_line(self, start: int) -> None:
        """A here-document that has not begun yet, and a construct that holds a line break: shells differ in where its body begins."""
        if self.waiting and "\n" in self.text[start : self.at]:
            self._doubt("a here-document and a quoted line break on one line")

    # --- unquoted text

    def _commands(self, frame: _Frame) -> bool:
        """Commands up to the end, or to the parenthesis that closes a nested frame; True if that was found."""
        text = self.text
        while self.at < len(text):
            character = text[self.at]
            if character == ")" and frame.nested and frame.depth == 0 and frame.array is None:
                self._end_command(frame)
                if frame.here_documents:
                    self._doubt("a here-document that begins inside of $(…) and not its body")
                    self.waiting -= len(frame.here_documents)
                self.at += 1
                return True
            handler = self.handlers.get(character)
            if handler is not None:
                handler(frame)
                continue
            run = _PLAIN_RUN.match(text, self.at)
            end = run.end() if run else self.at + 1
            self._add(frame, text[self.at : end])
            self.at = end
        self._end_command(frame)
        if frame.array is not None:
            self._unclosed("an array", frame.array[1])
        self.keeps_layout = self.keeps_layout or frame.condition
        self.body_open = self.body_open or bool(frame.here_documents)
        return False

    @staticmethod
    def _add(frame: _Frame, text: str) -> None:
        frame.text.append(text)
        frame.started = True

    def _end_word(self, frame: _Frame) -> None:
        if not frame.started:
            return
        word = Word("".join(frame.text), tuple(frame.spots))
        if frame.redirect:
            frame.redirect = False
        else:
            if not frame.quoted:
                self._check_word(word.text, frame)
            frame.words.append(word)
        frame.fresh()

    def _check_word(self, word: str, frame: _Frame) -> None:
        if word == "]]":
            frame.condition = False
        if not frame.at_command:
            return
        if word == "[[":
            frame.condition = True
        elif word == "case" and (frame.nested or self.cautious):
            self._doubt("a case inside of $(…)")
        elif word in ("alias", "shopt", "setopt"):
            self._doubt(f'"{word}"')

    def _end_command(self, frame: _Frame) -> None:
        self._end_word(frame)
        if frame.array is not None:
            return
        frame.redirect = False
        if frame.words:
            self._check_condition(frame)
            self.commands.append(tuple(frame.words))
            frame.words = []

    def _check_condition(self, frame: _Frame) -> None:
        """Of a `[[ … ]]` that is not well formed, bash makes different errors for different layouts."""
        texts = [word.text for word in frame.words]
        if not (frame.condition or "[[" in texts or "]]" in texts):
            return
        after = texts.index("[[") + 1 if "[[" in texts else 0
        inner = [text for text in texts[after:] if text not in ("!", "]]")]
        good = (
            len(inner) == 1
            or (len(inner) == 2 and _UNARY.fullmatch(inner[0]))
            or (len(inner) == 3 and _BINARY.fullmatch(inner[1]))
        )
        self.keeps_layout = self.keeps_layout or not good

    def _blank(self, frame: _Frame) -> None:
        self._end_word(frame)
        start = self.at
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        self.drops.append((start, self.at, " "))

    def _newline(self, frame: _Frame) -> None:
        self._end_command(frame)
        self.keeps_layout = self.keeps_layout or frame.condition
        self.drops.append((self.at, self.at + 1, "\n"))
        self.at += 1
        if self.waiting != len(frame.here_documents):
            self._doubt("a here-document with a $(…) over several lines beside it")
        documents, frame.here_documents = frame.here_documents, []
        self.waiting -= len(documents)
        for document in documents:
            self._body(*document)

    def _backslash(self, frame: _Frame) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        if following == "\n":
            if self.at and self.text[self.at - 1] in "<>($":
                self._doubt("a line that ends within an operator")
            self.drops.append((self.at, self.at + 2, ""))
            self.at += 2
            return
        frame.quoted = True
        self.keeps_layout = self.keeps_layout or not following
        if following == "\0":
            self._add(frame, "\\")
            self._spot(self.at + 1, "none", why=AFTER_BACKSLASH)
        else:
            self._add(frame, following or "\\")
        self.at += 2

    def _placeholder(self, frame: _Frame) -> None:
        descriptor = self.text[: self.at].endswith((">&", "<&"))
        self._spot(self.at, "none", frame=frame, why=AS_DESCRIPTOR if descriptor else None)
        self._add(frame, "\0")
        self.at += 1

    def _hash(self, frame: _Frame) -> None:
        if frame.started:
            self._add(frame, "#")
            self.at += 1
            return
        if self.text[self.at - 1 : self.at] == "(":
            self._doubt('"(#"')
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        self.keeps_layout = self.keeps_layout or frame.condition
        self._skip_spots(self.at, end, "", "comment")
        self.drops.append((self.at, end, ""))
        self.at = end

    def _bracket(self, frame: _Frame) -> None:
        character = self.text[self.at]
        lonely = not frame.started and self.text[self.at + 1 : self.at + 2] in (" ", "\t", "\n", "[")
        if not lonely:
            frame.bracket = character == "["
        self._add(frame, character)
        self.at += 1

    def _brace(self, frame: _Frame) -> None:
        if frame.started or self.text[self.at + 1 : self.at + 2] not in (" ", "\t", "\n", ";", ""):
            self.braces = True
        self._add(frame, self.text[self.at])
        self.at += 1

    # --- operators

    def _open(self, frame: _Frame) -> None:
        self._in_array(frame)
        before = self.text[self.at - 1] if self.at else "\n"
        if not frame.started and self.text.startswith("((", self.at):
            self._arithmetic(self.at + 2, "((…))")
            self._add(frame, "$")
            return
        if frame.started and before in "?*+@!":
            self._doubt("an extended pattern")
        if frame.started and before == "=":
            self._end_word(frame)
            self._in_array(frame)
            frame.array = (len(frame.words), self.at)
            self.at += 1
            return
        elif frame.started and not frame.quoted:
            self._end_command(frame)
        elif frame.started:
            self._doubt("a parenthesis within a word")
            self._end_command(frame)
        else:
            self._end_command(frame)
        frame.depth += 1
        self.at += 1

    def _in_array(self, frame: _Frame) -> None:
        """An operator within `name=(…)`: after this mistake bash goes on at the next line, whatever quotes it stands in."""
        if frame.array is not None:
            self._doubt("an operator within an array")

    def _close(self, frame: _Frame) -> None:
        if frame.array is not None:
            self._end_word(frame)
            del frame.words[frame.array[0] :]
            frame.array = None
            self.at += 1
            if self.text[self.at : self.at + 1] not in _ENDS_WORD:
                self._doubt("an array with text behind it")
            return
        self._end_command(frame)
        frame.depth = max(0, frame.depth - 1)
        self.at += 1

    def _separator(self, frame: _Frame) -> None:
        self._in_array(frame)
        if self.text.startswith("&>", self.at):
            self._redirection(frame)
            return
        self._end_command(frame)
        self.at += 1

    def _redirection(self, frame: _Frame) -> None:
        self._in_array(frame)
        operator = _REDIRECT.match(self.text, self.at)
        assert operator is not None
        sign = operator.group()
        if "".join(frame.text).isdigit() and not frame.quoted:
            frame.fresh()
        if sign in ("<", ">") and self.text[operator.end() : operator.end() + 1] == "(":
            self._substitution(frame, operator.end() + 1, "the process substitution")
            return
        self._end_word(frame)
        self.at = operator.end()
        if sign in ("<<", "<<-"):
            self._here_document(frame, strip=sign == "<<-")
        else:
            frame.redirect = True

    def _here_document(self, frame: _Frame, *, strip: bool) -> None:
        self.has_here_document = True
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        word = _DELIMITER.match(self.text, self.at)
        if word is None or self.text[word.end() : word.end() + 1] not in _ENDS_WORD:
            self._doubt("an unusual end word of a here-document")
            return
        single, double, backslash, plain = word.groups()
        self.at = word.end()
        quoted = plain is None or bool(backslash)
        frame.here_documents.append((single or double or plain, strip, quoted))
        self.waiting += 1

    def _body(self, delimiter: str, strip: bool, quoted: bool) -> None:
        """A here-document's body and the line that ends it."""
        text = self.text
        start = self.at
        joined = False
        while self.at < len(text):
            end = text.find("\n", self.at)
            end = len(text) if end < 0 else end
            line = text[self.at : end]
            if strip:
                line = line.lstrip("\t")
            if line == delimiter:
                if joined:
                    self._doubt("a here-document whose last line ends in a backslash")
                self._skip_spots(start, self.at, IN_HERE_DOCUMENT)
                self.at = min(end + 1, len(text))
                return
            if not quoted:
                joined = line.endswith("\\")
                if any(sign in _CLOSED_IN_BODY.sub("", line) for sign in ("$(", "${", "`", "$[")):
                    self._doubt("a here-document with a substitution over several lines")
            self.at = min(end + 1, len(text))
        self.body_open = True
        self._skip_spots(start, len(text), IN_HERE_DOCUMENT)

    # --- quotes and expansions; `frame` is the word's they stand in

    def _single(self, frame: _Frame) -> None:
        start = self.at
        found = _SINGLE.match(self.text, start)
        frame.quoted = True
        if found is None:
            self._skip_spots(start, len(self.text), "")
            self._unclosed("a single quote", start)
            return
        for at in range(start + 1, found.end() - 1):
            if self.text[at] == "\0":
                self._spot(at, "single", frame=frame)
            self._add(frame, self.text[at])
        frame.started = True
        self.at = found.end()
        self._multi_line(start)

    def _double(self, frame: _Frame) -> None:
        start = self.at
        text = self.text
        frame.quoted = frame.started = True
        self.at += 1
        while self.at < len(text):
            character = text[self.at]
            if character == '"':
                self.at += 1
                self._multi_line(start)
                return
            if character == "\\":
                if text[self.at + 1 : self.at + 2] == "\0":
                    self._spot(self.at + 1, "double", why=AFTER_BACKSLASH)
                frame.text.append(text[self.at + 1 : self.at + 2])
                self.at += 2
            elif character == "`":
                self._backticks(frame)
            elif character == "$":
                self._dollar(frame, quoted=True)
            else:
                if character == "\0":
                    self._spot(self.at, "double", frame=frame)
                frame.text.append(character)
                self.at += 1
        self._unclosed("a double quote", start)

    def _backticks(self, frame: _Frame) -> None:
        start = self.at
        found = _BACKTICKS.match(self.text, start)
        self._add(frame, "$")
        if found is None:
            self._skip_spots(start, len(self.text), IN_BACKTICKS)
            self._unclosed("a backtick", start)
            return
        self._skip_spots(start, found.end(), IN_BACKTICKS)
        self.at = found.end()
        self._multi_line(start)

    def _dollar(self, frame: _Frame, *, quoted: bool = False) -> None:
        text = self.text
        start = self.at
        following = text[start + 1 : start + 2]
        self._add(frame, "$")
        if following == "(":
            if text.startswith("$((", start):
                self._arithmetic(start + 3, "$((…))")
            else:
                self._substitution(frame, start + 2, "$(")
        elif following == "{":
            self._parameter(frame, quoted=quoted)
        elif following == "[":
            self._doubt("$[")
            self.at += 1
        elif following == "'" and not quoted:
            self._ansi(frame)
        elif following == '"' and not quoted:
            self.at += 1
            self._refusing(IN_LOCALE, self._double, frame)
        elif following == "\0":
            self._spot(start + 1, "none", why=AFTER_DOLLAR)
            self.at += 2
        else:
            if following == "\\" and text.startswith("$\\\n", start):
                self._doubt("a line that ends in a dollar sign")
            name = _PARAMETER.match(text, start)
            self.at = name.end() if name else start + 1

    def _refusing(self, why: str, read: Callable[[_Frame], None], frame: _Frame) -> None:
        """Read a construct in which no placeholder is accepted."""
        outer, self.refusal = self.refusal, self.refusal or why
        read(frame)
        self.refusal = outer

    def _ansi(self, frame: _Frame) -> None:
        start = self.at
        found = _ANSI.match(self.text, start)
        frame.quoted = True
        if found is None:
            self._skip_spots(start, len(self.text), IN_ANSI)
            self._unclosed("$'", start)
            return
        self._skip_spots(start, found.end(), IN_ANSI)
        if "\\'" in found.group() or self.cautious:
            self._doubt("$'…' with a quote in it")
        self.at = found.end()
        self._multi_line(start)

    def _substitution(self, frame: _Frame, inside: int, what: str) -> None:
        """`$(…)`, `<(…)`: commands of their own, in quotes of their own."""
        start = self.at
        self._add(frame, "$")
        self.at = inside
        if not self._commands(_Frame(nested=True)):
            self._unclosed(what, start)
        self._multi_line(start)

    def _parameter(self, frame: _Frame, *, quoted: bool) -> None:
        """`${…}`. Quotes in it mean different things in different shells where it stands in double quotes itself."""
        text = self.text
        start = self.at
        outer, self.refusal = self.refusal, self.refusal or IN_PARAMETER
        self.at += 2
        if text[self.at : self.at + 1] in (" ", "\t", "\n", "|", "("):
            self._doubt("${ with a blank")
        while self.at < len(text) and text[self.at] != "}":
            self._in_parameter(frame, quoted=quoted)
        self.refusal = outer
        if self.at >= len(text):
            self._unclosed("${", start)
            return
        if self.cautious and not re.fullmatch(r"\$\{#?[A-Za-z0-9_]+", text[start : self.at]):
            self._doubt("${…} with an operator")
        self.at += 1
        self._multi_line(start)

    def _in_parameter(self, frame: _Frame, *, quoted: bool) -> None:
        character = self.text[self.at]
        if character in "'\"" and quoted:
            self._doubt("${…} with quotes inside of double quotes")
            self.at += 1
        elif character == "\\":
            self._skip_spots(self.at, min(self.at + 2, len(self.text)), IN_PARAMETER)
            self.at += 2
        elif character == "'":
            self._single(frame)
        elif character == '"':
            self._double(frame)
        elif character == "`":
            self._backticks(frame)
        elif character == "$":
            self._dollar(frame, quoted=quoted)
        else:
            if character == "{":
                self._doubt("${…} with a brace in it")
            if character == "\0":
                self._spot(self.at, "none", why=IN_PARAMETER)
            self.at += 1

    def _arithmetic(self, inside: int, what: str) -> None:
        """`$((…))` and `((…))`, up to the two parentheses that close it."""
        text = self.text
        start = self.at
        outer, self.refusal = self.refusal, self.refusal or IN_ARITHMETIC
        scratch = _Frame(nested=True)
        self.at = inside
        depth = 2
        while self.at < len(text) and depth:
            character = text[self.at]
            if character == "$":
                self._dollar(scratch, quoted=True)
                continue
            if character in "'\"`\\#" or text.startswith("<<", self.at):
                self._doubt(f"{what} with a quote, a comment sign or a shift")
            if character == "\0":
                self._spot(self.at, "none", why=IN_ARITHMETIC)
            depth += (character == "(") - (character == ")")
            self.at += 1
        self.refusal = outer
        if depth:
            self._unclosed(what[: -len("…))")], start)
        elif not text.endswith("))", 0, self.at):
            self._doubt(f"{what} that is none")
        self._multi_line(start)
