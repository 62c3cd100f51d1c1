"""`why [ID]`: why a job waits or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import EXIT_REFUSED, EXIT_UNREACHABLE, LedgerFault, Refused
from .help import ANSWER_HELP, TARGET_HELP, Command, id_argument, option
from .options import output_option, target_options
from .output import notify, print_json, print_text
from .runner import open_ledger, run

if TYPE_CHECKING:
    from ..diagnose.evidence import Evidence
    from ..diagnose.finding import Finding
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
    evidence, findings = run(lambda: _diagnose(target, submission_id, prometheus, target_options))
    if output == "json":
        records = [{"kind": each.kind, "text": each.text, "do": each.remedy} for each in findings]
        print_json({"submission_id": evidence.submission_id, "findings": records})
    else:
        for finding in findings:
            _print(finding)
    raise SystemExit(_exit_code(evidence))


def _check_prometheus(url: str | None, options: TargetOptions) -> None:
    from ..target.contract import http_url_problem

    if url is not None and options.local:
        raise Refused("--prometheus has no effect with --local.", "Leave one of them out.")
    if url is not None and (problem := http_url_problem(url)):
        raise Refused(f"--prometheus {problem}.")


async def _diagnose(
    target: Target, submission_id: str | None, prometheus: str | None, options: TargetOptions
) -> tuple[Evidence, list[Finding]]:
    from ..diagnose.evidence import gather
    from ..diagnose.why import explain

    status = None if submission_id is None else _status_in_ledger(submission_id, target, options)
    evidence = await gather(target, submission_id, in_ledger=status, prometheus=prometheus, notify=notify)
    return evidence, explain(evidence)


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
