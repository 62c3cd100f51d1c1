"""Secrets in a text of any kind (JSON, Python, YAML, headers, prose): a name, a sign, a value; and in URLs.

Every function takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .secret_names import WITHHELD, Stems, Strength, names_a_secret, strength
from .secret_values import FLAG, SPECIAL_TOKEN, is_reference, is_secret, is_withheld, trimmed

Span = tuple[int, int]

# A value of this many letters is judged by these.
_LONG = 256

_FLAG_NEXT = re.compile(rf"(?:{FLAG.pattern})(?![^\s\"'`])")
_REST_OF_NAME = re.compile(r"[\w.-]*")
# What follows a name in a text: its closing quote and bracket, and the sign before the value.
_SIGN = re.compile(
    r"""(?:\[\w*\])?(?P<close>\\*["'`])?\]?[ \t]*
    (?:(?P<equal>[:+?]?=(?![=~])|=>) | (?P<same>==)(?=[ \t]*\\*["']) | (?P<colon>:(?![:/=-])) | (?P<comma>,))""",
    re.VERBOSE,
)
_BLANK = re.compile(r"(?:[ \t]|\\\r?\n)*")
_ANY_BLANK = re.compile(r"(?:\s|\\\r?\n)*")
_VALUE_FIELD = re.compile(r"""\\*["']value\\*["']\s*:\s*""")
_CALL = re.compile(r"""[\w\[]\([ \t]*\\*["']\Z""")
# Python's prefixes: b"...", rf"..."
_QUOTE = re.compile(r"""(?:[bBfF][rR]?|[rR][bBfF]?|[uU])?(\\*)(["'`])""")
_QUOTES = re.compile(r"""(\\*)(["'`])""")
_BRACKETS = re.compile(r"[\[\]{}()]")
_BARE = re.compile(r"""[^\s"'`;&|]+""")
_BARE_FIELD = re.compile(r"""[^\s"'`]+""")
_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]*\r?\n(?P<indent>[ \t]+)")
_ECHO = re.compile(r"\$\(\s*(?:echo|printf)\b")
_NETRC = re.compile(r"\blogin\s+\S+\s+password\s+([^\s\"'\\]+)")
_DEFAULT = re.compile(r"(\w+):?[-=+](?P<value>[^}]*\}?)")
_ELEMENT = re.compile(r">([^<]*)</")
_SCHEME = re.compile(
    r"(?i)(?:basic|bearer|token|apikey|api-key|key|jwt|oauth|negotiate|ntlm|genie-?key|googlelogin|splunk)[ \t]+(?=\S)"
)
# A scheme with parameters, and any other scheme.
_PARAMETERS = re.compile(r"""(?i)(?:digest|aws4-[\w-]+|hawk|mac|sharedkey(?:lite)?|sharedaccess\w+)[ \t][^"'\n]+""")
_TWO_WORDS = re.compile(r"""[A-Za-z-]{1,24}[ \t]+[^\s"'`]+""")
_COOKIES = re.compile(r"""[^\s"'`;]+(?:;[ \t]*[^\s"'`;]+)*""")

_URL = re.compile(r"([A-Za-z][\w+.-]{0,30})?://")
_URL_END = re.compile(r"""[^\s"'`<>]*""")
_AUTHORITY = re.compile(r"""[^\s"'`<>/?#]*""")
_PORT = re.compile(r"\d{0,5}(?:[,\]].*)?", re.DOTALL)
_URL_REFERENCE = re.compile(r"[^:]*:?\$(?:[A-Z_][A-Z0-9_]*|\{\w+\})")
_PARAMETER = re.compile(r"(?i)(?<=[?&;])([\w.-]*)=([^&\s\"'`#;]+)")


def spans(line: str) -> Iterator[Span]:
    """Where secrets stand in `line`, whatever language it is in."""
    if "://" in line:
        yield from _in_urls(line)
    if "=" in line and ("?" in line or "&" in line):
        yield from _in_queries(line)
    if "login" in line and "password" in line:
        for match in _NETRC.finditer(line):
            if not is_withheld(match[1]):
                yield match.span(1)
    yield from _after_names(line)


def _after_names(line: str) -> Iterator[Span]:
    """The values of names, whatever language the text is in. What precedes a name does not matter."""
    reader, stems = _Reader(line), Stems(line)
    at = 0
    while hit := stems.search(at):
        start = hit.start()
        while start > at and (line[start - 1].isalnum() or line[start - 1] in "_.-"):
            start -= 1
        if start and line[start - 1] == "\\" and line[start] in "nrt" and start < hit.start():
            start += 1  # "...\nHF_TOKEN="
        at = _REST_OF_NAME.match(line, hit.end()).end()  # type: ignore[union-attr]
        name = line[start:at]
        if line[start - 1 : start] == "$":
            continue
        if line[max(start - 2, 0) : start] == "${":
            if strength(name) and (default := _DEFAULT.match(line, start)):
                # `${A:-${B}}` has two brackets at its end; the value was matched with one of them.
                value = default["value"]
                at = default.end()
                if is_secret(default[1], value if value.startswith("${") else value.rstrip("}")):
                    yield default.start("value"), default.start("value") + len(value.rstrip("}"))
            continue
        if not strength(name):
            continue
        for span in reader.values(start, at, name):
            if span[0] < span[1]:
                yield span
                at = max(at, span[1])


class _Reader:
    """Reads the values in one text. A search that failed is not made again: it would fail again."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.unclosed: dict[tuple[int, str], int] = {}

    def values(self, start: int, end: int, name: str) -> Iterator[Span]:
        """The secrets under the name at [start, end)."""
        line = self.line
        before = line[start - 1 : start]
        if before == "<" and (element := _ELEMENT.match(line, end)):
            if is_secret(name, element[1]):
                yield element.span(1)
            return
        sign = _SIGN.match(line, end)
        if not sign:
            if name.startswith("-") and (line[end : end + 1].isspace() or line[end : end + 1] == "\\"):
                yield from self._option(name, end)
            return
        at = sign.end()
        if sign["comma"]:
            if sign["close"]:
                yield from self._next_argument(start, at, name)
            return
        if sign["colon"]:
            if before == "/":  # An image: registry/auth-token:1.2
                return
            if not sign["close"] and (rest := self._rest_of_yaml(start, at, name)):
                yield rest
                return
        after = (_ANY_BLANK if sign["close"] else _BLANK).match(line, at)
        value_at = after.end() if after else at
        if value_at > at and sign["equal"] and line[sign.start() : sign.start() + 1] in "=:+?" and name.isupper():
            return  # `HF_TOKEN= python t.py`: an empty value.
        yield from self._value(value_at, name, bool(sign["colon"]))

    def _option(self, name: str, end: int) -> Iterator[Span]:
        blank = _ANY_BLANK.match(self.line, end)
        if blank and not _FLAG_NEXT.match(self.line, blank.end()):
            yield from self._value(blank.end(), name, False)

    def _next_argument(self, start: int, at: int, name: str) -> Iterator[Span]:
        """After `"--token", ` in a list, `("HF_TOKEN", ` in a call and `"name": "HF_TOKEN", "value": `."""
        line = self.line
        blank = _ANY_BLANK.match(line, at)
        at = blank.end() if blank else at
        if field := _VALUE_FIELD.match(line, at):
            at = field.end()
        elif not name.startswith("-") and not _CALL.search(line, max(start - 6, 0), start):
            return
        quote = _QUOTE.match(line, at)
        if quote and not _FLAG_NEXT.match(line, quote.end()):
            yield from self._value(at, name, False)

    def _rest_of_yaml(self, start: int, at: int, name: str) -> Span | None:
        """In YAML of several lines: the rest of the line, or the lines of a block."""
        line = self.line
        begin = line.rfind("\n", max(0, start - 200), start)
        if begin < 0 or line[begin:start].strip(" \t\r\n-"):
            return None
        blank = _BLANK.match(line, at)
        at = blank.end() if blank else at
        if strength(name) is Strength.SURE and (block := _BLOCK.match(line, at)):
            end = at = block.start("indent")
            while line.startswith(block["indent"], at) or line[at : at + 1] == "\n":
                end = line.find("\n", at)
                if end < 0:
                    return block.start("indent"), len(line)
                at = end + 1
            return block.end(), end
        end = line.find("\n", at)
        end = len(line) if end < 0 else end
        value = line[at:end]
        if not value.strip() or value[0] in "\"'{[(" or not is_secret(name, value):
            return None
        return at, end

    def _value(self, at: int, name: str, is_field: bool) -> Iterator[Span]:
        line = self.line
        header = name.lower().rstrip("-")
        quote = _QUOTE.match(line, at)
        if quote and line.startswith(quote[2] * 2, quote.end()) and not quote[1]:
            start, closing = quote.end() + 2, line.find(quote[2] * 3, quote.end() + 2)
            if is_secret(name, line[start : start + _LONG if closing < 0 else min(closing, start + _LONG)]):
                yield start, len(line) if closing < 0 else closing
            return
        if quote:
            end = self._closing(quote.end(), len(quote[1]), quote[2])
            if end is not None:
                at = quote.end()
                if scheme := _SCHEME.match(line, at, end):
                    at = scheme.end()
                if is_secret(name, line[at:end], literal=quote[2] == "'"):
                    yield at, end
                return
            at = quote.end()
        if header.endswith(("authorization", "cookie")):
            yield from self._header(at, header)
            return
        brackets = "([{" if header.endswith("auth") else "[{" if strength(name) is Strength.SURE else ""
        if line[at : at + 1] in tuple(brackets) and not line.startswith(WITHHELD, at):
            end = self._bracket(at)
            if line[at:end] not in ("{}", "[]", "()") and not SPECIAL_TOKEN.fullmatch(line, at, end):
                yield at, end
            return
        if _ECHO.match(line, at):
            yield at, self._bracket(at + 1)
            return
        # Judged by its beginning, so that many names before one long word are not as many long words.
        expression = _BARE_FIELD if is_field else _BARE
        bare = expression.match(line, at, at + _LONG)
        if bare and is_secret(name, bare[0]):
            bare = expression.match(line, at)
            yield at, at + len(trimmed(bare[0]))  # type: ignore[index]

    def _header(self, at: int, header: str) -> Iterator[Span]:
        line = self.line
        if header.endswith("cookie"):
            match = _COOKIES.match(line, at)
        else:
            if scheme := _SCHEME.match(line, at):
                at = scheme.end()
                match = _BARE_FIELD.match(line, at)
            else:
                match = _PARAMETERS.match(line, at) or _TWO_WORDS.match(line, at) or _BARE_FIELD.match(line, at)
        if match:
            value = match[0].rstrip("\\")
            if not is_withheld(value) and not is_reference(value):
                yield at, at + len(value)

    def _closing(self, at: int, backslashes: int, quote: str) -> int | None:
        """Where the quote ends that began before `at`; None if it does not."""
        if self.unclosed.get((backslashes, quote), len(self.line) + 1) <= at:
            return None
        for match in _QUOTES.finditer(self.line, at):
            count = len(match[1])
            if match[2] == quote and (count == backslashes or (backslashes == 0 and count % 2 == 0)):
                return match.start() if count == backslashes else match.start() + count
        self.unclosed[backslashes, quote] = at
        return None

    def _bracket(self, at: int) -> int:
        """Where the bracket at `at` is closed; the end of the text if it is not."""
        depth = 0
        for match in _BRACKETS.finditer(self.line, at):
            depth += 1 if match[0] in "[{(" else -1
            if depth == 0:
                return match.end()
        return len(self.line)


def _in_urls(line: str) -> Iterator[Span]:
    """The users and passwords of URLs. A password may have a `/` or an `@` in it, though it should not."""
    run_end = last_at = at = 0
    for match in _URL.finditer(line):
        start = match.end()
        if start < at:
            continue
        if start >= run_end:
            run_end = _URL_END.match(line, start).end()  # type: ignore[union-attr]
            last_at = line.rfind("@", start, run_end)
        authority = _AUTHORITY.match(line, start)[0]  # type: ignore[index]
        user, colon, password = authority.partition(":")
        end = start + authority.rfind("@")
        if colon and not _PORT.fullmatch(password):
            end = last_at
        if end < start or is_withheld(line[start:end]) or _URL_REFERENCE.fullmatch(line, start, end):
            continue
        if not colon and (user.startswith("git@") or (match[1] or "").lower().endswith(("ssh", "sftp"))):
            continue
        yield start, end
        at = end


def _in_queries(line: str) -> Iterator[Span]:
    """The parameters of URLs, whose names are shorter than those of variables: `sig`, `key`."""
    for match in _PARAMETER.finditer(line):
        if names_a_secret(match[1]) and not is_withheld(match[2]) and not is_reference(match[2]):
            yield match.span(2)
