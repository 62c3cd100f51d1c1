"""`make test`: every tier that this machine can run, and in writing which were left out and why."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ops.engine import EngineMissing, find_engine
from tests.support import native
from tests.support.native_images import images_dir

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """`detail`: pytest's closing line, or why the tier was left out."""

    tier: str
    state: str  # passed, failed, left out
    detail: str
    seconds: float = 0.0


def why_not_jobs() -> str | None:
    return None if importlib.util.find_spec("ray") else "the package ray is not installed (requirements.lock has it)"


def why_not_cluster() -> str | None:
    """A cluster that was asked for by name is never left out: where it cannot be had, its tests fail."""
    if os.environ.get("TEST_CLUSTER"):
        return None
    missing = native.missing()
    if missing:
        return f"TEST_CLUSTER is not set, and the native cluster cannot run here: {'; '.join(missing)}"
    return None


def why_not_e2e() -> str | None:
    try:
        find_engine()
    except EngineMissing as missing:
        return str(missing)
    if reason := why_not_cluster():
        return reason
    if os.environ.get("TEST_CLUSTER", "native") == "native" and not any(images_dir().glob("kuberay-operator-*.tar")):
        return (
            "the native cluster has no operator image: put kuberay-operator-VERSION.tar into its images folder (README)"
        )
    return None


# From fast to real.
TIERS: dict[str, tuple[str, Callable[[], str | None]]] = {
    "unit": ("tests/unit", lambda: None),
    "jobs": ("tests/jobs", why_not_jobs),
    "cluster": ("tests/cluster", why_not_cluster),
    "e2e": ("tests/e2e", why_not_e2e),
}


def run_lint() -> Outcome:
    started = time.monotonic()
    commands = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
    failed = [" ".join(command) for command in commands if _run([sys.executable, "-m", *command]).returncode]
    return Outcome(
        "lint",
        "failed" if failed else "passed",
        ", ".join(failed) or "ruff, formatting, mypy",
        time.monotonic() - started,
    )


def run_tier(tier: str, arguments: list[str]) -> Outcome:
    folder, why_not = TIERS[tier]
    reason = why_not()
    if reason:
        return Outcome(tier, "left out", reason)
    started = time.monotonic()
    run = _run([sys.executable, "-m", "pytest", folder, *arguments], capture=True)
    lines = [line.strip("= ") for line in run.stdout.splitlines() if " in " in line and line.startswith("=")]
    detail = lines[-1] if lines else f"pytest ended with {run.returncode}"
    return Outcome(tier, "failed" if run.returncode else "passed", detail, time.monotonic() - started)


def _run(command: list[str], capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs in the repository's root; with `capture` the output is shown as it comes and kept as well."""
    print(f"\n$ {' '.join(command[2:])}", flush=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not capture:
        return subprocess.run(command, cwd=ROOT, env=environment, text=True, check=False)
    kept = []
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            kept.append(line)
    return subprocess.CompletedProcess(command, process.returncode, "".join(kept), "")


def run(tiers: list[str], arguments: list[str]) -> int:
    """Runs the named tiers (all where none is named), prints the summary; 0 if none failed."""
    chosen = tiers or ["lint", *TIERS]
    outcomes = [run_lint() if tier == "lint" else run_tier(tier, arguments) for tier in chosen]
    print("\nSummary")
    for outcome in outcomes:
        print(f"  {outcome.tier:8} {outcome.state:9} {outcome.seconds:6.0f} s  {outcome.detail}")
    failed = [outcome.tier for outcome in outcomes if outcome.state == "failed"]
    left_out = [outcome.tier for outcome in outcomes if outcome.state == "left out"]
    print(f"\nfailed: {', '.join(failed) or 'none'}; left out: {', '.join(left_out) or 'none'}")
    return 1 if failed else 0
