"""Why a job waits or failed: one answer from Ray's state and Kubernetes' objects. Pure; see why_evidence."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

from ..dashboard.orphans import older_than_the_head
from ..errors import NotAllowed, Refused
from ..retries import INFRASTRUCTURE
from ..spec.job_info import JobInfo
from .evidence import Evidence
from .finding import CAUSE, CLUE, FACT, UNREAD, Finding, cause, clue, fact, unread
from .from_kubernetes import about_kubernetes
from .resources import Group, Resources, asked_by, fits, groups_of, listed, short_of

ROLE = "docs/jobs-rbac.yaml has the Role that jobs needs"
_SUPERVISOR = "_ray_internal_job_actor_"
_ORDER = (FACT, CAUSE, CLUE, UNREAD)
_PYTHON_ERROR = re.compile(r"^(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt|Exit)\b.*", re.MULTILINE)
_SIGNALS = {137: "SIGKILL, often for want of memory", 143: "SIGTERM", 139: "a segmentation fault", 134: "an abort"}


def explain(evidence: Evidence) -> list[Finding]:
    """How the job stands (first), the causes, the clues, and what could not be read (last)."""
    cluster = [*about_kubernetes(evidence), *_about_versions(evidence)]
    if evidence.autoscaler_error:
        cluster.append(cause(f"Ray's autoscaler fails: {evidence.autoscaler_error.strip().splitlines()[-1]}"))
    found = [*_about_reach(evidence), *_about_job(evidence)]
    if _is_the_jobs_own(evidence, found):
        # What is wrong with the cluster now need not have to do with it.
        cluster = [Finding(CLUE, each.text, each.do) for each in cluster]
    found += cluster
    settled = evidence.job is not None and evidence.job.status in ("SUCCEEDED", "STOPPED")
    if evidence.submission_id and not settled and not any(each.kind == CAUSE for each in found):
        found.append(clue("Nothing that could be read explains it.", _next_step(evidence)))
    elif not evidence.submission_id and not found:
        found.append(fact("Nothing is wrong in what could be read."))
    for gap in evidence.gaps:
        found.append(unread(f"{gap.what}: {gap.why}", "" if gap.allowed else ROLE))
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda each: _ORDER.index(each.kind))


def _is_the_jobs_own(evidence: Evidence, found: list[Finding]) -> bool:
    """Whether the job's own record explains it: it ended by itself, or it runs and waits for nothing."""
    job = evidence.job
    if job is None:
        return False
    if job.status == "RUNNING":
        return len(found) == 1
    return job.ended and job.error_type not in INFRASTRUCTURE


def _next_step(evidence: Evidence) -> str:
    if evidence.job is not None and evidence.job.status == "RUNNING":
        return f"logs {evidence.submission_id} --follow"
    return f"logs {evidence.submission_id}" if evidence.job is not None and evidence.job.ended else "check"


def _about_reach(evidence: Evidence) -> Iterator[Finding]:
    error = evidence.ray_error
    if error is None:
        return
    if isinstance(error, NotAllowed):
        yield cause(f"Ray or Kubernetes does not let this user in: {error.what}", error.remedy)
    elif isinstance(error, Refused):
        yield cause(error.what, error.remedy)
    else:
        yield cause(f"Ray cannot be asked: {error.what}", error.remedy or "check")


def _about_job(evidence: Evidence) -> Iterator[Finding]:
    job, submission_id = evidence.job, evidence.submission_id
    if submission_id is None or not evidence.ray_reached:
        if submission_id is not None and evidence.in_ledger:
            yield fact(f"Job {submission_id} was {evidence.in_ledger} when this machine last saw it.")
        return
    if job is None:
        yield from _about_missing(evidence)
    elif job.status == "PENDING":
        yield from _about_pending(job, evidence)
    elif job.status == "RUNNING":
        yield from _about_running(job, evidence)
    elif job.status == "FAILED":
        yield from _about_failed(job, evidence)
    else:
        how = "It succeeded" if job.status == "SUCCEEDED" else "It was stopped: by `stop`, or by a deadline of `submit`"
        yield fact(f"Job {job.submission_id} is {job.status}. {how}.")


def _about_missing(evidence: Evidence) -> Iterator[Finding]:
    known = evidence.in_ledger
    yield fact(f"The server knows no job {evidence.submission_id}.")
    if known is None or known in ("REFUSED", "SUBMITTING"):
        yield cause("It was never accepted here, or another cluster has it.", "list")
    elif known == "DELETED":
        yield cause("It was deleted.", f"history {evidence.submission_id}")
    else:
        yield cause(
            f"It was {known} when this machine last saw it, so the server lost it: the head restarted without GCS "
            "fault tolerance, or somebody deleted the record.",
            f"rerun {evidence.submission_id}",
        )


