"""prometheus-operator and a Prometheus in the namespace `monitoring`: built, installed and asked by the tests.

The programs, the CRDs and the operator's rights are those of the Go modules. Debian's Prometheus is not enough: it is
built without the discovery of Kubernetes. The images have the official names: a cluster that pulls images gets the
official ones.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from single_node.cache import cache_root
from single_node.errors import SingleNodeError
from single_node.images import Image, ensure_image
from single_node.node import until
from single_node.programs.go import build_program, go_problem, module_folder
from tests.support.cluster import Cluster, Manifest

MODULE = "github.com/prometheus-operator/prometheus-operator"
VERSION = "v0.85.0"
PROMETHEUS_MODULE = "github.com/prometheus/prometheus"
PROMETHEUS_VERSION = "v3.5.0"  # the default of this operator
PROMETHEUS_MODULE_VERSION = "v0.305.0"  # as a module, v3.5.0 has this number
PROMETHEUS_IMAGE = f"quay.io/prometheus/prometheus:{PROMETHEUS_VERSION}"
NAMESPACE, NAME, PORT = "monitoring", "prometheus", 9090
GROUP = "monitoring.coreos.com"
# What a stack makes, and what the operator does not start without.
STACK_KINDS = ("podmonitors", "prometheusrules")
OPERATOR_KINDS = (*STACK_KINDS, "probes", "prometheuses", "servicemonitors")

Object = dict[str, Any]
Sample = dict[str, Any]


class PrometheusError(Exception):
    """Prometheus refused a query. The message has the query and Prometheus' reason."""


# The images


def _image(tag: str, module: str, module_version: str, program: str) -> Image:
    """The image of one program of a module, at the path where the official image has it."""
    name, version = tag.rpartition("/")[2].split(":")

    def fill(root: Path) -> None:
        built = build_program(
            cache_root() / "monitoring" / version / program,
            f"{module}/cmd/{program}",
            requires={module: module_version},
            usually="5 minutes",
        )
        (root / "bin").mkdir()
        shutil.copy(built, root / "bin" / program)

    config = {"Entrypoint": [f"/bin/{program}"], "User": "65534"}
    return Image(tag, f"{name}-{version}.tar", fill, config)


_OPERATOR = "quay.io/prometheus-operator"
IMAGES = (
    _image(f"{_OPERATOR}/prometheus-operator:{VERSION}", MODULE, VERSION, "operator"),
    _image(f"{_OPERATOR}/prometheus-config-reloader:{VERSION}", MODULE, VERSION, "prometheus-config-reloader"),
    _image(PROMETHEUS_IMAGE, PROMETHEUS_MODULE, PROMETHEUS_MODULE_VERSION, "prometheus"),
)


def problem() -> str | None:
    """Why prometheus-operator cannot be had here; None: it can. Its CRDs come from its module, with every cluster."""
    return go_problem()


def build() -> None:
    """Makes the images, unless they are there or the cluster pulls images itself, as all do but the native one.

    Raises:
        NotPossible: there is no Go, or no disk space.
        SingleNodeError: a module cannot be fetched or compiled.
    """
    if os.environ.get("TEST_CLUSTER", "") in ("", "native"):
        for image in IMAGES:
            ensure_image(image)


# The objects


def _documents(folder: str, names: Sequence[str]) -> list[Object]:
    """The documents of some files below the module's `example/`.

    Raises:
        NotPossible: there is no Go.
        SingleNodeError: the module cannot be fetched.
    """
    module = module_folder(MODULE, VERSION, cache_root() / "monitoring" / VERSION / "files")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the CRD of Prometheus has 800 kB
    return [yaml.load((module / "example" / folder / name).read_text(), loader) for name in names]


def crds(kinds: Sequence[str] = OPERATOR_KINDS) -> list[Object]:
    """The CRDs of some kinds, by plural. Raises as `_documents`."""
    return _documents("prometheus-operator-crd", [f"{GROUP}_{kind}.yaml" for kind in kinds])


def operator_objects() -> list[Object]:
    """The operator as its module documents it, in NAMESPACE; it does not look after the kubelet. Raises as
    `_documents`."""
    names = ("cluster-role", "cluster-role-binding", "service-account", "deployment")
    role, binding, account, deployment = _documents(
        "rbac/prometheus-operator", [f"prometheus-operator-{name}.yaml" for name in names]
    )
    for place in (binding["subjects"][0], account["metadata"], deployment["metadata"]):
        place["namespace"] = NAMESPACE
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["args"] = [argument for argument in container["args"] if not argument.startswith("--kubelet")]
    return [role, binding, account, deployment]


def prometheus_objects() -> list[Object]:
    """A Prometheus that takes every PodMonitor and every rule of the cluster, and the Service `prometheus`."""
    meta = {"name": NAME, "namespace": NAMESPACE}
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"{NAMESPACE}-{NAME}"},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["pods", "services", "endpoints", "namespaces"],
                    "verbs": ["get", "list", "watch"],
                }
            ],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{NAMESPACE}-{NAME}"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": f"{NAMESPACE}-{NAME}"},
            "subjects": [{"kind": "ServiceAccount", **meta}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": {"prometheus": NAME}, "ports": [{"port": PORT}]},
        },
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "Prometheus",
            "metadata": meta,
            "spec": {
                "version": PROMETHEUS_VERSION,
                "image": PROMETHEUS_IMAGE,
                "replicas": 1,
                "serviceAccountName": NAME,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "fsGroup": 65534},
                # An empty selector is everything; a missing one is nothing.
                "podMonitorSelector": {},
                "podMonitorNamespaceSelector": {},
                "ruleSelector": {},
                "ruleNamespaceSelector": {},
                "scrapeInterval": "5s",
                "evaluationInterval": "5s",
                "storage": {"emptyDir": {}},
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            },
        },
    ]


