"""A keeper beside the Ray that it keeps: the list of jobs and one log, over HTTP and from a cold command, in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.jobs import COMPILED, Head, head
from bench.measure import command, in_turn, summary
from jobs.ledger.kept import KeptJobs
from tests.support.command import ROOT

JOBS, LINES, RUNS = 100, 100_000, 15
SUBMIT = """
import json, sys
from ray.job_submission import JobSubmissionClient
address, token, jobs, lines = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
client = JobSubmissionClient(address, headers={"Authorization": "Bearer " + token})
client.submit_job(entrypoint=f"seq 1000000000 {1000000000 + lines - 1}", submission_id="long")
for number in range(jobs - 1):
    client.submit_job(entrypoint="true", submission_id=f"short-{number}")
"""


@contextmanager
def keeper_of(target: Head, folder: Path) -> Iterator[str]:
    """Runs `rayjobs keep` until the end of the context. Yields its URL."""
    words = ["keep", *target.ours, "--data", str(folder), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", *words], cwd=ROOT, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    try:
        yield next(line.split()[1] for line in process.stderr if line.startswith("Page: "))
    finally:
        process.terminate()
        process.communicate()


def requests(asked: Mapping[str, Callable[[], httpx.Response]]) -> dict[str, Any]:
    """Milliseconds of each request, in turn; the first turn is not counted. And the bytes of the answer."""
    times: dict[str, list[float]] = {name: [] for name in asked}
    sizes = {}
    for turn in range(RUNS + 1):
        for name, ask in asked.items():
            begin = time.perf_counter()
            sizes[name] = len(ask().raise_for_status().content)
            if turn:
                times[name].append((time.perf_counter() - begin) * 1000)
    return {name: {"median ms": statistics.median(found), "bytes": sizes[name]} for name, found in times.items()}


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kr-") as scratch, head() as target:
        folder, token = Path(scratch, "kept"), target.token_file.read_text().strip()
        command([sys.executable, "-c", SUBMIT, target.url, token, str(JOBS), str(LINES)])
        with keeper_of(target, folder) as url:
            reader = KeptJobs(folder)

            def is_kept() -> bool:
                jobs = reader.jobs(limit=2 * JOBS).entries
                extents = [reader.log_extent(job.submission_id) for job in jobs]
                return len(jobs) == JOBS and all(extent is not None and extent.complete for extent in extents)

            while not is_kept():
                time.sleep(1)
            results: dict[str, Any] = {"jobs": JOBS, "lines": LINES}
            login = {"Authorization": f"Bearer {token}"}
            with (
                httpx.Client(base_url=url, headers=login, timeout=60) as ours,
                httpx.Client(base_url=target.url, headers=login, timeout=60) as ray,
            ):
                results["requests"] = requests(
                    {
                        "keeper, jobs as JSON": lambda: ours.get("/v1/jobs", params={"limit": 2 * JOBS}),
                        "Ray, jobs as JSON": lambda: ray.get("/api/jobs/"),
                        "keeper, page of jobs": lambda: ours.get("/"),
                        "keeper, log": lambda: ours.get("/v1/jobs/long/log"),
                        "Ray, log": lambda: ray.get("/api/jobs/long/logs"),
                    }
                )
                whole = json.loads(ray.get("/api/jobs/long/logs").content)["logs"].encode()
                assert ours.get("/v1/jobs/long/log").content == whole
            words = [sys.executable, "-m", "jobs", "history", "--team", *target.ours, "--keeper", url]
            samples = in_turn(
                {
                    "rayjobs history --team": lambda: command([*words, "--limit", "1000"], environment=COMPILED),
                    "ray job list": lambda: target.ray("list"),
                },
                5,
            )
            results |= {name: summary(runs) for name, runs in samples.items()}
    return results
