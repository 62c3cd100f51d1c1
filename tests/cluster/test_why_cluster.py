"""`why` on a real Kubernetes: real pods that cannot start, real quotas, and a user with the least Role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from single_node.images import RAY_IMAGE
from tests.support.cluster import Cluster, Manifest
from tests.support.ray_head import RayHead

ROOT = Path(__file__).resolve().parents[2]


def role_rules(head: RayHead) -> list[dict[str, Any]]:
    """The documented Role's rules, with this head's name in the place of the example's."""
    text = (ROOT / "docs/jobs-rbac.yaml").read_text().replace("raycluster-autoscaler", head.name)
    role = next(yaml.safe_load_all(text))
    assert role["kind"] == "Role"
    return list(role["rules"])


def jobs(head: RayHead, home: Path, user: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    outputs = head.write_contract(home / "outputs.json")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("RAY", "KUBE", "XDG_"))}
    target = ["--outputs", str(outputs), "--kubeconfig", str(user.kubeconfig), "--context", user.context]
    return subprocess.run(
        [sys.executable, "-m", "jobs", words[0], *target, *words[1:]],
        cwd=home,
        env={**environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def user(cluster: Cluster, ray_head: RayHead, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The least Role of docs/jobs-rbac.yaml and nothing else."""
    target = tmp_path_factory.mktemp("user") / "kubeconfig"
    return cluster.as_service_account(ray_head.namespace, "jobs-user", role_rules(ray_head), target)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def worker(head: RayHead, name: str, container: dict[str, Any]) -> Manifest:
    """A worker pod of the head's cluster as the operator labels it."""
    labels = {"ray.io/cluster": head.name, "ray.io/node-type": "worker", "ray.io/group": "small-group"}
    whole = {"name": "ray-worker", "image": RAY_IMAGE, "command": ["sleep", "600"], **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{head.name}-{name}", "namespace": head.namespace, "labels": labels},
        "spec": {"containers": [whole], "terminationGracePeriodSeconds": 0},
    }


@pytest.fixture
def apply(head: RayHead, cluster: Cluster) -> Iterator[Callable[[Manifest], None]]:
    made: list[tuple[str, str]] = []

    def one(manifest: Any) -> None:
        cluster.apply([manifest])
        made.append((manifest["kind"], manifest["metadata"]["name"]))

    yield one
    for kind, name in made:
        head.kubectl("delete", kind, name, "--wait=true", "--grace-period=0", "--force")


@pytest.fixture
def head(ray_head: RayHead) -> RayHead:
    return ray_head


def until_why(
    head: RayHead, home: Path, user: Cluster, said: str, seconds: float = 90, words: tuple[str, ...] = ()
) -> str:
    deadline = time.monotonic() + seconds
    while True:
        done = jobs(head, home, user, "why", *words)
        if said in done.stdout:
            assert done.returncode == 0, done.stderr
            return done.stdout
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(2)


def test_the_least_role_is_enough_to_submit_follow_and_check(head: RayHead, home: Path, user: Cluster) -> None:
    done = jobs(head, home, user, "submit", "--", "echo", "hello")
    assert done.returncode == 0, done.stderr
    assert "hello" in done.stdout.splitlines()
    checked = jobs(head, home, user, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_least_role_allows_nothing_beyond_its_purpose(head: RayHead, user: Cluster) -> None:
    for question in (
        ["list", "secrets"],
        ["delete", "pods"],
        ["create", "pods"],
        ["patch", "rayclusters.ray.io"],
        ["get", "secrets/another"],
        ["get", "services/another"],
        ["get", "rayclusters.ray.io/another"],
        ["create", "pods", "--subresource=exec"],
        ["get", "pods", "--subresource=exec"],
        ["create", "pods", "--subresource=attach"],
        ["create", "pods", "--subresource=ephemeralcontainers"],
        ["get", "pods", "--subresource=proxy"],
        ["list", "pods", "-n", "kube-system"],
        ["list", "nodes"],
    ):
        command = user.kubectl_command("auth", "can-i", *question)
        if "-n" not in question:
            command += ["-n", head.namespace]
        assert subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "no", question


def test_an_image_that_cannot_be_pulled_is_named(
    head: RayHead, home: Path, user: Cluster, apply: Callable[[Manifest], None]
) -> None:
    apply(worker(head, "pull", {"image": "registry.invalid/no/such:1"}))
    said = until_why(head, home, user, "cannot be pulled")
    assert "registry.invalid/no/such:1" in said
    assert f"kubectl describe pod -n {head.namespace} {head.name}-pull" in said


def test_a_pod_that_no_node_can_take_is_named_with_the_schedulers_reason(
    head: RayHead, home: Path, user: Cluster, apply: Callable[[Manifest], None]
) -> None:
    apply(worker(head, "gpu", {"resources": {"limits": {"nvidia.com/gpu": "1"}}}))
    assert "Insufficient nvidia.com/gpu" in until_why(head, home, user, "cannot be scheduled")


def test_a_missing_secret_is_named(head: RayHead, home: Path, user: Cluster, apply: Callable[[Manifest], None]) -> None:
    reference = {"secretKeyRef": {"name": "not-there", "key": "k"}}
    apply(worker(head, "secret", {"env": [{"name": "A", "valueFrom": reference}]}))
    assert '"not-there" not found' in until_why(head, home, user, "CreateContainerConfigError")


def test_a_container_that_keeps_ending_is_named_with_its_exit_code(
    head: RayHead, home: Path, user: Cluster, apply: Callable[[Manifest], None]
) -> None:
    apply(worker(head, "crash", {"command": ["sh", "-c", "exit 7"]}))
    said = until_why(head, home, user, "keeps exiting (Error, exit code 7)")
    assert f"kubectl logs -n {head.namespace} {head.name}-crash -c ray-worker --previous" in said


def test_a_quota_that_forbids_a_pod_is_named_with_its_numbers(
    head: RayHead, home: Path, user: Cluster, apply: Callable[[Manifest], None]
) -> None:
    apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "team", "namespace": head.namespace},
            "spec": {"hard": {"limits.cpu": "2"}},
        }
    )
    template: Any = worker(head, "x", {"resources": {"limits": {"cpu": "1"}}})
    apply(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": f"{head.name}-workers", "namespace": head.namespace},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": template["metadata"]["labels"]},
                "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
            },
        }
    )
    said = until_why(head, home, user, "The quota team")
    assert "it requests limits.cpu=1" in said
    assert f"kubectl describe resourcequota -n {head.namespace} team" in said


