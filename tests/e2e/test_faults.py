"""Bad input and faults on the real engine, operator and cluster: a clear error, nothing lost, and the way on.

The RayCluster is suspended wherever its pods do not matter. The order of the tests is the story: first what is refused
before anything is touched, then an `up` ended in every way, then what stands in the way of one.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.cluster.api import Api
from components.kuberay import source
from components.settings.versions import DEFAULT_KUBERAY_VERSION
from ops.recover import recover
from tests.support.api_server import UID, api_server
from tests.support.capabilities import kuberay_version
from tests.support.cluster import Cluster
from tests.support.relay import Relay, changed, server_of
from tests.support.running import Running
from tests.support.stack import Stack, crds_on
from tests.support.trees import tree

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("RAY_E2E_LONG"), reason="takes long: asked for with RAY_E2E_LONG=1"),
]

NAMESPACE, SYSTEM, CLUSTER = "ray-faults", "ray-faults-system", "raycluster-autoscaler"
RAYCLUSTERS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters"
SETTLE = random.Random(5)


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    made = new_stack("faults")

    def suspended(settings: dict[str, Any]) -> None:
        settings["clusters"][0].update(suspend=True, readyTimeoutSeconds=120, namespace=NAMESPACE)
        settings["kuberay"]["namespace"] = SYSTEM

    made.configure(suspended)
    return made


@pytest.fixture
def settings_kept(stack: Stack) -> Iterator[None]:
    """The stack file as it was, after a test that spoils it."""
    before = stack.config_file.read_text()
    yield
    stack.config_file.write_text(before)


@pytest.fixture
def another_kubeconfig(stack: Stack) -> Iterator[Callable[[Path], None]]:
    """Sets the stack's kubeconfig for one test."""
    before = stack.environment["KUBECONFIG"]
    yield lambda path: stack.environment.__setitem__("KUBECONFIG", str(path))
    stack.environment["KUBECONFIG"] = before


def refused(stack: Stack) -> str:
    """What a preview says that must not succeed; a person's message has no traceback."""
    run = stack.preview(check=False)
    assert run.code != 0, run.text
    assert "Traceback" not in run.text, run.text
    return run.text


def uids(stack: Stack, api: Api) -> dict[str, str]:
    """UID by object, of everything in the stack's state that is on the cluster."""
    found = ((str(entry), api.get(entry.path)) for entry in stack.objects())
    return {name: answer["metadata"]["uid"] for name, answer in found if answer}


def rayclusters(api: Api, namespace: str = NAMESPACE) -> list[str]:
    listing = api.get(f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters") or {"items": []}
    return sorted(item["metadata"]["name"] for item in listing["items"])


def one_cluster(settings: dict[str, Any]) -> None:
    del settings["clusters"][1:]


# Refused before anything is touched.


def wrong_settings(settings: dict[str, Any]) -> None:
    settings["clusterz"] = []
    settings["clusters"][0]["workerGroups"]["small-group"].update(min=5, max=2)
    settings["clusters"][0]["head"]["memory"] = "lots"


def missing_source(settings: dict[str, Any]) -> None:
    settings["kuberay"]["source"] = "no/such/directory"


def never_published(settings: dict[str, Any]) -> None:
    settings["kuberay"]["version"] = "v9.9.9"


def wrong_context(settings: dict[str, Any]) -> None:
    settings["kubeContext"] = "no-such-context"


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (wrong_settings, ["clusterz", "small-group.min", "allowed: 0 to 2", '"lots"']),
        (missing_source, ["kuberay.source", '"no/such/directory": no such directory']),
        (never_published, ["kuberay.version", "v9.9.9", DEFAULT_KUBERAY_VERSION]),
        (wrong_context, ["no-such-context", "kubeContext"]),
    ],
)
@pytest.mark.usefixtures("settings_kept")
def test_wrong_settings_are_refused_all_at_once_naming_key_and_value(
    stack: Stack, spoil: Callable[[dict[str, Any]], None], named: list[str]
) -> None:
    stack.configure(spoil)
    text = refused(stack)
    assert [part for part in named if part not in text] == [], text


@pytest.mark.usefixtures("settings_kept")
def test_manifests_other_than_the_recorded_ones_stop_with_both_digests(stack: Stack, tmp_path: Path) -> None:
    original = tree(kuberay_version())
    for folder in source.folders(kuberay_version()):
        for file in (original / folder).rglob("*"):
            if file.suffix in source.MANIFEST_SUFFIXES:
                copy = tmp_path / file.relative_to(original)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
    manager = tmp_path / source.MANAGER_FOLDER / "manager.yaml"
    manager.write_text(manager.read_text() + "# edited\n")
    stack.configure(lambda settings: settings["kuberay"].update(source=str(tmp_path)))
    text = refused(stack)
    assert source.recorded()[kuberay_version()] in text
    assert source.digest(tmp_path, kuberay_version()) in text


