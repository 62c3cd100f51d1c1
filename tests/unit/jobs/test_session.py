"""What a session says of a job, to its caller and in its errors."""

from __future__ import annotations

import asyncio
import json

import pytest

from jobs.connection import Connection
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.deadline import Deadline
from jobs.errors import DeadlinePassed
from jobs.session import Session
from jobs.target.resolve import LocalTarget
from tests.support.proxy import answer, server

SECRET = "hunter2hunter2"
MESSAGE = f"\x1b]52;c;eA==\x07\n::error ::x https://user:{SECRET}@pypi.example.com"
JOB = {"submission_id": "j", "status": "RUNNING\x1b[2J", "message": MESSAGE, "stopped": True}


def test_a_job_that_does_not_stop_is_described_by_its_message_without_secrets() -> None:
    notes: list[str] = []

    async def main(url: str) -> None:
        connection = Connection(RayJobsApi(HttpClient(url)), LocalTarget({}), url, url)
        session = Session(connection, notify=notes.append)
        with pytest.raises(DeadlinePassed):
            await session.wait(["j"], deadline=Deadline(0.1))
        await session.stop("j", seconds=1.0)

    with server(answer(200, json.dumps(JOB))) as running, pytest.raises(DeadlinePassed) as caught:
        asyncio.run(main(running.url))
    texts = [str(caught.value), *notes]
    assert "pypi.example.com" in texts[0]
    assert notes
    for text in texts:
        assert SECRET not in text
        assert "\x1b" not in text
        assert not [line for line in text.splitlines() if line.startswith("::")]
