"""`make environments`: do GitHub's environments have the protection rules that docs/operations.md requires?

The rules are settings of the repository on GitHub, and no file in it can set them. GitHub creates an environment that a
workflow names and that is missing, without any rule. So CI checks them every night.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from jobs.yaml_file import NotYaml, read_yaml
from ops import engine
from ops.errors import OpsError

TIMEOUT_SECONDS = 30
DEFAULT_BRANCH = "main"


@click.command("environments")
@click.option("--repository", required=True, envvar="GITHUB_REPOSITORY", help="OWNER/NAME on GitHub.")
@click.option(
    "--api", default="https://api.github.com", envvar="GITHUB_API_URL", show_default=True, help="GitHub's API."
)
@click.option("--token", required=True, envvar="GITHUB_TOKEN", help="A token with the right `actions: read`.")
def environments_command(repository: str, api: str, token: str) -> None:
    """Check that GitHub's environments have the protection rules that CI relies on. Fails if one is missing."""
    stacks = {file.name.split(".")[1]: _protected(file) for file in engine.ROOT.glob("Pulumi.*.yaml")}
    base = f"{api}/repos/{repository}/environments"
    environments = {entry["name"]: entry for entry in _get(f"{base}?per_page=100", token)["environments"]}

    def branches(name: str) -> list[str]:
        policies = _get(f"{base}/{urllib.parse.quote(name, safe='')}/deployment-branch-policies", token)
        return [policy["name"] for policy in policies["branch_policies"]]

    custom = {name: branches(name) for name, entry in environments.items() if _has_custom_branches(entry)}
    problems = [line for stack in sorted(stacks) for line in missing_rules(stack, stacks[stack], environments, custom)]
    if problems:
        raise OpsError("\n".join(["GitHub's environments lack protection rules (docs/operations.md):", *problems]))
    click.echo(f"the environments of {', '.join(sorted(stacks))} have their protection rules", err=True)


def missing_rules(
    stack: str, protected: bool, environments: Mapping[str, Mapping[str, Any]], custom: Mapping[str, list[str]]
) -> Iterator[str]:
    """What the environments of one stack lack.

    Args:
        stack: Name of the stack.
        protected: The stack has `protect: true`.
        environments: GitHub's environments by name.
        custom: The branches that may use an environment, for those with a list of branches.
    """
    for name in (stack, f"inspect-{stack}", f"preview-{stack}"):
        if name not in environments:
            yield f"{name}: there is no such environment, and GitHub creates it without rules. Create it"
    for name in {stack, f"inspect-{stack}"} & set(environments):
        if custom.get(name) != [DEFAULT_BRANCH] and not _only_protected_branches(environments[name]):
            yield f"{name}: code of other branches than {DEFAULT_BRANCH} may use it. Set its deployment branches"
    for name in {stack, f"preview-{stack}"} & set(environments):
        rules = [
            rule for rule in environments[name].get("protection_rules", []) if rule["type"] == "required_reviewers"
        ]
        if protected and not any(rule.get("reviewers") and rule.get("prevent_self_review") for rule in rules):
            yield f"{name}: the stack is protected, and no other person has to approve. Set reviewers, no self-review"


def _protected(stack_file: Path) -> bool:
    try:
        config = (read_yaml(stack_file) or {}).get("config") or {}
    except NotYaml as error:
        raise OpsError(f"{stack_file.name} {error}") from None
    return config.get(f"{engine.PROJECT}:protect") in (True, "true")


def _has_custom_branches(environment: Mapping[str, Any]) -> bool:
    return bool((environment.get("deployment_branch_policy") or {}).get("custom_branch_policies"))


def _only_protected_branches(environment: Mapping[str, Any]) -> bool:
    return bool((environment.get("deployment_branch_policy") or {}).get("protected_branches"))


def _get(url: str, token: str) -> dict[str, Any]:
    headers = {"Accept": "application/vnd.github+json", "Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise OpsError(f"{url}: {error.code} {error.reason}. The token needs the right `actions: read`") from None
    except OSError as error:
        raise OpsError(f"{url}: {error}") from None
