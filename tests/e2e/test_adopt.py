"""What is there already becomes the stack's own: objects on the cluster, and resources that had another URN."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from components.cluster.api import Api
from tests.support.capabilities import kuberay_version, lacking
from tests.support.cluster import Cluster
from tests.support.stack import Stack, crds_on
from tests.support.trees import tree

NAMESPACE, SYSTEM, CLUSTER = "ray-adopt", "ray-adopt-system", "raycluster-autoscaler"
RAYCLUSTER = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{CLUSTER}"
OPERATOR = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/kuberay-operator"
FORMER = "urn:pulumi:adopt::ray-on-kubernetes::kubernetes:{type}::{name}"


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    made = new_stack("adopt")

    def suspended(settings: dict[str, Any]) -> None:
        settings["clusters"][0].update(suspend=True, readyTimeoutSeconds=120, namespace=NAMESPACE)
        settings["kuberay"]["namespace"] = SYSTEM
        if lacking("forced adoption"):
            probe = {"initialDelaySeconds": 10, "periodSeconds": 5, "failureThreshold": 5}  # upstream's
            container = {"name": "kuberay-operator", "readinessProbe": probe}
            settings["kuberay"]["podTemplate"] = {"spec": {"containers": [container]}}
            settings["kuberay"].pop("resources", None)  # those of dev are not upstream's

    made.configure(suspended)
    return made


def uids(api: Api) -> dict[str, str]:
    """Of the objects that somebody made before the stack."""
    found = {path: api.get(path) for path in (f"/api/v1/namespaces/{NAMESPACE}", OPERATOR, RAYCLUSTER)}
    return {path: answer["metadata"]["uid"] for path, answer in found.items() if answer}


@pytest.fixture(scope="module")
def by_hand(stack: Stack, cluster: Cluster, api: Api) -> Iterator[dict[str, str]]:
    """Namespaces, operator and a RayCluster made with kubectl, as by hand; their UIDs.

    After a test that failed they would be in the way of every other module, so they are deleted then.
    """
    for name in (NAMESPACE, SYSTEM):
        cluster.kubectl("create", "namespace", name)
    overlay = stack.folder / "by-hand"
    overlay.mkdir()
    (overlay / "upstream").symlink_to(tree(kuberay_version()))
    content = {"namespace": SYSTEM, "resources": ["upstream/ray-operator/config/default"]}
    (overlay / "kustomization.yaml").write_text(json.dumps(content))
    options = ("--load-restrictor=LoadRestrictionsNone",)
    (stack.folder / "by-hand.yaml").write_text(cluster.kubectl("kustomize", *options, str(overlay.resolve())))
    cluster.kubectl("apply", "--server-side", "-f", str(stack.folder / "by-hand.yaml"))
    pod = {"spec": {"containers": [{"name": "ray-head", "image": "rayproject/ray:2.60.0"}]}}
    ray = {"suspend": True, "rayVersion": "2.60.0", "headGroupSpec": {"rayStartParams": {}, "template": pod}}
    meta = {"name": CLUSTER, "namespace": NAMESPACE}
    cluster.apply([{"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": meta, "spec": ray}])
    yield uids(api)
    if crds_on(api):
        stack.remove()
        cluster.kubectl("delete", "raycluster", CLUSTER, "-n", NAMESPACE, "--ignore-not-found")
        cluster.kubectl("delete", "-f", str(stack.folder / "by-hand.yaml"), "--ignore-not-found", seconds=300)
        cluster.kubectl("delete", "namespace", NAMESPACE, SYSTEM, "--ignore-not-found", seconds=300)


def test_objects_of_somebody_else_are_refused_by_name(stack: Stack, api: Api, by_hand: dict[str, str]) -> None:
    assert len(by_hand) == 3
    before = stack.config_file.read_text()
    stack.configure(lambda settings: settings["kuberay"].update(crds="adopt"))  # they have a refusal of their own
    texts = [stack.operate(operation, check=False).text for operation in ("preview", "up")]
    stack.config_file.write_text(before)
    for text in texts:
        for name in (
            f"Namespace {NAMESPACE}",
            f"Namespace {SYSTEM}",
            f"Deployment {SYSTEM}/kuberay-operator",
            f"RayCluster {NAMESPACE}/{CLUSTER}",
        ):
            assert f"{name} is on the cluster already, and no stack of this program made it" in text, text
        assert "Traceback" not in text, text
        assert "ray-on-kubernetes:adopt=true" in text
    assert uids(api) == by_hand


@pytest.mark.usefixtures("by_hand")
def test_a_second_operator_is_refused_also_where_all_is_adopted(stack: Stack) -> None:
    before = stack.config_file.read_text()
    stack.configure(lambda settings: settings["kuberay"].update(namespace="ray-adopt-second"))
    run = stack.preview("--config", "ray-on-kubernetes:adopt=true", check=False)
    stack.config_file.write_text(before)
    assert run.code != 0
    assert f"Deployment {SYSTEM}/kuberay-operator: another KubeRay operator, which watches every namespace" in run.text


def test_an_up_that_adopts_takes_them_over_as_they_are(stack: Stack, api: Api, by_hand: dict[str, str]) -> None:
    stack.up("--config", "ray-on-kubernetes:adopt=true")
    stack.configure(lambda settings: settings.pop("adopt"))  # the engine has written it into the stack file
    assert uids(api) == by_hand
    live = api.get(RAYCLUSTER)
    assert live is not None
    assert live["spec"]["enableInTreeAutoscaling"] is True


def test_the_next_up_needs_no_word_and_changes_no_object(stack: Stack, api: Api, by_hand: dict[str, str]) -> None:
    run = stack.up()
    changed = {change.type for change in run.changes if change.operation != "same"}
    assert changed <= {"pulumi:providers:kubernetes"}, run.text
    stack.up("--expect-no-changes")
    assert uids(api) == by_hand


def renamed(stack: Stack) -> dict[str, str]:
    """Gives namespace and RayCluster in the state the URNs that a flat program of one's own would have given them.

    Returns the stack file's aliases: the new name to the old URN.
    """
    state = json.loads(stack.cli(["stack", "export", "--stack", stack.name], check=True).text)
    text = json.dumps(state)
    aliases = {}
    for kind, name, old in (
        ("core/v1:Namespace", NAMESPACE, "mine"),
        ("ray.io/v1:RayCluster", f"{NAMESPACE}/{CLUSTER}", "my-ray"),
    ):
        key = f"kubernetes:{kind}::{name}"
        (now,) = (one["urn"] for one in state["deployment"]["resources"] if one["urn"].endswith(f"${key}"))
        aliases[key] = FORMER.format(type=kind, name=old)
        text = text.replace(json.dumps(now), json.dumps(aliases[key]))
    changed = json.loads(text)
    root = next(one["urn"] for one in changed["deployment"]["resources"] if one["type"] == "pulumi:pulumi:Stack")
    for one in changed["deployment"]["resources"]:
        if one["urn"] in aliases.values():
            one["parent"] = root
    (stack.folder / "state.json").write_text(json.dumps(changed))
    stack.cli(["stack", "import", "--stack", stack.name, "--file", str(stack.folder / "state.json")], check=True)
    return aliases


def test_resources_with_another_urn_are_taken_over_by_aliases(stack: Stack, api: Api, by_hand: dict[str, str]) -> None:
    aliases = renamed(stack)
    without = stack.preview(check=False)
    assert {change.operation for change in without.changes} & {"create", "delete"}, without.text
    stack.configure(lambda settings: settings.update(aliases=aliases))
    run = stack.up()
    assert not {change.operation for change in run.changes} & {"create", "delete", "replace"}, run.text
    stack.configure(lambda settings: settings.pop("aliases"))
    stack.up("--expect-no-changes")
    assert uids(api) == by_hand


@pytest.mark.parametrize("name", ["adopt-other", "adopt"], ids=["another name", "the same name on another backend"])
def test_an_object_of_another_stack_is_refused_naming_its_owner(
    name: str, new_stack: Callable[..., Stack], stack: Stack, by_hand: dict[str, str]
) -> None:
    other = new_stack(name)
    other.config_file.write_text(stack.config_file.read_text())
    kept = ("namespace", "source", "version")
    other.configure(
        lambda settings: settings.update(
            kuberay={
                "operator": "existing",
                **{key: settings["kuberay"][key] for key in kept if key in settings["kuberay"]},
            }
        )
    )
    run = other.preview(check=False)
    assert run.code != 0
    assert "is on the cluster already, as urn:pulumi:adopt::ray-on-kubernetes::" in run.text, run.text
    assert "of another stack, or of a stack of the same name on another backend" in run.text, run.text


def test_an_alias_of_nothing_is_an_error(stack: Stack) -> None:
    wrong = {"kubernetes:core/v1:Namespace::ray-typo": FORMER.format(type="core/v1:Namespace", name="old")}
    before = stack.config_file.read_text()
    stack.configure(lambda settings: settings.update(aliases=wrong))
    run = stack.preview(check=False)
    stack.config_file.write_text(before)
    assert run.code != 0
    assert "the program has no kubernetes:core/v1:Namespace::ray-typo" in run.text, run.text
    assert f"kubernetes:core/v1:Namespace::{NAMESPACE}" in run.text
    assert "Traceback" not in run.text, run.text


def test_a_destroy_takes_what_was_adopted(stack: Stack, api: Api) -> None:
    stack.destroy()
    assert uids(api) == {}
    assert crds_on(api) == []
