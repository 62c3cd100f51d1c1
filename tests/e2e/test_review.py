"""What a reviewer sees of a change, on the real engine without a cluster, a secret or a backend of the stack's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import changes, engine
from ops.render import PLACEHOLDER
from tests.support.checkout import checkout, commit, edit, git, ops

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
]

TOKEN = "v1:c2VjcmV0:Y2lwaGVydGV4dA=="


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this working tree with one commit, so that its own files and history can be changed."""
    try:
        engine.find_engine()
    except engine.EngineMissing as missing:
        pytest.skip(str(missing))
    clone = checkout(tmp_path_factory.mktemp("review") / "repository")
    # Like dev, without the operator's CRDs: their 4 MB of text are rendered in one test, not in each.
    content = yaml.safe_load((clone / "Pulumi.dev.yaml").read_text())
    content["config"]["ray-on-kubernetes:kuberay"] = {"operator": "existing"}
    (clone / "Pulumi.review.yaml").write_text(yaml.safe_dump(content))
    commit(clone, "a small stack")
    return clone


def diff(repository: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The working tree against its last commit, with the exit codes for a CI."""
    command = ["diff", "--stack", "review", "--base", "HEAD", "--detailed-exitcode"]
    return ops(repository, *command, *arguments, environment=environment)


def test_a_render_needs_no_secret_and_touches_no_file(repository: Path, tmp_path: Path) -> None:
    def secret(config: dict[str, Any]) -> None:
        config["ray-on-kubernetes:clusters"][0]["head"]["env"] = {"TOKEN": {"secure": TOKEN}}

    edit(repository, "dev", secret)
    before = git(repository, "status", "--porcelain")
    run = ops(repository, "render", "--stack", "dev", "--to", str(tmp_path / "out"))
    assert run.returncode == 0, run.stderr
    files = list((tmp_path / "out").rglob("*.yaml"))
    written = "\n".join(file.read_text() for file in files)
    assert PLACEHOLDER in written
    assert TOKEN not in written + run.stdout + run.stderr
    kinds = {
        line.removeprefix("kind: ") for file in files for line in file.read_text().splitlines() if line[:5] == "kind:"
    }
    assert kinds >= {"CustomResourceDefinition", "Namespace", "Deployment", "ClusterRole", "RayCluster"}
    assert git(repository, "status", "--porcelain") == before
    git(repository, "checkout", "--quiet", "--", ".")


def test_the_same_manifests_are_no_changes(repository: Path) -> None:
    run = diff(repository)
    assert (run.returncode, run.stdout.strip()) == (changes.NO_CHANGES, "no changes"), run.stderr


def test_a_changed_setting_is_shown_where_it_lands_and_comes_as_a_comment(repository: Path, tmp_path: Path) -> None:
    def longer(config: dict[str, Any]) -> None:
        config["ray-on-kubernetes:clusters"][0]["autoscaling"]["idleTimeoutSeconds"] = 90

    edit(repository, "review", longer)
    comment, summary = tmp_path / "comment.md", tmp_path / "summary.md"
    run = diff(repository, "--comment", str(comment), GITHUB_STEP_SUMMARY=str(summary))
    git(repository, "checkout", "--quiet", "--", ".")
    assert run.returncode == changes.CHANGES, run.stderr
    assert "### changed: RayCluster ray-cluster/raycluster-autoscaler" in run.stdout
    assert "-    idleTimeoutSeconds: 60" in run.stdout
    assert "+    idleTimeoutSeconds: 90" in run.stdout
    assert comment.read_text().startswith("### Stack `review`: changes\n")
    assert summary.read_text() == comment.read_text()


def test_an_object_that_goes_away_is_destructive(repository: Path) -> None:
    def elsewhere(config: dict[str, Any]) -> None:
        config["ray-on-kubernetes:clusters"][0]["name"] = "another"

    edit(repository, "review", elsewhere)
    run = diff(repository)
    git(repository, "checkout", "--quiet", "--", ".")
    assert run.returncode == changes.DESTRUCTIVE, run.stderr
    assert "### removed: RayCluster ray-cluster/raycluster-autoscaler" in run.stdout
    assert "### added: RayCluster ray-cluster/another" in run.stdout


def test_a_base_that_does_not_render_is_named_as_the_reason(repository: Path) -> None:
    (repository / "__main__.py").write_text("raise SystemExit('no program yet')\n")
    commit(repository, "broken")
    git(repository, "checkout", "--quiet", "HEAD~1", "--", "__main__.py")
    run = diff(repository)
    git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    assert run.returncode == changes.ERROR
    assert "the code of HEAD does not render stack review" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_base_that_git_does_not_know_is_said_before_anything_is_rendered(repository: Path) -> None:
    run = ops(repository, "diff", "--stack", "review", "--base", "no-such-branch")
    assert run.returncode == changes.ERROR
    assert "base no-such-branch" in run.stderr
    assert "was it fetched?" in run.stderr


def test_a_settings_error_is_shown_as_the_program_says_it(repository: Path) -> None:
    edit(repository, "review", lambda config: config.update({"ray-on-kubernetes:protect": "perhaps"}))
    run = ops(repository, "render", "--stack", "review")
    git(repository, "checkout", "--quiet", "--", ".")
    assert run.returncode == changes.ERROR
    assert "protect" in run.stderr
    assert "Traceback" not in run.stderr


WORDS = ("first-word-of-a-secret", "second-word-of-a-secret")


def test_a_secure_value_is_in_no_state_and_no_preview_after_its_rotation_neither(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    environment = {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "throw-away",
        "KUBECONFIG": os.devnull,
    }

    def pulumi(*arguments: str) -> str:
        command = [str(engine.find_cli()), *arguments, "--stack", "review", "--non-interactive", "--color", "never"]
        done = subprocess.run(
            command, cwd=repository, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def keep(word: str) -> None:
        pulumi("config", "set", "--secret", "--path", f"{engine.PROJECT}:clusters[0].head.env.TOKEN", word)

    engine.init_stack("review", environment)
    pulumi("config", "set", f"{engine.PROJECT}:renderTo", str(tmp_path / "rendered"))
    keep(WORDS[0])
    pulumi("up", "--yes", "--skip-preview")
    keep(WORDS[1])
    said = [pulumi("preview", "--diff"), pulumi("stack", "export")]
    git(repository, "checkout", "--quiet", "--", ".")
    # The engine itself hides today's value wherever it meets it, and nothing of yesterday's.
    assert [word for word in WORDS for text in said if word in text] == []
    assert "[secret]" in said[0]
    assert WORDS[0] in "".join(file.read_text() for file in (tmp_path / "rendered").rglob("*.yaml"))


AS_TYPED = """config:
  ray-on-kubernetes:kuberay: {operator: existing}
  ray-on-kubernetes:clusters:
  - head:
      env: {Z_HOST: h, A_URL: "http://$(Z_HOST)", TIME: 22:22, YES: yes, N: 4, ON: true, DAY: "2026-01-02"}
"""
CHANGED = {"env": "{MODE: 0755, VER: 1.10, DAY: 2026-01-02, OK: 4}", "nodeSelector": "{account: 012345678901}"}


def rendered_env(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.rglob("*raycluster-autoscaler.yaml")
    spec = yaml.safe_load(file.read_text())["spec"]["headGroupSpec"]["template"]["spec"]
    env: list[dict[str, Any]] = spec["containers"][0]["env"]
    return env


def test_a_render_reads_the_stack_file_as_an_up_does(repository: Path, tmp_path: Path) -> None:
    (repository / "Pulumi.typed.yaml").write_text(AS_TYPED)
    run = ops(repository, "render", "--stack", "typed", "--to", str(tmp_path / "render"))
    assert run.returncode == 0, run.stdout + run.stderr
    (tmp_path / "state").mkdir()
    environment = {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "throw-away",
        "KUBECONFIG": os.devnull,
    }
    engine.init_stack("typed", environment)
    (repository / "Pulumi.typed.yaml").write_text(AS_TYPED + f"  ray-on-kubernetes:renderTo: {tmp_path}/up\n")
    engine.run_quietly(["up", "--yes", "--skip-preview", "--stack", "typed"], cwd=repository, environment=environment)
    (repository / "Pulumi.typed.yaml").unlink()
    env = rendered_env(tmp_path / "up")
    assert rendered_env(tmp_path / "render") == env
    assert [entry["name"] for entry in env] == ["Z_HOST", "A_URL", "DAY", "N", "ON", "TIME", "YES"]
    assert [entry["value"] for entry in env[2:]] == ["2026-01-02", "4", "true", "22:22", "yes"]


def test_text_that_yaml_changes_is_refused_by_key(repository: Path, tmp_path: Path) -> None:
    head = ", ".join(f"{key}: {value}" for key, value in CHANGED.items())
    clusters = f"  ray-on-kubernetes:clusters: [{{head: {{{head}}}}}]\n"
    file = f"config:\n  ray-on-kubernetes:kuberay: {{operator: existing}}\n{clusters}"
    (repository / "Pulumi.typed.yaml").write_text(file)
    run = ops(repository, "render", "--stack", "typed", "--to", str(tmp_path / "render"))
    (repository / "Pulumi.typed.yaml").unlink()
    assert run.returncode != 0
    text = run.stdout + run.stderr
    for key in ("env.MODE", "env.VER", "env.DAY", "nodeSelector.account"):
        assert f"clusters[0].head.{key}: " in text
    assert "env.OK" not in text
    assert "write it in quotes" in text
