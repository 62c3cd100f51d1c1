"""The walkthrough, row by row, on the real engine, operator and cluster. The order of the tests is the story."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.cluster.api import Api
from ops import stack_objects
from ops.session import record
from tests.support.capabilities import kuberay_version
from tests.support.cluster import Cluster
from tests.support.stack import ROOT, Stack, crds_on
from tests.support.trees import crds_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

Jobs = Callable[..., "subprocess.CompletedProcess[str]"]
NAMESPACE, CLUSTER = "ray-cluster", "raycluster-autoscaler"
PRINT_RESOURCES = "import ray; ray.init(); print(ray.cluster_resources())"


def pods(api: Api, namespace: str, **labels: str) -> list[dict[str, Any]]:
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listing = api.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)
    return listing["items"] if listing else []


def ray_pods(api: Api, node_type: str) -> list[dict[str, Any]]:
    return pods(api, NAMESPACE, **{"ray.io/cluster": CLUSTER, "ray.io/node-type": node_type})


def ready(pod: dict[str, Any]) -> str:
    """`2/2`, as kubectl shows it."""
    statuses = pod["status"].get("containerStatuses") or []
    return f"{sum(status['ready'] for status in statuses)}/{len(pod['spec']['containers'])}"


@pytest.fixture
def environment(cluster: Cluster) -> dict[str, str]:
    """A data scientist's: the kubeconfig, and none of Ray's or Pulumi's variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PULUMI_"))}
    return {**kept, "KUBECONFIG": str(cluster.kubeconfig), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def jobs(environment: dict[str, str], outputs_file: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m jobs` with the stack's outputs file."""

    def run(name: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs", name, "--outputs", str(outputs_file), *arguments]
        return subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    return run


def test_w1_up_brings_crds_then_the_operator_from_kustomize(stack: Stack, api: Api) -> None:
    run = stack.up()
    created = [change.name for change in run.changes if change.operation == "create"]
    assert created, run.text
    assert crds_on(api) == crds_of(kuberay_version())
    operators = pods(api, "ray-system", **{"app.kubernetes.io/component": "kuberay-operator"})
    assert [pod["status"]["phase"] for pod in operators] == ["Running"]


def test_w2_namespace_and_raycluster_come_from_the_stack_file(stack: Stack, api: Api) -> None:
    assert api.get(f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{CLUSTER}") is not None
    assert stack.outputs()["cluster"] == CLUSTER


def test_w3_up_returns_when_head_and_worker_are_ready(api: Api) -> None:
    assert [ready(pod) for pod in ray_pods(api, "head")] == ["2/2"]
    workers = ray_pods(api, "worker")
    assert [(pod["metadata"]["labels"]["ray.io/group"], ready(pod)) for pod in workers] == [("small-group", "1/1")]


def test_w4_check_runs_ray_in_the_head_container(jobs: Jobs) -> None:
    run = jobs("check")
    assert run.returncode == 0, run.stderr
    assert ":6379" in run.stdout + run.stderr
    assert "CPU" in run.stdout + run.stderr


def test_w5_submit_opens_and_closes_its_own_tunnel(jobs: Jobs) -> None:
    run = jobs("submit", "--", "python", "-c", PRINT_RESOURCES)
    assert run.returncode == 0, run.stderr
    assert "'CPU'" in run.stdout


def test_w5_forward_serves_the_stock_ray_command(jobs: Jobs) -> None:
    ray = str(Path(sys.executable).parent / "ray")
    run = jobs("forward", "--", ray, "job", "submit", "--", "python", "-c", "'print(6*7)'")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "42" in run.stdout


def test_w5_a_pod_in_the_namespace_reaches_the_service_by_its_name(kubectl: Any) -> None:
    service = f"http://{CLUSTER}-head-svc:8265/api/version"
    ask = (
        "import os, urllib.request as u; "
        f"r = u.Request('{service}', headers={{'Authorization': 'Bearer ' + os.environ.get('RAY_AUTH_TOKEN', '')}}); "
        "print(u.urlopen(r, timeout=20).read().decode())"
    )
    worker = kubectl("get", "pods", "-n", NAMESPACE, "-l", "ray.io/node-type=worker", "-o", "name").splitlines()[0]
    answer = json.loads(kubectl("exec", "-n", NAMESPACE, worker, "-c", "ray-worker", "--", "python", "-c", ask))
    assert answer["ray_version"] == "2.60.0"


def test_w6_a_script_from_a_working_directory_is_uploaded_and_followed(jobs: Jobs) -> None:
    folder = ROOT / "examples" / "walkthrough"
    run = jobs("submit", "--working-dir", ".", "--", "python", "script.py", cwd=folder)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip(), run.stderr


def test_w6_a_job_that_fails_gives_its_failure_as_the_exit_code(jobs: Jobs) -> None:
    run = jobs("submit", "--", "python", "-c", "raise SystemExit(7)")
    assert run.returncode == 1, run.stderr


def test_w7_the_same_from_python(environment: dict[str, str], outputs_file: Path) -> None:
    run = subprocess.run(
        [sys.executable, "examples/python_api.py", str(outputs_file)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "SUCCEEDED" in run.stdout


@pytest.mark.needs("token authentication")
def test_w7_the_first_session_of_the_docs_begins_with_init(
    cluster: Cluster, outputs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    assert f"$ rayjobs init --outputs {outputs_file.name}" in record(outputs_file)


def test_a_second_up_a_refresh_and_a_preview_change_nothing(stack: Stack) -> None:
    stack.up("--expect-no-changes")
    stack.refresh("--expect-no-changes")
    stack.preview("--expect-no-changes")


def test_the_state_stays_small(stack: Stack) -> None:
    assert stack.state_bytes() < 500_000


BUSY = """
import ray, time
ray.init()
@ray.remote(num_cpus=1)
def busy(): time.sleep(60); return 1
print(sum(ray.get([busy.remote() for _ in range(3)])))
"""


def test_an_update_kills_no_busy_worker_and_does_not_fight_the_autoscaler(
    stack: Stack, api: Api, jobs: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    run = jobs("submit", "--no-wait", "--submission-id", "busy", "--working-dir", str(tmp_path), "--",
               "python", "busy.py")  # fmt: skip
    assert run.returncode == 0, run.stderr
    deadline = time.monotonic() + 240
    while [ready(pod) for pod in ray_pods(api, "worker")] != ["1/1"] * 3:
        assert time.monotonic() < deadline, "three workers did not come up"
        time.sleep(1)
    before = {pod["metadata"]["uid"] for pod in ray_pods(api, "worker")}

    def longer(settings: dict[str, Any]) -> None:
        settings["clusters"][0].setdefault("autoscaling", {})["idleTimeoutSeconds"] = 90

    stack.configure(longer)
    update = stack.up()
    assert [(change.operation, change.name) for change in update.changes] == [("update", f"{NAMESPACE}/{CLUSTER}")]
    time.sleep(15)
    assert {pod["metadata"]["uid"] for pod in ray_pods(api, "worker")} == before
    waited = jobs("wait", "busy", "--timeout", "240")
    assert waited.returncode == 0, waited.stderr


def test_w8_destroy_takes_everything_in_order_and_leaves_nothing(stack: Stack, api: Api) -> None:
    listed = stack.objects()
    assert {entry.kind for entry in listed} >= {"Namespace", "RayCluster", "Deployment", "CustomResourceDefinition"}
    run = stack.destroy()
    order = [change.type.rpartition(":")[2] for change in run.changes if change.operation == "delete"]
    assert order.index("RayCluster") < order.index("Deployment") < order.index("CRDs")
    assert stack_objects.wait_until_gone(api, listed, 60) == []
    assert crds_on(api) == []


def test_an_image_that_cannot_be_pulled_is_named_and_a_second_up_fails_too(stack: Stack) -> None:
    def broken(settings: dict[str, Any]) -> None:
        settings["clusters"][0].update(image="registry.invalid/ray:2.60.0", readyTimeoutSeconds=45)

    stack.configure(broken)
    for _ in range(2):
        run = stack.up(check=False)
        assert run.code != 0
        assert "registry.invalid/ray:2.60.0" in run.text, run.text
    stack.destroy()


def test_up_again_after_a_destroy_works(stack: Stack, api: Api) -> None:
    def mended(settings: dict[str, Any]) -> None:
        del settings["clusters"][0]["image"], settings["clusters"][0]["readyTimeoutSeconds"]

    stack.configure(mended)
    stack.up()
    assert [ready(pod) for pod in ray_pods(api, "head")] == ["2/2"]
    listed = stack.objects()
    stack.destroy()
    assert stack_objects.wait_until_gone(api, listed, 60) == []
