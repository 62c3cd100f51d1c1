"""What lets a Prometheus scrape a RayCluster and the operator: PodMonitors, annotations, environment of the head; pure.

KubeRay gives every Ray pod a port `metrics` (8080). The autoscaler and the dashboard have ports of their own in the
head, which its pod does not name. Their addresses are made by relabeling, so a PodMonitor changes no pod.
"""

from __future__ import annotations

from typing import Any

from components.manifests.merge import drop_empty
from components.settings.kuberay import OPERATOR, KubeRay
from components.settings.monitoring import Monitoring, PodMonitor
from components.settings.raycluster import RayClusterSettings
from components.settings.start_params import METRICS_PORT

Object = dict[str, Any]

API_VERSION = "monitoring.coreos.com/v1"
AUTOSCALER_PORT, DASHBOARD_METRICS_PORT = 44217, 44227
METRICS_PORTS = (METRICS_PORT, AUTOSCALER_PORT, DASHBOARD_METRICS_PORT)
# Prometheus writes them as ray_io_cluster, ray_io_node_type and ray_io_group.
POD_LABELS = ["ray.io/cluster", "ray.io/node-type", "ray.io/group"]
# Values of the label `endpoint`, which people know from KubeRay's samples.
ENDPOINT, AUTOSCALER_ENDPOINT, DASHBOARD_ENDPOINT = "metrics", "as-metrics", "dash-metrics"
OPERATOR_LABELS = {"app.kubernetes.io/component": OPERATOR}
OPERATOR_ENDPOINT = "http"  # the name of the port in upstream's Deployment
KEEPER_NAME = "ray-keeper"
KEEPER_ENDPOINT = "keeper"  # the name of its port


def keeper_labels(cluster: RayClusterSettings) -> dict[str, str]:
    """Returns the labels of a keeper's pod. Not `ray.io/cluster`: the operator takes such pods for its own."""
    return {"app.kubernetes.io/name": KEEPER_NAME, "app.kubernetes.io/instance": cluster.name}


def object_name(watched: str, its_namespace: str, namespace: str) -> str:
    """Returns the name of an object that watches a RayCluster or an operator.

    In another namespace than that of the watched, its name is not enough: two can have the same. A namespace has no
    dots, so the two parts cannot be mixed up.
    """
    return watched if namespace == its_namespace else f"{its_namespace}.{watched}"


def pod_monitor(cluster: RayClusterSettings, settings: PodMonitor) -> Object:
    """The PodMonitor of a RayCluster: metrics of every pod, and from the head those of autoscaler and dashboard."""
    endpoints = [{"port": ENDPOINT, "interval": settings.interval}]
    if cluster.autoscaling.enabled:
        endpoints.append(_on_the_head(AUTOSCALER_ENDPOINT, AUTOSCALER_PORT, settings.interval))
    endpoints.append(_on_the_head(DASHBOARD_ENDPOINT, DASHBOARD_METRICS_PORT, settings.interval))
    # The pod that cleans Redis has the label of the cluster too, and no metrics.
    ray_pods = [{"key": "ray.io/node-type", "operator": "In", "values": ["head", "worker"]}]
    selector = {"matchLabels": {"ray.io/cluster": cluster.name}, "matchExpressions": ray_pods}
    namespace = settings.namespace or cluster.namespace
    name = object_name(cluster.name, cluster.namespace, namespace)
    return _pod_monitor(name, namespace, settings, cluster.namespace, selector, endpoints, POD_LABELS)


def keeper_pod_monitor(cluster: RayClusterSettings, settings: PodMonitor) -> Object:
    """The PodMonitor of a RayCluster's keeper. Its series have the label `ray_io_cluster`, as those of Ray's pods."""
    relabelings = [{"targetLabel": "ray_io_cluster", "replacement": cluster.name}]
    endpoint = {"port": KEEPER_ENDPOINT, "interval": settings.interval, "relabelings": relabelings}
    selector = {"matchLabels": keeper_labels(cluster)}
    namespace = settings.namespace or cluster.namespace
    name = object_name(cluster.keeper_name, cluster.namespace, namespace)
    return _pod_monitor(name, namespace, settings, cluster.namespace, selector, [endpoint], [])


def operator_pod_monitor(kuberay: KubeRay, settings: PodMonitor) -> Object:
    """The PodMonitor of the operator. Its metrics tell of its work; with `kuberay.metrics` of its RayClusters too."""
    endpoint = {"port": OPERATOR_ENDPOINT, "interval": settings.interval}
    selector = {"matchLabels": OPERATOR_LABELS}
    namespace = settings.namespace or kuberay.namespace
    name = object_name(OPERATOR, kuberay.namespace, namespace)
    return _pod_monitor(name, namespace, settings, kuberay.namespace, selector, [endpoint], [])


def _pod_monitor(
    name: str,
    namespace: str,
    settings: PodMonitor,
    watched: str,
    selector: Object,
    endpoints: list[Object],
    labels: list[str],
) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "PodMonitor",
        "metadata": {"name": name, "namespace": namespace, **drop_empty({"labels": settings.labels})},
        "spec": {
            "namespaceSelector": {"matchNames": [watched]},
            "selector": selector,
            **drop_empty({"podTargetLabels": labels}),
            "podMetricsEndpoints": endpoints,
        },
    }


def _on_the_head(endpoint: str, port: int, interval: str) -> Object:
    node_type = "__meta_kubernetes_pod_label_ray_io_node_type"
    address = {"sourceLabels": ["__address__"], "regex": r"(.+):\d+", "replacement": f"$1:{port}"}
    relabelings = [
        {"action": "keep", "sourceLabels": [node_type], "regex": "head"},
        {**address, "targetLabel": "__address__"},
        {"targetLabel": "endpoint", "replacement": endpoint},
    ]
    return {"port": ENDPOINT, "interval": interval, "relabelings": relabelings}


def scrape_annotations(monitoring: Monitoring, port: int = METRICS_PORT) -> dict[str, str]:
    """The annotations that many configurations of Prometheus look for; none unless `scrapeAnnotations`."""
    if not monitoring.scrape_annotations:
        return {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": "/metrics"}


def head_env(cluster: RayClusterSettings, monitoring: Monitoring) -> dict[str, str]:
    """The environment by which Ray's own dashboard finds Prometheus and Grafana, and shows only this cluster.

    Source: ray/dashboard/modules/metrics/metrics_head.py.
    """
    grafana = monitoring.grafana_host
    variables = {
        "RAY_PROMETHEUS_HOST": monitoring.prometheus_host,
        "RAY_GRAFANA_HOST": grafana,
        "RAY_GRAFANA_CLUSTER_FILTER": cluster.name if grafana else None,
    }
    return {name: value for name, value in variables.items() if value}
