"""Where the token goes."""

from __future__ import annotations

import pytest

from jobs.connection import agent_is_safe


@pytest.mark.parametrize(
    ("url", "agent", "safe"),
    [
        ("http://127.0.0.1:8265", "http://127.0.0.1:52365", True),
        # A tunnel by somebody else: the pod's address may be another machine's in this network.
        ("http://127.0.0.1:8265", "http://203.0.113.9:52365", False),
        ("https://ray.example.com", "http://10.0.0.1:52365", False),
        ("http://ray.example.com:8265", "http://10.0.0.1:52365", False),
    ],
)
def test_the_token_goes_to_an_agent_only_where_that_is_safe(
    url: str, agent: str, safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert agent_is_safe(url, agent) is safe
