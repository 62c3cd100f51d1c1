"""The client inside the cluster: a pod in the namespace submits to the head service's own name."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.ray_head import RayHead

ROOT = Path(__file__).resolve().parents[2]
# This machine's copies run in the pod as well. All but msgspec are pure Python; the head's image has click.
NEEDED = ("httpx", "httpcore", "h11", "anyio", "certifi", "idna", "click", "sniffio", "typing_extensions", "msgspec")


def bundle() -> bytes:
    """The package and what it imports there, as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(ROOT / "jobs", "jobs", filter=lambda member: None if "__pycache__" in member.name else member)
        for name in NEEDED:
            found = importlib.util.find_spec(name)
            if found is None or found.origin is None:
                continue
            origin = Path(found.origin)
            if origin.name == "__init__.py":
                archive.add(origin.parent, name, filter=lambda member: None if "__pycache__" in member.name else member)
            else:
                archive.add(origin, origin.name)
    return out.getvalue()


@pytest.fixture
def pod(ray_head: RayHead) -> str:
    secret = {"secretKeyRef": {"name": ray_head.name, "key": "auth_token"}}
    container = {
        "name": "client",
        "image": "docker.io/rayproject/ray:2.60.0",
        "command": ["sleep", "600"],
        "env": [{"name": "RAY_AUTH_TOKEN", "valueFrom": secret}, {"name": "PYTHONPATH", "value": "/tmp/client"}],
    }
    meta = {"name": "submitter", "namespace": ray_head.namespace}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    ray_head.cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}])
    ray_head.kubectl("wait", "pod/submitter", "--for=condition=Ready", "--timeout=120s", seconds=130)
    version = "import sys; print('{}.{}'.format(*sys.version_info))"
    in_pod = ray_head.kubectl("exec", "submitter", "--", "python", "-c", version).strip()
    here = "{}.{}".format(*sys.version_info)
    if in_pod != here:
        pytest.skip(f"the pod has Python {in_pod}, and this machine's msgspec is built for {here}")
    unpack = ["exec", "-i", "submitter", "--", "sh", "-c", "mkdir -p /tmp/client && tar -x -C /tmp/client"]
    command = ray_head.cluster.kubectl_command("-n", ray_head.namespace, *unpack)
    subprocess.run(command, input=bundle(), check=True, timeout=120)
    return "submitter"


def test_a_pod_of_the_namespace_submits_by_the_services_own_name(ray_head: RayHead, pod: str) -> None:
    words = ["python", "-m", "jobs", "submit", "--address", f"http://{ray_head.service}:8265", "--"]
    script = "import sys; sys.stdout.buffer.write(b'10%\\r\\xff\\n')"
    command = ray_head.cluster.kubectl_command("-n", ray_head.namespace, "exec", pod, "--", *words)
    done = subprocess.run([*command, "python", "-c", script], capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"10%\r\xff\n")
    failed = subprocess.run([*command, "exit 3"], capture_output=True, timeout=240, check=False)
    assert failed.returncode == 1


def test_a_pod_without_the_token_is_refused(ray_head: RayHead, pod: str) -> None:
    words = ["env", "-u", "RAY_AUTH_TOKEN", "python", "-m", "jobs", "list"]
    words += ["--address", f"http://{ray_head.service}:8265"]
    command = ray_head.cluster.kubectl_command("-n", ray_head.namespace, "exec", pod, "--", *words)
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 2
    done = subprocess.run([*command, "--allow-unauthenticated"], capture_output=True, timeout=120, check=False)
    assert done.returncode == 6
    assert b"requires a token" in done.stderr
