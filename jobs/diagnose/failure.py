"""Why a program failed, from the end of its log: its last exception, and one table of causes. Pure.

The texts are Ray's: `ray/exceptions.py`, and the messages of the raylet and the GCS (of 2.9 to 2.60). What a worker
printed has a prefix in the log, such as `(train pid=7)`, so the program's own traceback begins at the first column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import COMMAND

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
_INSTALL_ERROR = re.compile(r"(?:ERROR: |\W*Because |ResolvePackageNotFound|PackagesNotFoundError).*")
_TASK = re.compile(r"ray::(?P<name>[\w.<>]+)\(\) \(pid=")
# Files that are not the user's: Python's own, installed packages, what has no file.
_NOT_OF_USER = re.compile(r"/(?:site|dist)-packages/|/lib/python3[.\d]*/|^<frozen ")
_PACKAGE_DIRECTORY = re.compile(r"^.*/_ray_pkg_[0-9a-f]+/")
_OF_RAY = re.compile(r"\(\w[^)]*\) |\[?\d{4}-\d\d-\d\d ")
_NO_INDEX = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|Temporary failure in name resolution|ProxyError"
    r"|Connection refused|dns error"
)
# 2.9: `... was running was 14.37GB / 15.11GB (0.95), which ...`; 2.60: `... was 0.96GB used / 1.00GB limit (0.96)`.
_MEMORY = re.compile(
    r"Memory on the node \(IP: (?P<ip>[^,\s]+),[^)]*\)(?:.{0,400}? was running)? was "
    r"(?P<used>[\d.]+)GB(?: used)? / (?P<allowed>[\d.]+)GB",
    re.DOTALL,
)
_NODE_IP = re.compile(r"(?:Node IP: |node ip: |\(ip=|\bip: )(?P<ip>[0-9a-fA-F.:]*[0-9a-fA-F])")


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

    def node(self, ip: str) -> str:
        """Names the node by its worker group, or by its address if no pod has it now."""
        group = self.groups.get(ip)
        if group is None:
            return f"node {ip}"
        return f"head ({ip})" if group == "head" else f"worker group {group} ({ip})"


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


def environment_remedy(message: str) -> str:
    """Returns what helps if a runtime environment could not be set up; may be empty."""
    if _NO_INDEX.search(message):
        return "The pods do not reach the package index: set PIP_INDEX_URL in the image, or add the package to it."
    if re.search(r"No matching distribution|Could not find a version|Because .* was not found|NotFound", message):
        return "Check the name and the version, and that the pods reach a package index; or add it to the image."
    if "Failed to download" in message:
        return "Submit it again: the package is then uploaded again."
    return ""


@dataclass(frozen=True)
class Cause:
    """A kind of failure.

    Attributes:
        name: Its name.
        pattern: Matches the text of a failure of this kind.
        describe: Returns the sentence.
        remedy: Returns the setting or the command that helps.
        of_cluster: Whether problems of pods, such as an eviction, may be behind it.
    """

    name: str
    pattern: re.Pattern[str]
    describe: Callable[[Failure], str]
    remedy: Callable[[Failure], str]
    of_cluster: bool = False


def _exception(*names: str, texts: str = "") -> re.Pattern[str]:
    """Matches an exception of these types where a traceback has it, also as Ray's `RayTaskError(NAME)`, or texts."""
    either = "|".join(names)
    exceptions = rf"^(?:[A-Za-z_][\w.]*[.(])?(?:{either})\b\)?(?::|$)"
    return re.compile(f"{exceptions}|{texts}" if texts else exceptions, re.MULTILINE)


def _out_of_memory(failure: Failure) -> str:
    match = _MEMORY.search(failure.text)
    if not match:
        return f"Ray killed a task or an actor because its node ran out of memory: {failure.error}"
    return (
        f"Ray killed a task or an actor because its node ran out of memory: {failure.node(match['ip'])} used "
        f"{match['used']} of {match['allowed']} GB.{_raised_at(failure)}"
    )


def _raised_at(failure: Failure) -> str:
    return f" The program ended at {failure.frame}." if failure.frame else ""


def _memory_remedy(failure: Failure) -> str:
    match = _MEMORY.search(failure.text)
    group = failure.groups.get(match["ip"]) if match else None
    place = {None: "of its nodes", "head": "of the head"}.get(group, f"of the worker group {group}")
    return (
        f"Raise `memory` {place} in the stack's config, or reserve it for each task (`@ray.remote(memory=BYTES)`), "
        "so that fewer run at once."
    )


def _node_died(failure: Failure) -> str:
    match = _NODE_IP.search(failure.text)
    node = f": {failure.node(match['ip'])}" if match else ""
    preempted = " (preempted)" if "node was preempted:" in failure.text else ""
    return f"A node died while the job used it{preempted}{node}. {failure.error}"


def _actor_died(failure: Failure) -> str:
    name = re.search(r"class_name: (\S+)", failure.text)
    actor = f"The actor {name[1]}" if name else "An actor"
    detail = re.search(r"Worker exit detail: ([^.]{1,200})", failure.text)
    reason = detail[1] if detail else failure.error
    return f"{actor} died: {reason}.{_raised_at(failure)}".replace("..", ".")


def _creation_failed(failure: Failure) -> str:
    return f"An actor failed in its creation ({failure.task or '__init__'}): {failure.error}{failure.where}."


def _missing_module(failure: Failure) -> str:
    module = re.search(r"No module named '?([\w.]+)'?", failure.text)
    where = f" of the task {failure.task}" if failure.task else ""
    return f"The cluster does not have the Python module {module[1] if module else ''!r}{where}{failure.where}."


