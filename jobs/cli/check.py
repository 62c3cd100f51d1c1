"""`check`: whether jobs can run at the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .help import TARGET_HELP, Command
from .options import output_option, target_options
from .output import notify, print_json, print_text
from .runner import run

if TYPE_CHECKING:
    from ..diagnose.finding import Finding
    from ..target.options import TargetOptions
    from ..target.resolve import Target


@click.command("check", cls=Command, epilog=TARGET_HELP)
@output_option
@target_options
def check_command(output: str, target_options: TargetOptions) -> None:
    """Check whether jobs can run at the target. If not, show the first problem and how to fix it.

    For a cluster: the context, the cluster's identity, the head pod, Ray inside its container `ray-head` (`ray.init()`
    there, its address and resources), versions, workers, then the tunnel, the token and the Jobs API. Without the right
    to `pods/exec` Ray is asked through its API, and the line says so. For an address: what can be asked from outside.
    Exits with 0 if jobs can run, with or without warnings.

    \b
    Examples:
      rayjobs check
      rayjobs check --address https://ray.example.com
      rayjobs check --output json
    """
    from ..target.resolve import resolve

    code = print_findings(resolve(target_options, notify=notify), output)
    raise SystemExit(code)


def print_findings(target: Target, output: str) -> int:
    """Checks a target and prints each finding. Returns the exit code."""
    from ..diagnose.check import check
    from ..diagnose.finding import FAILED

    async def main() -> list[Finding]:
        findings = []
        async for finding in check(target, notify):
            findings.append(finding)
            if output == "text":
                _print(finding)
        return findings

    findings = run(main)
    if output == "json":
        print_json([_as_json(finding) for finding in findings])
    return next((finding.exit_code for finding in findings if finding.kind == FAILED), 0)


def _print(finding: Finding) -> None:
    print_text(f"{finding.kind:<8}{finding.step:<11}{finding.text}")
    if finding.remedy:
        print_text(f"{'':<19}{finding.remedy}")


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "step": finding.step,
        "state": finding.kind,
        "text": finding.text,
        "remedy": finding.remedy,
        "exit_code": finding.exit_code,
        "data": finding.data,
    }
