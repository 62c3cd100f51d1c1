"""The manifests of every option, as files that a reviewer can read. `UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml

from tests.unit.golden_cases import CASES, GOLDEN, manifests, settings


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(documents: list[dict[str, Any]]) -> str:
    return str(yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120))


@pytest.mark.parametrize("name", CASES)
def test_the_manifests_of_an_option_are_the_golden_ones(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    text = dumped(manifests(settings(name)))
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert sorted(file.stem for file in GOLDEN.glob("*.yaml")) == sorted(CASES)


def test_every_option_changes_something() -> None:
    texts = {name: (GOLDEN / f"{name}.yaml").read_text() for name in CASES if name not in ("default", "v1.6.2")}
    assert len(set(texts.values()) - {(GOLDEN / "default.yaml").read_text()}) == len(texts)
