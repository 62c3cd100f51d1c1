"""KubeRay's CRDs as one small resource.

Four CRDs are 1.3 MB of schema. As resources of the engine they cost a preview without changes 50 seconds and the state
file 3.8 MB (figures: docs/decisions.md). So the engine gets the name, the served versions and the digest of each CRD,
and a dynamic provider applies the documents by server-side apply. In render mode there is no cluster to apply them to:
there they go through kustomize's Directory, as the operator does, and end up as files.

Pulumi pickles a dynamic provider into the state by module and class name. Old states need the old names: see
components/crds.py before you move or rename a provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)
from pulumi_kubernetes import kustomize

from components.cluster import crds
from components.cluster.context import KubernetesCluster
from components.errors import StackError
from components.kuberay.crds import crd_documents
from components.resources.cluster_identity import without_traceback
from components.resources.outside_engine import PLACE, api_of, difference, place, reading
from components.settings.kuberay import KubeRay

# The properties that an update compares. `live` is an output.
COMPARED = ("crds", "version", *PLACE)


def _apply(props: dict[str, Any]) -> dict[str, Any]:
    documents = crd_documents(Path(props["source"]))
    if crds.summary(documents) != props["crds"]:
        raise StackError(f"{props['source']}: the CRDs changed during `up`; run it again")
    live = crds.apply(api_of(props), documents, version=props["version"], owner=props["owner"])
    return {**props, "live": live}


class _CrdProvider(ResourceProvider):
    serialize_as_secret_always = False

    @without_traceback
    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        # Without old inputs the CRDs are about to be created, in a preview or in an update.
        if not olds and not news["adopt"]:
            names = crds.foreign(api_of(news), sorted(news["crds"]), news["owner"])
            if names:
                reason = (
                    f"already on the cluster, from another installation: {', '.join(names)}. "
                    "Use that installation with `kuberay.operator: existing`, take over its CRDs with "
                    "`kuberay.crds: adopt`, or take over everything with `adopt: true`."
                )
                return CheckResult(news, [CheckFailure("crds", reason)])
        return CheckResult(news, [])

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return difference(olds, news, COMPARED)

    @without_traceback
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("kuberay-crds", _apply(props))

    @without_traceback
    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        outputs = _apply(news)
        # A CRD that the new version no longer has is deleted, unless it has objects.
        removed = sorted(set(olds["crds"]) - set(news["crds"]))
        if removed:
            crds.remove(api_of(news), removed)
        return UpdateResult(outputs)

    @without_traceback
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        digests = crds.live_digests(api_of(props), sorted(props["live"]))
        if not any(digests.values()):
            return ReadResult("", {})
        summaries = {
            name: entry if digests[name] == props["live"][name] else {**entry, "digest": _drift(digests[name])}
            for name, entry in props["crds"].items()
        }
        return reading(id_, props, "crds", summaries, outputs_only=("live",))

    @without_traceback
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        api = api_of(props)
        # CRDs that another stack has adopted since belong to that stack.
        adopted = set(crds.foreign(api, sorted(props["crds"]), props["owner"]))
        crds.remove(api, sorted(set(props["crds"]) - adopted))


def _drift(digest: str | None) -> str:
    return f"edited on the cluster ({digest})" if digest else "deleted from the cluster"


class AppliedCRDs(Resource, module="kuberay", name="CRDs"):
    """The CRDs of one KubeRay version on a live cluster; see `KubeRayCRDs`."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_CrdProvider(), name, {**props, "live": None}, opts)


class KubeRayCRDs(pulumi.ComponentResource):
    """KubeRay's CRDs. Everything that needs them depends on this component.

    Args:
        name: name of the component.
        settings: version of KubeRay, and whether the CRDs stay after `destroy`.
        source: KubeRay's files of that version.
        overlay: folder of the CRDs' kustomize overlay, relative to the project (components.kuberay.overlay). Only
            render mode uses it.
        cluster: the cluster; None: render mode.
        adopt: take over CRDs that something else installed, as with `crds: adopt`. Otherwise a preview stops and names
            them.
        depends_on: the provider, which has compared the cluster's identity; a dynamic resource does not use it
            otherwise.
        opts: options of the component.
    """

    def __init__(
        self,
        name: str,
        settings: KubeRay,
        *,
        source: Path,
        overlay: Path,
        cluster: KubernetesCluster | None,
        adopt: bool = False,
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:kuberay:CRDs", name, {"version": settings.version}, opts)
        if cluster is None:
            kustomize.v2.Directory(name, directory=str(overlay), opts=pulumi.ResourceOptions(parent=self))
        else:
            documents = crd_documents(source)
            if pulumi.runtime.is_dry_run():
                for line in crds.pending_changes(cluster.api, documents):
                    pulumi.log.info(f"CRD {line}", self)
            AppliedCRDs(
                name,
                {
                    "crds": crds.summary(documents),
                    "version": settings.version,
                    "adopt": adopt or settings.crds == "adopt",
                    "source": str(source),
                    **place(cluster),
                },
                pulumi.ResourceOptions(parent=self, retain_on_delete=settings.retain_crds, depends_on=list(depends_on)),
            )
        self.register_outputs({"version": settings.version})
