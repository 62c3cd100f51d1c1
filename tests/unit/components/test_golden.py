"""The manifests of every option, as files that a reviewer can read. `UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml

from components.settings import Settings
from components.settings.fields import Model, model_in
from tests.unit.components.golden_cases import (
    CASES,
    GOLDEN,
    OPERATOR_CASES,
    manifests,
    operator_overlay,
    operator_settings,
    settings,
)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(documents: list[dict[str, Any]]) -> str:
    return str(yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120))


def golden(name: str, documents: list[dict[str, Any]]) -> None:
    file = GOLDEN / f"{name}.yaml"
    text = dumped(documents)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", CASES)
def test_the_manifests_of_an_option_are_the_golden_ones(name: str) -> None:
    golden(name, manifests(settings(name)))


@pytest.mark.parametrize("name", OPERATOR_CASES)
def test_the_overlay_of_an_option_of_the_operator_is_the_golden_one(name: str) -> None:
    golden(name, operator_overlay(operator_settings(name)))


def test_no_golden_file_is_left_over() -> None:
    there = [str(file.relative_to(GOLDEN).with_suffix("")) for file in GOLDEN.rglob("*.yaml")]
    assert sorted(there) == sorted([*CASES, *OPERATOR_CASES])


# Of the cluster that the stack goes to, of the engine, and of who owns what: no manifest has them.
IN_NO_MANIFEST = {
    # In ConfigMaps that go around the engine: grafana/test_dashboards.py.
    "Dashboards.folder",
    "Dashboards.label",
    "Dashboards.namespace",
    "Monitoring.dashboards",
    "Settings.adopt",
    "Settings.aliases",
    "Settings.confirmRestart",
    "Settings.kubeContext",
    "Settings.kubeconfig",
    "Settings.protect",
    "Settings.renderTo",
    "KubeRay.crds",
    "KubeRay.createNamespace",
    "KubeRay.operator",
    "KubeRay.retainCrds",
    "KubeRay.source",
    "Keeper.readyTimeoutSeconds",
    "RayClusterSettings.deleteTimeoutSeconds",
    "RayClusterSettings.readyTimeoutSeconds",
}


def named(settings: type[Model], field: str) -> str:
    """A setting by the class that has it, so that a head's and a worker's are one where they are one."""
    owner = next(one for one in settings.__mro__ if field in one.__annotations__)
    return f"{owner.__name__}.{settings.model_fields[field].alias}"


def all_of(settings: type[Model]) -> set[str]:
    found = set()
    for name, field in settings.model_fields.items():
        found.add(named(settings, name))
        inner = model_in(field.annotation)
        found |= all_of(inner) if inner else set()
    return found


def stated(value: Any) -> set[str]:
    """The settings that were written, rather than left to their defaults."""
    if isinstance(value, Model):
        own = {named(type(value), name) for name in value.model_fields_set}
        return own.union(*(stated(getattr(value, name)) for name in value.model_fields_set))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return set().union(*map(stated, items))


def test_every_setting_that_a_manifest_has_is_in_a_golden_case() -> None:
    cases = [*map(settings, CASES), *map(operator_settings, OPERATOR_CASES)]
    assert sorted(all_of(Settings) - IN_NO_MANIFEST - set().union(*map(stated, cases))) == []


def test_every_option_changes_something() -> None:
    texts = {name: (GOLDEN / f"{name}.yaml").read_text() for name in CASES if name not in ("default", "v1.6.2")}
    assert len(set(texts.values()) - {(GOLDEN / "default.yaml").read_text()}) == len(texts)
