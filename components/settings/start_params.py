"""Rules for `rayStartParams`: what `ray start` refuses, and what the rest of the manifest depends on; pure.

The operator writes every entry into the command line as `--NAME=VALUE`, or as `--NAME` for `true`, without quotes, and
checks nothing (convertParamMap in KubeRay's common/pod.go). A shell in the pod reads that line. Then `ray start`
refuses the value, and the pod restarts for ever. The options are those of `ray start` in Ray's scripts/scripts.py, the
rules for ports those of its _private/parameter.py; a test compares them with the installed Ray.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping

from components.settings.versions import DEFAULT_RAY_VERSION, parts
from jobs.errors import did_you_mean
from jobs.kubernetes.quantities import parse_quantity
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
        *("ray-debugger-external", "disable-usage-stats", "enable-resource-isolation", "verbose"),
    }
)
BOOLEANS = frozenset({"include-dashboard", "include-log-monitor"})
TRUE, FALSE = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n")
CHOICES = {
    "log-style": ("auto", "record", "pretty"),
    "log-color": ("auto", "false", "true"),
}
JSON = frozenset({"resources", "system-config"})
TEXTS = frozenset(
    {
        *("node-ip-address", "address", "node-name", "redis-username", "redis-password", "redis-shard-ports"),
        *("worker-port-list", "dashboard-host", "plasma-directory", "object-spilling-directory"),
        *("autoscaling-config", "temp-dir", "tracing-startup-hook", "labels", "labels-file"),
        *("cgroup-path", "proxy-server-url"),
    }
)
KNOWN = INTEGERS | NUMBERS | FLAGS | BOOLEANS | CHOICES.keys() | JSON | TEXTS
# `ray start` refuses these on a worker.
HEAD_ONLY = frozenset({"port", "redis-shard-ports", "include-dashboard"})
# The autoscaler reads these from the manifest, not from the pod: no shell replaces anything there.
READ_BY_AUTOSCALER = frozenset({"num-cpus", "num-gpus", "memory", "resources"})
SMALLEST_OBJECT_STORE = 75 * 1024 * 1024

# Services, probes, NetworkPolicies, the Ingress and the outputs lead to these ports.
GCS_PORT, CLIENT_PORT, AGENT_PORT, METRICS_PORT = 6379, 10001, 52365, 8080
HEAD_PORTS = {
    "dashboard-port": (DASHBOARD_PORT, "the Service, the Ingress, the NetworkPolicies and the outputs lead to"),
    "port": (GCS_PORT, "the Service leads to"),
    "ray-client-server-port": (CLIENT_PORT, "the Service and the NetworkPolicies lead to"),
    "dashboard-agent-listen-port": (AGENT_PORT, "the NetworkPolicies let the operator connect to"),
}
EVERY_POD_PORTS = {"metrics-export-port": (METRICS_PORT, "the Service and the NetworkPolicies let scrapers connect to")}
# The ports of every Ray node. Of the other components Ray chooses a free port, unless a parameter sets it.
DEFAULT_PORTS = {
    "ray-client-server-port": CLIENT_PORT,
    "dashboard-port": DASHBOARD_PORT,
    "dashboard-agent-listen-port": AGENT_PORT,
    "metrics-export-port": METRICS_PORT,
}
OTHER_PORTS = ("object-manager-port", "node-manager-port", "dashboard-agent-grpc-port", "runtime-env-agent-port")
WORKER_PORTS = {"min-worker-port": 10002, "max-worker-port": 19999}
# Ray refuses lower numbers only for these.
PORT_RANGE = range(1024, 65536)
RANGE_CHECKED = frozenset({*WORKER_PORTS, "ray-client-server-port", "runtime-env-agent-port"})
EVERY_ADDRESS = ("0.0.0.0", "::")
OWN_ADDRESS = ("localhost", "127.0.0.1", "::1")


def problems(
    params: Mapping[str, str], *, head: bool, ray_version: str, autoscaling: bool
) -> Iterator[tuple[str, str]]:
    """Yields the name of each parameter that cannot work, and why.

    Args:
        params: `rayStartParams` of a group: names without the leading dashes, values as text.
        head: whether the group is the head.
        ray_version: the version of Ray, such as 2.60.0.
        autoscaling: whether Ray's autoscaler reads the group.
    """
    refused = set()
    for name, value in params.items():
        text = (
            _name_problem(name, ray_version)
            or _conflict(name, value, head)
            or _value_problem(name, value)
            or (_autoscaler_problem(name, value) if autoscaling else None)
        )
        if text:
            refused.add(name)
            yield name, text
    usable = {name: value for name, value in params.items() if name not in refused}
    yield from _port_problems(usable, head)


def warnings(params: Mapping[str, str], ray_version: str) -> Iterator[tuple[str, str]]:
    """Yields the name of each parameter that another version of Ray may have, and this one perhaps not."""
    for name in params:
        if name not in KNOWN and not _name_problem(name, ray_version):
            yield (
                name,
                f"`ray start` of Ray {DEFAULT_RAY_VERSION} has no such option{_suggestion(name)}; if Ray {ray_version} "
                "has none either, the pods restart for ever",
            )


def _name_problem(name: str, ray_version: str) -> str | None:
    if name in KNOWN:
        return None
    if (
        not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
        or parts(ray_version)[:2] == parts(DEFAULT_RAY_VERSION)[:2]
    ):
        allowed = _suggestion(name) or "; allowed: its options without the leading dashes, such as num-cpus"
        return f"`ray start` has no such option{allowed}"
    return None  # the options of another version of Ray can differ


def _suggestion(name: str) -> str:
    near = did_you_mean(name, sorted(KNOWN), sentence=False).rstrip()
    return f"; {near}" if near else ""


def _shown(name: str, value: str) -> str:
    """The value as an error shows it. A password, and an address that can hold one, is not shown."""
    return "(value not shown)" if "password" in name or "@" in value else json.dumps(value)


def _for_the_shell(value: str) -> bool:
    return "$" in value or "`" in value


def _shell_word(name: str, value: str) -> str | None:
    """The value as the shell passes it to `ray start`; None: it would become several words or a second command."""
    lexer = shlex.shlex(f"--{name}={value}", posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # a quote without its end
        return None
    return words[0].partition("=")[2] if len(words) == 1 else None


def _value_problem(name: str, value: str) -> str | None:
    if _for_the_shell(value):
        return None  # the shell in the pod replaces it
    shown, word = _shown(name, value), _shell_word(name, value)
    refused = f"{shown}: `ray start` refuses it; allowed:"
    if name in INTEGERS and not re.fullmatch(r"[0-9]+", value):
        return f"{refused} {_bytes_like(value) if name in BYTES else 'a whole number, such as 2'}"
    if name == "object-store-memory" and int(value) < SMALLEST_OBJECT_STORE:
        return f"{refused} {SMALLEST_OBJECT_STORE} (75Mi) or more"
    if name in NUMBERS and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return f"{refused} a number, such as 0.5"
    # The operator writes `true` and `false` in any case.
    if name in FLAGS and value.lower() not in ("true", "false"):
        return f"{refused} true, false"
    if name in BOOLEANS and value.lower() not in TRUE + FALSE:
        return f"{refused} true, false"
    if name in CHOICES and value.lower() not in CHOICES[name]:
        return f"{refused} {', '.join(CHOICES[name])}"
    if name in JSON:
        return None if _is_json(name, word) else f"{refused} {_json_like(name)}"
    if name in TEXTS and value.lower() in ("true", "false"):
        return f"{shown}: the operator would write the option without a value; allowed: other text"
    if word is None:
        return f"{shown}: the shell in the pod would split it; allowed: one word, or text in quotes inside the value"
    return None


def _bytes_like(value: str) -> str:
    try:
        number = int(parse_quantity(value))
    except ValueError:
        number = 0
    return f"bytes as a whole number: {number}" if number else "bytes as a whole number, such as 4294967296"


def _json_like(name: str) -> str:
    example = """'{"custom": 1}' (with these quotes, for the shell in the pod)"""
    return f"a JSON object such as {example}" + (", or `rayResources`" if name == "resources" else "")


def _is_json(name: str, word: str | None) -> bool:
    try:
        content = json.loads(word or "")
    except ValueError:
        return False
    numbers = isinstance(content, dict) and all(type(number) in (int, float) for number in content.values())
    return numbers if name == "resources" else isinstance(content, dict)


def _autoscaler_problem(name: str, value: str) -> str | None:
    """What Ray's autoscaler cannot read (kuberay/autoscaling_config.py); it crashes then, and no worker starts."""
    if name not in READ_BY_AUTOSCALER:
        return None
    if name != "resources":
        if re.fullmatch(r"[0-9]+", value):
            return None
        return f"{_shown(name, value)}: the autoscaler reads it without a shell; allowed: a whole number"
    try:  # as the autoscaler does it
        content = json.loads(value[1:-1].replace("\\", ""))
    except ValueError:
        content = None
    if isinstance(content, dict) and all(type(number) is int for number in content.values()):
        return None
    return f"{_shown(name, value)}: the autoscaler cannot read it; allowed: whole numbers in {_json_like(name)}"


