"""What the engine's event log says, on logs recorded from the engine (see `data/`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops import changes

DATA = Path(__file__).with_name("data")
RAYCLUSTER = "kubernetes:ray.io/v1:RayCluster"


def recorded(name: str) -> list[changes.Change]:
    return changes.read(json.loads(line) for line in (DATA / f"events-{name}.jsonl").read_text().splitlines())


def test_a_first_preview_names_every_object_as_created() -> None:
    found = recorded("create")
    assert {change.operation for change in found} == {"create"}
    kinds = {change.type.rpartition(":")[2] for change in found}
    assert kinds >= {"Namespace", "ServiceAccount", "NetworkPolicy", "RayCluster"}


def test_what_stays_the_same_is_no_change() -> None:
    assert recorded("same") == []


def test_an_update_names_the_object_and_its_fields() -> None:
    (change,) = recorded("update")
    assert (change.operation, change.type) == ("update", RAYCLUSTER)
    assert change.name == "ray-cluster/raycluster-autoscaler"
    assert change.fields == ("spec.autoscalerOptions.idleTimeoutSeconds",)


def test_another_namespace_takes_the_old_objects_away() -> None:
    operations = {(change.operation, change.name) for change in recorded("replace") if change.type == RAYCLUSTER}
    assert operations == {
        ("create", "elsewhere/raycluster-autoscaler"),
        ("delete", "ray-cluster/raycluster-autoscaler"),
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("same", changes.NO_CHANGES),
        ("create", changes.CHANGES),
        ("update", changes.CHANGES),
        ("replace", changes.DESTRUCTIVE),
    ],
)
def test_the_exit_code_tells_no_changes_changes_and_destructive_ones_apart(name: str, code: int) -> None:
    assert changes.exit_code(recorded(name)) == code


@pytest.mark.parametrize("operation", ["replace", "create-replacement", "delete-replaced"])
def test_a_replacement_is_destructive_although_it_makes_something(operation: str) -> None:
    assert changes.exit_code([changes.Change(operation, RAYCLUSTER, "ray")]) == changes.DESTRUCTIVE


def test_the_exit_codes_are_four_different_ones() -> None:
    assert len({changes.NO_CHANGES, changes.ERROR, changes.CHANGES, changes.DESTRUCTIVE}) == 4


def test_the_summary_has_a_line_for_each_change() -> None:
    assert changes.summary([]) == "no changes"
    assert changes.summary(recorded("update")).splitlines() == [
        "1 change:",
        f"  update   {RAYCLUSTER} ray-cluster/raycluster-autoscaler [spec.autoscalerOptions.idleTimeoutSeconds]",
    ]
