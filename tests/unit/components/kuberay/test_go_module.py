"""KubeRay's manifests from a module proxy: the recorded files, and nothing else."""

from __future__ import annotations

import base64
import io
import random
import shutil
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from components.errors import StackError
from components.kuberay import go_module, source
from tests.support import http_server
from tests.support.http_server import JsonHandler, running
from tests.support.trees import tree

VERSION = "v1.7.0"
PREFIX = f"{go_module.MODULE}@{VERSION}/"
Serve = Callable[..., str]
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")


def package(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def module_of(folder: Path) -> dict[str, bytes]:
    """The module's files for the manifests in a folder of the repository."""
    root = folder / "ray-operator"
    return {
        f"{PREFIX}{file.relative_to(root)}": file.read_bytes()
        for file in sorted((root / "config").rglob("*"))
        if file.is_file()
    }


class Proxy(JsonHandler):
    """A module proxy with one version of one module."""

    def do_GET(self) -> None:
        status, content, user = self.server.answer  # type: ignore[attr-defined]
        name, _, ending = self.path.rpartition(".")
        files = {
            "info": f'{{"Version": "{VERSION}"}}'.encode(),
            "mod": f"module {go_module.MODULE}\n".encode(),
            "zip": content,
        }
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if user and self.headers.get("Authorization") != f"Basic {base64.b64encode(user.encode()).decode()}":
            status = 401
        elif name != f"/{go_module.MODULE}/@v/{VERSION}":
            status = 404
        body = files[ending] if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + self.server.lost_bytes))  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def without_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only git is on PATH."""
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "git").symlink_to(shutil.which("git") or "/usr/bin/git")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))


@pytest.fixture
def with_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go has an empty module cache, and asks nobody about checksums."""
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOTOOLCHAIN", "local")


@pytest.fixture(params=["without_go", pytest.param("with_go", marks=needs_go)])
def go(request: pytest.FixtureRequest) -> str:
    """Both ways to the module, one after the other."""
    request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves a zip as the module of VERSION. The repository's git tag cannot be reached, and the cache is empty."""
    monkeypatch.setattr(source, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(source, "REPOSITORY", str(tmp_path / "no-such-repository"))
    servers = ExitStack()

    def start(
        content: bytes, status: int = 200, user: str = "", asked: list[str] | None = None, lost_bytes: int = 0
    ) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        server.answer = (status, content, user)  # type: ignore[attr-defined]
        server.asked = [] if asked is None else asked  # type: ignore[attr-defined]
        server.lost_bytes = lost_bytes  # type: ignore[attr-defined]
        servers.enter_context(running(server))
        monkeypatch.setenv("GOPROXY", f"http://127.0.0.1:{server.server_port}")
        return f"http://127.0.0.1:{server.server_port}"

    with servers:
        yield start


def test_the_module_gives_the_recorded_files_where_the_tag_cannot_be_reached(serve: Serve, go: str) -> None:
    serve(package({**module_of(tree(VERSION)), f"{PREFIX}main.go": b"package main"}))
    found = source.resolve(VERSION)
    assert source.digest(found, VERSION) == source.recorded()[VERSION]
    assert sorted(path.name for path in found.iterdir()) == ["ray-operator"]


def test_other_files_than_the_recorded_ones_are_refused(serve: Serve, go: str) -> None:
    files = module_of(tree(VERSION))
    first = next(name for name in files if name.endswith(".yaml"))
    serve(package({**files, first: files[first] + b"# edited\n"}))
    with pytest.raises(StackError, match="the files differ from the recorded digest"):
        source.resolve(VERSION)


def packed(files: dict[str, bytes], method: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def with_changed_bytes(content: bytes, marker: bytes, offset: int) -> bytes:
    """The zip, with two bytes of an entry's compressed content changed."""
    changed, place = bytearray(content), content.index(marker) + len(marker) + offset
    changed[place : place + 2] = bytes(byte ^ 0xFF for byte in changed[place : place + 2])
    return bytes(changed)


def with_a_false_size(content: bytes) -> bytes:
    """The zip, whose directory says that its entry has 10 bytes."""
    changed, place = bytearray(content), content.rindex(b"PK\x01\x02")
    changed[place + 24 : place + 28] = (10).to_bytes(4, "little")
    return bytes(changed)


ENTRY = f"{PREFIX}config/crd/a.yaml"
TEXT = {ENTRY: b"a: 1\n" * 1000}


@pytest.mark.usefixtures("without_go")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no zip", "is no zip"),
        (package(TEXT)[:-30], "is no zip"),
        (package({f"{PREFIX}main.go": b""}), "has no manifests"),
        (package({ENTRY: bytes(17 * 1024**2)}), "larger ones"),
        (package({f"{PREFIX}config/crd/{number}.yaml": bytes(15 * 1024**2) for number in range(5)}), "larger ones"),
        (package({f"{PREFIX}config/crd/{number}.yaml": b"" for number in range(2001)}), "more manifests"),
        (packed(TEXT, zipfile.ZIP_BZIP2), "compressed as no Go module is"),
        (packed(TEXT, zipfile.ZIP_LZMA), "compressed as no Go module is"),
        (with_changed_bytes(package(TEXT), b"a.yaml", 2), "is no zip that can be read"),
        (with_a_false_size(package({ENTRY: bytes(1024**2)})), "is no zip that can be read"),
        (package({ENTRY: b"", f"{ENTRY}/b.yaml": b""}), "cannot be written"),
        (package({f"{PREFIX}config/crd/{'a' * 300}.yaml": b""}), "cannot be written"),
    ],
    ids=["no zip", "half a zip", "no manifests", "a large file", "all large", "many files", "bzip2", "lzma",
         "changed bytes", "false size", "a file as a folder", "a long name"],
)  # fmt: skip
def test_what_is_no_module_of_kuberay_is_refused_and_leaves_nothing(
    serve: Serve, content: bytes, words: str, tmp_path: Path
) -> None:
    serve(content)
    with pytest.raises(StackError, match=words):
        source.fetch(VERSION)
    assert list((tmp_path / "cache" / "kuberay").iterdir()) == []


