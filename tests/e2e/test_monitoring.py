"""Monitoring of a stack with a real prometheus-operator and Prometheus. The order of the tests is the story."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.cluster.api import Api
from ops import stack_objects
from tests.support import dashboards, prometheus
from tests.support.cluster import Cluster
from tests.support.prometheus import Prometheus, PrometheusError
from tests.support.stack import ROOT, Jobs, Stack, jobs_of

pytestmark = [pytest.mark.needs("Prometheus"), pytest.mark.timeout(1200, func_only=True)]

NAMESPACE, CLUSTER = "ray-cluster", "raycluster-autoscaler"
# The label of every series: namespace and name of the PodMonitor.
JOB, OPERATOR_JOB = f"{NAMESPACE}/{CLUSTER}", "ray-system/kuberay-operator"
SCRAPER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": prometheus.NAMESPACE}}}
MONITORING = {
    "podMonitor": {"interval": "5s"},
    "rules": True,
    "dashboards": {"namespace": prometheus.NAMESPACE},
    "scrapeFrom": [SCRAPER],
    "prometheusHost": f"http://{prometheus.NAME}.{prometheus.NAMESPACE}:{prometheus.PORT}",
}
METRICS_PORTS = {8080, 44217, 44227}
HEAD_DOWN, OWN_DASHBOARD = "RayHeadDown", "rayOnKubernetes"
# What has data while a job runs.
WITH_DATA = (
    'sum by (State) (ray_tasks{State="RUNNING"}) > 0',
    'ray_resources{Name="CPU", State="USED"} > 0',
    'autoscaler_active_nodes{NodeType="small-group"} > 0',
    "ray_node_cpu_utilization",
    "ray_node_mem_used_host > 0",
    "ray_object_store_memory",
    "ray_dashboard_api_requests_count_requests_total",
    f'controller_runtime_reconcile_total{{job="{OPERATOR_JOB}"}} > 0',
    "kuberay_cluster_info",
)
# Panels of our dashboard without data here: no GPU, no pod that waits, no task that waits, nothing that failed.
WITHOUT_DATA = ("GPU", "Nodes that come and go", "Why tasks wait", "Killed for memory")
BUSY = """
import ray, time
ray.init()
@ray.remote(num_cpus=1)
def busy(): time.sleep(90); return 1
print(sum(ray.get([busy.remote() for _ in range(2)])))
"""


def monitored(settings: dict[str, Any]) -> None:
    settings["monitoring"] = json.loads(json.dumps(MONITORING))
    settings["kuberay"]["metrics"] = True


def refused(stack: Stack) -> str:
    """What an `up` says that fails and touches nothing."""
    run = stack.up(check=False)
    assert run.code != 0, run.text
    assert stack.objects() == []
    return run.text


@pytest.fixture(scope="module", autouse=True)
def _no_other_installation(cluster: Cluster) -> None:
    if prometheus.GROUP in cluster.kubectl("get", "crds", "-o", "name"):
        pytest.skip("CRDs of prometheus-operator are on this cluster already, from another installation")


@pytest.fixture(scope="module")
def prom(cluster: Cluster) -> Iterator[Prometheus]:
    with prometheus.installed(cluster) as running:
        yield running


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack], prom: Prometheus) -> Iterator[Stack]:
    made = new_stack("monitoring")
    made.configure(monitored)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def jobs(stack: Stack, cluster: Cluster) -> Jobs:
    """After the first `up`: before it the stack has no outputs."""
    return jobs_of(stack, cluster)


def items(cluster: Cluster, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cluster.kubectl("get", *arguments, "-o", "json"))["items"]
    return found


def boards(cluster: Cluster) -> list[dict[str, Any]]:
    """Every dashboard that Grafana's sidecar would load."""
    maps = items(cluster, "configmaps", "-n", prometheus.NAMESPACE, "-l", "grafana_dashboard=1")
    return [json.loads(text) for one in maps for text in one["data"].values()]


def test_a_cluster_without_the_kinds_of_prometheus_operator_is_refused_naming_them(
    new_stack: Callable[..., Stack],
) -> None:
    bare = new_stack("unmonitored")
    bare.configure(monitored)
    text = refused(bare)
    for kind in ("PodMonitor", "PrometheusRule"):
        assert f"no kind {kind}" in text, text


def test_a_namespace_of_the_dashboards_that_is_not_there_is_refused(stack: Stack) -> None:
    kept = stack.config_file.read_text()
    stack.configure(lambda settings: settings["monitoring"]["dashboards"].update(namespace="no-such-place"))
    text = refused(stack)
    stack.config_file.write_text(kept)
    assert "no-such-place" in text, text


def test_after_up_every_target_of_the_raycluster_and_of_the_operator_is_scraped(stack: Stack, prom: Prometheus) -> None:
    stack.up()
    of_the_head = [(JOB, "metrics"), (JOB, "as-metrics"), (JOB, "dash-metrics")]
    wanted = Counter([*of_the_head, (JOB, "metrics"), (OPERATOR_JOB, "http")])

    def up() -> Counter[tuple[str, str]]:
        labels = [one["labels"] for one in prom.targets() if one["health"] == "up"]
        return Counter((one["job"], one["endpoint"]) for one in labels)

    prom.wait_until(lambda: up() == wanted and len(prom.targets()) == wanted.total(), "all targets up", 180)


def test_every_series_of_ray_names_its_cluster_its_namespace_and_its_node_type(prom: Prometheus) -> None:
    names = ("ray_io_cluster", "namespace", "ray_io_node_type")
    grouped = prom.query(f'count by ({", ".join(names)}) ({{job="{JOB}"}})')
    assert {tuple(one["metric"].get(name) for name in names) for one in grouped} == {
        (CLUSTER, NAMESPACE, "head"),
        (CLUSTER, NAMESPACE, "worker"),
    }


