"""Stacks as in production, on one Kubernetes cluster: the owner's, restricted, guarded and fault tolerant, with the
operator in its namespaces alone; and a guest's, with its own Secrets and a Redis of its own. The order
of the tests is the story, and both stack files are those of docs/production.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.cluster.api import Api
from components.manifests import redis
from components.settings import parse
from jobs.ledger.kept import KeptJobs
from ops import stack_objects
from single_node.node import until
from tests.support.cluster import Cluster, ClusterError
from tests.support.command import Cli, clean_environ, wait_until
from tests.support.documents import PREFIX, stack_files
from tests.support.keeper_process import Process, running
from tests.support.ray_head import RayHead
from tests.support.stack import ROOT, SHARED, Jobs, Stack, jobs_of

pytestmark = [
    pytest.mark.skipif(not os.environ.get("RAY_E2E_LONG"), reason="takes long: asked for with RAY_E2E_LONG=1"),
    pytest.mark.needs("KubeRay v1.7.0"),  # the stack files of docs/production.md use what came with it
]

NAMESPACE, CLUSTER = "ray-cluster", "raycluster-autoscaler"
GUEST = "ray-guest"
USER = "data-scientist"
TWO_WORKERS = """
import ray, time
ray.init()
@ray.remote(num_cpus=1)
def where():
    time.sleep(20)
    return ray.get_runtime_context().get_node_id()
print("nodes", len(set(ray.get([where.remote() for _ in range(2)]))))
"""

PAGE = ROOT / "docs" / "production.md"


def documented(number: int, **kuberay: str) -> Callable[[dict[str, Any]], None]:
    """The settings of a stack file in docs/production.md; where KubeRay's manifests are, the tests know."""

    def change(settings: dict[str, Any]) -> None:
        source = settings.get("kuberay", {}).get("source")
        config = stack_files(PAGE)[number]
        settings.update({key.removeprefix(PREFIX): value for key, value in config.items()})
        settings["kuberay"].update({**({"source": source} if source else {}), **kuberay})

    return change


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Iterator[Stack]:
    made = new_stack("production")
    made.configure(documented(0))
    yield made
    made.remove()


@pytest.fixture(scope="module")
def guest_namespace(cluster: Cluster) -> Iterator[str]:
    """Made by whoever keeps the secrets: a token, and a Redis with a password."""
    made = RayHead(cluster, GUEST, "guest")
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GUEST}}])
    for name, key in (("own-token", "auth_token"), ("redis", "password")):
        made.kubectl("create", "secret", "generic", name, f"--from-literal={key}={name}-word-1")
    password = {"secret": "redis", "key": "password"}
    settings = {"name": "external", "namespace": GUEST}
    (keeper,) = parse(
        {"clusters": [{**settings, "faultTolerance": {"redis": {"inCluster": True, "password": password}}}]}
    ).clusters
    cluster.apply([one for one in redis.objects(keeper) if one["kind"] != "NetworkPolicy"])
    yield GUEST
    cluster.kubectl("delete", "namespace", GUEST, "--wait=false")


@pytest.fixture(scope="module")
def guest(stack: Stack, guest_namespace: str, new_stack: Callable[..., Stack]) -> Iterator[Stack]:
    made = new_stack("guest")
    yield made
    made.remove()


@pytest.fixture
def head(cluster: Cluster) -> RayHead:
    return RayHead(cluster, NAMESPACE, CLUSTER)


@pytest.fixture
def jobs(stack: Stack, cluster: Cluster) -> Jobs:
    return jobs_of(stack, cluster)


def status_of(jobs: Jobs, name: str) -> dict[str, Any]:
    run = jobs("status", name, "--output", "json")
    assert run.stdout, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def items(api: Api, path: str, selector: str = "") -> list[dict[str, Any]]:
    found = api.get(path, **({"labelSelector": selector} if selector else {}))
    return list(found["items"]) if found else []


def pods(api: Api, node_type: str, namespace: str = NAMESPACE, cluster: str = CLUSTER) -> list[dict[str, Any]]:
    selector = f"ray.io/cluster={cluster},ray.io/node-type={node_type}"
    return items(api, f"/api/v1/namespaces/{namespace}/pods", selector)


def is_ready(pod: dict[str, Any]) -> bool:
    statuses = pod["status"].get("containerStatuses") or [{"ready": False}]
    return all(status["ready"] for status in statuses)


