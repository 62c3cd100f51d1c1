"""The keeper's store: pages, filters and searches of 100,000 kept jobs; logs of 200 jobs at 20 MB/s together.

`python -m bench.keeper append DIR` is the writer of the second part, as a process of its own.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.measure import command, keep
from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import KeptJobs
from jobs.ledger.records import Place
from jobs.ledger.store import Ledger
from jobs.spec.job_info import USER_KEY, JobInfo

JOBS = 100_000
LISTED = 1_000
RUNS = 15
PLACE = Place("http://ray", "address")
START = 1_700_000_000_000
LOGS, RATE, SECONDS = 200, 20_000_000, 30.0
ENDED = "Job finished successfully."
TRACE = "".join(f'  File "/app/step_{line}.py", line {line}, in run\n    return model(batch)\n' for line in range(12))


def job(number: int, ended: bool = True) -> JobInfo:
    """A job as teams submit them: 9 of 10 succeed; one of the rest has a message with a traceback."""
    source = random.Random(number)
    failed = source.random() < 0.1
    status = ("FAILED" if failed else "SUCCEEDED") if ended else "RUNNING"
    start = START + number * 60_000
    return JobInfo(
        f"raysubmit_{source.getrandbits(64):016x}",
        status,
        f"python -m train.main --config configs/model-{number % 300}.yaml --lr 0.00{number % 90} --seed {number}",
        f"Job entrypoint command failed with exit code 1\n{TRACE}ValueError: batch {number}" if failed else ENDED,
        "JOB_ENTRYPOINT_COMMAND_ERROR" if failed and ended else None,
        start_time=start,
        end_time=start + 600_000 if ended else None,
        metadata={"name": f"train-{number % 1000}", USER_KEY: f"user-{number % 37}", "team": f"team-{number % 12}"},
        runtime_env={
            "working_dir": f"gcs://_ray_pkg_{source.getrandbits(64):016x}.zip",
            "env_vars": {"EPOCHS": str(number % 100), "HF_TOKEN": "hf_" + "x" * 30},
        },
        driver_exit_code=1 if failed else 0,
        driver_node_id=f"{source.getrandbits(224):056x}",
        job_id=f"{number:08x}",
    )


def times(work: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of one call after another, and of CPU; the first one is not counted."""
    found, cpu = [], []
    for _ in range(RUNS + 1):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - begin) * 1000)
        cpu.append((time.process_time() - begin_cpu) * 1000)
    found = found[1:]
    cpu_median = statistics.median(cpu[1:])
    return {"min": min(found), "median": statistics.median(found), "max": max(found), "cpu median": cpu_median}


def poll(keeping: Keeping, listed: list[JobInfo]) -> dict[str, Any]:
    """Milliseconds of CPU of one poll with LISTED jobs: none changed, and one."""
    keeping.record_seen(listed)

    def cpu(jobs: list[JobInfo]) -> float:
        begin = time.process_time()
        keeping.record_seen(jobs)
        return (time.process_time() - begin) * 1000

    unchanged = [cpu(listed) for _ in range(RUNS)]
    one = [cpu([*listed[:-1], listed[-1]._replace(message=f"turn {turn}")]) for turn in range(RUNS)]
    return {"none changed": statistics.median(unchanged), "one changed": statistics.median(one)}


