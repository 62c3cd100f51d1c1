"""`page`: the link that it prints opens the page, of a keeper or of this machine; real commands over real HTTP."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from jobs.cli.extra import check_extra
from jobs.errors import LocalFault
from jobs.ledger.records import Origin, Place, Tail
from jobs.ledger.store import Ledger
from jobs.spec.job_spec import JobSpec
from tests.support.api_server import UID, api_server
from tests.support.command import NO_ADDRESS, Cli, wait_until
from tests.support.fake_ray import FakeRay, fake_ray
from tests.support.keeper_page import TOKEN, Page, failed, job, serving
from tests.support.outputs import contract, write

CORE = "/api/v1/namespaces/ray-cluster"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path / "kept")
    yield page
    page.keeping.close()


@pytest.fixture
def keeper(page: Page) -> Iterator[str]:
    with serving(page.app) as url:
        yield url


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with fake_ray() as ray:
        yield ray


@contextmanager
def opened(cli: Cli, *words: str, **environ: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs `page --no-open` while the block runs. Gives the process and its link."""
    process = cli.start_raw("page", "--no-open", *words, **environ)
    assert process.stdout is not None
    try:
        link = process.stdout.readline().decode().strip()
        if not link:
            pytest.fail(process.communicate(timeout=60)[1].decode())
        yield process, link
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, str]:
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said.decode()


def browser() -> httpx.Client:
    return httpx.Client(follow_redirects=True, trust_env=False, timeout=60)


def test_the_link_opens_the_keepers_page_once_and_ctrl_c_closes_it(page: Page, keeper: str, bare_cli: Cli) -> None:
    page.keep(job("of-the-team"))
    with opened(bare_cli, "--address", NO_ADDRESS, "--keeper", keeper, RAY_AUTH_TOKEN=TOKEN) as (process, link):
        assert link.startswith(f"{keeper}/open?key=")
        with browser() as ours, browser() as other:
            assert "of-the-team" in ours.get(link).text
            assert ours.get(keeper).status_code == 200
            assert other.get(link).status_code == 403
        code, said = end(process)
    assert code == 0
    assert f"The page of the keeper at {keeper} is open until Ctrl-C." in said
    assert "The page is closed." in said
    assert TOKEN not in link + said


def test_sigterm_ends_it_as_every_command(keeper: str, bare_cli: Cli) -> None:
    with opened(bare_cli, "--address", NO_ADDRESS, "--keeper", keeper, RAY_AUTH_TOKEN=TOKEN) as (process, _):
        assert end(process, signal.SIGTERM)[0] == 143


@pytest.mark.parametrize("submission_id", ["failed", "a/b?c=d&e #1", "//other.example"])
def test_with_an_id_the_page_of_that_job_opens(page: Page, keeper: str, bare_cli: Cli, submission_id: str) -> None:
    page.keep(failed(submission_id))
    words = (submission_id, "--address", NO_ADDRESS, "--keeper", keeper)
    with opened(bare_cli, *words, RAY_AUTH_TOKEN=TOKEN) as (_, link), browser() as ours:
        answer = ours.get(link)
    assert answer.url.host == "127.0.0.1"
    assert answer.url.path.startswith("/jobs/")
    assert "batch 17 has 3 columns" in answer.text


