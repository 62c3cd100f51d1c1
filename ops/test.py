"""`make test`, `make unit`, `make lint`: run all tests that this machine can run, and say which were left out and why.

The one file outside tests/ that imports tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from ops.engine import ROOT
from single_node.errors import NotPossible
from tests.support.builds import BUILT_FOR, builds_beside
from tests.support.tiers import TIERS

# The programs of this virtual environment.
BIN = Path(sys.executable).parent
LINT_COMMANDS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports", "--no-cache"])


@click.command("test", context_settings={"ignore_unknown_options": True})
@click.option("--tier", "tiers", multiple=True, help="lint, unit, jobs, cluster or e2e [default: all].")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test_command(tiers: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Run all tests that this machine can run; the summary says what was left out and why.

    ARGUMENTS are passed to pytest.
    """
    sys.exit(run(list(tiers), list(arguments)))


@dataclass(frozen=True)
class Outcome:
    """The result of one tier.

    Args:
        tier: Its name.
        state: "passed", "failed" or "left out".
        detail: pytest's last line, or why the tier was left out.
        seconds: How long it ran.
        engine: What an end-to-end run used: engine, provider, KubeRay.
        left_out: What was left out of the tier: `COUNT: REASON`.
    """

    tier: str
    state: str
    detail: str
    seconds: float = 0.0
    engine: str = ""
    left_out: tuple[str, ...] = ()


def run(tiers: list[str], arguments: list[str]) -> int:
    """Runs the tiers (all if none is named) and prints a summary; returns 0 if none failed."""
    names = tiers or ["lint", *TIERS]
    outcomes = []
    with ExitStack() as beside:
        refused = ""
        try:
            beside.enter_context(
                builds_beside([tier for tier in names if tier in BUILT_FOR and not TIERS[tier].needs()])
            )
        except NotPossible as error:
            refused = str(error)
        for tier in names:
            if tier == "lint":
                outcomes.append(run_lint())
            elif refused and tier in BUILT_FOR:
                outcomes.append(Outcome(tier, "left out", refused))
            else:
                outcomes.append(run_tier(tier, arguments))
    print("\nSummary")
    for outcome in outcomes:
        print(f"  {outcome.tier:8} {outcome.state:9} {outcome.seconds:6.0f} s  {outcome.detail}")
        for line in (outcome.engine, *outcome.left_out):
            if line:
                print(f"  {'':8} {line}")
    failed = [outcome.tier for outcome in outcomes if outcome.state == "failed"]
    left_out = [outcome.tier for outcome in outcomes if outcome.state == "left out"]
    print(f"\nfailed: {', '.join(failed) or 'none'}; left out: {', '.join(left_out) or 'none'}")
    return 1 if failed else 0


def run_lint() -> Outcome:
    """Runs the linters, all of them even if one fails."""
    started = time.monotonic()
    failed = [" ".join(command) for command in LINT_COMMANDS if _run(command).returncode]
    detail = ", ".join(failed) or ", ".join(" ".join(command) for command in LINT_COMMANDS)
    return Outcome("lint", "failed" if failed else "passed", detail, time.monotonic() - started)


def run_tier(tier: str, arguments: list[str]) -> Outcome:
    """Runs one tier with pytest, unless this machine lacks something that it needs."""
    reason = TIERS[tier].needs()
    if reason:
        return Outcome(tier, "left out", reason)
    started = time.monotonic()
    # Here and not in pytest, which would hide for minutes what is built.
    if tier in BUILT_FOR and _run(["python", "-m", "tests.support.builds", tier]).returncode:
        return Outcome(tier, "failed", "what it runs on cannot be built: see above", time.monotonic() - started)
    built = time.monotonic()
    done = _run(["pytest", TIERS[tier].folder, *TIERS[tier].options, *arguments], capture=True)
    lines = [line.strip("= ") for line in done.stdout.splitlines() if " in " in line and line.startswith("=")]
    detail = lines[-1] if lines else f"pytest ended with {done.returncode}"
    state, seconds = "failed" if done.returncode else "passed", time.monotonic() - built
    engine = next((line for line in done.stdout.splitlines() if line.startswith("engine v")), "")
    return Outcome(tier, state, detail, seconds, engine, left_out_tests(done.stdout))


def left_out_tests(output: str) -> tuple[str, ...]:
    """Returns the tests that pytest's output says were skipped, by reason: `left out: COUNT, REASON`."""
    counts: Counter[str] = Counter()
    for count, reason in re.findall(r"^SKIPPED \[(\d+)\] \S+: (.*)$", output, re.M):
        counts[reason] += int(count)
    return tuple(f"left out: {count}, {reason}" for reason, count in counts.items())


def _run(command: list[str], capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs a program of BIN in the repository's root; with `capture` the output is both printed and returned."""
    print(f"\n$ {' '.join(command)}", flush=True)
    command = [str(BIN / command[0]), *command[1:]]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not capture:
        return subprocess.run(command, cwd=ROOT, env=environment, text=True, check=False)
    output = b""
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 65536):  # as it arrives: a line of dots takes minutes
            output += chunk
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
    return subprocess.CompletedProcess(command, process.returncode, output.decode(errors="replace"), "")
