"""What a Prometheus finds, and what the settings of a pod win over."""

from __future__ import annotations

from typing import Any

from components.manifests import monitoring, raycluster
from components.settings import parse

HOSTS = {"prometheusHost": "http://p.monitoring:9090", "grafanaHost": "https://g.example.com"}


def manifest(settings: dict[str, Any]) -> Any:
    wanted = parse(settings)
    return raycluster.manifest(wanted.clusters[0], "v1.7.0", wanted.monitoring)


def test_monitoring_that_is_switched_on_changes_no_pod() -> None:
    everything = {"podMonitor": True, "rules": True, "dashboards": {"namespace": "monitoring"}}
    assert manifest({"monitoring": everything}) == manifest({})


def test_only_the_head_is_told_where_prometheus_and_grafana_are_and_its_own_environment_wins() -> None:
    own = {"RAY_GRAFANA_HOST": "http://inside:3000"}
    spec = manifest({"monitoring": HOSTS, "clusters": [{"name": "ray", "head": {"env": own}}]})["spec"]
    head, worker = (
        group["template"]["spec"]["containers"][0].get("env", [])
        for group in (spec["headGroupSpec"], spec["workerGroupSpecs"][0])
    )
    assert {entry["name"]: entry["value"] for entry in head} == {
        "RAY_PROMETHEUS_HOST": "http://p.monitoring:9090",
        "RAY_GRAFANA_HOST": "http://inside:3000",
        "RAY_GRAFANA_CLUSTER_FILTER": "ray",
    }
    assert worker == []


def test_annotations_of_the_settings_win_over_those_for_the_scraper() -> None:
    own = {"prometheus.io/port": "9000"}
    spec = manifest({"monitoring": {"scrapeAnnotations": True}, "clusters": [{"head": {"annotations": own}}]})["spec"]
    found = spec["headGroupSpec"]["template"]["metadata"]["annotations"]
    assert found == {"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", **own}


def test_two_clusters_of_one_name_have_monitors_of_their_own_in_a_namespace_of_monitors() -> None:
    settings = parse(
        {
            "monitoring": {"podMonitor": {"namespace": "m"}},
            "clusters": [{"name": "ray"}, {"name": "ray", "namespace": "b"}],
        }
    )
    assert settings.monitoring.pod_monitor
    found = [monitoring.pod_monitor(cluster, settings.monitoring.pod_monitor) for cluster in settings.clusters]
    assert [one["metadata"]["name"] for one in found] == ["ray-cluster.ray", "b.ray"]
    assert [one["spec"]["namespaceSelector"]["matchNames"] for one in found] == [["ray-cluster"], ["b"]]


def test_the_autoscaler_is_a_target_only_where_there_is_one() -> None:
    settings = parse({"monitoring": {"podMonitor": True}, "clusters": [{"autoscaling": {"enabled": False}}]})
    assert settings.monitoring.pod_monitor
    (endpoint, dashboard) = monitoring.pod_monitor(settings.clusters[0], settings.monitoring.pod_monitor)["spec"][
        "podMetricsEndpoints"
    ]
    assert "44227" in str(dashboard)
    assert "relabelings" not in endpoint
