"""Why a job waits or failed: findings from the evidence. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ..dashboard.client import not_submitted
from ..dashboard.orphans import is_older_than_head
from ..errors import NotAllowed, Refused, command_line, number_of
from ..retries import INFRASTRUCTURE
from ..spec.job_info import JobInfo, invalid_request
from .alerts import about_alerts
from .causes import cause_of, environment_remedy, memory_remedy
from .evidence import Evidence
from .failure import Failure, groups_by_ip, last_error, last_failure, memory_kills, node_name, spilled
from .finding import ALERT, CAUSE, CLUE, FACT, UNREAD, Finding, cause, clue, fact, unread
from .from_kubernetes import about_ended_pods, about_kubernetes
from .resources import Group, Resources, demand_of, fits, groups_of, resource_list, shortages

ROLE = "docs/jobs-rbac.yaml contains the Role that is required"
_SUPERVISOR = "_ray_internal_job_actor_"
_ORDER = (FACT, CAUSE, CLUE, ALERT, UNREAD)
# The error types of jobs whose program did not run to its end.
_NOT_OF_PROGRAM = INFRASTRUCTURE | {"RUNTIME_ENV_SETUP_FAILURE", "JOB_ENTRYPOINT_COMMAND_START_ERROR"}
_SIGNALS = {137: "SIGKILL, often out of memory", 143: "SIGTERM", 139: "a segmentation fault", 134: "an abort"}


def explain(evidence: Evidence) -> list[Finding]:
    """Returns the state of the job, the causes, the clues, the alerts, and what could not be read, in this order."""
    cluster = [*about_kubernetes(evidence), *_about_versions(evidence)]
    if evidence.autoscaler_error:
        cluster.append(cause(f"Ray's autoscaler fails: {evidence.autoscaler_error.strip().splitlines()[-1]}"))
    findings = [*_about_reach(evidence), *_about_job(evidence)]
    if _explained_by_the_job(evidence, findings):
        # A problem that the cluster has now may have nothing to do with the job.
        ends_of_pods = set(about_ended_pods(evidence)) if _points_to_cluster(evidence) else set()
        cluster = [each if each in ends_of_pods else clue(each.text, each.remedy) for each in cluster]
    findings += cluster
    findings += about_alerts(evidence.alerts, evidence.read_at, with_place=evidence.cluster is None)
    job = evidence.job
    needs_no_cause = job is not None and (job.is_driver or job.status in ("SUCCEEDED", "STOPPED"))
    if evidence.submission_id and not needs_no_cause and not any(finding.kind == CAUSE for finding in findings):
        findings.append(clue("No cause found.", _next_step(evidence)))
    elif not evidence.submission_id and not findings:
        findings.append(fact("No problems found."))
    for gap in evidence.gaps:
        findings.append(unread(f"{gap.name}: {gap.reason}", gap.remedy or ("" if gap.allowed else ROLE)))
    unique = list(dict.fromkeys(findings))
    return sorted(unique, key=lambda finding: _ORDER.index(finding.kind))


def _explained_by_the_job(evidence: Evidence, findings: list[Finding]) -> bool:
    """Returns whether the job's own record is the explanation: it ended by itself, or it runs and waits for nothing."""
    job = evidence.job
    if job is None:
        return False
    if job.status == "RUNNING":
        return len(findings) == 1
    return job.ended and (job.error_type not in INFRASTRUCTURE or bool(invalid_request(job)))


def _next_step(evidence: Evidence) -> str:
    if evidence.job is not None and evidence.job.status == "RUNNING":
        return command_line(f"logs --follow {evidence.submission_id}")
    ended = evidence.job is not None and evidence.job.ended
    return command_line(f"logs {evidence.submission_id}") if ended else command_line("check")


