"""`python -m ops` around a live stack, as a CI calls it: exit codes to branch on, and nothing written by a look."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cluster.api import Api
from ops import changes, engine
from tests.support.checkout import checkout, edit, ops
from tests.support.cluster import Cluster
from tests.support.stack import use_kuberay

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
]

STACK = "operate"
RAYCLUSTER = "/apis/ray.io/v1/namespaces/ray-cluster/rayclusters/raycluster-autoscaler"
Ops = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = checkout(tmp_path_factory.mktemp("operate") / "repository")
    content = yaml.safe_load((clone / "Pulumi.dev.yaml").read_text())
    content["config"][f"{engine.PROJECT}:clusters"][0]["suspend"] = True
    content["config"][f"{engine.PROJECT}:kubeContext"] = cluster.context
    use_kuberay(content["config"])
    (clone / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(content))
    return clone


@pytest.fixture(scope="module")
def run(repository: Path, cluster: Cluster) -> Iterator[Ops]:
    """`python -m ops COMMAND --stack operate ...` in the repository, on a backend of its own."""
    state = repository.parent / "state"
    state.mkdir()
    environment = {
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "throw-away",
        "KUBECONFIG": str(cluster.kubeconfig),
    }
    engine.init_stack(STACK, environment)

    def call(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ops(repository, command, "--stack", STACK, *arguments, environment=environment)

    yield call
    call("destroy", "--jobs", "ignore", "--others", "delete")


def longer(config: dict[str, Any]) -> None:
    config[f"{engine.PROJECT}:clusters"][0]["autoscaling"]["idleTimeoutSeconds"] = 90


def test_before_the_first_up_there_are_no_outputs_and_that_is_said(run: Ops) -> None:
    done = run("outputs")
    assert done.returncode == changes.ERROR
    assert "no outputs yet" in done.stderr


def test_a_preview_of_a_stack_that_is_up_to_date_has_no_changes(run: Ops) -> None:
    assert run("up").returncode == 0
    done = run("preview", "--detailed-exitcode")
    assert done.returncode == changes.NO_CHANGES, done.stdout + done.stderr
    assert "no changes" in done.stderr


def test_the_outputs_are_a_contract_that_the_jobs_command_reads(run: Ops, cluster: Cluster, tmp_path: Path) -> None:
    done = run("outputs", "--file", str(tmp_path / "outputs.json"))
    assert done.returncode == 0, done.stderr
    contract = json.loads((tmp_path / "outputs.json").read_text())
    assert (contract["stack"], contract["clusterUid"]) == (STACK, cluster.uid())


def test_a_change_is_told_by_exit_code_and_by_name_and_not_made(run: Ops, repository: Path, api: Api) -> None:
    before = api.get(RAYCLUSTER)
    kept = (repository / f"Pulumi.{STACK}.yaml").read_text()
    edit(repository, STACK, longer)
    done = run("preview", "--detailed-exitcode")
    (repository / f"Pulumi.{STACK}.yaml").write_text(kept)
    assert done.returncode == changes.CHANGES, done.stdout + done.stderr
    assert "update   kubernetes:ray.io/v1:RayCluster ray-cluster/raycluster-autoscaler" in done.stderr
    assert before is not None
    assert (api.get(RAYCLUSTER) or {})["metadata"]["generation"] == before["metadata"]["generation"]


def test_drift_is_quiet_while_the_cluster_agrees_and_names_what_was_edited(run: Ops, cluster: Cluster) -> None:
    quiet = run("drift")
    assert quiet.returncode == changes.NO_CHANGES, quiet.stdout + quiet.stderr
    patch = '{"spec":{"autoscalerOptions":{"idleTimeoutSeconds":77}}}'
    cluster.kubectl("patch", "raycluster", "raycluster-autoscaler", "-n", "ray-cluster", "--type=merge", "-p", patch)
    edited = run("drift")
    assert edited.returncode == changes.CHANGES, edited.stdout + edited.stderr
    assert "RayCluster ray-cluster/raycluster-autoscaler" in edited.stderr


def test_the_inventory_names_an_object_that_is_missing(run: Ops, cluster: Cluster) -> None:
    complete = run("inventory")
    assert complete.returncode == 0, complete.stdout
    assert "MISSING" not in complete.stdout
    cluster.kubectl("delete", "service", "kuberay-operator", "-n", "ray-system")
    short = run("inventory")
    assert short.returncode == 2
    assert [line.split()[1:] for line in short.stdout.splitlines() if line.startswith("MISSING")] == [
        ["Service", "ray-system/kuberay-operator"]
    ]


def test_recover_of_a_stack_that_needs_none_changes_nothing_on_the_cluster(run: Ops, api: Api) -> None:
    before = (api.get(RAYCLUSTER) or {})["metadata"]
    done = run("recover")
    assert done.returncode == 0, done.stdout + done.stderr
    after = (api.get(RAYCLUSTER) or {})["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])


def test_destroy_ends_with_the_proof(run: Ops, api: Api) -> None:
    done = run("destroy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{STACK}: 0 left, 0 retained" in done.stderr
    assert api.get(RAYCLUSTER) is None