def _conflict(name: str, value: str, head: bool) -> str | None:
    shown = _shown(name, value)
    ports = {**EVERY_POD_PORTS, **(HEAD_PORTS if head else {})}
    if not head and name in HEAD_ONLY:
        return f"{shown}: `ray start` takes it only on the head; remove it"
    if name in ports:
        port, why = ports[name]
        return None if value == str(port) else f"{shown}: {why} port {port}; allowed: {port}, or none"
    if head and name == "dashboard-host" and value not in EVERY_ADDRESS:
        why = "the Service and a port-forward must both reach the Jobs API"
        return f"{shown}: {why}; allowed: {', '.join(EVERY_ADDRESS)}, or none"
    if head and name == "include-dashboard" and value.lower() in FALSE:
        return f"{shown}: the head would have no Jobs API; allowed: true, or none"
    if head and name == "head" and value.lower() == "false":
        return f"{shown}: the operator starts the head with this option; remove it"
    if not head and name == "head" and value.lower() == "true":
        return f"{shown}: a worker would start a Ray cluster of its own; remove it"
    if head and name == "address":
        return f"{shown}: the head would keep its state in a Redis there; allowed: the setting `faultTolerance`"
    if name == "address" and not _for_the_shell(value):
        return f"{shown}: the operator sets the address of the head; remove it"
    if name == "block" and value.lower() == "false":
        return f"{shown}: the operator sets it to true, so that the pod ends with Ray; remove it"
    if name == "node-ip-address" and value not in OWN_ADDRESS and not _for_the_shell(value):
        return f"{shown}: every new pod has another address, which Ray finds; remove it"
    return None


