"""A stack's manifests for a reviewer: no secret, a line for a CRD, and removed objects first."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ops import changes, diff, engine
from ops.__main__ import ops
from ops.errors import CannotRender, EngineFailed


def crd(field: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"properties": {field: {"type": "string"}}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rayclusters.ray.io"},
        "spec": {"group": "ray.io", "versions": versions},
    }


def test_a_secrets_values_are_never_shown_whichever_field_holds_them() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aGlkZGVu"}, "stringData": {"b": "plain"}}
    shown = yaml.safe_dump(diff.readable(secret))
    assert "aGlkZGVu" not in shown
    assert "plain" not in shown
    assert "a: (hidden)" in shown
    assert "b: (hidden)" in shown


def test_a_crd_is_its_versions_and_a_digest_that_follows_its_schema() -> None:
    shown = diff.readable(crd("one"))
    assert shown["spec"]["versions"] == ["v1"]
    assert "openAPIV3Schema" not in yaml.safe_dump(shown)
    assert shown["spec"]["digest"] != diff.readable(crd("two"))["spec"]["digest"]


def test_a_dashboard_is_a_digest_that_follows_its_content() -> None:
    def shown(title: str) -> Any:
        data = {"ray.json": f'{{"title": "{title}"}}', "plain": "text"}
        return diff.readable({"kind": "ConfigMap", "metadata": {"name": "ray"}, "data": data})["data"]

    assert shown("a")["ray.json"].startswith("digest ")
    assert shown("a")["ray.json"] != shown("b")["ray.json"]
    assert shown("a")["plain"] == "text"


def test_rendered_files_are_read_by_kind_and_name(tmp_path: Path) -> None:
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "head", "namespace": "ns"}},
    ]
    (tmp_path / "1-manifest").mkdir()
    (tmp_path / "1-manifest" / "all.yaml").write_text(yaml.safe_dump_all(objects))
    assert sorted(diff.read(tmp_path)) == ["Namespace /ns", "Service ns/head"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ({"A /a": ["x: 1"]}, {"A /a": ["x: 1"]}, changes.NO_CHANGES),
        ({"A /a": ["x: 1"]}, {"A /a": ["x: 2"]}, changes.CHANGES),
        ({}, {"A /a": ["x: 1"]}, changes.CHANGES),
        ({"A /a": ["x: 1"], "B /b": []}, {"A /a": ["x: 1"]}, changes.DESTRUCTIVE),
    ],
)
def test_only_an_object_that_goes_away_is_destructive(
    old: dict[str, list[str]], new: dict[str, list[str]], code: int
) -> None:
    assert diff.compare(old, new)[0] == code


def test_the_diff_names_each_object_and_shows_its_lines() -> None:
    old = {"A /a": ["x: 1"], "B /b": ["y: 1"]}
    _, text = diff.compare(old, {"A /a": ["x: 2"], "C /c": ["z: 1"]})
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        "### changed: A /a",
        "### removed: B /b",
        "### added: C /c",
    ]
    assert {"-x: 1", "+x: 2", "-y: 1", "+z: 1"} <= set(text.splitlines())


def test_a_comment_says_the_outcome_first() -> None:
    assert diff.as_comment("dev", changes.NO_CHANGES, "no changes") == "### Stack `dev`: no changes\n"
    gone = diff.as_comment("prod", changes.DESTRUCTIVE, "### removed: A /a")
    assert gone.startswith("### Stack `prod`: **objects go away**\n")


def test_a_comment_stays_below_what_github_takes_and_says_what_was_cut() -> None:
    comment = diff.as_comment("dev", changes.CHANGES, "+x\n" * 50_000)
    assert len(comment) < 65_536
    assert "90000 more characters: `make diff STACK=dev` shows all" in comment


def test_a_manifest_cannot_end_the_comments_code_block() -> None:
    comment = diff.as_comment("dev", changes.CHANGES, "+text: |\n+  ````\n+  <b>not code</b>")
    fences = [line for line in comment.splitlines() if line.startswith("`")]
    assert fences == ["`````diff", "`````"]


def test_a_base_that_git_does_not_know_is_refused_with_its_name() -> None:
    with pytest.raises(CannotRender, match=r"base no-such-branch: .*was it fetched"):
        diff.diff("dev", "no-such-branch")


def test_a_revision_is_taken_out_also_by_a_python_without_archive_filters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not (engine.ROOT / ".git").exists():
        pytest.skip("this is no clone: there is no revision to take out")
    extract = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda archive, folder: extract(archive, folder))
    diff.extract_revision("HEAD", tmp_path)
    assert (tmp_path / "Pulumi.yaml").read_text() == (engine.ROOT / "Pulumi.yaml").read_text()


def test_what_does_not_render_says_so_in_the_comment_and_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: str) -> tuple[int, str]:
        raise EngineFailed("pulumi up", 1, "error: clusterz: unknown key")

    monkeypatch.setattr(diff, "diff", fails)
    files = [tmp_path / "comment.md", tmp_path / "summary.md"]
    arguments = ["diff", "--stack", "dev", "--base", "main", "--comment", str(files[0]), "--job-summary", str(files[1])]
    done = CliRunner().invoke(ops, arguments)
    assert done.exit_code != 0
    for file in files:
        assert file.read_text().startswith("### Stack `dev`: **does not render**\n")
        assert "clusterz: unknown key" in file.read_text()
