"""What the documents say of settings is true: every example is a stack file, every key is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from components import checks, model, source
from components.settings import Settings, from_config
from tests.unit.trees import tree

PAGES = [source.ROOT / "README.md", *sorted((source.ROOT / "docs").glob("*.md"))]


def examples() -> Iterator[Any]:
    for page in PAGES:
        for index, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)):
            if "ray-on-kubernetes:" in block:
                yield pytest.param(block, id=f"{page.name}-{index}")


@pytest.mark.parametrize("block", list(examples()))
def test_every_example_is_a_stack_file_that_kuberay_takes(block: str) -> None:
    settings = from_config(yaml.safe_load(block)["config"])
    assert checks.rayclusters(settings, tree(settings.kuberay.version))


def keys(settings: type[model.Model]) -> set[str]:
    found = set()
    for field in settings.model_fields.values():
        found.add(str(field.alias))
        inner = model.model_in(field.annotation)
        found |= keys(inner) if inner else set()
    return found


def test_every_setting_is_documented() -> None:
    text = (source.ROOT / "docs" / "configuration.md").read_text()
    assert sorted(key for key in keys(Settings) if not re.search(rf"\b{key}\b", text)) == []
