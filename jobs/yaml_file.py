"""YAML of a file that another person may have written. No error quotes it, and its aliases do not multiply it.

One dialect everywhere: the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), with merge keys. So
`yes`, `on` and `22:22` are text here, as they are for Pulumi's engine. PyYAML itself reads YAML 1.1: True and 1342.
Here only its table of patterns is replaced: kr8s and Pulumi load PyYAML anyway, and ruamel.yaml would be another 20 ms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

# What the values are once every alias is replaced by what it stands for. A batch of 1,000 jobs has about 20,000.
MAX_VALUES = 200_000

_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
# What Go's readers take for a boolean or a number beyond both versions: kustomize has `n`, Pulumi's engine `0X1F`
# (resolve.go of gopkg.in/yaml.v2 and v3).
_GO = (
    ("bool", r"[yYnN]", list("yYnN")),
    ("int", r"[-+]?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9_]+)?", list("-+.0123456789")),
)
_AS_TYPED = "!as-typed"


class NotYaml(Exception):
    """Why a text cannot be used: a sentence without its subject and its full stop, such as `is not YAML at line 3`."""


class PlainText(str):
    """A scalar as it was typed, without quotes. YAML may read it as a number, a boolean or a date."""

    __slots__ = ()


def read_yaml(path: Path) -> Any:
    """Reads a YAML file. Raises NotYaml, OSError, UnicodeDecodeError."""
    return parse_yaml(path.read_text(encoding="utf-8"))


def parse_yaml(text: str) -> Any:
    """Reads a YAML text. Raises NotYaml."""
    import yaml

    return _document(_core_schema(yaml.SafeLoader), text)


def parse_as_typed(text: str) -> Any:
    """Reads a YAML text with each scalar as the text that was typed: PlainText without quotes, else str.

    An empty value is None. Raises NotYaml.
    """
    return _document(_as_typed(), text)


def parse_documents(text: str) -> list[Any]:
    """Reads all documents of a text that the project itself wrote or pinned. Raises yaml.YAMLError."""
    import yaml

    # The C parser reads the megabytes of CRDs ten times as fast.
    loader = _core_schema(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return [document for document in yaml.load_all(text, loader) if document is not None]


def dump_yaml(*documents: Any) -> str:
    """Writes documents, keys in their order. PlainText stays as it was typed.

    Text that YAML 1.1, 1.2 or Go would read as something else is quoted, such as `yes`, `1e3` and `N`: PyYAML's own
    writer knows 1.1 only.
    """
    import yaml

    return str(yaml.dump_all(documents, Dumper=_dumper(), sort_keys=False, width=120))


def reads_as_text(plain: str) -> bool:
    """Returns whether YAML 1.1, 1.2 and Go all read `plain`, written without quotes, as this very text."""
    return _tag(_dumper()(None), plain) == "tag:yaml.org,2002:str"


def _document(loader_class: Any, text: str) -> Any:
    import yaml

    try:
        loader = loader_class(text)
    except yaml.YAMLError:
        raise NotYaml("is not YAML: it has a control character") from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Before the objects are made: `<<: *name` copies what the alias stands for.
        if _count(node, {}) > MAX_VALUES:
            raise NotYaml(f"has more than {MAX_VALUES} values once its aliases are replaced by what they stand for")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYaml(f"is not YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    except RecursionError:
        raise NotYaml("is nested too deeply") from None
    except ValueError:  # such as a number of 5,000 digits
        raise NotYaml("has a value that is not valid YAML, such as a number with too many digits") from None
    finally:
        loader.dispose()


@cache
def _core_schema(base: Any) -> Any:
    """A loader of PyYAML with the core schema of YAML 1.2."""

    class CoreSchema(base):  # type: ignore[misc]
        yaml_implicit_resolvers: Any = {}  # noqa: RUF012

    _add_patterns(CoreSchema, _CORE_SCHEMA)
    CoreSchema.add_constructor("tag:yaml.org,2002:int", _whole_number)
    return CoreSchema


@cache
def _as_typed() -> Any:
    import yaml

    class AsTyped(yaml.SafeLoader):
        yaml_implicit_resolvers: Any = {}  # noqa: RUF012

    AsTyped.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])
    AsTyped.add_implicit_resolver(_AS_TYPED, re.compile(""), None)
    AsTyped.add_constructor(_AS_TYPED, lambda _, node: PlainText(node.value) if node.value else None)
    return AsTyped


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    _add_patterns(Dumper, _CORE_SCHEMA + _GO)  # to PyYAML's own patterns of YAML 1.1
    # With the tag that a reader would give it, a scalar needs no quotes.
    Dumper.add_representer(PlainText, lambda dumper, text: dumper.represent_scalar(_tag(dumper, text), str(text)))
    return Dumper


def _tag(resolver: Any, plain: str) -> str:
    import yaml

    return str(resolver.resolve(yaml.ScalarNode, plain, (True, False)))


def _add_patterns(resolver: Any, patterns: Sequence[tuple[str, str, list[str]]]) -> None:
    for name, pattern, first in patterns:
        resolver.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), first)


def _whole_number(loader: Any, node: Any) -> int:
    text: str = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _count(node: Any, counts: dict[int, int]) -> int:
    """Counts the values in a node, with each alias as what it stands for."""
    known = counts.get(id(node))
    if known == 0:
        raise NotYaml("has an alias that contains itself")
    if known is not None:
        return known
    counts[id(node)] = 0
    total = 1
    if isinstance(node.value, list):
        for child in node.value:
            total += sum(_count(part, counts) for part in (child if isinstance(child, tuple) else (child,)))
    counts[id(node)] = total
    return total
