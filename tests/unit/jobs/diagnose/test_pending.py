"""Why a job is still PENDING, in one clause, and the look for it beside the wait."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from jobs.activity import listening
from jobs.connection import Connection
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.diagnose import pending
from jobs.diagnose.pending import PendingReasons, pending_reason
from jobs.session import Session
from jobs.spec.job_info import RESOURCES_KEY, JobInfo
from jobs.target.resolve import LocalTarget
from tests.support.activities import Record
from tests.support.proxy import Faults, Proxy, answer
from tests.unit.jobs.diagnose.cluster_objects import pod
from tests.unit.jobs.diagnose.test_why import HEAD, evidence, node, waiting

IMAGE = "rayproject/ray:2.60.0"
WORKER = "ray-small-group-worker-x"
CREATING = {"containerStatuses": [waiting("ray-worker", "ContainerCreating")]}
MESSAGE = "Job has not started yet. It may be waiting for resources."


def job(resources: dict[str, Any], status: str = "PENDING", **changes: Any) -> JobInfo:
    return JobInfo("a", status, metadata={RESOURCES_KEY: json.dumps(resources)}, message=MESSAGE, **changes)


def event(reason: str, message: str, at: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": WORKER}
    return {"type": "Normal", "reason": reason, "message": message, "involvedObject": about, "lastTimestamp": at}


PULLING = event("Pulling", f'Pulling image "{IMAGE}"', "2026-11-27T10:00:00Z")
PULLED = event("Pulled", "Successfully pulled", "2026-11-27T10:00:40Z")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (
            {"job": job({"num_cpus": 1}), "pods": [HEAD, pod(WORKER, **CREATING)], "events": [PULLING]},
            f"waiting for a small-group worker, pod is pulling {IMAGE}",
        ),
        (
            {"job": job({"num_cpus": 1}), "pods": [HEAD, pod(WORKER, **CREATING)], "events": [PULLING, PULLED]},
            "waiting for a small-group worker, pod is being created",
        ),
        (
            {"job": job({"num_cpus": 1}), "pods": [HEAD, pod(WORKER)]},
            "waiting for a small-group worker, pod is being scheduled",
        ),
        ({"job": job({"num_gpus": 1})}, "it can never start"),
        (
            {"job": job({"num_cpus": 1}), "nodes": [node(CPU=2)], "jobs": [JobInfo("other", "RUNNING")]},
            "there are large enough nodes, but they are busy",
        ),
        ({"job": job({"num_cpus": 64})}, "the entrypoint needs"),
        ({"job": job({"num_cpus": 1})}, "it can run on a new node of the worker group small-group"),
        ({"job": job({})}, "Job has not started yet"),
        ({"job": job({}, status="RUNNING")}, ""),
        ({"job": None}, ""),
    ],
)
def test_the_reason_is_one_clause(found: dict[str, Any], reason: str) -> None:
    text = pending_reason(evidence(**found))
    assert reason in text if reason else not text
    assert ". " not in text
    assert not text.endswith(".")


def test_an_image_that_cannot_be_pulled_goes_before_everything_else() -> None:
    stuck = pod(WORKER, containerStatuses=[waiting("ray-worker", "ImagePullBackOff", "no such image", IMAGE)])
    text = pending_reason(evidence(job=job({"num_cpus": 1}), pods=[HEAD, stuck]))
    assert f"the image {IMAGE} of container ray-worker cannot be pulled" in text


@pytest.mark.parametrize("state_api", [True, False])
def test_the_reason_becomes_the_detail_of_the_wait(monkeypatch: pytest.MonkeyPatch, state_api: bool) -> None:
    monkeypatch.setattr(pending, "FIRST_SECONDS", 0.3)
    monkeypatch.setattr(pending, "AGAIN_SECONDS", 0.3)
    record, details = Record(), []
    began = time.monotonic()

    def body(line: str) -> bytes:
        path = line.split()[1]
        if path.startswith("/api/jobs"):
            status = "PENDING" if time.monotonic() - began < 4 else "SUCCEEDED"
            wire = {"submission_id": "a", "status": status, "type": "SUBMISSION", "message": MESSAGE}
            wire |= {"metadata": {RESOURCES_KEY: json.dumps({"num_cpus": 1})}}
            return answer(200, json.dumps([wire] if path == "/api/jobs/" else wire))
        if path.startswith("/api/version"):
            return answer(200, json.dumps({"ray_version": "2.60.0"}))
        if path.startswith("/api/v0/") and state_api:
            nodes = [node(CPU=2)] if "nodes" in path else []
            return answer(200, json.dumps({"data": {"result": {"result": nodes}}}))
        return answer(400, "no", "text/plain")

    async def wait(url: str) -> None:
        http = HttpClient(url)
        connection = Connection(RayJobsApi(http), LocalTarget({}), url, url)
        session, reasons = Session(connection), PendingReasons(connection)

        def describe(job: JobInfo) -> str:
            details.append(reasons.describe(job))
            return details[-1]

        session.describe = describe
        (result,) = await session.wait(["a"])
        await reasons.close()
        await http.close()
        assert result.status == "SUCCEEDED"

    with Proxy("127.0.0.1", 9) as server, listening(record):
        server.faults = Faults(instead=body)
        asyncio.run(wait(server.url))
    expected = "they are busy" if state_api else "Job has not started yet"
    assert details[0] == ""
    assert any(expected in each for each in details)
    (waited,) = (each for each in record.activities if each.text == "Waiting for job a to end")
    assert waited.detail == "SUCCEEDED"
    # Nobody waits for the look: its requests are not announced.
    assert len(record.activities) == 1 + len(details) + 1
