"""What Ray refuses in a runtime_env and in the resources of an entrypoint, before anything is sent; pure.

Ray accepts such a job and fails it later: the server validates when it starts the job's process. The rules are those of
Ray's `RuntimeEnv` (`_private/runtime_env/validation.py`) and of its option checks (`_common/ray_option_utils.py`). A
test compares them with the installed Ray. Keys that Ray does not know pass, as in Ray: a plugin may read them.

A few values pass in Ray's client and fail on every node, such as numbers in the packages of pip. They are refused too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .job_info import type_name
from .shown import visible

PACKAGE_ENDINGS = {
    "working_dir": (".zip", ".tar.gz", ".tgz", ".tar.xz"),
    "py_modules": (".zip", ".whl", ".tar.gz", ".tgz", ".tar.xz"),
}
_REMOTE = ("gcs", "http", "https", "s3", "gs", "azure", "abfss", "file")
_OTHER_SCHEMES = ("conda", "pip", "uv")
_INSTALLERS = ("pip", "uv", "conda")
# Each allows nothing beside itself but these.
_ALONE = {"container": {"config", "env_vars"}, "image_uri": {"config", "env_vars"}}
_RESERVED_RESOURCES = {
    "CPU": "entrypoint_num_cpus (--entrypoint-num-cpus)",
    "GPU": "entrypoint_num_gpus (--entrypoint-num-gpus)",
    "memory": "entrypoint_memory (--entrypoint-memory)",
    "object_store_memory": "no setting: an entrypoint reserves none",
}
SMALLEST_QUANTITY = 0.0001
# Labels as in Ray's `_private/label_utils.py`, which has them from Kubernetes. Of a prefix only the letters are
# checked: Ray's expression for it can take for ever.
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL_KEY = re.compile(rf"([a-zA-Z0-9_.-]{{0,253}}/)?{_LABEL}")
_LABEL_SELECTOR = re.compile(rf"!?(in)?\({_LABEL}(, ?{_LABEL})*\)|!?{_LABEL}|")

Problem = tuple[str, str]
Check = Callable[[Any], Iterator[Problem]]


def runtime_env_problems(runtime_env: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields the key of each value that Ray would refuse, and why with what is allowed. Never a value: it may be a
    secret.

    Args:
        runtime_env: The runtime environment. `working_dir`, `py_modules`, `pip`, `uv` and `conda` may be local paths.
    """
    fields = {key: value for key, value in runtime_env.items() if value is not None}
    for key in fields:
        if not isinstance(key, str):
            yield "", f"has a key that is {type_name(key)}; allowed: a text"
            return
    installers = [name for name in _INSTALLERS if name in fields]
    if len(installers) > 1:
        text = "allowed: one of them (a conda environment can list packages for pip)"
        yield " and ".join(installers), f"are set together; {text}"
    for name, allowed in _ALONE.items():
        others = sorted(fields.keys() - allowed - {name})
        if fields.get(name) and others:
            yield name, f"is set together with {', '.join(map(visible, others))}; allowed beside it: config, env_vars"
    for name, value in fields.items():
        problems = [(f"{name}{key}", text) for key, text in _CHECKS[name](value)] if name in _CHECKS else []
        yield from problems
        if not problems and (text := _not_json(value)):
            yield name, text


def resource_problems(
    num_cpus: Any, num_gpus: Any, memory: Any, resources: Any, label_selector: Any
) -> Iterator[Problem]:
    """Yields the field of each resource of an entrypoint that Ray would refuse, and why with what is allowed.

    Args:
        num_cpus: CPUs to reserve.
        num_gpus: GPUs to reserve.
        memory: Bytes to reserve.
        resources: Custom resources by name.
        label_selector: Labels that the node must have.
    """
    for name, value in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if value is not None and (text := _quantity_problem(value)):
            yield f"entrypoint_{name}", text
    if isinstance(num_gpus, float) and num_gpus > 1 and math.isfinite(num_gpus) and not num_gpus.is_integer():
        yield "entrypoint_num_gpus", f"{num_gpus}: above 1 Ray takes whole GPUs only; allowed: 0.5 or 2, for example"
    if memory is not None and (not isinstance(memory, int) or isinstance(memory, bool) or memory < 0):
        yield "entrypoint_memory", f"is {_shown(memory)}; allowed: bytes as a whole number, such as 1073741824"
    yield from _named(resources, "entrypoint_resources", _resource_problem)
    yield from _named(label_selector, "entrypoint_label_selector", _label_problem)


def _named(value: Any, field: str, check: Callable[[str, Any], str | None]) -> Iterator[Problem]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield field, f"is {type_name(value)}; allowed: an object"
        return
    for name, item in value.items():
        if text := check(name, item):
            yield f"{field}.{visible(str(name))}", text


def _resource_problem(name: str, value: Any) -> str | None:
    if name in _RESERVED_RESOURCES:
        return f"is no custom resource; use {_RESERVED_RESOURCES[name]}"
    return _quantity_problem(value)


def _label_problem(name: str, value: Any) -> str | None:
    if not isinstance(name, str) or not _LABEL_KEY.fullmatch(name):
        return "is no name of a label; allowed: such as `market-type` or `example.com/zone`"
    if not isinstance(value, str):
        return f"is {type_name(value)}; allowed: a text"
    if not _LABEL_SELECTOR.fullmatch(value):
        return "is no label selector; allowed: such as `spot`, `!spot`, `in(a, b)` or `!in(a, b)`"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return str(value) if _is_number(value) else type_name(value)


def _quantity_problem(value: Any) -> str | None:
    if not _is_number(value) or not math.isfinite(value) or value < 0:
        return f"is {_shown(value)}; allowed: a number that is not negative"
    if isinstance(value, float) and 0 < value < SMALLEST_QUANTITY:
        return f"is {value}; allowed: 0, or at least {SMALLEST_QUANTITY}"
    return None


