"""`check` on a real cluster: each thing that can be wrong has its own message; and the least rights that are needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.cluster.test_jobs_tunnel import ROOT, changed, run_jobs
from tests.support.cluster import ClusterError
from tests.support.ray_head import RayHead


@pytest.fixture
def outputs(ray_head: RayHead, tmp_path: Path) -> Path:
    return ray_head.write_contract(tmp_path / "outputs.json")


def failed(outputs: Path, home: Path, *words: str) -> tuple[int, str, str]:
    """(exit code, step, text) of what `check` found to be wrong."""
    done = run_jobs(outputs, home, "check", "--output", "json", *words)
    if not done.stdout:
        return done.returncode, "", done.stderr.decode()
    last = json.loads(done.stdout)[-1]
    assert last["state"] == "failed", last
    return done.returncode, last["step"], f"{last['text']} {last['remedy']}"


def test_a_context_that_does_not_exist_is_named_with_those_that_do(outputs: Path, tmp_path: Path) -> None:
    code, step, text = failed(changed(outputs, top_kubeContext="nowhere"), tmp_path)
    assert (code, step) == (2, "target")
    assert "no context nowhere" in text
    assert "--context" in text


def test_another_cluster_behind_the_same_name_is_refused_by_every_command(outputs: Path, tmp_path: Path) -> None:
    other = changed(outputs, top_clusterUid="00000000-0000-0000-0000-000000000000")
    code, step, text = failed(other, tmp_path)
    assert (code, step) == (2, "target")
    assert "another cluster" in text
    for words in (("list",), ("submit", "--", "true"), ("forward", "--", "true")):
        done = run_jobs(other, tmp_path, *words)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"another cluster" in done.stderr


def test_an_api_server_that_does_not_answer_is_unreachable(ray_head: RayHead, outputs: Path, tmp_path: Path) -> None:
    config = json.loads(ray_head.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    code, step, text = failed(changed(outputs, top_kubeconfig=str(kubeconfig)), tmp_path)
    assert (code, step) == (6, "reach")
    assert "Cannot reach" in text


def test_expired_credentials_say_so(ray_head: RayHead, outputs: Path, tmp_path: Path) -> None:
    config = json.loads(ray_head.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": "expired-token-of-a-user"}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    code, step, text = failed(changed(outputs, top_kubeconfig=str(kubeconfig)), tmp_path)
    assert (code, step) == (6, "permission")
    assert "expired" in text.replace("expired-token", "")
    assert "expired-token" not in text


def test_a_cluster_that_is_not_there_is_named(outputs: Path, tmp_path: Path) -> None:
    code, step, text = failed(changed(outputs, headService="nobody-head-svc", name="nobody"), tmp_path)
    assert (code, step) == (6, "reach")
    assert "no service" in text


def test_init_makes_the_cluster_the_default_checks_it_and_says_how_to_go_on(outputs: Path, tmp_path: Path) -> None:
    done = run_jobs(outputs, tmp_path, "init")
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"The token works." in done.stdout
    assert b"Next:\n  python -m jobs submit" in done.stdout


def test_a_version_that_is_not_the_stacks_is_a_warning(outputs: Path, tmp_path: Path) -> None:
    done = run_jobs(changed(outputs, rayVersion="2.59.0"), tmp_path, "check")
    assert done.returncode == 0
    assert b"The stack has Ray 2.59.0, the head runs 2.60.0" in done.stdout


def test_a_missing_token_secret_and_a_missing_key_are_named(outputs: Path, tmp_path: Path) -> None:
    code, _, text = failed(changed(outputs, authSecret={"name": "nobody", "key": "auth_token"}), tmp_path)
    assert code == 6
    assert "no Secret" in text
    code, _, text = failed(changed(outputs, authSecret={"name": "raycluster-test", "key": "other"}), tmp_path)
    assert code == 6
    assert "no key 'other'" in text


def test_a_stack_without_a_token_meets_a_head_that_wants_one(outputs: Path, tmp_path: Path) -> None:
    code, step, text = failed(changed(outputs, authSecret=None), tmp_path)
    assert (code, step) == (6, "permission")
    assert "requires a token" in text


@contextmanager
def stand_in(ray_head: RayHead, cluster: str, /, **container: object) -> Iterator[None]:
    """A head service and a pod behind it that is not quite a Ray head."""
    labels = {"ray.io/cluster": cluster, "ray.io/node-type": "head"}
    meta = {"namespace": ray_head.namespace, "labels": labels}
    main = {"name": "ray-head", "image": "docker.io/rayproject/ray:2.60.0", "command": ["sleep", "600"], **container}
    spec = {"containers": [main], "terminationGracePeriodSeconds": 0}
    port = {"name": "dashboard", "port": 8265}
    service = {"selector": labels, "ports": [port], "clusterIP": "None"}
    ray_head.cluster.apply(
        [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{cluster}-head", **meta}, "spec": spec},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"{cluster}-svc", **meta}, "spec": service},
        ]
    )
    try:
        yield
    finally:
        ray_head.kubectl("delete", "pod,service", "-l", f"ray.io/cluster={cluster}", "--wait=false")


def test_no_head_pod_is_said(ray_head: RayHead, outputs: Path, tmp_path: Path) -> None:
    with stand_in(ray_head, "gone"):
        ray_head.kubectl("delete", "pod", "gone-head", "--grace-period=0", "--force")
        code, step, text = failed(changed(outputs, name="gone", headService="gone-svc"), tmp_path)
    assert (code, step) == (6, "reach")
    assert "no head pod" in text


def test_a_head_that_is_not_ready_is_said_with_the_reason(ray_head: RayHead, outputs: Path, tmp_path: Path) -> None:
    image = {"image": "example.invalid/ray:1", "imagePullPolicy": "Never"}
    with stand_in(ray_head, "pull", **image):
        ray_head.kubectl(
            "wait", "pod/pull-head", "--timeout=60s",
            "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull",
        )  # fmt: skip
        code, step, text = failed(changed(outputs, name="pull", headService="pull-svc"), tmp_path)
    assert (code, step) == (6, "reach")
    assert "ErrImageNeverPull" in text
    probe = {"readinessProbe": {"exec": {"command": ["false"]}}}
    with stand_in(ray_head, "slow", **probe):
        ray_head.kubectl("wait", "pod/slow-head", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
        code, step, text = failed(changed(outputs, name="slow", headService="slow-svc"), tmp_path)
    assert (code, step) == (6, "head")
    assert "not ready" in text


def test_a_missing_container_and_a_ray_that_is_down_are_told_apart(
    ray_head: RayHead, outputs: Path, tmp_path: Path
) -> None:
    with stand_in(ray_head, "other", name="main"):
        ray_head.kubectl("wait", "pod/other-head", "--for=condition=Ready", "--timeout=60s")
        code, step, text = failed(changed(outputs, name="other", headService="other-svc"), tmp_path)
    assert (code, step) == (6, "container")
    assert "it has: main" in text
    with stand_in(ray_head, "down"):
        ray_head.kubectl("wait", "pod/down-head", "--for=condition=Ready", "--timeout=60s")
        code, step, text = failed(changed(outputs, name="down", headService="down-svc"), tmp_path)
        assert (code, step) == (6, "ray")
        assert "Ray does not answer" in text
        listed = run_jobs(
            changed(outputs, name="down", headService="down-svc"), tmp_path, "wait", "x", "--patience", "3"
        )
        assert listed.returncode == 6
        assert b"Nothing answers in the pod on port 8265" in listed.stderr


def rules_for(ray_head: RayHead, without: str = "") -> list[dict[str, object]]:
    """The documented Role's rules with this head's name, but for the one about `without`."""
    text = (ROOT / "docs" / "jobs-rbac.yaml").read_text().replace("raycluster-autoscaler", ray_head.name)
    document = next(yaml.safe_load_all(text))
    return [rule for rule in document["rules"] if without not in rule["resources"]]


EXEC: list[dict[str, object]] = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}]


def test_the_documented_role_is_enough_and_what_it_lacks_is_said(
    ray_head: RayHead, outputs: Path, tmp_path: Path
) -> None:
    rules = rules_for(ray_head)
    user = ray_head.cluster.as_service_account(ray_head.namespace, "job-user", rules, tmp_path / "user")
    mine = changed(outputs, top_kubeconfig=str(user.kubeconfig))
    done = run_jobs(mine, tmp_path, "submit", "--", "echo least")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"least\n")
    assert b"does not allow reading the namespace kube-system" in done.stderr
    checked = run_jobs(mine, tmp_path, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert b"Ray 2.60.0, by its API, because" in checked.stdout


def test_a_job_user_cannot_run_commands_in_containers(ray_head: RayHead, tmp_path: Path) -> None:
    place = ("-n", ray_head.namespace)
    user = ray_head.cluster.as_service_account(
        ray_head.namespace, "no-exec", rules_for(ray_head), tmp_path / "kubeconfig"
    )
    labels = f"ray.io/cluster={ray_head.name},ray.io/node-type=head"
    pod = user.kubectl("get", "pods", *place, "-l", labels, "-o", "name").split()[0]
    with pytest.raises(ClusterError, match=r"(?i)forbidden"):
        user.kubectl("exec", *place, pod, "-c", "ray-head", "--", "true")
    for name in (f"services/{ray_head.name}-head-svc", f"secrets/{ray_head.name}"):
        user.kubectl("get", name, *place)
        with pytest.raises(ClusterError, match=r"(?i)forbidden"):
            user.kubectl("get", f"{name}-of-another", *place)


def test_with_the_right_to_exec_ray_is_asked_inside_the_head(ray_head: RayHead, outputs: Path, tmp_path: Path) -> None:
    rules = [*rules_for(ray_head), *EXEC]
    user = ray_head.cluster.as_service_account(ray_head.namespace, "exec-user", rules, tmp_path / "kubeconfig")
    checked = run_jobs(changed(outputs, top_kubeconfig=str(user.kubeconfig)), tmp_path, "check", "--output", "json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (ray,) = [finding for finding in json.loads(checked.stdout) if finding["step"] == "ray"]
    assert ray["data"]["asked"] == "exec"
    assert "by `ray.init()` in the container ray-head" in ray["text"]


@pytest.mark.parametrize(
    ("without", "named"), [("secrets", "secrets/"), ("pods", "pods in"), ("pods/portforward", "port-forward")]
)
def test_each_missing_right_is_named(
    ray_head: RayHead, outputs: Path, tmp_path: Path, without: str, named: str
) -> None:
    name = f"no-{without.replace('/', '-')}"
    user = ray_head.cluster.as_service_account(ray_head.namespace, name, rules_for(ray_head, without), tmp_path / name)
    done = run_jobs(changed(outputs, top_kubeconfig=str(user.kubeconfig)), tmp_path, "list")
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"does not allow it (RBAC)" in done.stderr
    assert named.encode() in done.stderr
