"""Times whole commands in turn (A B A B ...), so that a change of the machine's speed affects all of them."""

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
    """One run of a command.

    Args:
        wall: Seconds from start to end.
        cpu: User and system seconds of the process and its children.
        code: Its exit code.
        peak_mib: Its largest resident memory.
        output_bytes: The size of its output file; 0 without one.
    """

    wall: float
    cpu: float
    code: int
    peak_mib: float
    output_bytes: int


class CommandFailed(Exception):
    """A measured command failed, so its time means nothing."""


def command(
    arguments: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    allowed: tuple[int, ...] = (0,),
    output: Path | None = None,
) -> Sample:
    """Runs one command to its end.

    Raises:
        CommandFailed: Its exit code is not one of `allowed`.
    """
    log = output or Path(os.devnull)
    with log.open("wb") as sink:
        started = time.monotonic()
        process = subprocess.Popen(
            arguments, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=sink,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise CommandFailed(f"{' '.join(arguments)} ended with {process.returncode}: {errors.decode()[-2000:]}")
    size = log.stat().st_size if output else 0
    return Sample(wall, usage.ru_utime + usage.ru_stime, process.returncode, usage.ru_maxrss / 1024, size)


def pulumi(stack: Stack, operation: str, *arguments: str) -> Sample:
    """One run of the Pulumi CLI on a throw-away stack."""
    line = [str(engine.find_cli()), operation, "--stack", stack.name, "--config-file", str(stack.config_file)]
    environment = {**stack.environment, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    return command([*line, "--non-interactive", *arguments], environment=environment, cwd=engine.ROOT)


def pulumi_output(stack: Stack) -> Sample:
    """The call that `jobs` makes if it has no outputs file."""
    line = [str(engine.find_cli()), "stack", "output", "contract", "--json", "--stack", stack.name]
    return command(line, environment=stack.environment, cwd=engine.ROOT)


def in_turn(contestants: Mapping[str, Callable[[], Sample]], runs: int, warmup: int = 1) -> dict[str, list[Sample]]:
    """Runs each contestant `runs` times, A B A B ..., after `warmup` rounds that do not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in contestants}
    for turn in range(warmup + runs):
        for name, run in contestants.items():
            sample = run()
            if turn >= warmup:
                samples[name].append(sample)
                print(f"  {name}: {sample.wall:.2f} s", flush=True)
    return samples


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Minimum, median and maximum of the times; the largest peak of memory; the exit codes."""
    walls, cpus = [sample.wall for sample in samples], [sample.cpu for sample in samples]
    return {
        "runs": len(samples),
        "wall": {"min": min(walls), "median": statistics.median(walls), "max": max(walls)},
        "cpu": {"min": min(cpus), "median": statistics.median(cpus), "max": max(cpus)},
        "peak_mib": max(sample.peak_mib for sample in samples),
        "codes": sorted({sample.code for sample in samples}),
    }


def keep(name: str, results: Mapping[str, Any]) -> Path:
    """Writes the results of one benchmark, and the machine they were measured on, to bench/results/."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    content = {"measured": datetime.now(timezone.utc).date().isoformat(), "machine": machine, "results": results}
    file.write_text(json.dumps(content, indent=2, default=asdict) + "\n")
    return file