def _age(job: JobInfo) -> str:
    if not job.start_time:
        return ""
    return f" for {max(0, int(time.time() - job.start_time / 1000))} s"


def _about_pending(job: JobInfo, evidence: Evidence) -> Iterator[Finding]:
    asked, labels = asked_by(job)
    waits = f" Its entrypoint reserves {listed(asked)}." if asked else ""
    yield fact(f"Job {job.submission_id} is PENDING{_age(job)}.{waits}")
    if older_than_the_head(job, evidence.nodes):
        yield cause(
            "It waits since before the head was replaced, and what was to start it went with the old head: it cannot "
            "start any more. Ray calls it FAILED 15 minutes after its submission.",
            f"rerun {job.submission_id}",
        )
        return
    actor = next((each for each in evidence.actors if each.get("name") == _SUPERVISOR + job.submission_id), None)
    if actor is not None:
        # What the server was really asked for counts more than what this client wrote down.
        asked = {key: float(value) for key, value in (actor.get("required_resources") or {}).items()} or asked
    if labels:
        yield from _about_labels(labels, evidence)
    if asked:
        yield from _about_demand(asked, evidence, "The entrypoint")
    elif "runtime environment" in job.message:
        packages = job.runtime_env.get("pip") or job.runtime_env.get("conda") or job.runtime_env.get("uv")
        what = " (it installs packages, which needs a way to their index)" if packages else ""
        yield cause(f"Its runtime environment is being set up on the node{what}.", f"status {job.submission_id}")


def _about_labels(labels: dict[str, str], evidence: Evidence) -> Iterator[Finding]:
    alive = [node for node in evidence.nodes if node.get("state") == "ALIVE"]
    for key, value in labels.items():
        has = sorted({str((node.get("labels") or {}).get(key)) for node in alive if key in (node.get("labels") or {})})
        if alive and not value.startswith("!") and "(" not in value and value not in has:
            yield cause(f"No node has the label {key}={value}; nodes have: {', '.join(has) or 'no such label'}.")


def _about_demand(asked: Resources, evidence: Evidence, who: str) -> Iterator[Finding]:
    """Why nothing gives `asked` now: no such node, the group that would bring one, or all being busy."""
    nodes = [node.get("resources_total") or {} for node in evidence.nodes if node.get("state") == "ALIVE"]
    groups = groups_of(evidence.ray_cluster, evidence.pods) if evidence.ray_cluster else []
    if not evidence.nodes:
        return
    if any(fits(asked, node) for node in nodes):
        others = [each.submission_id for each in evidence.jobs if each.status == "RUNNING" and each.submission_id]
        shown = f" Running now: {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}." if others else ""
        yield cause(
            f"{who} waits for {listed(asked)}: nodes of that size are there, and busy.{shown}", "list --status RUNNING"
        )
        return
    lacking = ", ".join(short_of(asked, nodes)) or f"{listed(asked)} on one node"
    bringing = [group for group in groups if fits(asked, group.each)]
    if not groups:
        yield cause(f"{who} needs {lacking}.", "Ask for less, or add a larger node or worker group.")
    elif not bringing:
        sizes = "; ".join(f"{group.name}: {listed(group.each)}" for group in groups)
        yield cause(
            f"{who} needs {lacking}, and no worker group would bring it: it can never start. A node of each: {sizes}.",
            "Ask for less, or add such a worker group to the stack.",
        )
    else:
        yield from _about_groups(asked, bringing, who)


def _about_groups(asked: Resources, bringing: Sequence[Group], who: str) -> Iterator[Finding]:
    free = [group for group in bringing if group.running < group.most and not group.suspended]
    names = ", ".join(group.name for group in free or bringing)
    if free:
        yield clue(
            f"{who} needs {listed(asked)}: a new node of the worker group {names} would do, as soon as its pod runs.",
        )
    elif all(group.suspended for group in bringing):
        yield cause(f"{who} needs {listed(asked)}: only the worker group {names} would do, and it is suspended.")
    else:
        yield cause(
            f"{who} needs {listed(asked)}: only the worker group {names} would do, and it is at its maximum "
            f"({', '.join(f'{group.running} of {group.most}' for group in bringing)}).",
            "Raise maxReplicas in the stack's config, or wait for other jobs.",
        )