def _about_reach(evidence: Evidence) -> Iterator[Finding]:
    error = evidence.ray_error
    if error is None:
        return
    if isinstance(error, NotAllowed):
        yield cause(f"Ray or Kubernetes does not accept this user: {error.message}", error.remedy)
    elif isinstance(error, Refused):
        yield cause(error.message, error.remedy)
    else:
        yield cause(f"Could not connect to Ray: {error.message}", error.remedy or command_line("check"))


def _about_job(evidence: Evidence) -> Iterator[Finding]:
    job, submission_id = evidence.job, evidence.submission_id
    if submission_id is None or not evidence.ray_reached:
        if submission_id is not None and evidence.in_ledger:
            yield fact(f"Job {submission_id} was {evidence.in_ledger} when a command on this machine last saw it.")
        return
    if job is None:
        yield from _about_missing(evidence)
    elif job.is_driver:
        error = not_submitted(job)
        yield fact(f"Job {submission_id} is {job.status}.")
        yield clue(error.message, error.remedy)
    elif job.status == "PENDING":
        yield from _about_pending(job, evidence)
    elif job.status == "RUNNING":
        yield from _about_running(job, evidence)
    elif job.status == "FAILED":
        yield from _about_failed(job, evidence)
    else:
        how = "." if job.status == "SUCCEEDED" else ": by the `stop` command, or by a time limit of `submit`."
        yield fact(f"Job {job.submission_id} ended with {job.status}{how}")


def _about_missing(evidence: Evidence) -> Iterator[Finding]:
    status = evidence.in_ledger
    yield fact(f"The server knows no job {evidence.submission_id}.")
    if status is None or status in ("REFUSED", "SUBMITTING"):
        yield cause("This cluster never accepted it, or another cluster has it.", command_line("list"))
    elif status == "DELETED":
        yield cause("It was deleted.", command_line(f"history {evidence.submission_id}"))
    else:
        yield cause(
            f"It was {status} when a command on this machine last saw it, so the server lost it: the head restarted "
            "without GCS fault tolerance, or another client deleted the record.",
            command_line(f"rerun {evidence.submission_id}"),
        )


def _age(job: JobInfo, now: float) -> str:
    return f" for {max(0, int(now - job.start_time / 1000))} s" if job.start_time else ""


def _about_pending(job: JobInfo, evidence: Evidence) -> Iterator[Finding]:
    demand, labels = demand_of(job)
    waits = f" Its entrypoint reserves {resource_list(demand)}." if demand else ""
    yield fact(f"Job {job.submission_id} is PENDING{_age(job, evidence.read_at)}.{waits}")
    if is_older_than_head(job, evidence.nodes):
        yield cause(
            "It cannot start any more: it is older than the head, and the process that had to start it ended with the "
            "old head. Ray sets it to FAILED 15 minutes after its submission.",
            command_line(f"rerun {job.submission_id}"),
        )
        return
    actor = next((each for each in evidence.actors if each.get("name") == _SUPERVISOR + job.submission_id), None)
    if actor is not None:
        # The server's own record counts more than the client's.
        demand = {key: float(value) for key, value in (actor.get("required_resources") or {}).items()} or demand
    if labels:
        yield from _about_labels(labels, evidence)
    if demand:
        yield from _about_demand(demand, evidence, "The entrypoint")
    elif "runtime environment" in job.message:
        packages = job.runtime_env.get("pip") or job.runtime_env.get("conda") or job.runtime_env.get("uv")
        note = " (it installs packages, so the node must reach the package index)" if packages else ""
        yield cause(
            f"Its runtime environment is being set up on the node{note}.", command_line(f"status {job.submission_id}")
        )


def _about_labels(labels: dict[str, str], evidence: Evidence) -> Iterator[Finding]:
    alive = [node for node in evidence.nodes if node.get("state") == "ALIVE"]
    for key, value in labels.items():
        has = sorted({str((node.get("labels") or {}).get(key)) for node in alive if key in (node.get("labels") or {})})
        if alive and not value.startswith("!") and "(" not in value and value not in has:
            yield cause(f"No node has the label {key}={value}; nodes have: {', '.join(has) or 'no such label'}.")


