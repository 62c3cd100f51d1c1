"""`make docs`: writes the tables of docs/configuration.md from the settings in components/settings.

The page holds the prose and the place of each table:

    <!-- settings: clusters.head -->                                     one row a key of `clusters[].head`
    <!-- settings: clusters.workerGroups beyond clusters.head -->        only the rows that differ from the head's

A row is a field: its key, type and default from the annotation, its meaning from the docstring under it.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from components.settings import Settings
from components.settings.fields import Cpu, Memory, Model, model_in

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
TABLE = re.compile(r"(<!-- settings: (\S+)(?: beyond (\S+))? -->\n).*?(<!-- end of settings -->)", re.DOTALL)
STACK_FILE = "."
HEAD = "| key | type | default | meaning |\n|---|---|---|---|\n"


class Row(NamedTuple):
    key: str
    type: str
    default: str
    meaning: str

    def __str__(self) -> str:
        return f"| `{self.key}` | {self.type} | {self.default} | {self.meaning} |\n"


def filled(page: str) -> str:
    """The page with every table written anew. Raises KeyError for a marker whose key is not an object."""
    anchors = {match[2]: _anchor_above(page, match.start()) for match in TABLE.finditer(page)}

    def table(match: re.Match[str]) -> str:
        start, path, base, end = match.groups()
        shown = set(rows(base, anchors)) if base else set()
        return start + HEAD + "".join(str(row) for row in rows(path, anchors) if row not in shown) + end

    return TABLE.sub(table, page)


def _anchor_above(page: str, position: int) -> str:
    """The anchor of the last heading above `position`, as GitHub makes it."""
    heading = re.findall(r"^#+ (.+)$", page[:position], re.MULTILINE)[-1]
    return "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def rows(path: str, anchors: Mapping[str, str]) -> Iterator[Row]:
    """The rows of the object at `path`, such as `clusters.head`; objects in `anchors` are links to their own tables."""
    if path == STACK_FILE:
        return _rows(Settings, Settings(), anchors, "", "")
    model: type[Model] = Settings
    default: Any = Settings()
    for step in path.split("."):
        name = next((name for name, field in model.model_fields.items() if field.alias == step), "")
        inner = model_in(model.model_fields[name].annotation) if name else None
        if inner is None:
            raise KeyError(f"{path}: there is no object `{step}`")
        model, default = inner, getattr(default, name, None)
    return _rows(model, default, anchors, f"{path}.", "")


def _rows(model: type[Model], default: Any, anchors: Mapping[str, str], path: str, prefix: str) -> Iterator[Row]:
    hints = typing.get_type_hints(model, include_extras=True)
    meanings = docstrings(model)
    for name, field in model.model_fields.items():
        inner, kind = model_in(field.annotation), type_name(hints[name])
        value = getattr(default, name) if isinstance(default, model) else field.get_default()
        anchor = anchors.get(f"{path}{field.alias}")
        yield Row(
            key=f"{prefix}{field.alias}",
            type=f"[{kind}]({anchor})" if anchor else kind,
            default="required" if field.is_required() else default_text(value),
            meaning=" ".join(meanings.get(name, "").split()).replace("|", r"\|"),
        )
        if inner and not anchor and not kind.startswith("mapping"):
            below = f"{field.alias}[]." if kind.startswith("list") else f"{field.alias}."
            yield from _rows(inner, value, anchors, f"{path}{field.alias}.", prefix + below)


def default_text(value: Any) -> str:
    """A default as a stack file would hold it; empty if nothing is set, or if an object's keys have their own rows."""
    if value is None or value == "" or isinstance(value, Model):
        return ""
    if isinstance(value, str):
        return f"`{value}`"
    return f"`{json.dumps(value, default=lambda item: item.model_dump(exclude_unset=True))}`"


def type_name(hint: Any) -> str:
    """An annotation in the words of a stack file: `quantity`, `list of strings`, the choices of a Literal."""
    if hint in (Cpu, Memory):
        return "quantity"
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return type_name(inner[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_name(option) for option in inner if option is not type(None))
    if origin in (list, tuple):
        name = type_name(inner[0])
        return f"list of {name}s" if name.isalpha() else f"list of {name}"
    if origin is dict:
        return "object" if inner[1] is Any else "mapping"
    return {bool: "boolean", int: "integer", str: "string"}.get(hint, "object")


def docstrings(model: type[Model]) -> dict[str, str]:
    """The docstring under each field of a settings class, those of its base classes included."""
    texts: dict[str, str] = {}
    for base in reversed([base for base in model.__mro__ if issubclass(base, Model)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in itertools.pairwise(definition.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(docstring))),
                ):
                    texts[name] = docstring
    return texts
