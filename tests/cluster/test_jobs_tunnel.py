"""Every command through the tunnel to a real head pod, and what happens to the tunnel."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jobs import connect
from tests.support.proxy import Faults, Proxy
from tests.support.ray_head import RayHead

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[bytes]]
COUNT = "import time\nfor i in range(40): print('größe', i, '\\r', flush=True); time.sleep(0.25)"


def environ(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY", "PULUMI", "KUBE", "XDG_"))}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT)}


def command(outputs: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "jobs", words[0], "--outputs", str(outputs), *words[1:]]


def run_jobs(outputs: Path, home: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(outputs, *words), cwd=home, env=environ(home), stdin=subprocess.DEVNULL, capture_output=True,
        timeout=240, check=False,
    )  # fmt: skip


@pytest.fixture
def outputs(ray_head: RayHead, tmp_path: Path) -> Path:
    return ray_head.write_contract(tmp_path / "outputs.json")


@pytest.fixture
def jobs(outputs: Path, tmp_path: Path) -> Run:
    return lambda *words: run_jobs(outputs, tmp_path, *words)


def changed(outputs: Path, **changes: object) -> Path:
    """The same contract with other values: of its cluster by name, `top_` of the contract itself."""
    contract = json.loads(outputs.read_text())
    for key, value in changes.items():
        if key.startswith("top_"):
            contract[key[4:]] = value
        else:
            contract["clusters"][0][key] = value
    target = outputs.with_name("changed.json")
    target.write_text(json.dumps(contract))
    return target


def test_every_command_works_through_the_tunnel(jobs: Run, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "script.py").write_text("import sys; sys.stdout.buffer.write(b'10%\\r\\xff\\n')")
    done = jobs("submit", "--submission-id", "all", "--working-dir", "work", "--", "python", "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"10%\r\xff\n")
    assert jobs("logs", "all").stdout == done.stdout
    assert jobs("logs", "--follow", "all").stdout == done.stdout
    assert json.loads(jobs("status", "all", "--output", "json").stdout)["status"] == "SUCCEEDED"
    assert b"all" in jobs("list").stdout
    assert jobs("wait", "all").returncode == 0
    assert jobs("submit", "--", "exit 3").returncode == 1
    assert jobs("submit", "--no-wait", "--submission-id", "long", "--", "sleep 600").stdout == b"long\n"
    assert jobs("stop", "long").returncode == 0
    assert jobs("wait", "long").returncode == 3
    assert jobs("delete", "long").returncode == 0
    assert jobs("status", "long").returncode == 2


def test_check_names_the_address_and_the_resources(jobs: Run) -> None:
    done = jobs("check", "--output", "json")
    assert done.returncode == 0, done.stdout
    findings = {finding["step"]: finding for finding in json.loads(done.stdout)}
    assert findings["ray"]["data"]["resources"]["CPU"] == 2
    assert findings["ray"]["data"]["address"].endswith(":6379")
    assert findings["workers"]["state"] == "warning"


@contextmanager
def forwarding(outputs: Path, home: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    process = subprocess.Popen(
        command(outputs, "forward", *words), cwd=home, env=environ(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().split("=", 1)[-1].strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_two_tunnels_at_once_each_have_a_port_of_their_own_on_loopback(outputs: Path, tmp_path: Path) -> None:
    with forwarding(outputs, tmp_path) as (_, first), forwarding(outputs, tmp_path) as (_, second):
        assert urlsplit(first).port != urlsplit(second).port
        assert urlsplit(first).hostname == urlsplit(second).hostname == "127.0.0.1"
        with socket.create_connection(("127.0.0.1", urlsplit(first).port or 0), 5):
            pass
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", urlsplit(first).port or 0), 5)


def test_a_taken_port_is_refused_by_name(outputs: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_jobs(outputs, tmp_path, "forward", "--port", str(taken.getsockname()[1]), "--", "true")
    assert done.returncode == 2
    assert b"is taken" in done.stderr


def test_the_stock_client_works_with_what_forward_sets(outputs: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    script = "from ray.job_submission import JobSubmissionClient as C; print(C().get_version())"
    done = run_jobs(outputs, tmp_path, "forward", "--", sys.executable, "-c", script)
    assert (done.returncode, done.stdout) == (0, b"4\n"), done.stderr


def test_the_python_api_owns_its_tunnel(outputs: Path, tmp_path: Path) -> None:
    with connect(outputs=outputs, ledger=tmp_path / "ledger") as client:
        url = client.url
        assert client.submit("true").wait(timeout=120).status == "SUCCEEDED"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), 5)


def test_a_reset_api_connection_loses_and_repeats_nothing(ray_head: RayHead, outputs: Path, tmp_path: Path) -> None:
    """A proxy between this machine and the API server cuts every connection after two seconds."""
    config = json.loads(ray_head.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    with TcpCutter(server.hostname or "", server.port or 443, 2.0) as cutter:
        config["clusters"][0]["cluster"] |= {
            "server": f"https://127.0.0.1:{cutter.port}",
            "tls-server-name": server.hostname,
        }
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        cut = changed(outputs, top_kubeconfig=str(kubeconfig))
        done = run_jobs(cut, tmp_path, "submit", "--submission-id", "cut", "--", "python", "-c", COUNT)
        assert cutter.cuts > 0
    assert done.returncode == 0, done.stderr
    lines = [f"größe {i} \r".encode() for i in range(40)]
    assert done.stdout.split(b"\n")[-41:-1] == lines
    assert done.stdout == run_jobs(outputs, tmp_path, "logs", "cut").stdout


def test_a_deleted_head_pod_makes_the_job_lost_and_the_tunnel_finds_the_next_one(
    ray_head: RayHead, outputs: Path, tmp_path: Path
) -> None:
    follower = subprocess.Popen(
        command(outputs, "submit", "--submission-id", "lost", "--", "echo begun; sleep 600"),
        cwd=tmp_path, env=environ(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert follower.stdout is not None
    for line in follower.stdout:
        if line == b"begun\n":
            break
    with forwarding(outputs, tmp_path) as (_, url):
        ray_head.delete_pod()
        _, said = follower.communicate(timeout=240)
        assert follower.returncode == 4, said
        assert b"Job lost is lost: the server no longer knows it." in said
        ray_head.wait_ready()
        # The held tunnel leads to the new pod by itself.
        import httpx

        headers = {"Authorization": f"Bearer {ray_head.token()}"}
        assert httpx.get(f"{url}/api/jobs/", headers=headers, timeout=60, trust_env=False).json() == []
    kept = run_jobs(outputs, tmp_path, "logs", "lost")
    assert b"begun" in kept.stdout
    assert b"From the ledger" in kept.stderr


def test_a_token_rotated_between_two_commands_is_followed(ray_head: RayHead, outputs: Path, tmp_path: Path) -> None:
    assert run_jobs(outputs, tmp_path, "list").returncode == 0
    ray_head.rotate_token()
    refused = run_jobs(outputs, tmp_path, "list")
    assert refused.returncode == 6
    assert b"refuses this token" in refused.stderr
    # The head takes the new token up with its next pod.
    ray_head.delete_pod()
    ray_head.wait_ready()
    assert run_jobs(outputs, tmp_path, "list").returncode == 0


class TcpCutter(Proxy):
    """The proxy without its knowledge of HTTP: bytes both ways, each connection cut after a while."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        super().__init__(host, port)
        self.faults = Faults(cut_every=seconds)

    async def _serve(self, reader, writer):  # type: ignore[no-untyped-def]
        import asyncio

        upstream_reader, upstream_writer = await asyncio.open_connection(self.host, self.target)

        async def copy(source, sink):  # type: ignore[no-untyped-def]
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(copy(reader, upstream_writer), copy(upstream_reader, writer))
        finally:
            upstream_writer.transport.abort()
