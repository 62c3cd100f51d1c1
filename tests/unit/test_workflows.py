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
SIGNS_IN = {
    ("preview.yml", "preview"),
    ("up.yml", "up"),
    ("drift.yml", "drift"),
    ("running-jobs.yml", "running-jobs"),
}
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
        "running-jobs.yml",
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
def test_events_that_give_rights_to_a_strangers_pull_request_run_the_code_of_main_only(file: Path) -> None:
    workflow = load(file)
    assert not {"workflow_run", "issue_comment"} & set(workflow["on"])
    if "pull_request_target" in workflow["on"]:
        assert file.name == "running-jobs.yml"
        assert workflow["on"]["pull_request_target"] == {"branches": ["main"]}
        checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
        assert [step["with"]["ref"] for step in checkouts] == ["main"]
        # Nothing that leads to the pull request's code; its number and the name of its repository do not.
        used = set(re.findall(r"github\.[\w.]+", file.read_text()))
        assert used == {
            "github.event.pull_request.number",
            "github.event.pull_request.head.repo.full_name",
            "github.repository",
        }


def token_steps(job: dict[str, Any]) -> list[int]:
    return [index for index, step in enumerate(job["steps"]) if step.get("uses", "").startswith("pulumi/auth-actions@")]


@pytest.mark.parametrize(("file", "name"), sorted(SIGNS_IN))
def test_a_token_is_for_one_stack_and_one_purpose_and_expires_soon(file: str, name: str) -> None:
    """An organization's token would do for every stack. The environment's name is in GitHub's claim, and Pulumi's
    policy gives each environment the team of its name only: docs/operations.md."""
    job = load(ROOT / ".github/workflows" / file)["jobs"][name]
    (index,) = token_steps(job)
    inputs = job["steps"][index]["with"]
    assert inputs["requested-token-type"] == "urn:pulumi:token-type:access_token:team"
    environment = job["environment"]
    assert re.fullmatch(r"((preview|inspect)-\$\{\{ matrix\.stack \}\}|\$\{\{ inputs\.stack \}\})", environment)
    purpose = environment if environment.startswith(("preview-", "inspect-")) else f"deploy-{environment}"
    assert inputs["scope"] == f"team:ray-{purpose}"
    assert inputs["token-expiration"] <= 3600
    assert "secrets" not in (ROOT / ".github/workflows" / file).read_text()


@pytest.mark.parametrize(("file", "name"), sorted(SIGNS_IN))
def test_a_token_comes_after_every_installation_and_before_one_command(file: str, name: str) -> None:
    job = load(ROOT / ".github/workflows" / file)["jobs"][name]
    (index,) = token_steps(job)
    after = [step["run"] for step in job["steps"][index:] if "run" in step]
    assert after == [job["steps"][-1]["run"]]


@every_workflow
def test_only_a_preview_runs_a_pull_requests_code_with_rights_and_it_cannot_reach_the_jobs(file: Path) -> None:
    workflow = load(file)
    if "pull_request" not in workflow["on"]:
        return
    for name, job in workflow["jobs"].items():
        if "environment" not in job and "id-token" not in job.get("permissions", {}):
            continue
        assert (file.name, name, job["environment"]) == ("preview.yml", "preview", "preview-${{ matrix.stack }}")
        assert job["steps"][-1]["run"] == "make preview STACK=${{ matrix.stack }} RUNNING=no"


def test_environments_for_reviewed_code_are_used_by_no_pull_request() -> None:
    """Their deployment branches are `main`: with a pull request's ref the job would not start."""
    for file in FILES:
        workflow = load(file)
        for job in workflow["jobs"].values():
            if job.get("environment", "").startswith(("inspect-", "${{ inputs.stack")):
                assert set(workflow["on"]) <= {"schedule", "workflow_dispatch", "workflow_call", "pull_request_target"}


@every_workflow
def test_the_pulumi_cli_is_the_pinned_one_everywhere(file: Path) -> None:
    """`make pulumi` installs the version of ops/pulumi.py and checks it; an action would install the newest one."""
    assert "pulumi/actions@" not in file.read_text()
    needs_it = {"preview", "running", "up", "drift", "diff", "test"}
    for job in load(file)["jobs"].values():
        targets = [step["run"].split()[1] for step in job.get("steps", []) if "run" in step]
        for target in needs_it & set(targets):
            assert targets.index("pulumi") < targets.index(target)


def test_what_needs_a_secret_or_a_right_is_left_out_for_forks() -> None:
    jobs = load(ROOT / ".github/workflows/preview.yml")["jobs"]
    for name, job in {**jobs, **load(ROOT / ".github/workflows/running-jobs.yml")["jobs"]}.items():
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
        "running-jobs.yml": "running-jobs-${{ github.event.pull_request.number }}",
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


def test_every_night_the_environments_of_github_are_checked() -> None:
    workflow = load(ROOT / ".github/workflows/drift.yml")
    assert "schedule" in workflow["on"]
    job = workflow["jobs"]["environments"]
    assert job["permissions"] == {"contents": "read", "actions": "read"}
    assert job["env"] == {"GITHUB_TOKEN": "${{ github.token }}"}
    assert job["steps"][-1]["run"] == "make environments"


def test_actionlint_has_nothing_to_say() -> None:
    program = shutil.which("actionlint", path=f"{os.environ.get('PATH', '')}{os.pathsep}{Path.home() / 'go/bin'}")
    if program is None:
        pytest.skip("actionlint is not on PATH (go install github.com/rhysd/actionlint/cmd/actionlint@latest)")
    done = subprocess.run([program, *map(str, FILES)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