def _texts(value: Any) -> Iterator[Problem]:
    if not isinstance(value, (list, tuple)):
        yield "", f"is {type_name(value)}; allowed: a list of texts"
        return
    for index, item in enumerate(value):
        if not isinstance(item, str):
            yield f"[{index}]", f"is {type_name(item)}; allowed: a text"


def _of_type(types: type | tuple[type, ...], allowed: str) -> Check:
    def check(value: Any) -> Iterator[Problem]:
        if not isinstance(value, types):
            yield "", f"is {type_name(value)}; allowed: {allowed}"

    return check


_text = _of_type(str, "a text")
_boolean = _of_type(bool, "true or false")
_text_or_object = _of_type((str, Mapping), "a text or an object")


def _env_vars(value: Any) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield "", f"is {type_name(value)}; allowed: an object of texts"
        return
    for name, item in value.items():
        if not isinstance(name, str):
            yield "", f"has a name that is {type_name(name)}; allowed: a text"
        elif not isinstance(item, str):
            yield f".{visible(name)}", f"is {type_name(item)}; allowed: a text, so put it into quotes"
        elif not name or "=" in name or "\0" in name + item:
            # No process starts with such an environment, and Ray waits for it.
            yield f".{visible(name)}", "cannot be set; allowed: a name without `=`, and texts without NUL"


def _installer(keys: Mapping[str, Check]) -> Check:
    """Checks `pip` or `uv`: a file, a list of packages, or an object with `packages` and options of that tool."""

    def check(value: Any) -> Iterator[Problem]:
        if isinstance(value, str):
            return
        if isinstance(value, (list, tuple)):
            yield from _texts(value)
        elif not isinstance(value, Mapping):
            yield "", f"is {type_name(value)}; allowed: a list of packages, a requirements file, or an object"
        else:
            unknown = sorted(str(key) for key in value.keys() - keys.keys())
            if unknown:
                yield "", f"has {', '.join(map(visible, unknown))}; allowed: {', '.join(keys)}"
            if "packages" not in value:
                yield "", "has no packages; allowed: a list of packages, or an object with `packages`"
            for key, check_value in keys.items():
                if key in value:
                    for inner, text in check_value(value[key]):
                        yield f".{key}{inner}", text

    return check


def _file_or_texts(value: Any) -> Iterator[Problem]:
    return iter(()) if isinstance(value, str) else _texts(value)


def _config(value: Any) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield "", f"is {type_name(value)}; allowed: an object"
        return
    seconds = value.get("setup_timeout_seconds", 1)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or (seconds <= 0 and seconds != -1):
        yield ".setup_timeout_seconds", f"is {_shown(seconds)}; allowed: whole seconds above 0, or -1 for no limit"
    if "eager_install" in value:
        for _, text in _boolean(value["eager_install"]):
            yield ".eager_install", text
    if value.get("log_files") is not None:
        for key, text in _texts(value["log_files"]):
            yield f".log_files{key}", text


def _package(field: str) -> Check:
    def check(value: Any) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield "", f"is {type_name(value)}; allowed: a text"
        elif text := uri_problem(value, field):
            yield "", text

    return check


def _py_modules(value: Any) -> Iterator[Problem]:
    if not isinstance(value, (list, tuple)):
        yield "", f"is {type_name(value)}; allowed: a list of texts"
        return
    for index, item in enumerate(value):
        for _, text in _package("py_modules")(item):
            yield f"[{index}]", text


def uri_problem(value: str, field: str) -> str | None:
    """Returns why Ray would refuse a URI of `working_dir` or `py_modules`, and what is allowed. None: it is a local
    path, or can be used."""
    if "://" not in value:
        return None
    endings = PACKAGE_ENDINGS[field]
    try:
        uri = urlsplit(value)
    except ValueError:
        return "is no valid URI"
    if uri.scheme == "local":
        path = value[len("local://") :]
        if not path.startswith("/") or path.endswith(PACKAGE_ENDINGS["py_modules"]):
            return "is a local URI of another form; allowed: a directory of the image, such as local:///path/in/image"
    elif uri.scheme not in (*_REMOTE, *_OTHER_SCHEMES):
        return f"has the scheme {visible(uri.scheme)!r}; allowed: a local path, {', '.join((*_REMOTE, 'local'))}"
    elif uri.scheme in _REMOTE and not PurePosixPath(uri.netloc + uri.path).name.endswith(endings):
        return f"is a URI of no archive: Ray unpacks one file; allowed: a URI that ends in {', '.join(endings)}"
    return None


def _not_json(value: Any) -> str:
    """Returns why the value cannot be sent as JSON; empty if it can."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return "is, or contains, a value that JSON does not have, such as a date; put it into quotes"
    return ""


_CHECKS: dict[str, Check] = {
    "working_dir": _package("working_dir"),
    "py_modules": _py_modules,
    "excludes": _texts,
    "env_vars": _env_vars,
    "pip": _installer(
        {"packages": _file_or_texts, "pip_check": _boolean, "pip_version": _text, "pip_install_options": _texts},
    ),
    "uv": _installer({"packages": _texts, "uv_check": _boolean, "uv_version": _text, "uv_pip_install_options": _texts}),
    "conda": _of_type((str, Mapping), "the name of an environment, a YAML file, or an object"),
    "config": _config,
    "worker_process_setup_hook": _text,
    # Ray's client does not check these; the node fails, or waits for a process that cannot start.
    "container": _of_type(Mapping, "an object"),
    "image_uri": _text,
    "java_jars": _texts,
    "nsight": _text_or_object,
    "py_executable": _text,
    "rocprof_sys": _text_or_object,
}