def _in_words(text: str) -> Callable[[Failure], str]:
    """Returns a function that puts the error, and where it was raised, behind a text."""
    return lambda failure: f"{text}: {failure.error}{failure.where}."


def _always(text: str) -> Callable[[Failure], str]:
    return lambda _failure: text


_REPEAT = "Ray repeats lost work with `max_retries` of tasks, `max_restarts` and `max_task_retries` of actors."

# The first that matches is the cause: the more exact ones come first.
CAUSES = (
    Cause(
        "out of GPU memory",
        re.compile(r"CUDA out of memory|CUDA error: out of memory|HIP out of memory"),
        _in_words("A GPU ran out of memory"),
        _always("Use smaller batches or a larger GPU. `num_gpus` reserves a GPU, not a part of its memory."),
    ),
    Cause(
        "out of memory",
        _exception("OutOfMemoryError", texts="running low on memory|NODE_OUT_OF_MEMORY"),
        _out_of_memory,
        _memory_remedy,
        of_cluster=True,
    ),
    Cause(
        "disk full",
        _exception("OutOfDiskError", texts="No space left on device"),
        _in_words("The disk of a node is full"),
        _always("Raise `ephemeralStorage` of the group in the stack's config, or mount a volume at /tmp/ray."),
    ),
    Cause(
        "object store full",
        _exception("ObjectStoreFullError"),
        _in_words("The object store of a node is full of objects that are in use"),
        _always(
            "Drop references that are no longer needed (`del ref`), or raise `object-store-memory` in rayStartParams "
            "and `memory` of the group in the stack's config."
        ),
    ),
    Cause(
        "node died",
        _exception(
            "NodeDiedError",
            "LocalRayletDiedError",
            texts="its node has died|node it was running on is dead|have been lost due to node failure",
        ),
        _node_died,
        _always(_REPEAT),
        of_cluster=True,
    ),
    Cause(
        "actor not created",
        re.compile(r"died because of an error raised in its creation task"),
        _creation_failed,
        _always("Fix its __init__ and submit again; a restart of the actor fails too."),
    ),
    Cause(
        "runtime_env",
        _exception(
            "RuntimeEnvSetupError",
            texts="Failed to set up runtime environment|runtime env failed to be created",
        ),
        lambda failure: f"A runtime_env of the program could not be set up: {last_error(failure.text)}",
        lambda failure: environment_remedy(failure.text),
    ),
    Cause(
        "actor died",
        _exception(
            "ActorDiedError",
            "RayActorError",
            "ActorUnavailableError",
            texts="The actor died unexpectedly|The actor is dead because",
        ),
        _actor_died,
        _always(
            f"{_REPEAT} A process that is killed again and again needs more memory: raise `memory` of the worker group."
        ),
        of_cluster=True,
    ),
    Cause(
        "worker died",
        _exception("WorkerCrashedError"),
        lambda failure: "A worker process died: it was killed, often for its memory, or it crashed in native code."
        + _raised_at(failure),
        _always(
            "Raise `memory` of the worker group in the stack's config. For a crash, PYTHONFAULTHANDLER=1 in env_vars "
            "of the runtime_env prints where it was."
        ),
        of_cluster=True,
    ),
    Cause(
        "object lost",
        _exception("ObjectLostError", "ObjectReconstructionFailedError", "OwnerDiedError", "ObjectFetchTimedOutError"),
        _in_words("An object is lost: the node or the process that had it ended"),
        _always(f"{_REPEAT} An object of `ray.put` cannot be made again: return it from a task."),
        of_cluster=True,
    ),
    Cause(
        "not schedulable",
        _exception("TaskUnschedulableError", "ActorUnschedulableError"),
        _in_words("No node can ever run a task or an actor of it"),
        _always(f"`{COMMAND} check` shows the cluster's resources."),
    ),
    Cause(
        "Ray version",
        re.compile(r"Version mismatch: The cluster was started with"),
        lambda failure: "The program runs with another Ray or Python than the cluster: "
        + ", ".join(" ".join(each) for each in re.findall(r"^\s+(Ray|Python): (\S+)", failure.text, re.MULTILINE))
        + " (first the cluster's, then the program's).",
        _always("Remove `ray` from pip of the runtime_env, and use the Python of the cluster's image."),
    ),
    Cause(
        "module missing",
        re.compile(r"No module named '?[\w.]+"),
        _missing_module,
        _always("Add it to the working_dir, to pip in the runtime_env, or to the image."),
    ),
    Cause(
        "file missing",
        re.compile(r"can't open file|No such file or directory"),
        lambda failure: f"A file was not found: {failure.error}{failure.where}. Was it uploaded?",
        _always(f"{COMMAND} submit --plan --working-dir DIR"),
    ),
    Cause(
        "out of memory in the process",
        _exception("MemoryError", "_ArrayMemoryError"),
        _in_words("Its process got no memory from the system"),
        _always("Raise `memory` of the group in the stack's config, or work on smaller pieces."),
    ),
)  # fmt: skip


def cause_of(failure: Failure) -> Cause | None:
    """Returns the first cause of CAUSES that the text shows; None if it is an exception of the program."""
    return next((cause for cause in CAUSES if cause.pattern.search(failure.text)), None)


def spilled(log: str) -> str:
    """Returns Ray's last report of objects that it moved to the disk, such as `5120 MiB, 40 objects`; else empty."""
    reports = re.findall(r"Spilled (\d+ MiB, \d+ objects)", log)
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
