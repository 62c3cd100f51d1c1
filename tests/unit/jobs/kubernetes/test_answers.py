"""Answers that no Kubernetes gives, and messages that others wrote."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.errors import JobsError
from jobs.kubernetes import api
from jobs.kubernetes.api import Kube
from tests.support.proxy import Faults, Proxy, answer


def ask(tmp_path: Path, body: bytes, question: Callable[[Kube], Awaitable[Any]]) -> Any:
    async def main(url: str) -> Any:
        entry = {"name": "c", "cluster": {"server": url}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [entry]}
        config |= {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
        config |= {"users": [{"name": "u", "user": {"token": "t"}}]}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        kube = await Kube.open(str(tmp_path / "kubeconfig"), None)
        try:
            return await question(kube)
        finally:
            await kube.close()

    version = answer(200, json.dumps({"major": "1", "minor": "34", "gitVersion": "v1.34.4"}))
    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=lambda line: version if "/version" in line else body)
        return asyncio.run(main(running.url))


@pytest.mark.parametrize(
    "body", ["[]", "5", "null", '{"items": 5}', '{"items": [5]}', '{"items": [{}]}', "[" * 50_000, '{"metadata": []}']
)
def test_an_answer_of_another_form_is_an_error_or_nothing(tmp_path: Path, body: str) -> None:
    questions: list[Callable[[Kube], Awaitable[Any]]] = [
        lambda kube: kube.pods("n", {}),
        lambda kube: kube.cluster_uid(),
        lambda kube: kube.secret_value("n", "s", "k"),
    ]
    for question in questions:
        try:
            result = ask(tmp_path, answer(200, body), question)
        except JobsError as error:
            result = error.__cause__
        assert result in ([], None)  # no pods, or an error of ours


def test_an_answer_has_a_limit_and_is_not_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_BYTES", 1024**2)
    with pytest.raises(JobsError, match="more than 1 MiB"):
        ask(tmp_path, answer(200, b" " * 1024**2 + b"{}"), lambda kube: kube.pods("n", {}))
    small = gzip.compress(b"{}")
    head = b"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
    head += f"Content-Length: {len(small)}\r\n\r\n".encode()
    with pytest.raises(JobsError, match="compressed its answer"):
        ask(tmp_path, head + small, lambda kube: kube.pods("n", {}))


def test_a_message_of_the_server_is_visible_and_has_no_secret(tmp_path: Path) -> None:
    message = "\x1b[2J\n::error ::x https://u:hunter2hunter2@h"
    with pytest.raises(JobsError) as caught:
        ask(tmp_path, answer(500, json.dumps({"message": message})), lambda kube: kube.pods("n", {}))
    assert "\x1b" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\\x1b[2J\\n::error" in str(caught.value)
