"""Types that all settings share: strict values, camelCase keys, errors with the key, the value and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from components.errors import error_of_problems
from components.settings import as_typed
from jobs.errors import did_you_mean
from jobs.kubernetes.quantities import parse_quantity


class Model(pydantic.BaseModel):
    """Base of all settings: immutable, no unknown keys, no conversion between types, keys in camelCase."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


class FieldProblems(ValueError):
    """Problems of one object of the settings, collected and raised together.

    Each is a key below the object (empty: the object itself) and a text.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__()
        self.problems = list(problems)

    def __str__(self) -> str:
        return "; ".join(f"{key}: {text}" for key, text in self.problems)

    def add(self, key: str, text: str) -> None:
        self.problems.append((key, text))

    def raise_if_any(self) -> None:
        if self.problems:
            raise self


def _quantity(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and parse_quantity(value) <= 0:
        raise ValueError("must be above zero; allowed: a value such as 500m or 2 (CPUs), 512Mi or 4Gi (bytes)")
    return value


def _memory(value: Any) -> Any:
    value = _quantity(value)
    if isinstance(value, str) and parse_quantity(value) < 1024 * 1024:
        raise ValueError("less than 1Mi, the unit is missing; allowed: a value such as 512Mi or 4Gi")
    return value


def _cpu(value: Any) -> Any:
    value = _quantity(value)
    if isinstance(value, str) and not re.fullmatch(r"[\d.]+m?", value):
        raise ValueError("not a number of CPUs; allowed: a value such as 500m or 2")
    return value


def switch(value: Any) -> Any:
    """`true` is an object with the defaults, `false` is none."""
    if isinstance(value, bool):
        return {} if value else None
    if isinstance(value, (str, int, float)):
        raise ValueError("allowed: true, false, or an object")
    return value


UNQUOTED = "unquoted"


def _text(value: Any, info: pydantic.ValidationInfo) -> Any:
    """Numbers and booleans as text: people write them in YAML where Ray and Kubernetes require text."""
    if not isinstance(value, (bool, int, float)):
        return value
    if info.context == UNQUOTED:  # the search for them, see parse
        raise PydanticCustomError(UNQUOTED, UNQUOTED)
    return as_typed.text_of(value)


def matching(pattern: str, allowed: str, wrong: str = "does not have the required form") -> pydantic.AfterValidator:
    """Validates text by a regular expression.

    Args:
        pattern: the expression that the whole text has to match.
        allowed: the part of the error after "allowed:".
        wrong: the part of the error before it.
    """

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{wrong}; allowed: {allowed}")
        return value

    return pydantic.AfterValidator(check)


def version_like(pattern: str, example: str) -> pydantic.AfterValidator:
    """Validates a version of the form of `example`."""
    return matching(pattern, f"the form {example}", "not a version")


def _name(pattern: str, limit: int, allowed: str) -> pydantic.AfterValidator:
    def check(value: str) -> str:
        if len(value) > limit or not re.fullmatch(pattern, value):
            raise ValueError(f"not a valid name; allowed: {allowed}, at most {limit} characters")
        return value

    return pydantic.AfterValidator(check)


LABEL_NAME = r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?"
LABEL_PREFIX = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def label_key_problem(key: str) -> str | None:
    """Returns why `key` cannot be the key of a label or an annotation; None: it can."""
    prefix, slash, name = key.rpartition("/")
    valid = re.fullmatch(LABEL_NAME, name) and (
        not slash or (len(prefix) <= 253 and re.fullmatch(LABEL_PREFIX, prefix))
    )
    return None if valid else "not a key; allowed: a name such as team or example.com/team"


def label_value_problem(value: str) -> str | None:
    """Returns why `value` cannot be the value of a label; None: it can."""
    if not value or re.fullmatch(LABEL_NAME, value):
        return None
    return "not a label value; allowed: A-Z, a-z, 0-9, inner -, _ and dots, at most 63 characters"


def _label_key(value: str) -> str:
    if text := label_key_problem(value):
        raise ValueError(text)
    return value


def _label_value(value: str) -> str:
    if text := label_value_problem(value):
        raise ValueError(text)
    return value


def namespace_problem(name: str) -> str | None:
    """Returns why a stack must not create, and so later delete, the namespace; None: it may."""
    if name == "default" or name.startswith("kube-"):
        return f"true: namespace {name} belongs to Kubernetes itself; allowed: false"
    return None


Cpu = Annotated[str, pydantic.BeforeValidator(_cpu)]
Memory = Annotated[str, pydantic.BeforeValidator(_memory)]
Text = Annotated[str, pydantic.BeforeValidator(_text)]
LabelKey = Annotated[str, pydantic.AfterValidator(_label_key)]
Labels = dict[LabelKey, Annotated[Text, pydantic.AfterValidator(_label_value)]]
Annotations = dict[LabelKey, Text]
EnvName = Annotated[str, matching(r"[-._A-Za-z][-._A-Za-z0-9]*", "letters, digits, _, - and dots, no digit first")]
Image = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][-.A-Za-z0-9]*(:\d+)?(/[a-z0-9][-._a-z0-9]*)*(:\w[-.\w]{0,127})?(@\w+:[0-9a-fA-F]+)?",
        "registry/name:tag or registry/name@digest, with the name in lower case",
        "not an image reference",
    ),
]
Int32 = Annotated[int, pydantic.Field(ge=-(2**31), le=2**31 - 1)]
HOST = rf"(?=.{{1,253}}$){LABEL_PREFIX}"


Namespace = Annotated[str, _name(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63, "a-z, 0-9 and inner dashes")]
ObjectName = Annotated[str, _name(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", 253, "a-z, 0-9, inner dashes and dots")]
# Names of pods and services are built from these. 53 is KubeRay's own limit (its utils/validation.go).
ClusterName = Annotated[str, _name(r"[a-z]([-a-z0-9]*[a-z0-9])?", 53, "a-z first, then a-z, 0-9 and inner dashes")]
GroupName = Annotated[str, _name(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", 50, "a-z, 0-9 and inner dashes")]

AnyModel = TypeVar("AnyModel", bound=Model)


def parse(model: type[AnyModel], raw: Mapping[str, Any], typed: Mapping[str, Any] | None = None) -> AnyModel:
    """Reads settings of one class from their mapping in a stack file.

    Args:
        model: the class.
        raw: the mapping.
        typed: the same mapping as it was typed (jobs.yaml_file.parse_as_typed), where it is known. With it, a number or
            a boolean that stands for text must have the text that was typed. None: `raw` does not come from a file.

    Raises:
        StackError: `raw` cannot be used; the message lists all problems, one a line.
    """
    content = json.dumps(raw, default=str)
    problems = set() if typed is None else {*_changed_text(raw, typed), *_unquoted_text(model, content, typed)}
    try:
        settings = model.model_validate_json(content)
    except pydantic.ValidationError as error:
        problems |= set(_error_lines(model, error))
    if problems:
        raise error_of_problems("The stack's configuration cannot be used:", sorted(problems))
    return settings


QUOTE = "YAML does not keep this text, it reads a number, a boolean or a date; write it in quotes"


def _unquoted_text(model: type[Model], content: str, typed: Mapping[str, Any]) -> Iterator[str]:
    """Numbers and booleans that stand for text, and whose text was another one or is not known."""
    try:
        model.model_validate_json(content, context=UNQUOTED)
    except pydantic.ValidationError as error:
        for entry in error.errors(include_url=False):
            if entry["type"] == UNQUOTED:
                text = as_typed.at(typed, [step for step in entry["loc"] if not _is_branch(step)])
                if text != as_typed.text_of(entry["input"]):
                    shown = text if isinstance(text, str) else entry["input"]
                    yield f"{_path(entry['loc'])}: {_shown(shown, entry['loc'], UNQUOTED)}: {QUOTE}"


def _changed_text(raw: Mapping[str, Any], typed: Mapping[str, Any]) -> Iterator[str]:
    for location, text in as_typed.changed(raw, typed):
        yield f"{_path(location)}: {_shown(text, location, UNQUOTED)}: {QUOTE}"


def _error_lines(model: type[Model], error: pydantic.ValidationError) -> Iterator[str]:
    for entry in error.errors(include_url=False):
        loc, context = entry["loc"], entry.get("ctx", {})
        cause = context.get("error")
        if isinstance(cause, FieldProblems):
            yield from (f"{_path((*loc, key) if key else loc)}: {text}" for key, text in cause.problems)
            continue
        if entry["type"] == "extra_forbidden":
            keys = _keys_at(model, loc[:-1])
            text = f"unknown key; {did_you_mean(str(loc[-1]), keys, sentence=False)}allowed: {', '.join(keys)}"
        elif entry["type"] == "missing":
            text = "is missing"
        else:
            reason = str(cause) if cause else _reason(entry["type"], entry["msg"], context)
            text = f"{_shown(entry['input'], loc, entry['type'])}: {reason}"
        yield f"{_path(loc)}: {text}"


OBJECT_EXPECTED = ("model_type", "model_attributes_type", "dict_type")


def _reason(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return f"allowed: {context['expected']}".replace("'", "")
    if kind in OBJECT_EXPECTED:
        return "allowed: an object"
    if kind in ("list_type", "tuple_type"):
        return "allowed: a list"
    if kind == "string_type":
        return "allowed: text (put it in quotes where YAML would read a number)"
    return message.replace("Input should be", "allowed:").replace("a valid ", "")


def _path(loc: Sequence[int | str]) -> str:
    path = ""
    for step in loc:
        if _is_branch(step):
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _is_branch(step: int | str) -> bool:
    """Returns whether a step is Pydantic's name for the branch of a union or for the key of a mapping."""
    return str(step).startswith(("<", "["))


