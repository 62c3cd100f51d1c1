"""Rendering without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops import render
from ops.errors import CannotRender

CIPHERTEXT = "v1:Y2lwaGVy:dGV4dA=="


def test_secure_values_become_placeholders_wherever_they_are() -> None:
    stack_file = {
        "secretsprovider": "awskms://key",
        "encryptionsalt": "v1:salt",
        "config": {"ray:token": {"secure": CIPHERTEXT}, "ray:clusters": [{"env": {"KEY": {"secure": CIPHERTEXT}}}]},
    }
    assert render.without_secrets(stack_file) == {
        "config": {"ray:token": render.PLACEHOLDER, "ray:clusters": [{"env": {"KEY": render.PLACEHOLDER}}]}
    }


def test_a_setting_that_is_merely_called_secure_keeps_its_value() -> None:
    config = {"ray:x": {"secure": "yes", "mode": "strict"}}
    assert render.without_secrets({"config": config})["config"] == config


def test_a_stack_without_a_file_is_refused_naming_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}")
    with pytest.raises(CannotRender, match=r"no stack file Pulumi\.nope\.yaml; stacks with one: dev"):
        render.render("nope", tmp_path / "out", root=tmp_path)


def test_a_stack_file_that_is_not_yaml_is_named_by_line_and_not_repeated(tmp_path: Path) -> None:
    """A pull request's comment would publish what the parser quotes."""
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  password: 'S3CRET\n")
    with pytest.raises(CannotRender, match=r"Pulumi\.dev\.yaml is not YAML at line \d") as refused:
        render.render("dev", tmp_path / "out", root=tmp_path)
    assert "S3CRET" not in str(refused.value)


def test_the_engine_gets_the_stack_file_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` reads the file itself: what a render reads must not be another text."""
    pod = "{TIME: 22:22, YES: yes, MODE: 0755, VER: 1.10, E: 1e3, QUOTED: '1e3', KEY: {secure: AAAA}}"
    (tmp_path / "Pulumi.dev.yaml").write_text(f"config:\n  ray-on-kubernetes:clusters: [{{head: {{env: {pod}}}}}]\n")
    texts = []
    monkeypatch.setattr(render.engine, "init_stack", lambda *_: None)
    monkeypatch.setattr(
        render.engine, "run_quietly", lambda arguments, **_: texts.append(Path(arguments[-1]).read_text())
    )
    render.render("dev", tmp_path / "out", root=tmp_path)
    lines = [line.strip() for line in texts[0].splitlines()]
    for line in ["TIME: 22:22", "YES: yes", "MODE: 0755", "VER: 1.10", "E: 1e3", "QUOTED: '1e3'"]:
        assert line in lines
    assert f"KEY: {render.PLACEHOLDER}" in lines