def test_the_page_of_a_stack_goes_on_after_its_keepers_pod_was_replaced(
    page: Page, keeper: str, bare_cli: Cli, tmp_path: Path
) -> None:
    page.keep(job("of-the-team"))
    port = int(keeper.rpartition(":")[2])
    pods: list[dict[str, object]] = [_pod("k-1")]
    spec = {"selector": {"app": "keeper"}, "ports": [{"port": 8270, "targetPort": port}]}
    objects = {
        f"{CORE}/services/ray-0-keeper": {"spec": spec},
        f"{CORE}/pods": {"items": pods},
        f"{CORE}/secrets/ray-0": {"data": {"auth_token": "dGhlLXRva2VuLW9mLXRoZS1jbHVzdGVy"}},
    }
    forwards = {f"{CORE}/pods/k-1/portforward?ports={port}": port}
    outputs = contract(kubeContext="test", clusterUid=UID)
    outputs["clusters"][0]["keeper"] = {"service": "ray-0-keeper", "port": 8270}
    path = write(tmp_path / "outputs.json", outputs)
    with api_server(tmp_path, objects, forwards=forwards) as kubeconfig:
        words = ("--outputs", str(path), "--kubeconfig", str(kubeconfig))
        with opened(bare_cli, *words) as (process, link), browser() as ours:
            assert "of-the-team" in ours.get(link).text
            del forwards[f"{CORE}/pods/k-1/portforward?ports={port}"]
            forwards[f"{CORE}/pods/k-2/portforward?ports={port}"] = port
            pods[:] = [_pod("k-2")]
            # A new connection: the old one ended with its pod.
            with httpx.Client(trust_env=False, timeout=60, cookies=ours.cookies) as again:
                assert "of-the-team" in again.get(link.partition("/open")[0]).text
            code, said = end(process)
    assert (code, "The page of the keeper of ray-cluster/ray-0 is open" in said) == (0, True)


def _pod(name: str) -> dict[str, object]:
    ready = [{"type": "Ready", "status": "True"}]
    return {"metadata": {"name": name}, "status": {"phase": "Running", "conditions": ready}}


def ledger_of(cli: Cli) -> Ledger:
    return Ledger(Path(cli.environ["HOME"]) / ".local/state/rayjobs/ledger.sqlite")


