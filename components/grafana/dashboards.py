"""The Grafana dashboards of the installed Ray, checked against the digest that this repository records; and ours.

Ray writes its dashboards itself, for the metrics of its version. A copy of another version has graphs without data.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from components.errors import StackError
from components.kuberay.files import write_atomically
from components.kuberay.source import CACHE, ROOT
from components.manifests.dashboard import UID, dashboard
from components.manifests.dashboards import config_maps
from components.settings import Settings
from components.settings.versions import parts

DIGESTS = Path(__file__).with_name("dashboard_digests.json")
PROGRAM = "components.grafana.print_dashboards"
SECONDS = 120
RECORD = "python -m ops dashboards record"

Dashboard = dict[str, Any]


def installed_version() -> str:
    """Returns the version of the installed Ray. Raises StackError: there is none."""
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise StackError(
            "monitoring.dashboards: Ray writes its dashboards, and it is not installed here; install "
            "requirements.lock, or remove `dashboards`"
        ) from None


def recorded() -> dict[str, str]:
    """Returns the recorded digest of each version."""
    digests: dict[str, str] = json.loads(DIGESTS.read_text())
    return digests


def build_dashboards(settings: Settings) -> list[Dashboard]:
    """Returns the ConfigMaps of all dashboards of the stack; none without `monitoring.dashboards`.

    Raises:
        StackError: Ray is not installed, its version has no recorded digest, or its dashboards differ from it.
    """
    wanted = settings.monitoring.dashboards
    if wanted is None:
        return []
    return config_maps(wanted, {**ray_dashboards(), UID: dashboard(settings.clusters)})


def version_warnings(settings: Settings) -> list[str]:
    """Returns a line for each RayCluster whose Ray is not the one that wrote the dashboards."""
    if settings.monitoring.dashboards is None:
        return []
    version = installed_version()
    return [
        f"monitoring.dashboards: they are those of Ray {version}, and RayCluster {cluster.namespace}/{cluster.name} "
        f"has Ray {cluster.ray_version}: some graphs may have no data"
        for cluster in settings.clusters
        if parts(cluster.ray_version)[:2] != parts(version)[:2]
    ]


def ray_dashboards() -> dict[str, Dashboard]:
    """Returns the dashboards of the installed Ray by their uid, such as `rayDefaultDashboard`.

    Ray needs a second to be imported, so the result is cached. The cache is used only if its digest is the
    recorded one.

    Raises:
        StackError: Ray is not installed, its version has no recorded digest, or its dashboards differ from it.
    """
    version = installed_version()
    known = recorded()
    if version not in known:
        raise StackError(
            f"monitoring.dashboards: no digest of the dashboards of Ray {version} is recorded; allowed: "
            f"{', '.join(sorted(known))}. For a new version run `{RECORD}` and commit what it changes."
        )
    cached = CACHE / "dashboards" / f"{version}.json"
    text = cached.read_text() if cached.is_file() else ""
    if digest(text) != known[version]:
        text = _written_by_ray(version)
        if digest(text) != known[version]:
            raise StackError(
                f"monitoring.dashboards: the dashboards of the installed Ray {version} differ from the recorded "
                f"digest.\n  recorded: {known[version]}\n  actual:   {digest(text)}\nInstall Ray from "
                f"requirements.lock. If you changed Ray on purpose, run `{RECORD}`."
            )
        write_atomically(cached, text)
    found: dict[str, Dashboard] = json.loads(text)
    return found


def record() -> str:
    """Writes the digest of the installed Ray's dashboards to dashboard_digests.json; returns version and digest."""
    version = installed_version()
    actual = digest(_written_by_ray(version))
    write_atomically(DIGESTS, json.dumps({**recorded(), version: actual}, indent=2, sort_keys=True) + "\n")
    return f"{version} {actual}"


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _written_by_ray(version: str) -> str:
    # RAY_GRAFANA_* would change the dashboards of this machine only.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"monitoring.dashboards: Ray {version} wrote no dashboards within {SECONDS} s") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StackError(f"monitoring.dashboards: Ray {version} cannot write its dashboards: {reason}")
    return json.dumps(json.loads(done.stdout), sort_keys=True, separators=(",", ":"))