def test_an_api_server_that_does_not_answer_is_named(
    stack: Stack, cluster: Cluster, tmp_path: Path, another_kubeconfig: Callable[[Path], None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"https://127.0.0.1:{listener.getsockname()[1]}"
    another_kubeconfig(changed(cluster.kubeconfig, tmp_path / "kubeconfig", server=closed))
    assert f"context {cluster.context}: the cluster does not answer" in refused(stack)


def test_credentials_that_are_not_accepted_are_named_and_never_shown(
    stack: Stack, cluster: Cluster, tmp_path: Path, another_kubeconfig: Callable[[Path], None]
) -> None:
    another_kubeconfig(changed(cluster.kubeconfig, tmp_path / "kubeconfig", token="expired-credential"))
    text = refused(stack)
    assert "does not accept the credentials (HTTP 401)" in text
    assert "expired-credential" not in text


@pytest.mark.usefixtures("settings_kept")
def test_a_namespace_that_is_being_deleted_is_refused_by_name(stack: Stack, cluster: Cluster) -> None:
    name = "ray-going"
    held = {"name": "held", "namespace": name, "finalizers": ["example.com/hold"]}
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": held}])
        cluster.kubectl("delete", "namespace", name, "--wait=false")
        stack.configure(lambda settings: settings["clusters"][0].update(namespace=name))
        assert f"namespace {name}: being deleted since" in refused(stack)
    finally:
        cluster.kubectl(
            "patch", "configmap", "held", "-n", name, "--type=merge", "-p", '{"metadata":{"finalizers":[]}}'
        )


@pytest.mark.usefixtures("settings_kept")
def test_a_secret_that_the_settings_name_has_to_be_there(stack: Stack, cluster: Cluster) -> None:
    stack.configure(lambda settings: settings["clusters"][0].update(auth={"secretName": "absent"}))
    assert f"Secret {NAMESPACE}/absent, which cluster {CLUSTER} is to use: not there" in refused(stack)


def test_crds_of_another_installation_are_refused_by_name(stack: Stack, cluster: Cluster) -> None:
    bases = tree(kuberay_version()) / source.CRD_FOLDER / "bases"
    cluster.kubectl("apply", "--server-side", "-f", str(bases / "ray.io_rayclusters.yaml"))
    text = refused(stack)
    assert "from another installation: rayclusters.ray.io" in text
    assert "kuberay.crds: adopt" in text


# An `up` that ends early.


@pytest.mark.parametrize("end", ["interrupt", "terminate"])
def test_an_up_that_is_asked_to_end_ends(stack: Stack, end: str) -> None:
    stack.configure(lambda settings: settings["kuberay"].update(crds="adopt"))
    running = Running(stack)
    steps = SETTLE.randint(1, 9)
    assert running.until(lambda: len(running.begun()) >= steps), running.text
    getattr(running, end)()
    run = running.end(180)
    assert run.code != 0, run.text


def test_the_next_up_completes_and_adopts_the_foreign_crds(stack: Stack, api: Api) -> None:
    stack.up()
    assert rayclusters(api) == [CLUSTER]
    stack.up("--expect-no-changes")


def test_of_two_ups_at_once_the_second_is_told_of_the_lock(stack: Stack) -> None:
    first = Running(stack)
    assert first.until(lambda: any((stack.folder / "state/.pulumi/locks").rglob("*.json"))), first.text
    second = stack.up(check=False)
    assert second.code != 0
    assert "locked" in second.text, second.text
    assert first.end().code == 0, first.text


def test_after_a_kill_recover_and_up_complete_with_nothing_doubled_or_replaced(stack: Stack, api: Api) -> None:
    before = uids(stack, api)

    def second_cluster(settings: dict[str, Any]) -> None:
        settings["clusters"].append({**settings["clusters"][0], "name": "ray-two"})

    stack.configure(second_cluster)
    running = Running(stack)
    assert running.until(lambda: "ray-two" in rayclusters(api)), running.text
    running.kill()
    arrived = api.get(f"{RAYCLUSTERS}/ray-two")
    assert arrived is not None
    assert "locked" in stack.up(check=False).text
    assert recover(stack.name, environment=stack.environment, config_file=stack.config_file) == 0
    stack.up()
    after = uids(stack, api)
    assert {name: uid for name, uid in after.items() if name in before} == before
    assert after[f"RayCluster {NAMESPACE}/ray-two"] == arrived["metadata"]["uid"]
    assert rayclusters(api) == ["ray-two", CLUSTER]


# What stands in the way of an `up`.


@pytest.mark.parametrize("operation", ["preview", "up", "refresh", "destroy"])
def test_another_cluster_behind_the_same_name_stops_everything(
    stack: Stack, cluster: Cluster, tmp_path: Path, operation: str, another_kubeconfig: Callable[[Path], None]
) -> None:
    before = stack.objects()
    with api_server(tmp_path) as kubeconfig:
        content = kubeconfig.read_text().replace("test", cluster.context)
        kubeconfig.write_text(content)
        another_kubeconfig(kubeconfig)
        run = stack.operate(operation, check=False)
    assert run.code != 0, run.text
    assert UID in run.text
    assert "leads to another cluster" in run.text
    assert stack.objects() == before


def test_an_api_server_that_goes_away_midway_is_named_and_the_next_up_completes(
    stack: Stack, api: Api, cluster: Cluster, tmp_path: Path
) -> None:
    third = {"name": "ray-three", "readyTimeoutSeconds": 30}
    stack.configure(lambda settings: settings["clusters"].append({**settings["clusters"][0], **third}))
    before = uids(stack, api)
    with Relay(*server_of(cluster.kubeconfig)) as relay:
        address = f"https://127.0.0.1:{relay.port}"
        running = Running(stack, kubeconfig=changed(cluster.kubeconfig, tmp_path / "kubeconfig", server=address))
        assert running.until(lambda: "ray-three" in rayclusters(api)), running.text
        relay.cut()
        # The provider has begun to watch and waits for the server to come back; a person is told, and may end it.
        assert running.until(lambda: "the cluster does not answer" in running.text, 60), running.text
        running.interrupt()
        run = running.end(120)
    assert run.code != 0, run.text
    stack.up()
    after = uids(stack, api)
    assert {name: uid for name, uid in after.items() if name in before} == before
    assert rayclusters(api) == ["ray-three", "ray-two", CLUSTER]


def test_a_slow_api_server_delays_an_up_and_nothing_else(
    stack: Stack, api: Api, cluster: Cluster, tmp_path: Path, another_kubeconfig: Callable[[Path], None]
) -> None:
    before = uids(stack, api)
    stack.configure(lambda settings: settings["clusters"][0].update(labels={"slow": "server"}))
    with Relay(*server_of(cluster.kubeconfig), delay=0.3) as relay:
        address = f"https://127.0.0.1:{relay.port}"
        another_kubeconfig(changed(cluster.kubeconfig, tmp_path / "kubeconfig", server=address))
        run = stack.up()
    assert [change.operation for change in run.changes if change.type.endswith(":RayCluster")].count("update") == 1
    live = api.get(f"{RAYCLUSTERS}/{CLUSTER}")
    assert live is not None
    assert live["metadata"]["labels"]["slow"] == "server"
    assert uids(stack, api) == before


def test_an_operator_that_is_down_while_a_raycluster_changes_is_named(stack: Stack, api: Api, cluster: Cluster) -> None:
    def one_resumed(settings: dict[str, Any]) -> None:
        settings["clusters"][0].update(suspend=False, readyTimeoutSeconds=30)

    def suspended(settings: dict[str, Any]) -> None:
        settings["clusters"][0].update(suspend=True, readyTimeoutSeconds=120)

    stack.configure(one_cluster)
    stack.up()
    cluster.kubectl("scale", "deployment", "kuberay-operator", "-n", SYSTEM, "--replicas=0")
    cluster.kubectl("wait", "--for=delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/name=kuberay")
    stack.configure(one_resumed)
    run = stack.up(check=False)
    assert run.code != 0, run.text
    assert "the operator has not taken up the last change" in run.text, run.text
    cluster.kubectl("scale", "deployment", "kuberay-operator", "-n", SYSTEM, "--replicas=1")
    cluster.kubectl("rollout", "status", "deployment", "kuberay-operator", "-n", SYSTEM, seconds=180)
    stack.configure(suspended)
    stack.up()


QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "no-pods", "namespace": "ray-quota"},
    "spec": {"hard": {"pods": "0"}},
}


