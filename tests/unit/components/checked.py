"""Settings of one cluster through all checks that need no cluster."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.settings import parse
from tests.support.trees import tree


def check(version: str = "v1.7.0", kuberay: dict[str, Any] | None = None, **cluster: Any) -> list[dict[str, Any]]:
    settings = parse({"kuberay": {"version": version, **(kuberay or {})}, "clusters": [cluster]})
    return build_and_check(settings, tree(version))


def problem(version: str = "v1.7.0", **cluster: Any) -> str:
    with pytest.raises(StackError) as caught:
        check(version, **cluster)
    return str(caught.value)
