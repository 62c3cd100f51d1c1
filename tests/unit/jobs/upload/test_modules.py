"""Local `py_modules`: each package holds what Ray puts on the path of Python, under a name that says its content."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import jobs_file
from jobs.errors import Refused
from jobs.packages import PackagePlanner
from jobs.spec.job_spec import JobSpec
from jobs.upload.modules import module_plan
from jobs.upload.plan import plan as make_plan
from tests.support.command import Cli
from tests.support.directories import packed_members, write


def test_the_package_of_a_directory_holds_the_directory_itself(source: Path) -> None:
    write(source / "ours/__init__.py", "VALUE = 1")
    write(source / "ours/__pycache__/x.pyc", "x")
    (source / "ours/empty").mkdir()
    plan = module_plan(str(source / "ours"), excludes=["*.log"], use_cache=False)
    assert packed_members(plan) == {"ours/__init__.py": b"VALUE = 1", "ours/empty/": b""}


def test_a_directory_has_another_name_as_a_module_than_as_a_working_dir(source: Path) -> None:
    """With one name for both, the one that the server gets first would be used for both."""
    write(source / "ours/__init__.py")
    names = {module_plan(str(source / "ours"), use_cache=False).uri, make_plan(source / "ours", use_cache=False).uri}
    (source / "ours").rename(source / "theirs")
    names.add(module_plan(str(source / "theirs"), use_cache=False).uri)
    assert len(names) == 3


def test_a_single_file_is_a_package_with_that_file(source: Path) -> None:
    write(source / "ours.py", "VALUE = 1")
    write(source / "other.py")
    plan = module_plan(str(source / "ours.py"))
    assert packed_members(plan) == {"ours.py": b"VALUE = 1"}
    write(source / "ours.py", "VALUE = 2")
    assert module_plan(str(source / "ours.py")).uri != plan.uri


@pytest.mark.parametrize("build", ["", "-1"])
def test_the_name_of_a_wheel_says_its_content_and_is_still_that_of_a_wheel(source: Path, build: str) -> None:
    path = write(source / f"ours-1.0{build}-py3-none-any.whl", "one")
    first = module_plan(str(path))
    write(path, "two")
    second = module_plan(str(path))
    utils: Any = pytest.importorskip("packaging.utils")
    for plan in (first, second):
        name, version, _, tags = utils.parse_wheel_filename(plan.uri.removeprefix("gcs://"))
        assert (name, str(version), {str(tag) for tag in tags}) == ("ours", "1.0", {"py3-none-any"})
    assert first.uri != second.uri


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing", "does not exist"), ("ours.txt", "is no module"), ("ours.whl", "not that of a wheel")],
)
def test_what_is_no_module_is_refused_by_name(source: Path, name: str, words: str) -> None:
    if name != "missing":
        write(source / name)
    with pytest.raises(Refused, match=words) as refused:
        module_plan(str(source / name))
    assert name in refused.value.message


def test_a_job_names_the_packages_of_its_directory_and_its_modules(source: Path, monkeypatch: Any) -> None:
    write(source / "ours/__init__.py")
    write(source / "main.py")
    monkeypatch.chdir(source)
    remote = "s3://bucket/theirs.zip"
    spec = JobSpec.from_fields("true", working_dir=".", runtime_env={"py_modules": ["ours", remote]})
    prepared, plans = asyncio.run(PackagePlanner(use_cache=False).plan(spec))
    assert prepared.runtime_env["py_modules"] == [plans[1].uri, remote]
    assert prepared.package_uris == [plan.uri for plan in plans]
    assert asyncio.run(PackagePlanner(use_cache=False).plan(spec))[0].digest == prepared.digest


def test_modules_of_a_jobs_file_are_relative_to_it(source: Path) -> None:
    content = {"jobs": [{"entrypoint": "true", "runtime_env": {"py_modules": ["ours", "s3://b/a.zip"]}}]}
    batch = jobs_file.parse(json.dumps(content), source, "jobs.yaml", "jobs", {})
    assert batch.jobs[0].request.spec.runtime_env["py_modules"] == [str(source / "ours"), "s3://b/a.zip"]


def test_the_directory_above_has_its_own_name(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(source / "ours/__init__.py")
    write(source / "ours/inner/__init__.py")
    monkeypatch.chdir(source / "ours/inner")
    assert packed_members(module_plan("..", use_cache=False)).keys() == {"ours/__init__.py", "ours/inner/__init__.py"}
    assert packed_members(module_plan(".", use_cache=False)).keys() == {"inner/__init__.py"}


def test_a_likely_secret_in_a_single_file_is_named(source: Path) -> None:
    write(source / "ours.py", f"TOKEN = 'ghp_{'a1B2' * 9}'")
    assert [secret.relpath for secret in module_plan(str(source / "ours.py")).secrets] == ["ours.py"]


def test_a_program_names_a_module_by_a_path_or_by_the_module_that_it_imported(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray's own client takes them."""
    write(source / "ours_of_a_test/__init__.py", "")
    write(source / "single_of_a_test.py", "")
    monkeypatch.syspath_prepend(str(source))
    given = [Path("lib"), importlib.import_module("ours_of_a_test"), importlib.import_module("single_of_a_test"), "x"]
    modules = [str(source / "ours_of_a_test"), str(source / "single_of_a_test.py")]
    assert JobSpec.from_fields("true", runtime_env={"py_modules": given}).modules == ("lib", *modules, "x")
    with pytest.raises(Refused, match="'sys'"):
        JobSpec.from_fields("true", runtime_env={"py_modules": [sys]})


def test_the_plan_lists_the_modules(bare_cli: Cli) -> None:
    write(bare_cli.cwd / "lib/ours/__init__.py", "VALUE = 1")
    write(bare_cli.cwd / "code/main.py")
    modules = ["--runtime-env-json", '{"py_modules": ["lib/ours", "s3://bucket/theirs.zip"]}']
    uri = module_plan(str(bare_cli.cwd / "lib/ours")).uri
    text = bare_cli("submit", "--plan", "--working-dir", "code", *modules, "--", "true").stdout.decode()
    assert f"module lib/ours\npackage:  {uri}" in text
    for directory in ([], ["--working-dir", "code"]):
        done = bare_cli("submit", "--plan", *directory, *modules, "--output", "json", "--", "true")
        shown = json.loads(done.stdout)
        assert [(module["module"], module["uri"], module["files"]) for module in shown["modules"]] == [
            ("lib/ours", uri, 1)
        ]
        assert ("uri" in shown) is bool(directory)
        assert shown["runtime_env"] == {"py_modules": [uri, "s3://bucket/theirs.zip"]}
    batch = bare_cli("submit", "--plan", "--sweep", "i=1,2", "--working-dir", "code", *modules, "--", "echo", "{i}")
    assert "module lib/ours, for 2 of 2 jobs\n" in batch.stdout.decode()
    assert "\n\nmodule" in batch.stdout.decode()
    assert batch.stdout.startswith(b"code, for 2 of 2 jobs\n")