def test_quota_gpu_and_image_are_named_within_a_minute_and_at_the_end(stack: Stack, cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", "ray-quota")
    try:
        cluster.apply([QUOTA])

        def hopeless(settings: dict[str, Any]) -> None:
            small = {**settings["clusters"][0], "suspend": False, "readyTimeoutSeconds": 75}
            settings["clusters"] += [
                {**small, "name": "no-quota", "namespace": "ray-quota", "createNamespace": False},
                {**small, "name": "no-gpu", "head": {**small["head"], "gpu": 1}},
                {**small, "name": "no-image", "image": "registry.invalid/ray:2.60.0"},
            ]

        stack.configure(hopeless)
        running = Running(stack)
        wanted = ["exceeded quota: no-pods", "Insufficient nvidia.com/gpu", 'image "registry.invalid/ray:2.60.0"']
        assert running.until(lambda: any("RayCluster" in line and "creating" in line for _, line in running.lines))
        started = next(when for when, line in running.lines if "RayCluster" in line and "creating" in line)
        run = running.end()
        assert run.code != 0, run.text
        said = {text: running.first(text) for text in wanted}
        assert all(when is not None and when - started < 60 for when in said.values()), (started, said, run.text)
        diagnostics = run.text.rpartition("Diagnostics:")[2]
        assert [text for text in wanted if text not in diagnostics] == [], run.text
    finally:
        stack.configure(one_cluster)
        stack.up(check=False)
        cluster.kubectl("delete", "namespace", "ray-quota", "--wait=false")


def test_after_all_that_the_stack_ends_with_nothing_left(stack: Stack, api: Api) -> None:
    stack.destroy()
    assert crds_on(api) == []
    assert json.dumps(stack.objects()) == "[]"
