"""`make environments`: an environment of GitHub without its protection rule is named."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ops import engine, environments
from ops.errors import OpsError
from tests.support.http_server import JsonHandler, serve

ONLY_LISTED = {"protected_branches": False, "custom_branch_policies": True}
REVIEWERS = {"type": "required_reviewers", "prevent_self_review": True, "reviewers": [{"type": "Team"}]}


def environment(name: str, *rules: dict[str, Any], branches: dict[str, bool] | None = None) -> dict[str, Any]:
    return {"name": name, "protection_rules": list(rules), "deployment_branch_policy": branches}


RIGHT = {
    entry["name"]: entry
    for entry in (
        environment("prod", REVIEWERS, {"type": "branch_policy"}, branches=ONLY_LISTED),
        environment("inspect-prod", {"type": "branch_policy"}, branches=ONLY_LISTED),
        environment("preview-prod", REVIEWERS),
        environment("dev", branches=ONLY_LISTED),
        environment("inspect-dev", branches=ONLY_LISTED),
        environment("preview-dev"),
    )
}
BRANCHES = {name: ["main"] for name in ("prod", "inspect-prod", "dev", "inspect-dev")}


def problems(
    stack: str, protected: bool, changed: dict[str, Any] | None = None, branches: dict[str, list[str]] | None = None
) -> list[str]:
    there = {**deepcopy(RIGHT), **(changed or {})}
    listed = {name: entry for name, entry in there.items() if entry}
    return list(environments.missing_rules(stack, protected, listed, {**BRANCHES, **(branches or {})}))


def test_the_rules_that_the_docs_require_are_enough() -> None:
    assert problems("prod", protected=True) == []
    assert problems("dev", protected=False) == []


@pytest.mark.parametrize("name", ["prod", "inspect-prod", "preview-prod"])
def test_an_environment_that_is_not_there_is_named(name: str) -> None:
    (problem,) = problems("prod", True, {name: None})
    assert problem.startswith(f"{name}: there is no such environment, and GitHub creates it without rules")


@pytest.mark.parametrize("name", ["prod", "preview-prod"])
@pytest.mark.parametrize(
    "rules",
    [[], [{**REVIEWERS, "reviewers": []}], [{**REVIEWERS, "prevent_self_review": False}], [{"type": "wait_timer"}]],
    ids=["none", "nobody", "self-review", "only a timer"],
)
def test_a_protected_stack_without_another_persons_approval_is_named(name: str, rules: list[dict[str, Any]]) -> None:
    branches = RIGHT[name]["deployment_branch_policy"]
    (problem,) = problems("prod", True, {name: environment(name, *rules, branches=branches)})
    assert problem.startswith(f"{name}: the stack is protected, and no other person has to approve")


@pytest.mark.parametrize("name", ["prod", "inspect-prod", "dev", "inspect-dev"])
@pytest.mark.parametrize(
    "allowed", [None, ["main", "feature/*"], ["*"], []], ids=["every branch", "more", "all", "none"]
)
def test_an_environment_for_reviewed_code_that_other_branches_may_use_is_named(
    name: str, allowed: list[str] | None
) -> None:
    stack = name.removeprefix("inspect-")
    policy = None if allowed is None else ONLY_LISTED
    changed = {name: environment(name, REVIEWERS, branches=policy)}
    (problem,) = problems(stack, stack == "prod", changed, {name: allowed or []})
    assert problem.startswith(f"{name}: code of other branches than main may use it")


def test_protected_branches_are_enough() -> None:
    only_protected = {"protected_branches": True, "custom_branch_policies": False}
    assert problems("dev", False, {"dev": environment("dev", branches=only_protected)}, {"dev": []}) == []


@pytest.fixture
def github() -> Iterator[tuple[str, dict[str, Any]]]:
    """A stand-in for GitHub's API: its address, and its answers by path."""
    answers: dict[str, Any] = {}

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            signed_in = self.headers["Authorization"] == "Bearer s3cret-token"
            self.answer(answer, 403 if not signed_in else 404 if answer is None else 200)

    with serve(Handler) as url:
        yield url, answers


def run(api: str, token: str = "s3cret-token") -> Any:
    return CliRunner().invoke(
        environments.environments_command, ["--repository", "team/ray", "--api", api, "--token", token]
    )


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protected stack `prod` and a stack `dev`."""
    (tmp_path / "Pulumi.prod.yaml").write_text("config: {ray-on-kubernetes:protect: true}")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}")
    monkeypatch.setattr(engine, "ROOT", tmp_path)


@pytest.mark.usefixtures("stacks")
def test_it_asks_github(github: tuple[str, dict[str, Any]]) -> None:
    api, answers = github
    base = "/repos/team/ray/environments"
    answers[base] = {"environments": list(RIGHT.values())}
    for name in BRANCHES:
        answers[f"{base}/{name}/deployment-branch-policies"] = {"branch_policies": [{"name": "main"}]}
    done = run(api)
    assert done.exit_code == 0, done.output
    answers[base] = {"environments": [entry for entry in RIGHT.values() if entry["name"] != "preview-prod"]}
    done = run(api)
    assert isinstance(done.exception, OpsError)
    assert "preview-prod: there is no such environment" in str(done.exception)


@pytest.mark.usefixtures("stacks")
def test_a_refusal_of_github_names_the_right_and_not_the_token(github: tuple[str, dict[str, Any]]) -> None:
    done = run(github[0], token="another-token")
    assert isinstance(done.exception, OpsError)
    assert "403" in str(done.exception)
    assert "actions: read" in str(done.exception)
    assert "another-token" not in str(done.exception)


RECORDING_GH = """#!/bin/sh
case "$*" in
  *teams*) echo 7 ;;
  *deployment-branch-policies*) echo "$2 $4" >> "$RECORD/branches" ;;
  *PUT*) cat > "$RECORD/$(basename "$4").json" ;;
esac
"""


def test_the_commands_of_the_docs_set_every_rule_of_a_protected_stack(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (engine.ROOT / "docs/operations.md").read_text(), re.S)
    (script,) = (block for block in blocks if "gh api -X PUT" in block)
    (tmp_path / "gh").write_text(RECORDING_GH)
    (tmp_path / "make").write_text("#!/bin/sh\n")
    for name in ("gh", "make"):
        (tmp_path / name).chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RECORD": str(tmp_path)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=variables, check=True)
    there = {}
    for file in tmp_path.glob("*.json"):
        body = json.loads(file.read_text())
        rules = [{"type": "required_reviewers", **body}] if body.get("reviewers") else []
        there[file.stem] = environment(file.stem, *rules, branches=body.get("deployment_branch_policy"))
    branches = re.findall(
        r"environments/(\S+)/deployment-branch-policies name=(\S+)", (tmp_path / "branches").read_text()
    )
    assert list(environments.missing_rules("prod", True, there, {name: [branch] for name, branch in branches})) == []


def test_the_protected_stack_of_this_repository_is_known_as_such() -> None:
    protected = {file.name for file in engine.ROOT.glob("Pulumi.*.yaml") if environments._protected(file)}
    assert protected == {"Pulumi.prod.yaml"}
