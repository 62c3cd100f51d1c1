"""The kinds of failures of a program, in one table: their sentence, and the setting that helps. Pure.

The texts are Ray's: `ray/exceptions.py`, and the messages of the raylet and the GCS (of 2.9 to 2.60).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import command, command_line
from .failure import Failure, last_error, node_name

_NO_INDEX = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|Temporary failure in name resolution|ProxyError"
    r"|Connection refused|dns error"
)
# 2.9: `... was running was 14.37GB / 15.11GB (0.95), which ...`; 2.60: `... was 0.96GB used / 1.00GB limit (0.96)`.
_MEMORY = re.compile(
    r"Memory on the node \(IP: (?P<ip>[^,\s]{1,60}),[^)]{0,200}\)(?:.{0,400}? was running)? was "
    r"(?P<used>[\d.]{1,20})GB(?: used)? / (?P<allowed>[\d.]{1,20})GB",
    re.DOTALL,
)
_NODE_IP = re.compile(r"(?:Node IP: |node ip: |\(ip=|\bip: )(?P<ip>[0-9a-fA-F.:]{0,60}[0-9a-fA-F])")


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
        return f"Ray killed a task or an actor because its node ran out of memory: {failure.error}{failure.where}"
    node = node_name(match["ip"], failure.groups)
    used = f"{node} used {match['used']} of {match['allowed']} GB"
    return f"Ray killed a task or an actor because its node ran out of memory: {used}.{_raised_at(failure)}"


def _raised_at(failure: Failure) -> str:
    return f" The program ended at {failure.frame}." if failure.frame else ""


def _memory_remedy(failure: Failure) -> str:
    match = _MEMORY.search(failure.text)
    return memory_remedy(failure.groups.get(match["ip"]) if match else None)


def _node_died(failure: Failure) -> str:
    match = _NODE_IP.search(failure.text)
    node = f": {node_name(match['ip'], failure.groups)}" if match else ""
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


def _other_version(failure: Failure) -> str:
    versions = re.findall(r"^[ \t]{1,20}(Ray|Python): (\S{1,40})", failure.text, re.MULTILINE)
    named = ", ".join(f"{name} {version}" for name, version in versions[:4])
    return f"The program runs with another Ray or Python than the cluster: {named} (first the cluster's)."


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
        _exception(
            "ObjectLostError",
            "ObjectReconstructionFailedError",
            "OwnerDiedError",
            "ObjectFetchTimedOutError",
            "ObjectFreedError",
            "ReferenceCountingAssertionError",
        ),
        lambda failure: "An object is lost: the node or the process that had it ended: "
        + f"{failure.error.partition(' To see information')[0]}{failure.where}",
        _always(f"{_REPEAT} An object of `ray.put` cannot be made again: return it from a task."),
        of_cluster=True,
    ),
    Cause(
        "not schedulable",
        _exception("TaskUnschedulableError", "ActorUnschedulableError"),
        _in_words("No node can ever run a task or an actor of it"),
        _always(f"{command('check')} shows the cluster's resources."),
    ),
    Cause(
        "placement group removed",
        _exception("TaskPlacementGroupRemoved", "ActorPlacementGroupRemoved"),
        _in_words("The placement group of a task or an actor was removed"),
        _always("Keep the placement group until its tasks and actors have ended (`remove_placement_group`)."),
    ),
    Cause(
        "time limit of ray.get",
        _exception("GetTimeoutError"),
        _in_words("The program waited no longer for a task or an actor"),
        _always(f"While the job runs, {command('why ID')} shows what they wait for. Or raise `timeout` of `ray.get`."),
    ),
    Cause(
        "too many calls of an actor",
        _exception("PendingCallsLimitExceeded"),
        _in_words("Too many calls waited for an actor"),
        _always("Raise its `max_pending_calls`, or wait for results before more calls (`ray.wait`)."),
    ),
    Cause(
        "token",
        _exception("AuthenticationError"),
        _in_words("The program has no valid token for the cluster"),
        _always("Do not change RAY_AUTH_MODE, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH in env_vars of the runtime_env."),
    ),
    Cause(
        "Ray version",
        re.compile(r"Version mismatch: The cluster was started with"),
        _other_version,
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
        _always(command_line("submit --plan --working-dir DIR")),
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


def environment_remedy(message: str) -> str:
    """Returns what helps if a runtime environment could not be set up; may be empty."""
    if _NO_INDEX.search(message):
        return "The pods do not reach the package index: set PIP_INDEX_URL in the image, or add the package to it."
    if re.search(r"No matching distribution|Could not find a version|Because .* was not found|NotFound", message):
        return "Check the name and the version, and that the pods reach a package index; or add it to the image."
    if "Failed to download" in message:
        return "Submit it again: the package is then uploaded again."
    return ""


def memory_remedy(group: str | None) -> str:
    """Returns what helps if a node of this worker group, of the `head`, or an unknown one, runs out of memory."""
    place = {None: "of its nodes", "head": "of the head"}.get(group, f"of the worker group {group}")
    return (
        f"Raise `memory` {place} in the stack's config, or reserve it for each task (`@ray.remote(memory=BYTES)`), "
        "so that fewer run at once."
    )
