"""The folder `jobs` is installed as the package `rayjobs`, beside which a user may have a `jobs` folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

from tests.support.command import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
IMPORT_ALL = """
import importlib, pkgutil, sys, rayjobs
for module in pkgutil.walk_packages(rayjobs.__path__, "rayjobs."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sorted({name.split(".")[0] for name in sys.modules} & {"jobs", "components", "ops", "pulumi", "ray", "tests"}))
"""


def files_of(folder: Path) -> set[str]:
    paths = [*folder.rglob("*.py"), *folder.rglob("py.typed"), *folder.glob("keeper/web/templates/*")]
    paths += folder.glob("keeper/web/static/*")
    return {str(path.relative_to(folder)) for path in paths}


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs Python where `rayjobs` is installed, from a folder that has a `jobs` package of its own."""
    for name, folder in SETUPTOOLS["package-dir"].items():
        shutil.copytree(ROOT / folder, tmp_path / "site" / name, ignore=shutil.ignore_patterns("__pycache__"))
    own = tmp_path / "project" / "jobs"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text("raise ImportError('the jobs folder of the user')")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        command = [sys.executable, *words]
        return subprocess.run(
            command, cwd=tmp_path / "project", env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_every_folder_of_jobs_is_a_package_of_the_distribution() -> None:
    folders = sorted({file.parent.relative_to(ROOT / "jobs") for file in (ROOT / "jobs").rglob("*.py")})
    assert sorted(SETUPTOOLS["packages"]) == sorted(".".join(["rayjobs", *folder.parts]) for folder in folders)


def test_a_users_own_jobs_folder_is_not_taken_for_ours(run) -> None:  # type: ignore[no-untyped-def]
    done = run("-c", "from rayjobs import connect; print(connect.__module__)")
    assert (done.stdout.strip(), done.stderr) == ("rayjobs.api", "")
    done = run("-m", "rayjobs", "--help")
    assert done.returncode == 0, done.stderr
    assert "submit" in done.stdout


def test_installed_it_imports_nothing_of_the_repository_and_no_ray(run) -> None:  # type: ignore[no-untyped-def]
    done = run("-c", IMPORT_ALL)
    assert done.stdout.strip() == "[]", done.stderr


def test_remedies_name_the_installed_command(run) -> None:  # type: ignore[no-untyped-def]
    done = run("-c", "from rayjobs.errors import command; print(command('logs --follow ID'))")
    assert done.stdout.strip() == "`rayjobs logs --follow ID`", done.stderr
    module, _, function = PROJECT["project"]["scripts"]["rayjobs"].partition(":")
    done = run("-c", f"import sys; sys.argv[:] = ['rayjobs', 'submit']; from {module} import {function}; {function}()")
    assert done.returncode == 2
    assert "python -m jobs" not in done.stderr


def test_pip_builds_a_wheel_with_every_file_of_jobs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("jobs", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {name.removeprefix("rayjobs/") for name in wheel.namelist() if name.startswith("rayjobs/")}
    assert names == files_of(ROOT / "jobs")
