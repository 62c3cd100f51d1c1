"""What the documents say of settings and tests is true: every example is a stack file, every name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from components.checks.rayclusters import build_and_check
from components.kuberay import source
from components.settings import Settings, from_config
from components.settings.fields import Model, model_in
from tests.support.documents import PAGES, all_stack_files
from tests.support.trees import tree

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
    _, *sections = re.split(r"^## ", (source.ROOT / "docs/jobs-promises.md").read_text(), flags=re.M)
    tests = {
        section.partition("\n")[0]: re.findall(r"^\| .+ \| .+ \| `(test_\w+)` \|$", section, re.M)
        for section in sections
    }
    assert [promise for promise, named in tests.items() if not named] == []
    assert {int(promise.split(".")[0]) for promise in tests if promise[0].isdigit()} == set(range(1, 11))
    assert {name for named in tests.values() for name in named} <= names_of_tests()


def test_every_promise_of_a_deployment_has_a_test_that_exists_or_says_that_it_is_not_proved() -> None:
    text = (source.ROOT / "docs/production-promises.md").read_text()
    rows = [row for row in re.findall(r"^\| (.+) \| (.+) \|$", text, re.M) if row != ("promise", "tests")]
    tests = names_of_tests()
    assert len(rows) > 30
    for promise, held in rows:
        named = re.findall(r"`(test_\w+)`", held)
        assert named or held.startswith(("not proved here", "documentation", "measured")), promise
        assert set(named) <= tests, promise


def test_every_input_of_jobs_has_a_test_that_exists() -> None:
    text = (source.ROOT / "docs/jobs-inputs.md").read_text()
    tests = names_of_tests()
    assert set(re.findall(r"`(test_\w+)`", text)) <= tests
    rows = re.findall(r"^\| (.+) \| .+ \| (.*) \|$", text, re.M)
    rows = [(subject, test) for subject, test in rows if test != "test"]
    assert len(rows) > 50
    for subject, test in rows:
        assert test.strip("`") in tests, subject


def test_every_threat_has_a_measure_and_tests_that_exist() -> None:
    text = (source.ROOT / "docs/security.md").read_text()
    rows = [row for row in re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", text, re.M) if row[0] != "threat"]
    assert len(rows) > 40
    for threat, measure, cell in rows:
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", cell), threat
        assert set(re.findall(r"`([^`]+)`", cell)) <= names_of_tests(), threat
        assert measure, threat


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for link, file, anchor in re.findall(r"\[[^\]]+\]\(((?!https?:)([^)#]*)#?([^)]*))\)", page.read_text()):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_called_as_people_type_them(page: Path) -> None:
    """`rayjobs submit` when it is installed, `python -m jobs submit` here; a command `jobs` does not exist."""
    commands = (
        "init|submit|status|list|logs|wait|stop|delete|prune|check|forward|why|history|rerun|local|completion|keep|page"
    )
    assert re.findall(rf"(?<!-m )(?<!sky )(?<!\w)jobs (?:{commands})\b.*", _code(page.read_text())) == []


def _code(text: str) -> str:
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.S))
