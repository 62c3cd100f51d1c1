"""requirements.lock: every package is pinned to what the index served when the lock was written, on every platform."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import requires
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
# Requirement -> the lines below it, up to the next one.
ENTRIES = dict(re.findall(r"^(\S+==\S+)( \\\n(?:    .*\n?)*|\n(?:    .*\n?)*)", LOCK, re.M))
PLATFORMS = [
    {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": system, "platform_system": name}
    for version, (system, name) in product(("3.11", "3.12", "3.13"), [("linux", "Linux"), ("darwin", "Darwin")])
]


def name_of(requirement: str) -> str:
    return str(canonicalize_name(requirement.partition("==")[0]))


def direct() -> Iterator[Requirement]:
    """The requirements of requirements.txt and requirements-dev.txt."""
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text().splitlines():
            text = line.partition("#")[0].strip()
            if text and not text.startswith("-r "):
                yield Requirement(text)


def test_every_requirement_has_a_hash() -> None:
    assert len(ENTRIES) > 100
    assert [entry for entry, lines in ENTRIES.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", lines)] == []


def test_the_lock_has_nothing_of_the_machine_that_wrote_it() -> None:
    """No index, folder or host: they would be asked on every other machine."""
    content = [line for line in LOCK.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    allowed = re.compile(r"[a-z0-9._-]+==[^\s/@]+( \\)?|    --hash=sha256:[0-9a-f]{64}( \\)?", re.I)
    assert [line for line in content if not allowed.fullmatch(line)] == []
    assert "://" not in LOCK


@pytest.mark.parametrize("file", ["Makefile", ".ci/run", *map(str, sorted(ROOT.glob(".github/workflows/*.yml")))])
def test_what_ci_and_make_install_is_checked_against_the_hashes(file: str) -> None:
    installs = re.findall(r"\bpip3? install.*", (ROOT / file).read_text())
    assert [line for line in installs if "--require-hashes" not in line or "-r requirements.lock" not in line] == []
    assert installs or file != "Makefile"


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: "-".join(list(platform.values())[::2]))
def test_the_lock_is_whole_on_every_platform(platform: dict[str, str]) -> None:
    """With --require-hashes pip refuses a package that is required on one platform only and is not in the lock."""
    locked = {name_of(entry) for entry in ENTRIES}
    waiting, visited, missing = list(direct()), set(), set()
    while waiting:
        requirement = waiting.pop()
        name = str(canonicalize_name(requirement.name))
        if (name, frozenset(requirement.extras)) in visited:
            continue
        visited.add((name, frozenset(requirement.extras)))
        if name not in locked:
            missing.add(name)
            continue
        for text in requires(name) or []:
            inner = Requirement(text)
            extras = requirement.extras or {""}
            if not inner.marker or any(inner.marker.evaluate({**platform, "extra": extra}) for extra in extras):
                waiting.append(inner)
    assert missing == set()
