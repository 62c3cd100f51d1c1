"""What an import of the components loads. The rules of layers are import-linter's, in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.components.recording import ROOT


def modules_after(code: str) -> set[str]:
    """The top-level modules that a Python process has loaded after `code`."""
    program = f"import sys; {code}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["components.settings", "components.checks.live_cluster", "components.manifests.objects"]
)
def test_settings_manifests_and_checks_load_no_pulumi(module: str) -> None:
    assert "pulumi" not in modules_after(f"import {module}")


def test_another_program_imports_the_components_by_name() -> None:
    names = "KubeRayCRDs, KubeRayOperator, Namespace, RayCluster, Settings"
    assert "pulumi" in modules_after(f"from components import {names}")


def test_running_jobs_are_asked_for_without_the_commands_of_ops() -> None:
    program = (
        "import sys; import ops.running_jobs; assert not {'ops.destroy', 'ops.engine', 'click'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
