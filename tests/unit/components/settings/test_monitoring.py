"""The key `monitoring`: what each wrong value is told."""

from __future__ import annotations

from typing import Any

import pytest

from components.errors import StackError
from components.settings import parse

PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def problem(monitoring: Any, **more: Any) -> str:
    with pytest.raises(StackError) as caught:
        parse({"monitoring": monitoring, **more})
    (line,) = str(caught.value).splitlines()[1:]
    return line.strip("- ")


def test_nothing_is_monitored_by_default() -> None:
    assert not parse({}).monitoring.has_objects
    assert not parse({"monitoring": {"podMonitor": False, "rules": False}}).monitoring.has_objects


def test_true_stands_for_the_defaults() -> None:
    monitoring = parse({"monitoring": {"podMonitor": True, "rules": True}}).monitoring
    assert monitoring.pod_monitor
    assert monitoring.pod_monitor.interval == "30s"
    assert monitoring.rules


@pytest.mark.parametrize(
    ("monitoring", "said"),
    [
        ({"podMonitors": True}, "monitoring.podMonitors: unknown key; did you mean podMonitor? allowed: "),
        ({"podMonitor": "yes"}, 'monitoring.podMonitor: "yes": allowed: true, false, or an object'),
        ({"podMonitor": {"interval": "30"}}, 'monitoring.podMonitor.interval: "30": not such a time; allowed: 1s'),
        ({"podMonitor": {"interval": "0s"}}, 'monitoring.podMonitor.interval: "0s": not such a time; allowed: 1s to'),
        ({"podMonitor": {"interval": "10m"}}, 'monitoring.podMonitor.interval: "10m": not such a time; allowed: 1s'),
        ({"podMonitor": {"labels": {"a b": "c"}}}, "monitoring.podMonitor.labels.a b"),
        ({"rules": True}, "monitoring.rules: set without `podMonitor`"),
        ({"podMonitor": True, "rules": {"namespace": "A"}}, 'monitoring.rules.namespace: "A": not a valid name'),
        ({"podMonitor": True, "scrapeAnnotations": True}, "monitoring.scrapeAnnotations: true: together with"),
        ({"dashboards": True}, "monitoring.dashboards: true: allowed: an object"),
        ({"dashboards": {}}, "monitoring.dashboards.namespace: is missing"),
        ({"dashboards": {"namespace": "m", "label": "-x"}}, 'monitoring.dashboards.label: "-x": not a key; allowed:'),
        ({"dashboards": {"namespace": "m", "label": "a=1"}}, 'monitoring.dashboards.label: "a=1": not a key; allowed:'),
        ({"scrapeFrom": [{}]}, "monitoring.scrapeFrom: a list: not a list of NetworkPolicy peers"),
        ({"scrapeFrom": [{"namespaceSelector": {}}]}, "monitoring.scrapeFrom: lets every pod of the Kubernetes"),
        ({"prometheusHost": "prometheus:9090"}, 'monitoring.prometheusHost: "prometheus:9090": must be an http or'),
        ({"prometheusHost": "http://p:99999"}, 'monitoring.prometheusHost: "http://p:99999": must be an http or'),
        ({"grafanaHost": "https://"}, 'monitoring.grafanaHost: "https://": must be an http or https URL, such as'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_allowed(monitoring: Any, said: str) -> None:
    assert problem(monitoring).startswith(said)


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    for key in ("prometheusHost", "grafanaHost"):
        for url in ("https://admin:hunter2@p.example.com", "https://p.example.com/?token=hunter2"):
            line = problem({key: url})
            assert "hunter2" not in line
            assert line.startswith(f"monitoring.{key}: (value not shown): must have no user, password, query")


def test_a_scraper_without_a_network_policy_to_let_it_in_is_refused() -> None:
    closed = [{"networkPolicy": {"enabled": False}}]
    line = problem({"podMonitor": True, "scrapeFrom": [PEER]}, clusters=closed)
    assert line.startswith("monitoring.scrapeFrom: set, but no cluster has NetworkPolicies")
    parse({"monitoring": {"podMonitor": True, "scrapeFrom": [PEER]}, "clusters": [*closed, {"name": "b"}]})


def test_the_operators_flag_has_a_setting_and_needs_a_version_that_knows_it() -> None:
    with pytest.raises(StackError, match=r"kuberay.args\[0\]: this flag has its own setting; allowed: `metrics`"):
        parse({"kuberay": {"args": ["--enable-metrics=false"]}})
    with pytest.raises(StackError, match=r"kuberay.metrics: true: needs KubeRay v1.4.0, this is v1.3.2"):
        parse({"kuberay": {"metrics": True, "version": "v1.3.2"}})
    with pytest.raises(StackError, match=r"kuberay.metrics: set, but the stack does not install"):
        parse({"kuberay": {"metrics": True, "operator": "existing"}, "clusters": [{"createNamespace": False}]})


def test_the_slash_at_the_end_of_a_url_goes_because_ray_puts_a_path_behind_it() -> None:
    assert parse({"monitoring": {"grafanaHost": "https://g.example.com/a/"}}).monitoring.grafana_host == (
        "https://g.example.com/a"
    )