def test_only_the_scraper_is_let_in_to_the_ports_of_metrics(stack: Stack, cluster: Cluster) -> None:
    rules = [
        rule for one in items(cluster, "networkpolicies", "-n", NAMESPACE) for rule in one["spec"]["ingress"]
        if {port["port"] for port in rule.get("ports", [])} & METRICS_PORTS
    ]  # fmt: skip
    assert [rule["from"] for rule in rules] == [[SCRAPER]]
    assert {port["port"] for port in rules[0]["ports"]} == METRICS_PORTS


def test_while_a_job_runs_there_is_data_and_no_expression_fails(
    prom: Prometheus, cluster: Cluster, jobs: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    run = jobs("submit", "--no-wait", "--submission-id", "busy", "--working-dir", str(tmp_path), "--",
               "python", "busy.py")  # fmt: skip
    assert run.returncode == 0, run.stderr
    own = next(board for board in boards(cluster) if board["uid"] == OWN_DASHBOARD)
    panels: dict[str, list[str]] = {}
    for place, text in dashboards.expressions(own, skip=WITHOUT_DATA).items():
        panels.setdefault(place.rpartition(" ")[0], []).append(f"({text})")
    assert len(panels) > 12
    without = [*WITH_DATA, *(" or ".join(texts) for texts in panels.values())]

    def all_have_data() -> bool:
        without[:] = [expression for expression in without if not prom.query(expression)]
        return not without

    try:
        prom.wait_until(all_have_data, "data of every expression", 150)
    except PrometheusError as error:
        pytest.fail(f"no data while a job ran: {without}\n{error}")
    found = {place: text for board in boards(cluster) for place, text in dashboards.expressions(board).items()}
    assert len(found) > 400, sorted(found)
    failed = {}
    for place, expression in found.items():
        try:
            prom.query(expression)
        except PrometheusError as error:
            failed[place] = str(error)
    assert failed == {}
    prom.wait_until(lambda: all(rule["health"] != "unknown" for rule in prom.rules()), "evaluation of the rules", 60)
    rules = prom.rules()
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
    assert HEAD_DOWN in {rule["name"] for rule in rules}
    assert jobs("wait", "busy", "--timeout", "240").returncode == 0
    # For docs: RAY_DASHBOARD_PICTURE=docs/monitoring-dashboard.png
    if picture := os.environ.get("RAY_DASHBOARD_PICTURE"):
        dashboards.draw(own, prom, ROOT / picture, 180)


def test_a_preview_afterwards_has_no_changes(stack: Stack) -> None:
    stack.preview("--expect-no-changes")
    stack.refresh("--expect-no-changes")


def test_the_inventory_has_the_monitors_the_rules_and_the_dashboards(stack: Stack, cluster: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "inventory", "--stack", stack.name],
        cwd=ROOT, env={**os.environ, **stack.environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    present = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("present")]
    kinds = Counter(kind for kind, _ in present)
    assert kinds["PodMonitor"] == kinds["PrometheusRule"] == 2
    maps = [name for kind, name in present if kind == "ConfigMap" and name.startswith(f"{prometheus.NAMESPACE}/")]
    assert len(maps) == len(boards(cluster)) > 0


def test_the_alert_of_a_head_that_is_gone_fires_and_ends_when_it_is_back(
    prom: Prometheus, cluster: Cluster, jobs: Jobs
) -> None:
    states = f'ALERTS{{alertname="{HEAD_DOWN}", ray_io_cluster="{CLUSTER}", namespace="{NAMESPACE}"}}'
    assert prom.query(states) == []
    nodes = cluster.kubectl("get", "nodes", "-o", "name").split()
    cluster.kubectl("cordon", *nodes)  # the operator's new head pod waits
    try:
        cluster.kubectl("delete", "pods", "-n", NAMESPACE, "-l", "ray.io/node-type=head", "--wait=false")
        prom.wait_until(lambda: prom.values(states, "alertstate") == {"pending"}, f"{HEAD_DOWN} pending", 120)
        prom.wait_until(lambda: prom.values(states, "alertstate") == {"firing"}, f"{HEAD_DOWN} firing", 240)
        (alert,) = [one for one in prom.alerts() if one["labels"]["alertname"] == HEAD_DOWN]
        assert "rayjobs" in alert["annotations"]["runbook"]
        # Through a port-forward to the Prometheus that the outputs name.
        assert f"alert:    {HEAD_DOWN} (critical) since " in jobs("why").stdout
    finally:
        cluster.kubectl("uncordon", *nodes)
    prom.wait_until(lambda: prom.query(states) == [], f"the end of {HEAD_DOWN}", 240)


def test_switched_off_its_objects_are_gone_and_it_had_cost_the_state_less_than_30_kb(
    stack: Stack, cluster: Cluster
) -> None:
    def off(settings: dict[str, Any]) -> None:
        del settings["monitoring"], settings["kuberay"]["metrics"]

    before = stack.state_bytes()
    stack.configure(off)
    stack.up()
    assert before - stack.state_bytes() < 30_000
    assert items(cluster, "podmonitors,prometheusrules", "--all-namespaces") == boards(cluster) == []


def test_switched_on_again_a_destroy_leaves_nothing(stack: Stack, cluster: Cluster, api: Api) -> None:
    stack.configure(monitored)
    stack.up()
    listed = stack.objects()
    stack.destroy()
    assert stack_objects.wait_until_gone(api, listed, 60) == []
    assert items(cluster, "podmonitors,prometheusrules", "--all-namespaces") == boards(cluster) == []
