"""What the end-to-end tests run on, and what it can do: the engine, its Kubernetes provider, the operator's images.

A test says what it needs: `@pytest.mark.needs("token authentication")`. Where that is lacking, it is left out with the
reason. With `TEST_ENGINE=modules` the engine and the operator from Go modules are used even if newer ones are here.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache

from components.kuberay import source
from components.settings.versions import DEFAULT_KUBERAY_VERSION, TOKEN_AUTH_KUBERAY, at_least, parts
from ops import engine
from ops.errors import EngineMissing
from single_node import operator
from single_node.images import images_dir
from single_node.programs import engine as module_engine
from single_node.programs.go import go_problem
from tests.support import prometheus

# Older ones have no `enablePatchForce`: they take over objects of others only where all values are equal.
FORCING_PROVIDER = "v4.32.0"

# `upgradeStrategy` of RayClusters.
UPGRADE_STRATEGY_KUBERAY = "v1.6.0"


def from_modules() -> bool:
    """Whether TEST_ENGINE asks for the engine and the operator from Go modules."""
    return os.environ.get("TEST_ENGINE") == "modules"


def engine_problem() -> str | None:
    """Why there is no engine here and none can be built; None: there is one, or one can be."""
    if not from_modules():
        try:
            engine.find_engine()
        except EngineMissing as missing:
            problem = None if module_engine.is_built() else go_problem(module_engine.PULUMI_GO)
            return f"{missing}, and it cannot be built from Go modules: {problem}" if problem else None
        return None
    return None if module_engine.is_built() else go_problem(module_engine.PULUMI_GO)


def prepare() -> None:
    """Builds the engine and the operators from Go modules where there are none, or where TEST_ENGINE asks for them.

    Raises:
        SingleNodeError: one of them cannot be built.
    """
    try:
        ours = from_modules() or engine.find_engine().parent == module_engine.engine_dir()
    except EngineMissing:
        ours = True
    if ours:  # on PATH: tests call the CLI themselves too
        os.environ["PATH"] = f"{module_engine.build()}{os.pathsep}{os.environ['PATH']}"
        os.environ["RAY_PULUMI_PYTHON"] = sys.executable
    if os.environ.get("TEST_CLUSTER") != "current" and not operator_versions():
        for version in operator.VERSIONS:
            operator.build(version)
        operator_versions.cache_clear()
        kuberay_version.cache_clear()


@cache
def operator_versions() -> list[str]:
    """Versions of the operator that the cluster can run, oldest first.

    The native cluster and kind have the images of the images folder; another cluster pulls every recorded version.
    """
    if os.environ.get("TEST_CLUSTER") == "current":
        versions = list(source.recorded())
    else:
        versions = [
            file.stem.removeprefix("kuberay-operator-") for file in images_dir().glob("kuberay-operator-v*.tar")
        ]
    return sorted((name for name in versions if not from_modules() or name in operator.VERSIONS), key=parts)


@cache
def kuberay_version() -> str:
    """KubeRay's version in the stacks of the tests: the default one, or the newest whose operator is here."""
    versions = operator_versions()
    return DEFAULT_KUBERAY_VERSION if DEFAULT_KUBERAY_VERSION in versions or not versions else versions[-1]


def upgrade() -> tuple[str, str] | None:
    """Two versions of KubeRay for a test that upgrades from the first to the second; None: only one is here."""
    older = [version for version in operator_versions() if parts(version) < parts(kuberay_version())]
    return (older[-1], kuberay_version()) if older else None


@cache
def provider_version() -> str:
    """The Kubernetes provider's version, such as `4.32.0`; "0" if it is not known."""
    match = re.search(r"\d+\.\d+\.\d+", engine.provider_version())
    return match.group() if match else "0"


def lacking(need: str) -> str | None:
    """Why this machine does not have what a test needs; None: it does.

    Args:
        need: `KubeRay v1.7.0` (any version), `an older KubeRay`, `token authentication`, `upgrade strategies`,
            `forced adoption` or `Prometheus`.

    Raises:
        ValueError: No capability has this name.
    """
    if need.startswith("KubeRay v"):
        version = need.removeprefix("KubeRay ")
        here = ", ".join(operator_versions()) or "none"
        return None if version in operator_versions() else f"{need} (operators here: {here})"
    if need == "an older KubeRay":
        return None if upgrade() else f"{need} (operators here: {', '.join(operator_versions()) or 'none'})"
    if need == "token authentication":
        version = kuberay_version()
        return None if at_least(version, TOKEN_AUTH_KUBERAY) else f"{need} (KubeRay {version} has none)"
    if need == "upgrade strategies":
        version = kuberay_version()
        return None if at_least(version, UPGRADE_STRATEGY_KUBERAY) else f"{need} (KubeRay {version} has none)"
    if need == "forced adoption":
        version = provider_version()
        return None if at_least(f"v{version}", FORCING_PROVIDER) else f"{need} (Kubernetes provider {version} has none)"
    if need == "Prometheus":
        problem = prometheus.problem()
        return f"{need} ({problem})" if problem else None
    raise ValueError(f"{need}: no such capability")
