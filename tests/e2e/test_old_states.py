"""A stack whose state was written before the code moved into folders, under the code of today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack

# `__provider` of each dynamic resource, as the code of commit d445a80 wrote it.
OLD = json.loads((Path(__file__).parents[1] / "unit/components/data/providers-d445a80.json").read_text())


def suspend(config: dict[str, Any]) -> None:
    config["clusters"][0]["suspend"] = True


def use_old_providers(stack: Stack) -> int:
    """Writes the providers of the old code into the state; the number of places."""
    file = stack.folder / "exported.json"
    stack.cli(["stack", "export", "--stack", stack.name, "--file", str(file)], check=True)
    deployment = json.loads(file.read_text())
    places = 0
    for resource in deployment["deployment"]["resources"]:
        for values in (resource.get("inputs") or {}, resource.get("outputs") or {}):
            if "__provider" in values:
                values["__provider"] = OLD[resource["type"].rpartition(":")[2]]
                places += 1
    file.write_text(json.dumps(deployment))
    stack.cli(["stack", "import", "--stack", stack.name, "--file", str(file)], check=True)
    return places


@pytest.mark.timeout(600)
def test_a_state_of_the_code_before_the_move_is_the_same_to_every_operation(stack: Stack) -> None:
    stack.configure(suspend)
    stack.up()
    assert use_old_providers(stack) >= 3
    for operation in (stack.refresh, stack.preview, stack.up):
        assert operation().changes == []
    use_old_providers(stack)
    stack.destroy()
    assert stack.objects() == []
