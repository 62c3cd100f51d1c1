"""The options that name a target: what is refused, and what never redirects a command."""

from __future__ import annotations

import pytest

from jobs import errors
from tests.support.command import Cli
from tests.support.proxy import answer, server


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("ray://127.0.0.1:10001", b"another protocol"),
        ("http://", b"not an http"),
        ("http://127.0.0.1:99999", b"--address"),
        ("http://user:secret@127.0.0.1", b"plain URL"),
        ("http://ray.example.com", b"--allow-unauthenticated"),
        ("https://192.0.2.1:8265", b"no token"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_is_sent(
    bare_cli: Cli, address: str, named: bytes
) -> None:
    done = bare_cli("list", address=address)
    assert done.returncode == 2
    assert named in done.stderr
    assert b"secret" not in done.stderr.replace(b"http://user:secret", b"")


def test_a_stray_ray_address_never_redirects_and_is_said(bare_cli: Cli) -> None:
    with server(answer(200, "[]")) as right, server(answer(200, "[]")) as wrong:
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            done = bare_cli("list", address=right.url, **{name: wrong.url})
            assert done.returncode == 0
            assert f"{name} is set and is ignored".encode() in done.stderr
        assert (len(right.requests), len(wrong.requests)) == (2, 0)


def test_the_token_comes_from_where_it_was_said(bare_cli: Cli) -> None:
    (bare_cli.cwd / "token").write_text("from-a-file\n")
    missing = bare_cli("list", "--token-file", "nowhere")
    assert missing.returncode == 2
    assert b"nowhere" in missing.stderr
    empty = bare_cli("list", RAY_AUTH_TOKEN="bad token")
    assert empty.returncode == 2
    assert b"bad token" not in empty.stderr


def test_a_remedy_repeats_the_target_that_was_typed_but_no_header(bare_cli: Cli) -> None:
    absent = answer(404, "Job nobody does not exist", "text/plain")
    with server(absent) as running:
        headers = '{"X-Login": "hunter2hunter2"}'
        done = bare_cli("status", "nobody", "--headers", headers, "--allow-unauthenticated", address=running.url)
    assert done.returncode == 2
    assert f"`python -m jobs list --address {running.url} --allow-unauthenticated` shows".encode() in done.stderr
    assert b"hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "pasted"),
    [
        ("why j", "why j --outputs 'my file.json'"),
        ("submit -- python a.py", "submit --outputs 'my file.json' -- python a.py"),
        ("init --cluster a", "init --cluster a"),
        ("local start", "local start"),
    ],
)
def test_the_target_stands_before_the_entrypoint_and_only_at_commands_that_have_one(
    arguments: str, pasted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_typed_target", [])
    assert errors.command(arguments) == f"`{errors.COMMAND} {arguments}`"
    errors.repeat_target(["--outputs", "my file.json"])
    assert errors.command(arguments) == f"`{errors.COMMAND} {pasted}`"
