"""Alerts of a RayCluster and of the operator, as PrometheusRules of prometheus-operator; pure.

Every expression names the namespace and the cluster, so that two stacks of one Prometheus never mix. The labels are
those of our PodMonitors: `namespace`, `ray_io_cluster`, `ray_io_node_type`, `ray_io_group`, `endpoint`, `job`. The
metrics are those that Ray 2.60 and KubeRay 1.4 to 1.7 really set; docs/monitoring.md has what they do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.manifests.merge import drop_empty
from components.manifests.monitoring import API_VERSION, KEEPER_ENDPOINT, object_name
from components.settings.kuberay import OPERATOR, KubeRay
from components.settings.pods import WorkerGroup
from components.settings.raycluster import RayClusterSettings

Object = dict[str, Any]

KIND = "PrometheusRule"
CRITICAL, WARNING = "critical", "warning"


def cluster_rules(cluster: RayClusterSettings, labels: Mapping[str, str], namespace: str) -> Object:
    """Builds the PrometheusRule of a RayCluster.

    A suspended cluster has no pods. It has an alert for a head that runs nevertheless, and those for its Secrets and
    its keeper.

    Args:
        cluster: settings of the cluster.
        labels: labels of the PrometheusRule, by which a Prometheus selects it.
        namespace: namespace of the PrometheusRule.
    """
    rules = [_runs_although_suspended(cluster)] if cluster.suspend else _running(cluster)
    rules += _keeper(cluster) if cluster.keeper else []
    common = {"namespace": cluster.namespace, "ray_io_cluster": cluster.name}
    return _prometheus_rule(
        object_name(cluster.name, cluster.namespace, namespace), labels, namespace, common, [*rules, *_secrets(cluster)]
    )


def operator_rules(kuberay: KubeRay, labels: Mapping[str, str], namespace: str) -> Object:
    """Builds the PrometheusRule of the operator that the stack installs.

    Its metrics of controllers are there in every version, also without `kuberay.metrics`.

    Args:
        kuberay: settings of the operator.
        labels: labels of the PrometheusRule, by which a Prometheus selects it.
        namespace: namespace of the PrometheusRule.
    """
    target = f'namespace="{kuberay.namespace}",job=~".+{OPERATOR}"'
    logs = f"`kubectl -n {kuberay.namespace} logs deploy/{OPERATOR}`"
    rules = [
        _alert(
            "KubeRayOperatorDown",
            f"absent(up{{{target}}} == 1)",
            "5m",
            CRITICAL,
            "The KubeRay operator is down",
            "Pods of Ray clusters are neither created nor replaced. Running jobs go on.",
            f"{logs}, then `make drift`.",
        ),
        # The queue tries an object that fails again after 1000 s at the latest (controller-runtime's rate limiter), so
        # 20 minutes have at least one error. Conflicts at the creation of a cluster are over before 40 minutes.
        _alert(
            "KubeRayReconcileErrors",
            f"sum by (controller) (increase(controller_runtime_reconcile_errors_total{{{target}}}[20m])) > 0",
            "40m",
            WARNING,
            "The KubeRay operator fails again and again",
            "Controller {{ $labels.controller }}: {{ $value | humanize }} errors in 20 minutes.",
            f"{logs} names the object; `rayjobs check` names the cause of a cluster of yours.",
        ),
    ]
    return _prometheus_rule(
        object_name(OPERATOR, kuberay.namespace, namespace), labels, namespace, {"namespace": kuberay.namespace}, rules
    )


def _prometheus_rule(
    name: str, labels: Mapping[str, str], namespace: str, common: Mapping[str, str], rules: list[Object]
) -> Object:
    for rule in rules:
        rule["labels"].update(common)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace, **drop_empty({"labels": dict(labels)})},
        "spec": {"groups": [{"name": name, "rules": rules}]},
    }


def _alert(name: str, expr: str, wait: str, severity: str, summary: str, description: str, runbook: str) -> Object:
    return {
        "alert": name,
        "expr": expr,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description, "runbook": runbook},
    }


def _series(metric: str, cluster: RayClusterSettings, *others: str, **labels: str) -> str:
    wanted = {"namespace": cluster.namespace, "ray_io_cluster": cluster.name, **labels}
    matchers = [*(f'{name}="{value}"' for name, value in wanted.items()), *others]
    return f"{metric}{{{','.join(matchers)}}}"


def _why(cluster: RayClusterSettings) -> str:
    return f"`rayjobs why --cluster {cluster.name}`"


def _running(cluster: RayClusterSettings) -> list[Object]:
    groups = {name: _pods(cluster, group) for name, group in cluster.worker_groups.items()}
    return [
        *_head(cluster),
        *(_workers_missing(cluster, name, pods) for name, pods in groups.items() if pods),
        *(_autoscaler(cluster) if cluster.autoscaling.enabled else []),
        *_memory(cluster),
    ]


def _pods(cluster: RayClusterSettings, group: WorkerGroup) -> int:
    """Returns how many pods a group has at least."""
    fixed = None if cluster.autoscaling.enabled else group.replicas
    return (group.min if fixed is None else fixed) * group.num_of_hosts


def _head(cluster: RayClusterSettings) -> list[Object]:
    name = cluster.name
    up = _series("up", cluster, ray_io_node_type="head", endpoint="metrics")
    # The agent that serves the metrics ends with its raylet, and `ray start --block` ends the container with any of its
    # processes, the GCS among them. The start time of the agent is therefore that of the GCS, with and without Redis;
    # Ray has no metric of the GCS itself. `max` joins the old pod and the new one.
    started = _series("process_start_time_seconds", cluster, ray_io_node_type="head")
    jobs = "Jobs go on" if cluster.fault_tolerance else "Its jobs are lost"
    return [
        _alert(
            "RayHeadDown",
            f"absent({up} == 1)",
            "3m",
            CRITICAL,
            f"The head of {name} is down",
            "Prometheus cannot reach the head pod. No job can be submitted.",
            f"`rayjobs check --cluster {name}` names the cause.",
        ),
        _alert(
            "RayHeadRestarted",
            f"changes(max({started})[15m:1m]) > 0",
            "",
            WARNING,
            f"The head of {name} started again",
            f"GCS and dashboard: {{{{ $value }}}} restarts in 15 minutes. {jobs}.",
            f"`rayjobs list --cluster {name}`, `rayjobs why ID` for a lost job.",
        ),
    ]


def _workers_missing(cluster: RayClusterSettings, group: str, pods: int) -> Object:
    up = _series("up", cluster, ray_io_group=group, endpoint="metrics")
    rule = _alert(
        "RayWorkersMissing",
        f"(count({up} == 1) or vector(0)) < {pods}",
        "15m",
        WARNING,
        f"Workers of {group} are missing",
        f"{{{{ $value }}}} pods run, the stack has at least {pods}.",
        f"{_why(cluster)} names the cause.",
    )
    rule["labels"]["ray_io_group"] = group
    return rule


def _autoscaler(cluster: RayClusterSettings) -> list[Object]:
    pending = _series("autoscaler_pending_nodes", cluster)
    up = _series("up", cluster, endpoint="as-metrics")
    head = _series("up", cluster, ray_io_node_type="head", endpoint="metrics")
    pod = f"ray.io/cluster={cluster.name},ray.io/node-type=head"
    logs = f"{_why(cluster)}; `kubectl -n {cluster.namespace} logs -c autoscaler -l {pod}`"
    return [
        # Both versions count a pod as pending until its Ray runs, for an hour at most (v2's own time limit).
        _alert(
            "RayPodsPending",
            f"sum by (NodeType) ({pending}) > 0",
            "15m",
            WARNING,
            f"Pods of {cluster.name} do not start",
            "{{ $value }} pods of group {{ $labels.NodeType }} wait for a node, an image or a quota.",
            f"{_why(cluster)} names the cause.",
        ),
        _alert(
            "RayAutoscalerDown",
            f"absent({up} == 1) and on() {head} == 1",  # else its head is down, which has its own alert
            "10m",
            WARNING,
            f"The autoscaler of {cluster.name} is down",
            "No workers are added or removed.",
            f"{logs}.",
        ),
        _autoscaler_errors(cluster, f"{logs} has the error."),
    ]


def _autoscaler_errors(cluster: RayClusterSettings, runbook: str) -> Object:
    name, summary = "RayAutoscalerFailing", f"The autoscaler of {cluster.name} fails"
    if cluster.autoscaling.version == "v1":
        counters = ("autoscaler_update_loop_exceptions_total", "autoscaler_node_launch_exceptions_total")
        errors = " + ".join(f"sum(increase({_series(counter, cluster)}[15m]))" for counter in counters)
        text = "{{ $value | humanize }} errors in 15 minutes."
        return _alert(name, f"{errors} > 0", "10m", WARNING, summary, text, runbook)
    # v2 exports the counters of errors and never counts one. After an error its loop leaves out the rest, the metrics
    # too. So its number of nodes stays, and differs as soon as a node comes or goes.
    counted = _series("autoscaler_active_nodes", cluster, 'NodeType!="headgroup"')
    workers = _series("up", cluster, ray_io_node_type="worker", endpoint="metrics")
    return _alert(
        name,
        f"abs(sum({counted}) - (count({workers} == 1) or vector(0))) > 0",
        "20m",
        WARNING,
        summary,
        "It counts {{ $value }} workers more or less than Prometheus reaches.",
        runbook,
    )


def _memory(cluster: RayClusterSettings) -> list[Object]:
    # Bytes since the start of the node, despite its type gauge.
    spilled = _series("ray_spill_manager_objects_bytes", cluster, State="Spilled")
    # The series of a task begins with its first kill, at 1. `increase` does not see that one. For the hour before: a
    # Prometheus that did not look for a while has no sample of ten minutes ago.
    kills = _series("ray_memory_manager_worker_eviction_total", cluster)
    before = f"last_over_time({kills}[1h] offset 10m)"
    return [
        _alert(
            "RayObjectStoreSpilling",
            f"sum by (ray_io_group) (increase({spilled}[10m])) > 0",
            "15m",
            WARNING,
            f"The object store of {cluster.name} is full",
            "Group {{ $labels.ray_io_group }} moved {{ $value | humanize1024 }}B to its disk in 10 minutes.",
            "`rayjobs why ID` of a running job; raise the group's `memory` or `object-store-memory`.",
        ),
        _alert(
            "RayOutOfMemory",
            f"sum by (ray_io_group, Name) (increase({kills}[10m]) > 0 or ({kills} unless {before}))",
            "",
            WARNING,
            f"{cluster.name} kills tasks for their memory",
            "Group {{ $labels.ray_io_group }}: {{ $labels.Name }}, {{ $value | humanize }} times in 10 minutes.",
            "`rayjobs why ID`; raise the group's `memory`, or use `@ray.remote(memory=BYTES)`.",
        ),
    ]


def _keeper(cluster: RayClusterSettings) -> list[Object]:
    """The alerts of the keeper. Without a head it has nothing to keep, and `RayHeadDown` tells."""
    name, claim = cluster.name, cluster.keeper_name
    up = _series("up", cluster, endpoint=KEEPER_ENDPOINT)
    head = f"on() {_series('up', cluster, ray_io_node_type='head', endpoint='metrics')} == 1"
    logs = f"`kubectl -n {cluster.namespace} logs deploy/{claim}`"
    # The kubelets' own metrics, which most installations of Prometheus scrape. Without them this alert is silent.
    volume = f'{{namespace="{cluster.namespace}",persistentvolumeclaim="{claim}"}}'
    free = f"kubelet_volume_stats_available_bytes{volume} / kubelet_volume_stats_capacity_bytes{volume}"
    full = _alert(
        "RayKeeperVolumeFull",
        f"min({free}) < 0.1",
        "15m",
        WARNING,
        f"The volume of the keeper of {name} is almost full",
        "{{ $value | humanizePercentage }} is free. A full volume keeps nothing.",
        f"Raise `keeper.storage`, or lower `keeper.retainBytes`, then `make up`; {logs}.",
    )
    down = _alert(
        "RayKeeperDown",
        f"absent({up} == 1)",
        "10m",
        WARNING,
        f"The keeper of {name} is down",
        "No job is kept. It catches up with what Ray still has.",
        f"`kubectl -n {cluster.namespace} describe deploy {claim}`; {logs}.",
    )
    if cluster.suspend:
        return [down, full]
    return [
        down,
        _alert(
            "RayKeeperBehind",
            f"{_series('rayjobs_keeper_behind_seconds', cluster)} > 300 and {head}",
            "5m",
            WARNING,
            f"The keeper of {name} is behind",
            "It recorded the last answer of Ray {{ $value | humanizeDuration }} ago.",
            f"{logs} names the cause.",
        ),
        _alert(
            "RayKeeperProblem",
            f"{_series('rayjobs_keeper_problems', cluster)} > 0 and {head}",
            "15m",
            WARNING,
            f"The keeper of {name} has a problem",
            "{{ $value }} problems, such as a full disk, or a token that Ray refuses.",
            f"{logs} names each.",
        ),
        full,
    ]


def _runs_although_suspended(cluster: RayClusterSettings) -> Object:
    up = _series("up", cluster, ray_io_node_type="head", endpoint="metrics")
    return _alert(
        "RaySuspendedClusterRuns",
        f"{up} == 1",
        "15m",
        WARNING,
        f"{cluster.name} is suspended, and its head runs",
        "Pod {{ $labels.pod }} runs.",
        "`make drift` shows the change; `make up` suspends it again.",
    )


def _secrets(cluster: RayClusterSettings) -> list[Object]:
    """The alert for Secrets that are missing.

    It is silent where kube-state-metrics does not tell of the cluster's own pods: there is none, it watches other
    namespaces, or it is scraped without `honorLabels`, which takes the label `namespace` away.
    """
    names = [name for name in (cluster.auth_secret, cluster.ingress and cluster.ingress.tls_secret) if name]
    if not names:
        return []
    pods = f'kube_pod_info{{namespace="{cluster.namespace}"}}'
    absent = " or ".join(
        f'absent(kube_secret_info{{namespace="{cluster.namespace}",secret="{name}"}})' for name in names
    )
    return [
        _alert(
            "RaySecretMissing",
            f"({absent}) and on() group(kube_secret_info{{}}) and on() group({pods})",
            "10m",
            WARNING,
            f"A Secret of {cluster.name} is missing",
            "Secret {{ $labels.secret }} (token or certificate): new pods do not start, or TLS fails.",
            f"`make inventory`; `kubectl -n {cluster.namespace} get secrets`.",
        )
    ]
