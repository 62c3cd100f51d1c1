"""The client of the keeper's API: typed answers, logs that arrive whole over bad connections, errors for people."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from jobs.dashboard.http import HttpClient
from jobs.errors import JobsError, NotAllowed, NotThere, Refused, ServerFault, UnknownJob, Unreachable
from jobs.keeper import client, reach
from jobs.keeper.client import KeeperApi
from jobs.kubernetes.api import Kube
from jobs.target.options import TargetOptions
from jobs.target.resolve import Target, UrlTarget
from tests.support.api_server import UID, api_server
from tests.support.keeper_page import TOKEN, Page, failed, job, serving
from tests.support.outputs import cluster_of, contract, write
from tests.support.proxy import Faults, Proxy, answer

T = TypeVar("T")
LOG = b"".join(b"line %d\xff\r\n" % n for n in range(400_000))
CORE = "/api/v1/namespaces/ray-cluster"


@pytest.fixture
def url(page: Page) -> Iterator[str]:
    with serving(page.app) as url:
        yield url


def ask(url: str, work: Callable[[KeeperApi], Awaitable[T]], token: str | None = TOKEN) -> T:
    async def read_token() -> str | None:
        return token

    async def main() -> T:
        http = HttpClient(url, token=read_token, where="the keeper")
        try:
            return await work(KeeperApi(http))
        finally:
            await http.close()

    return asyncio.run(main())


async def whole(keeper: KeeperApi, submission_id: str = "a") -> bytes:
    return b"".join([piece async for piece in keeper.log(submission_id)])


def test_a_job_arrives_as_the_store_has_it(page: Page, url: str) -> None:
    page.keep(failed("a/b c", metadata={"name": "train"}, runtime_env={"pip": ["torch"]}))
    page.keeping.record_why("a/b c", [{"kind": "cause", "text": "No room.", "remedy": "wait"}, {"kind": "?"}], at=5.0)
    found = ask(url, lambda keeper: keeper.job("a/b c"))
    assert found is not None
    assert found.entry == page.kept.job("a/b c")
    assert found.why is not None
    assert (found.why.at, [each.text for each in found.why.findings]) == (5.0, ["No room."])
    assert (found.info.status, found.info.driver_exit_code, found.info.runtime_env) == ("FAILED", 1, {"pip": ["torch"]})
    assert found.reason == "No room."
    assert ask(url, lambda keeper: keeper.job("nobody")) is None


def test_jobs_arrive_newest_first_over_several_pages(page: Page, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_OF_A_PAGE", 20)
    page.keep(*(job(f"j{n:03}", start=1_700_000_000 + n) for n in range(50)))
    expected = [f"j{n:03}" for n in reversed(range(50))]
    for limit, has_more in ((45, True), (20, True), (50, False), (90, False)):
        jobs, more = ask(url, lambda keeper, limit=limit: keeper.jobs({}, limit))  # type: ignore[misc]
        assert ([each.entry.submission_id for each in jobs], more) == (expected[:limit], has_more)


def test_a_filter_that_is_not_possible_is_refused_with_the_keepers_words(url: str) -> None:
    with pytest.raises(Refused, match="status 'BROKEN' is not a status") as refused:
        ask(url, lambda keeper: keeper.jobs({"status": "broken"}, 5))
    assert "Allowed: " in refused.value.remedy


def test_a_record_with_odd_parts_breaks_no_command(page: Page, url: str) -> None:
    page.keep(failed("a"))
    (record,) = ask(url, lambda keeper: keeper.jobs({}, 1))[0]
    raw = json.loads(httpx.get(f"{url}/v1/jobs/a", headers={"authorization": f"Bearer {TOKEN}"}).content)
    for odd in ({"spec": {"metadata": "text"}}, {"spec": {"metadata": [1]}}, {"why": {"at": 1e300, "findings": []}}):
        body = json.dumps({**raw, **odd}).encode()
        with Proxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
            proxy.faults = Faults(instead=lambda _line, body=body: answer(200, body, "application/json"))
            found = ask(proxy.url, lambda keeper: keeper.job("a"))
        assert found is not None
        assert (found.info.metadata, found.why) == ({}, None)
    assert record.info.status == "FAILED"


def test_an_answer_without_a_byte_is_tried_again_with_pauses(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOG_SECONDS", 0.5)
    asked = []

    def nothing(line: str) -> bytes:
        asked.append(line)
        return (
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
        )

    with Proxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
        proxy.faults = Faults(instead=nothing)
        with pytest.raises(Unreachable, match="sent nothing from byte 0 of the log on"):
            ask(proxy.url, whole)
    assert len(asked) < 20


def test_a_log_arrives_whole_over_connections_that_are_cut(page: Page, url: str) -> None:
    page.keep(job("a"), logs={"a": LOG})
    with Proxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
        proxy.faults = Faults(cut_every=0.3, rate=8e6)
        got = ask(proxy.url, whole)
        assert proxy.cuts > 0
    assert hashlib.sha256(got).digest() == hashlib.sha256(LOG).digest()


def test_a_log_that_stops_coming_ends_with_the_byte_up_to_which_it_was_read(
    page: Page, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOG_SECONDS", 0.5)
    page.keep(job("a"), logs={"a": LOG})

    got = bytearray()

    async def read(keeper: KeeperApi) -> None:
        async for piece in keeper.log("a"):
            got.extend(piece)
            proxy.faults = Faults(instead=lambda _line: answer(503, "busy", "text/plain"), rate=1e6)

    with Proxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
        proxy.faults = Faults(cut_every=0.5, rate=1e6)
        with pytest.raises(Unreachable) as broken:
            ask(proxy.url, read)
    assert f"The log was read to byte {len(got)}." in broken.value.message
    assert LOG.startswith(got)


def test_the_last_lines_are_read_without_the_rest(page: Page, url: str) -> None:
    page.keep(job("a"), job("empty"), job("none"), logs={"a": LOG, "empty": b""})
    with Proxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
        assert ask(proxy.url, lambda keeper: keeper.last_lines("a", 3)) == b"".join(LOG.splitlines(True)[-3:])
        ranges = [head for head in proxy.heads if b"range: bytes=" in head.lower()]
    assert not any(b"bytes=0-\r" in head for head in ranges)
    assert ask(url, lambda keeper: keeper.last_lines("empty", 3)) == b""
    with pytest.raises(UnknownJob, match="has no log of job 'none'"):
        ask(url, lambda keeper: keeper.last_lines("none", 3))


def test_a_token_that_is_refused_is_said_with_where_another_one_is_named(url: str) -> None:
    for token in ("wrong", None):
        with pytest.raises(NotAllowed, match=r"the keeper refuses this request \(HTTP 401\)") as refused:
            ask(url, lambda keeper: keeper.job("a"), token)
        assert "--token-file" in refused.value.remedy
        with pytest.raises(NotAllowed):
            ask(url, whole, token)


@pytest.mark.parametrize(
    ("instead", "error", "said"),
    [
        (answer(404, "no", "text/plain"), ServerFault, "does not answer as a keeper of this version (HTTP 404)"),
        (answer(200, "<html>", "text/html"), ServerFault, "does not answer as a keeper of this version (HTTP 200)"),
        (answer(200, '{"submission_id": "a"}'), ServerFault, "missing required field"),
        (answer(200, "[" * 500 + "]" * 500), ServerFault, "does not answer as a keeper"),
        (answer(403, "login", "text/html"), NotAllowed, "something in front of it requires a login (HTTP 403)"),
        (answer(421, '{"error": "This server has another host name.", "remedy": "r"}'), ServerFault, "another host"),
    ],
    ids=["another server", "a web page", "no job", "deep", "a login", "another name"],
)
def test_what_is_no_keeper_is_said_and_not_believed(instead: bytes, error: type[JobsError], said: str) -> None:
    with Proxy("127.0.0.1", 9) as proxy:
        proxy.faults = Faults(instead=lambda _line: instead)
        with pytest.raises(error) as raised:
            ask(proxy.url, lambda keeper: keeper.job("a"))
        assert said in raised.value.message
        with pytest.raises(error):
            ask(proxy.url, whole)


def test_a_fault_of_the_keeper_that_passes_is_waited_out(page: Page, url: str) -> None:
    page.keep(job("a"), logs={"a": b"whole"})
    fault = answer(503, '{"error": "The kept jobs cannot be read now.", "remedy": ""}')
    for work in (lambda keeper: keeper.job("a"), whole):
        left = [fault, fault]
        with Proxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
            proxy.faults = Faults(instead=lambda _line, left=left: left.pop() if left else None)  # type: ignore[misc]
            assert ask(proxy.url, work) is not None
        assert not left


def service(port: int = 8270) -> dict[str, object]:
    spec = {"selector": {"app": "keeper"}, "ports": [{"port": 8270, "targetPort": port}]}
    return {f"{CORE}/services/ray-0-keeper": {"spec": spec}}


def pods(*names: str) -> dict[str, object]:
    items = [
        {
            "metadata": {"name": name},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        for name in names
    ]
    secret = {"data": {"auth_token": base64.b64encode(TOKEN.encode()).decode()}}
    return {f"{CORE}/pods": {"items": items}, f"{CORE}/secrets/ray-0": secret}


def target(folder: Path, kubeconfig: Path, *, keeper: bool = True) -> Target:
    outputs = contract(kubeContext="test", clusterUid=UID)
    if keeper:
        outputs["clusters"][0]["keeper"] = {"service": "ray-0-keeper", "port": 8270}
    path = write(folder / "outputs.json", outputs)
    return cluster_of(TargetOptions(outputs=str(path), kubeconfig=str(kubeconfig)), {}, folder)


def reach_and(target: Target, work: Callable[[KeeperApi], Awaitable[T]]) -> T:
    async def main() -> T:
        async with reach.reach_keeper(target) as keeper:
            return await work(keeper)

    return asyncio.run(main())


def test_the_keeper_of_a_stack_is_reached_through_a_tunnel_with_the_token_of_the_cluster(
    page: Page, url: str, tmp_path: Path
) -> None:
    page.keep(job("a"), logs={"a": LOG})
    port = int(url.rpartition(":")[2])
    forwards = {f"{CORE}/pods/k-1/portforward?ports={port}": port}
    with api_server(tmp_path, service(port) | pods("k-1"), forwards=forwards) as kubeconfig:
        found, log, path = reach_and(target(tmp_path, kubeconfig), _job_log_and_page)
    assert found is not None
    assert found.keeper == "the keeper of ray-cluster/ray-0"
    assert log == LOG
    assert path.startswith("/open?key=")


async def _job_log_and_page(keeper: KeeperApi):  # type: ignore[no-untyped-def]
    return await keeper.job("a"), await whole(keeper), await keeper.page_path()


@pytest.mark.parametrize(
    ("objects", "error", "said", "remedy"),
    [
        (pods("k-1"), NotThere, "The keeper of ray-cluster/ray-0 does not run: ", "kubectl get services,pods"),
        (service() | pods(), NotThere, "No pod of the Service ray-cluster/ray-0-keeper runs: it has none", "kubectl"),
        ({f"{CORE}/services/ray-0-keeper": 403}, NotAllowed, "cannot be reached: ", "The Role ray-keeper-reader"),
    ],
    ids=["no Service", "no pod", "no right"],
)
def test_a_keeper_of_a_stack_that_is_not_there_is_said_with_what_helps(
    tmp_path: Path, objects: dict[str, object], error: type[JobsError], said: str, remedy: str
) -> None:
    with api_server(tmp_path, objects) as kubeconfig, pytest.raises(error) as raised:
        reach_and(target(tmp_path, kubeconfig), lambda keeper: keeper.job("a"))
    assert said in raised.value.message
    assert remedy in raised.value.remedy


def test_a_keeper_that_does_not_answer_in_its_pod_is_said(tmp_path: Path) -> None:
    forwards = {f"{CORE}/pods/k-1/portforward?ports=9": 9}
    objects = service(9) | pods("k-1")
    with api_server(tmp_path, objects, forwards=forwards) as kubeconfig, pytest.raises(Unreachable) as raised:
        reach_and(target(tmp_path, kubeconfig), lambda keeper: keeper.job("a", 1.0))
    assert "Nothing answers in the pod on port 9" in raised.value.message


def test_in_a_pod_the_service_is_asked_directly_and_a_browser_gets_a_tunnel(tmp_path: Path) -> None:
    outputs = contract()
    outputs["clusters"][0] |= {"authSecret": None, "keeper": {"service": "ray-0-keeper", "port": 8270}}
    path = write(tmp_path / "outputs.json", outputs)
    in_pod = Kube(None, "the Kubernetes API (service account)", in_pod=True)

    async def url(*, for_browser: bool) -> str:
        async with contextlib.AsyncExitStack() as stack:
            target = cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path)
            return (await reach.of_cluster(target, in_pod, stack, for_browser=for_browser)).url

    assert asyncio.run(url(for_browser=False)) == "http://ray-0-keeper.ray-cluster.svc:8270"
    # The tunnel looks for the pod first: this stand-in for the API has none.
    with pytest.raises(Unreachable, match="service account"):
        asyncio.run(url(for_browser=True))


def test_the_token_file_that_is_named_counts_before_the_token_of_the_cluster(
    page: Page, url: str, tmp_path: Path
) -> None:
    page.keep(job("a"))
    (tmp_path / "token").write_text(TOKEN)
    other = {"data": {"auth_token": base64.b64encode(b"of-the-stack").decode()}}
    outputs = str(write(tmp_path / "outputs.json", contract(kubeContext="test", clusterUid=UID)))
    with api_server(tmp_path, {f"{CORE}/secrets/ray-0": other}) as kubeconfig:
        for named, is_right in ((str(tmp_path / "token"), True), (None, False)):
            options = TargetOptions(outputs=outputs, kubeconfig=str(kubeconfig), keeper=url, token_file=named)
            asked = cluster_of(options, {}, tmp_path)
            if is_right:
                assert reach_and(asked, lambda keeper: keeper.job("a")) is not None
            else:
                with pytest.raises(NotAllowed):
                    reach_and(asked, lambda keeper: keeper.job("a"))


def test_a_target_without_a_keeper_says_how_one_is_named(tmp_path: Path) -> None:
    with api_server(tmp_path) as kubeconfig:
        for each in (target(tmp_path, kubeconfig, keeper=False), UrlTarget("http://127.0.0.1:9", None, {}, True)):
            assert not reach.has_keeper(each)
            with pytest.raises(NotThere, match="No keeper of ") as raised:
                reach_and(each, lambda keeper: keeper.job("a"))
            assert "--keeper URL" in raised.value.remedy
