"""What of a spec may be kept on disk and shown: everything but the values that look like secrets.

A rerun needs the spec, so it is kept whole where it can be. A value is withheld if the name it stands under announces a
secret (`HF_TOKEN`, `--password`), or if it has the form of one (a key's prefix, a URL with a password in it).

A text is read in two ways, and what either finds is withheld. As a command line: words as a shell makes them, where an
option or an assignment decides about the next word and a quoted command is read like the line it is. And as any text
(JSON, Python, YAML, headers, prose): a name, a sign, a value. Each takes time in proportion to the text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import secret_patterns, secret_programs
from .secret_names import WITHHELD, Stems, names_a_secret

__all__ = ["WITHHELD", "leaves", "metadata", "names_a_secret", "restore", "spec", "text"]

# How often a command may be quoted inside a command: `ssh h "sh -c 'python -c ...'"`.
_MAX_DEPTH = 6
# Deeper values are withheld whole: no runtime_env is as deep, and Python's stack is not endless.
_DEEPEST = 100
# A line of which a quote was withheld has other words afterwards, and is read again. A text of this length always is.
_SHORT = 4096
_MOST_READINGS = 8
_QUOTES = frozenset("\"'`\\()[]{}\n")


def text(value: str) -> str:
    """The text with what looks like a secret replaced. An entrypoint, a URL, a message."""
    for _ in range(_MOST_READINGS):
        places = list(_spans(value))
        shown = secret_patterns.replace(value, places, WITHHELD)
        if shown == value:
            break
        again = len(value) <= _SHORT or any(not _QUOTES.isdisjoint(value[start:end]) for start, end in places)
        value = shown
        if not again:
            break
    return value


def metadata(value: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the values whose names announce a secret, and without what looks like one elsewhere."""
    shown: dict[str, str] = leaves(value)
    return shown


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


def _walk(value: Any, path: str, named: bool, withheld: list[str], depth: int = 0) -> Any:
    """`value` without secrets; the paths of those are added to `withheld`. `named`: a name above announces one."""
    if depth > _DEEPEST and isinstance(value, Mapping | list | tuple):
        withheld.append(path)
        return WITHHELD
    if isinstance(value, Mapping):
        # Kubernetes' form of a variable: {"name": "HF_TOKEN", "value": "..."}.
        by_name = isinstance(value.get("name"), str) and names_a_secret(value["name"])
        return {
            key: _walk(
                inner,
                f"{path}.{key}",
                named or names_a_secret(str(key)) or (by_name and key == "value"),
                withheld,
                depth + 1,
            )
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        after = _after_options(value)
        return [_walk(inner, f"{path}.{i}", named or i in after, withheld, depth + 1) for i, inner in enumerate(value)]
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
    """Which of a list of arguments are the values of options that carry a secret, as in ["--token", "..."]."""
    if not _needs_reading(" ".join(each for each in arguments if isinstance(each, str))):
        return set()
    from . import secret_arguments

    return secret_arguments.after_options(arguments)


def _spans(line: str, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Where secrets stand in `line`."""
    yield from secret_patterns.spans(line)
    if not _needs_reading(line):
        return
    # Only now: their expressions take 6 ms to compile, and most lines need neither.
    from . import secret_arguments, secret_fields

    yield from secret_fields.spans(line)
    nested = (lambda text: _spans(text, depth + 1)) if depth < _MAX_DEPTH else lambda _text: ()
    yield from secret_arguments.spans(line, nested)


def _needs_reading(line: str) -> bool:
    """Whether the text may hold a secret that only what stands around it tells."""
    return (
        ("://" in line and ("@" in line or "?" in line))
        or ("=" in line and "&" in line)
        or secret_programs.starts_one(line)
        or Stems(line).search() is not None
    )
