"""What `__main__.py` registers, with which options: the real program under Pulumi's mocks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.cluster.api import Api
from components.cluster.crds import CRDS_PATH
from components.errors import Forbidden
from components.kuberay.crds import crd_documents
from tests.support.api_server import UID, api_server
from tests.support.trees import tree
from tests.unit.components.recording import Graph, run_program

RAYCLUSTER = "kubernetes:ray.io/v1:RayCluster"
NAMESPACE = "kubernetes:core/v1:Namespace"
OPERATOR = "ray-on-kubernetes:kuberay:Operator"
CRDS = "ray-on-kubernetes:kuberay:CRDs"
PROVIDER = "pulumi:providers:kubernetes"


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[str]:
    with api_server(tmp_path) as path:
        yield str(path)


def live(kubeconfig: str, **config: Any) -> Graph:
    kuberay = {"source": str(tree("v1.7.0")), **config.pop("kuberay", {})}
    return run_program({"kubeconfig": kubeconfig, "kuberay": kuberay, **config})


def render(**config: Any) -> Graph:
    kuberay = {"source": str(tree("v1.7.0")), **config.pop("kuberay", {})}
    return run_program({"renderTo": "rendered", "kuberay": kuberay, **config})


def directory(graph: Graph, component: str) -> Any:
    found = [r for r in graph.of_type("kubernetes:kustomize/v2:Directory") if component in r.parent]
    assert len(found) == 1
    return found[0]


def test_destroy_takes_raycluster_then_operator_then_crds_and_namespaces(kubeconfig: str) -> None:
    graph = live(kubeconfig)
    ray, operator = graph.one(RAYCLUSTER), directory(graph, OPERATOR)
    assert graph.waits_for(ray, operator)
    assert graph.waits_for(ray, graph.one(NAMESPACE, "ray-cluster"))
    assert graph.waits_for(operator, graph.one(NAMESPACE, "ray-system"))
    crds = next(r for r in graph.registered if CRDS in r.parent)
    assert graph.waits_for(operator, crds)
    assert graph.waits_for(ray, crds)


@pytest.mark.parametrize("mode", ["live", "render"])
def test_every_kubernetes_resource_goes_through_the_stacks_own_provider(mode: str, kubeconfig: str) -> None:
    graph = live(kubeconfig) if mode == "live" else render()
    provider = graph.one(PROVIDER)
    ours = [r for r in graph.registered if r.type.startswith("kubernetes:")]
    assert len(ours) >= 4
    assert {r.provider.rsplit("::", 1)[0] for r in ours} == {provider.urn}


def test_the_provider_is_tied_to_context_and_identity_of_the_cluster(kubeconfig: str) -> None:
    graph = live(kubeconfig)
    provider = graph.one(PROVIDER)
    named = ("kubeconfig", "context", "clusterIdentifier")
    assert {key: provider.inputs[key] for key in named} == dict(zip(named, (kubeconfig, "test", UID), strict=True))
    identity = next(r for r in graph.registered if r.type.endswith("ClusterIdentity"))
    assert graph.waits_for(provider, identity)
    assert identity.inputs["uid"] == UID
    assert graph.waits_for(next(r for r in graph.registered if r.custom and CRDS in r.parent), identity)


def test_what_asks_for_the_clusters_identity_before_a_destroy_is_the_first_to_go(kubeconfig: str) -> None:
    graph = live(kubeconfig)
    guard = next(r for r in graph.registered if r.type.endswith("ClusterGuard"))
    assert guard.inputs["uid"] == UID
    for resource in graph.registered:
        if resource.custom and resource.urn != guard.urn:
            assert graph.waits_for(guard, resource), resource.urn


def test_without_a_kubeconfig_setting_this_machines_path_stays_out_of_the_state(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    graph = run_program({"kuberay": {"source": str(tree("v1.7.0"))}})
    assert graph.one(PROVIDER).inputs["kubeconfig"] == ""


def test_the_crds_do_not_go_through_the_engine(kubeconfig: str) -> None:
    graph = live(kubeconfig)
    assert len(str([r.inputs for r in graph.registered if CRDS in r.parent])) < 20_000


def test_render_mode_touches_no_cluster_and_renders_the_crds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/a/kubeconfig")
    graph = render()
    assert graph.one(PROVIDER).inputs["renderYamlToDirectory"] == "rendered"
    assert not graph.one(PROVIDER).inputs.get("kubeconfig")
    assert directory(graph, CRDS).inputs["directory"] == ".cache/overlays/test/crds"
    assert not [r for r in graph.registered if "ClusterIdentity" in r.type]
    assert graph.outputs["contract"]["clusterUid"] is None


def test_a_setting_that_looks_like_a_mistake_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lines.append)
    render(clusters=[{"image": "rayproject/ray:2.55.0", "rayVersion": "2.56.0"}])
    (line,) = lines
    assert line.startswith('clusters[0].image: "rayproject/ray:2.55.0": its tag looks like Ray 2.55.0')


def test_a_namespace_said_to_exist_is_used_and_never_declared(tmp_path: Path) -> None:
    with api_server(tmp_path, {"/api/v1/namespaces/default": {"metadata": {"name": "default"}}}) as path:
        graph = live(str(path), clusters=[{"namespace": "default", "createNamespace": False}])
    assert [r.name for r in graph.of_type(NAMESPACE)] == ["ray-system"]
    assert graph.one(RAYCLUSTER).inputs["metadata"]["namespace"] == "default"


def test_two_clusters_share_a_namespace_and_stand_side_by_side(kubeconfig: str) -> None:
    graph = live(kubeconfig, clusters=[{}, {"name": "second"}, {"name": "third", "namespace": "other"}])
    assert len(graph.of_type(RAYCLUSTER)) == 3
    assert sorted(r.name for r in graph.of_type(NAMESPACE)) == ["other", "ray-cluster", "ray-system"]
    first, second, _ = graph.of_type(RAYCLUSTER)
    assert not graph.waits_for(second, first)


def test_the_wait_for_readiness_has_the_configured_end(kubeconfig: str) -> None:
    graph = live(kubeconfig, clusters=[{"readyTimeoutSeconds": 90, "deleteTimeoutSeconds": 400}])
    assert graph.one(RAYCLUSTER).timeouts == {"create": "90s", "update": "90s", "delete": "400s"}


def test_protect_holds_raycluster_and_namespaces(kubeconfig: str) -> None:
    graph = live(kubeconfig, protect=True)
    assert graph.one(RAYCLUSTER).protect
    assert all(r.protect for r in graph.of_type(NAMESPACE))
    assert not live(kubeconfig).one(RAYCLUSTER).protect


def test_a_protected_stack_that_goes_to_whatever_context_is_current_is_warned_about(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda text, *_: said.append(text))
    live(kubeconfig, protect=True, kubeContext="test")
    live(kubeconfig)
    assert said == []
    live(kubeconfig, protect=True)
    assert len(said) == 1
    assert "this stack goes to the current context, test" in said[0]


KEPT = {"keeper": {"image": "registry.example.com/rayjobs:0.1.0"}}
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
DEFAULT_CLASS = {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
WITH_STORAGE = {
    CLASSES: {"items": [{"metadata": DEFAULT_CLASS}]},
    "/api/v1/namespaces/ray-cluster": {"metadata": {"name": "ray-cluster"}},
}


def kept(
    tmp_path: Path, keeper: dict[str, Any] | None = None, *, create_namespace: bool = False, **config: Any
) -> Graph:
    cluster = {"createNamespace": create_namespace, "keeper": {**KEPT["keeper"], **(keeper or {})}}
    with api_server(tmp_path, WITH_STORAGE) as path:
        return live(str(path), clusters=[cluster], **config)


def of_keeper(graph: Graph, kind: str) -> Any:
    (found,) = (r for r in graph.registered if r.name == f"ray-cluster/{kind}/raycluster-autoscaler-keeper")
    return found


def test_up_waits_until_the_keeper_keeps_and_its_volume_goes_after_its_pod(tmp_path: Path) -> None:
    graph = kept(tmp_path, {"readyTimeoutSeconds": 90})
    deployment, volume = of_keeper(graph, "Deployment"), of_keeper(graph, "PersistentVolumeClaim")
    assert deployment.timeouts == {"create": "90s", "update": "90s"}
    assert graph.waits_for(deployment, graph.one(RAYCLUSTER))
    for kind in ("PersistentVolumeClaim", "Role", "RoleBinding", "ServiceAccount", "NetworkPolicy"):
        assert graph.waits_for(deployment, of_keeper(graph, kind)), kind
    assert not graph.waits_for(volume, graph.one(RAYCLUSTER))
    outputs = deployment.inputs["spec"]["template"]["metadata"]["annotations"]["ray-on-kubernetes/outputs"]
    assert json.loads(outputs)["clusters"] == graph.outputs["contract"]["clusters"]
    guard = next(r for r in graph.registered if r.type.endswith("ClusterGuard"))
    assert graph.waits_for(guard, deployment)


@pytest.mark.parametrize("retain", [True, False])
def test_the_volume_of_a_keeper_stays_only_when_told_to_and_is_protected_with_the_stack(
    retain: bool, tmp_path: Path
) -> None:
    graph = kept(tmp_path, {"retain": retain}, protect=retain)
    volume = of_keeper(graph, "PersistentVolumeClaim")
    assert (volume.retain, volume.protect) == (retain, retain)
    # Another class is refused before; the engine would delete the volume.
    assert volume.ignored == ["spec.storageClassName"]
    others = [r for r in graph.registered if "-keeper" in r.name and r.urn != volume.urn]
    assert not any(r.retain or r.protect for r in others)


@pytest.mark.parametrize("retain", [True, False])
def test_a_namespace_of_the_stack_stays_with_the_volume_in_it(retain: bool, tmp_path: Path) -> None:
    graph = kept(tmp_path, {"retain": retain}, create_namespace=True)
    (namespace,) = (r for r in graph.registered if r.type == "kubernetes:core/v1:Namespace" and r.name == "ray-cluster")
    assert namespace.retain == retain
    annotations = namespace.inputs["metadata"].get("annotations") or {}
    assert ("ray-on-kubernetes/retain" in annotations) == retain


def test_a_stack_without_a_keeper_has_nothing_of_it(kubeconfig: str) -> None:
    assert not [r for r in live(kubeconfig).registered if "eeper" in r.type or "eeper" in r.name]


def test_render_mode_writes_the_keeper_too() -> None:
    graph = render(clusters=[{"keeper": KEPT["keeper"]}])
    assert of_keeper(graph, "Deployment")


KINDS = [{"kind": "PodMonitor"}, {"kind": "PrometheusRule"}]
OPERATOR_OF_PROMETHEUS = {"/apis/monitoring.coreos.com/v1": {"resources": KINDS}}
DASHBOARDS = {"namespace": "monitoring"}
MONITORED = {"podMonitor": True, "rules": True, "dashboards": DASHBOARDS}


def test_monitoring_is_created_beside_everything_else_and_is_gone_before_its_namespaces(tmp_path: Path) -> None:
    there = {"/api/v1/namespaces/monitoring": {"metadata": {"name": "monitoring"}}, **OPERATOR_OF_PROMETHEUS}
    with api_server(tmp_path, there) as path:
        graph = live(str(path), monitoring=MONITORED)
    monitors = [r for r in graph.registered if r.type.startswith("kubernetes:monitoring.coreos.com/v1:")]
    assert sorted(r.name for r in monitors) == [
        "ray-cluster/PodMonitor/raycluster-autoscaler",
        "ray-system/PodMonitor/kuberay-operator",
    ]
    ray, applied = graph.one(RAYCLUSTER), next(r for r in graph.registered if "monitoring:Objects" in r.type)
    for resource in [*monitors, applied]:
        assert not graph.waits_for(ray, resource)
        assert not graph.waits_for(resource, ray)
        assert graph.waits_for(resource, graph.one(NAMESPACE, "ray-cluster"))
    # Their content goes around the engine, as that of the CRDs.
    assert len(str(applied.inputs)) < 3_000
    kinds = [name.partition(" ")[0] for name in applied.inputs["objects"]]
    assert (kinds.count("ConfigMap"), kinds.count("PrometheusRule")) == (9, 2)


def test_render_mode_writes_the_dashboards_too() -> None:
    graph = render(monitoring=MONITORED)
    names = [r.name for r in graph.of_type("kubernetes:core/v1:ConfigMap")]
    assert "monitoring/ConfigMap/ray-default-dashboard" in names
    assert len(names) == 9


def test_without_the_setting_nothing_is_monitored(kubeconfig: str) -> None:
    assert not [r for r in live(kubeconfig).registered if "onitor" in r.type]


OLD = "urn:pulumi:test::ray-on-kubernetes::kubernetes:core/v1:Namespace::mine"


def test_a_resource_that_had_another_urn_is_registered_with_it(kubeconfig: str) -> None:
    graph = live(kubeconfig, aliases={f"{NAMESPACE}::ray-cluster": OLD})
    assert graph.one(NAMESPACE, "ray-cluster").aliases == [OLD]
    assert [r.name for r in graph.registered if r.aliases] == ["ray-cluster"]


def test_an_alias_of_a_resource_that_is_not_there_is_an_error(kubeconfig: str) -> None:
    text = problem(kubeconfig, aliases={f"{NAMESPACE}::ray-typo": OLD})
    assert f"the program has no {NAMESPACE}::ray-typo" in text
    assert f"{NAMESPACE}::ray-cluster" in text


def test_adopting_takes_over_the_crds_too_and_wins_conflicts(kubeconfig: str) -> None:
    adopting, usual = live(kubeconfig, adopt=True), live(kubeconfig)
    assert [next(r for r in graph.registered if CRDS in r.parent).inputs["adopt"] for graph in (adopting, usual)] == [
        True,
        False,
    ]
    assert "enablePatchForce" in adopting.one(PROVIDER, "cluster").inputs
    assert "enablePatchForce" not in usual.one(PROVIDER, "cluster").inputs


def test_a_secure_value_in_a_clusters_env_is_taken() -> None:
    config = {"renderTo": "rendered", "kuberay": {"source": str(tree("v1.7.0"))}, "clusters": [{}]}
    assert run_program(config, secure=["clusters"]).one(RAYCLUSTER)


def test_a_secure_value_that_would_be_plain_in_the_state_is_refused() -> None:
    with pytest.raises(pulumi.RunError, match=r"kuberay: holds a secure value.*`env`"):
        run_program({"kuberay": {}}, secure=["kuberay"])


@pytest.mark.parametrize("retain", [True, False])
def test_crds_stay_after_destroy_only_when_told_to(retain: bool, kubeconfig: str) -> None:
    graph = live(kubeconfig, kuberay={"retainCrds": retain})
    assert {r.retain for r in graph.registered if CRDS in r.parent} == {retain}


def existing(version: str = "v1.7.0", image: str = "quay.io/kuberay/operator:v1.7.0", *args: str) -> dict[str, Any]:
    crd = next(d for d in crd_documents(tree(version)) if d["metadata"]["name"] == "rayclusters.ray.io")
    operator = {
        "metadata": {"name": "kuberay-operator", "namespace": "ray-system"},
        "spec": {"template": {"spec": {"containers": [{"image": image, "args": list(args)}]}}},
        "status": {"availableReplicas": 1},
    }
    return {
        f"{CRDS_PATH}/rayclusters.ray.io": crd,
        "/apis/apps/v1/namespaces/ray-system/deployments": {"items": [operator]},
    }


def test_an_existing_operator_is_used_and_nothing_of_it_declared(tmp_path: Path) -> None:
    with api_server(tmp_path, existing()) as path:
        graph = live(str(path), kuberay={"operator": "existing"})
    assert not [r for r in graph.registered if r.type in (OPERATOR, CRDS)]
    assert [r.name for r in graph.of_type(NAMESPACE)] == ["ray-cluster"]


def problem(kubeconfig: str, **config: Any) -> str:
    with pytest.raises(pulumi.RunError) as caught:
        live(kubeconfig, **config)
    return str(caught.value)


def test_an_existing_operator_of_another_version_is_refused(tmp_path: Path) -> None:
    with api_server(tmp_path, existing("v1.6.2", "quay.io/kuberay/operator:v1.6.2")) as path:
        text = problem(str(path), kuberay={"operator": "existing"})
    assert "v1.6.2" in text
    assert "networkPolicy" in text


def test_an_existing_operator_that_is_not_there_is_said_to_be_missing(kubeconfig: str) -> None:
    text = problem(kubeconfig, kuberay={"operator": "existing"})
    assert "rayclusters.ray.io is not installed" in text
    assert "no operator in namespace ray-system" in text


def test_a_cluster_where_the_existing_operator_does_not_watch_is_refused_naming_where_it_does(tmp_path: Path) -> None:
    with api_server(tmp_path, existing("v1.7.0", "kuberay/operator:v1.7.0", "--watch-namespace=team-a,team-b")) as path:
        text = problem(str(path), kuberay={"operator": "existing"})
        watched = {"kuberay": {"operator": "existing"}, "clusters": [{"namespace": "team-a"}]}
        assert live(str(path), **watched).one(RAYCLUSTER)
    assert "RayCluster ray-cluster/raycluster-autoscaler: the operator in namespace ray-system does not watch" in text
    assert "allowed: team-a, team-b" in text


def somebodys(*args: str, **annotations: str) -> dict[str, Any]:
    """A list of Deployments with an operator in a namespace of its own."""
    metadata = {"name": "kuberay-operator", "namespace": "default", "annotations": annotations}
    spec = {"template": {"spec": {"containers": [{"image": "kuberay/operator:v1.7.0", "args": list(args)}]}}}
    return {"/apis/apps/v1/deployments": {"items": [{"metadata": metadata, "spec": spec}]}}


@pytest.mark.parametrize(
    ("args", "ours"), [((), []), ((), ["ray-cluster"]), (("--watch-namespace", "ray-cluster"), ["ray-cluster"])]
)
def test_a_second_operator_for_the_same_rayclusters_is_refused(
    args: tuple[str, ...], ours: list[str], tmp_path: Path
) -> None:
    with api_server(tmp_path, somebodys(*args)) as path:
        text = problem(str(path), kuberay={"watchNamespaces": ours})
    assert "Deployment default/kuberay-operator: another KubeRay operator, which watches" in text
    assert "operator: existing, namespace: default" in text


def test_operators_with_namespaces_of_their_own_stand_side_by_side(tmp_path: Path) -> None:
    with api_server(tmp_path, somebodys("--watch-namespace=other")) as path:
        assert live(str(path), kuberay={"watchNamespaces": ["ray-cluster"]}).one(RAYCLUSTER)


def by_file() -> dict[str, Any]:
    """Somebody's operator as the Helm chart makes it with `configuration.enabled`."""
    found = somebodys("--config", "/etc/kuberay/config.yaml")
    (deployment,) = found["/apis/apps/v1/deployments"]["items"]
    deployment["spec"]["template"]["spec"]["volumes"] = [
        {"name": "logs", "emptyDir": {}},
        {"name": "operator-config", "configMap": {"name": "kuberay-operator-config"}},
    ]
    return found


