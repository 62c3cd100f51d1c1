"""KubeRay operators as they are on a cluster, whoever installed them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

WATCH = "watch-namespace"


def watched(deployment: Mapping[str, Any]) -> frozenset[str]:
    """The namespaces that an operator acts in, from its container's arguments; empty: the whole cluster."""
    containers = deployment.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or [{}]
    args = [str(arg) for arg in containers[0].get("args") or []]
    text = ""
    for arg, following in zip_longest(args, args[1:], fillvalue=""):
        flag, equals, value = arg.partition("=")
        if flag.startswith("-") and flag.lstrip("-") == WATCH:
            text = value if equals else following  # of two, Go's flags take the last
    return frozenset(name.strip() for name in text.split(",") if name.strip())
