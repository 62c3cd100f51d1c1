"""The end of a stack: what others would lose is named first, what is stuck is named in bounded time, nothing is left.

One story: a live stack is destroyed step by step; then a suspended one, whose CRDs stay.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from components.cluster.api import Api
from ops import destroy as ending
from tests.support.capabilities import kuberay_version
from tests.support.cluster import Cluster
from tests.support.stack import ROOT, Stack, crds_on
from tests.support.trees import crds_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

NAMESPACE, CLUSTER = "ray-cluster", "raycluster-autoscaler"
RAYCLUSTER = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{CLUSTER}"
TENANT = "other-tenant"
DELETE_SECONDS = 20


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    made = new_stack("destroy")
    made.configure(lambda settings: settings["clusters"][0].update(deleteTimeoutSeconds=DELETE_SECONDS))
    return made


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long is waited for what others made; a test that refuses would take minutes."""
    monkeypatch.setattr(ending, "SETTLE_SECONDS", 30.0)


@pytest.fixture
def make_destroy(stack: Stack, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`make destroy` of the stack: its exit code and what it said."""

    def run(others: str = "refuse", jobs: str = "refuse") -> tuple[int, str]:
        capfd.readouterr()
        code = ending.destroy(
            stack.name, others=others, jobs=jobs, environment=stack.environment, config_file=stack.config_file
        )
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def outputs_file_of(cluster: Cluster) -> Callable[[Stack], str]:
    def write(stack: Stack) -> str:
        file = stack.folder / "outputs.json"
        file.write_text(json.dumps({**stack.outputs()["contract"], "kubeconfig": str(cluster.kubeconfig)}))
        return str(file)

    return write


def by_hand(namespace: str, name: str) -> dict[str, Any]:
    """A RayCluster that nobody's stack made; suspended, so it costs no pod."""
    container = {"name": "ray", "image": "rayproject/ray:2.60.0"}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True, "headGroupSpec": {"template": {"spec": {"containers": [container]}}}},
    }


def job_by_hand(namespace: str, name: str) -> dict[str, Any]:
    spec = {**by_hand(namespace, name)["spec"]}
    del spec["suspend"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True, "entrypoint": "true", "shutdownAfterJobFinishes": True, "rayClusterSpec": spec},
    }


def suspended(settings: dict[str, Any]) -> None:
    settings["clusters"][0]["suspend"] = True


def test_a_running_job_is_named_and_nothing_is_destroyed(
    stack: Stack, api: Api, outputs_file_of: Callable[[Stack], str], make_destroy: Callable[..., tuple[int, str]]
) -> None:
    stack.up()
    sleep = ["--", "python", "-c", "import time; time.sleep(3600)"]
    command = [sys.executable, "-m", "jobs", "submit", "--outputs", outputs_file_of(stack), "--no-wait"]
    subprocess.run([*command, "--submission-id", "sleeper", *sleep], cwd=ROOT, check=True, timeout=120)
    code, said = make_destroy()
    assert code == 1
    assert "job sleeper" in said
    assert "`--jobs stop` stops it" in said
    assert api.get(RAYCLUSTER) is not None


