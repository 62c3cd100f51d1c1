"""Following a log while the connection is cut every two seconds: ours and the stock client's, bytes counted.

The stock client loses its stream at a cut; ours continues at the same byte. Small: 2,000 lines over 20 s. Large: 100 MB
at 20 MB/s, so that no connection lives long enough for the whole log. One such proxy stands before the dashboard, and
one before the agent from which ours reads logs.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.jobs import Head, head
from bench.measure import command, keep
from jobs import connect
from tests.support.proxy import Proxy

CUT_SECONDS, RATE = 2.0, 20e6
SMALL = "import time\nfor i in range(2000):\n    print(f'line {i:06}', flush=True); time.sleep(0.01)"
LARGE = "import sys\nfor i in range(1_000_000): sys.stdout.write(f'{i:099}\\n')"
ANY_CODE = tuple(range(256))


def lines_found(output: Path, wanted: set[bytes]) -> dict[str, int]:
    """How many of the job's own lines arrived, and how many more than once."""
    seen: dict[bytes, int] = {}
    with output.open("rb") as file:
        for line in file:
            digest = hashlib.blake2b(line, digest_size=8).digest()
            seen[digest] = seen.get(digest, 0) + 1
    known = [count for digest, count in seen.items() if digest in wanted]
    return {"wanted": len(wanted), "found": len(known), "repeated": sum(count > 1 for count in known)}


def digests(lines: Any) -> set[bytes]:
    return {hashlib.blake2b(line, digest_size=8).digest() for line in lines}


# `jobs logs --follow` with the agent's address replaced by its proxy's.
OURS = """
import asyncio, sys
import jobs.connection
from jobs.dashboard.http import HttpClient

class Behind(HttpClient):
    def __init__(self, base_url, **options):
        super().__init__({agent!r} if base_url == {real!r} else base_url, **options)

jobs.connection.HttpClient = Behind
from jobs.cli.main import main
main()
"""


def agent_of(target: Head, submission: str) -> str:
    """Address of the dashboard agent that has the job's log; known once the job runs."""
    with connect(target.url, token_file=str(target.token_file)) as client:
        until = time.monotonic() + 60
        while (address := client.get(submission).driver_agent_http_address) is None:
            assert time.monotonic() < until, f"{submission} does not start"
            time.sleep(0.1)
    return address


def follow(target: Head, name: str, code: str, wanted: set[bytes], stock: bool) -> dict[str, Any]:
    """Submits `code` and follows it through the cutting proxies."""
    submission = f"{name}-{'stock' if stock else 'ours'}"
    target.jobs("submit", "--no-wait", "--submission-id", submission, "--", "python", "-c", code)
    if name == "large":
        target.jobs("wait", submission)
    real = agent_of(target, submission)
    with (
        tempfile.TemporaryDirectory() as folder,
        Proxy("127.0.0.1", int(target.url.rpartition(":")[2])) as proxy,
        Proxy("127.0.0.1", int(real.rpartition(":")[2])) as agent,
    ):
        for each in (proxy, agent):
            each.faults.cut_every, each.faults.rate = CUT_SECONDS, RATE
        output = Path(folder) / "log"
        behind = Head(proxy.url, target.token_file)
        follow = ["logs", "--follow", submission]
        if stock:
            sample = behind.ray(*follow, output=output, allowed=ANY_CODE)
        else:
            script = OURS.format(agent=agent.url, real=real)
            line = [sys.executable, "-c", script, follow[0], *behind.ours, *follow[1:]]
            sample = command(line, output=output, allowed=ANY_CODE)
        target.jobs("wait", submission)
        return {
            "seconds": sample.wall,
            "exit code": sample.code,
            "peak_mib": sample.peak_mib,
            "cuts": proxy.cuts + agent.cuts,
            **lines_found(output, wanted),
        }


def measure() -> dict[str, Any]:
    cases = {
        "small": (SMALL, digests(f"line {i:06}\n".encode() for i in range(2000))),
        "large": (LARGE, digests(f"{i:099}\n".encode() for i in range(1_000_000))),
    }
    results: dict[str, Any] = {}
    with head() as target:
        for name, (code, wanted) in cases.items():
            for stock in (False, True):
                label = f"{name}, {'ray job logs -f' if stock else 'jobs logs --follow'}"
                results[label] = follow(target, name, code, wanted, stock)
                print(label, results[label], flush=True)
    return results


if __name__ == "__main__":
    print(keep("faults", measure()), file=sys.stderr)
