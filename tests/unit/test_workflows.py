"""The workflows as a platform team would want them: pinned, with least rights, and without logic of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# What a workflow may ask for, and where: everything else stays with `contents: read`.
ALLOWED_WRITES = {("preview.yml", "comment", "pull-requests")}
SIGNS_IN = {("preview.yml", "preview"), ("up.yml", "up"), ("drift.yml", "drift")}
OWN_BRANCH = "github.event.pull_request.head.repo.full_name == github.repository"
CALLS_UP = ("deploy.yml", "./.github/workflows/up.yml")

every_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def load(file: Path) -> dict[str, Any]:
    """The workflow; YAML 1.1 reads the key `on` as true."""
    content: dict[Any, Any] = yaml.safe_load(file.read_text())
    return {("on" if key is True else key): value for key, value in content.items()}


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def test_there_is_one_for_each_purpose() -> None:
    assert [file.name for file in FILES] == [
        "deploy.yml",
        "drift.yml",
        "nightly.yml",
        "preview.yml",
        "test.yml",
        "up.yml",
    ]


@every_workflow
def test_every_action_is_pinned_by_digest_and_says_its_version(file: Path) -> None:
    used = re.findall(r"uses: *(\S+)(.*)", file.read_text())
    foreign = [(action, comment) for action, comment in used if not action.startswith("./")]
    for action, comment in foreign:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+(\.\d+)*", comment), f"{action}: no version beside the digest"


def test_an_action_has_one_digest_everywhere() -> None:
    pinned: dict[str, set[str]] = {}
    for file in FILES:
        for action, digest in re.findall(r"uses: *([\w./-]+)@([0-9a-f]{40})", file.read_text()):
            pinned.setdefault(action, set()).add(digest)
    assert {action: digests for action, digests in pinned.items() if len(digests) > 1} == {}


@every_workflow
def test_a_step_runs_make_and_nothing_else(file: Path) -> None:
    for step in steps(load(file)):
        assert ("run" in step) != ("uses" in step)
        if "run" in step:
            assert re.fullmatch(r"make [a-z-]+( [A-Z]+=(\$\{\{ [\w.-]+ \}\}|[\w./-])+)*", step["run"].strip())


@every_workflow
def test_the_make_targets_are_there(file: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for step in steps(load(file)):
        if "run" in step:
            target = step["run"].split()[1]
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@every_workflow
def test_what_an_outsider_writes_never_becomes_part_of_a_command(file: Path) -> None:
    """Names of branches and texts of pull requests are an outsider's; numbers and our own base branch are not."""
    safe = {"matrix.stack", "inputs.stack", "github.base_ref"}
    for step in steps(load(file)):
        assert set(re.findall(r"\$\{\{ *([\w.-]+)", step.get("run", ""))) <= safe


@every_workflow
def test_rights_are_the_least(file: Path) -> None:
    workflow = load(file)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        for right, value in job.get("permissions", {}).items():
            if (right, value) == ("id-token", "write"):
                assert (file.name, name) in SIGNS_IN or (file.name, job.get("uses")) == CALLS_UP
            elif value != "read":
                assert (file.name, name, right) in ALLOWED_WRITES


@every_workflow
def test_no_workflow_runs_a_strangers_code_with_our_rights(file: Path) -> None:
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(load(file)["on"])


def test_what_needs_a_secret_or_a_right_is_left_out_for_forks() -> None:
    jobs = load(ROOT / ".github/workflows/preview.yml")["jobs"]
    for name, job in jobs.items():
        if job.get("permissions"):
            assert re.fullmatch(rf"(\$\{{{{ !cancelled\(\) && )?{re.escape(OWN_BRANCH)}( \}}}})?", job["if"]), name
    assert "if" not in jobs["render"]


def test_deployments_wait_for_each_other_and_are_cancelled_by_nothing_else() -> None:
    """GitHub cancels what waits in a group once something newer waits there: a preview must not wait with an `up`."""
    groups: dict[str, str] = {}
    for file in FILES:
        workflow = load(file)
        for name, job in [("", workflow), *workflow["jobs"].items()]:
            if "concurrency" in job:
                groups[f"{file.name} {name}".strip()] = job["concurrency"]["group"]
                assert file.name not in ("deploy.yml", "up.yml") or "cancel-in-progress" not in job["concurrency"]
    assert groups == {
        "deploy.yml": "deploy",
        "up.yml up": "stack-${{ inputs.stack }}",
        "preview.yml": "preview-${{ github.event.pull_request.number }}",
        "test.yml": "test-${{ github.ref }}",
    }


def test_a_stacks_comment_stays_one_and_is_never_one_of_an_earlier_push() -> None:
    jobs = load(ROOT / ".github/workflows/preview.yml")["jobs"]
    download, comment = jobs["comment"]["steps"]
    upload = jobs["render"]["steps"][-1]
    assert comment["with"]["comment-tag"] == "render-${{ matrix.stack }}"
    assert comment["with"]["file-path"] == upload["with"]["path"] == "comment.${{ matrix.stack }}.md"
    assert download["with"]["name"] == upload["with"]["name"] == "comment-${{ matrix.stack }}"
    # One that does not render says so in its own comment, and the others' are written.
    assert upload["if"] == "${{ !cancelled() }}"
    assert jobs["comment"]["if"].startswith("${{ !cancelled() && ")
    assert not any(jobs[name]["strategy"]["fail-fast"] for name in ("render", "comment"))


def test_what_is_asked_for_by_a_variable_is_asked_for_every_night() -> None:
    workflow = load(ROOT / ".github/workflows/nightly.yml")
    assert {"schedule", "workflow_dispatch"} == set(workflow["on"])
    (job,) = workflow["jobs"].values()
    assert job["env"]["RAY_E2E_LONG"]
    assert job["steps"][-1]["run"] == "make test"


def test_every_stack_file_has_its_place_in_every_matrix() -> None:
    stacks = sorted(file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml"))
    for file in FILES:
        workflow = load(file)
        for job in workflow["jobs"].values():
            if "matrix" in job.get("strategy", {}):
                assert sorted(job["strategy"]["matrix"]["stack"]) == stacks
    deployed = [job["with"]["stack"] for job in load(ROOT / ".github/workflows/deploy.yml")["jobs"].values()]
    assert sorted(deployed) == stacks


def test_stacks_are_deployed_one_after_the_other() -> None:
    jobs = load(ROOT / ".github/workflows/deploy.yml")["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {"dev": None, "staging": "dev", "prod": "staging"}


@every_workflow
def test_no_job_runs_for_ever(file: Path) -> None:
    for name, job in load(file)["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 150, name


def test_actionlint_has_nothing_to_say() -> None:
    program = shutil.which("actionlint", path=f"{os.environ.get('PATH', '')}{os.pathsep}{Path.home() / 'go/bin'}")
    if program is None:
        pytest.skip("actionlint is not on PATH (go install github.com/rhysd/actionlint/cmd/actionlint@latest)")
    done = subprocess.run([program, *map(str, FILES)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
