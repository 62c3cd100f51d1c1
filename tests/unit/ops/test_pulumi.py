"""`make pulumi`: the CLI is the archive whose checksum is recorded, or it is not there."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops import demo, engine, pulumi
from ops.errors import EngineMissing, Unavailable
from single_node.programs import engine as module_engine
from tests.support.http_server import JsonHandler, serve


def archive(script: str = f"echo v{pulumi.VERSION}") -> bytes:
    """A release as Pulumi packs it: the folder `pulumi` with the CLI and its language hosts."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as content:
        for name in ("pulumi", *engine.PLUGINS):
            program = f"#!/bin/sh\n{script}\n".encode()
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.size, member.mode = len(program), 0o755
            content.addfile(member, io.BytesIO(program))
    return target.getvalue()


@dataclass
class Releases:
    """A server of releases; `truncated`: it promises the whole archive and hangs up after half of it."""

    content: bytes = field(default_factory=archive)
    truncated: bool = False
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    state = Releases()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(state.content)))
            self.end_headers()
            self.wfile.write(state.content[: len(state.content) // 2] if state.truncated else state.content)

    with serve(Handler) as url:
        monkeypatch.setattr(pulumi, "RELEASES", url)
        monkeypatch.setattr(pulumi, "CHECKSUMS", {"linux-x64": hashlib.sha256(state.content).hexdigest()})
        yield state


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Linux machine without Pulumi; returns the project's folder for it."""
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / ".pulumi"
    monkeypatch.setattr(engine, "OWN_INSTALLATION", folder)
    monkeypatch.setattr(pulumi.platform, "system", lambda: "Linux")
    monkeypatch.setattr(pulumi.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# As the CLI names them in its home.
PLUGIN_FOLDERS = [name.removeprefix("pulumi-") for name in engine.PLUGINS]
PROGRAMS = {f"bin/{name}" for name in ("pulumi", *engine.PLUGINS)}


def test_the_recorded_archive_is_installed_and_found(releases: Releases, machine: Path) -> None:
    assert CliRunner().invoke(pulumi.pulumi_command).exit_code == 0
    assert files(machine) == PROGRAMS
    assert engine.find_engine() == machine / "bin/pulumi"
    assert pulumi.installed_version() == pulumi.VERSION
    assert releases.asked == [f"/v{pulumi.VERSION}/pulumi-v{pulumi.VERSION}-linux-x64.tar.gz"]


def test_it_is_downloaded_once(releases: Releases) -> None:
    for _ in range(2):
        assert CliRunner().invoke(pulumi.pulumi_command).exit_code == 0
    assert len(releases.asked) == 1


def test_another_version_is_replaced(releases: Releases, machine: Path) -> None:
    (machine / "bin").mkdir(parents=True)
    for name in ("pulumi", "of-an-older-version"):
        (machine / "bin" / name).write_text("#!/bin/sh\necho v3.1.0\n")
        (machine / "bin" / name).chmod(0o755)
    assert CliRunner().invoke(pulumi.pulumi_command).exit_code == 0
    assert files(machine) == PROGRAMS


def test_another_archive_is_refused_with_both_checksums_and_nothing_of_it_is_run_or_kept(
    releases: Releases, machine: Path, tmp_path: Path
) -> None:
    recorded = pulumi.CHECKSUMS["linux-x64"]
    releases.content = archive(f"touch {tmp_path}/was-run")
    with pytest.raises(Unavailable) as refused:
        pulumi.install()
    assert recorded in str(refused.value)
    assert hashlib.sha256(releases.content).hexdigest() in str(refused.value)
    assert files(machine) == set()
    assert not (tmp_path / "was-run").exists()


def test_a_refused_archive_leaves_the_installed_cli_in_place(releases: Releases, machine: Path) -> None:
    pulumi.install()
    releases.content = archive("echo v6.6.6")
    with pytest.raises(Unavailable):
        pulumi.install()
    assert pulumi.installed_version() == pulumi.VERSION


def test_a_download_that_breaks_off_is_refused_as_such(releases: Releases, machine: Path) -> None:
    releases.truncated = True
    with pytest.raises(Unavailable, match=r"ended after \d+ of \d+ bytes; try again|IncompleteRead"):
        pulumi.install()
    assert files(machine) == set()


def test_more_than_an_archive_can_have_is_not_read_to_its_end(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi, "SIZE_LIMIT_BYTES", 10)
    with pytest.raises(Unavailable, match="more than 10 bytes"):
        pulumi.install()


def test_a_host_that_does_not_answer_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "RELEASES", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"could not download http://127.0.0.1:1/.*install it yourself"):
        pulumi.install()


def test_a_platform_without_a_recorded_checksum_is_refused_before_anything_is_downloaded(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi.platform, "machine", lambda: "riscv64")
    with pytest.raises(Unavailable, match=r"no checksum .* for linux-riscv64 is recorded here; install it yourself"):
        pulumi.install()
    assert releases.asked == []


def test_the_demo_installs_the_same_archive_or_says_why_it_cannot(releases: Releases) -> None:
    demo.ensure_engine(lambda: None)
    assert pulumi.installed_version() == pulumi.VERSION


def test_the_demo_goes_on_without_a_cli_whose_archive_is_another_one(
    releases: Releases, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases.content = archive("echo v6.6.6")
    monkeypatch.setattr(demo, "go_problem", lambda _oldest: "the command `go` is missing")
    with pytest.raises(
        Unavailable, match=r"(?s)is not the archive.*from Go modules it cannot be built: .*`go` is missing"
    ):
        demo.ensure_engine(lambda: None)
    with pytest.raises(EngineMissing):
        engine.find_cli()


def test_a_cli_on_path_stays_in_use_and_only_its_plugins_are_installed(
    releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, home = tmp_path / "programs", tmp_path / "home"
    programs.mkdir()
    cli = programs / "pulumi"
    folders = " ".join(f"{home}/plugins/{name}-v1" for name in PLUGIN_FOLDERS)
    cli.write_text(f'#!/bin/sh\n[ "$1" = install ] && /bin/mkdir -p {folders}\n')
    cli.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PULUMI_HOME", str(home))
    demo.ensure_engine(lambda: None)
    assert engine.find_engine() == cli
    assert releases.asked == []


def test_without_an_installer_the_engine_is_built_after_the_local_job(
    releases: Releases, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi, "RELEASES", "http://127.0.0.1:1")
    monkeypatch.setattr(demo, "go_problem", lambda _oldest: None)
    order: list[str] = []
    monkeypatch.setattr(module_engine, "build", lambda: order.append("build"))
    demo.ensure_engine(lambda: order.append("local job"))
    assert order == ["local job", "build"]
    assert not machine.exists()


def test_every_platform_that_pulumi_is_released_for_has_a_checksum() -> None:
    recorded = pulumi.CHECKSUMS
    assert sorted(recorded) == ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"]
    assert all(len(bytes.fromhex(checksum)) == 32 for checksum in recorded.values())
    assert len(set(recorded.values())) == len(recorded)
    assert pulumi.RELEASES.startswith("https://")
