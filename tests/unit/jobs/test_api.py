"""The Python API where no Ray answers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs import JobsError, connect
from tests.support.command import NO_ADDRESS, ROOT


def test_a_client_that_cannot_connect_raises_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(JobsError, match="--allow-unauthenticated"), connect("https://ray.example.com"):
        pass
    assert threading.active_count() == before


def test_a_client_works_without_a_block_until_it_is_closed(tmp_path: Path) -> None:
    before = threading.active_count()
    client = connect(NO_ADDRESS, ledger=tmp_path / "ledger")
    assert client.url == NO_ADDRESS
    client.close()
    client.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        client.list()


def test_ctrl_c_is_raised_when_the_work_has_ended(tmp_path: Path) -> None:
    """Otherwise the reader of a log would be closed while it still reads."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = threading.Event()

    async def work() -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)
            ended.set()

    try:
        with connect(NO_ADDRESS, ledger=tmp_path / "ledger") as client:
            with pytest.raises(KeyboardInterrupt):
                client._call(work())
            assert ended.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_notebook_nothing_is_displayed_and_ipython_is_not_loaded() -> None:
    code = "import sys, jobs.api, jobs.notebook as notebook; print(notebook.live_display(), 'IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]
