"""KubeRay's CRDs on a cluster: apply, read, remove. resources/crds.py makes a Pulumi resource of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from components.cluster.api import Api
from components.errors import ClusterError

CRDS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OWNER_ANNOTATION = "ray-on-kubernetes/stack"
VERSION_ANNOTATION = "ray-on-kubernetes/kuberay-version"
DIGEST_ANNOTATION = "ray-on-kubernetes/digest"
SHOWN_FIELDS = 8
WAIT_SECONDS = 120.0

Crd = Mapping[str, Any]


def digest(content: Any) -> str:
    """Returns a short digest of a JSON value. The order of keys does not change it."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def summary(documents: Sequence[Crd]) -> dict[str, dict[str, str]]:
    """Returns the served versions and the digest of each CRD, for a preview."""
    return {
        document["metadata"]["name"]: {
            "digest": digest(document["spec"]),
            "served": ", ".join(version["name"] for version in document["spec"]["versions"] if version.get("served")),
        }
        for document in documents
    }


def get(api: Api, name: str) -> dict[str, Any] | None:
    """Returns the live CRD; None: it does not exist."""
    return api.get(f"{CRDS_PATH}/{name}")


def fields(crd: Crd) -> set[str]:
    """Returns the path of every field in the schema of the stored version, such as
    `spec.workerGroupSpecs[].template.spec`."""
    stored = next(version for version in crd["spec"]["versions"] if version.get("storage"))
    paths: set[str] = set()

    def walk(schema: Mapping[str, Any], path: str) -> None:
        for name, entry in (schema.get("properties") or {}).items():
            inner = f"{path}.{name}" if path else name
            paths.add(inner)
            walk(entry, inner)
        if isinstance(schema.get("items"), Mapping):
            walk(schema["items"], f"{path}[]")

    walk(stored.get("schema", {}).get("openAPIV3Schema", {}), "")
    return paths


def field_changes(old: Crd, new: Crd) -> str:
    """Returns the fields that a new CRD adds and removes, in words. A field inside another one of these is not
    listed."""
    before, after = fields(old), fields(new)

    def outermost(paths: set[str]) -> list[str]:
        return sorted(path for path in paths if path.rpartition(".")[0].removesuffix("[]") not in paths)

    def shown(paths: list[str]) -> str:
        more = f" and {len(paths) - SHOWN_FIELDS} more" if len(paths) > SHOWN_FIELDS else ""
        return ", ".join(paths[:SHOWN_FIELDS]) + more

    added, removed = outermost(after - before), outermost(before - after)
    parts = [f"adds {shown(added)}"] if added else []
    parts += [f"REMOVES {shown(removed)}"] if removed else []
    return "; ".join(parts) or "changes the validation of existing fields"


def pending_changes(api: Api, documents: Sequence[Crd]) -> list[str]:
    """Returns the changes that `apply` would make in each live CRD, one line each; empty: none."""
    known = {
        metadata["name"]: (metadata.get("annotations") or {}).get(DIGEST_ANNOTATION)
        for metadata in api.metadata(CRDS_PATH)
    }
    lines = []
    for document in documents:
        name = document["metadata"]["name"]
        if name in known and known[name] != digest(document["spec"]) and (live := get(api, name)):
            lines.append(f"{name}: {field_changes(live, document)}")
    return lines


def foreign(api: Api, names: Sequence[str], owner: str) -> list[str]:
    """Names of the live CRDs that the stack `owner` did not apply."""
    return [name for name in names if is_foreign(get(api, name), owner)]


