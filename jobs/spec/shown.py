"""How a text of others may be shown: cut, without what looks like a secret, with visible control characters. Pure.

Entrypoints, messages, metadata and errors come from servers and from other users of a cluster. `shown` is their one way
to a terminal, to an error and into a CI log. The exception is the log of a job: its bytes are never changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import number_of
from . import redact

# The longest text that is shown. Linux runs no entrypoint that is longer.
TEXT_LIMIT = 128 * 1024
# What a table and a sentence show of a text.
CELL_LIMIT, SENTENCE_LIMIT = 60, 4096
# A secret that the cut goes through is recognised by what follows the cut.
_MARGIN = 2048

# C0 and C1, DEL, the marks and overrides of writing direction, the separators that some programs take for a new line,
# and halves of surrogate pairs, which no terminal can print.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_HIDDEN_IN_LINES = re.compile(f"[{_CONTROL}]")
_HIDDEN_IN_LINE = re.compile(f"[{_CONTROL}\\t\\n]")
# Commands to CI runners: `::error ...` where a line begins, `##[error]...` and `##vso[...]` anywhere.
_COMMAND_OF_LINE = re.compile(r"^([ \t]*):(?=:)", re.MULTILINE)
_COMMAND_ANYWHERE = re.compile(r"##(?=\w*\[)")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: str, limit: int = TEXT_LIMIT, *, lines: bool = False) -> str:
    """The text for people.

    Args:
        text: A text of others.
        limit: The number of characters after which it is cut.
        lines: Keep the ends of lines and tabs. Otherwise the result is one line.
    """
    clean = visible(redact.text(text[: limit + _MARGIN]), lines=lines)
    return clean if len(text) <= limit else f"{clean[:limit]} ... ({number_of(len(text) - limit, 'more character')})"


def cell(text: str) -> str:
    """The beginning of the text for a table: words on one line."""
    return visible(" ".join(redact.text(text[: CELL_LIMIT + _MARGIN]).split()))[:CELL_LIMIT]


def visible(text: str, *, lines: bool = False) -> str:
    """The text with control characters as escapes, such as `\\x1b`, and without commands to CI runners.

    Args:
        text: Of anybody, or one that contains such a text.
        lines: Keep the ends of lines and tabs.
    """
    hidden = _HIDDEN_IN_LINES if lines else _HIDDEN_IN_LINE
    text = hidden.sub(_escape, text.replace("\r\n", "\n") if lines else text)
    return _COMMAND_ANYWHERE.sub("# #", _COMMAND_OF_LINE.sub(r"\1: ", text))


def visible_json(value: Any, *, indent: int | None = None) -> str:
    """JSON that a terminal and a CI log can show. A program reads the same values from it."""
    text = _HIDDEN_IN_LINES.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, indent=indent, ensure_ascii=False)
    )
    return _COMMAND_ANYWHERE.sub(r"#\\u0023", text)


def redacted(value: Any) -> Any:
    """A JSON value without what looks like a secret; a text longer than TEXT_LIMIT is cut first."""
    return redact.leaves(_cut(value))


def redacted_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The same of metadata, whose names tell which values are secrets."""
    return redact.metadata(_cut(metadata))


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return (
            value
            if len(value) <= TEXT_LIMIT
            else f"{value[:TEXT_LIMIT]} ... ({number_of(len(value) - TEXT_LIMIT, 'more character')})"
        )
    if isinstance(value, Mapping):
        return {key: _cut(inner) for key, inner in value.items()}
    return [_cut(inner) for inner in value] if isinstance(value, list | tuple) else value


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return _SHORT_ESCAPES.get(found[0]) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")
