"""Settings of a keeper: what is refused, and what the sizes mean."""

from __future__ import annotations

from typing import Any

import pytest

from components.errors import StackError
from components.settings import Settings, parse
from components.settings.keeper import Keeper

IMAGE = {"image": "registry.example.com/rayjobs:0.1.0"}


def parsed(keeper: Any, **more: Any) -> Settings:
    return parse({"clusters": [{"keeper": keeper, **more}]})


def keeper_of(**keys: Any) -> Keeper:
    keeper = parsed({**IMAGE, **keys}).clusters[0].keeper
    assert keeper is not None
    return keeper


def problem(keeper: Any, **more: Any) -> str:
    with pytest.raises(StackError) as caught:
        parsed(keeper, **more)
    (line,) = str(caught.value).splitlines()[1:]
    return line


def test_a_cluster_has_no_keeper_unless_its_settings_say_so() -> None:
    assert parse({}).clusters[0].keeper is None
    assert parsed(False).clusters[0].keeper is None


@pytest.mark.parametrize("keeper", [True, {}, {"storage": "1Gi"}])
def test_a_keeper_without_an_image_is_refused_with_the_command_that_builds_one(keeper: Any) -> None:
    line = problem(keeper)
    assert line.startswith("  - clusters[0].keeper.image: is missing")
    assert "`make image IMAGE=registry.example.com/rayjobs:0.1.0`" in line


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"image": "rayjobs"}, ["keeper.image", "moves", "`allow: [moving-tag]`"]),
        ({"image": "registry.example.com/rayjobs:latest"}, ["keeper.image", "moves"]),
        ({"image": "Rayjobs:1 "}, ["keeper.image", "not an image reference"]),
        ({"storage": "10"}, ["keeper.storage", "the unit is missing"]),
        ({"retainDays": 0}, ["keeper.retainDays", "0"]),
        ({"storage": "1Mi"}, ["keeper.storage", "from 100Mi on"]),
        ({"logBytes": "1Ki"}, ["keeper.logBytes", "1Mi"]),
        ({"retainBytes": "9.9Gi"}, ["keeper.retainBytes", "`storage` (10Gi)", "up to 90 % of it"]),
        ({"resources": {"requests": {"memory": "1Gi"}}}, ["keeper.resources.requests.memory", "up to 512Mi"]),
        ({"readyTimeoutSeconds": 90_000}, ["keeper.readyTimeoutSeconds", "10 to 86400"]),
        ({"storageclass": "fast"}, ["keeper.storageclass", "Did you mean storageClass"]),
    ],
)
def test_a_wrong_setting_of_a_keeper_is_named_with_what_is_allowed(keys: dict[str, Any], words: list[str]) -> None:
    line = problem({**IMAGE, **keys})
    assert all(word.lower() in line.lower() for word in words), line


def test_a_keeper_that_is_text_is_refused() -> None:
    assert "allowed: true, false, or an object" in problem("yes please")


def test_what_a_stack_file_allows_in_writing_is_allowed() -> None:
    assert parsed({"image": "rayjobs:latest"}, allow=["moving-tag"]).clusters[0].keeper


def test_the_logs_get_four_fifths_of_the_volume_unless_a_size_is_named() -> None:
    assert keeper_of(storage="10Gi").most_log_bytes == 8 * 1024**3
    assert keeper_of(storage="10Gi", retainBytes="1Gi").most_log_bytes == 1024**3


def test_one_log_gets_a_quarter_of_all_unless_a_size_is_named() -> None:
    assert keeper_of(retainBytes="4Gi").most_bytes_of_one == 1024**3
    assert keeper_of(logBytes="2Gi").most_bytes_of_one == 2 * 1024**3


def test_the_requests_are_small_and_never_above_the_limit() -> None:
    def requests(**resources: Any) -> tuple[str, str]:
        found = keeper_of(resources=resources).resources
        return found.cpu_request, found.memory_request

    assert requests() == ("100m", "256Mi")
    assert requests(cpu="50m", memory="200Mi") == ("50m", "200Mi")
    assert requests(requests={"cpu": "200m"}) == ("200m", "256Mi")


def test_a_keeper_without_a_token_that_nobody_can_scrape_is_a_warning() -> None:
    kept = {"keeper": IMAGE, "auth": "disabled"}
    scraper = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}

    def warnings(cluster: dict[str, Any], **monitoring: Any) -> list[str]:
        return parse({"clusters": [cluster], "monitoring": {"podMonitor": True, **monitoring}}).warnings()

    (line,) = warnings(kept)
    assert line.startswith("monitoring.scrapeFrom: not set; raycluster-autoscaler: no token protects their jobs")
    assert warnings(kept, scrapeFrom=[scraper]) == []
    assert warnings({"keeper": IMAGE}) == []
    assert warnings(kept, podMonitor=False, scrapeAnnotations=True) == [line]


def test_a_cluster_with_the_name_of_anothers_keeper_is_refused() -> None:
    with pytest.raises(StackError) as caught:
        parse({"clusters": [{"name": "ray", "keeper": IMAGE}, {"name": "ray-keeper"}]})
    assert 'clusters[1].name: "ray-keeper": the keeper of ray has this name' in str(caught.value)
    assert parse({"clusters": [{"name": "ray", "keeper": IMAGE}, {"name": "ray-keeper", "namespace": "other"}]})
