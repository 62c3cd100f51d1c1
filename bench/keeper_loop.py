"""The keeper as a process: 200 jobs that log 20 MB/s together, and what it takes at rest.

The cluster is a stand-in of Ray's endpoints in another process (`python -m bench.keeper_loop serve FILE KIND`): a real
Ray that logs 20 MB/s would take the cores that are measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.keeper import JOBS, LISTED, LOGS, PLACE, RATE, START, job, log_lines
from bench.measure import keep
from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import KeptJobs
from jobs.ledger.records import Place
from tests.support.command import ROOT
from tests.support.fake_ray import FakeRay, fake_ray

SECONDS = 30.0
REST_SECONDS = 60.0
SPREAD = 997


def text() -> bytes:
    """What the jobs log, each from another byte on."""
    lines, need = log_lines(), int(RATE / LOGS * SECONDS) + SPREAD * LOGS
    parts, size = [], 0
    while size < need:
        parts.append(next(lines))
        size += len(parts[-1])
    return b"".join(parts)


def whole_log(source: bytes, i: int) -> bytes:
    return source[SPREAD * i : SPREAD * i + int(RATE / LOGS * SECONDS)]


def add_logging(ray: FakeRay) -> None:
    """LOGS jobs whose logs grow by RATE together for SECONDS, and end then."""
    source, begin = text(), time.monotonic()

    def log(i: int) -> bytes:
        share = min(1.0, (time.monotonic() - begin) / SECONDS)
        whole = int(RATE / LOGS * SECONDS)
        return source[SPREAD * i : SPREAD * i + int(whole * share)]

    for i in range(LOGS):
        ray.add(f"job-{i}")
        ray.logs[f"job-{i}"] = partial(log, i)


def serve(file: Path, kind: str) -> None:
    """Serves until it is killed. Writes its URL into the file, and then what was asked each second."""
    with fake_ray() as ray:
        if kind == "logging":
            add_logging(ray)
        else:
            for i in range(JOBS, JOBS + LISTED):
                ray.add(job(i).submission_id, "SUCCEEDED", b"log\n", start_time=START + i * 60_000)
        if kind == "resting":
            for i in range(LOGS):
                ray.add(f"job-{i}", log=b"begin\n")
        begin = time.monotonic()
        while True:
            if kind == "logging" and time.monotonic() - begin > SECONDS + 0.5:
                for i in range(LOGS):
                    ray.end(f"job-{i}")
            content = {"url": ray.url, "requests": dict(ray.requests)}
            file.with_suffix(".new").write_text(json.dumps(content))
            file.with_suffix(".new").rename(file)
            time.sleep(0.5)


@contextmanager
def served(scratch: Path, kind: str) -> Iterator[Path]:
    file = scratch / f"{kind}.json"
    process = subprocess.Popen([sys.executable, "-m", "bench.keeper_loop", "serve", str(file), kind], cwd=ROOT)
    try:
        while not file.exists():
            time.sleep(0.1)
        yield file
    finally:
        process.kill()
        process.wait()


@contextmanager
def keeper(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ["-m", "jobs", "keep", "--data", str(folder), "--listen", "127.0.0.1:0", "--address", url]
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def cpu_seconds(pid: int) -> float:
    """Of all its threads, in nanoseconds as the scheduler counts them: at rest, its ticks are too coarse."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(name)


def requests_of(file: Path) -> dict[str, int]:
    counts: dict[str, int] = json.loads(file.read_text())["requests"]
    return counts


def measure_logging(scratch: Path) -> dict[str, Any]:
    """LOGS jobs at RATE: nothing is lost, and how much of the machine it takes."""
    folder = scratch / "logging"
    reader = KeptJobs(folder)
    with served(scratch, "logging") as file, keeper(folder, json.loads(file.read_text())["url"]) as process:
        begin = time.monotonic()
        time.sleep(SECONDS / 2)
        middle, middle_at = cpu_seconds(process.pid), time.monotonic()
        before = requests_of(file)
        time.sleep(SECONDS / 3)
        cores = (cpu_seconds(process.pid) - middle) / (time.monotonic() - middle_at)
        asked = {path: number - before.get(path, 0) for path, number in requests_of(file).items()}
        while not all((extent := reader.log_extent(f"job-{i}")) and extent.complete for i in range(LOGS)):
            time.sleep(0.5)
            assert time.monotonic() - begin < 300
        results = {
            "seconds until all logs were complete": time.monotonic() - begin,
            "cores while they logged": cores,
            "requests a second while they logged": {
                path: round(number / (SECONDS / 3), 2) for path, number in asked.items() if number
            },
            "peak MiB": memory_mib(process.pid, "VmHWM"),
        }
    source = text()
    lost = 0
    for i in range(LOGS):
        kept, whole = b"".join(reader.read_log(f"job-{i}")), whole_log(source, i)
        lost += hashlib.sha256(kept).digest() != hashlib.sha256(whole).digest()
    return {"bytes": int(RATE / LOGS * SECONDS) * LOGS, "logs that differ": lost, **results}


def measure_rest(scratch: Path, kind: str, kept: int) -> dict[str, Any]:
    """What it takes while nothing happens, with LISTED ended jobs on the server and `kept` more in the store."""
    folder = scratch / f"{kind}-{kept}"
    with served(scratch, kind) as file:
        url = json.loads(file.read_text())["url"]
        with Keeping(folder, Place(url, PLACE.kind)) as keeping:
            for first in range(0, kept, LISTED):
                keeping.record_seen([job(number) for number in range(first, first + LISTED)])
        with keeper(folder, url) as process:
            reader, newest = KeptJobs(folder), job(JOBS).submission_id
            while not ((extent := reader.log_extent(newest)) and extent.complete):
                time.sleep(1)
            time.sleep(15)
            begin, before, asked = time.monotonic(), cpu_seconds(process.pid), requests_of(file)
            time.sleep(REST_SECONDS)
            seconds = time.monotonic() - begin
            return {
                "percent of a core": 100 * (cpu_seconds(process.pid) - before) / seconds,
                "requests a second": {
                    path: round((number - asked.get(path, 0)) / seconds, 2)
                    for path, number in requests_of(file).items()
                    if number != asked.get(path, 0)
                },
                "MiB": memory_mib(process.pid, "VmRSS"),
            }


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="keeper-", dir=os.environ.get("BENCH_DIR")) as folder:
        scratch = Path(folder)
        results: dict[str, Any] = {"logging": measure_logging(scratch)}
        print(results, flush=True)
        for kind, kept in (("ended", 0), ("ended", JOBS), ("resting", 0)):
            name = {"ended": "at rest", "resting": f"{LOGS} jobs that run and log nothing"}[kind]
            results[f"{name}, {kept} older jobs kept"] = measure_rest(scratch, kind, kept)
            print(results, flush=True)
            (scratch / f"{kind}.json").unlink()
    return results


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), sys.argv[3])
    else:
        print(keep("keeper_loop", measure()))
