"""Environment variables that refer to each other as `$(NAME)`."""

from __future__ import annotations

from typing import Any

import pytest

from components.errors import StackError
from components.manifests import raycluster
from components.settings import parse
from components.settings.env import in_order, references
from components.settings.settings import typed_keys


def container(**head: Any) -> dict[str, Any]:
    (cluster,) = parse({"clusters": [{"head": head}]}).clusters
    found: dict[str, Any] = raycluster.manifest(cluster, "v1.7.0")["spec"]["headGroupSpec"]["template"]["spec"]
    return dict(found["containers"][0])


def names(env: Any) -> list[str]:
    return [entry["name"] for entry in container(env=env)["env"]]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("http://$(A):$(B)", ["A", "B"]),
        ("$$(A)", []),
        ("$$$(A)", ["A"]),
        ("$A ${A} $(A", []),
        ("$(A.b-c_1)$(date +%s)", ["A.b-c_1", "date +%s"]),
        ("$($(A))", ["$(A"]),
        ("", []),
    ],
)
def test_references_are_those_that_kubernetes_looks_up(value: str, found: list[str]) -> None:
    assert references(value) == found


def test_a_variable_comes_after_those_that_it_refers_to() -> None:
    assert names({"A_URL": "http://$(Z_HOST)", "Z_HOST": "h"}) == ["Z_HOST", "A_URL"]
    chain = {"A": "$(B)", "B": "$(C)/$(D)", "C": "c", "D": {"secret": "s", "key": "k"}}
    assert names(chain) == ["C", "D", "B", "A"]


def test_variables_without_references_keep_their_order() -> None:
    assert names({"B": "1", "A": "$$(C)", "C": "$(unknown)"}) == ["B", "A", "C"]


def test_a_list_keeps_its_order_and_may_have_values_from_kubernetes() -> None:
    items = [
        {"name": "Z", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "B", "value": 1},
        {"name": "A", "value": "http://$(Z)"},
        {"name": "S", "secret": "s", "key": "k"},
        {"name": "EMPTY"},
    ]
    assert container(env=items)["env"] == [
        items[0],
        {"name": "B", "value": "1"},
        items[2],
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "EMPTY", "value": ""},
    ]


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"A": "$(B)", "B": "hunter2 $(A)"}, r"A -> B -> A: they refer to each other in a circle"),
        ({"X": "1", "A": "$(B)", "B": "$(C)", "C": "$(B)hunter2"}, r"B -> C -> B"),
        ({"PATH": "/opt/hunter2:$(PATH)"}, r"env\.PATH: refers to itself"),
        ([{"name": "A", "value": "$(B)hunter2"}, {"name": "B", "value": "b"}], "A refers to B; .* B before A"),
        ([{"name": "A", "value": "hunter2"}, {"name": "A"}], "names used twice: A"),
        ([{"value": "hunter2"}], "requires a `name`"),
        ([{"name": "A", "value": "x", "valueFrom": {}}], r"env\.A\.value: unknown key"),
        ({"A": {"valueFrom": "hunter2"}}, r"env\.A\.valueFrom: "),
    ],
)
def test_what_can_never_be_expanded_is_refused(env: Any, problem: str) -> None:
    for cluster in ({"head": {"env": env}}, {"autoscaling": {"env": env}}):
        with pytest.raises(StackError, match=problem) as caught:
            parse({"clusters": [cluster]})
        assert "hunter2" not in str(caught.value)


def test_a_variable_of_a_secret_may_be_extended() -> None:
    assert container(env={"PATH": "/opt/bin:$(PATH)"}, envFromSecrets=["paths"])["env"][0]["name"] == "PATH"


def test_long_chains_need_no_deep_stack() -> None:
    env = {f"V{number:04}": f"$(V{number + 1:04})" for number in range(2000)} | {"V2000": "x"}
    assert in_order(env)[0] == "V2000"


def test_numbers_in_a_list_are_read_as_typed() -> None:
    text = "config:\n  ray-on-kubernetes:clusters:\n  - head: {env: [{name: A, value: 4}, {name: B, value: 0755}]}\n"
    env = [{"name": "A", "value": 4}, {"name": "B", "value": 493}]
    with pytest.raises(StackError, match=r"head\.env\.B: .*write it in quotes") as caught:
        parse({"clusters": [{"head": {"env": env}}]}, typed_keys(text))
    assert "env.A" not in str(caught.value)


def test_a_variable_may_refer_to_one_of_the_pod_template() -> None:
    ip = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    template = {"spec": {"containers": [{"name": "ray-head", "env": [ip]}]}}
    assert container(env={"URL": "http://$(POD_IP)"}, podTemplate=template)["env"] == [
        ip,
        {"name": "URL", "value": "http://$(POD_IP)"},
    ]
