"""Text of a stack file that YAML reads as a number, a boolean or a date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.settings import Settings, from_stack_file, parse
from components.settings.settings import typed_keys
from tests.support.trees import tree

# What the real engine (Pulumi 3.274) gives the program for a text without quotes.
CHANGED: dict[str, Any] = {
    "012345678901": 12345678901, "0755": 493, "0o755": 493, "1.10": 1.1, "1e3": 1000, "0x1F": 31, "0b11": 3,
    "1_000": 1000, "+1": 1, "-0": 0, "1.0": 1, ".5": 0.5, "01": 1, "12345678901234567890": 1.2345678901234567e19,
    "True": True, "FALSE": False, "2026-01-02": "2026-01-02 00:00:00 +0000 UTC",
    "2026-01-02T03:04:05.5+02:00": "2026-01-02 03:04:05.5 +0200 +0200",
}  # fmt: skip
KEPT: dict[str, Any] = {
    "4": 4, "0": 0, "-1": -1, "1.5": 1.5, "true": True, "false": False, "yes": "yes", "22:22": "22:22", "h": "h",
    "'0755'": "0755", '"1.10"': "1.10", "!!str 012": "012", "'2026-01-02'": "2026-01-02",
}  # fmt: skip


def read(pod: str, values: dict[str, Any]) -> Settings:
    """The settings of a stack file as the engine's program reads them."""
    text = f"config:\n  ray-on-kubernetes:clusters:\n  - workerGroups:\n      w:\n        {pod}\n"
    return parse({"clusters": [{"workerGroups": {"w": values}}]}, typed_keys(text))


@pytest.mark.parametrize("key", ["env", "nodeSelector", "labels", "annotations", "rayStartParams"])
@pytest.mark.parametrize("typed", CHANGED)
def test_a_text_that_yaml_changes_is_refused(key: str, typed: str) -> None:
    with pytest.raises(StackError, match="write it in quotes") as caught:
        read(f"{key}: {{A: {typed}}}", {key: {"A": CHANGED[typed]}})
    assert f"clusters[0].workerGroups.w.{key}.A: " in str(caught.value)
    assert (json.dumps(typed) in str(caught.value)) == (key != "env"), "values of env are not shown"


@pytest.mark.parametrize("typed", KEPT)
def test_a_text_that_yaml_keeps_is_accepted(typed: str) -> None:
    group = read(f"env: {{A: {typed}}}", {"env": {"A": KEPT[typed]}}).clusters[0].worker_groups["w"]
    assert group.env["A"] == typed.removeprefix("!!str ").strip("'\"")


def test_numbers_and_booleans_that_no_file_shows_are_refused() -> None:
    """With `--config-file` or values of an environment the text is not known."""
    with pytest.raises(StackError, match="write it in quotes"):
        parse({"clusters": [{"head": {"env": {"A": 493}}}]}, {})
    assert parse({"clusters": [{"head": {"env": {"A": "493"}}}]}, {})


def test_a_password_among_the_start_parameters_is_not_shown() -> None:
    with pytest.raises(StackError, match=r"redis-password: \(value not shown\): .*write it in quotes"):
        read("rayStartParams: {redis-password: 0123}", {"rayStartParams": {"redis-password": 83}})


def test_worker_groups_as_a_list_and_aliases_are_found_in_the_file() -> None:
    text = """config:
  ray-on-kubernetes:clusters:
  - head: &head
      env: {A: 4}
    workerGroups:
    - name: a
      env: {B: 5}
    - name: b
      <<: *head
"""
    groups = [{"name": "a", "env": {"B": 5}}, {"name": "b", "env": {"A": 4}}]
    settings = parse({"clusters": [{"head": {"env": {"A": 4}}, "workerGroups": groups}]}, typed_keys(text))
    assert [group.env for group in settings.clusters[0].worker_groups.values()] == [{"B": "5"}, {"A": "4"}]


@pytest.mark.parametrize(("typed", "key"), [("012", "10"), ("1.10", "1.1"), ("TRUE", "true"), ("0x1F", "31")])
def test_a_key_that_yaml_changes_is_refused(typed: str, key: str) -> None:
    with pytest.raises(StackError, match=rf'labels\.{typed}: "{typed}".* write it in quotes'):
        read(f"labels: {{{typed}: x}}", {"labels": {key: "x"}})
    assert read(f"labels: {{'{typed}': x}}", {"labels": {typed: "x"}})


def test_a_date_is_refused_in_every_place() -> None:
    pod = "tolerations: [{key: since, value: 2026-01-02}]"
    with pytest.raises(StackError, match=r'tolerations\[0\]\.value: "2026-01-02".* write it in quotes'):
        read(pod, {"tolerations": [{"key": "since", "value": "2026-01-02 00:00:00 +0000 UTC"}]})


@pytest.mark.parametrize(("typed", "value"), [("012", "10"), ("1.10", "1.1")])
def test_a_setting_that_is_one_text_is_refused_too(typed: str, value: str) -> None:
    text = "config:\n  ray-on-kubernetes:kubeContext: "
    with pytest.raises(StackError, match=rf'kubeContext: "{typed}".* write it in quotes'):
        parse({"kubeContext": value}, typed_keys(text + typed))
    assert parse({"kubeContext": typed}, typed_keys(f"{text}'{typed}'")).kube_context == typed
    assert parse({"kubeContext": "other"}, typed_keys(text + "prod")).kube_context == "other"


@pytest.mark.parametrize(
    "pod",
    [
        {"tolerations": [{"key": "a", "value": 10}]},
        {"podTemplate": {"metadata": {"annotations": {"a": 1.1}}}},
        {"podTemplate": {"spec": {"nodeSelector": {"a": True}}}},
        {"podTemplate": {"spec": {"containers": [{"name": "ray-worker", "env": [{"name": "A", "value": 1}]}]}}},
    ],
)
def test_numbers_in_objects_of_kubernetes_are_refused(pod: dict[str, Any]) -> None:
    settings = parse({"clusters": [{"workerGroups": {"w": pod}}]})
    with pytest.raises(StackError, match="write it in quotes"):
        build_and_check(settings, tree("v1.7.0"))


@pytest.mark.parametrize(
    "selector", [{"matchLabels": {"a": 1.1}}, {"matchExpressions": [{"key": "a", "operator": "In", "values": [True]}]}]
)
def test_numbers_in_selectors_of_a_network_policy_are_refused(selector: dict[str, Any]) -> None:
    with pytest.raises(StackError, match="write it in quotes"):
        parse({"clusters": [{"networkPolicy": {"allowFrom": [{"podSelector": selector}]}}]})


def test_a_stack_file_read_without_the_engine_follows_the_same_rules(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(
        "config:\n  ray-on-kubernetes:clusters:\n  - head: {env: {MODE: 0755, N: 4, TIME: 22:22, YES: yes}}\n"
    )
    with pytest.raises(StackError, match=r"head\.env\.MODE") as caught:
        from_stack_file(file)
    assert "env.N" not in str(caught.value)
    file.write_text(file.read_text().replace("0755", "'0755'"))
    env = from_stack_file(file).clusters[0].head.env
    assert env == {"MODE": "0755", "N": "4", "TIME": "22:22", "YES": "yes"}
