"""Every byte of a log once and in order, and the job's own end, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from jobs.dashboard.logs import LogFollower
from jobs.dashboard.submission import submit_once
from jobs.errors import Unreachable
from jobs.session import Session
from jobs.spec.job_info import Result
from jobs.spec.job_spec import JobSpec
from tests.jobs.conftest import Head, new_id, output_of, session_at
from tests.support.command import Cli, wait_until
from tests.support.proxy import Faults, Proxy, answer

# Multi-byte characters cut anywhere, a line over 64 KiB, bytes that are no UTF-8, carriage returns, colours, no end.
ODD = r"""
import sys, time
out = sys.stdout.buffer
for i in range(60):
    out.write("{} größe 世界 🎉\n".format(i).encode())
    out.write(b"\xff\xfe\x00\x80 raw\r50%\r100%\r\n\x1b[31mred\x1b[0m\n")
    if i % 20 == 0: out.write(b"x" * 100_000 + "é".encode() + b"\n")
    out.flush(); time.sleep(0.1)
out.write(b"the end without a newline"); out.flush()
"""


def log_of(head: Head, job: str) -> bytes:
    return (head.log_dir / f"job-driver-{job}.log").read_bytes()


async def start(session: Session, entrypoint: str) -> str:
    job = new_id()
    await submit_once(session.client, JobSpec(entrypoint), job)
    return job


def python(head: Head, script: str) -> str:
    path = head.log_dir / f"{new_id()}.py"
    path.write_text(script)
    return f"python {path}"


@pytest.mark.parametrize("source", ["agent", "dashboard"])
@pytest.mark.parametrize("every", [0.3, 2.0])
def test_cut_connections_lose_and_repeat_nothing(
    head: Head, proxy: Proxy, agent_proxy: Proxy, source: str, every: float
) -> None:
    got = bytearray()

    async def follow() -> tuple[str, Result]:
        proxy.faults, agent_proxy.faults = Faults(cut_every=every), Faults(cut_every=every)
        async with session_at(head, proxy.url, agent=agent_proxy.url if source == "agent" else None) as session:
            job = await start(session, python(head, ODD))
            return job, await session.run_to_end(job, got.extend)

    job, result = asyncio.run(follow())
    assert proxy.cuts + agent_proxy.cuts > 0
    assert bytes(got) == log_of(head, job)
    assert output_of(bytes(got)).endswith(b"the end without a newline")
    assert result.status == "SUCCEEDED"


def test_the_command_follows_through_cuts_and_exits_by_the_result(cli: Cli, head: Head, proxy: Proxy) -> None:
    proxy.faults = Faults(cut_every=1.0)
    job = new_id()
    entrypoint = f"{python(head, ODD)}; exit 3"
    done = cli("submit", "--submission-id", job, "--", entrypoint, address=proxy.url)
    assert done.returncode == 1
    assert done.stdout == log_of(head, job)
    assert proxy.cuts > 0


@pytest.fixture(scope="module")
def big_log(head: Head) -> str:
    """A job that has ended, with a log of 100 MB."""
    script = "import os\nfor i in range(100): os.write(1, b'%09d\\n' % i * 100_000)"

    async def make() -> str:
        async with session_at(head) as session:
            job = await start(session, python(head, script))
            assert (await session.wait([job]))[0].status == "SUCCEEDED"
            return job

    return asyncio.run(make())


def test_a_log_of_100_mb_arrives_whole_under_cuts(head: Head, proxy: Proxy, agent_proxy: Proxy, big_log: str) -> None:
    """No connection lives long enough for the whole: only one that is resumed at its byte gets there."""
    proxy.faults, agent_proxy.faults = Faults(cut_every=0.5, rate=60e6), Faults(cut_every=0.5, rate=60e6)
    digest, pieces = hashlib.sha256(), 0

    def take(piece: bytes) -> None:
        nonlocal pieces
        pieces += 1
        digest.update(piece)

    async def follow() -> Result:
        async with session_at(head, proxy.url, agent=agent_proxy.url, patience=15) as session:
            return await session.run_to_end(big_log, take)

    assert asyncio.run(follow()).status == "SUCCEEDED"
    assert digest.hexdigest() == hashlib.sha256(log_of(head, big_log)).hexdigest()
    assert agent_proxy.cuts > 2
    assert pieces > 100


def test_memory_stays_flat_on_a_log_of_100_mb(cli: Cli, head: Head, big_log: str, tmp_path: Path) -> None:
    # A process of its own in between: a child's peak counts its parent's from before the exec.
    measure = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
    measure += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
    command = [sys.executable, "-c", measure, *cli.command("logs", "--follow", big_log)]
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(command, cwd=cli.cwd, env=cli.environ, stdout=out, stderr=subprocess.PIPE, check=True)
    assert (tmp_path / "out").stat().st_size == (head.log_dir / f"job-driver-{big_log}.log").stat().st_size
    assert int(done.stderr.split()[-1]) < 80 * 1024  # KiB


@pytest.mark.parametrize("source", ["agent", "dashboard"])
def test_a_paused_server_is_waited_out(head: Head, proxy: Proxy, agent_proxy: Proxy, source: str) -> None:
    got = bytearray()

    async def follow() -> tuple[str, Result]:
        async with session_at(head, proxy.url, agent=agent_proxy.url if source == "agent" else None) as session:
            job = await start(session, "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done")
            following = asyncio.ensure_future(session.run_to_end(job, got.extend))
            await asyncio.sleep(2)
            proxy.faults.paused = agent_proxy.faults.paused = True
            await asyncio.sleep(10)
            proxy.faults.paused = agent_proxy.faults.paused = False
            return job, await following

    job, result = asyncio.run(follow())
    assert result.status == "SUCCEEDED"
    assert bytes(got) == log_of(head, job)


@pytest.mark.parametrize("source", ["agent", "dashboard"])
def test_the_last_burst_before_the_end_is_drained(head: Head, agent_proxy: Proxy, source: str) -> None:
    got = bytearray()
    script = "import os, time; time.sleep(2); os.write(1, b'y' * 20_000_000); os._exit(4)"

    async def follow() -> tuple[str, Result]:
        async with session_at(head, agent=agent_proxy.url if source == "agent" else None) as session:
            job = await start(session, python(head, script))
            return job, await session.run_to_end(job, got.extend)

    job, result = asyncio.run(follow())
    assert (result.status, result.driver_exit_code) == ("FAILED", 4)
    assert len(got) == len(log_of(head, job)) > 20_000_000


def test_an_agent_that_does_not_answer_is_replaced_by_the_dashboard(head: Head, agent_proxy: Proxy) -> None:
    agent_proxy.faults = Faults(drop_request=lambda _line: True)
    got = bytearray()

    async def follow() -> tuple[str, Result]:
        async with session_at(head, agent=agent_proxy.url) as session:
            job = await start(session, python(head, ODD))
            return job, await session.run_to_end(job, got.extend)

    job, result = asyncio.run(follow())
    assert result.status == "SUCCEEDED"
    assert bytes(got) == log_of(head, job)


def test_where_only_text_can_be_had_it_says_what_is_not_kept(head: Head, proxy: Proxy) -> None:
    proxy.faults = Faults(instead=lambda line: answer(404, "no", "text/plain") if "/api/v0/logs" in line else None)
    got, said = bytearray(), []

    async def follow() -> Result:
        async with session_at(head, proxy.url) as session:
            session.notify = said.append
            job = await start(session, "echo one; sleep 2; echo zwölf")
            return await session.run_to_end(job, got.extend)

    assert asyncio.run(follow()).status == "SUCCEEDED"
    assert output_of(bytes(got)) == "one\nzwölf\n".encode()
    assert sum("not kept" in text for text in said) == 1


def test_without_follow_the_log_ends_where_it_is_now(cli: Cli) -> None:
    job = new_id()
    cli("submit", "--no-wait", "--submission-id", job, "--", "echo begun; sleep 600")
    wait_until(lambda: b"begun" in cli("logs", job).stdout, 60)
    cli("stop", job)


def test_a_log_that_is_gone_is_said_and_the_result_still_known(head: Head) -> None:
    said: list[str] = []

    async def follow() -> Result:
        async with session_at(head) as session:
            session.notify = said.append
            job = await start(session, "exit 6")
            await session.wait([job])
            (head.log_dir / f"job-driver-{job}.log").unlink()
            return await session.run_to_end(job, lambda _piece: None)

    result = asyncio.run(follow())
    assert (result.status, result.driver_exit_code) == ("FAILED", 6)
    assert any("gone from its node" in text for text in said)


def test_a_follower_resumes_at_the_byte_it_is_given(head: Head, agent_proxy: Proxy) -> None:
    async def read(session: Session, job: str, offset: int) -> bytes:
        follower = LogFollower(session.watcher, job, offset=offset)
        async with aclosing(follower.chunks()) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def both() -> None:
        for agent in (agent_proxy.url, None):
            async with session_at(head, agent=agent) as session:
                job = await start(session, "printf 'größe'")
                await session.wait([job])
                log = log_of(head, job)
                assert await read(session, job, len(log) - 3) == log[-3:]
                assert await read(session, job, len(log)) == b""

    asyncio.run(both())


def test_a_server_that_went_away_is_given_up_with_its_patience(head: Head, proxy: Proxy) -> None:
    async def follow() -> None:
        async with session_at(head, proxy.url, patience=2.0) as session:
            job = await start(session, "sleep 60")
            proxy.faults = Faults(drop_request=lambda _line: True)
            try:
                await session.run_to_end(job, lambda _piece: None)
            finally:
                proxy.heal()
                await session.stop(job)

    with pytest.raises(Unreachable):
        asyncio.run(follow())


def test_a_proxy_that_ignores_where_to_begin_repeats_nothing(head: Head, agent_proxy: Proxy) -> None:
    async def rest_of(offset: int) -> tuple[str, bytes]:
        got = bytearray()
        async with session_at(head, agent=agent_proxy.url) as session:
            job = await start(session, "echo one; echo two")
            await session.wait([job])
            whole = answer(200, log_of(head, job), "text/plain")
            agent_proxy.faults = Faults(instead=lambda line: whole if "/logs/" in line else None)
            await session.print_log(job, got.extend, offset=offset)
            return job, bytes(got)

    job, got = asyncio.run(rest_of(10))
    assert got == log_of(head, job)[10:]