@pytest.mark.usefixtures("without_go")
def test_a_zip_with_random_bytes_changed_is_refused_or_has_only_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded = random.Random(12)
    files = {f"{PREFIX}config/crd/{number}.yaml": seeded.randbytes(50) + b"abc" * 200 for number in range(4)}
    whole, contents = package(files), set(files.values())
    for number in range(1500):
        changed = bytearray(whole)
        for _ in range(seeded.randint(1, 6)):
            changed[seeded.randrange(len(changed))] = seeded.randrange(256)
        monkeypatch.setattr(go_module, "_by_http", lambda *_, content=bytes(changed): content)
        try:
            go_module.extract(VERSION, [source.CRD_FOLDER], source.MANIFEST_SUFFIXES, tmp_path / str(number))
        except StackError:
            continue
        written = [file.read_bytes() for file in (tmp_path / str(number)).rglob("*") if file.is_file()]
        assert written
        assert set(written) <= contents


@pytest.mark.usefixtures("without_go")
def test_no_entry_is_written_outside_of_the_folder(serve: Serve, tmp_path: Path) -> None:
    evil = {
        f"{PREFIX}config/crd/../../../../evil.yaml": b"x",
        "/evil.yaml": b"x",
        f"{PREFIX}config/crd/good.yaml": b"y",
    }
    serve(package(evil))
    target = tmp_path / "target"
    go_module.extract(VERSION, [source.CRD_FOLDER], source.MANIFEST_SUFFIXES, target)
    assert [path.name for path in target.rglob("*") if path.is_file()] == ["good.yaml"]
    assert not list(tmp_path.rglob("evil.yaml"))