def _about_demand(demand: Resources, evidence: Evidence, who: str) -> Iterator[Finding]:
    """Explains why no node gives these resources now: none is large enough, or all that are large enough are busy."""
    nodes = [node.get("resources_total") or {} for node in evidence.nodes if node.get("state") == "ALIVE"]
    groups = groups_of(evidence.ray_cluster, evidence.pods) if evidence.ray_cluster else []
    if not evidence.nodes:
        return
    if any(fits(demand, node) for node in nodes):
        running = [job.submission_id for job in evidence.jobs if job.status == "RUNNING" and job.submission_id]
        shown = f" Running now: {', '.join(running[:5])}{', ...' if len(running) > 5 else ''}." if running else ""
        yield cause(
            f"{who} waits for {resource_list(demand)}: there are large enough nodes, but they are busy.{shown}",
            command_line("list --status RUNNING"),
        )
        return
    missing = ", ".join(shortages(demand, nodes)) or f"{resource_list(demand)} on one node"
    large_enough = [group for group in groups if fits(demand, group.each)]
    if not groups:
        yield cause(f"{who} needs {missing}.", "Reserve less, or add a larger node or worker group.")
    elif not large_enough:
        sizes = "; ".join(f"{group.name}: {resource_list(group.each)}" for group in groups)
        yield cause(
            f"{who} needs {missing}, but no worker group has such nodes: it can never start. One node has in {sizes}.",
            "Reserve less, or add such a worker group to the stack.",
        )
    else:
        yield from _about_groups(demand, large_enough, who)


def _about_groups(demand: Resources, groups: Sequence[Group], who: str) -> Iterator[Finding]:
    """Explains the state of the worker groups whose nodes are large enough."""
    growing = [group for group in groups if group.running < group.most and not group.suspended]
    names = ", ".join(group.name for group in growing or groups)
    needs = f"{who} needs {resource_list(demand)}"
    if growing:
        yield clue(f"{needs}: it can run on a new node of the worker group {names}, when its pod is ready.")
    elif all(group.suspended for group in groups):
        yield cause(f"{needs}: only the worker group {names} is large enough, and it is suspended.")
    else:
        sizes = ", ".join(f"{group.running} of {group.most}" for group in groups)
        yield cause(
            f"{needs}: only the worker group {names} is large enough, and it is at its maximum ({sizes}).",
            "Raise maxReplicas in the stack's config, or wait for other jobs.",
        )


def _about_running(job: JobInfo, evidence: Evidence) -> Iterator[Finding]:
    yield fact(f"Job {job.submission_id} is RUNNING{_age(job, evidence.read_at)}.")
    waiting = [
        work
        for work in [*evidence.tasks, *evidence.actors]
        if job.job_id is not None
        and work.get("job_id") == job.job_id
        and not str(work.get("name")).startswith(_SUPERVISOR)
    ]
    names_by_demand: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for work in waiting:
        demand = {key: float(value) for key, value in (work.get("required_resources") or {}).items()}
        name = str(work.get("name") or work.get("class_name"))
        names_by_demand.setdefault(tuple(sorted(demand.items())), []).append(name)
    for amounts, names in names_by_demand.items():
        if amounts:
            work_text = "A task or actor" if len(names) == 1 else f"Each of {len(names)} tasks or actors"
            who = f"{work_text} of the job ({', '.join(sorted(set(names))[:3])})"
            yield from _about_demand(dict(amounts), evidence, who)
    yield from _about_memory(evidence, cause)


