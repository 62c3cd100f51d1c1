"""Changes to a stack that is in use: what they say, what they refuse, and what they leave alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from components.cluster.api import Api
from tests.support.capabilities import upgrade
from tests.support.cluster import Cluster
from tests.support.stack import Jobs, Stack, jobs_of

NAMESPACE, CLUSTER = "ray-cluster", "raycluster-autoscaler"
RAYCLUSTER = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{CLUSTER}"
SLEEP = "import time; time.sleep({seconds}); print('done')"


@pytest.fixture
def jobs_later(cluster: Cluster, stack: Stack) -> Callable[[], Jobs]:
    """The jobs command once the stack has outputs: called after the first `up`."""

    return lambda: jobs_of(stack, cluster)


def start_job(jobs: Jobs, name: str, seconds: int) -> None:
    """Submits a job that sleeps, and returns once it runs."""
    run = jobs("submit", "--no-wait", "--submission-id", name, "--", "python", "-c", SLEEP.format(seconds=seconds))
    assert run.returncode == 0, run.stderr
    deadline = time.monotonic() + 120
    while json.loads(jobs("status", name, "--output", "json").stdout)["status"] == "PENDING":
        assert time.monotonic() < deadline, f"{name} does not start"
        time.sleep(1)


def uids(api: Api) -> set[str]:
    listing = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=f"ray.io/cluster={CLUSTER}")
    assert listing is not None
    return {pod["metadata"]["uid"] for pod in listing["items"]}


def cluster_settings(**options: Any) -> Callable[[dict[str, Any]], None]:
    def change(settings: dict[str, Any]) -> None:
        settings["clusters"][0].update(options)

    return change


def idle(seconds: int) -> Callable[[dict[str, Any]], None]:
    def change(settings: dict[str, Any]) -> None:
        settings["clusters"][0].setdefault("autoscaling", {})["idleTimeoutSeconds"] = seconds

    return change


@pytest.mark.needs("an older KubeRay")
def test_kuberay_is_upgraded_in_place_under_a_running_job(
    stack: Stack, api: Api, jobs_later: Callable[[], Jobs]
) -> None:
    versions = upgrade()
    assert versions is not None
    older, newer = versions
    stack.use_kuberay(older)
    stack.up()
    jobs = jobs_later()
    start_job(jobs, "during-upgrade", 60)
    before = uids(api)

    stack.use_kuberay(newer)
    preview = stack.preview("--diff")
    if versions == ("v1.6.2", "v1.7.0"):
        assert "REMOVES spec.headGroupSpec.template.spec.workloadRef" in preview.text
    run = stack.up()
    operations = {change.type.rpartition(":")[2]: change.operation for change in run.changes}
    assert operations["CRDs"] == "update", run.text
    assert operations["Deployment"] == "update", run.text
    assert not {change.operation for change in run.changes} & {"replace", "delete"}, run.text
    assert jobs("wait", "during-upgrade", "--timeout", "200").returncode == 0
    assert uids(api) == before


def test_an_update_that_restarts_nothing_says_so(stack: Stack, jobs_later: Callable[[], Jobs]) -> None:
    stack.configure(cluster_settings(labels={}, head={**_head(stack), "env": {"NEW": "1"}}))
    preview = stack.preview()
    assert "does not restart head" in preview.text, preview.text
    stack.up()


@pytest.mark.needs("upgrade strategies")
def test_a_protected_stack_refuses_to_end_running_jobs_until_it_is_confirmed(
    stack: Stack, api: Api, jobs_later: Callable[[], Jobs]
) -> None:
    stack.configure(cluster_settings(upgradeStrategy="Recreate"))
    stack.configure(lambda settings: settings.update(protect=True))
    stack.up()
    jobs = jobs_later()
    start_job(jobs, "in-the-way", 300)
    before = uids(api)
    stack.configure(idle(120))
    for run in (stack.preview(check=False), stack.up(check=False)):
        assert run.code != 0
        assert "in-the-way" in run.text, run.text
        assert "confirmRestart" in run.text
    assert uids(api) == before
    stack.configure(lambda settings: settings.update(confirmRestart=True))
    assert "restarts head and small-group" in stack.up().text
    deadline = time.monotonic() + 120
    while uids(api) & before:
        assert time.monotonic() < deadline, "the operator did not restart the pods"
        time.sleep(2)
    stack.configure(lambda settings: settings.update(protect=False, confirmRestart=False))
    stack.configure(cluster_settings(upgradeStrategy="None"))
    stack.up()


def test_a_field_edited_by_kubectl_is_drift_and_the_next_up_takes_it_back(
    stack: Stack, api: Api, cluster: Cluster
) -> None:
    stack.configure(idle(120))
    stack.up()
    patch = json.dumps({"spec": {"autoscalerOptions": {"idleTimeoutSeconds": 7}}})
    cluster.kubectl("patch", "raycluster", CLUSTER, "-n", NAMESPACE, "--type=merge", "-p", patch)
    drift = stack.preview("--refresh", "--diff")
    assert "idleTimeoutSeconds" in drift.text, drift.text
    stack.up("--refresh")
    live = api.get(RAYCLUSTER)
    assert live is not None
    assert live["spec"]["autoscalerOptions"]["idleTimeoutSeconds"] == 120


def test_what_the_autoscaler_changed_is_no_drift(stack: Stack, api: Api, jobs_later: Callable[[], Jobs]) -> None:
    task = "f = ray.remote(num_cpus=1)(lambda: time.sleep(20)); ray.get([f.remote(), f.remote()])"
    code = f"import ray, time; ray.init(); {task}"
    jobs = jobs_later()
    deadline = time.monotonic() + 120
    while jobs("check").returncode != 0:
        assert time.monotonic() < deadline, "the cluster did not come back"
    assert jobs("submit", "--timeout", "200", "--", "python", "-c", code).returncode == 0
    live = api.get(RAYCLUSTER)
    assert live is not None
    assert live["spec"]["workerGroupSpecs"][0]["replicas"] >= 2
    stack.preview("--refresh", "--expect-no-changes")


def _head(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = {}
    stack.configure(lambda settings: found.update(settings["clusters"][0].get("head", {})))
    return found