def _established(cluster: Cluster, name: str) -> bool:
    status = json.loads(cluster.kubectl("get", name, "-o", "json")).get("status") or {}
    return any(each["type"] == "Established" and each["status"] == "True" for each in status.get("conditions") or [])


@contextmanager
def with_crds(cluster: Cluster, kinds: Sequence[str] = STACK_KINDS) -> Iterator[None]:
    """The CRDs of some kinds on a cluster while the block runs; those that were there stay. Raises as `crds`."""
    listed = cluster.kubectl("get", "crds", "-o", "name")
    missing = [kind for kind in kinds if f"/{kind}.{GROUP}" not in listed]
    names = [f"crd/{kind}.{GROUP}" for kind in missing]
    if not missing:
        yield
        return
    documents = crds(missing)
    try:
        cluster.apply(documents)
        # Neither `kubectl wait` nor a JSON path: both fail for a CRD that has no conditions yet.
        until(lambda: all(_established(cluster, name) for name in names), f"{', '.join(names)} established", 60)
        yield
    finally:
        cluster.kubectl("delete", *names, "--ignore-not-found")


@contextmanager
def installed(cluster: Cluster) -> Iterator[Prometheus]:
    """prometheus-operator and a ready Prometheus on a cluster while the block runs; nothing of them stays.

    Raises:
        NotPossible: there is no Go.
        ClusterError: the cluster refuses an object, or a pod does not become ready.
    """
    namespace: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    objects: list[Manifest] = [namespace, *operator_objects(), *prometheus_objects()]
    with with_crds(cluster, OPERATOR_KINDS):
        try:
            cluster.apply(objects)
            inside = ("-n", NAMESPACE)
            ready = ("rollout", "status", "deployment/prometheus-operator", "--timeout=120s")
            cluster.kubectl(*inside, *ready, seconds=150)
            pod = f"pod/prometheus-{NAME}-0"
            until(lambda: pod in cluster.kubectl(*inside, "get", "pods", "-o", "name"), f"{pod} in {NAMESPACE}", 60)
            cluster.kubectl(*inside, "wait", pod, "--for=condition=Ready", "--timeout=180s", seconds=200)
            with cluster.port_forward(NAMESPACE, f"service/{NAME}", PORT) as url:
                yield Prometheus(url)
        finally:
            # Without the Prometheus first, its operator would make its objects again.
            content = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects[::-1]})
            cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=content, seconds=300)


# The questions


@dataclass(frozen=True)
class Prometheus:
    """The HTTP API of a Prometheus. Every method raises PrometheusError for a query that is refused."""

    url: str

    def _ask(self, path: str, **form: str) -> Any:
        answer = httpx.post(f"{self.url}/api/v1/{path}", data=form, timeout=60, trust_env=False)
        return _data(answer, form.get("query", path))

    def _get(self, path: str) -> Any:
        return _data(httpx.get(f"{self.url}/api/v1/{path}", timeout=60, trust_env=False), path)

    def query(self, expression: str) -> list[Sample]:
        """The series of an instant query: `metric` (labels) and `value` (time in s, value as text)."""
        found: list[Sample] = self._ask("query", query=expression)["result"]
        return found

    def values(self, expression: str, label: str) -> set[str]:
        """The values of a label of the series that an expression finds."""
        return {sample["metric"].get(label, "") for sample in self.query(expression)}

    def query_range(self, expression: str, seconds: float, step: float) -> list[Sample]:
        """The series of the last `seconds`, each with its `values`, one every `step` seconds."""
        now = time.time()
        form = {"query": expression, "start": f"{now - seconds}", "end": f"{now}", "step": f"{step}"}
        found: list[Sample] = self._ask("query_range", **form)["result"]
        return found

    def targets(self) -> list[Sample]:
        """Every target that is scraped: `labels`, `health` (up, down, unknown), `lastError`, `scrapeUrl`."""
        found: list[Sample] = self._get("targets?state=active")["activeTargets"]
        return found

    def rules(self) -> list[Sample]:
        """Every rule: `name`, `query`, `health` (ok, err, unknown), `lastError`, and an alert's `state`."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[Sample]:
        """Every alert that is pending or fires: `labels`, `annotations`, `state`, `activeAt`."""
        found: list[Sample] = self._get("alerts")["alerts"]
        return found

    def wait_until(self, met: Callable[[], bool], what: str, seconds: float) -> None:
        """Waits until a condition holds. Raises PrometheusError with the targets, the alerts and `what` did not
        happen."""
        try:
            until(met, what, seconds, pause=2)
        except SingleNodeError as error:
            targets = [f"{one['health']} {one['scrapeUrl']} {one['lastError']}".strip() for one in self.targets()]
            alerts = [f"{one['state']} {one['labels']['alertname']}" for one in self.alerts()]
            raise PrometheusError("\n".join([str(error), *targets, *alerts])) from error


def _data(answer: httpx.Response, asked: str) -> Any:
    try:
        content: Mapping[str, Any] = answer.json()
    except ValueError:
        content = {"error": answer.text[:300]}
    if content.get("status") != "success":
        raise PrometheusError(f"{asked}: {content.get('error')} (HTTP {answer.status_code})")
    return content["data"]