def is_foreign(live: Mapping[str, Any] | None, owner: str) -> bool:
    """Returns whether an object is on the cluster and the stack `owner` did not apply it."""
    return live is not None and (live["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION) != owner


def apply(api: Api, documents: Sequence[Crd], *, version: str, owner: str) -> dict[str, str]:
    """Applies the CRDs in place by server-side apply, and waits until each is established.

    Conflicts are forced: the caller has checked whose CRDs these are, and a field that was edited by hand is drift.

    Args:
        api: API server of the cluster.
        documents: the CRDs.
        version: version of KubeRay; written into an annotation.
        owner: the stack, as `organization/project/stack`; written into an annotation.

    Returns:
        The digest of each live spec.

    Raises:
        ClusterError: the server refuses, or a CRD is not established in time.
    """
    with ThreadPoolExecutor(max_workers=len(documents)) as threads:
        applied = list(threads.map(lambda document: _apply(api, document, version=version, owner=owner), documents))
    _wait(lambda: _all_served(api, applied), "every CRD to be established")
    return {crd["metadata"]["name"]: digest(crd["spec"]) for crd in applied}


def _apply(api: Api, document: Crd, *, version: str, owner: str) -> dict[str, Any]:
    """Returns the live CRD."""
    metadata = {
        "name": document["metadata"]["name"],
        "annotations": {
            **(document["metadata"].get("annotations") or {}),
            OWNER_ANNOTATION: owner,
            VERSION_ANNOTATION: version,
            DIGEST_ANNOTATION: digest(document["spec"]),
        },
    }
    manifest = {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "metadata": metadata,
        "spec": document["spec"],
    }
    return api.apply(f"{CRDS_PATH}/{metadata['name']}", manifest, force=True)


def _all_served(api: Api, crds: Sequence[Crd]) -> bool:
    """Whether the API server lists the kind of each CRD, which it does once the CRD is established.

    The CRDs themselves say so too, but they are megabytes: to ask for them until then takes seconds of its time.
    """
    needed = {(crd["spec"]["group"], _stored_version(crd)) for crd in crds}
    served = {
        (resource["name"], *group_version)
        for group_version in needed
        for resource in (api.get("/apis/{}/{}".format(*group_version)) or {}).get("resources", [])
    }
    return {(crd["spec"]["names"]["plural"], crd["spec"]["group"], _stored_version(crd)) for crd in crds} <= served


def _stored_version(crd: Crd) -> str:
    return str(next(version["name"] for version in crd["spec"]["versions"] if version["storage"]))


def live_digests(api: Api, names: Sequence[str]) -> dict[str, str | None]:
    """Returns the digest of each live spec; None for a CRD that does not exist."""
    crds = {name: get(api, name) for name in names}
    return {name: digest(live["spec"]) if live else None for name, live in crds.items()}


def remaining_objects(api: Api, names: Sequence[str]) -> list[str]:
    """Returns every object that would be deleted with these CRDs, as `Kind namespace/name`."""
    objects = []
    for name in names:
        live = get(api, name)
        if live is None:
            continue
        spec = live["spec"]
        listing = api.get(f"/apis/{spec['group']}/{_stored_version(live)}/{spec['names']['plural']}") or {"items": []}
        kind = spec["names"]["kind"]
        objects += [
            f"{kind} {item['metadata'].get('namespace')}/{item['metadata']['name']}" for item in listing["items"]
        ]
    return objects


def remove(api: Api, names: Sequence[str]) -> None:
    """Deletes the CRDs and waits until they are gone.

    Raises:
        ClusterError: an object of one of their kinds exists. Nothing is deleted then: with a CRD Kubernetes deletes
            every object of its kind on the cluster, those of other teams too.
    """
    left = remaining_objects(api, names)
    if left:
        shown = ", ".join(left[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
        raise ClusterError(
            f"the CRDs are kept: these objects would be deleted with them: {shown}. Delete them first; or set "
            "`kuberay.retainCrds: true`, run `pulumi up`, and destroy again."
        )
    if not names:
        return
    # Nothing depends on a CRD. In the foreground it would wait for the garbage collector, which is busy with what the
    # stack has deleted before.
    with ThreadPoolExecutor(max_workers=len(names)) as threads:
        list(threads.map(lambda name: api.delete(f"{CRDS_PATH}/{name}", propagation="Background"), names))
    _wait(lambda: not set(names) & _names(api), f"the CRDs to be gone: {', '.join(names)}")


def _names(api: Api) -> set[str]:
    return {metadata["name"] for metadata in api.metadata(CRDS_PATH)}


def _wait(condition: Callable[[], bool], event: str) -> None:
    """Polls until the condition is true. Raises ClusterError after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {WAIT_SECONDS:.0f} s for {event}. `kubectl describe crd` shows the reason.")
        time.sleep(0.2)
