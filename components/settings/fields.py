"""What all settings have in common: strict types, camelCase keys, errors that name key, value and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic.alias_generators import to_camel

from components.errors import refuse


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


class Problems(ValueError):
    """Several problems of one object, each as (key below the object, text)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {text}" for key, text in problems))
        self.problems = list(problems)

    @classmethod
    def check(cls, problems: Sequence[tuple[str, str]]) -> None:
        if problems:
            raise cls(problems)


# Exponents have an end, so that nobody's typing error takes minutes to count.
QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)(n|u|m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?")
FACTORS: dict[str | None, Decimal] = {None: Decimal(1)}
FACTORS |= {unit: Decimal(1000) ** -power for power, unit in enumerate("mun", 1)}
FACTORS |= {unit: Decimal(1000**power) for power, unit in enumerate("kMGTPE", 1)}
FACTORS |= {f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)}


def amount(quantity: str) -> Decimal:
    """A Kubernetes quantity as a number: CPUs, or bytes. Raises ValueError for anything else."""
    found = QUANTITY.fullmatch(quantity)
    if not found:
        raise ValueError("no Kubernetes quantity; allowed: such as 500m or 2 (CPUs), 512Mi or 4Gi (bytes)")
    return Decimal(found.group(1)) * FACTORS[found.group(2)]


def _quantity(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and amount(value) <= 0:
        raise ValueError("not above zero; allowed: such as 500m or 2 (CPUs), 512Mi or 4Gi (bytes)")
    return value


def _memory(value: Any) -> Any:
    value = _quantity(value)
    if isinstance(value, str) and amount(value) < 1024 * 1024:
        raise ValueError("less than 1Mi, a unit is missing; allowed: such as 512Mi or 4Gi")
    return value


def _text(value: Any) -> Any:
    """Numbers and booleans as people write them in YAML, where Ray and Kubernetes want text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def of_form(pattern: str, allowed: str, wrong: str = "not of its form") -> pydantic.AfterValidator:
    """Text that matches `pattern`; otherwise an error that says what is wrong and what is allowed."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{wrong}; allowed: {allowed}")
        return value

    return pydantic.AfterValidator(check)


def version(pattern: str, example: str) -> pydantic.AfterValidator:
    """Text that is a version of the form of `example`."""
    return of_form(pattern, f"of the form {example}", "no version")


def _name_of(pattern: str, limit: int, allowed: str) -> pydantic.AfterValidator:
    def check(value: str) -> str:
        if len(value) > limit or not re.fullmatch(pattern, value):
            raise ValueError(f"not a valid name; allowed: {allowed}, at most {limit} characters")
        return value

    return pydantic.AfterValidator(check)


LABEL_NAME = r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?"
PREFIX = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def label_key_problem(key: str) -> str | None:
    """What is wrong with `key` as the key of a label or an annotation; None: nothing."""
    prefix, slash, name = key.rpartition("/")
    fine = re.fullmatch(LABEL_NAME, name) and (not slash or (len(prefix) <= 253 and re.fullmatch(PREFIX, prefix)))
    return None if fine else "not a key; allowed: such as team or example.com/team"


def label_value_problem(value: str) -> str | None:
    """What is wrong with `value` as a label's value; None: nothing."""
    fine = not value or re.fullmatch(LABEL_NAME, value)
    return None if fine else "not a label's value; allowed: A-Z, a-z, 0-9, inner -, _ and dots, at most 63 characters"


def _key(value: str) -> str:
    if text := label_key_problem(value):
        raise ValueError(text)
    return value


def _label_value(value: str) -> str:
    if text := label_value_problem(value):
        raise ValueError(text)
    return value


def _cpu(value: Any) -> Any:
    value = _quantity(value)
    if isinstance(value, str) and not re.fullmatch(r"[\d.]+m?", value):
        raise ValueError("no number of CPUs; allowed: such as 500m or 2")
    return value


def namespace_problem(name: str) -> str | None:
    """Why no stack may make, and so delete, the namespace; None: it may."""
    kubernetes_own = name == "default" or name.startswith("kube-")
    return f"true: {name} is Kubernetes' own; allowed: false" if kubernetes_own else None


