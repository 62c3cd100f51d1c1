"""What the documents say of settings and tests is true: every example is a stack file, every name is there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from components.checks.manifests import build_and_check
from components.kuberay import source
from components.settings import Settings, from_config
from components.settings.fields import Model, model_in
from tests.support.documents import all_stack_files
from tests.unit.components.trees import tree

EXAMPLES = all_stack_files()


@pytest.mark.parametrize("config", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_every_example_is_a_stack_file_that_kuberay_takes(config: dict[str, Any]) -> None:
    settings = from_config(config)
    manifests = build_and_check(settings, tree(settings.kuberay.version))
    assert len(manifests) == len(settings.clusters)


def keys(settings: type[Model]) -> set[str]:
    found = set()
    for field in settings.model_fields.values():
        found.add(str(field.alias))
        inner = model_in(field.annotation)
        found |= keys(inner) if inner else set()
    return found


def test_every_setting_is_documented() -> None:
    text = (source.ROOT / "docs" / "configuration.md").read_text()
    assert sorted(key for key in keys(Settings) if not re.search(rf"\b{key}\b", text)) == []


def names_of_tests() -> set[str]:
    files = (source.ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}


def test_every_promise_of_jobs_has_tests_that_exist() -> None:
    rows = re.findall(r"^\| (.+) \| `.+ \| `(test_\w+)` \|$", (source.ROOT / "docs/jobs-promises.md").read_text(), re.M)
    assert {int(promise.split(".")[0]) for promise, _ in rows if promise[0].isdigit()} == set(range(1, 11))
    assert {test for _, test in rows} <= names_of_tests()


def test_every_capability_has_a_test_that_exists_or_says_that_it_is_not_proved() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \| \[.+\]\(.+\) \|$", (source.ROOT / "docs/production.md").read_text(), re.M)
    tests = names_of_tests()
    assert len(rows) > 30
    for capability, held in rows:
        named = re.findall(r"`(test_\w+)`", held)
        assert named or held.startswith(("not proved here", "documentation", "measured")), capability
        assert set(named) <= tests, capability
