"""Pod Security and the trial's Redis, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from components.manifests import raycluster, redis
from components.manifests.pods import RESTRICTED_CONTAINER
from components.settings import parse
from components.settings.raycluster import RayClusterSettings as RaySettings
from tests.support.cluster import Cluster, ClusterError

RESTRICTED = "test-restricted"


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESTRICTED, "labels": labels}}])
    yield RESTRICTED
    cluster.kubectl("delete", "namespace", RESTRICTED, "--wait=false")


def ray(**settings: Any) -> RaySettings:
    (found,) = parse({"clusters": [{"namespace": RESTRICTED, **settings}]}).clusters
    return found


def pods(settings: RaySettings) -> list[dict[str, Any]]:
    """The pods as the operator makes them: the autoscaler beside the head, an init container before a worker, which
    takes the security context of the Ray container."""
    spec = raycluster.manifest(settings, "v1.7.0")["spec"]
    head, worker = spec["headGroupSpec"]["template"]["spec"], spec["workerGroupSpecs"][0]["template"]["spec"]
    options = {key: spec["autoscalerOptions"][key] for key in ("securityContext",) if key in spec["autoscalerOptions"]}
    head["containers"].append({"name": "autoscaler", "image": settings.image, **options})
    first = worker["containers"][0]
    init = {"name": "wait-gcs-ready", "image": settings.image}
    worker["initContainers"] = [init | {key: first[key] for key in ("securityContext",) if key in first}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": RESTRICTED},
            "spec": {**pod, "serviceAccountName": "default"},
        }
        for name, pod in (("head", head), ("worker", worker))
    ]


def dry_run(cluster: Cluster, documents: list[dict[str, Any]]) -> None:
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=content)


def test_restricted_pods_are_taken_by_a_restricted_namespace(cluster: Cluster, namespace: str) -> None:
    dry_run(cluster, pods(ray(podSecurity="restricted")))


def test_other_pods_are_not(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        dry_run(cluster, pods(ray()))


def test_the_trials_redis_runs_restricted_and_asks_for_its_password(cluster: Cluster, namespace: str) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis", "namespace": namespace},
        "stringData": {"password": "s3cret-word"},
    }
    password = {"secret": "redis", "key": "password"}
    settings = ray(faultTolerance={"redis": {"inCluster": True, "password": password}})
    cluster.apply([secret, *redis.objects(settings)])
    name = f"deployment/{redis.name(settings)}"
    cluster.kubectl("rollout", "status", name, "-n", namespace, "--timeout=90s")

    def ask(command: str) -> str:
        return cluster.kubectl("exec", "-n", namespace, name, "--", "sh", "-c", command)

    # By the pod's address: on loopback Redis answers whatever its protected mode says.
    assert "NOAUTH" in ask("redis-cli -h $(hostname -i) ping")
    assert "PONG" in ask('REDISCLI_AUTH="$PASSWORD" redis-cli -h $(hostname -i) ping')
    assert "s3cret-word" not in ask("cat /proc/1/cmdline")


def test_the_trials_redis_without_a_password_answers_other_pods(cluster: Cluster, namespace: str) -> None:
    settings = ray(name="open", faultTolerance={"redis": {"inCluster": True}})
    cluster.apply(redis.objects(settings))
    name = f"deployment/{redis.name(settings)}"
    cluster.kubectl("rollout", "status", name, "-n", namespace, "--timeout=90s")
    answer = cluster.kubectl("exec", "-n", namespace, name, "--", "sh", "-c", "redis-cli -h $(hostname -i) ping")
    assert answer.strip() == "PONG"


def test_the_autoscaler_is_restricted_as_well() -> None:
    spec = raycluster.manifest(ray(podSecurity="restricted"), "v1.7.0")["spec"]
    assert spec["autoscalerOptions"]["securityContext"] == RESTRICTED_CONTAINER