def test_without_a_keeper_the_page_has_the_own_jobs_and_those_of_ray_and_reads_a_log_when_it_is_opened(
    ray: FakeRay, bare_cli: Cli, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    place, ledger = Place(ray.url, "address"), ledger_of(bare_cli)
    for submission_id, where in (("mine", place), ("gone", place), ("elsewhere", Place("http://other", "address"))):
        ledger.record_submission(submission_id, JobSpec("python mine.py"), where, Origin())
    ledger.record_status("gone", place.identity, "SUCCEEDED")
    ledger.record_tail("gone", place.identity, Tail(b"the last line\n", 5000))
    ray.add("mine", log=b"line 1\n")
    ray.add("of-another", "FAILED", log=b"ValueError: no\n")
    with opened(bare_cli, "--address", ray.url, TMPDIR=str(temporary)) as (process, link), browser() as ours:
        base = link.partition("/open")[0]
        first = ours.get(link)
        shown = first.text
        assert "elsewhere" not in shown
        for submission_id in ("mine", "gone", "of-another"):
            assert shown.count(f'href="/jobs/{submission_id}"') >= 1
        assert ray.requests["/logs/ID"] == 0
        assert "line 1" in ours.get(f"{base}/jobs/mine").text
        assert "ValueError: no" not in ours.get(f"{base}/jobs/mine").text
        ray.write("mine", b"line 2\n")
        wait_until(lambda: ours.get(f"{base}/v1/jobs/mine/log").content == b"line 1\nline 2\n", 60)
        gone = ours.get(f"{base}/jobs/gone").text
        assert "the last line" in gone
        ended = ours.get(f"{base}/v1/jobs/gone/log", headers={"Range": "bytes=4990-"})
        assert (ended.status_code, ended.content) == (206, b"last line\n")
        ray.end("mine")
        wait_until(lambda: ours.get(f"{base}/v1/jobs/mine").json()["status"] == "SUCCEEDED", 60)
        # Now the list of the server stays the same.
        assert "ValueError: no" in ours.get(f"{base}/v1/jobs/of-another/log").text
        assert first.status_code == 200
        code, _ = end(process)
    assert code == 0
    # What the page did not say of the own jobs, the local job history does not say either.
    assert [entry.status for entry in ledger.history(identity=place.identity)] == ["SUCCEEDED", "SUBMITTING"]
    assert list(temporary.iterdir()) == []


def test_a_cluster_that_does_not_answer_leaves_the_local_job_history_and_comes_back(bare_cli: Cli) -> None:
    with fake_ray() as ray:
        address = ray.url
        ledger_of(bare_cli).record_submission("mine", JobSpec("python mine.py"), Place(address, "address"), Origin())
        ray.fails_with = 503
        ray.add("later", log=b"")
        with opened(bare_cli, "--address", address) as (process, link), browser() as ours:
            assert "mine" in ours.get(link).text
            ray.fails_with = None
            base = link.partition("/open")[0]
            wait_until(lambda: "later" in ours.get(base).text, 60)
            end(process)


def test_a_keeper_of_the_outputs_that_does_not_run_leaves_the_page_of_this_machine(
    bare_cli: Cli, tmp_path: Path
) -> None:
    outputs = contract(kubeContext="test", clusterUid=UID)
    outputs["clusters"][0]["keeper"] = {"service": "ray-0-keeper", "port": 8270}
    path = write(tmp_path / "outputs.json", outputs)
    place = Place(f"{UID}/ray-cluster/ray-0", "stack", "dev", "ray-0", "ray-cluster")
    ledger_of(bare_cli).record_submission("mine", JobSpec("python mine.py"), place, Origin())
    with api_server(tmp_path) as kubeconfig:
        words = ("--outputs", str(path), "--kubeconfig", str(kubeconfig))
        with opened(bare_cli, *words) as (process, link), browser() as ours:
            assert "mine" in ours.get(link).text
            code, said = end(process)
    assert code == 0
    assert "The keeper of ray-cluster/ray-0 could not be asked: The keeper of ray-cluster/ray-0 does not run: " in said
    assert "The page shows the local job history only: " in said


def test_the_port_is_the_pages_and_the_tunnel_to_ray_has_another_one(
    ray: FakeRay, bare_cli: Cli, tmp_path: Path
) -> None:
    ray.add("of-ray", "SUCCEEDED")
    outputs = contract(kubeContext="test", clusterUid=UID)
    outputs["clusters"][0]["authSecret"] = None
    head = outputs["clusters"][0]["headService"]
    objects = {f"{CORE}/services/{head}": {"spec": {"selector": {"a": "b"}}}, f"{CORE}/pods": {"items": [_pod("head")]}}
    forwards = {f"{CORE}/pods/head/portforward?ports=8265": int(ray.url.rpartition(":")[2])}
    path = write(tmp_path / "outputs.json", outputs)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with api_server(tmp_path, objects, forwards=forwards) as kubeconfig:
        words = ("--outputs", str(path), "--kubeconfig", str(kubeconfig), "--port", str(port))
        with opened(bare_cli, *words) as (process, link), browser() as ours:
            assert link.startswith(f"http://127.0.0.1:{port}/")
            assert "of-ray" in ours.get(link).text
            assert end(process)[0] == 0


def test_what_the_page_cannot_show_is_refused_with_what_helps(keeper: str, ray: FakeRay, bare_cli: Cli) -> None:
    def refused(*words: str, **environ: str) -> tuple[int, str]:
        done = bare_cli.raw("page", "--no-open", *words, **environ)
        assert done.stdout == b""
        return done.returncode, done.stderr.decode()

    code, said = refused("--address", NO_ADDRESS, "--keeper", "http://keeper.example.com:9000")
    assert (code, "opens only in a browser of its own machine" in said) == (2, True)
    assert "ssh -L 9000:127.0.0.1:9000 keeper.example.com" in said
    code, said = refused("--address", NO_ADDRESS, "--keeper", keeper, RAY_AUTH_TOKEN="wrong")
    assert (code, "This token is not the right one." in said) == (6, True)
    code, said = refused("--address", NO_ADDRESS, "--keeper", NO_ADDRESS)
    assert (code, "Check --keeper." in said) == (6, True)
    code, said = refused("--address", NO_ADDRESS, "--keeper", "http://user:hunter2@127.0.0.1")
    assert (code, "--keeper must be a plain URL" in said, "hunter2" in said) == (2, True, False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = refused("--address", ray.url, "--port", str(taken.getsockname()[1]))
        assert (code, "cannot be used: Address already in use" in said) == (2, True)


def test_without_the_extra_it_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(LocalFault, match=r"not installed: jinja2\.") as missing:
        check_extra("The page")
    assert missing.value.remedy == "pip install 'rayjobs[keeper]'"
