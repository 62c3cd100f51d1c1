"""The dashboards: those of the installed Ray and ours, as ConfigMaps that fit, and refusals of what is not recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.errors import StackError
from components.grafana import dashboards
from components.settings import parse

WANTED = {"namespace": "monitoring", "label": "dashboards", "folder": "Teams"}
# Kubernetes' limit for the data of a ConfigMap.
MIB = 1024 * 1024


def built(**monitoring: Any) -> list[dict[str, Any]]:
    return dashboards.build_dashboards(parse({"monitoring": monitoring}))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dashboards, "CACHE", tmp_path)
    return tmp_path / "dashboards" / f"{dashboards.installed_version()}.json"


def test_every_dashboard_of_the_installed_ray_and_ours_is_a_config_map_of_its_own() -> None:
    documents = built(dashboards=WANTED)
    names = {document["metadata"]["name"] for document in documents}
    assert {"ray-on-kubernetes", "ray-default-dashboard", "ray-serve-llm-dashboard"} <= names
    assert len(names) == len(documents) == 9
    for document in documents:
        metadata, (text,) = document["metadata"], document["data"].values()
        assert metadata["namespace"] == "monitoring"
        assert metadata["labels"] == {"dashboards": "1"}
        assert metadata["annotations"] == {"grafana_folder": "Teams"}
        assert len(text) < MIB / 2
        assert json.loads(text)["panels"]


def test_a_dashboard_says_of_which_ray_it_is() -> None:
    found = dashboards.ray_dashboards()["rayDefaultDashboard"]
    assert f"rayVersion:{dashboards.installed_version()}" in found["tags"]


def test_without_the_setting_there_are_none_and_ray_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboards, "PROGRAM", "no.such.program")
    assert built() == []


def test_the_environment_of_this_machine_does_not_change_a_dashboard(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_GRAFANA_DEFAULT_DASHBOARD_UID", "another")
    assert "rayDefaultDashboard" in dashboards.ray_dashboards()
    assert cache.is_file()


def test_a_cache_that_somebody_changed_is_not_used(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text('{"rayDefaultDashboard": {}}')
    assert dashboards.ray_dashboards()["rayDefaultDashboard"] != {}


@pytest.mark.usefixtures("cache")
def test_dashboards_that_differ_from_the_recorded_digest_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = dashboards.installed_version()
    monkeypatch.setattr(dashboards, "DIGESTS", tmp_path / "digests.json")
    (tmp_path / "digests.json").write_text(json.dumps({version: "sha256:0"}))
    with pytest.raises(StackError, match=f"Ray {version} differ from the recorded digest"):
        built(dashboards=WANTED)
    (tmp_path / "digests.json").write_text(json.dumps({"2.1.0": "sha256:0"}))
    with pytest.raises(StackError, match=r"is recorded; allowed: 2.1.0. For a new version run `python -m ops dash"):
        built(dashboards=WANTED)


@pytest.mark.usefixtures("cache")
def test_a_ray_that_cannot_write_them_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboards, "PROGRAM", "no.such.program")
    with pytest.raises(StackError, match=r"cannot write its dashboards: .*No module named 'no'"):
        built(dashboards=WANTED)


def test_a_cluster_with_another_ray_is_a_warning() -> None:
    clusters = [{"rayVersion": "2.56.0"}, {"name": "same"}]
    lines = dashboards.version_warnings(parse({"monitoring": {"dashboards": WANTED}, "clusters": clusters}))
    assert [line.split(": some")[0].split("and ")[1] for line in lines] == [
        "RayCluster ray-cluster/raycluster-autoscaler has Ray 2.56.0"
    ]
    assert dashboards.version_warnings(parse({"clusters": clusters})) == []
