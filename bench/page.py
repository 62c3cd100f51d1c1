"""The keeper's page and API over real HTTP: answers of 100,000 kept jobs, and of a log of 1 GiB.

The server is a process of its own, so its memory is that of the page alone. `python -m bench.page serve DIR` is it.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.keeper import JOBS, LISTED, RUNS, START, job, log_lines
from bench.measure import keep
from jobs.keeper.web.access import Access
from jobs.keeper.web.app import Served, create_app
from jobs.keeper.web.serve import bound_socket, server_of
from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import KeptJobs
from jobs.ledger.records import Place
from jobs.spec.job_info import JobInfo

LOG_BYTES = 1024**3
TOKEN = "token"
NOT_THERE = "no line says this"


def fill(folder: Path) -> str:
    """Keeps the jobs, and one more with a large log. Returns the id of one that failed."""
    large = JobInfo("large", "SUCCEEDED", "python train.py", start_time=START)
    lines = log_lines()
    text = b"".join(next(lines) for _ in range(100_000))
    with Keeping(folder, Place("http://ray", "address")) as keeping:
        for first in range(0, JOBS, LISTED):
            keeping.record_seen([job(number) for number in range(first, first + LISTED)])
        keeping.record_seen([large])
        for _ in range(0, LOG_BYTES, len(text)):
            keeping.append_log("large", text)
        keeping.finish_log("large")
    return next(each.submission_id for each in map(job, range(JOBS)) if each.status == "FAILED")


def serve(folder: Path) -> None:
    bound = bound_socket()
    print(f"http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    server_of(create_app(Served(KeptJobs(folder), Access(lambda: TOKEN)))).run([bound])


def memory_of(pid: int) -> float:
    """The largest resident memory of a process so far, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def times(client: httpx.Client, path: str) -> dict[str, float]:
    """Milliseconds of one request after another; the first one is not counted."""
    found = []
    for _ in range(RUNS + 1):
        begin = time.perf_counter()
        client.get(path).raise_for_status()
        found.append((time.perf_counter() - begin) * 1000)
    found = found[1:]
    return {"min": min(found), "median": statistics.median(found), "max": max(found)}


def whole_search(client: httpx.Client) -> dict[str, float]:
    """Seconds of a search through the whole log, link by link."""
    begin, requests, after = time.perf_counter(), 0, "0"
    while True:
        requests += 1
        page = client.get("/jobs/large", params={"find": NOT_THERE, "after": after}).text
        following = re.search(r"&amp;after=(\d+)", page)
        if following is None:
            return {"seconds": time.perf_counter() - begin, "requests": requests}
        after = following[1]


def download(client: httpx.Client) -> float:
    """MB/s of the whole log."""
    begin, size = time.perf_counter(), 0
    with client.stream("GET", "/v1/jobs/large/log") as answer:
        for data in answer.iter_raw():
            size += len(data)
    return size / (time.perf_counter() - begin) / 1e6


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="page-", dir=os.environ.get("BENCH_DIR")) as scratch:
        failed = fill(Path(scratch))
        paths = {
            "jobs": "/",
            "jobs, status": "/?status=FAILED",
            "jobs, user": "/?user=user-5",
            "jobs, name": "/?name=train-77",
            "jobs, search": "/?search=MODEL-7",
            "jobs, search that finds nothing": "/?search=no+job+says+this",
            "API, 50 jobs": "/v1/jobs",
            "API, 500 jobs": "/v1/jobs?limit=500",
            "API, one job": f"/v1/jobs/{failed}",
            "a job that failed": f"/jobs/{failed}",
            "log of 1 GiB, its end": "/jobs/large",
            "log of 1 GiB, its middle": "/jobs/large?percent=50",
            "log of 1 GiB, a part": "/jobs/large/log-part?from=500000000",
            "log of 1 GiB, a search of 64 MiB": f"/jobs/large?find={NOT_THERE}",
            "metrics": "/metrics",
        }
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.page", "serve", scratch], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            headers = {"authorization": f"Bearer {TOKEN}"}
            with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
                results: dict[str, Any] = {"requests, ms": {name: times(client, path) for name, path in paths.items()}}
                results["search of the whole log"] = whole_search(client)
                results["download of the log, MB/s"] = download(client)
                results["peak MiB"] = memory_of(server.pid)
        finally:
            server.terminate()
            server.wait()
    return results


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    else:
        print(keep("page", measure()))