def _about_failed(job: JobInfo, evidence: Evidence) -> Iterator[Finding]:
    kind, code = job.error_type or "", job.driver_exit_code
    yield fact(f"Job {job.submission_id} FAILED{f' ({kind})' if kind else ''}{f', exit code {code}' if code else ''}.")
    if kind == "RUNTIME_ENV_SETUP_FAILURE":
        yield cause(
            f"Its runtime environment could not be set up: {last_error(job.message)}", environment_remedy(job.message)
        )
    elif kind == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT":
        yield cause("It did not start within the cluster's start timeout (RAY_JOB_START_TIMEOUT_SECONDS, 900 s).")
        demand, labels = demand_of(job)
        if labels:
            yield from _about_labels(labels, evidence)
        if demand:
            yield from _about_demand(demand, evidence, "The entrypoint")
    elif kind == "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE":
        yield cause(f"No node can run its driver: {last_error(job.message)}", command_line("check"))
    elif reason := invalid_request(job):
        yield cause(
            f"Ray refused its runtime_env or its resources: {reason}",
            "Correct the job and submit it again; another attempt of the same job fails too.",
        )
    elif kind in INFRASTRUCTURE:
        yield cause(
            f"The process that ran it ended: its node or pod is gone, or it ran out of memory. "
            f"{last_error(job.message)} With --retries, `submit` tries again by itself.",
            command_line(f"rerun {job.submission_id}"),
        )
    elif kind == "JOB_ENTRYPOINT_COMMAND_START_ERROR":
        yield cause(f"Its entrypoint could not be started: {last_error(job.message)}")
    else:
        yield from _about_program(job, evidence)


def _about_memory(evidence: Evidence, kind: Callable[[str, str], Finding]) -> Iterator[Finding]:
    """Reports what the raylets wrote into the log about memory."""
    groups = groups_by_ip(evidence.pods)
    for ip, workers in memory_kills(evidence.log_end).items():
        yield kind(
            f"Ray killed {number_of(workers, 'worker')} because {node_name(ip, groups)} ran out of memory. "
            "It repeats such tasks.",
            memory_remedy(groups.get(ip)),
        )
    if amount := spilled(evidence.log_end):
        yield clue(
            f"The object store was full: Ray moved objects to the disk ({amount}), which is slow.",
            "Raise `object-store-memory` in rayStartParams and `memory` of the group in the stack's config.",
        )


def _failure_of(job: JobInfo, evidence: Evidence) -> Failure:
    return last_failure(evidence.log_end or job.message, groups_by_ip(evidence.pods))


def _points_to_cluster(evidence: Evidence) -> bool:
    """Returns whether the program failed since a node, a worker or an actor ended, or ran out of memory."""
    job = evidence.job
    if job is None or job.status != "FAILED" or job.error_type in _NOT_OF_PROGRAM:
        return False
    kind = cause_of(_failure_of(job, evidence))
    return kind is not None and kind.of_cluster


def _about_program(job: JobInfo, evidence: Evidence) -> Iterator[Finding]:
    """Explains the end of the entrypoint, by its exit code and the end of its log."""
    failure, code, logs = _failure_of(job, evidence), job.driver_exit_code, command_line(f"logs {job.submission_id}")
    kind = cause_of(failure)
    if code == 127 or re.search(r"command not found|: not found$", failure.error):
        yield cause("Its command was not found. Is it in the image, or in the working_dir?", logs)
    elif code in _SIGNALS or (code is not None and code < 0):
        number = code if code in _SIGNALS else 128 - (code or 0)
        yield cause(f"A signal ended its process ({_SIGNALS.get(number, f'signal {number - 128}')}).", logs)
    elif kind is not None:
        yield cause(kind.describe(failure), kind.remedy(failure) or logs)
    else:
        task = f" in the task {failure.task}" if failure.task else ""
        yield cause(f"Its program failed{task}: {failure.error}{failure.where}", logs)
        if failure.last_line:
            yield clue(f"The log ends with: {failure.last_line}")
    yield from _about_memory(evidence, clue)


def _about_versions(evidence: Evidence) -> Iterator[Finding]:
    expected, running = evidence.expected_version, evidence.ray_version
    if expected and running and expected != running:
        yield clue(
            f"The stack has Ray {expected}, the server runs {running}: its pods are older or newer.", "pulumi up"
        )
