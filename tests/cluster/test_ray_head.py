"""The head that the cluster tests work with: reached as the operator's, protected as the operator's."""

from __future__ import annotations

import json

import httpx

from tests.support.ray_head import RayHead


def test_the_dashboard_answers_only_to_the_token_in_the_secret(ray_head: RayHead) -> None:
    with ray_head.port_forward() as url, httpx.Client(base_url=url, timeout=30) as client:
        assert client.get("/api/jobs/").status_code == 401
        assert client.get("/api/jobs/", headers={"Authorization": "Bearer wrong"}).status_code == 403
        answer = client.get("/api/jobs/", headers={"Authorization": f"Bearer {ray_head.token()}"})
    assert answer.status_code == 200
    assert answer.json() == []


def test_another_pod_reaches_the_head_by_its_service_name(ray_head: RayHead) -> None:
    script = "import os, urllib.request; print(urllib.request.urlopen(urllib.request.Request(os.environ['URL'], "
    script += "headers={'X-Ray-Authorization': 'Bearer ' + os.environ['RAY_AUTH_TOKEN']})).read().decode())"
    secret = {"secretKeyRef": {"name": ray_head.name, "key": "auth_token"}}
    url = f"http://{ray_head.service}.{ray_head.namespace}.svc:8265/api/version"
    container = {
        "name": "client",
        "image": "docker.io/rayproject/ray:2.60.0",
        "command": ["python", "-c", script],
        "env": [{"name": "URL", "value": url}, {"name": "RAY_AUTH_TOKEN", "valueFrom": secret}],
    }
    meta = {"name": "client", "namespace": ray_head.namespace}
    spec = {"restartPolicy": "Never", "containers": [container]}
    ray_head.cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}])
    ray_head.kubectl("wait", "pod/client", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s", seconds=130)
    assert json.loads(ray_head.kubectl("logs", "client"))["ray_version"] == "2.60.0"


def test_a_deleted_head_pod_comes_back_as_another_one(ray_head: RayHead) -> None:
    before = ray_head.delete_pod()
    ray_head.kubectl("wait", f"pod/{before}", "--for=delete", "--timeout=60s")
    ray_head.wait_ready()
    assert ray_head.pod() != before
