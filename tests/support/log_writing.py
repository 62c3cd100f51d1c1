"""A program that appends known bytes to the logs of a keeper's folder, and can be killed at any moment.

`python -m tests.support.log_writing DIR ROUND`: log `i` grows up to its part of round ROUND, and is finished in round
`i` or later. Each line of its output is one step.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from jobs.ledger.keeping import Keeping
from jobs.spec.job_info import JobInfo
from tests.support.keeper import PLACE, START, running

LOGS = 20


def log_of(i: int) -> bytes:
    """The whole log of job `i`: text that compresses well, and random bytes."""
    source = random.Random(i)
    size = source.randrange(20_000, 900_000)
    text = b"".join(b"epoch %d loss %f\n" % (line, source.random()) for line in range(size // 48))
    return text + source.randbytes(size // 2)


def id_of(i: int) -> str:
    return f"job-{i:02}"


def job(i: int) -> JobInfo:
    return running(id_of(i), start_time=START + i)


def write_round(keeping: Keeping, number: int) -> None:
    """Appends what the logs have in this round, in random order and in pieces of random length."""
    keeping.record_seen([job(i) for i in range(LOGS)])
    logs = {i: log_of(i) for i in range(LOGS)}
    ends = {i: len(log) if i <= number else len(log) * (number + 1) // (i + 1) for i, log in logs.items()}
    kept = {i: keeping.next_byte(id_of(i)) for i in logs}
    open_logs = list(logs)
    while open_logs:
        i = random.choice(open_logs)
        begin = kept[i]
        if begin >= ends[i]:
            open_logs.remove(i)
            if i <= number:
                keeping.finish_log(id_of(i))
        else:
            kept[i] = min(ends[i], begin + random.choice((1, 500, 20_000, 100_000)))
            keeping.append_log(id_of(i), logs[i][begin : kept[i]])
        if random.random() < 0.3:
            keeping.flush()
        print("step", flush=True)


if __name__ == "__main__":
    with Keeping(Path(sys.argv[1]), PLACE) as opened:
        write_round(opened, int(sys.argv[2]))