def test_what_others_made_is_named_wherever_it_is_and_nothing_is_destroyed(
    cluster: Cluster, api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    cluster.kubectl("create", "namespace", TENANT)
    cluster.apply([by_hand(NAMESPACE, "by-hand"), job_by_hand(NAMESPACE, "nightly"), by_hand(TENANT, "theirs")])
    code, said = make_destroy(jobs="stop")
    assert code == 1
    for name in (f"RayCluster {NAMESPACE}/by-hand", f"RayJob {NAMESPACE}/nightly", f"RayCluster {TENANT}/theirs"):
        assert name in said
    assert api.get(RAYCLUSTER) is not None


def test_other_tenants_are_never_taken_along_even_when_deletion_is_asked_for(
    cluster: Cluster, api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    code, said = make_destroy(others="delete", jobs="stop")
    assert code == 1
    assert f"RayCluster {TENANT}/theirs" in said
    assert api.get(f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/by-hand") is not None
    cluster.kubectl("delete", "raycluster", "theirs", "-n", TENANT)


def test_a_stuck_finalizer_is_named_with_its_object_in_bounded_time(
    stack: Stack, cluster: Cluster, api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    add = '{"metadata":{"finalizers":["example.com/hold"]}}'
    cluster.kubectl("patch", "raycluster", CLUSTER, "-n", NAMESPACE, "--type=merge", "-p", add)
    code, said = make_destroy(others="delete", jobs="stop")
    assert code == 1
    assert "job sleeper" in said
    assert f"deleting RayCluster {NAMESPACE}/by-hand, made outside this stack" in said
    assert api.get(f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs/nightly") is None
    stuck = next(line for line in said.splitlines() if line.startswith(f"left: RayCluster {NAMESPACE}/{CLUSTER}"))
    assert "being deleted since" in stuck
    assert "finalizers example.com/hold" in stuck
    cluster.kubectl(
        "patch", "raycluster", CLUSTER, "-n", NAMESPACE, "--type=merge", "-p", '{"metadata":{"finalizers":[]}}'
    )


def test_a_plain_destroy_keeps_the_crds_while_somebody_elses_cluster_needs_them(
    stack: Stack, cluster: Cluster, api: Api
) -> None:
    cluster.apply([by_hand(TENANT, "theirs")])
    run = stack.destroy(check=False)
    assert run.code != 0, run.text
    assert f"RayCluster {TENANT}/theirs" in run.text
    assert "the CRDs are kept" in run.text
    assert api.get(f"/apis/ray.io/v1/namespaces/{TENANT}/rayclusters/theirs") is not None
    assert crds_on(api) == crds_of(kuberay_version())


def test_once_they_are_gone_destroy_proves_that_nothing_is_left(
    cluster: Cluster, api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    cluster.kubectl("delete", "namespace", TENANT)
    code, said = make_destroy()
    assert code == 0, said
    assert "destroy: 0 left, 0 retained" in said
    assert crds_on(api) == []


def test_a_protected_stack_is_told_how_to_end_and_nothing_is_destroyed(
    stack: Stack, cluster: Cluster, api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    stack.configure(suspended)
    stack.configure(lambda settings: settings["kuberay"].update(retainCrds=True))
    stack.configure(lambda settings: settings.update(protect=True))
    stack.up()
    cluster.apply([by_hand(NAMESPACE, "by-hand")])
    code, said = make_destroy(others="delete", jobs="stop")
    assert code == 1
    assert "the stack is protected" in said
    assert f"{NAMESPACE}/{CLUSTER}" in said
    cluster.kubectl("delete", "raycluster", "by-hand", "-n", NAMESPACE)
    assert stack.destroy(check=False).code != 0
    assert api.get(RAYCLUSTER) is not None


def test_with_retained_crds_other_tenants_still_lose_their_operator_and_are_named(
    stack: Stack, cluster: Cluster, api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    stack.configure(lambda settings: settings.pop("protect"))
    stack.up()
    cluster.kubectl("create", "namespace", TENANT)
    cluster.apply([by_hand(TENANT, "theirs")])
    code, said = make_destroy()
    assert code == 1
    assert f"RayCluster {TENANT}/theirs" in said
    assert api.get(RAYCLUSTER) is not None
    cluster.kubectl("delete", "namespace", TENANT)


def test_retained_crds_are_listed_and_everything_else_goes(
    api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    code, said = make_destroy()
    assert code == 0, said
    assert "retained as asked: CustomResourceDefinition rayclusters.ray.io" in said
    assert f"destroy: 0 left, {len(crds_of(kuberay_version()))} retained" in said
    assert crds_on(api) == crds_of(kuberay_version())
    assert api.get(f"/api/v1/namespaces/{NAMESPACE}") is None


def test_the_same_stack_takes_its_retained_crds_back_and_another_is_refused(
    stack: Stack, new_stack: Callable[..., Stack], api: Api, make_destroy: Callable[..., tuple[int, str]]
) -> None:
    foreign = new_stack("somebody").preview(check=False)
    assert foreign.code != 0
    assert "already on the cluster, from another installation: rayclusters.ray.io" in foreign.text
    stack.configure(lambda settings: settings["kuberay"].update(retainCrds=False))
    stack.up()
    code, said = make_destroy()
    assert code == 0, said
    assert crds_on(api) == []


def test_a_stack_that_is_gone_already_is_said_to_be(make_destroy: Callable[..., tuple[int, str]]) -> None:
    code, said = make_destroy()
    assert code == 1
    assert "nothing was ever deployed, or it is destroyed already" in said
