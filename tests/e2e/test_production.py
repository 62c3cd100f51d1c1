"""A stack as in production: restricted, with a quota, fault tolerant, the operator in its namespaces alone."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.kubeapi import Api
from ops import inventory
from tests.support.stack import Stack

NAMESPACE, CLUSTER = "ray-cluster", "raycluster-autoscaler"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
HEAD = f"ray.io/cluster={CLUSTER},ray.io/node-type=head"
WORKER = f"ray.io/cluster={CLUSTER},ray.io/node-type=worker"


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    made = new_stack("production")

    def production(settings: dict[str, Any]) -> None:
        settings.setdefault("kuberay", {})["watchNamespaces"] = [NAMESPACE, "second"]
        settings["namespaces"] = {
            NAMESPACE: {"podSecurity": "restricted", "quota": "fit"},
            "second": {"labels": {"team": "b"}},
        }
        first = settings["clusters"][0]
        first["podSecurity"] = "restricted"
        first["headDisruptionBudget"] = True
        first["faultTolerance"] = {"redis": {"inCluster": True}, "deletionTimeoutSeconds": 60}
        first["jobUsers"] = [{"kind": "Group", "name": "data-science"}]
        first["head"]["requests"]["cpu"] = "300m"
        settings["clusters"].append({"name": "second", "namespace": "second", "suspend": True})

    made.configure(production)
    return made


def items(api: Api, path: str, selector: str = "") -> list[dict[str, Any]]:
    found = api.get(path, **({"labelSelector": selector} if selector else {}))
    return list(found["items"]) if found else []


def ask_from_a_worker(kubectl: Any, worker: str, token: str | None) -> int:
    """Status of the Jobs API, asked with `token` from a pod in the namespace by the service's own name."""
    header = f", headers={{'Authorization': 'Bearer {token}'}}" if token else ""
    code = (
        "import urllib.request as u, urllib.error as e\n"
        f"r = u.Request('http://{CLUSTER}-head-svc:8265/api/jobs/'{header})\n"
        "try: print(u.urlopen(r, timeout=20).status)\n"
        "except e.HTTPError as error: print(error.code)\n"
    )
    return int(kubectl("exec", "-n", NAMESPACE, worker, "-c", "ray-worker", "--", "python", "-c", code))


def test_a_restricted_fault_tolerant_cluster_with_a_quota_is_ready(stack: Stack, api: Api) -> None:
    stack.up()
    (head,), (worker,) = items(api, PODS, HEAD), items(api, PODS, WORKER)
    assert all(status["ready"] for status in head["status"]["containerStatuses"])
    assert [status["name"] for status in head["status"]["containerStatuses"]] == ["autoscaler", "ray-head"]
    for pod in (head, worker):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert items(api, "/apis/policy/v1/namespaces/ray-cluster/poddisruptionbudgets")


def test_the_quota_has_room_for_everything_that_runs(api: Api) -> None:
    (quota,) = items(api, f"/api/v1/namespaces/{NAMESPACE}/resourcequotas")
    assert set(quota["status"]["hard"]) == {"requests.cpu", "requests.memory", "pods"}
    assert int(quota["status"]["used"]["pods"]) == 3


def test_a_workers_pod_has_no_token_of_kubernetes(api: Api, kubectl: Any) -> None:
    (worker,) = items(api, PODS, WORKER)
    mounts = [mount["mountPath"] for one in worker["spec"]["containers"] for mount in one.get("volumeMounts", [])]
    assert not [mount for mount in mounts if "serviceaccount" in mount]


def test_the_operator_has_no_right_on_the_whole_cluster(api: Api) -> None:
    assert api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/kuberay-operator") is None
    for namespace in (NAMESPACE, "second"):
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/kuberay-operator"
        assert api.get(roles) is not None


def test_a_second_cluster_of_the_stack_is_suspended_and_ready(api: Api) -> None:
    found = api.get("/apis/ray.io/v1/namespaces/second/rayclusters/second")
    assert found is not None
    assert found["status"]["state"] == "suspended"


def test_only_the_token_opens_the_jobs_api(api: Api, kubectl: Any) -> None:
    (worker,) = items(api, PODS, WORKER)
    name = worker["metadata"]["name"]
    secret = api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{CLUSTER}")
    assert secret is not None
    token = base64.b64decode(secret["data"]["auth_token"]).decode()
    assert ask_from_a_worker(kubectl, name, None) == 401
    assert ask_from_a_worker(kubectl, name, "wrong") == 403
    assert ask_from_a_worker(kubectl, name, token) == 200


def test_a_second_up_and_a_refresh_change_nothing(stack: Stack) -> None:
    stack.up("--expect-no-changes")
    stack.refresh("--expect-no-changes")


def test_another_stack_uses_the_operator_and_is_checked_against_its_version(
    stack: Stack, new_stack: Callable[..., Stack], api: Api
) -> None:
    guest = new_stack("guest")

    def settings(wanted: dict[str, Any]) -> None:
        source = wanted.get("kuberay", {}).get("source")
        wanted["kuberay"] = {"operator": "existing", **({"source": source} if source else {})}
        wanted["clusters"] = [{"name": "guest", "namespace": "second", "createNamespace": False, "suspend": True}]

    guest.configure(settings)
    guest.up()
    assert api.get("/apis/ray.io/v1/namespaces/second/rayclusters/guest") is not None
    assert {entry.kind for entry in guest.objects()} == {"RayCluster", "ServiceAccount", "NetworkPolicy"}
    guest.destroy()
    assert api.get("/apis/ray.io/v1/namespaces/second/rayclusters/second") is not None


def test_a_job_is_still_known_after_the_head_was_killed_under_it(
    stack: Stack, api: Api, outputs_file: Path, kubectl: Any
) -> None:
    # Asked in the head's own container: this is about the cluster, not about the client.
    def ray_job(*arguments: str) -> str:
        (head,) = items(api, PODS, HEAD)
        name = head["metadata"]["name"]
        run = ("exec", "-n", NAMESPACE, name, "-c", "ray-head", "--", "ray", "job", *arguments)
        return str(kubectl(*run))

    ray_job("submit", "--no-wait", "--submission-id", "survivor", "--", "sleep", "600")
    (head,) = items(api, PODS, HEAD)
    kubectl("delete", "pod", "-n", NAMESPACE, head["metadata"]["name"], "--grace-period=5", "--wait=false")
    deadline = time.monotonic() + 240
    while True:
        assert time.monotonic() < deadline, "no new head"
        heads = [pod for pod in items(api, PODS, HEAD) if pod["metadata"]["uid"] != head["metadata"]["uid"]]
        if heads and all(s["ready"] for s in heads[0]["status"].get("containerStatuses") or [{"ready": False}]):
            break
        time.sleep(2)
    status = ray_job("status", "survivor")
    assert "survivor" in status
    assert "does not exist" not in status


def test_destroy_ends_in_time_and_leaves_nothing(stack: Stack, api: Api) -> None:
    listed = stack.objects()
    assert {"ResourceQuota", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount", "Role"} <= {
        entry.kind for entry in listed
    }
    stack.destroy()
    assert inventory.wait_until_gone(api, listed, 60) == []
