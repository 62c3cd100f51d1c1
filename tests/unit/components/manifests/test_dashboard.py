"""Our dashboard: a page that Grafana can lay out, with expressions that Prometheus can parse and evaluate."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.manifests.dashboard import dashboard
from components.settings import parse
from tests.support.promtool import check_rules, check_samples, unknown_metrics

TWO = [{"name": "ray", "namespace": "team"}, {"name": "ray-2", "namespace": "other"}]
VARIABLES = {
    "$namespace": "team|other",
    "$ray_io_cluster": "ray|ray-2",
    "$__range": "2h",
    "$__rate_interval": "5m",
}


def model() -> Any:
    return dashboard(parse({"clusters": TWO}).clusters)


def panels() -> list[Any]:
    return [panel for panel in model()["panels"] if panel["type"] != "row"]


def with_values(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def expressions() -> Iterator[str]:
    for panel in panels():
        for target in panel["targets"]:
            yield with_values(target["expr"])


def test_it_has_the_form_of_rays_own_dashboards() -> None:
    page = model()
    assert (page["uid"], page["title"], page["schemaVersion"]) == ("rayOnKubernetes", "Ray jobs and costs", 27)
    datasource, *variables = page["templating"]["list"]
    assert (datasource["name"], datasource["type"], datasource["query"]) == ("datasource", "datasource", "prometheus")
    assert [variable["name"] for variable in variables] == ["namespace", "ray_io_cluster"]
    assert {each["datasource"] for each in [*variables, *panels()]} == {"${datasource}"}
    assert json.loads(json.dumps(page)) == page


def test_every_panel_has_an_id_of_its_own_a_title_and_a_text_and_every_target_an_expression() -> None:
    ids = [panel["id"] for panel in model()["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in model()["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["type"] in ("stat", "timeseries")
        assert panel["description"].endswith(".")
        assert panel["targets"]
        assert all(target["expr"] for target in panel["targets"])
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)


def test_no_panel_lies_on_another_or_outside_the_page() -> None:
    places = [panel["gridPos"] for panel in model()["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_every_expression_is_one_that_prometheus_parses(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    assert not [rule for rule in rules if "$" in rule["expr"]]
    check_rules([{"name": "panels", "rules": rules}], tmp_path)


def test_every_expression_is_limited_to_the_chosen_clusters_and_to_metrics_that_somebody_exports() -> None:
    for panel in panels():
        for target in panel["targets"]:
            chosen = target["expr"].count('namespace=~"$namespace",ray_io_cluster=~"$ray_io_cluster"')
            assert chosen == target["expr"].count("{") > 0
    assert unknown_metrics(expressions()) == set()


def test_the_clusters_of_the_stack_are_chosen_at_first_and_every_other_is_offered() -> None:
    _, namespace, cluster = model()["templating"]["list"]
    assert (namespace["current"]["value"], cluster["current"]["value"]) == (["team", "other"], ["ray", "ray-2"])
    assert {one["allValue"] for one in (namespace, cluster)} == {".+"}
    assert 'namespace=~"$namespace"' in cluster["query"]["query"]


def test_a_stack_without_clusters_begins_with_all_that_there_are() -> None:
    assert [one["current"]["value"] for one in dashboard([])["templating"]["list"][1:]] == [["$__all"], ["$__all"]]


def test_the_page_has_jobs_queue_autoscaling_use_cost_and_failures() -> None:
    rows = [panel["title"] for panel in model()["panels"] if panel["type"] == "row"]
    assert rows == ["Jobs and queue", "Autoscaling", "Use of what is there", "Cost", "Failures"]


@pytest.mark.parametrize(
    ("title", "values", "expected"),
    [
        # Two nodes of 4 CPUs for two hours, one of 8 for the second hour.
        ("CPU-hours", {"a": "4+0x119", "b": "4+0x119", "c": "_x60 8+0x59"}, 24.0),
        ("CPU-hours of each hour", {"a": "4+0x20 stale", "b": "_x60 4+0x59", "c": "_x90 8+0x29"}, 8.0),
    ],
)
def test_hours_count_each_node_while_it_is_there(
    title: str, values: dict[str, str], expected: float, tmp_path: Path
) -> None:
    (expr,) = (panel["targets"][0]["expr"] for panel in panels() if panel["title"] == title)
    series = {
        f'ray_node_cpu_count{{namespace="team",ray_io_cluster="ray",pod="{pod}"}}': samples
        for pod, samples in values.items()
    }
    total = {'{namespace="team",ray_io_cluster="ray"}': expected}
    check_samples([], series, {(with_values(expr), "119m"): total}, tmp_path)
