"""The jobs command against the stock `ray job`, on one local Ray head, in turn.

What needs Kubernetes (a tunnel of our own) is in `tunnel`; what cuts connections is in bench/faults.py.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Sample, command, in_turn, keep, summary
from jobs import local_ray as local
from tests.support.cluster import use_cluster
from tests.support.ray_head import run_ray_head

RUNS = 10
PYTHON = sys.executable
# Modules of an installed package are compiled once, and not at every start.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
RAY = str(Path(sys.executable).parent / "ray")


@dataclass(frozen=True)
class Head:
    """A local head: its dashboard and the file with its token."""

    url: str
    token_file: Path

    @property
    def ours(self) -> list[str]:
        return ["--address", self.url, "--token-file", str(self.token_file)]

    @property
    def stock(self) -> dict[str, str]:
        return {
            "RAY_API_SERVER_ADDRESS": self.url,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
        }

    def jobs(self, *arguments: str, **options: Any) -> Sample:
        words = list(arguments)
        return command([PYTHON, "-m", "jobs", words[0], *self.ours, *words[1:]], environment=COMPILED, **options)

    def ray(self, *arguments: str, **options: Any) -> Sample:
        return command([RAY, "job", *arguments], environment=self.stock, **options)


@contextmanager
def head() -> Iterator[Head]:
    """A head of the benchmark's own, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        os.environ["RAYJOBS_LOCAL_DIR"] = folder
        running = asyncio.run(local.ensure(lambda _text: None))
        try:
            yield Head(running.url, Path(running.token_file))
        finally:
            asyncio.run(local.stop())


def cold_start(target: Head) -> dict[str, Any]:
    """`status` and `list` of one finished job, from a cold process."""
    target.jobs("submit", "--submission-id", "known", "--", "true")
    samples = in_turn(
        {
            "jobs status": lambda: target.jobs("status", "known"),
            "ray job status": lambda: target.ray("status", "known"),
            "jobs list": lambda: target.jobs("list"),
            "ray job list": lambda: target.ray("list"),
        },
        RUNS,
    )
    return {name: summary(runs) for name, runs in samples.items()}


def submissions(target: Head, count: int = 100, stock_count: int = 10) -> dict[str, Any]:
    """Client CPU seconds for each submission: one client, 8 at a time, against a loop over the stock command."""
    script = (
        "import sys, asyncio; from jobs import connect_async\n"
        "async def main():\n"
        "    gate = asyncio.Semaphore(8)\n"
        "    async with connect_async(sys.argv[1], token_file=sys.argv[2]) as client:\n"
        "        async def one():\n"
        "            async with gate: return (await client.submit('true', timeout=600)).submission_id\n"
        f"        ids = await asyncio.gather(*(one() for _ in range({count})))\n"
        f"        assert len(set(ids)) == {count}\n"
        "asyncio.run(main())\n"
    )
    ours = command([PYTHON, "-c", script, target.url, str(target.token_file)])
    stock = [target.ray("submit", "--no-wait", "--", "true") for _ in range(stock_count)]
    return {
        "jobs": {"submissions": count, "wall": ours.wall, "cpu per submission": ours.cpu / count},
        "ray job submit": {
            "submissions": stock_count,
            "wall": sum(sample.wall for sample in stock),
            "cpu per submission": sum(sample.cpu for sample in stock) / stock_count,
        },
    }


def unchanged_directory(target: Head, mebibytes: int = 80) -> dict[str, Any]:
    """The second submit of an unchanged directory, whose package is on the server already."""
    with tempfile.TemporaryDirectory() as folder:
        noise = random.Random(1)
        for number in range(mebibytes * 4):
            (Path(folder) / f"part-{number:04}.bin").write_bytes(noise.randbytes(256 * 1024))
        time.sleep(3)
        samples = in_turn(
            {
                "jobs submit": lambda: target.jobs("submit", "--no-wait", "--working-dir", folder, "--", "true"),
                "ray job submit": lambda: target.ray("submit", "--no-wait", "--working-dir", folder, "--", "true"),
            },
            5,
        )
    return {name: summary(runs) for name, runs in samples.items()}


def follow(target: Head, lines: int = 100_000) -> dict[str, Any]:
    """A finished log of many lines, followed to its end."""
    code = f"import sys\nfor i in range({lines}): sys.stdout.write(f'line {{i:06}} of a log\\n')"
    target.jobs("submit", "--submission-id", "long", "--", "python", "-c", code)
    with tempfile.TemporaryDirectory() as folder:
        ours, stock = Path(folder) / "ours", Path(folder) / "stock"
        samples = in_turn(
            {
                "jobs logs --follow": lambda: target.jobs("logs", "--follow", "long", output=ours),
                "ray job logs --follow": lambda: target.ray("logs", "--follow", "long", output=stock),
            },
            3,
        )
        complete = {
            name: sum(f"line {number:06} of a log\n" in text for number in range(lines))
            for name, text in (("ours", set(ours.open())), ("stock", set(stock.open())))
        }
    return {**{name: summary(runs) for name, runs in samples.items()}, "lines found": complete}


