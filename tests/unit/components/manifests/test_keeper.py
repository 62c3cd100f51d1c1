"""The objects of a keeper: its pod, its rights, and who reaches whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.manifests import access, keeper, quota
from components.manifests.contract import contract
from components.manifests.monitoring import keeper_labels, keeper_pod_monitor
from components.resources.raycluster import RayCluster
from components.settings import Settings, parse
from jobs.target import contract as schema
from tests.support.trees import VERSIONS, tree
from tests.unit.components.golden_cases import CASES, manifests, settings

IMAGE = {"image": "registry.example.com/rayjobs:0.1.0"}
SCRAPER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
KEPT = [name for name in CASES if name.startswith("keeper")]


def stack(monitoring: dict[str, Any] | None = None, **cluster: Any) -> Settings:
    return parse({"clusters": [{"keeper": IMAGE, **cluster}], "monitoring": monitoring or {}})


def outputs_of(wanted: Settings) -> dict[str, Any]:
    return contract(wanted, project="p", stack="dev", context="kind-ray", cluster_uid="6d3c")


def objects(wanted: Settings) -> dict[str, Any]:
    """The objects of the first cluster's keeper by their kind."""
    found = keeper.objects(wanted.clusters[0], wanted.monitoring, outputs_of(wanted))
    return {each["kind"]: each for each in found}


def pod(wanted: Settings) -> Any:
    return objects(wanted)["Deployment"]["spec"]["template"]


def test_the_objects_have_the_name_that_the_outputs_give_to_users() -> None:
    wanted = stack(name="mine")
    found = objects(wanted)
    assert {each["metadata"]["name"] for each in found.values()} == {"mine-keeper"}
    assert outputs_of(wanted)["clusters"][0]["keeper"] == {"service": "mine-keeper", "port": 8270}
    (port,) = found["Service"]["spec"]["ports"]
    assert port["port"] == 8270
    assert found["Service"]["spec"]["selector"] == pod(wanted)["metadata"]["labels"]


def test_a_cluster_without_a_keeper_has_none_of_its_objects_and_says_so_in_the_outputs() -> None:
    wanted = parse({})
    assert keeper.objects(wanted.clusters[0], wanted.monitoring, outputs_of(wanted)) == []
    assert outputs_of(wanted)["clusters"][0]["keeper"] is None


