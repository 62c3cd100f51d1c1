"""`why [ID]`: why a job waits or failed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ..diagnose.finding import FACT
from ..errors import EXIT_REFUSED, EXIT_UNREACHABLE, LedgerFault, Refused, UnknownJob
from ..spec.shown import SENTENCE_LIMIT, shown
from .help import ANSWER_HELP, TARGET_HELP, Command, id_argument, option
from .kept import KEEPER_SECONDS, ask_keeper, say_from_keeper
from .options import output_option, target_options
from .output import local_time, notify, print_json, print_text
from .runner import open_ledger, run

if TYPE_CHECKING:
    from ..diagnose.evidence import Evidence
    from ..diagnose.finding import Finding
    from ..keeper.client import KeeperApi, KeptJob
    from ..ledger.records import Place
    from ..target.options import TargetOptions
    from ..target.resolve import Target

_TITLES = {"fact": "", "cause": "cause", "clue": "clue", "alert": "alert", "unread": "not read"}


@click.command("why", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@id_argument("submission_id", metavar="[ID]", required=False)
@option("--prometheus", metavar="URL", help="Prometheus to ask for alerts, instead of the stack's.")
@output_option
@target_options
def why_command(submission_id: str | None, prometheus: str | None, output: str, target_options: TargetOptions) -> None:
    """Explain why a job waits or failed, and show what helps. Without an ID, look for problems of the cluster.

    The answer comes from Ray (the job, its resources, the nodes, the autoscaler) and from Kubernetes (the RayCluster,
    its pods and their events, quotas). It needs no cluster-wide right, and names what this user may not read. If the
    stack names its Prometheus, the alerts that fire for this cluster come last.

    If the cluster has a keeper, what it recorded when the job failed comes after that, with the time: by now the pods
    and their events may be gone. It also answers for a job that Ray has forgotten.

    \b
    Examples:
      rayjobs why raysubmit_1f0c
      rayjobs why
      rayjobs why raysubmit_1f0c --output json
      rayjobs why --prometheus https://prometheus.example.com
    """
    from ..target.resolve import resolve

    _check_prometheus(prometheus, target_options)
    target = resolve(target_options, notify=notify)
    evidence, findings, kept = run(lambda: _diagnose(target, submission_id, prometheus, target_options))
    if output == "json":
        answer: dict[str, Any] = {"submission_id": evidence.submission_id, "findings": _as_json(findings)}
        if kept is not None:
            answer["kept"] = {"at": kept.at, "status": kept.job.entry.status, "findings": _as_json(kept.findings)}
        print_json(answer)
    else:
        for finding in findings:
            _print(finding)
        if kept is not None:
            _print_kept(kept, evidence)
    is_answered = kept is not None and (evidence.ray_reached or kept.job.entry.ended)
    raise SystemExit(0 if is_answered else _exit_code(evidence))


def _check_prometheus(url: str | None, options: TargetOptions) -> None:
    from ..target.contract import http_url_problem

    if url is not None and options.local:
        raise Refused("--prometheus has no effect with --local.", "Leave one of them out.")
    if url is not None and (problem := http_url_problem(url)):
        raise Refused(f"--prometheus {problem}.")


@dataclass(frozen=True)
class _Kept:
    """What the keeper has of a job.

    Attributes:
        job: The job.
        findings: Why it failed or waited.
        at: When that was found, in seconds since the epoch; None: it is read from the kept log now.
    """

    job: KeptJob
    findings: list[Finding]
    at: float | None


async def _diagnose(
    target: Target, submission_id: str | None, prometheus: str | None, options: TargetOptions
) -> tuple[Evidence, list[Finding], _Kept | None]:
    import asyncio

    from ..diagnose.evidence import gather
    from ..diagnose.why import explain

    status = None if submission_id is None else _status_in_ledger(submission_id, target, options)
    evidence, kept = await asyncio.gather(
        gather(target, submission_id, in_ledger=status, prometheus=prometheus, notify=notify),
        _ask_keeper(target, submission_id),
    )
    findings = explain(evidence)
    if kept is None:
        return evidence, findings, None
    if evidence.job is None:
        if evidence.ray_reached:
            # "The server knows no job" and what may be the reason: the keeper knows better.
            findings = []
        return evidence, findings, kept
    texts = {finding.text for finding in findings}
    news = [finding for finding in kept.findings if finding.kind != FACT and finding.text not in texts]
    if kept.at is None or not evidence.job.ended or not news:
        return evidence, findings, None
    return evidence, findings, replace(kept, findings=news)


async def _ask_keeper(target: Target, submission_id: str | None) -> _Kept | None:
    """Asks the keeper for a job, with why it failed: as recorded at that time, else from the kept log."""
    if submission_id is None:
        return None

    async def work(keeper: KeeperApi) -> _Kept | None:
        job = await keeper.job(submission_id, KEEPER_SECONDS)
        if job is None:
            return None
        if (why := job.why) is not None:
            return _Kept(job, why.findings, why.at)
        return _Kept(job, await _explain_from_log(keeper, job), None)

    return await ask_keeper(target, work)


async def _explain_from_log(keeper: KeeperApi, job: KeptJob) -> list[Finding]:
    from ..dashboard.log_end import END_LINES
    from ..diagnose.evidence import Evidence
    from ..diagnose.why import explain

    info = job.info
    if info.status != "FAILED":
        return []
    try:
        log_end = (await keeper.last_lines(info.submission_id, END_LINES)).decode(errors="replace")
    except UnknownJob:
        log_end = ""
    evidence = Evidence(info.submission_id, job=info.shown(), ray_reached=True, log_end=log_end)
    return [finding for finding in explain(evidence) if finding.kind != FACT]


def _status_in_ledger(submission_id: str, target: Target, options: TargetOptions) -> str | None:
    try:
        entry = open_ledger(options.ledger).get(submission_id)
    except LedgerFault as error:
        notify(str(error))
        return None
    return entry.status if entry is not None and _is_place_of(target, entry.place) else None


def _is_place_of(target: Target, place: Place) -> bool:
    """Returns whether a job of the ledger went to this target. A cluster is compared by name: it may not be
    reachable."""
    from ..target.resolve import ClusterTarget, UrlTarget

    if isinstance(target, ClusterTarget):
        return (place.namespace, place.cluster) == (target.cluster.namespace, target.cluster.name)
    return place.identity == target.url if isinstance(target, UrlTarget) else place.kind == "local"


def _as_json(findings: list[Finding]) -> list[dict[str, str]]:
    return [{"kind": each.kind, "text": each.text, "do": each.remedy} for each in findings]


def _print_kept(kept: _Kept, evidence: Evidence) -> None:
    job = kept.job
    at = f" at {local_time(kept.at)}" if kept.at else ""
    if evidence.job is None:
        say_from_keeper([job], forgotten=evidence.ray_reached)
        entry = job.entry
        code = f", exit code {entry.driver_exit_code}" if entry.driver_exit_code else ""
        print_text(f"Job {entry.submission_id} is {entry.status} since {local_time(entry.status_at)}{code}.")
        if entry.status == "LOST" and entry.message:
            print_text(shown(entry.message, SENTENCE_LIMIT, lines=True))
        if kept.findings and at:
            print_text(f"Recorded{at}:")
    else:
        print_text(f"Recorded{at} by {job.keeper}:")
    for finding in kept.findings:
        _print(finding)


def _print(finding: Finding) -> None:
    title = _TITLES[finding.kind]
    print_text(f"{title + ':':<10}{finding.text}" if title else finding.text)
    if finding.remedy:
        print_text(f"{'':<10}-> {finding.remedy}")


def _exit_code(evidence: Evidence) -> int:
    """Returns 0 if Ray or Kubernetes answered; 2 for a job that neither the server nor the ledger knows."""
    if not evidence.ray_reached and not evidence.kube_read:
        return EXIT_UNREACHABLE
    unknown = evidence.ray_reached and evidence.submission_id and evidence.job is None and evidence.in_ledger is None
    return EXIT_REFUSED if unknown else 0