def _port_problems(params: Mapping[str, str], head: bool) -> Iterator[tuple[str, str]]:
    """Ports that Ray refuses: out of range, or used twice on one node (RayParams in Ray's _private/parameter.py)."""
    if any(name.endswith(("-port", "-port-list")) and _for_the_shell(value) for name, value in params.items()):
        return  # known only in the pod
    numbers = {name: int(value) for name, value in params.items() if name in INTEGERS and name.endswith("port")}
    for name, number in numbers.items():
        allowed = PORT_RANGE if name in RANGE_CHECKED else range(1, PORT_RANGE.stop)
        free = name != "ray-client-server-port"  # 0: Ray chooses a free port
        if number not in allowed and not (number == 0 and free):
            text = f'"{number}": not a port that Ray accepts; allowed: {allowed.start} to {allowed.stop - 1}'
            yield name, text + (", or 0 for a free one" if free else "")
            return
    fixed = {**({"port": GCS_PORT} if head else {}), **DEFAULT_PORTS}
    used = {name: {numbers.get(name, fixed.get(name, 0))} - {0} for name in (*fixed, *OTHER_PORTS)}
    worker_ports = params.get("worker-port-list")
    if worker_ports is None:
        low, high = (numbers.get(name, default) for name, default in WORKER_PORTS.items())
        last = next((name for name in reversed(WORKER_PORTS) if name in numbers), "")
        if high != 0 and high <= low:
            text = f'"{numbers[last]}": no port is left for workers between {low} and {high}'
            yield last, f"{text}; allowed: min-worker-port below max-worker-port"
            return
        used[last or "max-worker-port"] = set(range(low, high + 1))
    else:
        listed = [int(number) for number in worker_ports.split(",") if re.fullmatch("[0-9]+", number)]
        if len(listed) <= worker_ports.count(",") or not set(listed) <= set(PORT_RANGE):
            text = "`ray start` refuses it; allowed: numbers from 1024 to 65535 with commas, such as 10002,10003"
            yield "worker-port-list", f"{json.dumps(worker_ports)}: {text}"
            return
        used["worker-port-list"] = set(listed)
    for first, second in itertools.combinations(used, 2):
        if both := used[first] & used[second]:
            name, other = (second, first) if second in params else (first, second)
            source = f"ports of workers, {min(used[other])} to {max(used[other])}" if other in WORKER_PORTS else other
            text = f"port {min(both)} is used twice, the second time for {source}; allowed: a free port"
            yield name, f"{json.dumps(params[name])}: {text}"
            return