def _about_running(job: JobInfo, evidence: Evidence) -> Iterator[Finding]:
    yield fact(f"Job {job.submission_id} is RUNNING{_age(job)}.")
    mine = [
        each
        for each in [*evidence.tasks, *evidence.actors]
        if job.job_id is not None
        and each.get("job_id") == job.job_id
        and not str(each.get("name")).startswith(_SUPERVISOR)
    ]
    demands: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for each in mine:
        asked = {key: float(value) for key, value in (each.get("required_resources") or {}).items()}
        demands.setdefault(tuple(sorted(asked.items())), []).append(str(each.get("name") or each.get("class_name")))
    for asked_items, names in demands.items():
        if asked_items:
            who = f"{len(names)} task(s) or actor(s) of the job ({', '.join(sorted(set(names))[:3])})"
            yield from _about_demand(dict(asked_items), evidence, who)


def _about_failed(job: JobInfo, evidence: Evidence) -> Iterator[Finding]:
    kind, code = job.error_type or "", job.driver_exit_code
    yield fact(f"Job {job.submission_id} FAILED{f' ({kind})' if kind else ''}{f', exit code {code}' if code else ''}.")
    if kind == "RUNTIME_ENV_SETUP_FAILURE":
        yield cause(
            f"Its runtime environment could not be made: {_last_error(job.message)}", _environment_help(job.message)
        )
    elif kind == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT":
        yield cause("It was given up after the cluster's start timeout (RAY_JOB_START_TIMEOUT_SECONDS, 900 s).")
        asked, labels = asked_by(job)
        if labels:
            yield from _about_labels(labels, evidence)
        if asked:
            yield from _about_demand(asked, evidence, "The entrypoint")
    elif kind == "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE":
        yield cause(f"No node can take its driver: {_last_error(job.message)}", "check")
    elif kind in INFRASTRUCTURE:
        yield cause(
            f"The process that ran it went away: its node or pod ended, or it ran out of memory. "
            f"{_last_error(job.message)}",
            f"rerun {job.submission_id}, or submit with --retries",
        )
    elif kind == "JOB_ENTRYPOINT_COMMAND_START_ERROR":
        yield cause(f"Its entrypoint could not be started: {_last_error(job.message)}")
    else:
        yield cause(*_about_exit(job))


def _about_exit(job: JobInfo) -> tuple[str, str]:
    code, message, logs = job.driver_exit_code, job.message, f"logs {job.submission_id}"
    missing = re.search(r"No module named '([^']+)'", message)
    if missing:
        return (
            f"Its program needs the Python module {missing[1]!r}, which the cluster does not have.",
            "Put it into the working_dir, into runtime_env's pip, or into the image.",
        )
    if code == 127 or "command not found" in message or ": not found" in message:
        return "Its command was not found: is it in the image, and in the working_dir?", logs
    if "can't open file" in message or "No such file or directory" in message:
        return f"A file was not found: {_last_error(message)}. Was it uploaded?", "submit --plan with its --working-dir"
    if "OutOfMemory" in message or "ray.exceptions.OutOfMemoryError" in message:
        return f"It ran out of memory: {_last_error(message)}", "Let fewer tasks run at once, or raise the memory."
    if code in _SIGNALS or (code is not None and code < 0):
        number = code if code in _SIGNALS else 128 - (code or 0)
        return f"Its process was ended by a signal ({_SIGNALS.get(number, f'signal {number - 128}')}).", logs
    return f"Its own program failed: {_last_error(message)}", logs


def _environment_help(message: str) -> str:
    if "No matching distribution" in message or "Could not find a version" in message:
        return "Check the name and version, and whether the pods reach a package index; or put it into the image."
    if "Failed to download" in message:
        return "Submit again: the package is uploaded anew."
    return ""


def _last_error(message: str) -> str:
    """The line of a message that says most: the last of pip's errors, of Python's, or the last line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for pattern in (re.compile(r"^ERROR: .*"), _PYTHON_ERROR):
        chosen = [line for line in lines if pattern.match(line)]
        if chosen:
            return chosen[-1][:400]
    return lines[-1][:400] if lines else "no message"


def _about_versions(evidence: Evidence) -> Iterator[Finding]:
    expected, found = evidence.expected_version, evidence.ray_version
    if expected and found and expected != found:
        yield clue(f"The stack says Ray {expected}, the server runs {found}: its pods are older or newer.", "pulumi up")
