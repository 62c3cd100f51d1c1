"""What `make destroy --jobs ...` does about jobs that run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from jobs.errors import JobsError
from jobs.spec.job_info import JobInfo
from ops import running_jobs
from ops.errors import Refused

CONTRACT: dict[str, Any] = {"clusters": [{"namespace": "ns", "name": "ray"}]}


class Client:
    """One cluster's jobs, and what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def list(self) -> list[JobInfo]:
        kinds = {"runs": "RUNNING", "waits": "PENDING", "ended": "SUCCEEDED"}
        driver = JobInfo("by-ray-itself", "RUNNING", type="DRIVER")
        return [
            *(JobInfo(name, status, "python job.py --api-key s3cr3t-word") for name, status in kinds.items()),
            driver,
        ]

    def wait(self, name: str, timeout: float) -> None:
        self.asked.append(("wait", name))

    def stop(self, name: str) -> None:
        self.asked.append(("stop", name))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    found = Client()
    monkeypatch.setattr(running_jobs, "_clients", lambda _contract: iter([("ns/ray", found)]))
    return found


@pytest.mark.parametrize("policy", ["wait", "stop"])
def test_every_job_that_has_not_ended_is_waited_for_or_stopped_as_asked(policy: str, client: Client) -> None:
    running_jobs.wait_or_stop(CONTRACT, policy)
    assert client.asked == [(policy, "runs"), (policy, "waits")]


def test_a_refusal_names_every_job_that_has_not_ended_and_touches_none(client: Client) -> None:
    found = running_jobs.refusals(CONTRACT)
    assert [text.partition(" (")[0] for text in found] == ["ns/ray: job runs", "ns/ray: job waits"]
    assert "python job.py" in found[0]
    assert "s3cr3t-word" not in "".join(found)
    assert client.asked == []


def test_jobs_that_cannot_be_asked_for_are_no_reason_to_destroy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_contract: Mapping[str, Any]) -> Any:
        raise JobsError("the head does not answer.")

    monkeypatch.setattr(running_jobs, "_clients", unreachable)
    with pytest.raises(Refused, match="could not list the running jobs"):
        running_jobs.wait_or_stop(CONTRACT, "wait")
    (text,) = running_jobs.refusals(CONTRACT)
    assert "the head does not answer. `--jobs ignore`" in text


def test_what_a_preview_prints_of_another_users_job_is_short_visible_and_without_secrets(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entrypoint = "echo \x1b]52;c;eA==\x07\n::error ::x --token s3cr3t-word " + "x" * 96_000
    hostile = JobInfo("id\x1b[2J", "RUNNING\n::error ::y", entrypoint)
    monkeypatch.setattr(client, "list", lambda: [hostile])
    monkeypatch.setattr(running_jobs, "_client", lambda _contract, _cluster: nullcontext(client))
    running_jobs.report(CONTRACT)
    running_jobs.settle(CONTRACT, "stop")
    printed = "\n".join(
        [capsys.readouterr().err, *running_jobs.refusals(CONTRACT), *running_jobs.on(CONTRACT, "ns", "ray")]
    )
    assert not {"\x1b", "\x07"} & set(printed)
    assert not [line for line in printed.splitlines() if line.startswith("::") or len(line) > 500]
    assert "s3cr3t-word" not in printed
    assert client.asked == [("stop", "id\x1b[2J")]  # the job that was listed, by its own id


def test_an_error_of_a_cluster_is_visible_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(_contract: Mapping[str, Any]) -> Any:
        raise JobsError("the head answered \x1b[2J\n::error ::x")

    monkeypatch.setattr(running_jobs, "_clients", unreachable)
    running_jobs.report(CONTRACT)
    assert "\x1b" not in capsys.readouterr().err
