"""Following a log while the connection is cut every two seconds: ours and the stock client's, bytes counted.

A cut costs the stock client its stream; ours goes on where it was. Small: 2,000 lines over 20 s. Large: 100 MB.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.jobs import Head, head
from bench.measure import Sample, keep
from tests.support.proxy import Proxy

CUT_SECONDS = 2.0
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


def one(target: Head, proxy: Proxy, name: str, code: str, wanted: set[bytes], stock: bool) -> dict[str, Any]:
    """Submits `code` and follows it through the cutting proxy."""
    submission = f"{name}-{'stock' if stock else 'ours'}"
    behind = Head(proxy.url, target.token_file)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "log"
        target.jobs("submit", "--no-wait", "--submission-id", submission, "--", "python", "-c", code)
        if name == "large":
            target.jobs("wait", submission)
        follow = behind.ray if stock else behind.jobs
        sample: Sample = follow("logs", "--follow", submission, output=output, allowed=ANY_CODE)
        target.jobs("wait", submission)
        return {
            "seconds": sample.wall,
            "exit code": sample.code,
            "peak_mib": sample.peak_mib,
            **lines_found(output, wanted),
        }


def measure() -> dict[str, Any]:
    cases = {
        "small": (SMALL, digests(f"line {i:06}\n".encode() for i in range(2000))),
        "large": (LARGE, digests(f"{i:099}\n".encode() for i in range(1_000_000))),
    }
    results: dict[str, Any] = {}
    with head() as target:
        port = int(target.url.rpartition(":")[2])
        for name, (code, wanted) in cases.items():
            for stock in (False, True):
                with Proxy("127.0.0.1", port) as proxy:
                    proxy.faults.cut_every = CUT_SECONDS
                    label = f"{name}, {'ray job logs -f' if stock else 'jobs logs --follow'}"
                    results[label] = one(target, proxy, name, code, wanted, stock)
                    print(label, results[label], flush=True)
    return results


if __name__ == "__main__":
    print(keep("faults", measure()), file=sys.stderr)