Cpu = Annotated[str, pydantic.BeforeValidator(_cpu)]
Memory = Annotated[str, pydantic.BeforeValidator(_memory)]
Text = Annotated[str, pydantic.BeforeValidator(_text)]
Labels = dict[Annotated[str, pydantic.AfterValidator(_key)], Annotated[Text, pydantic.AfterValidator(_label_value)]]
Annotations = dict[Annotated[str, pydantic.AfterValidator(_key)], Text]
EnvName = Annotated[str, of_form(r"[-._A-Za-z][-._A-Za-z0-9]*", "letters, digits, _, - and dots, no digit first")]
Image = Annotated[
    str,
    of_form(
        r"[A-Za-z0-9][-.A-Za-z0-9]*(:\d+)?(/[a-z0-9][-._a-z0-9]*)*(:\w[-.\w]{0,127})?(@\w+:[0-9a-fA-F]+)?",
        "registry/name:tag or @digest, the name in lower case",
        "not an image reference",
    ),
]
Int32 = Annotated[int, pydantic.Field(ge=-(2**31), le=2**31 - 1)]
HOST = rf"(?=.{{1,253}}$){PREFIX}"


Namespace = Annotated[str, _name_of(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63, "a-z, 0-9 and inner dashes")]
ObjectName = Annotated[str, _name_of(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", 253, "a-z, 0-9, inner dashes and dots")]
# The operator's own limit: names of pods and services are made from it.
ClusterName = Annotated[str, _name_of(r"[a-z]([-a-z0-9]*[a-z0-9])?", 53, "a-z first, then a-z, 0-9 and inner dashes")]
GroupName = Annotated[str, _name_of(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", 50, "a-z, 0-9 and inner dashes")]

AnyModel = TypeVar("AnyModel", bound=Model)


def parse(model: type[AnyModel], raw: Mapping[str, Any]) -> AnyModel:
    """`raw`, as it stands in a stack file, as settings. Raises StackError with every problem in it."""
    try:
        return model.model_validate_json(json.dumps(raw, default=str))
    except pydantic.ValidationError as error:
        refuse("The stack's configuration cannot be used:", sorted(set(_told(model, error))))
        raise  # for the type checker: there is always at least one problem


def _told(model: type[Model], error: pydantic.ValidationError) -> Iterator[str]:
    for entry in error.errors(include_url=False):
        loc, context = entry["loc"], entry.get("ctx", {})
        cause = context.get("error")
        if isinstance(cause, Problems):
            yield from (f"{_path((*loc, key) if key else loc)}: {text}" for key, text in cause.problems)
            continue
        if entry["type"] == "extra_forbidden":
            text = f"unknown key; allowed: {', '.join(_keys_at(model, loc[:-1]))}"
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
        return "allowed: text (in quotes, where YAML would read a number)"
    return message.replace("Input should be", "allowed:").replace("a valid ", "")


def _path(loc: Sequence[int | str]) -> str:
    path = ""
    for step in loc:
        if str(step).startswith(("<", "[")):  # a union's branch, or "this key itself": no key of the stack file
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


# Where people put a secret by mistake, the name of its Secret's key being what is asked for.
HIDDEN = {"env", "password", "username"}


def _shown(value: Any, loc: Sequence[int | str], kind: str) -> str:
    if HIDDEN & set(loc) or (isinstance(value, str) and (kind in OBJECT_EXPECTED or "@" in value)):
        return "(value not shown)"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list) else json.dumps(value)[:80]


def _keys_at(model: type[Model], loc: Sequence[int | str]) -> list[str]:
    """The keys that the object at `loc` may have."""
    current: type[Model] | None = model
    named = False  # inside a mapping, where the next step is a name that people chose
    for step in loc:
        if current is None:
            return []
        if named or isinstance(step, int) or step.startswith("<"):
            named = False
            continue
        field = next((f for f in current.model_fields.values() if f.alias == step), None)
        annotation = field.annotation if field else None
        named = getattr(annotation, "__origin__", None) is dict
        current = model_in(annotation)
    return sorted(str(field.alias) for field in current.model_fields.values()) if current else []


def model_in(annotation: Any) -> type[Model] | None:
    """The model in `X`, `X | None`, `list[X]`, `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    found = (model_in(inner) for inner in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)
