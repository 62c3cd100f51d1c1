"""Files that a runtime_env names are read on this machine, as Ray's own client does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import jobs_file
from jobs.errors import Refused
from jobs.packages import PackagePlanner
from jobs.spec import redact
from jobs.spec.job_info import JobInfo
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
        return jobs_file.with_ids(jobs_file.parse(json.dumps(content), folder, "jobs.yaml", "", {}))

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
        "-e ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/own",
        "--find-links https://example.com/wheels",
        "a @ https://example.com/a.whl",
        "a[b]>=1 ; python_version > '3'",
        "/opt/wheels/a.whl",
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
        ("-c constraints.txt", "has the line '-c constraints.txt', and the server does not have that file"),
        ("-cconstraints.txt", "the server does not have that file"),
        ("-e src/own", "the server does not have that file"),
        ("--editable=own", "the server does not have that file"),
        ("--find-links wheels", "the server does not have that file"),
        ("wheels/a-1.0-py3-none-any.whl", "the server does not have that file"),
        ("a-1.0.tar.gz", "the server does not have that file"),
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
    "runtime_env",
    [
        {"pip": ["-r requirements.txt", "scipy"]},
        {"uv": ["-r requirements.txt", "scipy"]},
        {"pip": {"packages": ["-rrequirements.txt", "scipy"], "pip_check": False}},
        {"uv": {"packages": ["--requirement requirements.txt", "scipy"]}},
        {"conda": {"dependencies": ["python=3.11", {"pip": ["-r requirements.txt", "scipy"]}]}},
        {"conda": "envs/environment.yml"},
    ],
    ids=str,
)
def test_a_requirements_file_in_a_list_is_read_too(folder: Path, runtime_env: dict[str, Any]) -> None:
    (folder / "envs").mkdir()
    (folder / "envs/environment.yml").write_text("dependencies: [pip, {pip: [-r ../requirements.txt, scipy]}]\n")
    expanded = with_file_contents(runtime_env, folder)
    (value,) = expanded.values()
    packages = value if isinstance(value, list) else value.get("packages") or value["dependencies"][1]["pip"]
    assert packages == [*PACKAGES, "scipy"]
    assert with_file_contents(expanded, Path("/nowhere")) == expanded


def test_a_list_without_local_files_stays_as_it_is(folder: Path) -> None:
    """The digest of such a job is that of earlier versions."""
    runtime_env = {
        "pip": ["numpy", "numpy", "# a comment", "-r /opt/r.txt"],
        "uv": {"packages": ["a @ https://b/c.whl"]},
    }
    assert with_file_contents(runtime_env, folder) == runtime_env


def test_lines_that_go_on_are_one_requirement(folder: Path) -> None:
    """Also where the second lines are equal: Ray leaves out equal lines."""
    (folder / "requirements.txt").write_text(
        "\ufeffa==1 \\\r\n    --no-binary :all:  # why\r\nb==2 \\\r\n    --no-binary :all:\r\n-e git+https://c/d#egg=d\r\n"
    )
    packages = ["a==1     --no-binary :all:", "b==2     --no-binary :all:", "-e git+https://c/d#egg=d"]
    assert with_file_contents({"pip": "requirements.txt"}, folder) == {"pip": packages}


def test_a_password_in_a_line_that_is_refused_is_not_shown(folder: Path) -> None:
    (folder / "requirements.txt").write_text("./a.whl --index-url https://user:pa55w0rd@example.com/simple\n")
    with pytest.raises(Refused) as refused:
        with_file_contents({"pip": "requirements.txt"}, folder)
    assert "./a.whl" in str(refused.value)
    assert "pa55w0rd" not in str(refused.value)


def test_the_password_of_an_index_is_not_recorded(folder: Path) -> None:
    (folder / "requirements.txt").write_text(
        "--extra-index-url https://user:pa55w0rd@example.com/simple\n"
        "--index-url https://${USER_NAME}:${PASSWORD}@example.com/simple\n"
        "numpy==2.1.0 --hash=sha256:" + "0123456789abcdef" * 4 + "\n"
    )
    spec, _ = asyncio.run(PackagePlanner().plan(JobSpec.from_fields("true", runtime_env={"pip": "requirements.txt"})))
    recorded, withheld = redact.spec({"runtime_env": spec.runtime_env})
    assert "pa55w0rd" not in str(recorded)
    assert "pa55w0rd" not in str(JobInfo("a", "FAILED", runtime_env=spec.runtime_env).shown().runtime_env)
    assert withheld == ["runtime_env.pip.0"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", "[1]", "is no mapping"),
        ("a.yaml", "{", "is not YAML at line 1"),
        ("a.yml", None, "cannot be read: No such file"),
    ],
)
def test_a_conda_file_that_cannot_be_used_is_refused(folder: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(Refused, match=words):
        with_file_contents({"conda": name}, folder)
