"""A head that is killed and comes back with its state: every job is known, and how it ended is said truly."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.manifests import redis
from components.settings import parse
from single_node.node import until
from tests.support.cluster import Cluster
from tests.support.ray_head import RayHead, head_manifests

ROOT = Path(__file__).resolve().parents[2]
NAME = "kept"


@pytest.fixture
def head(cluster: Cluster) -> Iterator[RayHead]:
    """A head with its state in the trial's Redis, as the operator sets it up."""
    made = RayHead(cluster, f"ray-head-{secrets.token_hex(3)}", NAME)
    tolerance = {"faultTolerance": {"redis": {"inCluster": True}}}
    (settings,) = parse({"clusters": [{"name": NAME, "namespace": made.namespace, **tolerance}]}).clusters
    documents: list[dict[str, Any]] = [dict(one) for one in head_manifests(made.namespace, NAME, secrets.token_hex())]
    container = documents[-1]["spec"]["template"]["spec"]["containers"][0]
    address = f"{redis.name(settings)}:{redis.PORT}"
    container["env"] += [
        {"name": "RAY_REDIS_ADDRESS", "value": address},
        {"name": "RAY_external_storage_namespace", "value": NAME},
    ]
    wait = f"until (echo > /dev/tcp/{address.replace(':', '/')}) 2> /dev/null; do sleep 1; done"
    container["args"] = [f"{wait}; {container['args'][0]}"]
    cluster.apply([documents[0]])
    try:
        cluster.apply([*documents[1:], *redis.objects(settings)])
        made.wait_ready()
        yield made
    finally:
        cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


def test_who_waits_follows_or_asks_is_told_how_a_job_on_the_old_head_ended(head: RayHead, tmp_path: Path) -> None:
    outputs = head.write_contract(tmp_path / "outputs.json")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY", "PULUMI", "KUBE", "XDG_"))}
    environ = {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def start(name: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jobs", name, "--outputs", str(outputs), *words]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def jobs(name: str, *words: str) -> tuple[int, str]:
        process = start(name, *words)
        text, _ = process.communicate(timeout=240)
        return process.returncode, text

    def status(name: str) -> dict[str, Any]:
        _, text = jobs("status", name, "--output", "json")
        job: dict[str, Any] = json.loads(text[text.index("{") :])  # after the notices on stderr
        return job

    assert jobs("submit", "--submission-id", "before", "--", "true")[0] == 0
    for name in ("asked", "waited"):
        assert jobs("submit", "--no-wait", "--submission-id", name, "--", "sleep", "900")[0] == 0
    assert (
        jobs("submit", "--no-wait", "--submission-id", "waiting", "--entrypoint-num-cpus", "99", "--", "true")[0] == 0
    )
    follower = start("submit", "--submission-id", "followed", "--", "echo begun; sleep 900")
    assert follower.stdout is not None
    assert any("begun\n" in line for line in follower.stdout)
    until(lambda: {status(name)["status"] for name in ("asked", "waited")} == {"RUNNING"}, "both jobs run", 60)

    old = head.delete_pod(grace_seconds=5)
    head.kubectl("wait", f"pod/{old}", "--for=delete", "--timeout=60s")
    head.wait_ready()
    until(lambda: status("asked")["status"] == "FAILED", "the end of the job that is asked about", 120, 2)
    assert status("asked")["error_type"]
    assert status("before")["status"] == "SUCCEEDED"
    assert status("waiting")["status"] == "PENDING"
    assert "cannot start any more" in jobs("why", "waiting")[1]
    assert jobs("wait", "waited", "--timeout", "120")[0] == 1
    rest, _ = follower.communicate(timeout=240)
    assert follower.returncode == 1, rest
    assert "gone from its node" in rest
    assert "FAILED" in rest
