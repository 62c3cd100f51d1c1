"""Rules for `rayStartParams`: what `ray start` refuses, and what the rest of the manifest depends on; pure.

The operator writes every entry into the command line as `--NAME=VALUE`, or as `--NAME` for `true`, and checks nothing
(convertParamMap in KubeRay's pod.go). `ray start` then refuses it, and the pod restarts for ever. The types are those
of `ray start` in Ray's scripts.py; a test compares them with the installed Ray.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping

from jobs.target.contract import DASHBOARD_PORT

# `ray start` takes bytes as a plain number: no unit.
BYTES = frozenset({"memory", "object-store-memory", "system-reserved-memory"})
INTEGERS = frozenset(
    {
        *BYTES,
        *("num-cpus", "num-gpus", "port", "object-manager-port", "node-manager-port", "min-worker-port"),
        *("max-worker-port", "ray-client-server-port", "dashboard-port", "dashboard-agent-listen-port"),
        *("dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port"),
    }
)
NUMBERS = frozenset({"system-reserved-cpu"})
# Without a value. The operator leaves them out for `false`.
FLAGS = frozenset(
    {
        *("head", "block", "no-redirect-output", "enable-object-reconstruction", "no-monitor"),
        *("ray-debugger-external", "disable-usage-stats", "enable-resource-isolation"),
    }
)
BOOLEANS = frozenset({"include-dashboard", "include-log-monitor"})
CHOICES = {
    "log-style": ("auto", "record", "pretty"),
    "log-color": ("auto", "false", "true"),
    "verbose": ("0", "1", "2", "3"),
}
TEXTS = frozenset(
    {
        *("node-ip-address", "address", "node-name", "redis-username", "redis-password", "redis-shard-ports"),
        *("worker-port-list", "resources", "dashboard-host", "plasma-directory", "object-spilling-directory"),
        *("autoscaling-config", "temp-dir", "system-config", "tracing-startup-hook", "labels", "labels-file"),
        *("cgroup-path", "proxy-server-url"),
    }
)
KNOWN = INTEGERS | NUMBERS | FLAGS | BOOLEANS | CHOICES.keys() | TEXTS

# Services, probes, NetworkPolicies, the Ingress and the outputs lead to these ports.
GCS_PORT, CLIENT_PORT, AGENT_PORT, METRICS_PORT = 6379, 10001, 52365, 8080
HEAD_PORTS = {
    "dashboard-port": (DASHBOARD_PORT, "the Service, the Ingress, the NetworkPolicies and the outputs lead to it"),
    "port": (GCS_PORT, "the Service and the NetworkPolicies lead to it"),
    "ray-client-server-port": (CLIENT_PORT, "the Service and the NetworkPolicies lead to it"),
    "dashboard-agent-listen-port": (AGENT_PORT, "the NetworkPolicies let the operator connect to it"),
}
EVERY_POD_PORTS = {"metrics-export-port": (METRICS_PORT, "the NetworkPolicies let scrapers connect to it")}
EVERY_ADDRESS = ("0.0.0.0", "::")


def problems(params: Mapping[str, str], *, head: bool) -> Iterator[tuple[str, str]]:
    """Yields the name of each parameter that cannot work, and why.

    Args:
        params: `rayStartParams` of a group: names without the leading dashes, values as text.
        head: whether the group is the head.
    """
    for name, value in params.items():
        text = _name_problem(name) or _value_problem(name, value) or _conflict(name, value, head)
        if text:
            yield name, text


def _name_problem(name: str) -> str | None:
    if name in KNOWN:
        return None
    plain = name.lstrip("-").replace("_", "-").lower()
    close = [plain] if plain in KNOWN else difflib.get_close_matches(plain, KNOWN, n=1, cutoff=0.8)
    if close:
        return f"`ray start` has no such option; did you mean `{close[0]}`?"
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        return "`ray start` has no such option; allowed: its options without the leading dashes, such as num-cpus"
    return None  # a newer Ray may have it


def _value_problem(name: str, value: str) -> str | None:
    if "$" in value or "`" in value:
        return None  # the shell in the pod replaces it
    shown = json.dumps(value)
    if name in INTEGERS and not re.fullmatch(r"\d+", value):
        allowed = "bytes as a whole number, such as 4294967296" if name in BYTES else "a whole number, such as 2"
        return f"{shown}: `ray start` refuses it; allowed: {allowed}"
    if name in NUMBERS and not re.fullmatch(r"\d+(\.\d+)?", value):
        return f"{shown}: `ray start` refuses it; allowed: a number, such as 0.5"
    # The operator writes `true` and `false` in any case.
    if name in FLAGS | BOOLEANS and value.lower() not in ("true", "false"):
        return f"{shown}: `ray start` refuses it; allowed: true, false"
    if name in CHOICES and value.lower() not in CHOICES[name]:
        return f"{shown}: `ray start` refuses it; allowed: {', '.join(CHOICES[name])}"
    if name in TEXTS and value.lower() in ("true", "false"):
        return f"{shown}: the operator would write the option without a value; allowed: other text"
    return None


def _conflict(name: str, value: str, head: bool) -> str | None:
    shown = json.dumps(value)
    ports = {**EVERY_POD_PORTS, **(HEAD_PORTS if head else {})}
    if name in ports:
        port, why = ports[name]
        return None if value == str(port) else f"{shown}: {why}; allowed: {port}"
    if head and name == "dashboard-host" and value not in EVERY_ADDRESS:
        return f"{shown}: the Service could not reach the Jobs API; allowed: {', '.join(EVERY_ADDRESS)}, or none"
    if head and name == "include-dashboard" and value.lower() == "false":
        return f"{shown}: the head would have no Jobs API; allowed: true, or none"
    if head and name == "head" and value.lower() == "false":
        return f"{shown}: the operator starts the head with this option; remove it"
    if not head and name == "head" and value.lower() == "true":
        return f"{shown}: a worker would start a Ray cluster of its own; remove it"
    if not head and name == "address":
        return f"{shown}: the operator sets the address of the head; remove it"
    return None