def kill_head(head: RayHead, api: Api) -> None:
    """Deletes the head's pod and returns when the operator has made a new one that is ready."""
    (old,) = pods(api, "head", head.namespace, head.name)
    head.kubectl("delete", "pod", old["metadata"]["name"], "--grace-period=5", "--wait=false")

    def again() -> bool:
        found = pods(api, "head", head.namespace, head.name)
        return [pod["metadata"]["uid"] != old["metadata"]["uid"] and is_ready(pod) for pod in found] == [True]

    until(again, f"a new head of {head.name}", 240)


def allowed(cluster: Cluster, verb: str, resource: str, namespace: str) -> bool:
    """Whether the operator may, as the API server says."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:serviceaccount:ray-system:kuberay-operator",
            "resourceAttributes": {"verb": verb, "resource": resource, "namespace": namespace},
        },
    }
    answer = cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    return bool(json.loads(answer)["status"]["allowed"])


def redis_keys(cluster: Cluster) -> str:
    """What the guest's Redis holds."""
    ask = 'REDISCLI_AUTH="$PASSWORD" redis-cli -h $(hostname -i) --scan'
    return cluster.kubectl("exec", "-n", GUEST, "deployment/external-redis", "--", "sh", "-c", ask)


def test_a_restricted_fault_tolerant_cluster_with_a_quota_is_ready(
    stack: Stack, api: Api, guest_namespace: str
) -> None:
    stack.up()
    labels = (api.get(f"/api/v1/namespaces/{NAMESPACE}") or {})["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    (head,), (worker,) = pods(api, "head"), pods(api, "worker")
    assert is_ready(head)
    assert is_ready(worker)
    assert [status["name"] for status in head["status"]["containerStatuses"]] == ["autoscaler", "ray-head"]
    kinds = {entry.kind for entry in stack.objects() if entry.namespace == NAMESPACE}
    wanted = {"NetworkPolicy", "PodDisruptionBudget", "ResourceQuota", "LimitRange", "ServiceAccount", "Role"}
    assert wanted <= kinds


def test_each_pod_has_the_clusters_own_account_and_the_autoscaler_alone_its_token(cluster: Cluster, api: Api) -> None:
    (head,), (worker,) = pods(api, "head"), pods(api, "worker")
    assert {pod["spec"]["serviceAccountName"] for pod in (head, worker)} == {f"{CLUSTER}-ray"}

    def has_token(container: str) -> bool:
        pod = worker if container == "ray-worker" else head
        command = "test -e /var/run/secrets/kubernetes.io/serviceaccount/token && echo yes || echo no"
        inside = ("exec", pod["metadata"]["name"], "-c", container, "-n", NAMESPACE, "--", "sh", "-c", command)
        return cluster.kubectl(*inside).strip() == "yes"

    names = ("autoscaler", "ray-head", "ray-worker")
    assert [name for name in names if has_token(name)] == ["autoscaler"]


def test_the_head_is_not_drained_away(cluster: Cluster, api: Api) -> None:
    (head,) = pods(api, "head")
    name = head["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    with pytest.raises(ClusterError, match="disruption budget"):
        cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def test_the_operator_has_rights_in_its_namespaces_alone(api: Api, cluster: Cluster) -> None:
    assert api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/kuberay-operator") is None
    for namespace in (NAMESPACE, "second", GUEST):
        assert allowed(cluster, "create", "pods", namespace)
    for namespace in ("default", "kube-system"):
        assert not allowed(cluster, "list", "secrets", namespace)
        assert not allowed(cluster, "create", "pods", namespace)


def test_a_second_cluster_of_the_stack_is_suspended_and_ready(api: Api) -> None:
    found = api.get("/apis/ray.io/v1/namespaces/second/rayclusters/second")
    assert found is not None
    assert found["status"]["state"] == "suspended"


def test_only_the_token_opens_the_dashboard_through_a_tunnel(head: RayHead) -> None:
    with head.port_forward() as url, httpx.Client(trust_env=False, timeout=60) as client:

        def ask(token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return client.get(f"{url}/api/jobs/", headers=headers).status_code

        assert [ask(None), ask("wrong"), ask(head.token())] == [401, 403, 200]


def test_a_pod_of_the_namespace_submits_by_the_services_own_name_and_only_with_the_token(
    api: Api, head: RayHead
) -> None:
    (worker,) = pods(api, "worker")
    inside = ("exec", worker["metadata"]["name"], "-c", "ray-worker", "--")
    submit = ("ray", "job", "submit", "--address", f"http://{head.service}:8265", "--", "echo", "from-a-pod")
    assert "from-a-pod\n" in head.kubectl(*inside, *submit)
    with pytest.raises(ClusterError, match=r"(?i)unauth|401|token"):
        head.kubectl(*inside, "env", "-u", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE=disabled", *submit)


def test_a_job_user_submits_and_reads_no_other_secret(stack: Stack, cluster: Cluster, api: Api, tmp_path: Path) -> None:
    user = cluster.as_service_account(NAMESPACE, USER, [], tmp_path / "kubeconfig")
    run = jobs_of(stack, user)("submit", "--", "echo", "least", "rights")
    assert run.returncode == 0, run.stderr
    assert "least rights" in run.stdout
    for right in (("get", "secret", "other"), ("get", "secrets"), ("delete", "pods", "--all")):
        with pytest.raises(ClusterError, match=r"(?i)forbidden"):
            user.kubectl(*right, "-n", NAMESPACE)
    # The token in the autoscaler's container may patch RayClusters, and so make any pod.
    (pod,) = pods(api, "head")
    token = ("cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    for container in ("autoscaler", "ray-head"):
        with pytest.raises(ClusterError, match=r"(?i)forbidden"):
            user.kubectl("exec", "-n", NAMESPACE, pod["metadata"]["name"], "-c", container, "--", *token)
    checked = jobs_of(stack, user)("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "by its API, because" in checked.stdout


def test_a_fitting_quota_lets_the_most_workers_start_and_counts_the_autoscaler(
    api: Api, jobs: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "two.py").write_text(TWO_WORKERS)
    run = jobs("submit", "--timeout", "300", "--working-dir", str(tmp_path), "--", "python", "two.py")
    assert run.returncode == 0, run.stderr
    assert "nodes 2" in run.stdout
    (quota,) = items(api, f"/api/v1/namespaces/{NAMESPACE}/resourcequotas")
    # Head, autoscaler, two workers, Redis; and room for the pod that cleans Redis at the end.
    assert quota["status"]["hard"]["requests.cpu"] == "1250m"
    assert quota["status"]["used"]["requests.cpu"] == "1050m"


def test_a_second_up_and_a_refresh_change_nothing(stack: Stack) -> None:
    stack.up("--expect-no-changes")
    stack.refresh("--expect-no-changes")


@pytest.mark.skipif(not (SHARED / "v1.6.2").is_dir(), reason="KubeRay v1.6.2's manifests are not in ../shared/kuberay")
def test_another_stack_that_pins_another_version_is_refused_naming_both(guest: Stack) -> None:
    kept = guest.config_file.read_text()
    guest.configure(documented(1, version="v1.6.2", source=str(SHARED / "v1.6.2")))
    guest.configure(lambda settings: settings["clusters"][0].pop("faultTolerance"))  # needs v1.7
    run = guest.up(check=False)
    guest.config_file.write_text(kept)
    assert run.code != 0
    assert "the operator in namespace ray-system is v1.7.0, `kuberay.version` is v1.6.2" in run.text, run.text
    assert guest.objects() == []


def test_a_namespace_that_the_operator_does_not_watch_is_refused_naming_those_it_does(guest: Stack) -> None:
    kept = guest.config_file.read_text()
    guest.configure(documented(1))
    guest.configure(lambda settings: settings["clusters"][0].update(namespace="default"))
    run = guest.preview(check=False)
    guest.config_file.write_text(kept)
    assert run.code != 0
    assert "RayCluster default/guest: the operator in namespace ray-system does not watch" in run.text, run.text
    assert "allowed: ray-cluster, ray-guest, second" in run.text, run.text


def test_another_stack_uses_the_operator_and_its_job_runs(guest: Stack, cluster: Cluster) -> None:
    guest.configure(documented(1))
    guest.up()
    assert {entry.kind for entry in guest.objects()} == {"RayCluster", "ServiceAccount", "NetworkPolicy"}
    run = jobs_of(guest, cluster)("submit", "--", "echo", "of-the-guest")
    assert run.returncode == 0, run.stderr
    assert "of-the-guest" in run.stdout


def test_a_token_of_ones_own_is_rotated_by_its_secret_and_new_pods(guest: Stack, cluster: Cluster, api: Api) -> None:
    jobs = jobs_of(guest, cluster)
    head = RayHead(cluster, GUEST, "guest")
    patch = json.dumps({"stringData": {"auth_token": "own-token-word-2"}})
    head.kubectl("patch", "secret", "own-token", "--patch-file=/dev/stdin", stdin=patch)
    refused = jobs("list")
    assert refused.returncode == 6
    assert "refuses this token" in refused.stderr
    kill_head(head, api)
    run = jobs("submit", "--", "echo", "rotated")
    assert run.returncode == 0, run.stderr
    with head.port_forward() as url:
        old = {"Authorization": "Bearer own-token-word-1"}
        assert httpx.get(f"{url}/api/jobs/", headers=old, timeout=60, trust_env=False).status_code == 403


def test_the_guests_end_cleans_its_redis_and_leaves_the_first_stack_alone(
    stack: Stack, guest: Stack, cluster: Cluster, api: Api
) -> None:
    assert "guests-state" in redis_keys(cluster)
    before = {pod["metadata"]["uid"] for pod in pods(api, "head")}
    listed = guest.objects()
    guest.destroy()
    assert stack_objects.wait_until_gone(api, listed, 60) == []
    assert "guests-state" not in redis_keys(cluster)
    assert {pod["metadata"]["uid"] for pod in pods(api, "head")} == before
    assert api.get("/apis/ray.io/v1/namespaces/second/rayclusters/second") is not None


@pytest.fixture
def kept(stack: Stack, cluster: Cluster, jobs: Jobs, tmp_path: Path) -> Iterator[KeptJobs]:
    """What a keeper on this machine keeps of the stack's first RayCluster, through its own tunnel."""
    environ = {**clean_environ(tmp_path), "KUBECONFIG": str(cluster.kubeconfig)}
    target = ("--outputs", str(stack.folder / "outputs.json"), "--cluster", CLUSTER)
    with running(Process(Cli("", tmp_path, environ), tmp_path / "kept", *target)) as keeper:
        wait_until(lambda: any(line.startswith("Page: ") for line in keeper.lines), 60)
        yield KeptJobs(tmp_path / "kept")


def test_after_the_head_was_killed_every_job_is_known_and_how_it_ended_is_said_truly(
    api: Api, jobs: Jobs, head: RayHead, kept: KeptJobs
) -> None:
    # One driver goes with the head; the other is on a worker, which outlives it.
    start = ("submit", "--no-wait", "--submission-id")
    count = "for i in $(seq 1 {}); do echo line $i; sleep {}; done"
    for run in (
        jobs(*start, "finished", "--", "true"),
        jobs(*start, "on-the-head", "--", count.format(100_000, 0.05)),
        jobs(*start, "on-a-worker", "--entrypoint-num-cpus", "1", "--", f"{count.format(450, 0.1)}; echo went on"),
    ):
        assert run.returncode == 0, run.stderr
    for name in ("on-the-head", "on-a-worker"):
        until(lambda name=name: status_of(jobs, name)["status"] == "RUNNING", f"{name} to run", 120)  # type: ignore[misc]
    assert jobs("wait", "finished", "--timeout", "60").returncode == 0

    def log_of(name: str) -> list[str]:
        return b"".join(kept.read_log(name)).decode().splitlines()

    until(lambda: "line 100" in log_of("on-the-head"), "the keeper to have 100 lines", 60)
    kill_head(head, api)
    assert status_of(jobs, "finished")["status"] == "SUCCEEDED"
    lost = jobs("wait", "on-the-head", "--timeout", "240")
    assert lost.returncode == 1, lost.stderr
    ended = status_of(jobs, "on-the-head")
    assert ended["status"] == "FAILED"
    assert ended["message"]
    survived = jobs("wait", "on-a-worker", "--timeout", "240")
    assert survived.returncode == 0, survived.stderr
    assert status_of(jobs, "on-a-worker")["status"] == "SUCCEEDED"
    # The keeper has the same ends, the whole log of the one, and of the other what could be read before its node died.
    ends = {"finished": "SUCCEEDED", "on-the-head": "FAILED", "on-a-worker": "SUCCEEDED"}
    until(
        lambda: {each.submission_id: each.status for each in kept.jobs().entries}.items() >= ends.items(),
        "the keeper to know how the jobs ended",
        60,
    )
    numbers = [f"line {i}" for i in range(1, 100_001)]
    until(lambda: log_of("on-a-worker")[-1:] == ["went on"], "the whole log of on-a-worker", 60)
    assert [line for line in log_of("on-a-worker") if line.startswith("line")] == numbers[:450]
    last = [line for line in log_of("on-the-head") if line.startswith("line")]
    assert len(last) >= 100
    assert last == numbers[: len(last)]
    assert [event.kind for event in kept.events()].count("head_replaced") == 1
    fresh = jobs("submit", "--", "echo", "and on")
    assert fresh.returncode == 0, fresh.stderr


def test_destroy_ends_and_leaves_nothing_also_when_redis_is_gone(
    stack: Stack, api: Api, cluster: Cluster, head: RayHead
) -> None:
    head.kubectl("scale", "deployment", f"{CLUSTER}-redis", "--replicas=0")
    head.kubectl("wait", "pod", "-l", f"app.kubernetes.io/instance={CLUSTER}", "--for=delete", "--timeout=60s")
    listed = stack.objects()
    stack.destroy()
    assert stack_objects.wait_until_gone(api, listed, 60) == []
