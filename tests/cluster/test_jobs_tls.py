"""`jobs --address https://...` through a TLS reverse proxy in front of a real head, as behind an Ingress."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.ray_head import RayHead
from tests.support.tls import TlsProxy, make_ca

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def url(ray_head: RayHead, ca: tuple[Path, Path]) -> Iterator[str]:
    with ray_head.port_forward() as plain:
        behind = urlsplit(plain)
        assert behind.hostname is not None
        assert behind.port is not None
        with TlsProxy(ca[1], behind.hostname, behind.port) as proxy:
            yield proxy.url


def jobs(home: Path, token: str | None, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY", "PULUMI", "KUBE", "XDG_"))}
    given = {"RAY_AUTH_TOKEN": token} if token else {}
    return subprocess.run(
        [sys.executable, "-m", "jobs", *words], cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**kept, **given, "HOME": str(home), "PYTHONPATH": str(ROOT)}, timeout=240, check=False,
    )  # fmt: skip


def test_a_job_is_submitted_and_followed_through_tls_with_its_directory(
    ray_head: RayHead, url: str, ca: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "script.py").write_text("print('through', 'tls')")
    words = ("submit", "--address", url, "--verify", str(ca[0]), "--working-dir", "work", "--", "python", "script.py")
    run = jobs(tmp_path, ray_head.token(), *words)
    assert run.returncode == 0, run.stderr
    assert "through tls\n" in run.stdout


def test_a_certificate_of_an_unknown_ca_is_refused_and_nothing_is_sent(
    ray_head: RayHead, url: str, tmp_path: Path
) -> None:
    run = jobs(tmp_path, ray_head.token(), "list", "--address", url)
    assert run.returncode == 6
    assert "--verify FILE" in run.stderr
    assert ray_head.token() not in run.stdout + run.stderr


@pytest.mark.parametrize(("token", "code", "said"), [("wrong", 6, "refuses this token"), (None, 6, "requires a token")])
def test_tls_alone_opens_nothing(
    url: str, ca: tuple[Path, Path], tmp_path: Path, token: str | None, code: int, said: str
) -> None:
    run = jobs(tmp_path, token, "list", "--address", url, "--verify", str(ca[0]))
    assert run.returncode == code, run.stderr
    assert said in run.stderr
