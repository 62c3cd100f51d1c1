"""Manifests against the pinned version's CRD."""

from __future__ import annotations

from tests.unit.components.checked import problem


def test_an_unknown_field_deep_in_a_pod_template_is_named() -> None:
    text = problem(workerGroups={"a": {"podTemplate": {"spec": {"tolerationz": []}}}})
    assert "spec.workerGroupSpecs[0].template.spec.tolerationz" in text


def test_a_wrong_type_is_named() -> None:
    assert "spec.headGroupSpec.enableIngress" in problem(spec={"headGroupSpec": {"enableIngress": "yes"}})


def test_a_value_of_an_environment_variable_is_shown_by_no_schema_error() -> None:
    container = {"name": "ray-head", "env": [{"name": "TOKEN", "value": 31415}]}
    text = problem(head={"podTemplate": {"spec": {"containers": [container]}}})
    assert "containers[0].env[0].value: (value not shown) type: string" in text
    assert "31415" not in text


def test_a_feature_of_a_newer_version_is_refused() -> None:
    assert "spec.networkPolicy" in problem("v1.6.2", spec={"networkPolicy": {"mode": "DenyAll"}})
