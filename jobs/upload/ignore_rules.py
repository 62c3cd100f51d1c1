"""The rules that leave files out: `.gitignore`, `.rayignore` and excludes, as Ray's client reads them.

Ray contains an old copy of `pathspec`, whose rules differ from today's releases of that library: `!dir` does not
restore the content of `dir` after `*` removed it, `[^a]` is not a negation, and so on. The set of files decides the
name of the package, and the name decides whether an upload is shared with the stock client, so the old rules are
implemented here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused

DEFAULTS = (".git", ".venv", "venv", "__pycache__")
IGNORE_FILES = (".gitignore", ".rayignore")


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file. `removes` is false for a line that starts with `!`."""

    pattern: str
    regex: re.Pattern[str]
    removes: bool


class RuleSet:
    """The rules of one source (a file, or `--exclude`); paths are given relative to that source's directory."""

    def __init__(self, source: str, base: str, rules: list[Rule]) -> None:
        self.source = source
        self.base = base
        self._rules = rules
        self._cut = len(base) + 1 if base else 0
        # One alternation decides for nearly every path; only after a match the rule is searched.
        positive = "|".join(f"(?:{rule.regex.pattern})" for rule in rules if rule.removes)
        self._any = re.compile(positive) if positive else None

    def match(self, relpath: str) -> str | None:
        """Returns the pattern that removes `relpath` (relative to the package's root, POSIX separators), or None."""
        path = (relpath[self._cut :] or ".") if relpath != self.base else "."
        if self._any is None or not self._any.match(path):
            return None
        for rule in reversed(self._rules):
            if rule.regex.match(path):
                return rule.pattern if rule.removes else None
        return None


def read(path: Path, base: str) -> RuleSet:
    """Reads the rules of an ignore file in the directory `base` (relative to the package's root). Raises Refused."""
    source = f"{base}/{path.name}" if base else path.name
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}", "Make the ignore file readable, or remove it.") from None
    return parse(text.split("\n"), source, base)


def parse(lines: Iterable[str], source: str, base: str = "") -> RuleSet:
    """Reads rules from lines; `source` is their name in messages. Raises Refused for a wrong pattern."""
    rules = []
    for line in lines:
        translated = _translate(line.strip())
        if translated is None:
            continue
        expression, removes = translated
        try:
            rules.append(Rule(line.strip(), re.compile(expression), removes))
        except re.error as error:
            raise Refused(
                f"{source}: {line.strip()!r} is not a pattern ({error}).", "Write it as a .gitignore pattern."
            ) from None
    return RuleSet(source, base, rules)


def _translate(pattern: str) -> tuple[str, bool] | None:
    if pattern in ("", "/") or pattern.startswith("#"):
        return None
    removes = not pattern.startswith("!")
    if not removes:
        pattern = pattern[1:]
    if pattern.startswith("\\"):
        pattern = pattern[1:]
    if not pattern:
        return None
    segments = pattern.split("/")
    if segments[0] == "":
        segments = segments[1:]
    elif segments[0] != "**" and (len(segments) == 1 or segments[1:] == [""]):
        segments = ["**", *segments]
    if len(segments) > 1 and segments[-1] == "":
        segments[-1] = "**"
    return "^" + _join(segments, removes) + "$", removes


def _join(segments: list[str], removes: bool) -> str:
    last = len(segments) - 1
    if segments == ["**"]:
        return ".+"
    out, slash = "", False
    for i, segment in enumerate(segments):
        if segment == "**":
            out += "(?:.+/)?" if i == 0 else "/.*" if i == last else "(?:/.+)?"
            slash = i > 0
            continue
        out += ("/" if slash else "") + ("[^/]+" if segment == "*" else _glob(segment))
        if segment != "*" and i == last and removes:
            out += "(?:/.*)?"
        slash = True
    return out


def _glob(segment: str) -> str:
    out, i = "", 0
    while i < len(segment):
        char = segment[i]
        i += 1
        if char == "\\":
            out += re.escape(segment[i]) if i < len(segment) else ""
            i += 1
        elif char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[":
            first = i + (segment[i : i + 1] == "!")
            end = segment.find("]", first + (segment[first : first + 1] == "]"))
            if end < 0:
                out += "\\["
                continue
            body = segment[i:end]
            sign = {"!": "^", "^": "\\^"}.get(body[:1], "")
            out += "[" + sign + (body[1:] if sign else body).replace("\\", "\\\\") + "]"
            i = end + 1
        else:
            out += re.escape(char)
    return out