def test_a_module_in_a_folder_is_used_too(
    serve: Serve, go: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mirror" / go_module.MODULE / "@v" / f"{VERSION}.zip"
    file.parent.mkdir(parents=True)
    file.write_bytes(package(module_of(tree(VERSION))))
    file.with_suffix(".info").write_text(f'{{"Version": "{VERSION}"}}')
    file.with_suffix(".mod").write_text(f"module {go_module.MODULE}\n")
    # The first folder has nothing, the server is down, and GitHub is not asked again.
    monkeypatch.setenv("GOPROXY", f"file://{tmp_path}/empty,http://127.0.0.1:1|file://{tmp_path}/mirror,direct")
    assert source.resolve(VERSION).is_dir()
    assert (tmp_path / "modules").is_dir() == (go == "with_go")


@pytest.mark.usefixtures("without_go")
def test_a_download_that_ends_early_is_said(serve: Serve) -> None:
    serve(package(module_of(tree(VERSION))), lost_bytes=7)
    with pytest.raises(StackError, match="the answer is not complete"):
        source.fetch(VERSION)


@needs_go
@pytest.mark.usefixtures("with_go")
def test_gos_own_module_cache_serves_it_without_any_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(package(module_of(tree(VERSION))))
    source.resolve(VERSION)
    shutil.rmtree(source.CACHE)
    monkeypatch.setenv("GOPROXY", "off")
    assert source.resolve(VERSION).is_dir()


def test_a_proxy_that_asks_for_a_password_gets_that_of_its_url(
    serve: Serve, go: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(package(module_of(tree(VERSION))), user="me:it's@secret")
    with pytest.raises(StackError, match="401"):
        source.fetch(VERSION)
    monkeypatch.setenv("GOPROXY", url.replace("//", "//me:it%27s%40secret@"))
    assert source.resolve(VERSION).is_dir()


@pytest.mark.usefixtures("without_go")
def test_a_password_is_not_sent_to_where_the_proxy_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    class Redirects(JsonHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(302 if len(seen) == 1 else 404)
            self.send_header("Location", f"{url}/storage".replace("127.0.0.1", "localhost"))
            self.end_headers()

    with http_server.serve(Redirects) as url:
        monkeypatch.setenv("GOPROXY", url.replace("//", "//me:hunter2@"))
        with pytest.raises(StackError, match="HTTP 404"):
            go_module.extract(VERSION, [source.CRD_FOLDER], source.MANIFEST_SUFFIXES, Path("/nowhere"))
    assert seen == [f"Basic {base64.b64encode(b'me:hunter2').decode()}", None]


@pytest.mark.parametrize(
    ("status", "separator", "next_is_asked"),
    [(404, ",", True), (410, ",", True), (403, ",", False), (500, ",", False), (403, "|", True), (500, "|", True)],
)
def test_after_a_comma_the_next_proxy_is_asked_only_about_what_is_not_there(
    serve: Serve, go: str, monkeypatch: pytest.MonkeyPatch, status: int, separator: str, next_is_asked: bool
) -> None:
    asked: list[str] = []
    first, second = serve(b"", status=status), serve(package(module_of(tree(VERSION))), asked=asked)
    monkeypatch.setenv("GOPROXY", f"{first}{separator}{second}")
    if next_is_asked:
        assert source.resolve(VERSION).is_dir()
    else:
        with pytest.raises(StackError, match=f"{status}"):
            source.fetch(VERSION)
    assert bool(asked) == next_is_asked


@pytest.mark.usefixtures("without_go")
@pytest.mark.parametrize(
    "value", ["nonsense", "http://[::1", "https://a b/", "http://host:99x", "file:///nowhere", ","]
)
def test_a_goproxy_that_makes_no_sense_is_named_in_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", value)
    with pytest.raises(StackError) as refused:
        go_module.extract(VERSION, [source.CRD_FOLDER], source.MANIFEST_SUFFIXES, Path("/nowhere"))
    assert value.strip(",/") in str(refused.value)


@pytest.mark.usefixtures("without_go")
def test_a_repository_that_does_not_answer_is_given_up_for_the_module(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a firewall that drops packets: the connection opens, or not, and nothing comes."""
    serve(package(module_of(tree(VERSION))))
    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(source, "REPOSITORY", f"http://127.0.0.1:{silent.getsockname()[1]}/kuberay")
    monkeypatch.setattr(source, "ANSWER_SECONDS", 0.5)
    started = time.monotonic()
    assert source.resolve(VERSION).is_dir()
    assert time.monotonic() - started < 20
    # Git's helpers would wait for the answer as long as the connection is open.
    waiting = [path for path in Path("/proc").glob("[0-9]*/cmdline") if source.REPOSITORY in _command_line(path)]
    silent.close()
    assert not waiting


def _command_line(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it has ended
        return ""


@pytest.mark.usefixtures("without_go")
def test_a_launcher_without_a_go_is_as_no_go(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a manager of Go versions: it answers every command with a sentence."""
    launcher = tmp_path / "programs" / "go"
    launcher.write_text("#!/bin/sh\necho no version of go is set\nexit 1\n")
    launcher.chmod(0o755)
    serve(package(module_of(tree(VERSION))))
    assert source.resolve(VERSION).is_dir()
    monkeypatch.delenv("GOPROXY")
    assert [proxy.url for proxy in go_module.proxies()] == [go_module.DEFAULT_PROXY]


@pytest.mark.usefixtures("without_go")
def test_the_reason_of_git_is_not_the_advice_below_it(serve: Serve) -> None:
    serve(b"", status=404)
    with pytest.raises(StackError, match=r"git tag: .*fatal: .*not appear to be a git repository"):
        source.fetch(VERSION)


def test_where_neither_can_be_had_both_tries_are_named_without_a_password(
    serve: Serve, go: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", f"{serve(b'')},http://user:hunter2@127.0.0.1:1")
    with pytest.raises(StackError) as refused:
        source.fetch("v1.6.2")
    text = str(refused.value)
    for words in ("git tag: ", "Go module: ", "http://127.0.0.1:1", "kuberay.source", "GOPROXY"):
        assert words in text, text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("https://a,https://b|https://c/,direct", ["https://a,", "https://b|", "https://c,"]),
        (" https://a , direct | https://b ", ["https://a,", "https://b,"]),
        ("off", []),
        ("https://a,off,https://b", ["https://a,"]),
        ("direct", []),
        ("proxy.example.com/go,localhost:3000", ["https://proxy.example.com/go,", "https://localhost:3000,"]),
    ],
)
def test_goproxy_is_read_as_go_reads_it(value: str, asked: list[str]) -> None:
    found = go_module.proxies({"GOPROXY": value})
    assert [f"{proxy.url}{'|' if proxy.next_after_any_error else ','}" for proxy in found] == asked


def test_a_version_before_the_folders_were_split_is_not_taken_from_the_module(serve: Serve) -> None:
    serve(b"")
    with pytest.raises(StackError, match="it lacks folders that this version needs"):
        source.fetch("v0.3.0")
