"""Jobs in a Jupyter notebook: a real kernel, a real Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.conftest import Head, new_id, short_directory
from tests.support.command import ROOT, Cli, clean_environ
from tests.support.kernel import Kernel, running_kernel

pytest.importorskip("ipykernel", reason="ipykernel is not installed")
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


@pytest.fixture
def kernel(head: Head, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel with a client of the head, named `client`."""
    home = tmp_path / "home"
    home.mkdir()
    with running_kernel(tmp_path, clean_environ(home)) as running:
        running.run(f"from jobs import connect\nclient = connect({head.url!r}, token_file={str(head.token_file)!r})")
        yield running


def test_every_cell_of_the_example_runs(bare_cli: Cli) -> None:
    base = short_directory()
    environ = {**bare_cli.environ, "RAYJOBS_LOCAL_DIR": str(base)}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    try:
        with running_kernel(NOTEBOOK.parent, environ) as kernel:
            done = [kernel.run("".join(cell["source"])) for cell in cells]
    finally:
        bare_cli.raw("local", "stop", RAYJOBS_LOCAL_DIR=str(base))
        shutil.rmtree(base, ignore_errors=True)
    assert [cell.error for cell in done] == [""] * len(cells)
    connected, submitted, awaited, log, failed, failure, closed = done
    assert "script.py" in submitted.shown[0]
    assert "SUCCEEDED" in awaited.shown[0]
    assert "hello world" in log.printed
    assert failed.printed.split() == ["FAILED", "1"]
    for table in (failed.shown[0], failure.shown[0]):
        assert "FAILED" in table
        assert "no_such_module" in table.partition("Reason")[2]
    assert connected.shown == closed.shown == []


def test_the_example_has_no_outputs_and_no_path_of_a_machine() -> None:
    text = NOTEBOOK.read_text()
    assert [cell for cell in json.loads(text)["cells"] if cell.get("outputs") or cell.get("execution_count")] == []
    assert "/home" not in text


@pytest.mark.parametrize("wait", ["job.wait()", "await job"])
def test_a_job_that_is_waited_for_is_one_display_that_changes(kernel: Kernel, wait: str) -> None:
    kernel.run("job = client.submit('sleep 3; exit 3')")
    cell = kernel.run(f"result = {wait}; print(result.status, job.status)")
    assert cell.error == ""
    assert cell.printed.split() == ["FAILED", "FAILED"]
    (table,) = cell.shown
    assert cell.updates
    assert "exit code 3" in table
    assert "Duration" in table


def test_the_display_says_why_a_job_is_still_pending(kernel: Kernel) -> None:
    kernel.run("job = client.submit('true', entrypoint_num_cpus=64)")
    cell = kernel.run("job.wait()", interrupt_at="Reason")
    assert "PENDING" in cell.shown[0]
    assert "CPU" in cell.shown[0].partition("Reason")[2]
    kernel.run("job.stop(timeout=1)")


def test_a_secret_is_not_shown_and_texts_are_not_html(kernel: Kernel) -> None:
    kernel.run("job = client.submit('echo \"<b>bold</b>\"; true --password=hunter2-x7Kq9')")
    for cell in (kernel.run("job"), kernel.run("_ = job.wait()"), kernel.run("job.info")):
        assert "&lt;b&gt;bold&lt;/b&gt;" in cell.shown[0]
        assert "hunter2" not in cell.shown[0]


@pytest.mark.parametrize("wait", ["job.wait()", "await job"])
def test_interrupting_the_kernel_detaches_and_the_client_can_still_be_used(kernel: Kernel, wait: str) -> None:
    name = new_id()
    kernel.run(f"job = client.submit('sleep 600', submission_id={name!r})")
    cell = kernel.run(wait, interrupt_at="RUNNING")
    assert f"Detached. Job {name} keeps running." in cell.error
    assert f"client.wait('{name}')" in cell.error
    cell = kernel.run("print(job.status, job.stop().status)")
    assert cell.printed.split() == ["RUNNING", "STOPPED"]


def test_a_closed_client_and_an_unknown_job_are_shown_without_a_traceback(kernel: Kernel) -> None:
    assert "no job" in kernel.run("client.job('no-such-job')").shown[0]
    kernel.run("client.close()")
    cell = kernel.run("client.job('no-such-job')")
    assert (cell.error, cell.shown, cell.printed) == ("", [], "")


def test_the_async_client_shows_a_job_that_is_awaited_too(kernel: Kernel, head: Head) -> None:
    kernel.run("from jobs import connect_async")
    cell = kernel.run(
        f"async with connect_async({head.url!r}, token_file={str(head.token_file)!r}) as clients:\n"
        "    job = await clients.submit('true')\n"
        "    print(job.submission_id, (await job).status, (await job.info()).status)"
    )
    assert cell.error == ""
    assert cell.printed.split()[1:] == ["SUCCEEDED", "SUCCEEDED"]
    assert "SUCCEEDED" in cell.shown[0]
