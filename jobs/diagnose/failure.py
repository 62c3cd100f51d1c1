"""What the end of a log tells of a program: its last exception, and what the raylets reported. Pure.

The texts are Ray's: `ray/exceptions.py`, and the messages of the raylet and the GCS (of 2.9 to 2.60). What a worker
printed has a prefix in the log, such as `(train pid=7)`, so the program's own traceback begins at the first column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What an error may have at most in a sentence.
ERROR_LIMIT = 400
# Without a traceback, only the last lines tell how the program ended.
LAST_LINES = 15
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'\s+File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:\([\w.]+\))?(?:: .*|:?$)")
_PYTHON_ERROR = re.compile(r"(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt|Exit)\b.*")
# The lines of pip, uv and conda that name what cannot be installed.
_INSTALL_ERROR = re.compile(r"(?:ERROR: |\W*(?:cause: )?Because |ResolvePackageNotFound|PackagesNotFoundError).*")
_TASK = re.compile(r"ray::(?P<name>[\w.<>]+)\(\) \(pid=")
# Files that are not the user's: Python's own, installed packages, what has no file.
_NOT_OF_USER = re.compile(r"/(?:site|dist)-packages/|/lib/python3[.\d]*/|^<frozen |\.p(?:yx|xi)$")
_PACKAGE_DIRECTORY = re.compile(r"^.*/_ray_pkg_[0-9a-f]+/")
_OF_RAY = re.compile(r"\(\w[^)]*\) |\[?\d{4}-\d\d-\d\d ")
_KILLS = re.compile(
    r"(?<!\d)(?P<workers>\d{1,9}) Workers \(tasks / actors\) killed due to memory pressure \(OOM\)[^\n]{0,100}? at "
    r"node \(ID: \w{1,99}, IP: (?P<ip>[^)\s]{1,60})\)"
)


@dataclass(frozen=True)
class Failure:
    """How a program ended.

    Attributes:
        text: The last traceback and what follows, or the last lines.
        error: The line with the type and the message of the exception; else the last error, else the last line.
        frame: The user's own last frame, such as `train.py, line 3, in main`; empty without one.
        task: The task or the actor's method in which the exception was raised; empty: in the driver.
        last_line: The last line that is neither the error nor Ray's.
        groups: Worker group, or `head`, by the IP address of a pod.
    """

    text: str
    error: str
    frame: str
    task: str
    last_line: str
    groups: Mapping[str, str]

    @property
    def where(self) -> str:
        return f" ({self.frame})" if self.frame else ""


def last_failure(log: str, groups: Mapping[str, str] | None = None) -> Failure:
    """Reads the last exception from the end of a log."""
    lines = [line.rstrip() for line in _COLOUR.sub("", log).splitlines()]
    start = _start_of_last_traceback(lines)
    lines = lines[start:] if start is not None else [line for line in lines if line][-LAST_LINES:]
    error, frame, task, last_line, in_frames = "", "", "", "", False
    for line in lines:
        if match := _TASK.search(line):
            task = match["name"]
        if match := _FRAME.match(line):
            in_frames = True
            frame = frame if _NOT_OF_USER.search(match["file"]) else _frame(match)
        elif in_frames and line and not line[0].isspace():
            in_frames = False
            if _EXCEPTION.match(line):
                error, last_line = line, ""
                continue
        if line and not in_frames and not _OF_RAY.match(line):
            last_line = line.strip()
    if not error:
        error, last_line = last_error("\n".join(lines)), ""
    return Failure("\n".join(lines), error[:ERROR_LIMIT], frame, task, last_line[:ERROR_LIMIT], groups or {})


def _start_of_last_traceback(lines: list[str]) -> int | None:
    """The message of a runtime_env that failed contains a traceback of Ray's agent: one with a file of the user counts
    more."""
    last, has_file = None, False
    for at in reversed(range(len(lines))):
        if match := _FRAME.match(lines[at]):
            has_file |= not _NOT_OF_USER.search(match["file"])
        elif lines[at].startswith(_TRACEBACK):
            if has_file:
                return at
            last = at if last is None else last
    return last


def _frame(match: re.Match[str]) -> str:
    function = f", in {match['function']}" if match["function"] else ""
    return f"{_PACKAGE_DIRECTORY.sub('', match['file'])}, line {match['line']}{function}"


def last_error(message: str) -> str:
    """Returns the last error of an installer in a message, else the last of Python, else the last line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for pattern in (_INSTALL_ERROR, _PYTHON_ERROR):
        errors = [line for line in lines if pattern.match(line)]
        if errors:
            return errors[-1][:ERROR_LIMIT]
    return lines[-1][:ERROR_LIMIT] if lines else "no message"


def memory_kills(log: str) -> dict[str, int]:
    """Returns how many workers the raylets reported as killed for memory, by the IP address of the node.

    Ray repeats such tasks without end, so the job may still run.
    """
    kills: dict[str, int] = {}
    for match in _KILLS.finditer(log):
        if int(match["workers"]):
            kills[match["ip"]] = kills.get(match["ip"], 0) + int(match["workers"])
    return kills


def node_name(ip: str, groups: Mapping[str, str]) -> str:
    """Names a node by its worker group, or by its address if no pod has it now."""
    group = groups.get(ip)
    if group is None:
        return f"node {ip}"
    return f"head ({ip})" if group == "head" else f"worker group {group} ({ip})"


def spilled(log: str) -> str:
    """Returns Ray's last report of objects that it moved to the disk, such as `5120 MiB, 40 objects`; else empty."""
    reports = re.findall(r"Spilled (\d{1,12} MiB, \d{1,12} objects)", log)
    return reports[-1] if reports else ""


def groups_by_ip(pods: list[dict[str, Any]]) -> dict[str, str]:
    """Returns the worker group, or `head`, by the IP address of each pod."""
    groups = {}
    for pod in pods:
        labels, ip = pod["metadata"].get("labels") or {}, (pod.get("status") or {}).get("podIP")
        if ip:
            head = labels.get("ray.io/node-type") == "head"
            groups[str(ip)] = "head" if head else str(labels.get("ray.io/group") or "?")
    return groups
