"""Under which names a keeper answers, and who may ask it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.connection import Connection
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.errors import LedgerFault
from jobs.keeper import serving, store
from jobs.keeper.keeper import open_keeper
from jobs.keeper.serving import ServedToken, access_of, host_names
from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import KeptJobs
from jobs.target.contract import KeeperService
from jobs.target.options import TargetOptions
from jobs.target.resolve import ClusterTarget, UrlTarget
from tests.support.keeper import PLACE, running
from tests.support.keeper_loop import be_fast
from tests.support.outputs import cluster_of, contract, write

LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}


@pytest.fixture
def in_cluster(tmp_path: Path) -> ClusterTarget:
    outputs = write(tmp_path / "outputs.json", contract())
    return replace(cluster_of(TargetOptions(outputs=str(outputs)), {}, tmp_path), in_cluster=True)


def connection_to(target: Any) -> Connection:
    return Connection(RayJobsApi(HttpClient("http://127.0.0.1:9")), target, "http://127.0.0.1:9", "identity")


def with_(target: ClusterTarget, **fields: Any) -> ClusterTarget:
    return replace(target, cluster=replace(target.cluster, **fields))


def test_in_a_cluster_it_answers_under_the_names_of_its_service(in_cluster: ClusterTarget) -> None:
    names = set(host_names(connection_to(in_cluster), "127.0.0.1"))
    service = "ray-0-keeper"
    assert names == LOOPBACK | {
        service, f"{service}.ray-cluster", f"{service}.ray-cluster.svc", f"{service}.ray-cluster.svc.cluster.local",
    }  # fmt: skip
    named = with_(in_cluster, keeper=KeeperService("jobs-of-all", 8270))
    assert "jobs-of-all.ray-cluster.svc" in host_names(connection_to(named), "127.0.0.1")


def test_a_token_that_was_read_too_long_ago_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been revoked since."""

    class Cluster:
        async def read_token(self) -> str:
            return "secret"

    async def tokens() -> list[str | None]:
        token = ServedToken(Cluster(), asyncio.get_running_loop())  # type: ignore[arg-type]
        found = [token()]
        await token.refresh()
        found.append(token())
        monkeypatch.setattr(serving, "TOKEN_SECONDS", -1.0)
        return [*found, token()]

    assert asyncio.run(tokens()) == [None, "secret", None]


def test_at_all_addresses_it_answers_under_those_that_this_machine_has(in_cluster: ClusterTarget) -> None:
    own = {str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    assert own <= set(host_names(connection_to(in_cluster), "0.0.0.0"))


def test_on_a_laptop_it_answers_under_the_address_where_it_listens() -> None:
    connection = connection_to(UrlTarget("http://ray:8265", None, {}, True))
    assert set(host_names(connection, "127.0.0.1")) == LOOPBACK
    assert set(host_names(connection, "192.0.2.7")) == LOOPBACK | {"192.0.2.7"}
    assert set(host_names(connection, "2001:db8::1")) == LOOPBACK | {"[2001:db8::1]"}


def test_only_in_a_cluster_without_token_authentication_it_is_open_to_all(in_cluster: ClusterTarget) -> None:
    def is_open(target: Any) -> bool:
        connection = connection_to(target)
        loop = asyncio.new_event_loop()
        try:
            return access_of(connection, ServedToken(connection, loop)).is_open
        finally:
            loop.close()

    without = with_(in_cluster, auth_secret=None)
    assert is_open(without)
    assert not is_open(in_cluster)
    assert not is_open(replace(without, in_cluster=False))
    assert not is_open(UrlTarget("http://ray:8265", None, {}, True))


def test_a_pod_that_cannot_open_its_folder_stays_up_and_goes_on_when_it_can(
    in_cluster: ClusterTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_fast(monkeypatch)
    monkeypatch.setattr(store, "REOPEN_SECONDS", 0.1)
    other = Keeping(tmp_path / "kept", PLACE)
    other.record_seen([running("a")])
    messages: list[str] = []

    async def main() -> None:
        async with open_keeper(connection_to(in_cluster), tmp_path / "kept", notify=messages.append) as keeper:
            task = asyncio.ensure_future(keeper.run())
            while not any("Another keeper uses" in problem for problem in keeper.state().problems):
                await asyncio.sleep(0.05)
            assert keeper.kept.job("a") is not None
            other.close()
            while any("Another keeper uses" in problem for problem in keeper.state().problems):
                await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 60))
    assert [event.kind for event in KeptJobs(tmp_path / "kept").events()].count("keeper_started") == 2
    assert sum("Another keeper uses" in message for message in messages) == 1


def test_elsewhere_a_folder_that_cannot_be_opened_ends_it(tmp_path: Path) -> None:
    async def main() -> None:
        target = UrlTarget("http://127.0.0.1:9", None, {}, True)
        async with open_keeper(connection_to(target), tmp_path / "kept"):
            pass

    with Keeping(tmp_path / "kept", PLACE), pytest.raises(LedgerFault, match="Another keeper uses"):
        asyncio.run(main())
