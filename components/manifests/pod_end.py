"""The end of a pod: a preStop hook that ends Ray as soon as nothing runs; pure.

Ray runs under a shell, which as the first process of its container gets no SIGTERM. So every pod would last for its
whole grace period, 30 s, although nothing runs any more. A hook that fails changes nothing: the pod then ends as
without it. The scripts need `python` in the image, which Ray itself needs.
"""

from __future__ import annotations

from typing import Any

from components.settings.start_params import GCS_PORT
from jobs.target.contract import DASHBOARD_PORT

# `ray start --block` ends, and with it the container, once a process of its node was killed. After SIGTERM it does not.
_KILL = """\
def kill(name):
    for process in os.listdir("/proc"):
        try:
            if open(f"/proc/{process}/comm").read().strip() == name:
                os.kill(int(process), 9)
        except (OSError, ValueError):
            pass
"""

# Waits while a job or driver runs or an actor lives, wherever in the cluster: without the head it could not end.
_HEAD = f"""\
import http.client, json, os, time
{_KILL}
def ask(path):
    connection = http.client.HTTPConnection("127.0.0.1", {DASHBOARD_PORT}, timeout=5)
    connection.request("GET", path, headers={{"Authorization": "Bearer " + os.environ.get("RAY_AUTH_TOKEN", "")}})
    return json.loads(connection.getresponse().read())
def is_busy():
    try:
        actors = ask("/api/v0/actors?limit=1&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE")
        return bool(actors["data"]["result"]["result"]) or any(
            job["status"] in ("PENDING", "RUNNING") for job in ask("/api/jobs/"))
    except Exception:
        return True
while is_busy():
    time.sleep(0.5)
kill("gcs_server")
"""

# Waits for the head to end: until then this worker may hold objects that a job needs.
_WORKER = f"""\
import os, socket, time
{_KILL}
def has_head():
    try:
        socket.create_connection((os.environ["FQ_RAY_IP"], {GCS_PORT}), 2).close()
    except OSError:
        return False
    return True
def is_busy():
    for process in os.listdir("/proc"):
        try:
            title = open(f"/proc/{{process}}/cmdline").read()
        except OSError:
            continue
        if title.startswith("ray::") and not title.startswith(("ray::IDLE", "ray::Dashboard", "ray::RuntimeEnv")):
            return True
    return False
missed = 0
while missed < 3 or is_busy():
    missed = 0 if has_head() else missed + 1
    time.sleep(0.5)
kill("raylet")
"""


def head() -> dict[str, Any]:
    """Returns the `lifecycle` of the head's Ray container."""
    return _lifecycle(_HEAD)


def worker() -> dict[str, Any]:
    """Returns the `lifecycle` of a worker's Ray container."""
    return _lifecycle(_WORKER)


def _lifecycle(script: str) -> dict[str, Any]:
    return {"preStop": {"exec": {"command": ["python", "-c", script]}}}
