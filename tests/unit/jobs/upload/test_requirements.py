"""Files that a runtime_env names are read on this machine, as Ray's own client does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import jobs_file
from jobs.errors import Refused
from jobs.packages import PackagePlanner
from jobs.spec.job_spec import JobSpec
from jobs.upload.requirements import with_file_contents

REQUIREMENTS = "# ours\nrequests==2.32.0\n\nnumpy\nnumpy\n--index-url https://example.com/simple\n"
PACKAGES = ["requests==2.32.0", "numpy", "--index-url https://example.com/simple"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    (tmp_path / "environment.yml").write_text("dependencies: [python=3.11, {pip: [requests]}]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("runtime_env", "expected"),
    [
        ({"pip": "requirements.txt"}, {"pip": PACKAGES}),
        ({"uv": "requirements.txt"}, {"uv": PACKAGES}),
        (
            {"pip": {"packages": "requirements.txt", "pip_check": True}},
            {"pip": {"packages": PACKAGES, "pip_check": True}},
        ),
        ({"conda": "environment.yml"}, {"conda": {"dependencies": ["python=3.11", {"pip": ["requests"]}]}}),
        ({"conda": "an-environment"}, {"conda": "an-environment"}),
        ({"pip": ["numpy"], "env_vars": {"A": "1"}}, {"pip": ["numpy"], "env_vars": {"A": "1"}}),
    ],
)
def test_the_content_takes_the_place_of_the_path(
    folder: Path, runtime_env: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert with_file_contents(runtime_env, folder) == expected


@pytest.mark.parametrize(
    "runtime_env",
    [
        {"pip": "requirements.txt"},
        {"uv": "requirements.txt"},
        {"pip": {"packages": "requirements.txt"}},
        {"conda": "environment.yml"},
    ],
    ids=str,
)
def test_the_server_gets_what_it_gets_from_rays_own_client(folder: Path, runtime_env: dict[str, Any]) -> None:
    """Comments and empty lines apart, which pip ignores."""
    ray: Any = pytest.importorskip("ray.runtime_env")
    (folder / "requirements.txt").write_text("requests==2.32.0\nnumpy\nnumpy\n")
    ours = ray.RuntimeEnv(**with_file_contents(runtime_env, folder)).to_dict()
    assert ours == ray.RuntimeEnv(**runtime_env).to_dict()


def test_the_digest_of_the_job_follows_the_content(folder: Path) -> None:
    spec = JobSpec.from_fields("true", runtime_env={"pip": "requirements.txt"})
    first, _ = asyncio.run(PackagePlanner().plan(spec))
    (folder / "requirements.txt").write_text("numpy\n")
    second, _ = asyncio.run(PackagePlanner().plan(spec))
    assert first.runtime_env == {"pip": PACKAGES}
    assert second.runtime_env == {"pip": ["numpy"]}
    assert first.digest != second.digest


def test_a_file_in_a_jobs_file_is_relative_to_it_and_part_of_what_names_the_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    content = {"jobs": [{"entrypoint": "true", "runtime_env": {"pip": "requirements.txt"}}]}

    def batch() -> jobs_file.Batch:
        return jobs_file.with_ids(jobs_file.parse(content, folder, "jobs.yaml", "", {}))

    before = batch()
    assert before.jobs[0].request.spec.runtime_env == {"pip": PACKAGES}
    (folder / "requirements.txt").write_text("numpy\n")
    assert before.name != batch().name


def test_a_nested_requirements_file_is_read_too(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more/base.txt").write_text("-r ../requirements.txt\npandas\n")
    (folder / "all.txt").write_text("--requirement=more/base.txt\nscipy\n")
    assert with_file_contents({"pip": "all.txt"}, folder) == {"pip": [*PACKAGES, "pandas", "scipy"]}


@pytest.mark.parametrize(
    "line",
    [
        "-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/r.txt",
        "-r /opt/r.txt",
        "-c https://example.com/c.txt",
        "-e git+https://a/b",
    ],
)
def test_what_the_node_can_read_is_left_to_it(folder: Path, line: str) -> None:
    (folder / "requirements.txt").write_text(line)
    assert with_file_contents({"pip": "requirements.txt"}, folder) == {"pip": [line]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-r missing.txt", "missing.txt, which cannot be read: No such file"),
        ("-r requirements.txt", "includes itself"),
        ("-c constraints.txt", "has the line '-c constraints.txt': the server does not have that file"),
        ("-e .", "the server does not have that file"),
        ("./wheels/a.whl", "the server does not have that file"),
        (".", "the server does not have that file"),
    ],
)
def test_what_only_this_machine_has_is_refused_by_name(folder: Path, text: str, words: str) -> None:
    (folder / "requirements.txt").write_text(text)
    with pytest.raises(Refused) as refused:
        with_file_contents({"pip": "requirements.txt"}, folder)
    assert words in refused.value.message, refused.value.message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", "[1]", "is no conda environment"),
        ("a.yaml", "{", "is not YAML at line 1"),
        ("a.yml", None, "cannot be read: No such file"),
    ],
)
def test_a_conda_file_that_cannot_be_used_is_refused(folder: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(Refused, match=words):
        with_file_contents({"conda": name}, folder)