# People write a secret into these by mistake, instead of the name of the Secret that holds it.
HIDDEN = {"env", "password", "username", "redis-password", "redis-username"}


def _shown(value: Any, loc: Sequence[int | str], kind: str) -> str:
    # A URL may hold a password, or a token in its query.
    secret = isinstance(value, str) and ("@" in value or ("://" in value and "?" in value))
    if HIDDEN & set(loc) or secret or (isinstance(value, str) and kind in OBJECT_EXPECTED):
        return "(value not shown)"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list) else json.dumps(value)[:80]


def _keys_at(model: type[Model], loc: Sequence[int | str]) -> list[str]:
    """Returns the keys that the object at `loc` can have."""
    current: type[Model] | None = model
    in_mapping = False  # then the next step is a name that the stack file chose
    for step in loc:
        if current is None:
            return []
        if in_mapping or isinstance(step, int) or step.startswith("<"):
            in_mapping = False
            continue
        field = next((field for field in current.model_fields.values() if field.alias == step), None)
        annotation = field.annotation if field else None
        in_mapping = getattr(annotation, "__origin__", None) is dict
        current = model_in(annotation)
    return sorted(str(field.alias) for field in current.model_fields.values()) if current else []


def model_in(annotation: Any) -> type[Model] | None:
    """Returns the settings class inside a type annotation: `X`, `X | None`, `list[X]`, `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    inner = (model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model), None)