def measure_jobs(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = {}
    running = [job(JOBS + i, ended=False) for i in range(LISTED)]
    with Keeping(folder, PLACE) as keeping:
        results["poll, ms of CPU, with no kept job"] = poll(keeping, running)
        begin = time.process_time()
        for first in range(0, JOBS, LISTED):
            keeping.record_seen([job(number) for number in range(first, first + LISTED)])
        results["recording a job, ms of CPU"] = (time.process_time() - begin) * 1000 / JOBS
        results["poll, ms of CPU, with 100,000 kept jobs"] = poll(keeping, running)
        begin = time.perf_counter()
        keeping.retain()
        results["retain with nothing to remove, ms"] = (time.perf_counter() - begin) * 1000
    begin = time.perf_counter()
    Keeping(folder, PLACE).close()
    results["opening the folder, ms"] = (time.perf_counter() - begin) * 1000
    results["database, bytes per job"] = (folder / "ledger.sqlite").stat().st_size / (JOBS + LISTED)
    reader, ledger = KeptJobs(folder), Ledger(folder / "ledger.sqlite")
    middle = cursor_at(reader, 20)
    one_failed = next(number for number in range(JOBS) if job(number).status == "FAILED")
    since = (START + JOBS // 2 * 60_000) / 1000
    questions: dict[str, Callable[[], object]] = {
        "newest page": reader.jobs,
        "page 21": lambda: reader.jobs(cursor=middle),
        "status, frequent": lambda: reader.jobs(status=["FAILED"]),
        "status, nobody has it": lambda: reader.jobs(status=["LOST"]),
        "status and user": lambda: reader.jobs(status=["FAILED", "STOPPED"], user="user-5"),
        "user, nobody": lambda: reader.jobs(user="nobody"),
        "name": lambda: reader.jobs(name="train-77"),
        "id": lambda: reader.jobs(name=job(5).submission_id),
        "time": lambda: reader.jobs(since=since, until=since + 86_400),
        "search, frequent": lambda: reader.jobs(search="MODEL-7"),
        "search, one job": lambda: reader.jobs(search=f"batch {one_failed}"),
        "search, no job": lambda: reader.jobs(search="no job says this"),
        "search, status, user": lambda: reader.jobs(search="traceback no", status=["FAILED"], user="user-5"),
        "one job": lambda: reader.job(job(50_000).submission_id),
        "its attempts": lambda: ledger.attempts(job(50_000).submission_id),
        "counts": reader.counts,
        "1,000 events": reader.events,
    }
    results["questions, ms"] = {name: times(question) for name, question in questions.items()}
    return results


def cursor_at(reader: KeptJobs, pages: int) -> str | None:
    cursor = None
    for _ in range(pages):
        cursor = reader.jobs(cursor=cursor).cursor
    return cursor


def log_lines() -> Iterator[bytes]:
    """Lines of a training, without an end."""
    source, step = random.Random(1), 0
    while True:
        step += 1
        yield b"2026-11-27 18:%02d:%02d,%03d INFO trainer.py:%d step %d loss %.6f acc %.4f lr %.2e\n" % (
            step // 60 % 60, step % 60, source.randrange(1000), source.randrange(900), step, source.random(),
            source.random(), source.random() / 1000,
        )  # fmt: skip


def append(folder: Path) -> None:
    """Appends to LOGS logs, RATE bytes a second together, for SECONDS."""
    lines = log_lines()
    text = b"".join(next(lines) for _ in range(10_000))
    chunk, source = 16_384, random.Random(2)
    with Keeping(folder, PLACE) as keeping:
        names = [f"job-{i}" for i in range(LOGS)]
        keeping.record_seen([JobInfo(name, "RUNNING", "python t.py", start_time=START) for name in names])
        done, begin = 0, time.monotonic()
        while (passed := time.monotonic() - begin) < SECONDS:
            while done < RATE * passed:
                at = source.randrange(len(text) - chunk)
                keeping.append_log(names[done // chunk % LOGS], text[at : at + chunk])
                done += chunk
            time.sleep(0.005)
        for name in names:
            keeping.finish_log(name)
    print(done, time.monotonic() - begin, flush=True)


def idle(folder: Path) -> None:
    """What a process needs before it appends anything."""
    lines = log_lines()
    b"".join(next(lines) for _ in range(10_000))
    Keeping(folder, PLACE).close()


def measure_append(folder: Path) -> dict[str, Any]:
    output = folder.parent / "output"
    me = [sys.executable, "-m", "bench.keeper"]
    nothing = command([*me, "idle", str(folder)])
    sample = command([*me, "append", str(folder)], output=output)
    done, seconds = output.read_text().split()
    reader = KeptJobs(folder)
    kept = 0
    for i in range(LOGS):
        extent = reader.log_extent(f"job-{i}")
        assert extent is not None
        kept += extent.total
    begin = time.perf_counter()
    read = sum(map(len, reader.read_log("job-0")))
    return {
        "bytes": int(done),
        "bytes that were not kept": int(done) - kept,
        "MB/s": int(done) / float(seconds) / 1e6,
        "cores": (sample.cpu - nothing.cpu) / float(seconds),
        "peak MiB": sample.peak_mib,
        "peak MiB of a process that appends nothing": nothing.peak_mib,
        "bytes on the disk": reader.bytes_kept(),
        "reading one log, MB/s": read / (time.perf_counter() - begin) / 1e6,
    }


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="keeper-", dir=os.environ.get("BENCH_DIR")) as scratch:
        results = {"append": measure_append(Path(scratch, "logs"))}
        print(results, flush=True)
        results["jobs"] = measure_jobs(Path(scratch, "jobs"))
    return results


if __name__ == "__main__":
    if sys.argv[1:2] == ["append"]:
        append(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["idle"]:
        idle(Path(sys.argv[2]))
    else:
        print(keep("keeper", measure()))
