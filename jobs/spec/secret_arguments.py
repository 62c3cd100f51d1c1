"""Secrets among the words of a command line: after an option, in an assignment, in a quoted command."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from .secret_names import Stems, strength
from .secret_programs import PROGRAMS, Option
from .secret_values import FLAG, IDS, is_reference, is_secret, is_withheld, looks_secret, trimmed
from .shell_words import Word, words

Span = tuple[int, int]

_NAME = r"[A-Za-z_][\w.\[\]-]*"
_OPTION = re.compile(rf"-{{1,2}}({_NAME})$")
_KINDS = (
    ("option", _OPTION),
    ("field", re.compile(rf"({_NAME}):$")),
    ("name", re.compile(rf"({_NAME})$")),
    ("assignment", re.compile(rf"[$({{\[+-]*({_NAME})\+?=(?!=)")),
)
# A word that holds a text of its own: 'TOKEN=x run', --config='{"a": 1}'; not {"a":"x"}, which is read as it stands.
_QUOTED = re.compile(r"""(?:[\w.-]+=)?\$?\\?["']""")
_LOGIN_FIELD = re.compile(r"(?:token|role|jwt|username|password)=")
_COMMAND_OPTION = re.compile(r"-[a-z]*c|eval|--command|--cmd")


class _Role(NamedTuple):
    """What a word is by itself: the start of `program`, or an `option`, `field`, `name`, `assignment` of a secret."""

    kind: str = ""
    name: str = ""
    program: tuple[Option, ...] | None = None


def spans(line: str, nested: Callable[[str], Iterable[Span]]) -> Iterator[Span]:
    """Where secrets stand among the words of a command line.

    Args:
        nested: Where secrets stand in a word without its quotes.
    """
    roles: dict[str, _Role] = {}
    previous: deque[str] = deque(maxlen=5)
    program: tuple[Option, ...] = ()
    before = _Role()
    for word in words(line):
        if word is None:
            previous.clear()
            program, before = (), _Role()
            continue
        text = word.text.strip("[],") if word.is_quoted else word.text  # ["curl", "-u", ...]
        role = roles.get(text)
        if role is None:
            role = roles[text] = _role(text)
        if (
            (before.name and _is_value_of(before, word, previous))
            or (program and _follows(previous, word.text, program))
            or ("login" in previous and _logs_in(previous, word.text))
        ):
            yield _within_quotes(word)
        elif role.kind == "assignment" and not (word.is_quoted and _announces_command(previous)):
            yield from _assigned(word, role.name)
        elif program and (start := _joined(word.text, program)) is not None:
            yield word.span(start, len(word.text))
        elif word.is_quoted and (_QUOTED.match(word.raw) or "\\ " in word.raw):
            for start, end in nested(word.text):
                yield word.span(start, end)
        program = program if role.program is None else role.program
        before = role
        previous.append(text)


def _role(text: str) -> _Role:
    program = PROGRAMS.get(text.rpartition("/")[2])
    if Stems(text).search():
        for kind, expression in _KINDS:
            if (match := expression.match(text)) and strength(match[1]):
                return _Role(kind, match[1], program)
    return _Role(program=program)


def after_options(arguments: Sequence[object]) -> set[int]:
    """Which of a list of arguments are the values of options that name a secret, as in ["--token", "..."]."""
    after = set()
    program: tuple[Option, ...] = ()
    for i, (option, value) in enumerate(pairwise(arguments), 1):
        if isinstance(option, str) and isinstance(value, str):
            program = PROGRAMS.get(option.rpartition("/")[2], program)
            named = _OPTION.fullmatch(option)
            if _follows([option], value, program) or (
                named and not FLAG.fullmatch(value) and is_secret(named[1], value)
            ):
                after.add(i)
    return after


def _announces_command(previous: Sequence[str]) -> bool:
    """Whether a quoted word is a line of its own, as in `sh -c "TOKEN=x run"`; not in `-e "TOKEN=x y"`."""
    return bool(previous and _COMMAND_OPTION.fullmatch(previous[-1]))


def _follows(previous: Sequence[str], value: str, program: Sequence[Option]) -> bool:
    """Whether the word before is an option of `program` that carries a secret."""
    return bool(previous) and any(
        re.fullmatch(follows, previous[-1]) and _is_value(expression, value) for follows, _, expression in program
    )


def _logs_in(previous: Sequence[str], value: str) -> bool:
    """Whether `value` is the key in `wandb login --relogin KEY`."""
    words = [word for word in previous if not FLAG.fullmatch(word)]
    return (
        words[-2:] in (["wandb", "login"], ["vault", "login"])
        and not FLAG.fullmatch(value)
        and not is_withheld(value)
        and not is_reference(value)
        and not _LOGIN_FIELD.match(value)
    )


def _joined(text: str, program: Sequence[Option]) -> int | None:
    """Where the value begins in a word that is an option of `program` and its value, as `-uuser:password`."""
    for _, joined, expression in program:
        if (match := re.match(joined, text)) and _is_value(expression, text[match.end() :]):
            return match.end()
    return None


def _is_value(expression: str, value: str) -> bool:
    return bool(re.fullmatch(expression, value, re.DOTALL)) and not (
        is_withheld(value) or is_reference(value) or IDS.fullmatch(value) or FLAG.fullmatch(value)
    )


def _is_value_of(role: _Role, word: Word, previous: Sequence[str]) -> bool:
    """Whether `word` is the secret that the word before, of this role, announces."""
    if role.kind == "assignment" or not is_secret(role.name, word.text, literal=word.raw.startswith("'")):
        return False
    if role.kind == "option":
        return not FLAG.fullmatch(word.text.strip("[],"))
    if role.kind == "field":
        return not role.name.lower().endswith("authorization")
    # netrc; `aws configure set NAME S`, `setenv NAME S`; `dvc remote modify origin NAME S`.
    earlier = list(previous)[:-1]
    if earlier[-1:] == ["setenv"] or earlier[-2:] in (["configure", "set"], ["config", "set"]):
        return True
    if "modify" in earlier or earlier[-2:-1] in (["login"], ["machine"]):
        return True
    return looks_secret("", word.text)


def _within_quotes(word: Word) -> Span:
    """The word within its quotes, and without what closes the list that it ends."""
    raw = word.raw
    if raw[0] == raw[-1] and raw[0] in "\"'" and len(raw) > 2 and raw.count(raw[0]) == 2:
        return word.start + 1, word.end - 1
    return word.start, word.end if word.is_quoted else word.start + len(trimmed(raw))


def _assigned(word: Word, name: str) -> Iterator[Span]:
    """The value of `NAME=value`, all of the word. Not in `f(token="x",n=1)`: there the text is read as code."""
    at = word.text.index("=") + 1
    value = word.text[at:]
    if not value:
        return
    start, end = word.span(at, len(word.text))
    before, raw = word.raw[: start - word.start], word.raw[start - word.start : end - word.start]
    if not word.is_quoted:
        end = start + len(trimmed(value))
    elif raw != value:  # Quotes in it, or more of them after the first.
        quote = before[-1] if before[-1] in "\"'" else before[0]
        if quote in "\"'" and (code := re.match(rf"([^{quote}]*){quote}[,:;.)\]}}]+", raw)):
            if code.end() != len(raw):
                return
            end = start + code.end(1)
        else:
            start, end = word.span(at - 1, at)[1], word.end
    if is_secret(name, value, literal=before.endswith("'")):
        yield start, end
