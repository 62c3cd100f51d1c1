"""The jobs that run on a stack's clusters now, and what to do about them before the clusters go."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jobs
from jobs.errors import JobsError
from jobs.spec.job_info import TERMINAL, JobInfo
from ops.destroy import Refused

WAIT_SECONDS = 24 * 3600.0


@contextmanager
def _client(contract: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Any]:
    """A client of one of the contract's clusters."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.json"
        file.write_text(json.dumps({**contract, "clusters": [cluster]}))
        with jobs.connect(outputs=file) as client:
            yield client


def _clients(contract: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for cluster in contract["clusters"]:
        with _client(contract, cluster) as client:
            yield f"{cluster['namespace']}/{cluster['name']}", client


def on(contract: Mapping[str, Any], namespace: str, name: str) -> list[str]:
    """A line for each job on one cluster that has not ended. Raises JobsError where it cannot be asked."""
    wanted = (namespace, name)
    cluster = next(entry for entry in contract["clusters"] if (entry["namespace"], entry["name"]) == wanted)
    with _client(contract, cluster) as client:
        return [f"{job.submission_id} ({job.entrypoint})" for job in _running(client)]


def _running(client: Any) -> list[JobInfo]:
    """Without what looks like a secret: previews are read by many."""
    return [job.shown() for job in client.list() if job.status not in TERMINAL and job.type == "SUBMISSION"]


def find(contract: Mapping[str, Any]) -> dict[str, list[JobInfo]]:
    """Jobs that have not ended, by `namespace/cluster`. Raises JobsError where a cluster cannot be asked."""
    return {name: _running(client) for name, client in _clients(contract)}


def report(contract: Mapping[str, Any]) -> None:
    """Says which jobs a change would meet; a cluster that cannot be asked is named, and no error."""
    try:
        for name, running in find(contract).items():
            for job in running:
                print(f"{name}: job {job.submission_id} is {job.status}: {job.entrypoint}", file=sys.stderr)
            if not running:
                print(f"{name}: no job runs now", file=sys.stderr)
    except JobsError as error:
        print(f"running jobs are not known: {error}", file=sys.stderr)


def refusals(contract: Mapping[str, Any]) -> list[str]:
    """Why nothing may be destroyed now: each job that has not ended, or a cluster that cannot be asked."""
    try:
        found = find(contract)
    except JobsError as error:
        return [f"whether jobs run is not known: {error} `--jobs ignore` destroys without asking"]
    return [
        f"{name}: job {job.submission_id} ({job.entrypoint}) is {job.status}. "
        "`--jobs wait` waits for it, `--jobs stop` stops it"
        for name, running in found.items()
        for job in running
    ]


def settle(contract: Mapping[str, Any], policy: str) -> None:
    """`wait` for, or `stop` every running job. Raises Refused where a cluster cannot be asked."""
    try:
        for name, client in _clients(contract):
            for job in _running(client):
                doing = "waiting for it" if policy == "wait" else "stopping it"
                print(f"{name}: job {job.submission_id} ({job.entrypoint}): {doing}", file=sys.stderr)
                if policy == "wait":
                    client.wait(job.submission_id, timeout=WAIT_SECONDS)
                else:
                    client.stop(job.submission_id)
    except JobsError as error:
        raise Refused(
            f"`--jobs {policy}` was asked for, and whether jobs run is not known: {error} "
            "`--jobs ignore` destroys without asking"
        ) from error
