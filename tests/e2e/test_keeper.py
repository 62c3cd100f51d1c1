"""A stack with a keeper: jobs of every client are kept through the death of the head and of the keeper itself, and are
shown on the page. They are destroyed with proof, or stay as asked. The order of the tests is the story.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from components.cluster.api import Api
from ops import destroy as ending
from single_node import cluster as native
from single_node import keeper as keeper_image
from single_node.node import until
from tests.support.cluster import Cluster
from tests.support.ray_head import RayHead
from tests.support.stack import ROOT, Jobs, Stack, jobs_of
from tests.support.storage import storage_class

pytestmark = [pytest.mark.needs("token authentication"), pytest.mark.timeout(900, func_only=True)]

NAMESPACE, CLUSTER = "ray-kept", "raycluster-autoscaler"
KEEPER = f"{CLUSTER}-keeper"
CLAIM = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{KEEPER}"
NUMBERS = "import time\nfor i in range({count}):\n    print(f'line {{i:06}}', flush=True)\n    time.sleep({pause})\n"


def numbers(count: int) -> str:
    return "".join(f"line {number:06}\n" for number in range(count))


@pytest.fixture(scope="module")
def image(cluster: Cluster) -> str:
    if cluster.kind != "native":
        pytest.skip("the image of the keeper is made for the single node only")
    name = keeper_image.build(ROOT)
    state = native.running_state()
    assert state is not None
    native.import_images(state)
    return name


@pytest.fixture(scope="module")
def volumes(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("volumes")
    with storage_class(cluster, "test-keeper", [folder / "first", folder / "second"]) as name:
        yield name


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack], image: str, volumes: str) -> Iterator[Stack]:
    made = new_stack("keeper")

    def kept(settings: dict[str, Any]) -> None:
        keeper = {"image": image, "storage": "1Gi", "storageClass": volumes, "retainDays": 30}
        settings["clusters"][0].update(namespace=NAMESPACE, keeper=keeper)

    made.configure(kept)
    yield made
    made.remove()


@pytest.fixture
def jobs(stack: Stack, cluster: Cluster) -> Jobs:
    return jobs_of(stack, cluster)


@pytest.fixture
def head(cluster: Cluster) -> RayHead:
    return RayHead(cluster, NAMESPACE, CLUSTER)


class Keeper:
    """The keeper's API through a tunnel, with the cluster's token."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def job(self, submission_id: str) -> dict[str, Any]:
        """The kept job; empty: there is none."""
        answer = self.client.get(f"/v1/jobs/{submission_id}")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def log(self, submission_id: str) -> str:
        answer = self.client.get(f"/v1/jobs/{submission_id}/log")
        return answer.text if answer.status_code == 200 else ""

    def until_ended(self, submission_id: str) -> dict[str, Any]:
        ends = ("SUCCEEDED", "FAILED", "STOPPED", "LOST")
        until(
            lambda: self.job(submission_id).get("status") in ends, f"the keeper to know how {submission_id} ended", 240
        )
        return self.job(submission_id)


@pytest.fixture
def keeper(stack: Stack, cluster: Cluster, head: RayHead) -> Iterator[Keeper]:
    """After the first `up`. The tunnel ends with the keeper's pod."""
    with cluster.port_forward(NAMESPACE, f"service/{KEEPER}", 8270) as url:
        yield Keeper(url, head.token())


@pytest.fixture
def make_destroy(stack: Stack, capfd: pytest.CaptureFixture[str]) -> Callable[[], tuple[int, str]]:
    """`make destroy` of the stack: its exit code and what it said."""

    def run() -> tuple[int, str]:
        capfd.readouterr()
        code = ending.destroy(
            stack.name, others="refuse", jobs="ignore", environment=stack.environment, config_file=stack.config_file
        )
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def keeper_pods(cluster: Cluster) -> list[dict[str, Any]]:
    listed = cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=ray-keeper", "-o", "json")
    found: list[dict[str, Any]] = json.loads(listed)["items"]
    return found


def of_keeper(settings: dict[str, Any], **keys: Any) -> None:
    settings["clusters"][0]["keeper"].update(keys)


