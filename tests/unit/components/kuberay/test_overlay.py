"""The kustomize overlays, rendered by kubectl as Pulumi's provider renders them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.kuberay import overlay
from components.manifests import quota
from components.settings import parse
from tests.support.trees import VERSIONS, tree
from tests.unit.components.kustomize import kustomize


def rendered(tmp_path: Path, version: str = "v1.7.0", **kuberay: Any) -> dict[str, dict[str, Any]]:
    settings = parse({"kuberay": {"version": version, **kuberay}, "clusters": []}).kuberay
    _, operator = overlay.write(settings, tree(version), "test", root=tmp_path)
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in kustomize(tmp_path / operator)}


def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment/kuberay-operator"]["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_operator_goes_to_its_namespace_with_its_rights(version: str, tmp_path: Path) -> None:
    objects = rendered(tmp_path, version, namespace="somewhere")
    assert {one["metadata"].get("namespace", "somewhere") for one in objects.values()} == {"somewhere"}
    for binding in ("ClusterRoleBinding/kuberay-operator", "RoleBinding/kuberay-operator-leader-election"):
        assert [subject["namespace"] for subject in objects[binding]["subjects"]] == ["somewhere"]
    kinds = {name.split("/")[0] for name in objects}
    assert "Namespace" not in kinds
    assert "CustomResourceDefinition" not in kinds


@pytest.mark.parametrize(
    ("version", "kuberay", "image"),
    [
        ("v1.7.0", {}, "quay.io/kuberay/operator:v1.7.0"),
        ("v1.6.2", {}, "quay.io/kuberay/operator:v1.6.2"),
        ("v0.3.0", {}, "kuberay/operator:v0.3.0"),
        ("v1.7.0", {"imageRegistry": "mirror.example:5000/x/"}, "mirror.example:5000/x/kuberay/operator:v1.7.0"),
        ("v1.7.0", {"image": "r.example:5000/op:mine"}, "r.example:5000/op:mine"),
        ("v1.7.0", {"image": "r.example/op@sha256:" + "0" * 64}, "r.example/op@sha256:" + "0" * 64),
    ],
)
def test_the_operators_image(version: str, kuberay: dict[str, Any], image: str, tmp_path: Path) -> None:
    assert container(rendered(tmp_path, version, **kuberay))["image"] == image


def test_arguments_are_added_and_feature_gates_become_one_flag(tmp_path: Path) -> None:
    args = ["--reconcile-concurrency=4", "--feature-gates=RayCronJob=true"]
    assert container(rendered(tmp_path, args=args))["args"] == [
        "--feature-gates=RayClusterStatusConditions=true,RayCronJob=true",
        "--reconcile-concurrency=4",
    ]


def test_the_operators_resources_are_set(tmp_path: Path) -> None:
    sizes = container(rendered(tmp_path, resources={"cpu": "250m", "memory": "1Gi"}))["resources"]
    assert sizes == {"limits": {"cpu": "250m", "memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "1Gi"}}


def test_the_operator_may_use_more_cpu_than_it_requests(tmp_path: Path) -> None:
    sizes = container(rendered(tmp_path, resources={"cpu": "1", "requests": {"cpu": "100m"}}))["resources"]
    assert sizes["limits"] == {"cpu": "1", "memory": "512Mi"}
    assert sizes["requests"] == {"cpu": "100m", "memory": "512Mi"}


def test_without_settings_the_operator_has_upstreams_resources(tmp_path: Path) -> None:
    sizes = container(rendered(tmp_path))["resources"]["limits"]
    assert sizes == {"cpu": "100m", "memory": "512Mi"}


@pytest.mark.parametrize("version", VERSIONS)
def test_up_waits_for_an_operator_that_answers_and_not_for_its_metrics_service(version: str, tmp_path: Path) -> None:
    objects = rendered(tmp_path, version)
    probe = container(objects)["readinessProbe"]
    assert (probe["initialDelaySeconds"], probe["periodSeconds"], probe["httpGet"]["port"]) == (1, 2, "http")
    assert container(objects)["livenessProbe"]["initialDelaySeconds"] == 10
    assert objects["Service/kuberay-operator"]["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def test_a_readiness_probe_of_the_settings_wins(tmp_path: Path) -> None:
    own = {"name": "kuberay-operator", "readinessProbe": {"initialDelaySeconds": 60}}
    probe = container(rendered(tmp_path, podTemplate={"spec": {"containers": [own]}}))["readinessProbe"]
    assert (probe["initialDelaySeconds"], probe["periodSeconds"]) == (60, 2)


def test_the_bundled_apiserver_comes_only_when_asked_for(tmp_path: Path) -> None:
    assert "Service/kuberay-apiserver" not in rendered(tmp_path, "v0.3.0")
    asked = rendered(tmp_path, "v0.3.0", apiserver=True)
    assert asked["Service/kuberay-apiserver"]["spec"]["type"] == "NodePort"
    assert asked["Deployment/kuberay-apiserver"]["metadata"]["namespace"] == "ray-system"


def test_watched_namespaces_get_roles_and_no_right_on_the_whole_cluster(tmp_path: Path) -> None:
    settings = parse({"kuberay": {"watchNamespaces": ["team-a", "team-b"]}, "clusters": []}).kuberay
    _, operator = overlay.write(settings, tree("v1.7.0"), "test", root=tmp_path)
    objects = kustomize(tmp_path / operator)
    assert not [one for one in objects if one["kind"].startswith("ClusterRole")]
    roles = {one["metadata"]["namespace"]: one for one in objects if one["kind"] == "Role" and "ray.io" in str(one)}
    assert sorted(roles) == ["team-a", "team-b"]
    bindings = [one for one in objects if one["kind"] == "RoleBinding" and one["metadata"]["namespace"] == "team-a"]
    assert [subject["namespace"] for one in bindings for subject in one["subjects"]] == ["ray-system"]
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    assert "--watch-namespace=team-a,team-b" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert deployment["metadata"]["namespace"] == "ray-system"


def test_an_overlay_is_the_same_text_every_time(tmp_path: Path) -> None:
    settings = parse({"clusters": []}).kuberay
    for _ in range(2):
        _, operator = overlay.write(settings, tree("v1.7.0"), "test", root=tmp_path)
    text = (tmp_path / operator / "kustomization.yaml").read_text()
    assert not operator.is_absolute()
    assert "\n- /" not in text


def test_the_operators_pod_has_what_the_settings_say(tmp_path: Path) -> None:
    objects = rendered(
        tmp_path,
        replicas=2,
        env={"A_URL": "http://$(Z_HOST)", "Z_HOST": "22:22"},
        labels={"team": "1e3"},
        annotations={"sidecar.istio.io/inject": "false"},
        nodeSelector={"pool": "system"},
        tolerations=[{"key": "a", "operator": "Exists"}],
        priorityClassName="high",
        imagePullSecrets=["pull"],
        serviceAccount={"annotations": {"example.com/identity": "operator"}},
        podTemplate={
            "spec": {
                "tolerations": [{"key": "b", "operator": "Exists"}],
                "containers": [
                    {"name": "kuberay-operator", "livenessProbe": None, "envFrom": [{"configMapRef": {"name": "c"}}]},
                    {"name": "proxy", "image": "r.example/proxy:1"},
                ],
            }
        },
    )
    spec = objects["Deployment/kuberay-operator"]["spec"]
    template = spec["template"]
    own, proxy = template["spec"]["containers"]
    assert spec["replicas"] == 2
    assert own["env"] == [{"name": "Z_HOST", "value": "22:22"}, {"name": "A_URL", "value": "http://$(Z_HOST)"}]
    assert own["image"] == "quay.io/kuberay/operator:v1.7.0"
    assert own["command"] == ["/manager"]
    assert "readinessProbe" in own
    assert "livenessProbe" not in own
    assert own["envFrom"] == [{"configMapRef": {"name": "c"}}]
    assert proxy["image"] == "r.example/proxy:1"
    assert template["metadata"]["labels"] == {**spec["selector"]["matchLabels"], "team": "1e3"}
    assert template["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert template["spec"]["nodeSelector"] == {"pool": "system"}
    assert [each["key"] for each in template["spec"]["tolerations"]] == ["a", "b"]
    assert template["spec"]["priorityClassName"] == "high"
    assert template["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert template["spec"]["serviceAccountName"] == "kuberay-operator"
    account = objects["ServiceAccount/kuberay-operator"]["metadata"]
    assert account["annotations"] == {"example.com/identity": "operator"}
    assert account["namespace"] == "ray-system"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_takes_settings_of_the_pod(version: str, tmp_path: Path) -> None:
    objects = rendered(
        tmp_path,
        version,
        env={"A": "x"},
        replicas=2,
        imagePullSecrets=["pull"],
        serviceAccount={"annotations": {"a": "b"}},
    )
    assert container(objects)["env"] == [{"name": "A", "value": "x"}]
    assert objects["Deployment/kuberay-operator"]["spec"]["replicas"] == 2
    assert objects["ServiceAccount/kuberay-operator"]["metadata"]["annotations"] == {"a": "b"}


def test_a_label_by_which_the_deployment_selects_its_pods_stays(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"kuberay\.labels\.app\.kubernetes\.io/name: .*remove it"):
        rendered(tmp_path, labels={"app.kubernetes.io/name": "mine"})


def test_names_that_look_like_numbers_or_booleans_stay_names(tmp_path: Path) -> None:
    env = {"N": "y", "YES": "off", "_": "0X1F"}
    objects = rendered(tmp_path, namespace="1e3", image="r.example/operator:1e10", env=env)
    assert container(objects)["env"] == [{"name": name, "value": value} for name, value in env.items()]
    assert objects["Deployment/kuberay-operator"]["metadata"]["namespace"] == "1e3"
    assert container(objects)["image"] == "r.example/operator:1e10"


@pytest.mark.parametrize(
    ("kuberay", "problem"),
    [
        ({"podTemplate": {"spec": {"containers": [{"name": "kuberay-operator", "image": "x"}]}}}, "allowed: `image`"),
        ({"podTemplate": {"spec": {"containers": [{"name": "kuberay-operator", "args": []}]}}}, "allowed: `args`"),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "kuberay-operator", "resources": {}}]}}},
            "allowed: `resources`",
        ),
        ({"replicas": 2, "args": ["--enable-leader-election=false"]}, "all pods of the operator would act at once"),
        ({"replicas": 0}, "kuberay.replicas"),
        ({"resources": {"requests": {"cpu": "200m"}}}, "kuberay.resources.requests.cpu"),
        ({"resources": {"cpu": 1, "requests": {"cpu": 2}}}, "above the limit; allowed: up to 1"),
        ({"operator": "existing", "resources": {"requests": {"cpu": "50m"}}}, "kuberay.resources: set, but"),
        ({"env": {"A": "$(B)", "B": "$(A)"}}, "in a circle"),
        ({"env": {"PATH": "/x:$(PATH)"}}, "refers to itself"),
        ({"operator": "existing", "env": {"A": "x"}}, "kuberay.env: set, but the stack does not install"),
        ({"operator": "existing", "podTemplate": {"spec": {}}}, "kuberay.podTemplate: set, but"),
        ({"operator": "existing", "serviceAccount": {"annotations": {"a": "b"}}}, "kuberay.serviceAccount: set, but"),
    ],
)
def test_settings_of_the_operators_pod_that_cannot_work_are_refused(kuberay: dict[str, Any], problem: str) -> None:
    with pytest.raises(StackError) as caught:
        parse({"kuberay": kuberay, "clusters": []})
    assert problem in str(caught.value)


def test_a_quota_that_fits_counts_all_pods_of_the_operator() -> None:
    proxy = {"name": "proxy", "image": "x", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
    kuberay = {"replicas": 2, "podTemplate": {"spec": {"containers": [proxy]}}}
    settings = parse({"kuberay": kuberay, "clusters": [], "namespaces": {"ray-system": {"quota": "fit"}}})
    (limits,) = quota.objects(settings, [], "ray-system")
    assert limits["spec"]["hard"] == {"requests.cpu": "300m", "requests.memory": "1152Mi", "pods": "2"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", [{}, {"tolerations": [{"key": "a", "operator": "Exists"}], "env": {"A": "x"}}])
def test_the_operators_pod_is_accepted(version: str, case: dict[str, Any]) -> None:
    assert build_and_check(parse({"kuberay": {"version": version, **case}, "clusters": []}), tree(version)) == []


@pytest.mark.parametrize(
    ("kuberay", "problem"),
    [
        (
            {"tolerations": [{"key": "a", "value": 10}]},
            "spec.tolerations[0].value: 10 is not of type 'string'; write it in",
        ),
        ({"podTemplate": {"metadata": {"annotations": {"a": 1.1}}}}, "metadata.annotations.a: 1.1 is not of type"),
        (
            {"podTemplate": {"spec": {"tolerance": []}}},
            "spec.tolerance: unknown field; did you mean tolerations? allowed: ",
        ),
        (
            {
                "podTemplate": {
                    "spec": {"containers": [{"name": "kuberay-operator", "env": [{"name": "A", "value": 1}]}]}
                }
            },
            "spec.containers[0].env[0].value: (value not shown)",
        ),
    ],
)
def test_the_operators_pod_is_checked_as_those_of_ray(kuberay: dict[str, Any], problem: str) -> None:
    with pytest.raises(StackError) as caught:
        build_and_check(parse({"kuberay": kuberay, "clusters": []}), tree("v1.7.0"))
    assert f"kuberay, pod of the operator: {problem}" in str(caught.value)