class _Canned(http.server.BaseHTTPRequestHandler):
    """Answers every list with the same thousand jobs, and counts."""

    protocol_version = "HTTP/1.1"  # as Ray: connections are kept
    body = b""
    lists = 0

    def do_GET(self) -> None:
        type(self).lists += self.path.rstrip("/") == "/api/jobs"
        body = self.body if self.path.rstrip("/") == "/api/jobs" else b'{"version":"4","ray_version":"2.60.0"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


def record(number: int) -> dict[str, Any]:
    """A job as Ray 2.60 lists it, some 700 bytes."""
    noise = random.Random(number)
    return {
        "type": "SUBMISSION",
        "job_id": f"{number:08x}",
        "submission_id": f"raysubmit_{number:016x}",
        "driver_info": {"id": f"{number:08x}", "node_ip_address": "10.244.0.9", "pid": str(1000 + number)},
        "status": "SUCCEEDED",
        "entrypoint": f"python train.py --lr 0.001 --seed {number}",
        "message": "Job finished successfully.",
        "error_type": None,
        "start_time": 1764000000000 + number,
        "end_time": 1764000009000 + number,
        "metadata": {"rayjobs.spec_sha256": noise.randbytes(32).hex()},
        "runtime_env": {"working_dir": f"gcs://_ray_pkg_{noise.randbytes(8).hex()}.zip"},
        "driver_agent_http_address": "http://10.244.0.9:52365",
        "driver_node_id": noise.randbytes(28).hex(),
        "driver_exit_code": 0,
    }


# The client's own time is its process' CPU seconds: the wall clock has the server's in it.
POLLS = """
import asyncio, json, statistics, sys, time
from jobs import connect_async

def median(times):
    return statistics.median(times)

async def main():
    polls, walls, parses = [], [], []
    body = sys.stdin.buffer.read()
    async with connect_async(sys.argv[1]) as client:
        await client.list()
        for _ in range(int(sys.argv[3])):
            wall, cpu = time.perf_counter(), time.process_time()
            found = await client.list()
            polls.append(time.process_time() - cpu); walls.append(time.perf_counter() - wall)
            assert len(found) == int(sys.argv[2])
            del found
            cpu = time.process_time(); json.loads(body); parses.append(time.process_time() - cpu)
    print(json.dumps({"poll": median(polls), "wall": median(walls), "parse": median(parses)}))

asyncio.run(main())
"""


def many(count: int = 1000, polls: int = 100) -> dict[str, Any]:
    """Status of many known jobs from one canned answer: requests per poll, and time against parsing it, in turn."""
    _Canned.body = json.dumps([record(number) for number in range(count)]).encode()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Canned)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    line = [PYTHON, "-c", POLLS, url, str(count), str(polls)]
    done = subprocess.run(line, input=_Canned.body, capture_output=True, check=True)
    lists = _Canned.lists
    server.shutdown()
    return {"jobs": count, "polls": polls + 1, "lists": lists, **json.loads(done.stdout)}


def tunnel(target: Head) -> dict[str, Any]:
    """Ours on Kubernetes, through the tunnel it opens and the token it reads, against stock without any of that."""
    with use_cluster() as cluster, run_ray_head(cluster) as pod, tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs.json"
        pod.write_contract(outputs)
        line = [PYTHON, "-m", "jobs", "submit", "--no-wait", "--outputs", str(outputs), "--", "true"]
        environment = {"KUBECONFIG": str(cluster.kubeconfig), **COMPILED}
        samples = in_turn(
            {
                "jobs": lambda: command(line, environment=environment),
                "ray job": lambda: target.ray("submit", "--no-wait", "--", "true"),
            },
            RUNS,
        )
    return {name: summary(runs) for name, runs in samples.items()}


def measure() -> dict[str, Any]:
    with head() as target:
        return {
            "tunnel": tunnel(target),
            "cold start": cold_start(target),
            "unchanged 80 MB": unchanged_directory(target),
            "follow 100,000 lines": follow(target),
            "100 submissions": submissions(target),
            "1,000 jobs": many(),
        }


if __name__ == "__main__":
    print(keep("jobs", measure()))
