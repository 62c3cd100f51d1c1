"""Our own Grafana dashboard: jobs, queue, autoscaling, use, cost and failures of a stack, on one page; pure.

Its form is that of Ray's own dashboards (`grafana_dashboard_factory` in ray/dashboard/modules/metrics): the same schema
and the same variable for the data source, so that both import into the same Grafana.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from components.settings.raycluster import RayClusterSettings

Object = dict[str, Any]

UID, TITLE = "rayOnKubernetes", "Ray jobs and costs"
SCHEMA_VERSION = 27
DATASOURCE = "${datasource}"
WIDTH = 24  # columns of Grafana's grid
# Of a panel: columns and rows.
STAT, SMALL, WIDE = (6, 4), (8, 7), (12, 7)

# The labels of our PodMonitors, and the variables at the top of the page.
CLUSTER = 'namespace=~"$namespace",ray_io_cluster=~"$ray_io_cluster"'
BY_CLUSTER = "sum by (namespace, ray_io_cluster)"
CLUSTER_NAME = "{{namespace}}/{{ray_io_cluster}}"


def dashboard(clusters: Sequence[RayClusterSettings]) -> Object:
    """Builds the JSON model of the dashboard.

    Args:
        clusters: the clusters of the stack, which are chosen at first. The page offers every other that Prometheus
            knows: one set of dashboards serves all stacks.
    """
    return {
        "uid": UID,
        "title": TITLE,
        "tags": ["ray"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables(clusters)},
        "panels": _placed(_panels()),
    }


def _variables(clusters: Sequence[RayClusterSettings]) -> list[Object]:
    every = 'up{ray_io_cluster!=""}'
    chosen = 'up{ray_io_cluster!="",namespace=~"$namespace"}'
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 2, "refresh": 1},
        _variable("namespace", f"label_values({every}, namespace)", (cluster.namespace for cluster in clusters)),
        _variable("ray_io_cluster", f"label_values({chosen}, ray_io_cluster)", (cluster.name for cluster in clusters)),
    ]


def _variable(name: str, query: str, first: Iterable[str]) -> Object:
    """A choice of several values; without a first choice it is all of them."""
    chosen = list(dict.fromkeys(first))
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "includeAll": True,
        "allValue": ".+",
        "multi": True,
        "current": {"selected": True, "text": chosen or ["All"], "value": chosen or ["$__all"]},
        "hide": 0,
        "refresh": 2,
        "sort": 1,
    }


def _placed(panels: Iterable[Object]) -> list[Object]:
    """Gives each panel its id and its place: from left to right, and a new line where it does not fit."""
    placed: list[Object] = []
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        columns, rows = panel.pop("size")
        if x + columns > WIDTH:
            x, y, height = 0, y + height, 0
        place = {"x": x, "y": y, "w": columns, "h": rows}
        placed.append({"id": number, **panel, "gridPos": place})
        x, height = x + columns, max(height, rows)
    return placed


def _panel(
    kind: str, size: tuple[int, int], title: str, description: str, queries: Iterable[Object], unit: str
) -> Object:
    targets = [{"refId": chr(ord("A") + index), **query} for index, query in enumerate(queries)]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "size": size,
    }


def _query(expr: str, legend: str = "") -> Object:
    return {"expr": expr, "legendFormat": legend}


def _row(title: str) -> Object:
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (WIDTH, 1)}


def _stat(title: str, description: str, *queries: Object, size: tuple[int, int] = STAT, decimals: int = 0) -> Object:
    # One answer for the end of the range: Grafana would ask for each of its steps.
    once = [{**query, "instant": True, "range": False} for query in queries]
    panel = _panel("stat", size, title, description, once, "short")
    panel["fieldConfig"]["defaults"]["decimals"] = decimals
    panel["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
    }
    return panel


def _graph(
    title: str, description: str, *queries: Object, unit: str = "short", size: tuple[int, int] = SMALL
) -> Object:
    panel = _panel("timeseries", size, title, description, queries, unit)
    panel["fieldConfig"]["defaults"]["custom"] = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter",
        "fillOpacity": 10,
    }
    panel["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return panel


def _hourly(title: str, description: str, *queries: Object) -> Object:
    """A bar for each hour."""
    panel = _graph(title, description, *queries, size=WIDE)
    panel["fieldConfig"]["defaults"]["custom"] = {
        "drawStyle": "bars",
        "fillOpacity": 60,
        "stacking": {"mode": "normal", "group": "A"},
    }
    panel["interval"] = "1h"
    return panel


def _metric(name: str, *matchers: str) -> str:
    return f"{name}{{{','.join([CLUSTER, *matchers])}}}"


def _supervisors(*states: str) -> str:
    """The actors that run the entrypoints of submissions: one for each, from its start to its end."""
    return _metric("ray_actors", 'Name="JobSupervisor"', 'Source="gcs"', f'State=~"{"|".join(states)}"')


def _logical(resource: str, state: str = ".+") -> str:
    """A logical resource of Ray: what tasks and actors reserve (USED) and what they leave (AVAILABLE)."""
    return _metric("ray_resources", f'Name="{resource}"', f'State=~"{state}"')


def _hours(series: str, window: str) -> str:
    """Hours of a resource: its amount at each minute of the window, added up."""
    return f"{BY_CLUSTER} (sum_over_time({series}[{window}:1m])) / 60"


CPUS = _metric("ray_node_cpu_count")
# A scraper of annotations sets no `endpoint`.
NODES = _metric("up", 'endpoint=~"metrics|"') + " == 1"
PENDING_NODES = _metric("autoscaler_pending_nodes")
# The owner of a task counts it in each state; a number can be below 0 for a moment. A new actor is such a task too.
WAITING = "clamp_min(sum(" + _metric("ray_tasks", 'Source="owner"', 'State="PENDING_NODE_ASSIGNMENT"') + "), 0)"
WAITING_GROUPS = "sum(" + _metric("ray_placement_groups", 'State=~"PENDING|PREPARED|RESCHEDULING"') + ")"


def _panels() -> list[Object]:
    return [*_now(), *_jobs(), *_nodes(), *_use(), *_cost(), *_failures()]


def _now() -> list[Object]:
    return [
        _stat(
            "Jobs that run",
            "Submissions whose entrypoint runs now.",
            _query(f"sum({_supervisors('ALIVE')}) or vector(0)"),
        ),
        _stat(
            "Requests that wait",
            "Tasks, new actors and placement groups that wait for a node.",
            _query(f"({WAITING} or vector(0)) + ({WAITING_GROUPS} or vector(0))"),
        ),
        _stat("Nodes", "Heads and workers that Prometheus reaches.", _query(f"count({NODES}) or vector(0)")),
        _stat("Pending nodes", "Pods that the autoscaler waits for.", _query(f"sum({PENDING_NODES}) or vector(0)")),
    ]


def _jobs() -> list[Object]:
    reasons = _metric("ray_scheduler_unscheduleable_tasks")
    return [
        _row("Jobs and queue"),
        _graph(
            "Jobs",
            "Submissions that run, and those that ended since the head's start. Ray has no metric of how a job ended: "
            "`rayjobs list` shows it. Programs that were not submitted are not counted.",
            _query(f"{BY_CLUSTER} ({_supervisors('ALIVE')})", f"{CLUSTER_NAME} run"),
            _query(f"{BY_CLUSTER} ({_supervisors('DEAD')})", f"{CLUSTER_NAME} ended"),
        ),
        _graph(
            "Queue",
            "What waits for a node. `rayjobs why ID` explains one job.",
            _query(WAITING, "tasks and new actors"),
            _query(WAITING_GROUPS, "placement groups"),
        ),
        _graph(
            "Why tasks wait",
            "Infeasible: no node is large enough, and a new one must come. The other reasons pass when running tasks "
            "end. A node counts at most a few tasks of each kind here.",
            _query(f"sum by (Reason) ({reasons}) > 0", "{{Reason}}"),
        ),
    ]


def _nodes() -> list[Object]:
    group = f"{CLUSTER_NAME} {{{{NodeType}}}}"
    by_group = "sum by (namespace, ray_io_cluster, NodeType)"
    return [
        _row("Autoscaling"),
        _graph(
            "Nodes by group",
            "Pods whose Ray runs, as the autoscaler counts them.",
            _query(f"{by_group} ({_metric('autoscaler_active_nodes')})", group),
            size=WIDE,
        ),
        _graph(
            "Nodes that come and go",
            "Pods that the autoscaler waits for, and those that it deletes now (Ray calls them failed).",
            _query(f"{by_group} ({PENDING_NODES}) > 0", f"{group} pending"),
            _query(f"{by_group} ({_metric('autoscaler_recently_failed_nodes')}) > 0", f"{group} deleting"),
            size=WIDE,
        ),
    ]


def _use() -> list[Object]:
    used_cpu = f"{CPUS} * {_metric('ray_node_cpu_utilization')} / 100"
    store = _metric("ray_object_store_memory", 'Location=~"MMAP_.+"')
    spilled = _metric("ray_object_store_memory", 'Location="SPILLED"')
    return [
        _row("Use of what is there"),
        _graph(
            "CPUs",
            "There: CPUs of tasks and actors, without the head if it takes none. Reserved: those that they request. "
            "Used: what the pods compute, the head included.",
            _query(f"sum({_logical('CPU')})", "there"),
            _query(f"sum({_logical('CPU', 'USED')})", "reserved"),
            _query(f"sum({used_cpu})", "used"),
            size=WIDE,
        ),
        _graph(
            "GPUs",
            "There: GPUs of the nodes. Reserved: those that tasks and actors request. Used: what they compute, where "
            "Ray can read it from the device.",
            _query(f"sum({_logical('GPU')})", "there"),
            _query(f"sum({_logical('GPU', 'USED')})", "reserved"),
            _query(f"sum({_metric('ray_node_gpus_utilization')}) / 100", "used"),
            size=WIDE,
        ),
        _graph(
            "Memory",
            "There: memory limits of the pods. Used: what their processes hold, the object store included.",
            _query(f"sum({_metric('ray_node_mem_total')})", "there"),
            _query(f"sum({_metric('ray_node_mem_used')})", "used"),
            unit="bytes",
            size=WIDE,
        ),
        _graph(
            "Object store",
            "There: sizes of the object stores. Used: objects in them. Spilled: objects that are on disk now.",
            _query(f"sum({_logical('object_store_memory')})", "there"),
            _query(f"sum({store})", "used"),
            _query(f"sum({spilled})", "spilled"),
            unit="bytes",
            size=WIDE,
        ),
    ]


def _cost() -> list[Object]:
    cpus = (
        "CPUs of all pods of Ray at each minute, the head included: the whole CPUs of each pod's limit, used or not. "
        "Reserved: those that tasks and actors requested."
    )
    gpus = "GPUs of all nodes at each minute, used or not. Reserved: those that tasks and actors requested."
    return [
        _row("Cost"),
        _stat(
            "CPU-hours",
            f"In the range at the top of the page. {cpus}",
            _query(_hours(CPUS, "$__range"), CLUSTER_NAME),
            _query(_hours(_logical("CPU", "USED"), "$__range"), f"{CLUSTER_NAME} reserved"),
            size=WIDE,
            decimals=1,
        ),
        _stat(
            "GPU-hours",
            f"In the range at the top of the page. {gpus}",
            _query(_hours(_logical("GPU"), "$__range"), CLUSTER_NAME),
            _query(_hours(_logical("GPU", "USED"), "$__range"), f"{CLUSTER_NAME} reserved"),
            size=WIDE,
            decimals=1,
        ),
        _hourly("CPU-hours of each hour", cpus, _query(_hours(CPUS, "1h"), CLUSTER_NAME)),
        _hourly("GPU-hours of each hour", gpus, _query(_hours(_logical("GPU"), "1h"), CLUSTER_NAME)),
    ]


def _failures() -> list[Object]:
    kills = _metric("ray_memory_manager_worker_eviction_total")
    lost = _metric("ray_node_manager_unexpected_worker_failure_total")
    spilled = _metric("ray_spill_manager_objects_bytes", 'State="Spilled"')
    by_name, name = "sum by (namespace, ray_io_cluster, Name)", f"{CLUSTER_NAME} {{{{Name}}}}"
    started = _metric("process_start_time_seconds", 'ray_io_node_type="head"')
    return [
        _row("Failures"),
        _graph(
            "Killed for memory, and other lost workers",
            "Since the start of each node: tasks and actors that Ray killed because the node was out of memory, and "
            "worker processes that ended by themselves. `rayjobs why ID` names the task.",
            _query(f"{by_name} ({kills})", f"{name} killed for memory"),
            _query(f"{by_name} ({lost})", f"{name} lost"),
        ),
        _graph(
            "Spilling",
            "Bytes a second that the object store moves to the disk, because it is full.",
            _query(
                f"sum by (namespace, ray_io_cluster, ray_io_group) (rate({spilled}[$__rate_interval]))",
                f"{CLUSTER_NAME} {{{{ray_io_group}}}}",
            ),
            unit="Bps",
        ),
        _graph(
            "Restarts of the head",
            "Starts of the head, and with it of the GCS, in 15 minutes. Without fault tolerance each ends all jobs.",
            _query(f"changes(max by (namespace, ray_io_cluster) ({started})[15m:1m])", CLUSTER_NAME),
        ),
    ]
