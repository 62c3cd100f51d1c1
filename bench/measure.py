"""Timing whole commands, in turn, so that a machine whose speed drifts is unfair to nobody."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ops import engine
from tests.support.stack import Stack

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Sample:
    """One run. `cpu`: user and system seconds of the process and its children; `code`: its exit code."""

    wall: float
    cpu: float
    code: int
    peak_mib: float
    output_bytes: int


class CommandFailed(Exception):
    """A measured command did not do its work; a time for it would mean nothing."""


def command(
    arguments: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    allowed: tuple[int, ...] = (0,),
    output: Path | None = None,
) -> Sample:
    """Runs one command to its end. Raises CommandFailed for an exit code that is not `allowed`."""
    log = output or Path(os.devnull)
    with log.open("wb") as sink:
        started = time.monotonic()
        process = subprocess.Popen(
            arguments, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=sink,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise CommandFailed(f"{' '.join(arguments)} ended with {process.returncode}: {said.decode()[-2000:]}")
    size = log.stat().st_size if output else 0
    return Sample(wall, usage.ru_utime + usage.ru_stime, process.returncode, usage.ru_maxrss / 1024, size)


def pulumi(stack: Stack, operation: str, *arguments: str) -> Sample:
    """One run of the CLI on a throw-away stack, as a person's shell would start it."""
    line = [str(engine.find_cli()), operation, "--stack", stack.name, "--config-file", str(stack.config_file)]
    environment = {**stack.environment, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    return command([*line, "--non-interactive", *arguments], environment=environment, cwd=engine.ROOT)


def pulumi_output(stack: Stack) -> Sample:
    """What `jobs` asks of the CLI where it has no outputs file."""
    line = [str(engine.find_cli()), "stack", "output", "contract", "--json", "--stack", stack.name]
    return command(line, environment=stack.environment, cwd=engine.ROOT)


def in_turn(contestants: Mapping[str, Callable[[], Sample]], runs: int, warmup: int = 1) -> dict[str, list[Sample]]:
    """Each contestant `runs` times, A B A B ..., after `warmup` rounds that do not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in contestants}
    for turn in range(warmup + runs):
        for name, run in contestants.items():
            sample = run()
            if turn >= warmup:
                samples[name].append(sample)
                print(f"  {name}: {sample.wall:.2f} s", flush=True)
    return samples


def summary(samples: list[Sample]) -> dict[str, Any]:
    walls, cpus = [sample.wall for sample in samples], [sample.cpu for sample in samples]
    return {
        "runs": len(samples),
        "wall": {"min": min(walls), "median": statistics.median(walls), "max": max(walls)},
        "cpu": {"min": min(cpus), "median": statistics.median(cpus), "max": max(cpus)},
        "peak_mib": max(sample.peak_mib for sample in samples),
        "codes": sorted({sample.code for sample in samples}),
    }


def keep(name: str, results: Mapping[str, Any]) -> Path:
    """Writes one benchmark's results as JSON, with the machine they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    content = {"measured": datetime.now(timezone.utc).date().isoformat(), "machine": machine, "results": results}
    file.write_text(json.dumps(content, indent=2, default=asdict) + "\n")
    return file
