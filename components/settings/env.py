"""Environment variables of a container: their values, and the order in which Kubernetes expands them; pure.

Kubernetes replaces `$(NAME)` in a value by a variable that comes earlier in the list, and leaves it as it is otherwise.
`$$(NAME)` stays `$(NAME)`. A mapping has no order, and Pulumi's engine sorts its keys.
Source: EnvVar.value in k8s.io/api/core/v1, and third_party/forked/golang/expansion/expand.go.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from components.settings.fields import EnvName, Model, ObjectName, Text

# `$$` first: after it a parenthesis is only text.
REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")

SELF_REFERENCE = "refers to itself, and Kubernetes does not know the variables of the image; allowed: the whole value"


class SecretKey(Model):
    """One key of a Secret in the namespace of the pod."""

    secret: ObjectName
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1)]
    """Key in the Secret."""


class EnvSource(Model):
    """A value that Kubernetes finds, such as a field of the pod."""

    value_from: dict[str, Any]
    """As in a container of Kubernetes."""


def _branch(value: Any) -> str:
    if isinstance(value, EnvSource) or (isinstance(value, Mapping) and "valueFrom" in value):
        return "<from>"
    return "<secret>" if isinstance(value, (Mapping, SecretKey)) else "<text>"


EnvValue = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[SecretKey, Tag("<secret>")] | Annotated[EnvSource, Tag("<from>")],
    Discriminator(_branch),
]


def references(value: Any) -> list[str]:
    """Returns the names that Kubernetes looks up in a value."""
    return [name for name in REFERENCE.findall(value) if name] if isinstance(value, str) else []


def self_references(env: Mapping[str, Any]) -> list[str]:
    """Returns the variables that refer to themselves, such as `PATH: /opt/bin:$(PATH)`."""
    return [name for name, value in env.items() if name in references(value)]


def in_order(env: Mapping[str, Any]) -> list[str]:
    """Returns the names with each variable after those that it refers to, and otherwise in their order.

    Raises:
        ValueError: variables refer to each other in a circle.
    """
    ordered: dict[str, None] = {}
    for first in env:
        path = [first]  # each is needed by the one before it
        while path:
            missing = next((name for name in _needed(env, path[-1]) if name not in ordered), None)
            if missing is None:
                ordered[path.pop()] = None
            elif missing in path:
                circle = " -> ".join([*path[path.index(missing) :], missing])
                raise ValueError(f"{circle}: they refer to each other in a circle; write the value of one of them")
            else:
                path.append(missing)
    return list(ordered)


def _needed(env: Mapping[str, Any], name: str) -> list[str]:
    return [other for other in references(env[name]) if other in env and other != name]


def _by_name(value: Any) -> Any:
    """Turns a list of variables, as a container of Kubernetes has them, into a mapping. The list keeps its order."""
    if not isinstance(value, list):
        return value
    names = [item["name"] for item in value if isinstance(item, Mapping) and isinstance(item.get("name"), str)]
    if len(names) < len(value):
        raise ValueError("every variable in a list requires a `name`; allowed: {name, value} or {name, valueFrom}")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"names used twice: {', '.join(repeated)}; allowed: each name once")
    _check_list(names, value)
    return {item["name"]: _value(item) for item in value}


def _check_list(names: Sequence[str], items: Sequence[Mapping[str, Any]]) -> None:
    for index, item in enumerate(items):
        for name in references(item.get("value")):
            if name in names[index + 1 :]:
                text = "Kubernetes expands only variables that come earlier in the list"
                raise ValueError(f"{names[index]} refers to {name}; {text}; allowed: {name} before {names[index]}")


def _value(item: Mapping[str, Any]) -> Any:
    rest = {key: value for key, value in item.items() if key != "name"}
    return rest.get("value", "") if rest.keys() <= {"value"} else rest


def _expandable(env: dict[str, Any]) -> dict[str, Any]:
    return {name: env[name] for name in in_order(env)}


Env = Annotated[dict[EnvName, EnvValue], BeforeValidator(_by_name), AfterValidator(_expandable)]
