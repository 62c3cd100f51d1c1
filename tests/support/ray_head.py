"""A Ray head in Kubernetes, without the KubeRay operator.

Names, labels, ports and the token's Secret are those of the operator, so code that finds this head finds the head of a
RayCluster too. A ReplicaSet takes the operator's place: it replaces a deleted head pod.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from single_node.images import RAY_IMAGE, RAY_VERSION
from single_node.node import until
from tests.support.cluster import Cluster, ClusterError, Manifest

TOKEN_KEY = "auth_token"
PORTS = {"client": 10001, "dashboard": 8265, "gcs-server": 6379, "metrics": 8080}
# Answered only when raylet, agent and dashboard live: the two questions of the operator's readiness probe.
PROBE = " && ".join(
    f'wget --tries 1 -T 5 -q -O- --header "X-Ray-Authorization: Bearer $RAY_AUTH_TOKEN" {url} | grep success'
    for url in ("http://localhost:52365/api/local_raylet_healthz", "http://localhost:8265/api/gcs_healthz")
)


@dataclass(frozen=True)
class RayHead:
    """A head in a namespace of its own. `name` is that of the RayCluster it stands for."""

    cluster: Cluster
    namespace: str
    name: str

    @property
    def service(self) -> str:
        return f"{self.name}-head-svc"

    def contract(self) -> dict[str, object]:
        """The outputs contract (docs/architecture.md, schema version 1) that leads to this head."""
        entry = {
            "name": self.name,
            "namespace": self.namespace,
            "headService": self.service,
            "dashboardPort": PORTS["dashboard"],
            "rayVersion": RAY_VERSION,
            "externalUrl": None,
            "authSecret": {"name": self.name, "key": TOKEN_KEY},
        }
        return {
            "schemaVersion": 1,
            "project": "ray-on-kubernetes",
            "stack": "test",
            "kubeconfig": str(self.cluster.kubeconfig),
            "kubeContext": self.cluster.context,
            "clusterUid": self.cluster.uid(),
            "operator": {"namespace": "ray-system", "version": "v1.7.0"},
            "clusters": [entry],
        }

    def write_contract(self, target: Path) -> Path:
        """Writes the contract to a file and returns its path."""
        target.write_text(json.dumps(self.contract(), indent=2))
        return target

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """kubectl in the head's namespace."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin, seconds=seconds)

    def pod(self) -> str:
        """The name of the head pod that is not being deleted.

        Raises:
            ClusterError: There is no such pod.
        """
        pods = self._pods()
        if not pods:
            raise ClusterError(f"There is no head pod of {self.name} in {self.namespace}.")
        return pods[0]

    def _pods(self) -> list[str]:
        pods = json.loads(self.kubectl("get", "pods", "-l", f"ray.io/cluster={self.name}", "-o", "json"))["items"]
        return [str(pod["metadata"]["name"]) for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def delete_pod(self, grace_seconds: int = 0) -> str:
        """Deletes the head pod without waiting and returns its name. The ReplicaSet creates another one."""
        pod = self.pod()
        self.kubectl("delete", "pod", pod, "--wait=false", f"--grace-period={grace_seconds}")
        return pod

    def wait_ready(self, seconds: float = 240) -> None:
        """Waits until the head pod is ready; the error shows its state and last lines."""
        try:
            until(lambda: bool(self._pods()), f"a head pod of {self.name}", 30)
            wait = ("wait", f"pod/{self.pod()}", "--for=condition=Ready", f"--timeout={seconds:.0f}s")
            self.kubectl(*wait, seconds=seconds + 10)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self._state()}") from error

    def _state(self) -> str:
        described = self.kubectl("describe", "pods", "-l", f"ray.io/cluster={self.name}")
        logged = self.kubectl("logs", f"--selector=ray.io/cluster={self.name}", "--tail=20", "--ignore-errors")
        return f"{described[-2500:]}\n{logged[-1500:]}"

    def token(self) -> str:
        """The token that is in the Secret now."""
        encoded = self.kubectl("get", "secret", self.name, "-o", f"jsonpath={{.data.{TOKEN_KEY}}}")
        return base64.b64decode(encoded).decode()

    def rotate_token(self) -> None:
        """Writes a new token to the Secret. The next head pod uses it, as with the operator."""
        patch = {"stringData": {TOKEN_KEY: secrets.token_urlsafe(32)}}
        self.kubectl("patch", "secret", self.name, "--patch-file=/dev/stdin", stdin=json.dumps(patch))

    @contextmanager
    def port_forward(self) -> Iterator[str]:
        """A URL of the dashboard on a free loopback port, by `kubectl port-forward` to the head service."""
        with self.cluster.port_forward(self.namespace, f"service/{self.service}", PORTS["dashboard"]) as url:
            yield url


@contextmanager
def run_ray_head(cluster: Cluster, name: str = "raycluster-test") -> Iterator[RayHead]:
    """A ready head in a new namespace, which is deleted afterwards."""
    head = RayHead(cluster, f"ray-head-{secrets.token_hex(3)}", name)
    cluster.apply(head_manifests(head.namespace, name, secrets.token_urlsafe(32)))
    try:
        head.wait_ready()
        yield head
    finally:
        cluster.kubectl("delete", "namespace", head.namespace, "--wait=false")


def head_manifests(namespace: str, name: str, token: str) -> list[Manifest]:
    """Namespace, Secret, head service and head of one cluster."""
    labels = {
        "app.kubernetes.io/created-by": "kuberay-operator",
        "app.kubernetes.io/name": "kuberay",
        "ray.io/cluster": name,
        "ray.io/group": "headgroup",
        "ray.io/identifier": f"{name}-head",
        "ray.io/is-ray-node": "yes",
        "ray.io/node-type": "head",
    }
    ports = [{"name": port, "port": number, "targetPort": number} for port, number in PORTS.items()]
    service = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels, "ports": ports}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {TOKEN_KEY: token},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"{name}-head-svc", "namespace": namespace, "labels": labels},
            "spec": service,
        },
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": f"{name}-head", "namespace": namespace, "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod(name)},
            },
        },
    ]


def _pod(name: str) -> Mapping[str, object]:
    token = {"secretKeyRef": {"name": name, "key": TOKEN_KEY}}
    start = "ray start --head --block --dashboard-host=0.0.0.0 --dashboard-agent-listen-port=52365"
    start += " --metrics-export-port=8080 --num-cpus=2 --object-store-memory=100000000"
    container = {
        "name": "ray-head",
        "image": RAY_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "-c", "--"],
        "args": [f"ulimit -n 65536; {start}"],
        "env": [
            {"name": "RAY_AUTH_MODE", "value": "token"},
            {"name": "RAY_AUTH_TOKEN", "valueFrom": token},
            {"name": "RAY_CLUSTER_NAME", "value": name},
            {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
        ],
        "ports": [{"name": port, "containerPort": number} for port, number in PORTS.items()],
        "readinessProbe": {
            "exec": {"command": ["bash", "-c", PROBE]},
            "initialDelaySeconds": 3,
            "periodSeconds": 2,
            "timeoutSeconds": 12,
            "failureThreshold": 30,
        },
        # Small, so that several heads fit on a node of two cores.
        "resources": {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
        "volumeMounts": [{"name": "shared-mem", "mountPath": "/dev/shm"}],
    }
    memory = {"name": "shared-mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
    return {"containers": [container], "volumes": [memory], "terminationGracePeriodSeconds": 5}
