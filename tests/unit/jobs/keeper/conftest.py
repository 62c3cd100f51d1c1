"""A keeper's folder, and the two who may ask: a browser with the page's cookie, and a program with the token."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import StarletteDeprecationWarning

with warnings.catch_warnings():
    # It prefers a newer client, which nothing else here needs.
    warnings.simplefilter("ignore", StarletteDeprecationWarning)
    from starlette.testclient import TestClient

from tests.support.keeper_page import TOKEN, LiveCluster, Page

BASE = "http://127.0.0.1:8000"


def client_of(page: Page, **headers: str) -> TestClient:
    """A client on this machine, which nobody knows yet."""
    return TestClient(page.app, BASE, client=("127.0.0.1", 50000), headers=headers, raise_server_exceptions=False)


def ask(page: Page, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application itself sends, before a server or a client changes it."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    base = {"method": "GET", "path": "/healthz", "query_string": b"", "headers": [], "client": None}
    asyncio.run(page.app(base | scope, receive, send))  # type: ignore[arg-type]
    return sent


@pytest.fixture
def page(tmp_path: Path):  # type: ignore[no-untyped-def]
    page = Page(tmp_path / "kept", cluster=LiveCluster())
    yield page
    page.keeping.close()


@pytest.fixture
def stranger(page: Page) -> TestClient:
    return client_of(page)


@pytest.fixture
def program(page: Page) -> TestClient:
    return client_of(page, authorization=f"Bearer {TOKEN}")


@pytest.fixture
def browser(page: Page) -> TestClient:
    client = client_of(page)
    assert client.get(page.access.new_path()).status_code == 200
    return client