def test_up_ends_when_the_keeper_keeps(stack: Stack, cluster: Cluster, api: Api) -> None:
    stack.up()
    (pod,) = keeper_pods(cluster)
    assert all(status["ready"] for status in pod["status"]["containerStatuses"])
    kinds = {entry.kind for entry in stack.objects() if entry.name == KEEPER}
    assert kinds == {
        *("Deployment", "PersistentVolumeClaim", "Service", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy"),
    }
    assert (api.get(CLAIM) or {})["status"]["phase"] == "Bound"
    assert stack.outputs()["contract"]["clusters"][0]["keeper"] == {"service": KEEPER, "port": 8270}
    with cluster.port_forward(NAMESPACE, f"service/{KEEPER}", 8270) as url:
        assert httpx.get(f"{url}/healthz", timeout=30).json() == {"status": "ok", "problems": []}


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    stack.up("--expect-no-changes")


def test_jobs_of_the_stock_client_and_of_ours_are_kept_with_their_whole_logs(
    jobs: Jobs, head: RayHead, keeper: Keeper
) -> None:
    stock = ("ray", "job", "submit", "--address", f"http://{head.service}:8265", "--submission-id", "stock")
    print_numbers = ("python", "-c", NUMBERS.format(count=500, pause=0))
    head.kubectl("exec", head.pod(), "-c", "ray-head", "--", *stock, "--", *print_numbers)
    ours = jobs("submit", "--submission-id", "ours", "--", *print_numbers)
    assert ours.returncode == 0, ours.stderr
    for name in ("stock", "ours"):
        assert keeper.until_ended(name)["status"] == "SUCCEEDED"
        until(lambda name=name: numbers(500) in keeper.log(name), f"the whole log of {name}", 60)  # type: ignore[misc]
    team = jobs("history", "--team", "--output", "json")
    assert team.returncode == 0, team.stderr
    assert {"stock", "ours"} <= {job["submission_id"] for job in json.loads(team.stdout)}


def test_a_log_goes_on_where_it_was_when_the_keeper_is_killed(
    jobs: Jobs, cluster: Cluster, head: RayHead, keeper: Keeper
) -> None:
    run = jobs(
        "submit", "--no-wait", "--submission-id", "long", "--", "python", "-c", NUMBERS.format(count=3000, pause=0.01)
    )
    assert run.returncode == 0, run.stderr
    until(lambda: "line 000300\n" in keeper.log("long"), "the begin of the log", 120)
    (old,) = keeper_pods(cluster)
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, old["metadata"]["name"], "--grace-period=0", "--force")
    ready = ("wait", "-n", NAMESPACE, f"deployment/{KEEPER}", "--for=condition=Available", "--timeout=180s")
    until(lambda: [pod["metadata"]["uid"] for pod in keeper_pods(cluster)] != [old["metadata"]["uid"]], "a new pod", 60)
    cluster.kubectl(*ready, seconds=200)
    with cluster.port_forward(NAMESPACE, f"service/{KEEPER}", 8270) as url:
        again = Keeper(url, head.token())
        assert again.until_ended("long")["status"] == "SUCCEEDED"
        until(lambda: numbers(3000) in again.log("long"), "the whole log", 60)
        assert again.job("ours")["status"] == "SUCCEEDED"


def test_a_job_whose_head_died_in_the_middle_is_lost_with_its_reason_and_its_log_until_then(
    jobs: Jobs, head: RayHead, keeper: Keeper
) -> None:
    endless = NUMBERS.format(count=1_000_000, pause=0.01)
    run = jobs("submit", "--no-wait", "--submission-id", "dies", "--", "python", "-c", endless)
    assert run.returncode == 0, run.stderr
    until(lambda: "line 000300\n" in keeper.log("dies"), "the begin of the log", 120)
    head.delete_pod()
    time.sleep(5)  # the operator makes a new one
    head.wait_ready()
    lost = keeper.until_ended("dies")
    assert lost["status"] == "LOST"
    assert "head" in lost["reason"]
    lines = [line for line in keeper.log("dies").splitlines() if line.startswith("line ")]
    assert len(lines) > 300
    assert lines == numbers(len(lines)).splitlines()
    # What Ray has forgotten comes from the keeper, and is said so.
    answer = jobs("logs", "dies")
    assert "line 000300\n" in answer.stdout
    assert "keeper" in answer.stderr