def test_without_the_why_rules_it_answers_and_says_what_it_could_not_read(
    head: RayHead, home: Path, cluster: Cluster, tmp_path: Path
) -> None:
    why = {"events", "resourcequotas", "rayclusters"}
    rules = [rule for rule in role_rules(head) if not why & set(rule["resources"])]
    poor = cluster.as_service_account(head.namespace, "poor-user", rules, tmp_path / "kubeconfig")
    submitted = jobs(head, home, poor, "submit", "--no-wait", "--entrypoint-num-cpus", "640", "--", "true")
    submission_id = submitted.stdout.strip()
    done = jobs(head, home, poor, "why", submission_id, "--output", "json")
    assert done.returncode == 0, done.stderr
    unread = [each for each in json.loads(done.stdout)["findings"] if each["kind"] == "unread"]
    assert {each["text"].partition(":")[0] for each in unread} == {"events", "resource quotas", "the RayCluster"}
    assert [each for each in unread if "docs/jobs-rbac.yaml" not in each["do"]] == []
    jobs(head, home, poor, "stop", "--no-wait", submission_id)


@pytest.fixture
def prometheus(head: RayHead, cluster: Cluster) -> Iterator[str]:
    """The namespace of a Service `prometheus-operated` whose pod answers with one alert of the head's cluster."""
    namespace, folder = "why-monitoring", "/tmp/prometheus/api/v1"
    labels = {"alertname": "RayWorkersMissing", "ray_io_cluster": head.name, "namespace": head.namespace}
    alert = {"labels": labels, "annotations": {"summary": "Workers are missing."}, "state": "firing"}
    answer = json.dumps({"status": "success", "data": {"alerts": [alert]}})
    serve = f"mkdir -p {folder} && echo '{answer}' > {folder}/alerts && python -m http.server 9191 -d /tmp/prometheus"
    meta: Manifest = {"name": "prometheus-operated", "namespace": namespace, "labels": {"app": "prometheus"}}
    container = {
        "name": "prometheus",
        "image": RAY_IMAGE,
        "command": ["sh", "-c", serve],
        "ports": [{"name": "web", "containerPort": 9191}],
        "readinessProbe": {"tcpSocket": {"port": 9191}},
    }
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
    service = {"selector": {"app": "prometheus"}, "ports": [{"port": 9090, "targetPort": "web"}]}
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod},
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
        ]
    )
    cluster.kubectl(
        "wait", "pod/prometheus-operated", "-n", namespace, "--for=condition=Ready", "--timeout=120s", seconds=130
    )
    yield namespace
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_the_documented_role_for_alerts_is_needed_and_enough(
    head: RayHead, home: Path, user: Cluster, cluster: Cluster, prometheus: str
) -> None:
    url = f"http://prometheus-operated.{prometheus}:9090"
    without = jobs(head, home, user, "why", "--prometheus", url)
    assert without.returncode == 0
    assert "does not allow it (RBAC): services/prometheus-operated in namespace why-monitoring" in without.stdout
    assert "-> The Role ray-alerts-reader in docs/jobs-rbac.yaml allows it." in without.stdout
    *_, role = yaml.safe_load_all((ROOT / "docs/jobs-rbac.yaml").read_text())
    assert role["metadata"]["name"] == "ray-alerts-reader"
    role["metadata"]["namespace"] = prometheus
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": role["metadata"],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ray-alerts-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "jobs-user", "namespace": head.namespace}],
    }
    cluster.apply([role, binding])
    assert "alert:    RayWorkersMissing: Workers are missing." in until_why(
        head, home, user, "alert:", words=("--prometheus", url)
    )
