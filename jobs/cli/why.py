"""`why ID`: one answer for a job that waits or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import EXIT_REFUSED, EXIT_UNREACHABLE, LedgerFault
from .options import TARGET_HELP, output_option, print_json, recorder_of, run, say, target_options

if TYPE_CHECKING:
    from ..diagnose.evidence import Evidence
    from ..diagnose.finding import Finding
    from ..ledger.store import Place
    from ..target.resolve import Options, Target

_TITLES = {"fact": "", "cause": "cause", "clue": "clue", "unread": "not read"}


@click.command("why")
@click.argument("submission_id", metavar="[ID]", required=False)
@output_option
@target_options
def why_command(submission_id: str | None, output: str, target_options: Options) -> None:
    """Say why a job waits or failed, with the command that helps; without an ID, what is wrong with the cluster.

    It looks at Ray (the job, its demand, the nodes, the autoscaler) and at Kubernetes (the RayCluster, its pods and
    their events, quotas). It needs no cluster-wide right; what this user may not read it says. Exits 0 whenever it
    could answer.

    \b
    Examples:
      jobs why raysubmit_1f0c
      jobs why
      jobs why raysubmit_1f0c --output json
    """
    from ..target.resolve import resolve

    target = resolve(target_options, note=say)
    evidence, findings = run(lambda: _answer(target, submission_id, target_options))
    if output == "json":
        print_json({"submission_id": submission_id, "findings": [vars(finding) for finding in findings]})
    else:
        click.echo(render(findings))
    raise SystemExit(exit_code(evidence))


why_command.epilog = TARGET_HELP


async def _answer(target: Target, submission_id: str | None, options: Options) -> tuple[Evidence, list[Finding]]:
    from ..diagnose.evidence import gather
    from ..diagnose.why import explain

    known: Any = None
    if submission_id is not None:
        try:
            known = recorder_of(target, "", options).ledger.get(submission_id)
        except LedgerFault as error:
            say(str(error))
    if known is not None and not _goes_there(known.place, target):
        known = None
    evidence = await gather(target, submission_id, in_ledger=known.status if known else None, note=say)
    return evidence, explain(evidence)


def _goes_there(place: Place, target: Target) -> bool:
    """Whether a job of the ledger went to this target. Of a cluster the name has to do: it may not be reachable."""
    from ..target.resolve import ClusterTarget, UrlTarget

    if isinstance(target, ClusterTarget):
        return (place.namespace, place.cluster) == (target.cluster.namespace, target.cluster.name)
    return place.identity == target.url if isinstance(target, UrlTarget) else place.kind == "local"


def render(findings: list[Finding]) -> str:
    """A line a finding, what to do about it below."""
    lines = []
    for finding in findings:
        title = _TITLES[finding.kind]
        lines.append(f"{title + ':' if title else '':<10}{finding.text}" if title else finding.text)
        if finding.do:
            lines.append(f"{'':<10}-> {finding.do}")
    return "\n".join(lines)


def exit_code(evidence: Evidence) -> int:
    """0 where Ray or Kubernetes answered; 2 for a job that neither the server nor the ledger knows."""
    if not evidence.ray_reached and not evidence.kube_read:
        return EXIT_UNREACHABLE
    unknown = evidence.ray_reached and evidence.submission_id and evidence.job is None and evidence.in_ledger is None
    return EXIT_REFUSED if unknown else 0
