from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.kubernetes.api import Kube
from tests.support.api_server import UID, kubeconfig_of
from tests.support.http_server import running
from tests.support.identity_server import Server, cluster_of
from tests.support.tls import make_ca


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    _, certificate = make_ca(tmp_path)
    with running(Server(certificate)) as server:
        yield server


@pytest.fixture
def connect(server: Server, tmp_path: Path) -> Callable[..., list[tuple[str, str]]]:
    """Asks the server for the cluster's identity; returns the headers of the last request."""

    def ask(user: dict[str, Any], **cluster: Any) -> list[tuple[str, str]]:
        file = kubeconfig_of(tmp_path, user, {**cluster_of(server), **cluster})

        async def run() -> None:
            kube = await Kube.open(str(file), None)
            try:
                assert await kube.cluster_uid() == UID
                assert not kube.in_pod
            finally:
                await kube.close()

        asyncio.run(run())
        return server.headers[-1]

    return ask
