"""Replaces local files that a runtime_env names by their content, as Ray's own client does.

`pip` and `uv` can name a requirements file, `conda` a YAML file. The server does not have them. With the content in the
runtime_env, the digest of the job and `rerun` know it too.

Ray's client sends the lines of a requirements file as they are, also `-r other.txt`. The node then looks for the file
in an empty directory. So such lines are read here too, in lists as well as in files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import Refused
from ..spec.shown import SENTENCE_LIMIT, shown, visible
from ..yaml_file import NotYaml, read_yaml

CONDA_ENDINGS = (".yaml", ".yml")
_NEXT_LINE = re.compile(r"\\\n")
# pip's own expression for a comment (pip/_internal/req/req_file.py).
_COMMENT = re.compile(r"(^|\s+)#.*$")
# The options of a requirements file whose value can be a local path.
_OPTION = re.compile(r"(?:-([rcef])\s*|--(requirement|constraint|editable|find-links)(?:\s*=\s*|\s+))(?=\S)")
_NESTED = ("r", "requirement")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


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
        if isinstance(value, Mapping):
            # Ray reads a file at this place for pip only.
            if name == "pip" or not isinstance(value.get("packages"), str):
                result[name] = {**value, **_packages(f"{name}.packages", value.get("packages"), base)}
        elif name in result:
            result[name] = _packages(name, value, base).get("packages", value)
    conda = result.get("conda")
    if isinstance(conda, str) and conda.endswith(CONDA_ENDINGS):
        path = base / conda
        result["conda"] = _with_pip_of_conda(_conda_file(path), path.parent)
    elif isinstance(conda, dict):
        result["conda"] = _with_pip_of_conda(conda, base)
    return result


def keys_with_files(runtime_env: Mapping[str, Any]) -> list[str]:
    """Returns the keys under which the runtime_env names a file that `with_file_contents` would read."""
    pip, conda = runtime_env.get("pip"), runtime_env.get("conda")
    keys = [name for name in ("pip", "uv") if isinstance(runtime_env.get(name), str)]
    if isinstance(pip, Mapping) and isinstance(pip.get("packages"), str):
        keys.append("pip.packages")
    if isinstance(conda, str) and conda.endswith(CONDA_ENDINGS):
        keys.append("conda")
    return keys


def _packages(key: str, value: Any, base: Path) -> dict[str, list[str]]:
    """Returns the packages that a path or a list stands for; empty for anything else, which is refused elsewhere."""
    if isinstance(value, str):
        lines = list(_file_lines(key, base / value, ()))
    elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        value = list(value)
        lines = list(_expand(key, value, base, ()))
    else:
        return {}
    # Equal lines are one, as in Ray: pip refuses a package that is listed twice.
    return {"packages": lines if lines == value else list(dict.fromkeys(lines))}


def _file_lines(key: str, path: Path, parents: tuple[Path, ...]) -> Iterator[str]:
    if path.resolve() in parents:
        raise _refused(key, f"the file {visible(str(path))} includes itself", "Remove the `-r` line.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(key, path, error) from None
    # One line for one requirement, as pip joins them: lines that are left out as equal must be whole.
    lines = (_COMMENT.sub("", line).strip() for line in _NEXT_LINE.sub("", text).splitlines())
    yield from _expand(key, filter(None, lines), path.parent, (*parents, path.resolve()))


def _expand(key: str, lines: Iterable[str], base: Path, parents: tuple[Path, ...]) -> Iterator[str]:
    """Yields the lines, and for `-r` those of the file. `parents` are the files that include these lines."""
    for line in lines:
        option = _OPTION.match(line)
        name = option and (option[1] or option[2])
        target = _first_word(line[option.end() :] if option else line)
        if not _is_local(target, is_option=option is not None):
            yield line
        elif name in _NESTED:
            yield from _file_lines(key, base / target, parents)
        else:
            place = f"the file {visible(str(parents[-1]))} has" if parents else "it has"
            there = PurePosixPath("${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}") / shown(target, SENTENCE_LIMIT)
            raise _refused(
                key,
                f"{place} the line {shown(line, SENTENCE_LIMIT)!r}, and the server does not have that file",
                f"Put the file into the working_dir, and write its path there, such as '{there}'; or upload a package "
                "of your own with py_modules.",
            )


def _first_word(text: str) -> str:
    try:
        return next(iter(shlex.split(text)), "")
    except ValueError:  # a quote that is not closed
        return text.split()[0]


def _is_local(target: str, *, is_option: bool) -> bool:
    """Whether pip would read it from this machine, and not from the network, the image or the working_dir."""
    if target.startswith(("/", "$", "file:")) or "://" in target:
        return False
    return is_option or target.startswith(".") or "/" in target or target.endswith(_ARCHIVES)


def _conda_file(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable("conda", path, error) from None
    except NotYaml as error:
        raise _refused("conda", f"the file {visible(str(path))} {error}", "Correct the file.") from None
    if not isinstance(content, dict):
        raise _refused("conda", f"the file {visible(str(path))} is no mapping", "It needs the key `dependencies`.")
    return content


def _with_pip_of_conda(conda: dict[str, Any], base: Path) -> dict[str, Any]:
    """Reads the `-r` lines in `dependencies: [..., {pip: [...]}]`. As in conda, paths are relative to its file."""
    dependencies = conda.get("dependencies")
    if not isinstance(dependencies, list):
        return conda
    expanded = [
        {**item, "pip": _packages("conda.dependencies.pip", item["pip"], base).get("packages", item["pip"])}
        if isinstance(item, dict) and isinstance(item.get("pip"), list)
        else item
        for item in dependencies
    ]
    return {**conda, "dependencies": expanded}


def _unreadable(key: str, path: Path, error: OSError | UnicodeDecodeError) -> Refused:
    reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not UTF-8"
    return Refused(
        f"runtime_env.{key} names the file {visible(str(path))}, which cannot be read: {reason}.",
        "Name a file of this machine, or write the packages as a list.",
    )


def _refused(key: str, reason: str, remedy: str) -> Refused:
    return Refused(f"runtime_env.{key}: {reason}.", remedy)
