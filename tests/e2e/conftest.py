"""Fixtures of the end-to-end tests: the real engine, operator and Kubernetes, and the summary at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.cluster.api import Api
from ops import engine
from tests.support import prometheus
from tests.support.capabilities import engine_problem, kuberay_version, lacking, prepare
from tests.support.cluster import Cluster, ClusterUnavailableError, use_cluster
from tests.support.stack import Stack

ROWS: list[tuple[str, str, float]] = []


def pytest_configure() -> None:
    """Before the tests are collected: their marks say what they need of the engine."""
    if engine_problem() is None:
        prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time limit does not include fixtures: the first start builds Kubernetes, which takes minutes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.kubernetes)
            item.add_marker(pytest.mark.engine)
            if lacks := [reason for need in needs_of(item) if (reason := lacking(need))]:
                item.add_marker(pytest.mark.skip(reason=f"left out, needs: {'; '.join(lacks)}"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900, func_only=True))


def needs_of(item: pytest.Item) -> list[str]:
    """What a test says that it needs (tests/support/capabilities.py)."""
    return [need for marker in item.iter_markers("needs") for need in marker.args]


@pytest.fixture(scope="session", autouse=True)
def _a_ledger_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A person's ledger is neither read nor written: it would take a fixed id of an earlier run for a lost job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJOBS_LEDGER", str(tmp_path_factory.mktemp("ledger") / "ledger.sqlite"))
        yield


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Kubernetes for the whole session, with the engine there as well."""
    if not prometheus.problem() and any("Prometheus" in needs_of(item) for item in request.session.items):
        prometheus.build()  # before the start, which imports the images
    try:
        with use_cluster() as running:
            yield running
    except ClusterUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Api:
    return Api(str(cluster.kubeconfig), cluster.context)


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Callable[..., str]:
    return cluster.kubectl


@pytest.fixture(scope="session")
def new_stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Creates throw-away stacks and destroys them at the end."""
    stacks: list[Stack] = []

    def make(name: str, template: str = "dev") -> Stack:
        stack = Stack(name, tmp_path_factory.mktemp(name), cluster.kubeconfig, cluster.context, template)
        stacks.append(stack)
        return stack

    yield make
    for stack in reversed(stacks):
        stack.remove()
        shutil.rmtree(stack.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack], request: pytest.FixtureRequest) -> Iterator[Stack]:
    """One stack for the module, whose tests tell a story in order; it is gone before the next module begins."""
    stack = new_stack(request.module.__name__.rpartition("test_")[2].replace("_", "-"))
    yield stack
    stack.remove()


@pytest.fixture
def outputs_file(stack: Stack) -> Path:
    """The stack's outputs contract as a file, as `make outputs` writes it."""
    file = stack.folder / "outputs.json"
    file.write_text(json.dumps(stack.outputs()["contract"]))
    return file


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
        ROWS.append((report.nodeid.rpartition("::")[2], report.outcome, report.duration))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ROWS:
        return
    terminalreporter.section("end to end")
    for name, outcome, seconds in ROWS:
        terminalreporter.line(f"{outcome:8} {seconds:6.1f} s  {name.removeprefix('test_').replace('_', ' ')}")
    try:
        terminalreporter.line(
            f"engine {engine.version()}, Kubernetes provider {engine.provider_version()}, KubeRay {kuberay_version()}"
        )
    except (engine.EngineMissing, engine.EngineFailed) as error:
        terminalreporter.line(str(error))
