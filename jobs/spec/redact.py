"""What of a spec may be kept on disk and shown: everything but the values that look like secrets.

A rerun needs the spec, so it is kept whole where it can be. A value is withheld if the name it stands under announces a
secret (`HF_TOKEN`, `--password`), or if it has the form of one (a key's prefix, a URL with a password in it).

A text is read in two ways, and what either finds is withheld. As a command line: words as a shell makes them, where an
option or an assignment decides about the next word and a quoted command is read like the line it is. And as any text
(JSON, Python, YAML, headers, prose): a name, a sign, a value. Each takes time in proportion to the text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import secret_patterns
from .secret_names import STEM, Strength, names_a_secret, strength
from .shell_words import Word, words

__all__ = ["WITHHELD", "leaves", "metadata", "names_a_secret", "restore", "spec", "text"]

WITHHELD = "(withheld)"
# How often a command may be quoted inside a command: `ssh h "sh -c 'python -c ...'"`.
_MAX_DEPTH = 6

Span = tuple[int, int]

_NAME = r"[A-Za-z_][\w.\[\]-]*"
_OPTION = re.compile(rf"-{{1,2}}({_NAME})")
_ASSIGNMENT = re.compile(rf"[$({{\[+-]*({_NAME})\+?=")
_FIELD = re.compile(rf"({_NAME}):")
_REST_OF_NAME = re.compile(r"[\w.-]*")
# What follows a name in a text: its closing quote and bracket, and the sign before the value.
_SIGN = re.compile(
    r"""(?P<close>\\*["'`])?\]?[ \t]*
    (?:(?P<equal>[:+?]?=(?![=~])|=>) | (?P<same>==)(?=[ \t]*\\*["']) | (?P<colon>:(?![:/=-])) | (?P<comma>,))""",
    re.VERBOSE,
)
_BLANK = re.compile(r"(?:[ \t]|\\\r?\n)*")
_ANY_BLANK = re.compile(r"(?:\s|\\\r?\n)*")
_VALUE_FIELD = re.compile(r"""\\*["']value\\*["']\s*:\s*""")
_QUOTE = re.compile(r"""[A-Za-z]{0,2}(\\*)(["'`])""")
_QUOTES = re.compile(r"""(\\*)(["'`])""")
_BRACKETS = re.compile(r"[\[\]{}()]")
_BARE = re.compile(r"""[^\s"'`;&|]+""")
_BARE_FIELD = re.compile(r"""[^\s"'`]+""")
_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]*\r?\n(?P<indent>[ \t]+)")
_DEFAULT = re.compile(r"(\w+):?[-=+]([^}]*)")
_ELEMENT = re.compile(r">([^<]*)")
_SCHEME = re.compile(
    r"(?i)(?:basic|bearer|token|apikey|api-key|key|jwt|oauth|negotiate|ntlm|genie-?key|googlelogin|splunk)[ \t]+(?=\S)"
)
# A scheme with parameters, and any other scheme.
_PARAMETERS = re.compile(r"""(?i)(?:digest|aws4-[\w-]+|hawk|sharedkey(?:lite)?|sharedaccesssignature|mac)[ \t][^"'\n]+""")
_TWO_WORDS = re.compile(r"""[A-Za-z-]{1,24}[ \t]+[^\s"'`]+""")
_COOKIES = re.compile(r"""[^\s"'`;]+(?:;[ \t]*[^\s"'`;]+)*""")

_NO_SECRET = re.compile(
    r"(?:none|null|nil|true|false|undefined|str|bytes|string|bool|int|float|any|optional(?:\[.*)?|secretstr)?", re.IGNORECASE
)
_REFERENCE = re.compile(r"\$(?:[A-Z_][A-Z0-9_]*|\{[A-Za-z_]\w*\}|[0-9@*])|(?:os\.)?(?:environ\b|getenv\().*", re.DOTALL)
_SUBSTITUTION = re.compile(r"(?:\$\(|`)(?!\s*(?:echo|printf)\b)")
_SPECIAL_TOKEN = re.compile(r"<[|/]{0,2}[A-Za-z][\w-]*\|?>|\[[A-Z]+\]")
_PATH = re.compile(r"(?:~|\.{0,2})/[\w./-]*(?:\.\w{2,6}|/config)")
_NUMBER = re.compile(r"[\d.,]*")
_CHUNK = re.compile(r"[A-Za-z0-9+/]+")
_PASSWORD = re.compile(r"(?=.*[A-Za-z])(?=.*[^A-Za-z_-]).*", re.DOTALL)
_USER_AND_PASSWORD = re.compile(r"[^\s:/]+:[^\s:/]\S*")
_IDS = re.compile(r"\d+:\d+")

_URL = re.compile(r"""([A-Za-z][\w+.-]{0,30})?://([^\s"'`<>]*)""")
_URL_REFERENCE = re.compile(r"[^:]*:?\$\{?\w+\}?")
_PARAMETER = re.compile(r"(?i)(?<=[?&;])([\w.-]*)=([^&\s\"'`#;]+)")
_PARAMETER_NAME = re.compile(r"(?i)sig|token|credential|key|pass|pwd|secret|auth")


def text(value: str) -> str:
    """The text with what looks like a secret replaced. An entrypoint, a URL, a message."""
    for _ in range(3):  # A line whose quotes were part of a secret has other words afterwards.
        shown = secret_patterns.replace(value, _spans(value), WITHHELD)
        if shown == value:
            break
        value = shown
    return value


def metadata(value: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the values whose names announce a secret, and without what looks like one elsewhere."""
    return {name: inner for name, inner in leaves(value).items()}


def leaves(value: Any) -> Any:
    """`value` with every text in it as by `text`, and nothing under a name that announces a secret."""
    return _walk(value, "", False, [])


def spec(value: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The spec without its secrets, and the dotted paths of what was withheld, for `restore`."""
    withheld: list[str] = []
    # The names of resources are no names of secrets, and their values are numbers.
    kept = {
        key: inner if key == "entrypoint_resources" else _walk(inner, key, False, withheld)
        for key, inner in value.items()
    }
    return kept, withheld


def restore(
    kept: Mapping[str, Any], withheld: list[str], environ: Mapping[str, str] = os.environ
) -> tuple[dict[str, Any], list[str]]:
    """The spec with withheld `runtime_env.env_vars` taken from the environment, and the paths still missing."""
    whole = dict(kept)
    missing = []
    environment = dict(whole.get("runtime_env") or {})
    variables = dict(environment.get("env_vars") or {})
    for path in withheld:
        name = path.removeprefix("runtime_env.env_vars.")
        if name != path and name in environ:
            variables[name] = environ[name]
        else:
            missing.append(path)
    if variables:
        whole["runtime_env"] = {**environment, "env_vars": variables}
    return whole, missing


def _walk(value: Any, path: str, named: bool, withheld: list[str]) -> Any:
    """`value` without secrets; the paths of those are added to `withheld`. `named`: a name above announces one."""
    if isinstance(value, Mapping):
        # Kubernetes' form of a variable: {"name": "HF_TOKEN", "value": "..."}.
        by_name = isinstance(value.get("name"), str) and names_a_secret(value["name"])
        return {
            key: _walk(
                inner,
                f"{path}.{key}",
                named or names_a_secret(str(key)) or (by_name and key == "value"),
                withheld,
            )
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        after = _after_options(value)
        return [_walk(inner, f"{path}.{i}", named or i in after, withheld) for i, inner in enumerate(value)]
    if value is None or isinstance(value, bool) or value == "":
        return value
    if named:
        shown: Any = WITHHELD
    else:
        shown = text(value) if isinstance(value, str) else value
    if shown != value:
        withheld.append(path)
    return shown


def _after_options(arguments: Sequence[Any]) -> set[int]:
    """Which of a list of arguments are the values of options that name a secret, as in ["--token", "..."]."""
    return {
        i
        for i, (option, value) in enumerate(zip(arguments, arguments[1:], strict=False), 1)
        if isinstance(option, str)
        and isinstance(value, str)
        and (match := _OPTION.fullmatch(option))
        and not _OPTION.fullmatch(value)
        and _is_secret(match[1], value)
    }


def _spans(line: str, depth: int = 0) -> Iterator[Span]:
    """Where secrets stand in `line`."""
    yield from secret_patterns.spans(line)
    if "://" in line:
        yield from _in_urls(line)
    if "=" in line and ("?" in line or "&" in line):
        yield from _in_queries(line)
    if STEM.search(line):
        yield from _after_names(line)
    yield from _in_words(line, depth)


# --- A value, and whether it is a secret


def _is_secret(name: str, value: str, *, literal: bool = False) -> bool:
    """Whether the value of an option, a variable or a field of this name is to be withheld.

    Args:
        literal: In single quotes, where `$HF_TOKEN` is no variable.
    """
    sure = strength(name)
    if not sure or value == WITHHELD or _NO_SECRET.fullmatch(value):
        return False
    if not literal and (_REFERENCE.fullmatch(value) or _SUBSTITUTION.match(value)):
        return False
    lower = name.lower()
    if "token" in lower and _SPECIAL_TOKEN.fullmatch(value):
        return False
    if (lower.endswith(("credentials", "kubeconfig", "creds")) or lower in ("pwd", "oldpwd")) and _PATH.fullmatch(value):
        return False
    if sure is Strength.SURE:
        return True
    if name.isupper() and "_" in name:  # A variable: WANDB_KEY.
        return not _NUMBER.fullmatch(value)
    return _looks_secret(lower, value)


def _looks_secret(name: str, value: str) -> bool:
    if name.endswith("pass"):
        return bool(_PASSWORD.fullmatch(value))
    if name.endswith("auth") and _USER_AND_PASSWORD.fullmatch(value) and not _IDS.fullmatch(value):
        return True
    # Digits among letters, as in no column's name.
    return any(
        len(chunk) >= 16 and not chunk.isdigit() and not chunk.isalpha() for chunk in _CHUNK.findall(value)
    )


# --- The text as text


def _after_names(line: str) -> Iterator[Span]:
    """The values of names, whatever language the text is in. What precedes a name does not matter."""
    reader = _Reader(line)
    at = 0
    while hit := STEM.search(line, at):
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
            default = _DEFAULT.match(line, start)
            if default and _is_secret(default[1], default[2]):
                yield default.span(2)
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
            if _is_secret(name, element[1]):
                yield element.span(1)
            return
        sign = _SIGN.match(line, end)
        if not sign:
            if name.startswith("-") and line[end : end + 1].isspace() or line[end : end + 1] == "\\":
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
            if not sign["close"] and (rest := self._rest_of_yaml(start, at)):
                yield rest
                return
        after = (_ANY_BLANK if sign["close"] else _BLANK).match(line, at)
        value_at = after.end() if after else at
        if value_at > at and sign["equal"] and line[sign.start() : sign.start() + 1] in "=:+?" and name.isupper():
            return  # `HF_TOKEN= python t.py`: an empty value.
        yield from self._value(value_at, name, bool(sign["colon"]))

    def _option(self, name: str, end: int) -> Iterator[Span]:
        blank = _ANY_BLANK.match(self.line, end)
        if blank and not _OPTION.match(self.line, blank.end()):
            yield from self._value(blank.end(), name, False)

    def _next_argument(self, start: int, at: int, name: str) -> Iterator[Span]:
        """After `"--token", ` in a list, `("HF_TOKEN", ` in a call and `"name": "HF_TOKEN", "value": `."""
        line = self.line
        blank = _ANY_BLANK.match(line, at)
        at = blank.end() if blank else at
        if field := _VALUE_FIELD.match(line, at):
            at = field.end()
        elif not name.startswith("-") and "(" not in line[max(start - 4, 0) : start]:
            return
        if _QUOTE.match(line, at):
            yield from self._value(at, name, False)

    def _rest_of_yaml(self, start: int, at: int) -> Span | None:
        """In YAML of several lines: the rest of the line, or the lines of a block."""
        line = self.line
        begin = line.rfind("\n", max(0, start - 200), start)
        if begin < 0 or line[begin:start].strip(" \t\r\n-"):
            return None
        blank = _BLANK.match(line, at)
        at = blank.end() if blank else at
        if block := _BLOCK.match(line, at):
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
        if not value.strip() or value[0] in "\"'{[(" or not _is_secret(line[start : line.index(":", start)], value):
            return None
        return at, end

    def _value(self, at: int, name: str, is_field: bool) -> Iterator[Span]:
        line = self.line
        header = name.lower().rstrip("-")
        quote = _QUOTE.match(line, at)
        if quote:
            end = self._closing(quote.end(), len(quote[1]), quote[2])
            if end is not None:
                at = quote.end()
                if scheme := _SCHEME.match(line, at, end):
                    at = scheme.end()
                if _is_secret(name, line[at:end], literal=quote[2] == "'"):
                    yield at, end
                return
            at = quote.end()
        if header.endswith(("authorization", "cookie")):
            yield from self._header(at, header)
            return
        if line[at : at + 1] in ("{", "[") or (line[at : at + 1] == "(" and header.endswith("auth")):
            end = self._bracket(at)
            if line[at:end] not in (WITHHELD, "{}", "[]") and not _SPECIAL_TOKEN.fullmatch(line, at, end):
                if strength(name) is Strength.SURE or header.endswith("auth"):
                    yield at, end
                return
        bare = (_BARE_FIELD if is_field else _BARE).match(line, at)
        if bare is None:
            return
        value = bare[0]
        if value.startswith(WITHHELD) and not value[len(WITHHELD) :].strip(",;)]}\\"):
            return
        value = value.rstrip("\\") if line[bare.end() : bare.end() + 1] in ('"', "'") else value
        value = value.rstrip(",;)]}") or value
        if line.startswith("$(echo", at) or line.startswith("$(printf", at):
            yield at, self._bracket(at + 1)
        elif _is_secret(name, value):
            yield at, at + len(value)

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
        if match and not line.startswith(WITHHELD, at):
            value = match[0].rstrip("\\") if line[match.end() : match.end() + 1] in ('"', "'") else match[0]
            if not _REFERENCE.fullmatch(value):
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


# --- The text as a command line

# Options that carry a secret in one program only. The second expression is for a value in the same word.
_CURL = re.compile(r"-[a-zA-Z#]*[uUb]|--user|--proxy-user|--oauth2-bearer|--pass|--proxy-pass|--cookie")
_CURL_JOINED = re.compile(r"(?:-[sSfkLvgGiN#]*[uUb]|--(?:user|proxy-user|cookie)=)(?=.)")
_P = re.compile(r"-p|--password")
_P_JOINED = re.compile(r"-p(?=.)")
_NEVER = re.compile(r"(?!)")
_PROGRAMS: dict[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "curl": (_CURL, _CURL_JOINED),
    **dict.fromkeys(("http", "https", "xh"), (re.compile(r"-a|--auth"), re.compile(r"--auth=(?=.)"))),
    "sshpass": (_P, _P_JOINED),
    **dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mariadb"), (_NEVER, _P_JOINED)),
    **dict.fromkeys(("mongo", "mongosh", "mongodump"), (_P, _NEVER)),
    **dict.fromkeys(("redis-cli", "valkey-cli"), (re.compile(r"-a|--pass"), _NEVER)),
    **dict.fromkeys(("unzip", "zip"), (re.compile(r"-[a-zA-Z]*P"), _NEVER)),
    **dict.fromkeys(("7z", "7za", "7zz"), (_NEVER, _P_JOINED)),
    **dict.fromkeys(("ldapsearch", "ldapmodify"), (re.compile(r"-w"), re.compile(r"-w(?=.)"))),
    # `docker login -p`, but not `docker run -p`.
    "login": (_P, _NEVER),
}


def _in_words(line: str, depth: int) -> Iterator[Span]:
    """The secrets among the words of a command line, and in the commands that it quotes."""
    if not STEM.search(line) and not _names_a_program(line):
        return
    previous: list[Word] = []
    program: tuple[re.Pattern[str], re.Pattern[str]] | None = None
    for word in words(line):
        if word is None:
            previous, program = [], None
            continue
        text = word.text
        before = previous[-1] if previous else None
        if before and _asks_for_secret(previous, word, program):
            yield from _whole(word)
        elif (match := _ASSIGNMENT.match(text)) and strength(match[1]):
            yield from _assigned(word, match)
        elif program and (joined := program[1].match(text)):
            if text[joined.end() :] != WITHHELD and not _IDS.fullmatch(text, joined.end()):
                yield word.span(joined.end(), len(text))
        elif word.is_quoted and depth < _MAX_DEPTH:
            for start, end in _spans(text, depth + 1):
                yield word.span(start, end)
        program = _PROGRAMS.get(text.rpartition("/")[2], program) if text else program
        previous = [*previous[-4:], word]


def _names_a_program(line: str) -> bool:
    return any(program in line for program in _PROGRAMS)


def _asks_for_secret(
    previous: Sequence[Word], word: Word, program: tuple[re.Pattern[str], re.Pattern[str]] | None
) -> bool:
    before = previous[-1].text
    value = word.text
    literal = word.raw.startswith("'")
    if match := _OPTION.fullmatch(before):
        if program and program[0].fullmatch(before):
            return value != WITHHELD and not _REFERENCE.fullmatch(value)
        return not _OPTION.fullmatch(value) and _is_secret(match[1], value, literal=literal)
    if match := _FIELD.fullmatch(before):
        return not match[1].lower().endswith("authorization") and _is_secret(match[1], value, literal=literal)
    if not strength(before) or not _is_secret(before, value, literal=literal):
        return False
    earlier = [each.text for each in previous[:-1]]
    # netrc; `aws configure set NAME S`, `setenv NAME S`; `dvc remote modify origin NAME S`.
    if earlier[-1:] in (["set"], ["setenv"]) or "modify" in earlier or earlier[-2:-1] in (["login"], ["machine"]):
        return True
    return _looks_secret("", value)


def _whole(word: Word) -> Iterator[Span]:
    """The word within its quotes, and without what closes the list that it ends."""
    raw = word.raw
    if raw[0] == raw[-1] and raw[0] in "\"'" and len(raw) > 2 and raw.count(raw[0]) == 2:
        yield word.start + 1, word.end - 1
    elif word.is_quoted:
        yield word.start, word.end
    else:
        yield word.start, word.start + len(raw.rstrip(",;)]}") or raw)


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
        trimmed = value.rstrip(",;)]}") or value
        if value.startswith(WITHHELD) and not value[len(WITHHELD) :].strip(",;)]}"):
            return
        value, end = trimmed, start + len(trimmed)
    if _is_secret(match[1], value, literal=before.endswith("'")):
        yield start, end


# --- URLs


def _in_urls(line: str) -> Iterator[Span]:
    """The users and passwords of URLs. A password may have a `/` or an `@` in it, though it should not."""
    for match in _URL.finditer(line):
        scheme, rest = (match[1] or "").lower(), match[2]
        cut = rest.find("://")
        if cut >= 0:
            rest = rest[:cut]
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        user, colon, password = authority.partition(":")
        end = authority.rfind("@")
        if colon and not re.match(r"\d{0,5}(?:$|,)", password):
            end = rest.rfind("@")
        if end < 0:
            continue
        userinfo = rest[:end]
        if userinfo == WITHHELD or _URL_REFERENCE.fullmatch(userinfo):
            continue
        if not colon and (user.startswith("git@") or scheme.endswith(("ssh", "sftp"))):
            continue
        yield match.start(2), match.start(2) + end


def _in_queries(line: str) -> Iterator[Span]:
    """The parameters of URLs, whose names are shorter than those of variables: `sig`, `key`."""
    for match in _PARAMETER.finditer(line):
        if match[2] != WITHHELD and _PARAMETER_NAME.search(match[1]) and not _REFERENCE.fullmatch(match[2]):
            yield match.span(2)
