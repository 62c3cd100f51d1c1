"""KubeRay's CRDs as one small resource.

Four CRDs are 1.3 MB of schema. Handed to the engine as resources they cost a no-op preview 50 seconds and the state
file 3.8 MB (docs/decisions.md has the figures). So the engine gets each CRD's name, served versions and digest, and
a dynamic provider puts the documents themselves on the cluster by server-side apply. In render mode there is no cluster
to apply to: there the CRDs go through kustomize's Directory like the operator, and end up as files.
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

from components.cluster import crds as crd_apply
from components.cluster.api import Api
from components.kuberay.overlay import crd_documents
from components.resources.cluster_identity import connect_to_recorded, plainly

# What an update looks at. `live` is an output of ours, the SDK's own `__provider` is left out on purpose: another
# Python version pickles differently, which is no change to a CRD.
COMPARED = ("crds", "version", "owner", "context", "kubeconfig", "clusterUid")
OUTPUTS_ONLY = ("live", "__provider")


def _api(props: dict[str, Any]) -> Api:
    return connect_to_recorded(props.get("kubeconfig"), props["context"], props["clusterUid"])


def _apply(props: dict[str, Any]) -> dict[str, Any]:
    documents = crd_documents(Path(props["source"]))
    if crd_apply.summary(documents) != props["crds"]:
        raise ValueError(f"{props['source']}: the CRDs changed while `up` was running; run it again")
    live = crd_apply.apply(_api(props), documents, version=props["version"], owner=props["owner"])
    return {**props, "live": live}


class _CrdProvider(ResourceProvider):
    serialize_as_secret_always = False

    @plainly
    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        # No old inputs: the CRDs are about to be created, in a preview as well as in an update.
        if not olds and not news["adopt"]:
            names = crd_apply.foreign(_api(news), sorted(news["crds"]), news["owner"])
            if names:
                reason = (
                    f"already on the cluster, from another installation: {', '.join(names)}. "
                    "Use that installation with `kuberay.operator: existing`, or take its CRDs over with "
                    "`kuberay.crds: adopt`, or everything with `adopt: true`."
                )
                return CheckResult(news, [CheckFailure("crds", reason)])
        return CheckResult(news, [])

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in COMPARED))

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("kuberay-crds", _apply(props))

    @plainly
    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        outputs = _apply(news)
        # A CRD that the new version no longer has goes, unless objects of it are left.
        dropped = sorted(set(olds["crds"]) - set(news["crds"]))
        if dropped:
            crd_apply.remove(_api(news), dropped)
        return UpdateResult(outputs)

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        found = crd_apply.live_digests(_api(props), sorted(props["live"]))
        if not any(found.values()):
            return ReadResult("", {})
        # Written into the compared field, so that refresh shows what drifted and the next preview what it will do.
        crds = {
            name: entry if found[name] == props["live"][name] else {**entry, "digest": _drift(found[name])}
            for name, entry in props["crds"].items()
        }
        outputs = {**props, "crds": crds}
        if crds == props["crds"]:
            return ReadResult(id_, outputs)
        return ReadResult(id_, outputs, {key: value for key, value in outputs.items() if key not in OUTPUTS_ONLY})

    @plainly
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        api = _api(props)
        # CRDs that another stack has adopted meanwhile are that stack's.
        adopted = set(crd_apply.foreign(api, sorted(props["crds"]), props["owner"]))
        crd_apply.remove(api, sorted(set(props["crds"]) - adopted))


def _drift(found: str | None) -> str:
    return f"edited on the cluster ({found})" if found else "deleted from the cluster"


class AppliedCRDs(Resource, module="kuberay", name="CRDs"):
    """The CRDs of one KubeRay version on a live cluster; see `KubeRayCRDs`."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_CrdProvider(), name, {**props, "live": None}, opts)


class KubeRayCRDs(pulumi.ComponentResource):
    """KubeRay's CRDs, wherever the stack goes; what needs them depends on this.

    `source`: the version's tree on disk; `overlay`: the kustomize overlay of the CRDs alone, for render mode.
    `uid`, `context`, `kubeconfig`: the live cluster; `uid` None: render mode.
    `adopt`: take over CRDs that somebody else installed. `retain`: they stay on the cluster after `destroy`.
    `depends_on`: the provider, which has compared the cluster's identity: a dynamic resource does not use it otherwise.
    Raises at preview, naming them, where foreign CRDs are on the cluster and `adopt` is not set.
    """

    def __init__(
        self,
        name: str,
        *,
        source: Path,
        overlay: Path,
        version: str,
        uid: str | None,
        context: str,
        kubeconfig: str | None,
        adopt: bool,
        retain: bool,
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:kuberay:CRDs", name, {"version": version}, opts)
        if uid is None:
            kustomize.v2.Directory(name, directory=str(overlay), opts=pulumi.ResourceOptions(parent=self))
        else:
            documents = crd_documents(source)
            if pulumi.runtime.is_dry_run():
                for line in crd_apply.pending_changes(Api(kubeconfig, context), documents):
                    pulumi.log.info(f"CRD {line}", self)
            owner = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
            AppliedCRDs(
                name,
                {
                    "crds": crd_apply.summary(documents),
                    "version": version,
                    "owner": owner,
                    "adopt": adopt,
                    "source": str(source),
                    "context": context,
                    "kubeconfig": kubeconfig,
                    "clusterUid": uid,
                },
                pulumi.ResourceOptions(parent=self, retain_on_delete=retain, depends_on=list(depends_on)),
            )
        self.register_outputs({"version": version})
