from __future__ import annotations

from typing import Any

import pytest

from components.manifests import raycluster
from components.manifests.merge import deep_merge
from components.settings import parse


def test_null_removes_a_key() -> None:
    assert deep_merge({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": None}}) == {"a": 1, "b": {"d": 3}}


def test_named_items_merge_by_name_and_keep_their_order() -> None:
    base = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]
    assert deep_merge(base, [{"name": "b", "y": 3}, {"name": "c"}]) == [
        {"name": "a", "x": 1},
        {"name": "b", "x": 2, "y": 3},
        {"name": "c"},
    ]


def test_other_lists_are_replaced() -> None:
    assert deep_merge({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}


def test_neither_side_is_changed() -> None:
    base, override = {"a": {"b": 1}}, {"a": {"c": 2}}
    deep_merge(base, override)
    assert (base, override) == ({"a": {"b": 1}}, {"a": {"c": 2}})


CACHE = {"name": "cache", "emptyDir": {}}
SCRATCH = {"name": "scratch", "emptyDir": {}}
ZONE = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
HOST = {"topologyKey": "host", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
SPOT, GPU = ({"key": key, "operator": "Exists"} for key in ("spot", "gpu"))


@pytest.mark.parametrize(
    ("settings", "container", "spec", "field", "expected"),
    [
        (
            {"envFromSecrets": ["more"]},
            {"envFrom": [{"configMapRef": {"name": "own"}}, {"secretRef": {"name": "more"}}]},
            {},
            "envFrom",
            [{"secretRef": {"name": "more"}}, {"configMapRef": {"name": "own"}}],
        ),
        (
            {"env": {"A": "1", "B": "1"}},
            {"env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]},
            {},
            "env",
            [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
        ),
        (
            {"volumes": [CACHE, SCRATCH], "volumeMounts": [{"name": "cache", "mountPath": "/a"}]},
            {"volumeMounts": [{"name": "scratch", "mountPath": "/b"}]},
            {},
            "volumeMounts",
            [{"name": "cache", "mountPath": "/a"}, {"name": "scratch", "mountPath": "/b"}],
        ),
        ({"volumes": [CACHE]}, {}, {"volumes": [SCRATCH]}, "volumes", [CACHE, SCRATCH]),
        ({"tolerations": [SPOT]}, {}, {"tolerations": [GPU, SPOT]}, "tolerations", [SPOT, GPU]),
        (
            {"topologySpreadConstraints": [ZONE]},
            {},
            {"topologySpreadConstraints": [HOST, {"topologyKey": "zone", "maxSkew": 2}]},
            "topologySpreadConstraints",
            [{**ZONE, "maxSkew": 2}, HOST],
        ),
        (
            {"imagePullSecrets": ["a"]},
            {},
            {"imagePullSecrets": [{"name": "b"}]},
            "imagePullSecrets",
            [{"name": "a"}, {"name": "b"}],
        ),
        ({"tolerations": [SPOT]}, {}, {"tolerations": None}, "tolerations", None),
        ({"envFromSecrets": ["more"]}, {"envFrom": None}, {}, "envFrom", None),
    ],
)
def test_a_list_of_the_settings_is_not_lost_when_the_pod_template_sets_it(
    settings: dict[str, Any], container: dict[str, Any], spec: dict[str, Any], field: str, expected: Any
) -> None:
    template = {"spec": {**spec, "containers": [{"name": "ray-worker", **container}]}}
    (cluster,) = parse({"clusters": [{"workerGroups": {"w": {**settings, "podTemplate": template}}}]}).clusters
    merged = raycluster.manifest(cluster, "v1.7.0")["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert (merged["containers"][0] if container else merged).get(field) == expected


def test_terms_of_an_affinity_are_replaced_as_kubernetes_replaces_them() -> None:
    base = {"required": [{"topologyKey": "zone", "labelSelector": {"a": 1}}]}
    assert deep_merge(base, {"required": [{"topologyKey": "zone"}]}) == {"required": [{"topologyKey": "zone"}]}
