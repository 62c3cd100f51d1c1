"""Replaces local files that a runtime_env names by their content, as Ray's own client does.

`pip` and `uv` can name a requirements file, `conda` a YAML file. The server does not have them. With the content in the
runtime_env, the digest of the job and `rerun` know it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import Refused
from ..spec.shown import visible
from ..yaml_file import NotYaml, read_yaml

CONDA_ENDINGS = (".yaml", ".yml")
_OPTION = re.compile(r"(-r|--requirement|-c|--constraint|-e|--editable)(?:[ =]|(?<=-[rce]))\s*(\S+)")
# A path of the image, a variable that Ray sets on the node, or a URL.
_NOT_LOCAL = ("/", "$", "http:", "https:", "file:")


def with_file_contents(runtime_env: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Returns the runtime_env with the content of the files that `pip`, `uv` and `conda` name.

    Args:
        runtime_env: The runtime environment.
        base: Directory that relative paths are relative to.

    Raises:
        Refused: A file cannot be read, or it names other files that the server would not have.
    """
    result = dict(runtime_env)
    for name in ("pip", "uv"):
        value = result.get(name)
        if isinstance(value, str):
            result[name] = _requirements(name, base / value)
        elif name == "pip" and isinstance(value, Mapping) and isinstance(value.get("packages"), str):
            result[name] = {**value, "packages": _requirements(f"{name}.packages", base / value["packages"])}
    conda = result.get("conda")
    if isinstance(conda, str) and conda.endswith(CONDA_ENDINGS):
        result["conda"] = _conda(base / conda)
    return result


def _requirements(key: str, path: Path) -> list[str]:
    # Equal lines are one, as in Ray: pip refuses a package that is listed twice.
    return list(dict.fromkeys(_lines(key, path, ())))


def _lines(key: str, path: Path, parents: tuple[Path, ...]) -> Iterator[str]:
    if path in parents:
        raise _refused(key, path, "includes itself", "Remove the `-r` line.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(key, path, error) from None
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        option = _OPTION.match(stripped)
        target = option[2] if option else stripped.split()[0]
        if option and option[1] in ("-r", "--requirement") and not target.startswith(_NOT_LOCAL):
            yield from _lines(key, path.parent / target, (*parents, path))
        elif target in (".", "..") or target.startswith(("./", "../")) or _is_constraints_file(option):
            raise _refused(
                key,
                path,
                f"has the line {visible(stripped)!r}: the server does not have that file",
                "Write the packages into this file; a package of your own goes into py_modules.",
            )
        else:
            yield line.rstrip()


def _is_constraints_file(option: re.Match[str] | None) -> bool:
    return option is not None and option[1] in ("-c", "--constraint") and not option[2].startswith(_NOT_LOCAL)


def _conda(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable("conda", path, error) from None
    except NotYaml as error:
        raise _refused("conda", path, str(error), "Correct the file.") from None
    if not isinstance(content, dict):
        raise _refused("conda", path, "is no conda environment", "It needs `dependencies`.")
    return content


def _unreadable(key: str, path: Path, error: OSError | UnicodeDecodeError) -> Refused:
    reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not UTF-8"
    return Refused(
        f"runtime_env.{key} names the file {visible(str(path))}, which cannot be read: {reason}.",
        "Name a file of this machine, or write the packages as a list.",
    )


def _refused(key: str, path: Path, reason: str, remedy: str) -> Refused:
    return Refused(f"runtime_env.{key}: the file {visible(str(path))} {reason}.", remedy)
