"""What a preview without the right to read Secrets can check."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks import live_cluster
from components.errors import Forbidden, StackError
from components.settings.settings import Settings, parse
from tests.support.trees import tree


class Api:
    """An API server with every namespace; a Secret is not there, or may not be read."""

    def __init__(self, *, may_read_secrets: bool) -> None:
        self.may_read_secrets = may_read_secrets

    def get(self, path: str, **params: str) -> dict[str, Any] | None:
        if "/secrets/" in path:
            if self.may_read_secrets:
                return None
            raise Forbidden("context ci: not allowed")
        return {"metadata": {}} if path.startswith("/api/v1/namespaces/") else None


SETTINGS = parse({"clusters": [{"createNamespace": False, "auth": {"secretName": "team-token"}}]})


def check(api: Api, preview: bool, settings: Settings = SETTINGS) -> list[str]:
    version = settings.kuberay.version
    return live_cluster.check(api, settings, tree(version), "urn:", preview=preview)  # type: ignore[arg-type]


def test_a_preview_that_may_not_read_a_secret_names_it_and_continues() -> None:
    (line,) = check(Api(may_read_secrets=False), preview=True)
    assert "team-token" in line
    assert "not checked" in line


def test_an_up_that_may_not_read_a_secret_is_refused() -> None:
    with pytest.raises(Forbidden):
        check(Api(may_read_secrets=False), preview=False)


@pytest.mark.parametrize("preview", [True, False])
def test_a_secret_that_is_not_there_is_refused_by_name(preview: bool) -> None:
    with pytest.raises(StackError, match=r"team-token.*: not there"):
        check(Api(may_read_secrets=True), preview)


def test_the_secrets_of_the_operator_and_of_the_autoscaler_are_looked_for_too() -> None:
    env = {"KEY": {"secret": "for-env", "key": "k"}}
    settings = parse(
        {
            "kuberay": {"createNamespace": False, "env": env, "imagePullSecrets": ["pull"]},
            "clusters": [{"createNamespace": False, "autoscaling": {"env": env}}],
        }
    )
    with pytest.raises(StackError) as caught:
        check(Api(may_read_secrets=True), False, settings)
    for name in (
        "ray-system/for-env, which the operator",
        "ray-system/pull, which the operator",
        "ray-cluster/for-env",
    ):
        assert f"Secret {name}" in str(caught.value)


class Monitored(Api):
    """An API server with the kinds and the namespaces that are named."""

    def __init__(self, kinds: list[str], namespaces: list[str]) -> None:
        super().__init__(may_read_secrets=True)
        self.kinds, self.namespaces = kinds, namespaces

    def get(self, path: str, **params: str) -> dict[str, Any] | None:
        if path == "/apis/monitoring.coreos.com/v1":
            return {"resources": [{"kind": kind} for kind in self.kinds]} if self.kinds else None
        if path.startswith("/api/v1/namespaces/"):
            return {"metadata": {}} if path.rpartition("/")[2] in self.namespaces else None
        return super().get(path, **params)


MONITORED = parse(
    {
        "monitoring": {
            "podMonitor": {"namespace": "ray-cluster"},
            "rules": {"namespace": "monitoring"},
            "dashboards": {"namespace": "grafana"},
        }
    }
)


def test_monitoring_on_a_cluster_without_prometheus_operator_is_refused_by_the_kinds_that_are_missing() -> None:
    with pytest.raises(StackError) as caught:
        check(Monitored([], ["monitoring", "grafana"]), True, MONITORED)
    _, first, second = str(caught.value).splitlines()
    assert "`monitoring.podMonitor`: the cluster has no kind PodMonitor (monitoring.coreos.com/v1)" in first
    assert "`monitoring.rules`: the cluster has no kind PrometheusRule" in second
    with pytest.raises(StackError) as caught:
        check(Monitored(["PodMonitor"], ["monitoring", "grafana"]), True, MONITORED)
    assert "PodMonitor (" not in str(caught.value)


def test_a_namespace_of_monitoring_that_is_not_there_is_refused_unless_the_stack_creates_it() -> None:
    kinds = ["PodMonitor", "PrometheusRule"]
    with pytest.raises(StackError) as caught:
        check(Monitored(kinds, ["monitoring"]), True, MONITORED)
    _, line = str(caught.value).splitlines()
    assert line.endswith(
        "`monitoring.dashboards.namespace`: namespace grafana: not there; create it, or name another one"
    )
    assert check(Monitored(kinds, ["monitoring", "grafana"]), True, MONITORED) == []


def test_annotations_and_hosts_need_nothing_on_the_cluster() -> None:
    settings = parse({"monitoring": {"scrapeAnnotations": True, "prometheusHost": "http://p.monitoring:9090"}})
    assert check(Monitored([], []), True, settings) == []
