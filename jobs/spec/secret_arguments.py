"""Secrets among the words of a command line: after an option, in an assignment, in a quoted command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from .secret_names import STEM, strength
from .secret_values import IDS, is_reference, is_secret, is_withheld, looks_secret, trimmed
from .shell_words import Word, words

Span = tuple[int, int]

_NAME = r"[A-Za-z_][\w.\[\]-]*"
_OPTION = re.compile(rf"-{{1,2}}({_NAME})")
_ASSIGNMENT = re.compile(rf"[$({{\[+-]*({_NAME})\+?=(?!=)")
_BARE_NAME = re.compile(_NAME)
_FIELD = re.compile(rf"({_NAME}):")


class _Program(NamedTuple):
    """Options that carry a secret in one program only, as words of their own or with the value in the same word."""

    option: str
    joined: str = r"(?!)"
    value: str = r".+"


_USER = _Program(
    r"-[a-zA-Z#]*[uU]|--(?:proxy-)?user", r"-[sSfkLvgGiN#]*[uU]|--(?:proxy-)?user=", r"(?![a-z][\w+.-]*://)[^:]*:.+"
)
_COOKIE = _Program(r"-[a-zA-Z#]*b|--cookie", r"-b|--cookie=", r".*=.*")
_CURL = (_USER, _COOKIE, _Program("--oauth2-bearer|--(?:proxy-)?pass|-E|--cert", value=r".*[^.\w/-].*"))
_P = _Program(r"-p|--password", r"-p")
_PROGRAMS: dict[str, tuple[_Program, ...]] = {
    "curl": _CURL,
    **dict.fromkeys(("http", "https", "xh"), (_Program(r"-a|--auth", r"--auth="),)),
    "sshpass": (_P,),
    **dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mariadb"), (_Program(r"(?!)", r"-p"),)),
    **dict.fromkeys(("mongo", "mongosh", "mongodump"), (_Program(r"-p"),)),
    **dict.fromkeys(("redis-cli", "valkey-cli"), (_Program(r"-a|--pass"),)),
    **dict.fromkeys(("unzip", "zip"), (_Program(r"-[a-zA-Z]*P"),)),
    **dict.fromkeys(("7z", "7za", "7zz"), (_Program(r"(?!)", r"-p"),)),
    **dict.fromkeys(("ldapsearch", "ldapmodify"), (_Program(r"-w", r"-w"),)),
    # `docker login -p`, but not `docker run -p`.
    "login": (_Program(r"-p"),),
}
# A word that holds a text of its own: 'TOKEN=x run', --config='{"a": 1}'; not {"a":"x"}, which is read as it stands.
_QUOTED = re.compile(r"""(?:[\w.-]+=)?\$?\\?["']""")
_COMMAND_OPTION = re.compile(r"-[a-z]*c|eval|--command|--cmd")


def spans(line: str, nested: Callable[[str], Iterable[Span]]) -> Iterator[Span]:
    """Where secrets stand among the words of a command line.

    Args:
        nested: Where secrets stand in a word without its quotes.
    """
    if not STEM.search(line) and not any(program in line for program in _PROGRAMS):
        return
    previous: list[Word] = []
    program: tuple[_Program, ...] = ()
    for word in words(line):
        if word is None:
            previous, program = [], ()
            continue
        text = word.text
        if previous and _asks_for_secret(previous, word, program):
            yield _within_quotes(word)
        elif (match := _ASSIGNMENT.match(text)) and strength(match[1]) and not _is_command(previous, word):
            yield from _assigned(word, match)
        elif (start := _joined(text, program)) is not None:
            yield word.span(start, len(text))
        elif _QUOTED.match(word.raw):
            for start, end in nested(text):
                yield word.span(start, end)
        program = _PROGRAMS.get(text.rpartition("/")[2], program)
        previous = [*previous[-4:], word]


def after_options(arguments: Sequence[object]) -> set[int]:
    """Which of a list of arguments are the values of options that name a secret, as in ["--token", "..."]."""
    return {
        i
        for i, (option, value) in enumerate(pairwise(arguments), 1)
        if isinstance(option, str)
        and isinstance(value, str)
        and (match := _OPTION.fullmatch(option))
        and not _OPTION.fullmatch(value)
        and is_secret(match[1], value)
    }


def _is_command(previous: Sequence[Word], word: Word) -> bool:
    """Whether a quoted word is a line of its own, as in `sh -c "TOKEN=x run"`; not in `-e "TOKEN=x y"`."""
    return bool(previous and word.is_quoted and _COMMAND_OPTION.fullmatch(previous[-1].text))


def _joined(text: str, program: Sequence[_Program]) -> int | None:
    """Where the value begins in a word that is an option of `program` and its value, as `-uuser:password`."""
    for option in program:
        if (match := re.match(option.joined, text)) and _is_value(option, text[match.end() :]):
            return match.end()
    return None


def _is_value(option: _Program, value: str) -> bool:
    return bool(re.fullmatch(option.value, value, re.DOTALL)) and not (
        is_withheld(value) or is_reference(value) or IDS.fullmatch(value)
    )


def _asks_for_secret(previous: Sequence[Word], word: Word, program: Sequence[_Program]) -> bool:
    """Whether the words before `word` make it a secret: an option, `password:`, `login me password`."""
    before = previous[-1].text
    value = word.text
    literal = word.raw.startswith("'")
    if match := _OPTION.fullmatch(before):
        if any(re.fullmatch(option.option, before) and _is_value(option, value) for option in program):
            return True
        return not _OPTION.fullmatch(value) and is_secret(match[1], value, literal=literal)
    if match := _FIELD.fullmatch(before):
        return not match[1].lower().endswith("authorization") and is_secret(match[1], value, literal=literal)
    if not _BARE_NAME.fullmatch(before) or not is_secret(before, value, literal=literal):
        return False
    earlier = [each.text for each in previous[:-1]]
    # netrc; `aws configure set NAME S`, `setenv NAME S`; `dvc remote modify origin NAME S`.
    if earlier[-1:] in (["set"], ["setenv"]) or "modify" in earlier or earlier[-2:-1] in (["login"], ["machine"]):
        return True
    return looks_secret("", value)


def _within_quotes(word: Word) -> Span:
    """The word within its quotes, and without what closes the list that it ends."""
    raw = word.raw
    if raw[0] == raw[-1] and raw[0] in "\"'" and len(raw) > 2 and raw.count(raw[0]) == 2:
        return word.start + 1, word.end - 1
    return word.start, word.end if word.is_quoted else word.start + len(trimmed(raw))


def _assigned(word: Word, match: re.Match[str]) -> Iterator[Span]:
    """The value of `NAME=value`, all of the word. Not in `f(token="x",n=1)`: there the text is read as code."""
    value = word.text[match.end() :]
    if not value:
        return
    start, end = word.span(match.end(), len(word.text))
    raw = word.raw[start - word.start :]
    before = word.raw[: start - word.start]
    if word.is_quoted:
        if before[-1:] in ('"', "'") and before.count(before[-1]) == 1 and raw.count(before[-1]) == 1:
            if raw[-1] != before[-1]:
                if raw[raw.index(before[-1]) + 1] in ",)]};":
                    return
                start, end = start - 1, word.end
        elif raw != value:
            end = word.end
    else:
        end = start + len(trimmed(value))
    if is_secret(match[1], value, literal=before.endswith("'")):
        yield start, end
