"""The alerts: each fires when it should, and at no other time, as Prometheus itself evaluates them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from components.manifests import alerts
from components.settings import parse
from components.settings.raycluster import RayClusterSettings
from tests.support.promtool import check_rules, check_samples, unknown_metrics

GROUPED = {"workerGroups": {"gpu": {"min": 2, "numOfHosts": 2}, "spot": {"min": 0}}}
FIXED = {"autoscaling": {"enabled": False}, "workerGroups": {"gpu": {"min": 1, "max": 5, "replicas": 3}}}
V1 = {"autoscaling": {"version": "v1"}}
TLS = {"ingress": {"host": "ray.example.com", "tlsSecret": "tls", "controllerNamespace": "ingress"}}
SUSPENDED = {"suspend": True}
TOLERANT = {"faultTolerance": {"redis": {"inCluster": True}}}
KEPT = {"keeper": {"image": "r.example/rayjobs:0.1.0"}}
ALL: dict[str, dict[str, Any]] = {
    "default": {},
    "grouped": GROUPED,
    "fixed": FIXED,
    "v1": V1,
    "tls": TLS,
    "suspended": SUSPENDED,
    "suspended-without-secrets": {**SUSPENDED, "auth": "disabled"},
    "kept": KEPT,
    "kept-suspended": {**KEPT, **SUSPENDED},
}


def cluster(**settings: Any) -> RayClusterSettings:
    (found,) = parse({"clusters": [{"name": "ray", "namespace": "team", **settings}]}).clusters
    return found


def groups(settings: Mapping[str, Any]) -> Any:
    return alerts.cluster_rules(cluster(**settings), {}, "team")["spec"]["groups"]


def operator_groups() -> Any:
    return alerts.operator_rules(parse({}).kuberay, {}, "ray-system")["spec"]["groups"]


def named(metric: str, **labels: str) -> str:
    wanted = {"namespace": "team", "ray_io_cluster": "ray", **labels}
    return f"{metric}{{{','.join(f'{key}={json.dumps(value)}' for key, value in wanted.items())}}}"


HEAD = {"ray_io_node_type": "head", "ray_io_group": "headgroup", "pod": "ray-head"}
WORKER = {"ray_io_node_type": "worker", "ray_io_group": "small-group", "pod": "ray-worker-1"}
SECOND = {**WORKER, "pod": "ray-worker-2"}
HEAD_UP = named("up", endpoint="metrics", **HEAD)
SCALER_UP = named("up", endpoint="as-metrics", **HEAD)
WORKER_UP, SECOND_UP = (named("up", endpoint="metrics", **pod) for pod in (WORKER, SECOND))
STARTED = named("process_start_time_seconds", endpoint="metrics", **HEAD)
ACTIVE, PENDING = (
    named(f"autoscaler_{state}_nodes", NodeType="small-group", SessionName="session_1", **HEAD)
    for state in ("active", "pending")
)
HEAD_ACTIVE = named("autoscaler_active_nodes", NodeType="headgroup", SessionName="session_1", **HEAD)
LOOP_ERRORS, LAUNCH_ERRORS = (
    named(f"autoscaler_{what}_exceptions_total", **HEAD) for what in ("update_loop", "node_launch")
)
SPILLED = named("ray_spill_manager_objects_bytes", State="Spilled", **WORKER)
KILLS = named("ray_memory_manager_worker_eviction_total", Name="eat", Type="MemoryManager.TaskEviction.Total", **WORKER)
OTHER_SECRET, TOKEN, CERTIFICATE = (
    f'kube_secret_info{{namespace="team",secret="{name}"}}' for name in ("other", "ray", "tls")
)
POD = 'kube_pod_info{namespace="team",pod="ray-head"}'
KEEPER_UP = named("up", endpoint="keeper", pod="ray-keeper-1")
BEHIND, PROBLEMS = (named(f"rayjobs_keeper_{what}", endpoint="keeper") for what in ("behind_seconds", "problems"))
FREE, CAPACITY = (
    f'kubelet_volume_stats_{what}_bytes{{namespace="team",persistentvolumeclaim="ray-keeper",node="n"}}'
    for what in ("available", "capacity")
)
ALWAYS, NEVER, UNTIL_10, FROM_10 = "1+0x200", "0+0x200", "1+0x10 stale", "_x10 1+0x200"
DOWN_AT_10 = "1+0x10 0+0x200"
GONE = "_"
HEALTHY = {
    HEAD_UP: ALWAYS,
    SCALER_UP: ALWAYS,
    WORKER_UP: ALWAYS,
    STARTED: "100+0x200",
    ACTIVE: ALWAYS,
    HEAD_ACTIVE: ALWAYS,
    PENDING: NEVER,
    LOOP_ERRORS: NEVER,
    LAUNCH_ERRORS: NEVER,
    SPILLED: "5000+0x200",
    KILLS: "3+0x200",
    OTHER_SECRET: ALWAYS,
    TOKEN: ALWAYS,
    POD: ALWAYS,
    KEEPER_UP: ALWAYS,
    BEHIND: "2+0x200",
    PROBLEMS: NEVER,
    FREE: "50+0x200",
    CAPACITY: "100+0x200",
}
NO_RAY = dict.fromkeys((HEAD_UP, SCALER_UP, WORKER_UP, STARTED, ACTIVE, HEAD_ACTIVE, PENDING), GONE)


class Case(NamedTuple):
    """Samples that differ from those of a healthy cluster, and what fires at each time."""

    changes: dict[str, str]
    firing: dict[str, set[str]]
    settings: dict[str, Any] | None = None


CASES = {
    "nothing fires for a healthy cluster": Case({}, {"20m": set(), "3h": set()}),
    "the target of the head is gone": Case(
        dict.fromkeys((HEAD_UP, SCALER_UP, STARTED, ACTIVE, HEAD_ACTIVE, PENDING), UNTIL_10),
        {"12m": set(), "15m": {"RayHeadDown"}, "3h": {"RayHeadDown"}},
    ),
    "the head does not answer": Case(
        dict.fromkeys((HEAD_UP, SCALER_UP), DOWN_AT_10), {"12m": set(), "15m": {"RayHeadDown"}}
    ),
    "there never was a head": Case(
        dict.fromkeys((HEAD_UP, SCALER_UP, STARTED, ACTIVE, HEAD_ACTIVE), GONE), {"10m": {"RayHeadDown"}}
    ),
    "the container of the head started again": Case(
        {STARTED: "100+0x20 1300+0x200"}, {"20m": set(), "22m": {"RayHeadRestarted"}, "40m": set()}
    ),
    "another pod is the head": Case(
        {STARTED: "100+0x20 stale", STARTED.replace("ray-head", "ray-head-2"): "_x21 1300+0x200"},
        {"20m": set(), "23m": {"RayHeadRestarted"}, "40m": set()},
    ),
    "the only worker does not answer": Case(
        {WORKER_UP: DOWN_AT_10, ACTIVE: DOWN_AT_10}, {"20m": set(), "30m": {"RayWorkersMissing"}}
    ),
    "there is no worker at all": Case(
        {WORKER_UP: UNTIL_10, ACTIVE: DOWN_AT_10}, {"20m": set(), "30m": {"RayWorkersMissing"}}
    ),
    "a worker was missing for some minutes": Case(
        {WORKER_UP: "1+0x10 0+0x10 1+0x200", ACTIVE: "1+0x10 0+0x10 1+0x200"}, {"21m": set(), "30m": set()}
    ),
    "a group has half of its hosts": Case(
        {
            WORKER_UP: GONE,
            **{named("up", endpoint="metrics", **{**WORKER, "ray_io_group": "gpu", "pod": p}): ALWAYS for p in "ab"},
            ACTIVE: "2+0x200",
        },
        {"30m": {"RayWorkersMissing"}},
        GROUPED,
    ),
    "a group has all of its hosts, and one without a minimum has none": Case(
        {
            WORKER_UP: GONE,
            **{named("up", endpoint="metrics", **{**WORKER, "ray_io_group": "gpu", "pod": p}): ALWAYS for p in "abcd"},
            ACTIVE: "4+0x200",
        },
        {"3h": set()},
        GROUPED,
    ),
    "a group of fixed size has fewer workers, though more than its minimum": Case(
        {WORKER_UP.replace("small-group", "gpu"): ALWAYS, SECOND_UP.replace("small-group", "gpu"): ALWAYS},
        {"30m": {"RayWorkersMissing"}},
        FIXED,
    ),
    "a pod waits": Case({PENDING: "0+0x10 1+0x200"}, {"20m": set(), "30m": {"RayPodsPending"}}),
    "pods wait for some minutes each": Case(
        {PENDING: "0+0x10 2+0x10 0+0x1 1+0x10 0+0x200"}, {"24m": set(), "30m": set()}
    ),
    "the autoscaler does not answer": Case(
        {SCALER_UP: DOWN_AT_10, ACTIVE: UNTIL_10, HEAD_ACTIVE: UNTIL_10, PENDING: UNTIL_10},
        {"15m": set(), "25m": {"RayAutoscalerDown"}},
    ),
    "without autoscaling nobody misses the autoscaler": Case(
        {
            **dict.fromkeys((SCALER_UP, ACTIVE, HEAD_ACTIVE, PENDING, WORKER_UP), GONE),
            **{WORKER_UP.replace("small-group", "gpu").replace("worker-1", pod): ALWAYS for pod in "abc"},
        },
        {"3h": set()},
        FIXED,
    ),
    "the autoscaler v2 counts no more": Case(
        {SECOND_UP: FROM_10}, {"25m": set(), "35m": {"RayAutoscalerFailing"}, "3h": {"RayAutoscalerFailing"}}
    ),
    "the autoscaler v2 counts a new worker some minutes late": Case(
        {SECOND_UP: FROM_10, ACTIVE: "1+0x15 2+0x200"}, {"15m": set(), "35m": set()}
    ),
    "the loop of the autoscaler v1 fails": Case(
        {LOOP_ERRORS: "0+0x10 1+1x200", SECOND_UP: FROM_10}, {"15m": set(), "30m": {"RayAutoscalerFailing"}}, V1
    ),
    "the autoscaler v1 cannot launch nodes": Case(
        {LAUNCH_ERRORS: "0+0x10 1+1x200"}, {"15m": set(), "30m": {"RayAutoscalerFailing"}}, V1
    ),
    "the autoscaler v1 works, and counts otherwise": Case({SECOND_UP: FROM_10}, {"3h": set()}, V1),
    "the object store spills all the time": Case(
        {SPILLED: "0+0x10 1000+1000x200"}, {"20m": set(), "35m": {"RayObjectStoreSpilling"}}
    ),
    "the object store spilled once": Case({SPILLED: "0+0x10 9000000+0x200"}, {"15m": set(), "30m": set()}),
    "Ray kills a first task": Case({KILLS: FROM_10}, {"9m": set(), "11m": {"RayOutOfMemory"}, "30m": set()}),
    "Ray kills one task more": Case({KILLS: "3+0x30 4+0x200"}, {"29m": set(), "32m": {"RayOutOfMemory"}, "50m": set()}),
    "the Secret of the token is missing": Case({TOKEN: UNTIL_10}, {"15m": set(), "30m": {"RaySecretMissing"}}),
    "the Secret of the certificate is missing": Case({}, {"30m": {"RaySecretMissing"}}, TLS),
    "both Secrets are there": Case({CERTIFICATE: ALWAYS}, {"30m": set()}, TLS),
    "nobody exports Secrets": Case({TOKEN: GONE, OTHER_SECRET: GONE}, {"3h": set()}),
    "nobody tells of this namespace": Case({TOKEN: GONE, POD: GONE}, {"3h": set()}),
    "Prometheus did not look while old kills stayed": Case(
        {KILLS: "3+0x30 _x30 3+0x200"}, {"62m": set(), "70m": set()}
    ),
    "a suspended cluster has no pods": Case(
        NO_RAY,
        {"3h": set()},
        SUSPENDED,
    ),
    "nothing fires for a keeper that keeps": Case({}, {"3h": set()}, KEPT),
    "the keeper does not answer": Case({KEEPER_UP: DOWN_AT_10}, {"15m": set(), "25m": {"RayKeeperDown"}}, KEPT),
    "the keeper started again": Case({KEEPER_UP: "1+0x10 stale _x5 1+0x200"}, {"14m": set(), "30m": set()}, KEPT),
    "the keeper does not hear from Ray": Case(
        {BEHIND: "2+0x10 60+60x200"}, {"15m": set(), "25m": {"RayKeeperBehind"}, "3h": {"RayKeeperBehind"}}, KEPT
    ),
    "the keeper does not hear from Ray, whose head is down": Case(
        {**dict.fromkeys((HEAD_UP, SCALER_UP), DOWN_AT_10), BEHIND: "2+0x10 60+60x200", PROBLEMS: FROM_10},
        {"3h": {"RayHeadDown"}},
        KEPT,
    ),
    "the keeper has a problem": Case({PROBLEMS: "0+0x10 1+0x200"}, {"20m": set(), "30m": {"RayKeeperProblem"}}, KEPT),
    "the keeper had a problem for some minutes": Case({PROBLEMS: "0+0x10 1+0x10 0+0x200"}, {"21m": set()}, KEPT),
    "the keeper's volume is almost full": Case(
        {FREE: "20-1x15 4+0x200"}, {"20m": set(), "30m": {"RayKeeperVolumeFull"}}, KEPT
    ),
    "nobody exports volumes": Case({FREE: GONE, CAPACITY: GONE}, {"3h": set()}, KEPT),
    "the keeper of a suspended cluster waits": Case(
        {**NO_RAY, BEHIND: "60+60x200", PROBLEMS: ALWAYS}, {"3h": set()}, {**KEPT, **SUSPENDED}
    ),
    "a suspended cluster runs": Case({}, {"10m": set(), "20m": {"RaySuspendedClusterRuns"}}, SUSPENDED),
}
FIRING = 'count by (alertname, namespace, ray_io_cluster) (ALERTS{alertstate="firing"})'
OPERATOR_UP = 'up{namespace="ray-system",job="ray-system/kuberay-operator",pod="kuberay-operator-1"}'
ERRORS = (
    'controller_runtime_reconcile_errors_total{namespace="ray-system",job="ray-system/kuberay-operator",'
    'pod="kuberay-operator-1",controller="raycluster-controller"}'
)


@pytest.mark.parametrize("name", CASES)
def test_exactly_the_right_alerts_fire_when(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    series = {key: values for key, values in {**HEALTHY, **case.changes}.items() if values != GONE}
    expected = {
        (FIRING, time): {named("", alertname=alert): 1.0 for alert in firing} for time, firing in case.firing.items()
    }
    check_samples(groups(case.settings or {}), series, expected, tmp_path)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    existing = {rule["alert"] for settings in ALL.values() for rule in groups(settings)[0]["rules"]}
    assert existing == {alert for case in CASES.values() for firing in case.firing.values() for alert in firing}
    # A healthy cluster without the rule says nothing about it.
    for alert in existing:
        with_rule = [case for case in CASES.values() if alert in str(groups(case.settings or {}))]
        assert [case for case in with_rule if not any(alert in firing for firing in case.firing.values())], alert


@pytest.mark.parametrize(
    ("series", "firing"),
    [
        ({OPERATOR_UP: "1+0x200", ERRORS: "7+0x200"}, {"30m": set(), "3h": set()}),
        ({OPERATOR_UP: "1+0x10 0+0x200"}, {"12m": set(), "20m": {"KubeRayOperatorDown"}}),
        ({OPERATOR_UP: UNTIL_10}, {"12m": set(), "20m": {"KubeRayOperatorDown"}}),
        # An object that fails again and again: later than 16 minutes after the last time is never.
        (
            {OPERATOR_UP: "1+0x200", ERRORS: " ".join(f"{n}+0x15" for n in range(12))},
            {"30m": set(), "80m": {"KubeRayReconcileErrors"}},
        ),
        # Conflicts when clusters are created.
        ({OPERATOR_UP: "1+0x200", ERRORS: "0+0x20 3+0x4 5+0x200"}, {"30m": set(), "50m": set(), "90m": set()}),
        # The operator of somebody else.
        ({OPERATOR_UP.replace("ray-system", "other"): "1+0x200"}, {"20m": {"KubeRayOperatorDown"}}),
        # A RayCluster in the operator's namespace.
        ({OPERATOR_UP.replace("kuberay-operator", "ray"): "1+0x200"}, {"20m": {"KubeRayOperatorDown"}}),
    ],
    ids=["healthy", "no answer", "target gone", "errors go on", "errors end", "another operator", "another target"],
)
def test_exactly_the_right_alerts_of_the_operator_fire(
    series: dict[str, str], firing: dict[str, set[str]], tmp_path: Path
) -> None:
    expected = {
        (FIRING, time): {f'{{alertname="{alert}",namespace="ray-system"}}': 1.0 for alert in alerts_now}
        for time, alerts_now in firing.items()
    }
    check_samples(operator_groups(), series, expected, tmp_path)


@pytest.mark.parametrize("other", [('"team"', '"other"'), ('ray_io_cluster="ray"', 'ray_io_cluster="ray-2"')])
def test_what_happens_to_another_cluster_fires_nothing_and_hides_nothing(
    other: tuple[str, str], tmp_path: Path
) -> None:
    troubles = {
        HEAD_UP: NEVER,
        STARTED: "100+100x200",
        PENDING: ALWAYS,
        SPILLED: "0+1000x200",
        KILLS: "0+1x200",
        ACTIVE: "5+0x200",
    }
    elsewhere = {key.replace(*other): values for key, values in {**HEALTHY, **troubles}.items() if "secret" not in key}
    check_samples(groups({}), {**HEALTHY, **elsewhere}, {(FIRING, "2h"): {}}, tmp_path)
    healthy = {key.replace(*other): values for key, values in HEALTHY.items()}
    down = {named("", alertname=alert): 1.0 for alert in ("RayHeadDown", "RayWorkersMissing")}
    check_samples(groups({"auth": "disabled"}), healthy, {(FIRING, "2h"): down}, tmp_path)


@pytest.mark.parametrize("name", ALL)
def test_promtool_finds_no_fault_in_the_rules(name: str, tmp_path: Path) -> None:
    check_rules(groups(ALL[name]), tmp_path)
    check_rules(operator_groups(), tmp_path)


def test_every_metric_of_a_rule_is_one_that_somebody_exports() -> None:
    found = [operator_groups(), *(groups(settings) for settings in ALL.values())]
    assert unknown_metrics(rule["expr"] for one in found for group in one for rule in group["rules"]) == set()


def test_every_alert_says_where_it_is_how_bad_it_is_and_which_command_helps() -> None:
    for group in [*operator_groups(), *(group for settings in ALL.values() for group in groups(settings))]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["labels"]["namespace"] in ("team", "ray-system")
            assert rule["alert"].startswith(("Ray", "KubeRay"))
            assert all(rule["annotations"][key] for key in ("summary", "description", "runbook"))
            assert any(command in rule["annotations"]["runbook"] for command in ("`rayjobs ", "`make ", "`kubectl "))


def test_the_object_is_named_like_its_cluster_and_has_the_labels_that_a_prometheus_selects() -> None:
    rule = alerts.cluster_rules(cluster(), {"release": "prometheus"}, "monitoring")
    assert rule["metadata"] == {"name": "team.ray", "namespace": "monitoring", "labels": {"release": "prometheus"}}
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert alerts.operator_rules(parse({}).kuberay, {}, "ray-system")["metadata"]["name"] == "kuberay-operator"


def test_each_group_with_a_minimum_has_its_own_rule_and_the_others_have_none() -> None:
    missing = [rule["labels"]["ray_io_group"] for rule in groups(GROUPED)[0]["rules"] if "Workers" in rule["alert"]]
    assert missing == ["gpu"]


def test_a_restart_of_the_head_says_whether_jobs_are_lost() -> None:
    def text(settings: dict[str, Any]) -> str:
        (rule,) = (rule for rule in groups(settings)[0]["rules"] if rule["alert"] == "RayHeadRestarted")
        return str(rule["annotations"]["description"])

    assert "jobs are lost" in text({})
    assert "Jobs go on" in text(TOLERANT)


def test_the_rules_of_a_cluster_are_small_because_the_state_holds_them_twice() -> None:
    assert len(json.dumps(groups({}))) < 6000
