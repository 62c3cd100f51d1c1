"""KubeRay's manifests from a module proxy: the recorded files, and nothing else."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from components.errors import StackError
from components.kuberay import go_module, source
from tests.support.trees import tree

VERSION = "v1.7.0"
PREFIX = f"{go_module.MODULE}@{VERSION}/"
Serve = Callable[[bytes], str]


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


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves a zip as the module of VERSION. The repository's git tag cannot be reached, and the cache is empty."""
    monkeypatch.setattr(source, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(source, "REPOSITORY", str(tmp_path / "no-such-repository"))
    servers: list[ThreadingHTTPServer] = []

    def start(content: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == f"/{go_module.MODULE}/@v/{VERSION}.zip"
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write(content if found else b"")

            def log_message(self, *_arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("GOPROXY", f"http://127.0.0.1:{server.server_port}")
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_module_gives_the_recorded_files_where_the_tag_cannot_be_reached(serve: Serve) -> None:
    serve(package({**module_of(tree(VERSION)), f"{PREFIX}main.go": b"package main"}))
    found = source.resolve(VERSION)
    assert source.digest(found, VERSION) == source.recorded()[VERSION]
    assert sorted(path.name for path in found.iterdir()) == ["ray-operator"]


def test_other_files_than_the_recorded_ones_are_refused(serve: Serve) -> None:
    files = module_of(tree(VERSION))
    first = next(name for name in files if name.endswith(".yaml"))
    serve(package({**files, first: files[first] + b"# edited\n"}))
    with pytest.raises(StackError, match="the files differ from the recorded digest"):
        source.resolve(VERSION)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no zip", "is no zip"),
        (package({f"{PREFIX}main.go": b""}), "has no manifests"),
        (package({f"{PREFIX}config/crd/a.yaml": bytes(17 * 1024**2)}), "larger ones"),
        (package({f"{PREFIX}config/crd/{number}.yaml": b"" for number in range(2001)}), "more manifests"),
    ],
    ids=["no zip", "no manifests", "a large file", "many files"],
)
def test_what_is_no_module_of_kuberay_is_refused_and_leaves_nothing(
    serve: Serve, content: bytes, words: str, tmp_path: Path
) -> None:
    serve(content)
    with pytest.raises(StackError, match=words):
        source.fetch(VERSION)
    assert list((tmp_path / "cache" / "kuberay").iterdir()) == []


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


def test_a_module_in_a_folder_is_used_too(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mirror" / go_module.MODULE / "@v" / f"{VERSION}.zip"
    file.parent.mkdir(parents=True)
    file.write_bytes(package(module_of(tree(VERSION))))
    monkeypatch.setenv("GOPROXY", f"https://127.0.0.1:1,file://{tmp_path}/mirror,direct")
    assert source.resolve(VERSION).is_dir()


def test_where_neither_can_be_had_both_tries_are_named_without_a_password(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", f"{serve(b'')},http://user:hunter2@127.0.0.1:1")
    with pytest.raises(StackError) as refused:
        source.fetch("v1.6.2")
    text = str(refused.value)
    for words in ("git tag: ", "Go module: ", "HTTP 404", "http://127.0.0.1:1: ", "kuberay.source", "GOPROXY"):
        assert words in text, text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("https://a,https://b|https://c/,direct", ["https://a", "https://b", "https://c"]),
        ("off", []),
        ("https://a,off,https://b", ["https://a"]),
        ("direct", []),
    ],
)
def test_goproxy_is_read_as_go_reads_it(value: str, asked: list[str]) -> None:
    assert go_module.proxies({"GOPROXY": value}) == asked


def test_a_version_before_the_folders_were_split_is_not_taken_from_the_module(serve: Serve) -> None:
    serve(b"")
    with pytest.raises(StackError, match="it lacks folders that this version needs"):
        source.fetch("v0.3.0")