def test_the_page_opens_through_the_tunnel_with_a_key_and_shows_a_stranger_nothing(keeper: Keeper) -> None:
    made = keeper.client.post("/v1/page-keys")
    assert made.status_code == 201
    with httpx.Client(base_url=keeper.url, follow_redirects=True, timeout=30) as browser:
        assert browser.get("/").status_code == 401
        page = browser.get(made.json()["path"])
        assert page.status_code == 200
        assert "dies" in page.text
        assert browser.get("/v1/jobs", headers={"Host": "attacker.example"}).status_code == 421
    assert httpx.get(f"{keeper.url}/metrics", timeout=30).text.startswith("# HELP rayjobs_")
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.get(f"{keeper.url}/v1/jobs", headers=wrong, timeout=30).status_code == 401


def test_the_keepers_account_can_change_nothing(cluster: Cluster) -> None:
    account = f"--as=system:serviceaccount:{NAMESPACE}:{KEEPER}"
    listed = cluster.kubectl("auth", "can-i", "--list", "-n", NAMESPACE, account, "--no-headers")
    verbs = {
        verb for line in listed.splitlines() if "selfsubject" not in line for verb in line.split("[")[-1][:-1].split()
    }
    assert verbs <= {"get", "list"}, listed


def test_a_change_that_would_lose_the_kept_jobs_is_named_before_it_happens(stack: Stack, volumes: str) -> None:
    before = stack.config_file.read_text()
    stack.configure(lambda settings: settings["clusters"][0].pop("keeper"))
    assert "this update deletes it, and with it all jobs that the keeper of" in stack.preview().text
    stack.config_file.write_text(before)
    for keys, text in (
        ({"storage": "500Mi"}, "has 1Gi, and a volume cannot shrink"),
        ({"storage": "2Gi"}, "does not let volumes grow"),
        ({"storageClass": "another"}, f"has {volumes}, and a volume cannot change its class"),
    ):
        stack.configure(lambda settings, keys=keys: of_keeper(settings, **keys))  # type: ignore[misc]
        run = stack.preview(check=False)
        assert run.code != 0
        assert text in run.text, run.text
        stack.config_file.write_text(before)


@pytest.mark.needs("forced adoption")
def test_a_volume_that_is_retained_stays_and_the_next_stack_has_its_jobs(
    stack: Stack, cluster: Cluster, api: Api, head: RayHead, make_destroy: Callable[[], tuple[int, str]]
) -> None:
    stack.configure(lambda settings: of_keeper(settings, retain=True))
    stack.up()
    code, said = make_destroy()
    assert code == 0, said
    for each in (f"Namespace {NAMESPACE}", f"PersistentVolumeClaim {NAMESPACE}/{KEEPER}"):
        assert f"retained as asked: {each}" in said
    assert "0 left, 2 retained" in said
    assert api.get(CLAIM) is not None
    stack.up("--config", "ray-on-kubernetes:adopt=true")
    with cluster.port_forward(NAMESPACE, f"service/{KEEPER}", 8270) as url:
        again = Keeper(url, head.token())
        assert again.job("dies")["status"] == "LOST"
        assert numbers(3000) in again.log("long")


def test_destroy_leaves_nothing_of_the_keeper(
    stack: Stack, api: Api, make_destroy: Callable[[], tuple[int, str]]
) -> None:
    def let_go(settings: dict[str, Any]) -> None:
        settings.pop("adopt", None)
        of_keeper(settings, retain=False)

    stack.configure(let_go)
    stack.up()
    code, said = make_destroy()
    assert code == 0, said
    assert "0 left, 0 retained" in said
    assert api.get(f"/api/v1/namespaces/{NAMESPACE}") is None
