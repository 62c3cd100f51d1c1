"""A keeper's folder with jobs of every kind, and its page served for a look: `python -m tests.support.keeper_page DIR`.

The folder is written by the keeper's own writer, so what is tested and shown is what a keeper keeps.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.keeper.web import serve
from jobs.keeper.web.access import Access
from jobs.keeper.web.app import Served, create_app
from jobs.keeper.web.cluster_view import ClusterEvent, ClusterState, Demand, Head, WorkerGroup
from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import LEDGER_NAME, KeptJobs
from jobs.ledger.records import Place
from jobs.spec.job_info import USER_KEY, JobInfo

PLACE = Place("uid-1/ns/ray", "stack", "dev", "ray", "ns")
TOKEN = "the-token-of-the-cluster"
TRACEBACK = """Traceback (most recent call last):
  File "/tmp/ray/session/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef/train.py", line 12, in <module>
    main()
  File "/tmp/ray/session/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef/train.py", line 8, in main
    loss = step(batch)
ValueError: batch 17 has 3 columns, and the model has 4
"""


def job(
    submission_id: str,
    status: str = "SUCCEEDED",
    *,
    start: float = 1_700_000_000.0,
    seconds: float = 60.0,
    metadata: Mapping[str, str] | None = None,
    user: str = "ada",
    **fields: Any,
) -> JobInfo:
    """A job as the server lists it. `start` is in seconds since the epoch; one that ended took `seconds`."""
    ended = status in ("SUCCEEDED", "FAILED", "STOPPED")
    fields.setdefault("entrypoint", "python train.py")
    return JobInfo(
        submission_id,
        status,
        start_time=int(start * 1000),
        end_time=int((start + seconds) * 1000) if ended else None,
        metadata={**(metadata or {}), **({USER_KEY: user} if user else {})},
        **fields,
    )


def failed(submission_id: str = "failed", **fields: Any) -> JobInfo:
    """A job whose program raised an exception."""
    message = f"Job entrypoint command failed with exit code 1, last available logs:\n{TRACEBACK}"
    return job(
        submission_id,
        "FAILED",
        message=message,
        error_type="JOB_ENTRYPOINT_COMMAND_ERROR",
        driver_exit_code=1,
        **fields,
    )


class Page:
    """A keeper's folder and the application over it."""

    def __init__(self, directory: Path, *, cluster: LiveCluster | None = None) -> None:
        self.keeping = Keeping(directory, PLACE)
        self.kept = KeptJobs(directory)
        self.access = Access(lambda: TOKEN)
        self.served = Served(self.kept, self.access, cluster=cluster)
        self.app = create_app(self.served)

    def keep(self, *jobs: JobInfo, logs: Mapping[str, bytes] | None = None) -> None:
        """Records jobs as one list of the server, and the whole logs of some."""
        self.keeping.record_seen(jobs)
        for submission_id, data in (logs or {}).items():
            self.keeping.append_log(submission_id, data)
            self.keeping.finish_log(submission_id)


class LiveCluster:
    """A cluster that waits for a worker."""

    def state(self) -> ClusterState:
        now = time.time()
        return ClusterState(
            "ray",
            now,
            Head("Running", "10.0.0.7:8265", "2.60.0", now - 7200),
            (WorkerGroup("cpu", 0, 3, 10, "4 CPU, 16 GiB"), WorkerGroup("gpu", 0, 1, 1, "8 CPU, 1 GPU, 64 GiB")),
            (Demand("1 GPU", 2, "train in raysubmit_waits"),),
            (ClusterEvent(now - 60, "Pod ray-gpu-2 cannot be placed: 0/4 nodes have nvidia.com/gpu.", True),),
        )


@contextlib.contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serves an application on a port of this machine. Gives its URL."""
    with serve.serving(app, serve.bound_socket(port=port)) as url:
        yield url


def fill(page: Page) -> None:
    """Keeps jobs of every kind, as a team's cluster has them."""
    now = time.time()
    bars = b"".join(b"\r%3d%%|%-20s| %d/100" % (done, b"#" * (done // 5), done) for done in range(0, 101))
    colours = "".join(f"\x1b[{code}mcolour {code}\x1b[0m " for code in [*range(30, 38), *range(90, 98), *range(40, 48)])
    log = f"Running entrypoint\n\x1b[1;32mready\x1b[0m\n{colours}\n".encode() + bars + b"\n" + TRACEBACK.encode()
    hostile = "<script>alert(1)</script>"
    page.keep(
        *(job(f"raysubmit_{n:04}", start=now - 86400 - 60 * n, user=("ada", "grace")[n % 2]) for n in range(120)),
        job("raysubmit_runs", "RUNNING", start=now - 300, metadata={"name": "nightly"}),
        job("raysubmit_waits", "PENDING", start=now - 600, entrypoint="python big.py"),
        job("raysubmit_stopped", "STOPPED", start=now - 7200),
        failed("raysubmit_failed", start=now - 3600, seconds=754.0, metadata={"name": "train", "team": "vision"}),
        failed("raysubmit_failed-r1", start=now - 1800, metadata={"name": "train", "team": "vision"}),
        job(hostile, "FAILED", start=now - 900, entrypoint=f"echo '{hostile}'", message=f"{hostile}\x1b[31m\u202e"),
        logs={"raysubmit_failed": log, "raysubmit_0000": b"".join(b"line %d of many\n" % n for n in range(300_000))},
    )
    page.keeping.record_why(
        "raysubmit_waits",
        [
            {
                "kind": "cause",
                "text": "The entrypoint needs 1 GPU: only the worker group gpu is large enough, and it is full.",
                "remedy": "Raise maxReplicas in the stack's config, or wait for other jobs.",
            }
        ],
    )
    page.keeping.append_log("raysubmit_runs", b"Running entrypoint\nepoch 1\n")
    page.keeping.flush()


def main() -> None:
    """Serves a folder until Ctrl-C, and prints the URL that opens it once.

    An existing folder of a keeper, or of a personal ledger, is only read. Another one is filled with jobs of every
    kind, and one of them runs and prints a line each second.
    """
    directory, port = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if (directory / LEDGER_NAME).exists():
        access, page = Access(lambda: TOKEN), None
        app = create_app(Served(KeptJobs(directory), access, cluster=LiveCluster()))
    else:
        page = Page(directory, cluster=LiveCluster())
        fill(page)
        access, app = page.access, page.app
    with serving(app, port) as url, contextlib.suppress(KeyboardInterrupt):
        print(f"{url}{access.new_path()}", flush=True)
        while True:
            if page is not None:
                page.keeping.append_log("raysubmit_runs", f"{time.ctime()}: a line\n".encode())
                page.keeping.flush()
            time.sleep(1)


if __name__ == "__main__":
    main()
