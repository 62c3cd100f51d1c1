"""What a live cluster says about volumes of keepers, before anything is registered."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks import keeper_volumes, live_cluster
from components.errors import Forbidden
from components.settings import Settings, parse
from tests.support.trees import tree

PREFIX = "urn:pulumi:dev::ray-on-kubernetes::"
CLAIM = "/api/v1/namespaces/ray-cluster/persistentvolumeclaims/raycluster-autoscaler-keeper"
NAMESPACE = "/api/v1/namespaces/ray-cluster"


def storage_class(name: str, *, default: bool = False, grows: bool = False) -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "allowVolumeExpansion": grows}


def claim(size: str = "10Gi", cluster: str = "raycluster-autoscaler", **annotations: str) -> dict[str, Any]:
    marks = {"ray-on-kubernetes/urn": f"{PREFIX}kubernetes:core/v1:PersistentVolumeClaim::x", **annotations}
    metadata = {
        "name": f"{cluster}-keeper",
        "namespace": "ray-cluster",
        "labels": {"app.kubernetes.io/name": "ray-keeper", "app.kubernetes.io/instance": cluster},
        "annotations": marks,
    }
    return {"metadata": metadata, "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": size}}}}


class Api:
    """An API server with these objects by path; some paths may not be read."""

    def __init__(
        self, classes: list[dict[str, Any]], claims: list[dict[str, Any]], forbidden: str = "nothing", **objects: Any
    ) -> None:
        self.forbidden = forbidden
        self.objects: dict[str, Any] = {
            keeper_volumes.CLASSES: {"items": classes},
            keeper_volumes.CLAIMS: {"items": claims},
            **{
                f"/api/v1/namespaces/ray-cluster/persistentvolumeclaims/{one['metadata']['name']}": one
                for one in claims
            },
            NAMESPACE: {"metadata": {"name": "ray-cluster"}},
            **objects,
        }

    def get(self, path: str, **params: str) -> Any:
        if self.forbidden in path:
            raise Forbidden("context ci: not allowed")
        return self.objects.get(path)


DEFAULT = [storage_class("slow"), storage_class("fast", default=True)]


def kept(**keeper: Any) -> Settings:
    return parse({"clusters": [{"keeper": {"image": "r.example/rayjobs:0.1.0", **keeper}}]})


def problems(api: Api, settings: Settings) -> list[str]:
    return list(keeper_volumes.problems(api, settings, PREFIX))  # type: ignore[arg-type]


def test_a_class_that_is_there_or_a_default_is_enough() -> None:
    assert problems(Api(DEFAULT, []), kept()) == []
    assert problems(Api([storage_class("slow")], []), kept(storageClass="slow")) == []
    beta = storage_class("slow")
    beta["metadata"]["annotations"] = {"storageclass.beta.kubernetes.io/is-default-class": "true"}
    assert problems(Api([beta], []), kept()) == []


def test_a_class_that_is_missing_is_named_with_those_that_are_there() -> None:
    (line,) = problems(Api(DEFAULT, []), kept(storageClass="quick"))
    assert line == 'clusters[0].keeper.storageClass: "quick": the cluster has no such StorageClass; it has: fast, slow'
    (line,) = problems(Api([storage_class("slow")], []), kept())
    assert "the cluster has no default StorageClass; it has: slow" in line


def test_another_class_for_a_volume_that_is_there_is_refused_with_the_way_that_loses_the_jobs() -> None:
    (line,) = problems(Api(DEFAULT, [claim()]), kept(storageClass="slow"))
    assert "ray-cluster/raycluster-autoscaler-keeper has fast, and a volume cannot change its class" in line
    assert "deletes all kept jobs" in line
    assert problems(Api(DEFAULT, [claim()]), kept(storageClass="fast")) == []
    assert problems(Api([], [claim()]), kept()) == []


def test_a_volume_cannot_shrink_and_grows_where_its_class_lets_it() -> None:
    (line,) = problems(Api(DEFAULT, [claim("20Gi")]), kept(storage="10Gi"))
    assert "has 20Gi, and a volume cannot shrink" in line
    (line,) = problems(Api(DEFAULT, [claim()]), kept(storage="20Gi"))
    assert "its StorageClass fast does not let volumes grow (allowVolumeExpansion)" in line
    assert problems(Api([storage_class("fast", grows=True)], [claim()]), kept(storage="20Gi")) == []


def test_a_namespace_that_the_stack_created_cannot_be_let_go_with_the_volume_in_it() -> None:
    urn = f"{PREFIX}kubernetes:core/v1:Namespace::ray-cluster"
    created = {"metadata": {"name": "ray-cluster", "annotations": {"ray-on-kubernetes/urn": urn}}}
    keeper = {"image": "r.example/rayjobs:0.1.0"}
    let_go = parse({"clusters": [{"keeper": keeper, "createNamespace": False}]})
    (line,) = problems(Api(DEFAULT, [claim()], **{NAMESPACE: created}), let_go)
    assert "this update deletes it with all kept jobs" in line
    assert "set `keeper.retain: true` and run `pulumi up` first" in line
    created["metadata"]["annotations"]["ray-on-kubernetes/retain"] = "true"
    assert problems(Api(DEFAULT, [claim()], **{NAMESPACE: created}), let_go) == []
    del created["metadata"]["annotations"]["ray-on-kubernetes/retain"]
    assert problems(Api(DEFAULT, [claim()]), let_go) == []
    assert problems(Api(DEFAULT, [], **{NAMESPACE: created}), let_go) == []


@pytest.mark.parametrize(
    "settings", [parse({}), parse({"clusters": [{"name": "renamed", "keeper": {"image": "r.example/rayjobs:0.1.0"}}]})]
)
def test_a_volume_that_the_stack_no_longer_has_is_said_to_be_lost(settings: Settings) -> None:
    (line,) = keeper_volumes.losses(Api(DEFAULT, [claim()]), settings, PREFIX)  # type: ignore[arg-type]
    assert line.startswith(
        "PersistentVolumeClaim ray-cluster/raycluster-autoscaler-keeper: this update deletes it, and with it all jobs "
        "that the keeper of raycluster-autoscaler kept"
    )


@pytest.mark.parametrize(
    ("there", "settings"),
    [
        (claim(), kept()),
        (claim(**{"ray-on-kubernetes/retain": "true"}), parse({})),
        (claim(**{"ray-on-kubernetes/urn": "urn:pulumi:other::ray-on-kubernetes::x"}), parse({})),
    ],
    ids=["still there", "retained", "of another stack"],
)
def test_a_volume_that_stays_is_no_loss(there: dict[str, Any], settings: Settings) -> None:
    assert keeper_volumes.losses(Api(DEFAULT, [there]), settings, PREFIX) == []  # type: ignore[arg-type]


def checked(api: Api, settings: Settings) -> list[str]:
    return live_cluster.check(api, settings, tree("v1.7.0"), PREFIX, preview=False)  # type: ignore[arg-type]


def test_a_user_of_one_namespace_sees_what_is_lost_and_refused_there() -> None:
    own = "/api/v1/namespaces/ray-cluster/persistentvolumeclaims"
    listed = {own: {"items": [claim()]}}
    api = Api(DEFAULT, [claim()], forbidden="/api/v1/persistentvolumeclaims", **listed)
    (line,) = keeper_volumes.losses(api, parse({}), PREFIX)  # type: ignore[arg-type]
    assert "this update deletes it" in line
    api = Api(DEFAULT, [claim("20Gi")], forbidden="storageclasses", **listed)
    (line,) = problems(api, kept(storage="10Gi"))
    assert "a volume cannot shrink" in line


def test_a_user_who_may_not_read_volumes_is_told_with_a_keeper_and_not_bothered_without() -> None:
    (line,) = checked(Api(DEFAULT, [], forbidden="storageclasses"), kept())
    assert line.startswith("volumes of the keepers: not checked")
    assert checked(Api(DEFAULT, [claim()], forbidden="persistentvolumeclaims"), parse({})) == []


def test_what_is_lost_is_said_by_the_check_before_every_up_and_preview() -> None:
    (line,) = checked(Api(DEFAULT, [claim()]), parse({}))
    assert "this update deletes it" in line