@pytest.mark.parametrize(("watched", "refused"), [("other,more", False), ("other,ray-cluster", True), ("", True)])
def test_an_operator_with_its_settings_in_a_file_is_read_from_there(
    watched: str, refused: bool, tmp_path: Path
) -> None:
    settings = {"data": {"config.yaml": f'kind: Configuration\nwatchNamespace: "{watched}"\n'}}
    objects = {**by_file(), "/api/v1/namespaces/default/configmaps/kuberay-operator-config": settings}
    with api_server(tmp_path, objects) as path:
        if refused:
            text = problem(str(path), kuberay={"watchNamespaces": ["ray-cluster"]})
            assert "another KubeRay operator" in text
        else:
            assert live(str(path), kuberay={"watchNamespaces": ["ray-cluster"]}).one(RAYCLUSTER)


def test_the_stacks_own_operator_may_move_to_another_namespace(tmp_path: Path) -> None:
    own = somebodys(**{"ray-on-kubernetes/urn": "urn:pulumi:test::ray-on-kubernetes::x::kuberay-operator"})
    with api_server(tmp_path, own) as path:
        assert live(str(path)).one(RAYCLUSTER)


def test_who_may_not_look_for_other_operators_goes_on(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, get = [], Api.get

    def refusing(api: Api, path: str, **params: str) -> dict[str, Any] | None:
        if path == "/apis/apps/v1/deployments":
            asked.append(path)
            raise Forbidden("not allowed")
        return get(api, path, **params)

    monkeypatch.setattr(Api, "get", refusing)
    assert live(kubeconfig).one(RAYCLUSTER)
    assert asked


def test_a_namespace_that_is_being_deleted_stops_up_before_anything(tmp_path: Path) -> None:
    dying = {"metadata": {"name": "ray-cluster", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    with api_server(tmp_path, {"/api/v1/namespaces/ray-cluster": dying}) as path:
        assert "namespace ray-cluster: being deleted" in problem(str(path))


def test_a_namespace_said_to_exist_that_does_not_is_named(kubeconfig: str) -> None:
    text = problem(kubeconfig, clusters=[{"namespace": "nowhere", "createNamespace": False}])
    assert "namespace nowhere: not there" in text


def test_a_secret_that_is_missing_or_lacks_its_key_is_named_before_anything(tmp_path: Path) -> None:
    clusters = [{"auth": {"secretName": "mine"}, "head": {"env": {"A": {"secret": "other", "key": "k"}}}}]
    with api_server(tmp_path, {"/api/v1/namespaces/ray-cluster/secrets/mine": {"data": {"x": "eA=="}}}) as path:
        text = problem(str(path), clusters=clusters)
    assert "Secret ray-cluster/mine, which cluster raycluster-autoscaler is to use: it has no key auth_token" in text
    assert "Secret ray-cluster/other" in text


def test_the_outputs_are_the_contract_and_flat_names(kubeconfig: str) -> None:
    outputs = live(kubeconfig).outputs
    assert outputs["contract"] == {
        "schemaVersion": 1,
        "project": "ray-on-kubernetes",
        "stack": "test",
        "kubeconfig": kubeconfig,
        "kubeContext": "test",
        "clusterUid": UID,
        "operator": {"namespace": "ray-system", "version": "v1.7.0"},
        "prometheus": None,
        "clusters": [
            {
                "name": "raycluster-autoscaler",
                "namespace": "ray-cluster",
                "headService": "raycluster-autoscaler-head-svc",
                "dashboardPort": 8265,
                "rayVersion": "2.60.0",
                "externalUrl": None,
                "authSecret": {"name": "raycluster-autoscaler", "key": "auth_token"},
                "keeper": None,
            }
        ],
    }
    assert {key: value for key, value in outputs.items() if key != "contract"} == {
        "namespace": "ray-cluster",
        "cluster": "raycluster-autoscaler",
        "headService": "raycluster-autoscaler-head-svc",
        "dashboardPort": 8265,
        "rayVersion": "2.60.0",
        "operatorNamespace": "ray-system",
        "operatorVersion": "v1.7.0",
        "kubeContext": "test",
    }


def test_without_token_authentication_the_contract_names_no_secret(kubeconfig: str) -> None:
    outputs = live(kubeconfig, clusters=[{"auth": "disabled"}]).outputs
    assert outputs["contract"]["clusters"][0]["authSecret"] is None


def test_a_secret_of_ones_own_is_named_in_the_contract(tmp_path: Path) -> None:
    with api_server(
        tmp_path, {"/api/v1/namespaces/ray-cluster/secrets/mine": {"data": {"auth_token": "eA=="}}}
    ) as path:
        outputs = live(str(path), clusters=[{"auth": {"mode": "token", "secretName": "mine"}}]).outputs
    assert outputs["contract"]["clusters"][0]["authSecret"] == {"name": "mine", "key": "auth_token"}


def test_wrong_settings_register_nothing() -> None:
    with pytest.raises(pulumi.RunError, match="unknown key"):
        run_program({"clusterz": []})


def test_every_component_is_of_this_project_and_parents_its_children(kubeconfig: str) -> None:
    graph = live(kubeconfig)
    components = [r for r in graph.registered if r.type.startswith("ray-on-kubernetes:")]
    assert {r.type for r in components} == {
        "ray-on-kubernetes:namespace:Namespace",
        "ray-on-kubernetes:kuberay:CRDs",
        "ray-on-kubernetes:kuberay:Operator",
        "ray-on-kubernetes:raycluster:RayCluster",
    }
    urns = {r.urn for r in components}
    for resource in graph.registered:
        if resource.type.startswith("kubernetes:"):
            assert resource.parent in urns, resource.urn


def test_a_number_in_the_place_of_a_text_has_the_text_of_the_stack_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine gives values only; the program reads the file beside them, in the project's folder."""
    monkeypatch.chdir(tmp_path)
    clusters = [{"head": {"env": {"N": 4, "MODE": 493}}}]
    with pytest.raises(pulumi.RunError, match=r"env\.MODE: .*write it in quotes") as caught:
        render(clusters=clusters)
    assert "env.N: " in str(caught.value), "without a file no text is known"
    file = "config:\n  ray-on-kubernetes:clusters:\n  - head: {env: {N: 4, MODE: 0755}}\n"
    (tmp_path / "Pulumi.test.yaml").write_text(file)
    with pytest.raises(pulumi.RunError, match=r"env\.MODE: ") as caught:
        render(clusters=clusters)
    assert "env.N: " not in str(caught.value)
    (tmp_path / "Pulumi.test.yaml").write_text(file.replace("0755", "493"))
    spec = render(clusters=clusters).one(RAYCLUSTER).inputs["spec"]
    env = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "N", "value": "4"}, {"name": "MODE", "value": "493"}]
