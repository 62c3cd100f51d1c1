"""The Ray jobs that run on a stack's clusters now, and what happens to them before the clusters are deleted."""

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
from jobs.spec.shown import shown, visible
from ops.errors import Refused

WAIT_SECONDS = 24 * 3600.0
ENTRYPOINT_LIMIT = 200


def list_on_cluster(contract: Mapping[str, Any], namespace: str, name: str) -> list[str]:
    """A line for each job on one Ray cluster that has not ended.

    Raises:
        JobsError: The Ray cluster does not answer.
    """
    identity = (namespace, name)
    cluster = next(entry for entry in contract["clusters"] if (entry["namespace"], entry["name"]) == identity)
    with _client(contract, cluster) as client:
        return [_name(job) for job in _unfinished(client)]


def unfinished(contract: Mapping[str, Any]) -> dict[str, list[JobInfo]]:
    """The jobs that have not ended, by `namespace/cluster`.

    Raises:
        JobsError: A Ray cluster does not answer.
    """
    return {name: _unfinished(client) for name, client in _clients(contract)}


def report(contract: Mapping[str, Any]) -> None:
    """Prints the jobs that a change would affect. A Ray cluster that does not answer is named and is no error."""
    try:
        for name, jobs_there in unfinished(contract).items():
            for job in jobs_there:
                print(f"{name}: job {_name(job)} is {visible(job.status)}", file=sys.stderr)
            if not jobs_there:
                print(f"{name}: no job runs now", file=sys.stderr)
    except JobsError as error:
        print(_failure(error), file=sys.stderr)


def refusals(contract: Mapping[str, Any]) -> list[str]:
    """Why nothing may be destroyed now: each job that has not ended, or a Ray cluster that does not answer."""
    try:
        by_cluster = unfinished(contract)
    except JobsError as error:
        return [f"{_failure(error)} `--jobs ignore` destroys without asking"]
    return [
        f"{name}: job {_name(job)} is {visible(job.status)}. `--jobs wait` waits for it, `--jobs stop` stops it"
        for name, jobs_there in by_cluster.items()
        for job in jobs_there
    ]


def wait_or_stop(contract: Mapping[str, Any], policy: str) -> None:
    """Waits for every unfinished job (`policy` "wait") or stops it ("stop").

    Raises:
        Refused: A Ray cluster does not answer.
    """
    try:
        for name, client in _clients(contract):
            for job in _unfinished(client):
                action = "waiting for it" if policy == "wait" else "stopping it"
                print(f"{name}: job {_name(job)}: {action}", file=sys.stderr)
                if policy == "wait":
                    client.wait(job.submission_id, timeout=WAIT_SECONDS)
                else:
                    client.stop(job.submission_id)
    except JobsError as error:
        raise Refused(f"`--jobs {policy}` {_failure(error)} `--jobs ignore` destroys without asking") from error


def _failure(error: JobsError) -> str:
    return f"could not list the running jobs: {visible(str(error), lines=True)}"


def _name(job: JobInfo) -> str:
    """The job as many people may see it in a preview: its entrypoint is another user's text."""
    return f"{visible(job.submission_id)} ({shown(job.entrypoint, ENTRYPOINT_LIMIT)})"


def _unfinished(client: Any) -> list[JobInfo]:
    return [job for job in client.list() if job.status not in TERMINAL and job.type == "SUBMISSION"]


def _clients(contract: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for cluster in contract["clusters"]:
        with _client(contract, cluster) as client:
            yield f"{cluster['namespace']}/{cluster['name']}", client


@contextmanager
def _client(contract: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.json"
        file.write_text(json.dumps({**contract, "clusters": [cluster]}))
        with jobs.connect(outputs=file, kubeconfig=contract.get("kubeconfig")) as client:
            yield client