def test_the_pod_finds_its_own_cluster_and_no_way_of_another_machine() -> None:
    wanted = parse(
        {
            "kubeconfig": "/home/someone/kubeconfig",
            "monitoring": {"prometheusHost": "http://p.monitoring:9090"},
            "clusters": [{"name": "other"}, {"name": "mine", "keeper": IMAGE}],
        }
    )
    outputs = outputs_of(wanted)
    found = keeper.objects(wanted.clusters[1], wanted.monitoring, outputs)[-1]["spec"]["template"]
    text = found["metadata"]["annotations"][keeper.OUTPUTS_ANNOTATION]
    read = schema.parse(text, "the pod's outputs")
    assert [cluster.name for cluster in read.clusters] == ["mine"]
    assert (read.kubeconfig, read.kube_context, read.prometheus) == (None, None, None)
    # Names a job's place as a laptop with the same outputs does.
    assert (read.project, read.stack, read.cluster_uid) == ("p", "dev", "6d3c")
    assert read.cluster("mine") == schema.parse(json.dumps(outputs), "outputs").cluster("mine")
    (item,) = next(volume for volume in found["spec"]["volumes"] if volume["name"] == "outputs")["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{keeper.OUTPUTS_ANNOTATION}']"
    (container,) = found["spec"]["containers"]
    assert {"name": "RAYJOBS_OUTPUTS", "value": f"{keeper.OUTPUTS}/{item['path']}"} in container["env"]
    # `why` repeats options of the target in the commands that help.
    assert "--outputs" not in container["args"]


def test_the_keeper_reads_its_own_token_and_nothing_that_lets_it_change_or_run_something() -> None:
    rules = objects(stack(name="mine"))["Role"]["rules"]
    assert {verb for each in rules for verb in each["verbs"]} == {"get", "list"}
    names = {each["resources"][0]: each.get("resourceNames") for each in rules}
    assert names == {
        "secrets": ["mine"],
        "rayclusters": ["mine"],
        **dict.fromkeys(("pods", "events", "resourcequotas")),
    }
    assert "secrets" not in str(objects(stack(auth="disabled"))["Role"])
    own = objects(stack(auth={"secretName": "team-token"}, createNamespace=False))["Role"]["rules"]
    assert [each["resourceNames"] for each in own if each["resources"] == ["secrets"]] == [["team-token"]]


def test_only_the_keepers_pod_gets_the_token_of_its_account() -> None:
    wanted = stack()
    assert objects(wanted)["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod(wanted)["spec"]["automountServiceAccountToken"] is True
    assert pod(wanted)["spec"]["serviceAccountName"] == objects(wanted)["ServiceAccount"]["metadata"]["name"]


@pytest.mark.parametrize("name", KEPT)
def test_the_pod_is_one_that_pod_security_restricted_admits(name: str) -> None:
    (deployment,) = (
        each for each in manifests(settings(name)) if each["kind"] == "Deployment" and "keeper" in str(each["metadata"])
    )
    spec = deployment["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    kinds = {kind for volume in spec["volumes"] for kind in volume} - {"name"}
    assert kinds == {"persistentVolumeClaim", "downwardAPI", "emptyDir"}


def test_the_operator_does_not_take_the_keepers_pod_for_one_of_its_own() -> None:
    assert not [label for label in pod(stack())["metadata"]["labels"] if label.startswith("ray.io/")]


def test_the_probes_name_a_host_that_the_server_answers_to() -> None:
    (container,) = pod(stack())["spec"]["containers"]
    probes = {key: container[key]["httpGet"] for key in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {key: probe["path"] for key, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/healthz",
    }
    assert all(probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}] for probe in probes.values())


def policy(wanted: Settings) -> Any:
    return objects(wanted)["NetworkPolicy"]["spec"]


def callers(wanted: Settings) -> list[Any]:
    (rule,) = policy(wanted)["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8270}]
    return list(rule["from"])


def test_those_who_may_use_the_dashboard_reach_the_keeper_and_scrapers_where_there_are_some() -> None:
    namespace, everyone = {"podSelector": {}}, {"namespaceSelector": {}}
    peer = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    assert callers(stack()) == [namespace]
    assert callers(stack(networkPolicy={"allowFrom": [peer]})) == [namespace, peer]
    assert callers(stack({"podMonitor": True})) == [namespace, everyone]
    assert callers(stack({"scrapeAnnotations": True})) == [namespace, everyone]
    assert callers(stack({"podMonitor": True, "scrapeFrom": [SCRAPER]})) == [namespace, SCRAPER]


def test_without_a_token_no_pod_of_another_namespace_reads_the_jobs_unless_it_is_the_scraper() -> None:
    assert callers(stack({"podMonitor": True}, auth="disabled")) == [{"podSelector": {}}]
    scraped = stack({"podMonitor": True, "scrapeFrom": [SCRAPER]}, auth="disabled")
    assert callers(scraped) == [{"podSelector": {}}, SCRAPER]


def test_the_keeper_asks_ray_names_and_the_api_server_and_nobody_else() -> None:
    ray, names, api_server = policy(stack(name="mine"))["egress"]
    assert ray["to"] == [{"podSelector": {"matchLabels": {"ray.io/cluster": "mine"}}}]
    assert [port["port"] for port in ray["ports"]] == [8265, 52365]
    assert {(port["protocol"], port["port"]) for port in names["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert {port["port"] for port in api_server["ports"]} >= {443, 6443}
    assert policy(stack())["policyTypes"] == ["Ingress", "Egress"]


def test_the_agents_of_ray_let_the_keeper_in_and_no_other_pod() -> None:
    wanted = stack(name="mine")
    cluster = wanted.clusters[0]
    pods, _ = access.network_policies(cluster, wanted.kuberay, wanted.monitoring)
    (rule,) = (rule for rule in pods["spec"]["ingress"] if rule.get("ports") == [{"protocol": "TCP", "port": 52365}])
    assert rule["from"] == [{"podSelector": {"matchLabels": keeper_labels(cluster)}}]
    assert policy(wanted)["podSelector"]["matchLabels"] == keeper_labels(cluster)
    (without,) = parse({}).clusters
    assert "52365" not in str(access.network_policies(without, wanted.kuberay, wanted.monitoring)[0])


def test_a_cluster_without_network_policies_has_none_for_its_keeper() -> None:
    assert "NetworkPolicy" not in objects(stack(networkPolicy={"enabled": False}))


def test_the_engine_waits_for_the_pod_and_not_for_the_volume_or_a_suspended_cluster() -> None:
    def skips(wanted: Settings) -> set[str]:
        return {
            kind
            for kind, each in objects(wanted).items()
            if (each["metadata"].get("annotations") or {}).get("pulumi.com/skipAwait") == "true"
        }

    assert skips(stack()) == {"PersistentVolumeClaim", "Service"}
    assert skips(stack(suspend=True)) == {"PersistentVolumeClaim", "Service", "Deployment"}


def test_job_users_can_find_the_keeper_of_their_cluster() -> None:
    users = [{"kind": "Group", "name": "science"}]
    role, _ = access.job_users(stack(name="mine", jobUsers=users).clusters[0])
    services = [each["resourceNames"] for each in role["rules"] if each["resources"] == ["services"]]
    assert services == [["mine-head-svc"], ["mine-keeper"]]


def test_metrics_of_the_keeper_have_the_label_of_their_cluster() -> None:
    wanted = stack({"podMonitor": {"namespace": "monitoring"}}, name="mine", namespace="team")
    assert wanted.monitoring.pod_monitor
    monitor = keeper_pod_monitor(wanted.clusters[0], wanted.monitoring.pod_monitor)
    assert monitor["metadata"]["name"] == "team.mine-keeper"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "ray_io_cluster", "replacement": "mine"}]
    (container,) = pod(wanted)["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == [endpoint["port"]]
    assert monitor["spec"]["selector"]["matchLabels"] == pod(wanted)["metadata"]["labels"]


def test_a_quota_that_fits_has_room_for_the_keeper() -> None:
    def hard(**cluster: Any) -> Any:
        wanted = parse({"namespaces": {"ray-cluster": {"quota": "fit"}}, "clusters": [cluster]})
        (found,) = quota.objects(wanted, build_and_check(wanted, tree("v1.7.0")), "ray-cluster")
        return found["spec"]["hard"]

    without, with_keeper = hard(), hard(keeper=IMAGE)
    assert int(with_keeper["pods"]) == int(without["pods"]) + 1
    assert (
        int(with_keeper["requests.memory"].removesuffix("Mi"))
        == int(without["requests.memory"].removesuffix("Mi")) + 256
    )


@pytest.mark.parametrize("name", KEPT)
def test_the_command_of_the_pod_is_one_that_rayjobs_takes(name: str) -> None:
    from jobs.cli.keep import keep_command

    (container,) = pod(settings(name))["spec"]["containers"]
    command, *options = container["args"]
    context = keep_command.make_context(command, options)
    assert (command, context.params["data"], context.params["in_cluster"]) == ("keep", "/data", True)
    assert context.params["listen"] == "0.0.0.0:8270"


@pytest.mark.parametrize("version", VERSIONS)
def test_no_version_of_kuberay_refuses_the_pod(version: str) -> None:
    old = {"readiness": "state", "autoscaling": {"enabled": False}} if version == "v0.3.0" else {}
    cluster = {"keeper": IMAGE, "auth": "disabled", **old}
    wanted = parse({"kuberay": {"version": version}, "clusters": [cluster]})
    assert build_and_check(wanted, tree(version))


def test_a_field_of_the_pod_that_kubernetes_does_not_have_is_refused() -> None:
    wanted = stack(keeper={**IMAGE, "tolerations": [{"keys": "system"}]})
    with pytest.raises(StackError, match=r"pod of the keeper: spec.tolerations\[0\].keys: unknown field; did you mean"):
        build_and_check(wanted, tree("v1.7.0"))


def test_a_component_of_ones_own_has_to_say_which_outputs_its_keeper_gets() -> None:
    wanted = stack()
    with pytest.raises(StackError, match="requires the argument `outputs`"):
        RayCluster("ray", wanted.clusters[0], wanted.kuberay)
